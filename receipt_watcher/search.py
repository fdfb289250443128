"""Finds receipts in the job log for people: a page at a time, by name, message, state, inbox and day.

What it promises: a page costs the same wherever it lies, among a million receipts too, since each begins at the id
where the last one ended. A search for text looks at a stretch of receipts at a time, and says how far it has come:
nobody who searches keeps the job log from those who write it. Capitals, and how letters are composed, do not matter.

Any thread may call it. It writes nothing. Each call may raise JobLogError. Times are Unix seconds.
"""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice

from receipt_watcher.job import Job, State, job_id_prefix
from receipt_watcher.records import SELECT_JOB, Records
from receipt_watcher.tables import job_of

#: Receipts on a page.
PAGE_ROWS = 50

#: So many receipts one call looks through for a text. By measure: some 20 ms.
STRETCH_ROWS = 20_000

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{0,27}")
_HOUR, _DAY_HOURS = 3600.0, 24

_OPEN = "state NOT IN ('success', 'failure', 'cancelled', 'duplicate')"  # in the words of the partial index

#: A condition of a question, and its values.
_Condition = tuple[str, list[object]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which receipts are looked for; `since` to before `until` is when they came. All of it must fit."""

    text: str = ""
    states: Sequence[State] = ()
    inbox: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: beyond the receipt of this id, towards the older ones, or the newer ones."""

    job_id: str = ""
    is_newer: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some receipts, the newest first, and where the pages beside this one begin.

    `looked_to` is the id of the last receipt that was looked at, where the search has not come to its end.
    """

    jobs: list[Job]
    older: Place | None
    newer: Place | None
    looked_to: str | None = None


@dataclass(frozen=True, slots=True)
class Hour:
    """What came in one hour, by what became of it, and how long those that succeeded took, in seconds."""

    begins_at: float
    done: int
    failed: int
    waiting: int
    median_seconds: float | None

    @property
    def count(self) -> int:
        """How many came."""
        return self.done + self.failed + self.waiting


@dataclass(frozen=True, slots=True)
class Sums:
    """How many receipts are open, by state, and since when the oldest is; how many stand failed."""

    open: dict[State, int]
    oldest_at: float | None
    failed: int


class Search:
    """Searches one job log."""

    def __init__(self, log: Records) -> None:
        self._log = log

    def page(self, wanted: Wanted, place: Place | None = None, limit: int = PAGE_ROWS) -> Page:
        """Return the page that begins at a place, by default the newest."""
        place = place or Place()
        if _ID.fullmatch(text := wanted.text.strip().lower()):
            return self._page(replace(wanted, text=""), place, limit, text)
        return self._page(wanted, place, limit)

    def _page(self, wanted: Wanted, place: Place, limit: int, prefix: str = "") -> Page:
        rounds = [self._one_state(wanted, state, place, limit + 1, prefix) for state in wanted.states or (None,)]
        ends = [end for _, end in rounds if end is not None]
        reached = (min if place.is_newer else max)(ends, default=None)
        found = merge(*(jobs for jobs, _ in rounds), key=lambda job: job.job_id, reverse=not place.is_newer)
        jobs = [job for job in islice(found, limit + 1) if reached is None or _is_within(job, reached, place)]
        has_more = len(jobs) > limit
        jobs = jobs[:limit]
        looked_to = None if has_more else reached
        beyond = jobs[-1].job_id if has_more else looked_to
        onwards = None if beyond is None else Place(beyond, place.is_newer)
        if place.is_newer:
            jobs.reverse()
        # Beside an empty page lies the receipt that it began behind, too: in between is what nobody has for an id.
        first = jobs[0].job_id if jobs else place.job_id[:-1]
        last = jobs[-1].job_id if jobs else f"{place.job_id}g"
        if place.is_newer:
            return Page(jobs, Place(last), onwards, looked_to)
        return Page(jobs, onwards, Place(first, is_newer=True) if place.job_id else None, looked_to)

    def _one_state(
        self, wanted: Wanted, state: State | None, place: Place, limit: int, prefix: str
    ) -> tuple[list[Job], str | None]:
        """Return receipts in the order of the search, and how far it came where that is not the end."""
        by_index, by_row = _conditions(wanted, state, place, prefix)
        end = self._end_of_stretch(by_index, place) if by_row else None
        if end is not None:
            by_index.append(("job_id <= ?" if place.is_newer else "job_id >= ?", [end]))
        where, values = _joined([*by_index, *by_row])
        rows = self._log.select(f"{SELECT_JOB} WHERE {where} ORDER BY job_id {_order(place)} LIMIT ?", *values, limit)
        jobs = [job for job in map(job_of, rows) if _has(job, wanted.text)]
        if len(rows) == limit:  # it may go on behind the last of them, which need not fit, either
            end = None if len(jobs) == limit else job_of(rows[-1]).job_id
        return jobs, end

    def _end_of_stretch(self, conditions: Sequence[_Condition], place: Place) -> str | None:
        """Return the id where a stretch ends; None where what there is to look at ends before."""
        where, values = _joined(conditions)
        statement = f"SELECT job_id FROM job WHERE {where} ORDER BY job_id {_order(place)} LIMIT 1 OFFSET ?"  # noqa: S608 - our own text
        found = self._log.select(statement, *values, STRETCH_ROWS - 1)
        return str(found[0][0]) if found else None

    # --- sums ------------------------------------------------------------------------------------------------------

    def sums(self) -> Sums:
        """Count what waits and what has failed."""
        # The plus: else SQLite groups by the index of all states, and reads a million rows.
        counted = self._log.select(f"SELECT state, COUNT(*), MIN(created_at) FROM job WHERE {_OPEN} GROUP BY +state")  # noqa: S608
        [(failed,)] = self._log.select("SELECT COUNT(*) FROM job WHERE state = 'failure'")
        oldest = min((at for _, _, at in counted), default=None)
        return Sums({State(state): int(number) for state, number, _ in counted}, oldest, int(failed))

    def last_event(self) -> int:
        """Return the number of the newest line of all histories; it grows whenever anything happens to a receipt."""
        return self._log.last_event()

    def day(self, now: float) -> list[Hour]:
        """Return the last 24 hours, the present one last, each from a full hour to the next."""
        begins_at = now // _HOUR * _HOUR - (_DAY_HOURS - 1) * _HOUR
        statement = "SELECT state, created_at, completed_at FROM job WHERE job_id >= ?"
        hours: list[dict[State, list[float]]] = [{} for _ in range(_DAY_HOURS)]
        for state, created_at, completed_at in self._log.select(statement, job_id_prefix(begins_at)):
            number = min(max(int((created_at - begins_at) // _HOUR), 0), _DAY_HOURS - 1)
            hours[number].setdefault(state, []).append((completed_at or now) - created_at)
        return [_hour(begins_at + number * _HOUR, found) for number, found in enumerate(hours)]


def _hour(begins_at: float, found: dict[State, list[float]]) -> Hour:
    def count(*states: State) -> int:
        return sum(len(found.get(state, ())) for state in states)

    took = found.get(State.SUCCESS)
    return Hour(
        begins_at,
        done=count(State.SUCCESS, State.DUPLICATE),
        failed=count(State.FAILURE, State.CANCELLED),
        waiting=count(State.QUEUED, State.DELIVERING, State.PROCESSING),
        median_seconds=statistics.median(took) if took else None,
    )


def _conditions(
    wanted: Wanted, state: State | None, place: Place, prefix: str
) -> tuple[list[_Condition], list[_Condition]]:
    """Return what an index finds, in the order of the ids, and what is to be seen in each row.

    Ids begin with the time when they were given, so days are bounds of ids.
    """
    by_index: list[_Condition] = []
    if place.job_id:
        by_index.append(("job_id > ?" if place.is_newer else "job_id < ?", [place.job_id]))
    if wanted.since is not None:
        by_index.append(("job_id >= ?", [job_id_prefix(wanted.since)]))
    if wanted.until is not None:
        by_index.append(("job_id < ?", [job_id_prefix(wanted.until)]))
    if prefix:
        by_index += [("job_id >= ?", [prefix]), ("job_id < ?", [f"{prefix}g"])]  # behind the last hexadecimal digit
    by_row: list[_Condition] = []
    if state:
        by_index.append(("state || '' = ?", [state]))  # in the words of the index
    if wanted.inbox and state:
        by_row.append(("inbox = ?", [wanted.inbox]))
    elif wanted.inbox:
        by_index.append(("inbox || '' = ?", [wanted.inbox]))
    if wanted.text:
        either = "(filename LIKE ? ESCAPE '\\' OR message LIKE ? ESCAPE '\\')"
        by_row.append((either, [_pattern(wanted.text)] * 2))
    return by_index, by_row


def _joined(conditions: Sequence[_Condition]) -> tuple[str, list[object]]:
    where = " AND ".join(condition for condition, _ in conditions) or "1"
    return where, [value for _, values in conditions for value in values]


def _order(place: Place) -> str:
    return "ASC" if place.is_newer else "DESC"


def _is_within(job: Job, reached: str, place: Place) -> bool:
    return job.job_id <= reached if place.is_newer else job.job_id >= reached


def _pattern(text: str) -> str:
    """Return what SQLite finds at least: it knows the capitals of ASCII only, so other letters fit anything."""
    escaped = re.sub(r"([%_\\])", r"\\\1", unicodedata.normalize("NFC", text.strip()))
    return "%" + re.sub(r"[^\x00-\x7f]+", "%", escaped) + "%"


def _has(job: Job, text: str) -> bool:
    if not text:
        return True
    sought = _composed(text.strip())
    return sought in _composed(job.filename) or sought in _composed(job.message or "")


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
