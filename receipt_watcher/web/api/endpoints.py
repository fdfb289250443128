"""The API for people and their programs: what `operations` says, done.

What it promises: each call is judged before it is read; what comes is checked by `schemas`; no answer is given that
`operations` does not name. Lists and searches hold the job log for milliseconds, however many jobs there are, and
whoever only looks never keeps a callback waiting.

Runs in uvicorn's thread; whatever touches the job log or N8N runs in a few worker threads. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as WebRoute

from receipt_watcher import __version__
from receipt_watcher.config.roles import Right, Role
from receipt_watcher.delivery.destinations.reachability import Reachability
from receipt_watcher.delivery.naming import DestinationNames, branch_keys_of
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.json_view import attempt_view, full_view, history_view, iso_time, job_view
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.log.queries.search import Cursor
from receipt_watcher.spool.route import InboxRoute, path_of
from receipt_watcher.web.access.authorization import Access, Caller
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.api import schemas
from receipt_watcher.web.api.events import Feed
from receipt_watcher.web.api.inputs import body_of, query_of, wanted_jobs
from receipt_watcher.web.api.openapi import openapi
from receipt_watcher.web.api.operations import EVENTS, OPERATIONS, Operation
from receipt_watcher.web.api.views import hold_view, reachability_view
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.connections import notify_connection
from receipt_watcher.web.uploads.receive import Uploads

_LOOKING_THREADS = 4
_CHANGING_THREADS = 2
_SHOWN_CHARACTERS = 80

#: The caller of operations that need no right.
_NOBODY = Caller("nobody", Role.VIEWER)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """The parts that the API uses.

    `inbox_views` returns each inbox as JSON takes it; `reachability_of` asks whether a destination's server is there.
    """

    log: JobLog
    holds: Holds
    routes: Sequence[InboxRoute]
    names: DestinationNames
    actions: Actions
    downloads: Downloads
    uploads: Uploads
    feed: Feed
    inbox_views: Callable[[], list[dict[str, Any]]]
    reachability_of: Callable[[str], Reachability]
    clock: Callable[[], float]


class Api:
    """All calls."""

    def __init__(self, access: Access, parts: ApiParts) -> None:
        self._access = access
        self._parts = parts
        self._log = parts.log
        self._looking = asyncio.Semaphore(_LOOKING_THREADS)
        self._changing = asyncio.Semaphore(_CHANGING_THREADS)

    def routes(self) -> list[WebRoute]:
        """Return the routes of all calls but `file`, which shares its path with links."""
        return [
            WebRoute(operation.path, self._answering(name, operation), methods=[operation.method])
            for name, operation in OPERATIONS.items()
            if name != "file"
        ]

    async def file_of_known(self, request: Request) -> Response:
        """Answer who asks for a file without a link."""
        return await self._answering("file", OPERATIONS["file"])(request)

    def _answering(self, name: str, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers a call: judge, read the query, then do it."""
        do: Callable[[Request, Caller, Any], Awaitable[Response]] = getattr(self, f"_{name}")

        async def answer(request: Request) -> Response:
            caller = _NOBODY
            if operation.right is not None:
                caller = await self._access.require(request, operation.right, has_field=name == "upload")
            return await do(request, caller, query_of(operation.query, request))

        return answer

    # --- looking ---------------------------------------------------------------------------------------------------

    async def _jobs(self, _request: Request, _caller: Caller, query: schemas.JobsQuery) -> Response:
        place = Cursor(query.cursor) if query.cursor else None
        page = await self._ask_log(self._log.search.page, wanted_jobs(query), place, query.limit)
        jobs, more = page.jobs, page.older.job_id if page.older else None
        shown = [job_view(job, path_of(self._parts.routes, job)) for job in jobs]
        return JSONResponse({"jobs": shown, "next_cursor": more})

    async def _job(self, request: Request, _caller: Caller, _query: schemas.Nothing) -> Response:
        return JSONResponse(await self._ask_log(self._full_view, _job_id(request)))

    def _full_view(self, job_id: str) -> dict[str, Any]:
        job = self._must_get(job_id)
        path, histories = path_of(self._parts.routes, job), self._log.histories
        return full_view(job, path, histories.attempts(job_id), histories.lines(job_id))

    async def _attempts(self, request: Request, _caller: Caller, query: schemas.RowsQuery) -> Response:
        rows, more = await self._ask_log(self._rows, _job_id(request), self._log.histories.attempts_after, query)
        return JSONResponse({"attempts": [attempt_view(row) for row in rows], "next_cursor": more})

    async def _history(self, request: Request, _caller: Caller, query: schemas.RowsQuery) -> Response:
        rows, more = await self._ask_log(self._rows, _job_id(request), self._log.histories.lines_after, query)
        return JSONResponse({"history": [history_view(row) for row in rows], "next_cursor": more})

    def _rows(
        self, job_id: str, ask: Callable[[str, int, int], list[dict[str, Any]]], query: schemas.RowsQuery
    ) -> tuple[list[dict[str, Any]], int | None]:
        self._must_get(job_id)
        rows_and_next = ask(job_id, query.cursor or 0, query.limit + 1)
        rows = rows_and_next[: query.limit]
        return rows, rows[-1]["id"] if len(rows_and_next) > query.limit else None

    async def _file(self, request: Request, _caller: Caller, _query: schemas.Nothing) -> Response:
        notify_connection(request, "prefer")
        return await self._parts.downloads.answer(request, _job_id(request), None, has_parts=True)

    async def _inboxes(self, _request: Request, _caller: Caller, _query: schemas.Nothing) -> Response:
        return JSONResponse({"inboxes": await self._ask_log(self._parts.inbox_views)})

    async def _events(self, request: Request, caller: Caller, query: schemas.EventsQuery) -> Response:
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isascii() and last.isdecimal() and len(last) < 19 else query.after  # noqa: PLR2004 - of SQLite

        async def is_welcome() -> bool:
            try:  # a session may have ended since, or a provider's token; a reload ends all streams
                await self._access.require(request, Right.READ)
            except RefusedError:
                return False
            return True

        if request.method == "HEAD":  # an answer without a body has an end
            return Response(headers={"Content-Type": EVENTS})
        notify_connection(request, "prefer")
        notify_connection(request, "stream")
        return await self._parts.feed.listen(after, caller.name, is_welcome, EVENTS)

    async def _openapi(self, request: Request, _caller: Caller, _query: schemas.Nothing) -> Response:
        root: str = request.scope.get("root_path", "")
        return Response(await run_in_threadpool(_openapi_text, root), media_type="application/json")

    # --- changing --------------------------------------------------------------------------------------------------

    async def _retry(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        forced = (await body_of(schemas.RetryRequest, request)).force
        may_overrule = caller.has_right(Right.ADMINISTER)
        retry = partial(self._parts.actions.retry, is_forced=forced, may_overrule=may_overrule)
        return await self._advance(retry, request, caller)

    async def _settle(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        delivered = (await body_of(schemas.SettleRequest, request)).delivered
        return await self._advance(partial(self._parts.actions.settle, is_delivered=delivered), request, caller)

    async def _cancel(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        return await self._advance(self._parts.actions.cancel, request, caller)

    async def _advance(
        self, change: Callable[[str, str], Job | str | None], request: Request, caller: Caller
    ) -> Response:
        job_id = _job_id(request)
        async with self._changing:
            after = await run_in_threadpool(change, job_id, caller.name)
        if after is None:
            raise _no_job(job_id)
        if isinstance(after, str):
            raise RefusedError(409, after)
        return JSONResponse({"job_id": after.job_id, "status": after.state.value}, 202)

    async def _retry_all(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        choice = await body_of(schemas.RetryChoice, request)
        retry_all = self._parts.actions.retry_all
        done = await self._change(retry_all, wanted_jobs(choice), choice.cursor, caller.name)
        return JSONResponse({"retried": done.retried, "refused": done.refused, "next_cursor": done.more}, 202)

    async def _upload(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        return await self._parts.uploads.answer(request, caller)

    # --- holds ------------------------------------------------------------------------------------------------------

    async def _hold_inbox(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        why = (await body_of(schemas.HoldRequest, request)).why
        name = (await self._inbox(request))["name"]
        await self._change(self._parts.actions.hold, HoldTarget.INBOX, name, why, caller.name)
        return JSONResponse(await self._inbox(request), 202)

    async def _resume_inbox(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        name = (await self._inbox(request))["name"]
        if not await self._change(self._parts.actions.resume_inbox, name, caller.name):
            raise RefusedError(409, "It is not held.")
        return JSONResponse(await self._inbox(request), 202)

    async def _inbox(self, request: Request) -> dict[str, Any]:
        name: str = request.path_params["inbox"]
        inbox = next((view for view in await self._ask_log(self._parts.inbox_views) if view["name"] == name), None)
        if inbox is None:
            raise RefusedError(404, f"There is no inbox {name[:_SHOWN_CHARACTERS]}.")
        return inbox

    async def _hold(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        why = (await body_of(schemas.HoldRequest, request)).why
        url = self._destination(request)
        await self._change(self._parts.actions.hold, HoldTarget.DESTINATION, url, why, caller.name)
        return JSONResponse(await self._ask_log(self._hold_view, url, caller), 202)

    # --- destinations ----------------------------------------------------------------------------------------------

    async def _holds(self, _request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        states = await self._ask_log(lambda: [self._hold_view(url, caller) for url in self._parts.names.by_url])
        return JSONResponse({"destinations": states})

    async def _resume(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        url = self._destination(request)
        branches = branch_keys_of(self._parts.routes, url)
        if not await self._change(self._parts.actions.resume_destination, url, branches, caller.name):
            raise RefusedError(409, "It is not held.")
        return JSONResponse(await self._ask_log(self._hold_view, url, caller), 202)

    async def _test_connection(self, _request: Request, _caller: Caller, _query: schemas.Nothing) -> Response:
        async with self._changing:
            answers = await run_in_threadpool(
                lambda: [
                    reachability_view(name, self._parts.reachability_of(url))
                    for url, name in self._parts.names.by_url.items()
                ]
            )
        return JSONResponse({"destinations": answers})

    def _destination(self, request: Request) -> str:
        """Return the URL of the destination that is asked for."""
        destination: str = request.path_params["destination"]
        url = self._parts.names.url_of(destination)
        if url is None:
            raise RefusedError(404, f"There is no destination {destination[:_SHOWN_CHARACTERS]}.")
        return url

    def _hold_view(self, url: str, caller: Caller) -> dict[str, Any]:
        standing = self._parts.holds.of(url)
        inboxes = [route.name for route in self._parts.routes if any(b.webhook_url == url for b in route.branches)]
        by_hand = self._log.manual_holds.of_destination(url)
        return hold_view(
            self._parts.names.name_of(url),
            standing,
            inboxes,
            by_hand,
            now=self._parts.clock(),
            shows_path=caller.has_right(Right.ADMINISTER),
        )

    # --- sessions --------------------------------------------------------------------------------------------------

    async def _session(self, _request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        return JSONResponse(self._session_view(caller))

    def _session_view(self, caller: Caller) -> dict[str, Any]:
        session = caller.session
        return {
            "name": caller.name,
            "role": caller.role.value,
            "csrf": None if session is None else self._access.sessions.form_token(session),
            "ends_at": None if session is None else iso_time(session.ends_at),
        }

    async def _sign_in(self, request: Request, _caller: Caller, _query: schemas.Nothing) -> Response:
        given = await body_of(schemas.SignIn, request)
        cookie = await self._access.sign_in(request, given.token)
        session = self._access.sessions.judge(cookie)
        if session is None:  # it was made just now
            raise RuntimeError("a new session is not good")
        answer = JSONResponse(self._session_view(Caller(session.name, session.role, session)), 201)
        self._access.set_cookie(request, answer, cookie)
        return answer

    async def _sign_out(self, request: Request, caller: Caller, _query: schemas.Nothing) -> Response:
        if caller.session is not None:
            await run_in_threadpool(self._access.sessions.end, caller.session)
        answer = Response(status_code=204)
        self._access.forget_cookie(request, answer)
        return answer

    # --- common ----------------------------------------------------------------------------------------------------

    async def _ask_log(self, ask: Callable[..., _Result], *arguments: Any) -> _Result:
        async with self._looking:
            return await run_in_threadpool(ask, *arguments)

    async def _change(self, change: Callable[..., _Result], *arguments: Any) -> _Result:
        async with self._changing:
            return await run_in_threadpool(change, *arguments)

    def _must_get(self, job_id: str) -> Job:
        job = self._log.lookups.get(job_id)
        if job is None:
            raise _no_job(job_id)
        return job


def _no_job(job_id: str) -> RefusedError:
    return RefusedError(404, f"There is no job {job_id[:_SHOWN_CHARACTERS]}.")


def _job_id(request: Request) -> str:
    job_id: str = request.path_params["job_id"]
    return job_id


@functools.cache  # of the one path that a proxy takes away; it takes a tenth of a second, and anybody may ask
def _openapi_text(root_path: str) -> str:
    return json.dumps(openapi(__version__, root_path), ensure_ascii=False, separators=(",", ":"))
