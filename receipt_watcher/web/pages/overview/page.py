"""The overview: how things stand, what is on hold, the last day, and buttons to hold and resume.

Runs in the worker threads of the HTTP side. Nothing is kept but the sums of the last day and of
the failures, for a minute.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receipt_watcher.delivery.naming import branch_keys_of
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.log.queries.search import Hour, Search, Wanted
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.pages import viewmodels
from receipt_watcher.web.pages.base import PageEndpoints, Pulse
from receipt_watcher.web.pages.overview.chart import HEIGHT, chart
from receipt_watcher.web.pages.rendering import PageRequest

_RECENT_ROWS = 8
_WHY_CHARACTERS = 200
_DAY_SECONDS_KEPT = 60.0


class OverviewPage:
    """The overview."""

    def __init__(
        self, endpoints: PageEndpoints, pulse: Pulse, search: Search, actions: Actions, routes: Sequence[InboxRoute]
    ) -> None:
        self._endpoints = endpoints
        self._pulse = pulse
        self._search = search
        self._actions = actions
        self._routes = routes
        self._sums = _KeptSums(search)

    def routes(self) -> list[Route]:
        """Return its routes."""
        button = self._endpoints.button
        return [
            Route("/", self._endpoints.page(self._overview)),
            Route("/inboxes/{inbox}/hold", button(self._hold_inbox), methods=["POST"]),
            Route("/inboxes/{inbox}/resume", button(self._resume_inbox), methods=["POST"]),
            Route("/destinations/{destination}/resume", button(self._resume), methods=["POST"]),
            Route("/page/pulse", self._beat),
        ]

    def _overview(self, page_request: PageRequest) -> Response:
        t, now = page_request.texts, page_request.now
        sums = self._search.sums()
        destinations = self._pulse.destinations()
        by_hand = self._pulse.held_by_hand()
        inboxes = self._pulse.inboxes()
        troubles = self._pulse.troubles()
        hours, failures = self._sums.at(now)
        latest = self._search.page(Wanted(), limit=_RECENT_ROWS)
        values = {
            "here": "overview",
            "headline": viewmodels.headline(t, troubles, by_hand, sums),
            "details": viewmodels.details(troubles),
            "holds": viewmodels.holds(t, destinations, by_hand, self._pulse.names, self._routes),
            "inboxes": inboxes,
            "held_inboxes": {hold.name for hold in by_hand if hold.kind is HoldTarget.INBOX},
            "waiting": sum(sums.open.get(state, 0) for state in (State.QUEUED, State.DELIVERING)),
            "processing": sums.open.get(State.PROCESSING, 0),
            "failed_count": sums.failed,
            "done": sum(hour.done for hour in hours),
            "oldest": None if sums.oldest_at is None else max(0.0, now - sums.oldest_at),
            "chart": chart(t, hours),
            "chart_height": HEIGHT,
            "causes": failures,
            "rows": [viewmodels.row(t, job) for job in latest.jobs],
        }
        return self._endpoints.rendering.page(page_request, "overview.html", values)

    async def _beat(self, request: Request) -> Response:
        page_request = await self._endpoints.judged(request)
        if not page_request.visitor.may_read and not page_request.visitor.may_upload:
            return Response(status_code=403)
        try:
            beat = await self._endpoints.run_in_thread(self._pulse.beat)
        except JobLogError:
            return Response(status_code=503)
        return JSONResponse({"pulse": beat}, headers={"Cache-Control": "no-store"})

    # --- buttons ---------------------------------------------------------------------------------------------------

    def _hold_inbox(self, page_request: PageRequest, form: Mapping[str, str]) -> str:
        why = form.get("why", "").strip()[:_WHY_CHARACTERS]
        self._actions.hold(HoldTarget.INBOX, self._inbox_named(page_request), why, page_request.visitor.name)
        return "/?said=held"

    def _resume_inbox(self, page_request: PageRequest, _form: Mapping[str, str]) -> str:
        was_held = self._actions.resume_inbox(self._inbox_named(page_request), page_request.visitor.name)
        return f"/?said={'resumed' if was_held else 'not_held'}"

    def _inbox_named(self, page_request: PageRequest) -> str:
        name = str(page_request.request.path_params["inbox"])
        if all(route.name != name for route in self._routes):
            raise HTTPException(404)
        return name

    def _resume(self, page_request: PageRequest, _form: Mapping[str, str]) -> str:
        url = self._pulse.names.url_of(page_request.request.path_params["destination"])
        if url is None:
            raise HTTPException(404)
        was_held = self._actions.resume_destination(url, branch_keys_of(self._routes, url), page_request.visitor.name)
        return f"/?said={'resumed' if was_held else 'not_held'}"


class _KeptSums:
    """The hours of the last day and the failures by reason, asked for once a minute: many may have the page open."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._lock = threading.Lock()
        self._kept: tuple[tuple[float, tuple[int, int]], tuple[list[Hour], dict[Reason, int]]] | None = None

    def at(self, now: float) -> tuple[list[Hour], dict[Reason, int]]:
        """Return the last 24 hours, and the failed receipts by reason."""
        key = now // _DAY_SECONDS_KEPT, self._search.beat()
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = key, (self._search.day(now), self._search.failures())
            return self._kept[1]
