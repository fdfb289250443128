"""The status page: how things stand, receipts and their lives, what failed, and buttons to change it.

What it promises: every page works without a script, in English and in German, and loads nothing from elsewhere; what is
in a receipt, a name or a message is shown as text, whatever it is. A list costs the same on its first page and on its
last. A button does what the command line does, through the same guarded change of state. A picture never keeps a page
waiting.

Runs in uvicorn's thread; what touches the job log, or draws, runs in worker threads. Nothing is kept here but the sums
of the last day, for a minute; a crash leaves what the job log has.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route as Address

from receipt_watcher.config.options import Config
from receipt_watcher.config.roles import Right
from receipt_watcher.errors import JobLogError
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.jobs.job import Job, may_be_booked
from receipt_watcher.jobs.log.holds import DestinationState, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget, ManualHold
from receipt_watcher.jobs.log.queries.search import Cursor, Hour, Page, Search, Wanted
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS
from receipt_watcher.jobs.states import OPEN_STATES, Event, State
from receipt_watcher.report.explain import Explainer
from receipt_watcher.spool.route import InboxRoute, branches_of, destinations_of
from receipt_watcher.system.display import printable
from receipt_watcher.web.access.callers import Access, Caller
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.pages import viewmodels
from receipt_watcher.web.pages.chart import HEIGHT, chart
from receipt_watcher.web.pages.pictures import Pictures, is_drawable
from receipt_watcher.web.pages.rendering import HEADERS, PageRequest, Rendering, Visitor
from receipt_watcher.web.pages.texts.language import Texts
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.bodies import form_fields
from receipt_watcher.web.uploads.receive import TakenUpload, Uploads

#: How many requests may ask the job log at a time, and how many may wait for a picture.
_LOOKING_THREADS = 4
_PICTURES = 2
_WAITING_FOR_PICTURES = 16

_RECENT_ROWS = 8
_RETRIED_AT_ONCE = 1000
_TEXT_CHARACTERS = 200
_WHY_CHARACTERS = 200
_DAY_SECONDS_KEPT = 60.0

_PICTURE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=3600",
}


class Pages:
    """The pages of one daemon. `inboxes` tells how they are, `routes` where receipts go."""

    def __init__(
        self,
        config: Config,
        log: JobLog,
        holds: Holds,
        thumbnails: Pictures,
        *,
        rendering: Rendering,
        actions: Actions,
        uploads: Uploads,
        access: Access,
        routes: Sequence[InboxRoute],
        inboxes: Callable[[], Sequence[InboxState]],
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._log = log
        self._holds = holds
        self._hand_holds = log.manual_holds
        self._search = log.search
        self._thumbnails = thumbnails
        self._uploads = uploads
        self._access = access
        self._rendering = rendering
        self._inboxes = inboxes
        self._actions = actions
        self._routes = routes
        self._clock = clock
        self._zone = config.notify.zone
        self._looking = asyncio.Semaphore(_LOOKING_THREADS)
        self._drawing = asyncio.Semaphore(_PICTURES)
        self._waiting_for_pictures = 0
        self._day = _Day(self._search)
        self.routes = [
            Address("/", self._page(self._overview)),
            Address("/receipts", self._page(self._receipts)),
            Address("/receipts/{job_id}", self._page(self._receipt, lambda visitor: visitor.may_follow)),
            Address("/receipts/{job_id}/picture", self._picture),
            Address("/receipts/{job_id}/retry", self._change(self._retry), methods=["POST"]),
            Address("/receipts/{job_id}/settle", self._change(self._settle), methods=["POST"]),
            Address("/receipts/{job_id}/cancel", self._change(self._cancel), methods=["POST"]),
            Address("/failed", self._page(self._failed)),
            Address("/failed/retry", self._change(self._retry_these), methods=["POST"]),
            Address("/inboxes/{inbox}/hold", self._change(self._hold_inbox), methods=["POST"]),
            Address("/inboxes/{inbox}/resume", self._change(self._resume_inbox), methods=["POST"]),
            Address("/destinations/{destination}/resume", self._change(self._resume), methods=["POST"]),
            Address("/upload", self._page(self._upload, lambda visitor: visitor.may_upload)),
            Address("/upload", self._receive, methods=["POST"]),
            Address("/page/pulse", self._pulse),
            Address("/static/{name}", self._rendering.packaged),
        ]

    # --- requests --------------------------------------------------------------------------------------------------

    async def _judged(self, request: Request) -> PageRequest:
        """Return a visit of somebody, or of nobody known.

        Raises:
            RefusedError: the token is wrong, or another site's page sent this.
        """
        caller = await self._access.caller(request, has_field=True)
        return self._rendering.visit(request, self._visitor(caller) if caller else Visitor())

    def _visitor(self, caller: Caller) -> Visitor:
        session = caller.session
        return Visitor(
            may_follow=caller.may(Right.FOLLOW),
            may_read=caller.may(Right.READ),
            may_change=caller.may(Right.CHANGE),
            may_upload=caller.may(Right.UPLOAD),
            name=caller.name,
            signed_in_as=caller.name if session else "",
            csrf_token=self._access.sessions.form_token(session) if session else "",
            caller=caller,
        )

    def _turned_away(self, visit: PageRequest) -> Response:
        """Return what somebody gets who may not: the form to sign in, where nobody is known."""
        if visit.visitor.caller is None and visit.request.method == "GET":
            address = visit.request.url
            onward = address.path.removeprefix(visit.url("")) + (f"?{address.query}" if address.query else "")
            return RedirectResponse(f"{visit.url('/sign-in')}?{urlencode({'next': onward})}", 303, HEADERS)
        return self._rendering.error(visit, 403)

    def _page(
        self,
        show: Callable[[PageRequest], Response],
        may_see: Callable[[Visitor], bool] = lambda visitor: visitor.may_read,
    ) -> Callable[[Request], Any]:
        """Return the endpoint of a page, by default for whoever may read."""

        async def answer(request: Request) -> Response:
            visit = await self._judged(request)
            if not may_see(visit.visitor):
                return self._turned_away(visit)
            try:
                async with self._looking:
                    page = await run_in_threadpool(self._shown, show, visit)
            except HTTPException as error:
                return self._rendering.error(visit, error.status_code, error.detail)
            except JobLogError as error:
                return self._rendering.error(visit, 503, str(error))
            self._rendering.remember_language(visit, page)
            return page

        return answer

    def _shown(self, show: Callable[[PageRequest], Response], visit: PageRequest) -> Response:
        """Return a page; the beat is taken first, so that what comes while it is made is noticed."""
        return show(replace(visit, beat=self._beat()))

    def _change(self, change: Callable[[PageRequest, Mapping[str, str]], str]) -> Callable[[Request], Any]:
        """Return the endpoint of a button: `change` returns where to go on."""

        async def answer(request: Request) -> Response:
            visit = await self._judged(request)
            if not visit.visitor.may_change:
                return self._rendering.error(visit, 403)
            try:
                form = await form_fields(request)
                self._check_form(visit, form.get("csrf"))
                async with self._looking:
                    path = await run_in_threadpool(change, visit, form)
            except HTTPException as error:
                return self._rendering.error(visit, error.status_code, error.detail)
            except JobLogError as error:
                return self._rendering.error(visit, 503, str(error))
            return RedirectResponse(visit.url(path), 303, HEADERS)

        return answer

    def _check_form(self, visit: PageRequest, given: str | None) -> None:
        """Check that a form is one that we made.

        Raises:
            RefusedError: it is not.
        """
        if visit.visitor.caller is not None:
            self._access.check_field(visit.request, visit.visitor.caller, given)

    def refused(self, request: Request, error: RefusedError) -> Response:
        """Return as a page why somebody was refused."""
        page = self._rendering.error(self._rendering.visit(request), error.status, error.detail)
        page.headers.update(error.headers or {})
        return page

    def error(self, request: Request, status: int, detail: str = "") -> Response:
        """Return an error as a page."""
        return self._rendering.error(self._rendering.visit(request), status, detail)

    # --- overview --------------------------------------------------------------------------------------------------

    def _overview(self, visit: PageRequest) -> Response:
        t, now = visit.texts, visit.now
        sums = self._search.sums()
        standings = self._standings()
        by_hand = self._held_by_hand()
        inboxes = self._inboxes()
        hours = self._day.hours(now)
        latest = self._search.page(Wanted(), limit=_RECENT_ROWS)
        values = {
            "here": "overview",
            "headline": viewmodels.headline(t, inboxes, standings, by_hand, sums),
            "holds": viewmodels.holds(t, standings, by_hand, destinations_of(self._routes)),
            "inboxes": inboxes,
            "held_inboxes": {hold.name for hold in by_hand if hold.kind is HoldTarget.INBOX},
            "waiting": sum(sums.open.get(state, 0) for state in (State.QUEUED, State.DELIVERING)),
            "processing": sums.open.get(State.PROCESSING, 0),
            "failed_count": sums.failed,
            "done": sum(hour.done for hour in hours),
            "oldest": None if sums.oldest_at is None else max(0.0, now - sums.oldest_at),
            "chart": chart(t, hours),
            "chart_height": HEIGHT,
            "rows": [viewmodels.row(t, job) for job in latest.jobs],
        }
        return self._rendering.page(visit, "overview.html", values)

    def _standings(self) -> list[DestinationState]:
        urls = set(self._config.webhook_urls())
        return [standing for standing in self._holds.all() if standing.url in urls]

    def _held_by_hand(self) -> list[ManualHold]:
        return self._hand_holds.all()

    # --- lists -----------------------------------------------------------------------------------------------------

    def _receipts(self, visit: PageRequest) -> Response:
        page = self._search.page(self._wanted(visit.query), _place_of(visit.query))
        values = {"here": "receipts", "states": [state.value for state in State], **self._list(visit, page)}
        return self._rendering.page(visit, "receipts.html", values)

    def _failed(self, visit: PageRequest) -> Response:
        wanted = self._wanted({**visit.query, "status": State.FAILURE.value})
        page = self._search.page(wanted, _place_of(visit.query))
        return self._rendering.page(visit, "failed.html", {"here": "failed", **self._list(visit, page)})

    def _list(self, visit: PageRequest, page: Page) -> dict[str, Any]:
        t = visit.texts
        wanted = {name: visit.query.get(name, "") for name in ("q", "status", "inbox", "since", "until")}
        asked = {name: value for name, value in wanted.items() if value}
        looked_to = page.looked_to and t.day(_time_of(page.looked_to))
        return {
            "rows": [viewmodels.row(t, job) for job in page.jobs],
            "wanted": wanted,
            "is_filtered": bool(asked),
            "is_first": not {"older", "newer"} & visit.query.keys(),
            "is_newer": "newer" in visit.query,
            "looked_to": looked_to,
            "beside": viewmodels.beside(page, asked),
            "inbox_names": [inbox.name for inbox in self._config.inboxes],
            "failed_count": self._search.sums().failed,
        }

    def _wanted(self, query: Mapping[str, str]) -> Wanted:
        """Return what is looked for.

        Raises:
            HTTPException: that is not to be understood.
        """
        status = query.get("status", "")
        if status not in ("", "open", *State):
            raise HTTPException(422, f"status={status}")
        states = sorted(OPEN_STATES) if status == "open" else [State(status)] if status else []
        return Wanted(
            text=query.get("q", "").strip()[:_TEXT_CHARACTERS],
            states=states,
            inbox=query.get("inbox") or None,
            since=_midnight_of(query.get("since", ""), self._zone, 0),
            until=_midnight_of(query.get("until", ""), self._zone, 1),
        )

    # --- one receipt -----------------------------------------------------------------------------------------------

    def _receipt(self, visit: PageRequest) -> Response:
        t = visit.texts
        job = self._job(visit)
        explained = Explainer(
            self._config, self._log, is_running=True, now=visit.now, wait=lambda _seconds: None
        ).about_job(job, self._log)
        path = None if job.removed_at is not None else self._path_of(job)
        has_file = path is not None and job.sha256 is not None  # without a digest nobody gets it (`fetching`)
        values = {
            "here": "receipts",
            "job": job,
            "row": viewmodels.row(t, job),
            "answer": viewmodels.answer(t, job, explained.answer),
            "advice": viewmodels.advice_for(t, job),
            "is_found": job.reason in EXAMINATION_REASONS,
            "has_picture": visit.visitor.may_read and is_drawable(job),
            "notion": viewmodels.web_address(job.notion_page_url),
            "file_path": f"/api/v1/jobs/{job.job_id}/file" if visit.visitor.may_read and has_file else "",
            "may_retry": viewmodels.may(job, Event.RETRY),
            "may_be_booked": may_be_booked(job),
            "may_cancel": viewmodels.may(job, Event.CANCEL),
            "moments": viewmodels.moments(t, self._log.histories.lines(job.job_id)),
            "deliveries": self._log.histories.attempts(job.job_id),
            "facts": list(viewmodels.facts(t, job, viewmodels.path_shown(path))),
            "links": list(viewmodels.links(t, job)),
            "explained": "\n".join(map(printable, explained.lines())),
            "failed_count": self._search.sums().failed,
        }
        return self._rendering.page(visit, "receipt.html", values)

    def _path_of(self, job: Job) -> Path | None:
        return next((route.path_of(job) for route in self._routes if route.name == job.inbox), None)

    def _job(self, visit: PageRequest) -> Job:
        job = self._log.lookups.get(visit.request.path_params["job_id"])
        if job is None:
            raise HTTPException(404)
        return job

    async def _picture(self, request: Request) -> Response:
        visit = await self._judged(request)
        if not visit.visitor.may_read:
            return Response(status_code=403)
        if self._waiting_for_pictures >= _WAITING_FOR_PICTURES:
            return Response(status_code=503, headers={"Retry-After": "5"})
        self._waiting_for_pictures += 1
        try:
            async with self._drawing:
                picture = await run_in_threadpool(self._drawn, visit)
        except HTTPException as error:
            return Response(status_code=error.status_code)
        except (OSError, JobLogError):
            return Response(status_code=503, headers={"Retry-After": "5"})
        finally:
            self._waiting_for_pictures -= 1
        if picture is None:
            return Response(status_code=404)
        return Response(picture, media_type="image/jpeg", headers=_PICTURE_HEADERS)

    def _drawn(self, visit: PageRequest) -> bytes | None:
        return self._thumbnails.picture_of(self._job(visit))

    # --- buttons ---------------------------------------------------------------------------------------------------

    def _retry(self, visit: PageRequest, form: Mapping[str, str]) -> str:
        is_forced = form.get("force") == "yes"
        return self._advanced(visit, partial(self._actions.retry, is_forced=is_forced), "retried")

    def _settle(self, visit: PageRequest, form: Mapping[str, str]) -> str:
        is_delivered = {"yes": True, "no": False}.get(form.get("delivered", ""))
        if is_delivered is None:
            raise HTTPException(422, "delivered")
        said = "settled_delivered" if is_delivered else "settled_not_delivered"
        return self._advanced(visit, partial(self._actions.settle, is_delivered=is_delivered), said)

    def _cancel(self, visit: PageRequest, _form: Mapping[str, str]) -> str:
        return self._advanced(visit, self._actions.cancel, "cancelled")

    def _advanced(self, visit: PageRequest, change: Callable[[str, str], Job | str | None], said: str) -> str:
        job_id = str(visit.request.path_params["job_id"])
        after = change(job_id, visit.visitor.name)
        if after is None:
            raise HTTPException(404)
        page = "/failed" if visit.query.get("from") == "failed" else f"/receipts/{job_id}"
        return f"{page}?said={said if isinstance(after, Job) else 'too_late'}"

    def _retry_these(self, visit: PageRequest, form: Mapping[str, str]) -> str:
        """Retry the failed receipts that the page showed and that fit, the newest first, up to a bound."""
        wanted = self._wanted({**form, "status": State.FAILURE.value})
        count, before, is_all = 0, None, False
        while count < _RETRIED_AT_ONCE and not is_all:
            done = self._actions.retry_all(wanted, before, visit.visitor.name, shown_at=_moment(form.get("shown_at")))
            count, before, is_all = count + done.retried, done.more, done.more is None
        shown = {name: form[name] for name in ("q", "inbox") if form.get(name)}
        return f"/failed?{urlencode({**shown, 'said': 'retried_these', 'count': count})}"

    def _hold_inbox(self, visit: PageRequest, form: Mapping[str, str]) -> str:
        why = form.get("why", "").strip()[:_WHY_CHARACTERS]
        self._actions.hold(HoldTarget.INBOX, self._inbox_named(visit), why, visit.visitor.name)
        return "/?said=held"

    def _resume_inbox(self, visit: PageRequest, _form: Mapping[str, str]) -> str:
        was_held = self._actions.resume_inbox(self._inbox_named(visit), visit.visitor.name)
        return f"/?said={'resumed' if was_held else 'not_held'}"

    def _inbox_named(self, visit: PageRequest) -> str:
        name = str(visit.request.path_params["inbox"])
        if all(route.name != name for route in self._routes):
            raise HTTPException(404)
        return name

    def _resume(self, visit: PageRequest, _form: Mapping[str, str]) -> str:
        url = destinations_of(self._routes).get(visit.request.path_params["destination"])
        if url is None:
            raise HTTPException(404)
        was_held = self._actions.resume_destination(url, branches_of(self._routes, url), visit.visitor.name)
        return f"/?said={'resumed' if was_held else 'not_held'}"

    # --- uploads ---------------------------------------------------------------------------------------------------

    def _upload(self, visit: PageRequest, result: _Uploaded | None = None) -> Response:
        status = 200 if result is None else result.status
        values = {
            "here": "upload",
            "inbox_names": [inbox.name for inbox in self._config.inboxes],
            "max_size": self._max_size(visit.texts),
            "result": result,
            "failed_count": self._search.sums().failed,
        }
        return self._rendering.page(visit, "upload.html", values, status)

    def _max_size(self, texts: Texts) -> str:
        return f"{texts.number(self._config.limits.max_file_mb).removesuffix('.0').removesuffix(',0')} MB"

    async def _receive(self, request: Request) -> Response:
        """Take a file that comes by the form: a page for who has no script, JSON for our script."""
        visit = await self._judged(request)
        caller = visit.visitor.caller
        if caller is None or not visit.visitor.may_upload:
            raise RefusedError(403, "This needs the right to upload.")
        try:
            result = _uploaded(visit.texts, await self._uploads.take(request, caller))
        except RefusedError as error:
            if error.status == 403:  # noqa: PLR2004 - it is no form of ours
                raise
            why = viewmodels.refusal(visit.texts, error, self._max_size(visit.texts))
            job_id = str(error.more.get("job_id") or "")
            result = _Uploaded(error.status, "", "refused", visit.texts("upload.refused"), why, job_id)
        if "text/html" in request.headers.get("accept", ""):
            async with self._looking:
                return await run_in_threadpool(self._upload, visit, result)
        said = {"status": result.kind, "what": result.what, "detail": result.detail, "job_id": result.job_id}
        return JSONResponse(said, result.status)

    # --- live, and files -------------------------------------------------------------------------------------------

    async def _pulse(self, request: Request) -> Response:
        visit = await self._judged(request)
        if not visit.visitor.may_read and not visit.visitor.may_upload:
            return Response(status_code=403)
        try:
            async with self._looking:
                pulse = await run_in_threadpool(self._beat)
        except JobLogError:
            return Response(status_code=503)
        return JSONResponse({"pulse": pulse}, headers={"Cache-Control": "no-store"})

    def _beat(self) -> str:
        """Return a word that is another one when there is something else to show."""
        told = (self._search.beat(), self._standings(), self._held_by_hand(), list(self._inboxes()))
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Uploaded:
    """What became of an upload, for the page; `status` is that of the answer."""

    status: int
    name: str
    kind: str
    what: str
    detail: str
    job_id: str


def _uploaded(texts: Texts, taken: TakenUpload) -> _Uploaded:
    name, job_id = printable(taken.job.filename), taken.first.job_id
    if taken.status == 202:  # noqa: PLR2004
        return _Uploaded(taken.status, name, "queued", texts("upload.queued"), "", job_id)
    return _Uploaded(taken.status, name, "duplicate", texts("upload.known"), texts("upload.known.text"), job_id)


class _Day:
    """The sums of the last day, asked for once a minute: many may have the page open."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._lock = threading.Lock()
        self._kept: tuple[tuple[float, tuple[int, int]], list[Hour]] | None = None

    def hours(self, now: float) -> list[Hour]:
        """Return the last 24 hours."""
        key = now // _DAY_SECONDS_KEPT
        beat = self._search.beat()
        with self._lock:
            if self._kept is None or self._kept[0] != (key, beat):
                self._kept = (key, beat), self._search.day(now)
            return self._kept[1]


def _moment(text: str | None) -> float | None:
    """Return the Unix time that a form of ours sends back; None if it has none."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _place_of(query: Mapping[str, str]) -> Cursor | None:
    for name in ("older", "newer"):
        if job_id := query.get(name, "")[:64]:
            return Cursor(job_id, is_newer=name == "newer")
    return None


def _midnight_of(text: str, zone: tzinfo | None, days: int) -> float | None:
    """Return when a day begins, or so many days later, in Unix seconds.

    Raises:
        HTTPException: it is no day.
    """
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text) + timedelta(days=days), time(), zone).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise HTTPException(422, text) from error


def _time_of(job_id: str) -> float:
    """Return the time with which an id begins; 0 for one that is no id of ours."""
    try:
        return int(job_id[:13].replace("-", ""), 16) / 1000
    except ValueError:
        return 0.0
