"""Lists of receipts: all of them, and those that failed, with a button to retry these.

A list costs the same on its first page and on its last. Runs in the worker threads of the HTTP side. Nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from receipt_watcher.jobs.log.queries.search import Cursor, Page, Search, Wanted
from receipt_watcher.jobs.states import OPEN_STATES, State
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.pages import viewmodels
from receipt_watcher.web.pages.base import PageEndpoints
from receipt_watcher.web.pages.rendering import PageRequest, PageSettings

_RETRIED_AT_ONCE = 1000
_TEXT_CHARACTERS = 200


class ReceiptLists:
    """The two lists."""

    def __init__(self, endpoints: PageEndpoints, search: Search, actions: Actions, settings: PageSettings) -> None:
        self._endpoints = endpoints
        self._search = search
        self._actions = actions
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return their routes."""
        return [
            Route("/receipts", self._endpoints.page(self._receipts)),
            Route("/failed", self._endpoints.page(self._failed)),
            Route("/failed/retry", self._endpoints.button(self._retry_these), methods=["POST"]),
        ]

    def _receipts(self, page_request: PageRequest) -> Response:
        page = self._search.page(self._wanted(page_request.query), _cursor_of(page_request.query))
        values = {"here": "receipts", "states": [state.value for state in State], **self._list(page_request, page)}
        return self._endpoints.rendering.page(page_request, "receipts.html", values)

    def _failed(self, page_request: PageRequest) -> Response:
        wanted = self._wanted({**page_request.query, "status": State.FAILURE.value})
        page = self._search.page(wanted, _cursor_of(page_request.query))
        values = {"here": "failed", **self._list(page_request, page)}
        return self._endpoints.rendering.page(page_request, "failed.html", values)

    def _list(self, page_request: PageRequest, page: Page) -> dict[str, Any]:
        t = page_request.texts
        wanted = {name: page_request.query.get(name, "") for name in ("q", "status", "inbox", "since", "until")}
        asked = {name: value for name, value in wanted.items() if value}
        looked_to = page.looked_to and t.day(_time_of(page.looked_to))
        return {
            "rows": [viewmodels.row(t, job) for job in page.jobs],
            "wanted": wanted,
            "is_filtered": bool(asked),
            "is_first": not {"older", "newer"} & page_request.query.keys(),
            "is_newer": "newer" in page_request.query,
            "looked_to": looked_to,
            "beside": viewmodels.beside(page, asked),
            "inbox_names": self._settings.inbox_names,
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
            since=_midnight_of(query.get("since", ""), self._settings.zone, 0),
            until=_midnight_of(query.get("until", ""), self._settings.zone, 1),
        )

    def _retry_these(self, page_request: PageRequest, form: Mapping[str, str]) -> str:
        """Retry the failed receipts that the page showed and that fit, the newest first, up to a bound."""
        wanted = self._wanted({**form, "status": State.FAILURE.value})
        name, shown_at = page_request.visitor.name, _moment(form.get("shown_at"))
        count, before, is_all = 0, None, False
        while count < _RETRIED_AT_ONCE and not is_all:
            done = self._actions.retry_all(wanted, before, name, shown_at=shown_at)
            count, before, is_all = count + done.retried, done.more, done.more is None
        shown = {field: form[field] for field in ("q", "inbox") if form.get(field)}
        return f"/failed?{urlencode({**shown, 'said': 'retried_these', 'count': count})}"


def _moment(text: str | None) -> float | None:
    """Return the Unix time that a form of ours sends back; None if it has none."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _cursor_of(query: Mapping[str, str]) -> Cursor | None:
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
