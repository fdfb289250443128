"""The contents of the status page, made from jobs, inboxes and destinations: pure, so that templates only set them.

What it promises: nothing is asked or read here. Words come from the catalogue (`texts`), and are safe to show: names
of files have no control characters left. Times stay Unix seconds; the template writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from receipt_watcher.delivery.naming import DestinationNames, branch_keys_of
from receipt_watcher.inbox.state import InboxState, Waiting
from receipt_watcher.jobs.job import Job, may_be_booked, subfolder_of
from receipt_watcher.jobs.log.holds import DestinationState, HoldKind
from receipt_watcher.jobs.log.manual_holds import HoldTarget, ManualHold
from receipt_watcher.jobs.log.queries.search import Cursor, Page, Sums
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import OPEN_STATES, Event, State, next_state
from receipt_watcher.report.health.troubles import Trouble, TroubleKind
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.display import display_name, printable, printable_lines
from receipt_watcher.web.pages.texts.language import Texts
from receipt_watcher.web.problem import NeverTakenError, RefusedError

#: So many files that wait in an inbox are named.
_NAMED = 5


def named(inbox: InboxState) -> tuple[Waiting, ...]:
    """Return the files that wait in an inbox and are named; for the rest their number is told."""
    return inbox.waiting[:_NAMED]


_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")


@dataclass(frozen=True, slots=True)
class Headline:
    """The present state in a sentence or two; `level` is fine, warn or bad."""

    level: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HoldView:
    """An inbox or a destination that is held, or fails: whose receipts wait, and to which workflows they go."""

    what: str
    since: float | None
    message: str
    probe_at: float | None
    inboxes: Sequence[str] = ()
    workflows: Sequence[str] = ()
    resume_path: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One receipt in a list."""

    job: Job
    name: str
    state: str
    took: float | None
    words: str
    advice: str
    may_be_booked: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened to a receipt."""

    at: float
    kind: str
    what: str
    detail: str


# --- overview ------------------------------------------------------------------------------------------------------


def headline(texts: Texts, troubles: Sequence[Trouble], by_hand: Sequence[ManualHold], sums: Sums) -> Headline:
    """Return how things stand: all that is wrong, the worst first."""
    away = sum(1 for trouble in troubles if trouble.kind is TroubleKind.INBOX)
    sentences = dict.fromkeys(
        texts("trouble.inbox", away)
        if trouble.kind is TroubleKind.INBOX
        else texts(f"trouble.{trouble.kind}", trouble.count, name=printable(trouble.name))
        for trouble in troubles
    )
    if by_hand:
        sentences[texts("overview.by_hand")] = None
    open_count = sum(sums.open.values())
    if open_count and not by_hand and all(trouble.is_news for trouble in troubles):
        sentences = {texts("overview.flowing", open_count): None} | sentences
    if troubles or by_hand:
        is_bad = any(trouble.is_failing for trouble in troubles)
        return Headline("bad" if is_bad else "warn", tuple(sentences))
    return Headline("fine", tuple(sentences) or (texts("overview.fine"),))


#: The kinds of trouble of which the headline says all, or that have a card of their own.
_TOLD_ELSEWHERE = frozenset(
    {TroubleKind.INBOX, TroubleKind.HOLD, TroubleKind.FAILED, TroubleKind.LONG_WAIT, TroubleKind.UNROUTED}
)


def details(troubles: Sequence[Trouble]) -> list[str]:
    """Return what else there is to say of what is wrong, in English, for the admin."""
    return [printable_lines(trouble.text) for trouble in troubles if trouble.kind not in _TOLD_ELSEWHERE]


def holds(
    texts: Texts,
    standings: Sequence[DestinationState],
    by_hand: Sequence[ManualHold],
    names: DestinationNames,
    routes: Sequence[InboxRoute],
) -> list[HoldView]:
    """Return what is held, and the destinations that have failed the last time."""
    paths = {url: f"/destinations/{quote(name)}/resume" for url, name in names.by_url.items()}
    views = []
    for hold in by_hand:
        words = texts(f"hold.hand.{hold.kind}", name=printable(names.held(hold)))
        path = f"/inboxes/{hold.name}/resume" if hold.kind is HoldTarget.INBOX else paths.get(hold.name, "")
        is_inbox = hold.kind is HoldTarget.INBOX
        inboxes = [hold.name] if is_inbox else branch_keys_of(routes, hold.name)
        workflows = _workflows_of(routes, hold.name, names) if is_inbox else [names.name_of(hold.name)]
        views.append(HoldView(words, hold.since, printable_lines(hold.why), None, inboxes, workflows, path))
    for standing in standings:
        message = printable_lines(standing.hold_message or "")
        affected = branch_keys_of(routes, standing.url), [names.name_of(standing.url)]
        if standing.hold_kind is not None:
            kind = "silence" if standing.hold_kind is HoldKind.SILENCE else "answers"
            path = paths.get(standing.url, "")
            words = texts(f"hold.{kind}")
            views.append(HoldView(words, standing.held_since, message, standing.probe_at, *affected, path))
        elif standing.misses:
            views.append(HoldView(texts("hold.failing", standing.misses), None, message, standing.probe_at, *affected))
    return views


def _workflows_of(routes: Sequence[InboxRoute], inbox: str, names: DestinationNames) -> list[str]:
    urls = dict.fromkeys(branch.webhook_url for route in routes if route.name == inbox for branch in route.branches)
    return [names.name_of(url) for url in urls]


# --- receipts ------------------------------------------------------------------------------------------------------


def row(texts: Texts, job: Job) -> Row:
    """Return one receipt as a row of a list."""
    meaning = texts.meaning(job.reason) if job.reason else ""
    words = printable_lines(job.message or "") or meaning
    took = None if job.completed_at is None else max(0.0, job.completed_at - job.created_at)
    advice = advice_for(texts, job)
    return Row(job, printable(job.filename), job.state.value, took, words, advice, may_be_booked(job))


def advice_for(texts: Texts, job: Job) -> str:
    """Return what to do about a receipt, where there is anything."""
    return texts.advice(job.reason) if job.reason and job.state is not State.SUCCESS else ""


def answer(texts: Texts, job: Job, explained: str) -> str:
    """Return what there is to say of a receipt: as `explain` says it, or in the reader's language."""
    if texts.language == "en":
        return printable_lines(explained)
    words = texts(f"answer.{job.state.value}")
    return f"{words} {texts.meaning(job.reason)}" if job.reason and job.state is State.FAILURE else words


#: The text for a refusal by its status, if the receipt is not the cause.
_REFUSALS = {413: "upload.too_large", 503: "upload.later", 507: "upload.no_room"}


def refusal(texts: Texts, error: RefusedError, max_size: str) -> str:
    """Return why an upload was refused: as it was said, or in the reader's language, where there are words for it."""
    if texts.language == "en":
        return printable_lines(error.detail)
    reason = next((reason for reason in Reason if reason.value == error.more.get("reason")), None)
    if reason is not None:
        return f"{texts.meaning(reason)} {texts.advice(reason)}"
    key = "upload.name" if isinstance(error, NeverTakenError) else _REFUSALS.get(error.status)
    return printable_lines(error.detail) if key is None else texts(key, size=max_size)


def beside(page: Page, query: Mapping[str, str]) -> dict[str, str]:
    """Return the query strings of the pages beside one, by their names: older, newer, newest."""
    queries = {}
    for name, place in (("older", page.older), ("newer", page.newer)):
        if place is not None:
            queries[name] = _query_of(query, place)
    if page.newer is not None:
        queries["newest"] = urlencode(query)
    return queries


def _query_of(query: Mapping[str, str], place: Cursor) -> str:
    return urlencode({**query, "newer" if place.is_newer else "older": place.job_id})


# --- one receipt ---------------------------------------------------------------------------------------------------


def moments(texts: Texts, history: Sequence[Mapping[str, Any]]) -> list[Moment]:
    """Return the life of a receipt, the latest last."""
    return [
        Moment(
            row["at"],
            _kind(row["event"], row["to_state"]),
            texts.optional(f"event.{row['event']}", row["event"]),
            printable_lines(_words_of(row["detail"] or "")),
        )
        for row in history
    ]


def _words_of(detail: str) -> str:
    """Return the message of a callback, which the history keeps as it was sent; any other text as it is."""
    try:
        verdict = json.loads(detail)
    except ValueError:
        return detail
    if not isinstance(verdict, dict) or verdict.keys() - {"status", "message", "notion_page_url", "execution_id"}:
        return detail
    return str(verdict.get("message") or "")


def pieces(text: str) -> list[tuple[str, bool]]:
    """Return a text in pieces, each with whether it is a time (ISO 8601), so that it can be shown as one."""
    times = [(match.start(), match.end()) for match in _ISO.finditer(text)]
    edges = [0, *(edge for time in times for edge in time), len(text)]
    cut = [(text[start:end], number % 2 == 1) for number, (start, end) in enumerate(pairwise(edges))]
    return [piece for piece in cut if piece[0]]


def _kind(event: str, to_state: str | None) -> str:
    if to_state is not None:
        return to_state
    return State.FAILURE.value if event in ("file.missing", "callback.unreadable") else "note"


def facts(texts: Texts, job: Job, path: str) -> Iterator[tuple[str, str]]:
    """Yield what is known of a receipt: name and value."""
    known = {
        "inbox": job.inbox,
        "subfolder": printable(subfolder_of(job)),
        "kind": texts.kind(job.mime_type),
        "size": texts.size(job.size),
        "attempts": texts.number(job.attempts),
        "path": printable(path),
        "database": printable(job.notion_database_id),
        "execution": printable(job.execution_id or ""),
        "id": job.job_id,
        "digest": job.sha256 or "",
    }
    for name, value in known.items():
        if value:
            yield texts(f"fact.{name}"), value


def links(texts: Texts, job: Job) -> Iterator[tuple[str, str]]:
    """Yield the receipts that one is tied to: what ties it, and the other's id."""
    for key, job_id in (
        ("receipt.copy_of", job.duplicate_of),
        ("fact.revision", job.revision_of),
        ("fact.conflict", job.conflict_of),
    ):
        if job_id:
            yield texts(key), job_id


def web_address(url: str | None) -> str | None:
    """Return an address that may be a link; None for what is none, such as one that would run a script."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.hostname else None


def is_possible(job: Job, event: Event) -> bool:
    """Return whether a button for this makes sense now."""
    if event is Event.RETRY and job.removed_at is not None:
        return False
    return next_state(job.state, event) is not None


def is_open(job: Job) -> bool:
    """Return whether a receipt is on its way."""
    return job.state in OPEN_STATES


def path_shown(path: object) -> str:
    """Return a path as it can be shown."""
    return display_name(str(path)) if path else ""
