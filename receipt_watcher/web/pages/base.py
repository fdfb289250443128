"""The common base of all pages: the right to see one, the answer to a button, and the beat that shows news.

What it promises: a page is shown only to callers who may see it; a button changes nothing unless we made its form. The
beat is taken before a page is made, so its script notices what comes meanwhile.

Runs in uvicorn's thread; what touches the job log runs in worker threads. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from receipt_watcher.config.roles import Right
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.errors import JobLogError
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.jobs.log.holds import DestinationState, Holds
from receipt_watcher.jobs.log.manual_holds import ManualHold, ManualHolds
from receipt_watcher.jobs.log.queries.search import Search
from receipt_watcher.report.health.troubles import Trouble
from receipt_watcher.web.access.authorization import Access, Caller
from receipt_watcher.web.pages.rendering import LANGUAGE_HEADERS, PageRequest, Rendering, Visitor
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.bodies import form_fields

#: Most requests that may ask the job log at a time.
_LOOKING_THREADS = 4

Answer = Callable[[Request], Awaitable[Response]]
_Result = TypeVar("_Result")


class Pulse:
    """The present state of destinations and inboxes; `names` are those of the destinations that are configured."""

    def __init__(
        self,
        search: Search,
        holds: Holds,
        hand_holds: ManualHolds,
        names: DestinationNames,
        *,
        inboxes: Callable[[], Sequence[InboxState]],
        troubles: Callable[[], Sequence[Trouble]],
    ) -> None:
        self._search = search
        self._holds = holds
        self._hand_holds = hand_holds
        self.names = names
        self.inboxes = inboxes
        self.troubles = troubles

    def destinations(self) -> list[DestinationState]:
        """Return how each destination stands."""
        return [state for state in self._holds.all() if state.url in self.names.by_url]

    def held_by_hand(self) -> list[ManualHold]:
        """Return what an admin holds."""
        return self._hand_holds.all()

    def beat(self) -> str:
        """Return a word that is another one when there is something else to show."""
        shown = (
            self._search.beat(),
            self.destinations(),
            self.held_by_hand(),
            list(self.inboxes()),
            list(self.troubles()),
        )
        return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


class PageEndpoints:
    """Makes endpoints of pages and buttons."""

    def __init__(self, access: Access, rendering: Rendering, pulse: Pulse) -> None:
        self._access = access
        self._pulse = pulse
        self._looking = asyncio.Semaphore(_LOOKING_THREADS)
        self.rendering = rendering

    async def run_in_thread(self, ask: Callable[..., _Result], *arguments: object) -> _Result:
        """Run what asks or changes the job log, in one of few threads."""
        async with self._looking:
            return await run_in_threadpool(ask, *arguments)

    async def judged(self, request: Request) -> PageRequest:
        """Return a request with its caller, or with nobody known.

        Raises:
            RefusedError: the token is wrong, or another site's page sent this.
        """
        caller = await self._access.caller(request, has_field=True)
        return self.rendering.page_request(request, self._visitor(caller) if caller else Visitor())

    def _visitor(self, caller: Caller) -> Visitor:
        session = caller.session
        return Visitor(
            may_follow=caller.has_right(Right.FOLLOW),
            may_read=caller.has_right(Right.READ),
            may_change=caller.has_right(Right.CHANGE),
            may_administer=caller.has_right(Right.ADMINISTER),
            may_upload=caller.has_right(Right.UPLOAD),
            name=caller.name,
            signed_in_as=caller.name if session else "",
            csrf_token=self._access.sessions.form_token(session) if session else "",
            caller=caller,
        )

    def _refused(self, page_request: PageRequest) -> Response:
        """Return what somebody gets who may not: the form to sign in, where nobody is known."""
        request = page_request.request
        # A button on a page of ours, whose session has ended: from the form its page is shown again.
        is_button = request.method == "POST" and request.headers.get("sec-fetch-site") == "same-origin"
        if page_request.visitor.caller is None and (request.method == "GET" or is_button):
            path, query = _page_before(request) if is_button else (request.url.path, request.url.query)
            onward = path.removeprefix(page_request.url("")) + (f"?{query}" if query else "")
            form = f"{page_request.url('/sign-in')}?{urlencode({'next': onward})}"
            return RedirectResponse(form, 303, LANGUAGE_HEADERS)
        return self.rendering.error(page_request, 403)

    def page(
        self,
        show: Callable[[PageRequest], Response],
        may_see: Callable[[Visitor], bool] = lambda visitor: visitor.may_read,
    ) -> Answer:
        """Return the endpoint of a page, by default for whoever may read."""

        async def answer(request: Request) -> Response:
            page_request = await self.judged(request)
            if not may_see(page_request.visitor):
                return self._refused(page_request)
            try:
                page = await self.run_in_thread(self._shown, show, page_request)
            except HTTPException as error:
                return self.rendering.error(page_request, error.status_code, error.detail)
            except JobLogError as error:
                return self.rendering.error(page_request, 503, str(error))
            self.rendering.remember_language(page_request, page)
            return page

        return answer

    def _shown(self, show: Callable[[PageRequest], Response], page_request: PageRequest) -> Response:
        """Return a page; the beat is taken first, so that what comes while it is made is noticed."""
        return show(replace(page_request, beat=self._pulse.beat()))

    def button(self, change: Callable[[PageRequest, Mapping[str, str]], str]) -> Answer:
        """Return the endpoint of a button: `change` returns where to go on."""

        async def answer(request: Request) -> Response:
            page_request = await self.judged(request)
            if not page_request.visitor.may_change:
                return self._refused(page_request)
            try:
                form = await form_fields(request)
                self._check_form(page_request, form.get("csrf"))
                path = await self.run_in_thread(change, page_request, form)
            except HTTPException as error:
                return self.rendering.error(page_request, error.status_code, error.detail)
            except JobLogError as error:
                return self.rendering.error(page_request, 503, str(error))
            return RedirectResponse(page_request.url(path), 303, LANGUAGE_HEADERS)

        return answer

    def _check_form(self, page_request: PageRequest, given: str | None) -> None:
        """Check that a form is one that we made.

        Raises:
            RefusedError: it is not.
        """
        if page_request.visitor.caller is not None:
            self._access.check_field(page_request.request, page_request.visitor.caller, given)


def _page_before(request: Request) -> tuple[str, str]:
    """Return path and query of the page that a button is on, or of the first page if that is not said."""
    try:
        parts = urlsplit(request.headers.get("referer", "/"))
    except ValueError:
        return "/", ""
    return parts.path, parts.query


class ErrorPages:
    """Errors as pages."""

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering

    def refused(self, request: Request, error: RefusedError) -> Response:
        """Return as a page why somebody was refused."""
        page = self._rendering.error(self._rendering.page_request(request), error.status, error.detail)
        page.headers.update(error.headers or {})
        return page

    def error(self, request: Request, status: int, detail: str = "") -> Response:
        """Return an error as a page."""
        return self._rendering.error(self._rendering.page_request(request), status, detail)
