"""One receipt: what it is, its life, its picture, and buttons to retry, settle and cancel it.

What it promises: a button does what the command line does, through the same guarded change of state. A picture never
keeps a page waiting. Runs in uvicorn's thread; what touches the job log, or draws, runs in worker threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import Job, may_be_booked
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.search import Search
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, OVERRULABLE
from receipt_watcher.jobs.states import Event
from receipt_watcher.report.explain import Explanation
from receipt_watcher.spool.route import InboxRoute, path_of
from receipt_watcher.system.display import printable_lines
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.pages import viewmodels
from receipt_watcher.web.pages.base import PageEndpoints
from receipt_watcher.web.pages.receipts.pictures import Pictures, is_drawable
from receipt_watcher.web.pages.rendering import PageRequest
from receipt_watcher.web.server.headers import SANDBOX_POLICY

#: Most pictures that may be drawn at a time, and most requests that may wait for one.
_PICTURES = 2
_WAITING_FOR_PICTURES = 16
_PICTURE_HEADERS = {"Content-Security-Policy": SANDBOX_POLICY, "Cache-Control": "private, max-age=3600"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptSources:
    """The sources of a receipt's page; `explain` says why the receipt is where it is at a time."""

    log: JobLog
    routes: Sequence[InboxRoute]
    pictures: Pictures
    explain: Callable[[Job, float], Explanation]


class ReceiptPage:
    """The page of one receipt."""

    def __init__(self, endpoints: PageEndpoints, search: Search, actions: Actions, sources: ReceiptSources) -> None:
        self._endpoints = endpoints
        self._search = search
        self._actions = actions
        self._sources = sources
        self._drawing = asyncio.Semaphore(_PICTURES)
        self._waiting_for_pictures = 0

    def routes(self) -> list[Route]:
        """Return its routes."""
        button = self._endpoints.button
        return [
            Route("/receipts/{job_id}", self._endpoints.page(self._receipt, lambda visitor: visitor.may_follow)),
            Route("/receipts/{job_id}/picture", self._picture),
            Route("/receipts/{job_id}/retry", button(self._retry), methods=["POST"]),
            Route("/receipts/{job_id}/settle", button(self._settle), methods=["POST"]),
            Route("/receipts/{job_id}/cancel", button(self._cancel), methods=["POST"]),
        ]

    def _receipt(self, page_request: PageRequest) -> Response:
        t = page_request.texts
        job = self._job(page_request)
        explained = self._sources.explain(job, page_request.now)
        path = None if job.removed_at is not None else path_of(self._sources.routes, job)
        has_file = path is not None and job.sha256 is not None  # without a digest nobody gets it (`fetching`)
        values = {
            "here": "receipts",
            "job": job,
            "row": viewmodels.row(t, job),
            "answer": viewmodels.answer(t, job, explained.answer),
            "advice": viewmodels.advice_for(t, job),
            "is_found": job.reason in EXAMINATION_REASONS,
            "has_picture": page_request.visitor.may_read and is_drawable(job),
            "notion": viewmodels.web_address(job.notion_page_url),
            "file_path": f"/api/v1/jobs/{job.job_id}/file" if page_request.visitor.may_read and has_file else "",
            "may_retry": viewmodels.is_possible(job, Event.RETRY),
            "may_be_booked": may_be_booked(job),
            "may_overrule": page_request.visitor.may_administer and job.reason in OVERRULABLE,
            "may_cancel": viewmodels.is_possible(job, Event.CANCEL),
            "moments": viewmodels.moments(t, self._sources.log.histories.lines(job.job_id)),
            "deliveries": self._sources.log.histories.attempts(job.job_id),
            "facts": list(viewmodels.facts(t, job, viewmodels.path_shown(path))),
            "links": list(viewmodels.links(t, job)),
            "explained": "\n".join(map(printable_lines, explained.lines())),
            "failed_count": self._search.sums().failed,
        }
        return self._endpoints.rendering.page(page_request, "receipt.html", values)

    def _job(self, page_request: PageRequest) -> Job:
        job = self._sources.log.lookups.get(page_request.request.path_params["job_id"])
        if job is None:
            raise HTTPException(404)
        return job

    async def _picture(self, request: Request) -> Response:
        page_request = await self._endpoints.judged(request)
        if not page_request.visitor.may_read:
            return Response(status_code=403)
        if self._waiting_for_pictures >= _WAITING_FOR_PICTURES:
            return Response(status_code=503, headers={"Retry-After": "5"})
        self._waiting_for_pictures += 1
        try:
            async with self._drawing:
                picture = await run_in_threadpool(self._drawn, page_request)
        except HTTPException as error:
            return Response(status_code=error.status_code)
        except (OSError, JobLogError):
            return Response(status_code=503, headers={"Retry-After": "5"})
        finally:
            self._waiting_for_pictures -= 1
        if picture is None:
            return Response(status_code=404)
        return Response(picture, media_type="image/jpeg", headers=_PICTURE_HEADERS)

    def _drawn(self, page_request: PageRequest) -> bytes | None:
        return self._sources.pictures.picture_of(self._job(page_request))

    # --- buttons ---------------------------------------------------------------------------------------------------

    def _retry(self, page_request: PageRequest, form: Mapping[str, str]) -> str:
        is_forced = form.get("force") == "yes"
        may_overrule = page_request.visitor.may_administer
        retry = partial(self._actions.retry, is_forced=is_forced, may_overrule=may_overrule)
        return self._advanced(page_request, retry, "retried")

    def _settle(self, page_request: PageRequest, form: Mapping[str, str]) -> str:
        is_delivered = {"yes": True, "no": False}.get(form.get("delivered", ""))
        if is_delivered is None:
            raise HTTPException(422, "delivered")
        done_word = "settled_delivered" if is_delivered else "settled_not_delivered"
        return self._advanced(page_request, partial(self._actions.settle, is_delivered=is_delivered), done_word)

    def _cancel(self, page_request: PageRequest, _form: Mapping[str, str]) -> str:
        return self._advanced(page_request, self._actions.cancel, "cancelled")

    def _advanced(
        self, page_request: PageRequest, change: Callable[[str, str], Job | str | None], done_word: str
    ) -> str:
        job_id = str(page_request.request.path_params["job_id"])
        after = change(job_id, page_request.visitor.name)
        if after is None:
            raise HTTPException(404)
        page = "/failed" if page_request.query.get("from") == "failed" else f"/receipts/{job_id}"
        return f"{page}?said={done_word if isinstance(after, Job) else 'too_late'}"
