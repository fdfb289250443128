"""Finds receipts in the job log for people: a page at a time, by name, message, state, inbox and day.

What it promises: a page costs the same wherever it lies, among a million receipts too, since each begins at the id
where the last one ended. A search for text looks at a stretch of receipts at a time, and says how far it has come:
nobody who searches keeps the job log from those who write it. Capitals, and how letters are composed, do not matter.

Any thread may call it. It writes nothing. Each call may raise JobLogError. Times are Unix seconds.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice, product

from receipt_watcher.jobs.job import Job, job_id_prefix
from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.jobs.log.histories import Histories
from receipt_watcher.jobs.log.queries.file_names import composed, like_of_word, words_of
from receipt_watcher.jobs.log.queries.lookups import Lookups
from receipt_watcher.jobs.log.queries.statistics import Statistics
from receipt_watcher.jobs.log.tables import IS_OPEN, SELECT_JOB, job_of
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State

#: Receipts on a page.
PAGE_ROWS = 50

#: So many receipts one call looks through for a text. By measure: some 20 ms.
STRETCH_ROWS = 20_000

_BY_IDS = f"{SELECT_JOB} WHERE job_id IN (SELECT value FROM json_each(?))"  # noqa: S608 - our own text

#: So many words the log is asked for, the longest; the others are looked for in what it gives.
_ASKED_WORDS = 5

#: So many failures are grouped by their reason, the last ones.
FAILURE_ROWS = 1000

# In the words of the partial index of failures, or it is not used.
FAILURES = """
SELECT reason, COUNT(*)
FROM (SELECT reason FROM job WHERE NOT (state <> 'failure') ORDER BY completed_at DESC LIMIT ?) AS last
WHERE reason IS NOT NULL
GROUP BY reason ORDER BY COUNT(*) DESC, reason
"""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{0,27}")
_HOUR, _DAY_HOURS = 3600.0, 24


#: A condition of a question, and its values.
_Condition = tuple[str, list[object]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The receipts that are looked for; `since` to before `until` is when they came. All of it must fit.

    Each word of the text stands in the file's name or the message, in any order; quotes keep a phrase. Or the text is
    an id, or its beginning of nine characters or more.
    """

    text: str = ""
    states: Collection[State] = ()
    inbox: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The beginning of a page: beyond the receipt of this id, towards the older ones, or the newer ones."""

    job_id: str = ""
    is_newer: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some receipts, the newest first, and where the pages beside this one begin.

    `looked_to` is the id of the last receipt that was looked at, where the search has not come to its end.
    """

    jobs: list[Job]
    older: Cursor | None
    newer: Cursor | None
    looked_to: str | None = None


@dataclass(frozen=True, slots=True)
class Hour:
    """The receipts of one hour, by what became of them, and how long those that succeeded took, in seconds."""

    begins_at: float
    done: int
    failed: int
    waiting: int
    median_seconds: float | None

    @property
    def count(self) -> int:
        """The number of receipts that came."""
        return self.done + self.failed + self.waiting


@dataclass(frozen=True, slots=True)
class Sums:
    """The number of open receipts, by state, and since when the oldest is; the number of failed ones."""

    open: dict[State, int]
    oldest_at: float | None
    failed: int


class Search:
    """Searches one job log."""

    def __init__(self, database: Database, lookups: Lookups, histories: Histories, statistics: Statistics) -> None:
        self._database = database
        self._lookups = lookups
        self._histories = histories
        self._statistics = statistics

    def page(self, wanted: Wanted, place: Cursor | None = None, limit: int = PAGE_ROWS) -> Page:
        """Return the page that begins at a place, by default the newest."""
        place = place or Cursor()
        if _ID.fullmatch(text := wanted.text.strip().lower()):
            return self._page(replace(wanted, text=""), place, limit, text)
        return self._page(wanted, place, limit)

    def newest(self, wanted: Wanted, limit: int) -> list[Job]:
        """Return the newest receipts that fit, however deep they lie."""
        jobs: list[Job] = []
        place: Cursor | None = Cursor()
        while place is not None and len(jobs) < limit:
            page = self.page(wanted, place, limit - len(jobs))
            jobs, place = jobs + page.jobs, page.older
        return jobs

    def _page(self, wanted: Wanted, place: Cursor, limit: int, prefix: str = "") -> Page:
        groups = self._groups(wanted)
        stretch = max(1, STRETCH_ROWS // len(groups))
        bounds = _bounds(wanted, place, prefix)
        rounds = [self._ids([group, *bounds], words_of(wanted.text), place, limit + 1, stretch) for group in groups]
        ends = [end for _, end in rounds if end is not None]
        reached = (min if place.is_newer else max)(ends, default=None)
        # In several states one id may be: it changed just between two questions.
        merged = dict.fromkeys(merge(*(ids for ids, _ in rounds), reverse=not place.is_newer))
        ids = [job_id for job_id in islice(merged, limit + 1) if reached is None or _is_within(job_id, reached, place)]
        has_more = len(ids) > limit
        ids = ids[:limit]
        looked_to = None if has_more else reached
        beyond = ids[-1] if has_more else looked_to
        onwards = None if beyond is None else Cursor(beyond, place.is_newer)
        if place.is_newer:
            ids.reverse()
        # Beside an empty page lies the receipt that it began behind, too: in between is what nobody has for an id.
        first = ids[0] if ids else place.job_id[:-1]
        last = ids[-1] if ids else f"{place.job_id}g"
        jobs = {job.job_id: job for job in self._database.select_as(job_of, _BY_IDS, json.dumps(ids))}
        listed = [jobs[job_id] for job_id in ids if job_id in jobs]
        if place.is_newer:
            return Page(listed, Cursor(last), onwards, looked_to)
        return Page(listed, onwards, Cursor(first, is_newer=True) if place.job_id else None, looked_to)

    def _groups(self, wanted: Wanted) -> list[_Condition]:
        """Return the parts of the job log that are asked one by one, for that is how the index goes."""
        if wanted.inbox is None and not wanted.states:
            return [("1", [])]
        inboxes = [wanted.inbox] if wanted.inbox is not None else self._lookups.inboxes()
        together = product(inboxes, wanted.states or State)
        return [("inbox = ? AND state = ?", [*values]) for values in together] or [("0", [])]

    def _ids(
        self, conditions: list[_Condition], words: list[str], place: Cursor, limit: int, stretch: int
    ) -> tuple[list[str], str | None]:
        """Return ids in the order of the search, and how far it came where that is not the end."""
        if not words:
            where, values = _joined(conditions)
            statement = f"SELECT job_id FROM job WHERE {where} ORDER BY job_id {_order(place)} LIMIT ?"  # noqa: S608 - our own text
            return [str(job_id) for (job_id,) in self._database.select(statement, *values, limit)], None
        end = self._end_of_stretch(conditions, place, stretch)
        if end is not None:
            conditions = [*conditions, ("job_id <= ?" if place.is_newer else "job_id >= ?", [end])]
        either = "(filename LIKE ? ESCAPE '\\' OR message LIKE ? ESCAPE '\\')"
        longest = sorted(words, key=len, reverse=True)[:_ASKED_WORDS]
        having: list[_Condition] = [(either, [like_of_word(word)] * 2) for word in longest]
        where, values = _joined([*conditions, *having])
        statement = f"SELECT job_id, filename, message FROM job WHERE {where} ORDER BY job_id {_order(place)} LIMIT ?"  # noqa: S608
        rows = self._database.select(statement, *values, limit)
        ids = [str(job_id) for job_id, filename, message in rows if _has(words, filename, message)]
        if len(rows) == limit:  # it may go on behind the last of them, which need not fit, either
            end = None if len(ids) == limit else str(rows[-1][0])
        return ids, end

    def _end_of_stretch(self, conditions: Sequence[_Condition], place: Cursor, stretch: int) -> str | None:
        """Return the id where a stretch ends; None where what there is to look at ends before."""
        where, values = _joined(conditions)
        statement = f"SELECT job_id FROM job WHERE {where} ORDER BY job_id {_order(place)} LIMIT 1 OFFSET ?"  # noqa: S608 - our own text
        rows = self._database.select(statement, *values, stretch - 1)
        return str(rows[0][0]) if rows else None

    # --- sums ------------------------------------------------------------------------------------------------------

    def sums(self) -> Sums:
        """Count what waits and what has failed."""
        # The plus and the time: else SQLite groups by the index of all states, and reads a million rows.
        counted = self._database.select(
            f"SELECT state, COUNT(*), MIN(created_at) FROM job WHERE {IS_OPEN} GROUP BY +state"  # noqa: S608
        )
        [(failed,)] = self._database.select("SELECT COUNT(*) FROM job WHERE state = 'failure'")
        open_jobs = {State(state): int(number) for state, number, _ in counted}
        return Sums(open_jobs, self._statistics.oldest_open(), int(failed))

    def failures(self) -> dict[Reason, int]:
        """Count the receipts that failed last by their reason, the most frequent first."""
        reasons = {reason.value: reason for reason in Reason}
        return {reasons[str(code)]: int(number) for code, number in self._database.select(FAILURES, FAILURE_ROWS)}

    def beat(self) -> tuple[int, int]:
        """Return what is another one whenever something has happened to a receipt, be it that its file was moved.

        No history has a line of that; but a file is moved only after a line that made the move due.
        """
        [(moves_due,)] = self._database.select("SELECT COUNT(*) FROM job WHERE move_due = 1")
        return self._histories.last_event(), moves_due

    def day(self, now: float) -> list[Hour]:
        """Return the last 24 hours, the present one last, each from a full hour to the next."""
        begins_at = now // _HOUR * _HOUR - (_DAY_HOURS - 1) * _HOUR
        statement = "SELECT state, created_at, completed_at FROM job WHERE job_id >= ?"
        hours: list[dict[State, list[float]]] = [{} for _ in range(_DAY_HOURS)]
        for state, created_at, completed_at in self._database.select(statement, job_id_prefix(begins_at)):
            number = min(max(int((created_at - begins_at) // _HOUR), 0), _DAY_HOURS - 1)
            hours[number].setdefault(state, []).append((completed_at or now) - created_at)
        return [_hour(begins_at + number * _HOUR, durations) for number, durations in enumerate(hours)]


def _hour(begins_at: float, durations: dict[State, list[float]]) -> Hour:
    def count(*states: State) -> int:
        return sum(len(durations.get(state, ())) for state in states)

    took = durations.get(State.SUCCESS)
    return Hour(
        begins_at,
        done=count(State.SUCCESS, State.DUPLICATE),
        failed=count(State.FAILURE, State.CANCELLED),
        waiting=count(State.QUEUED, State.DELIVERING, State.PROCESSING),
        median_seconds=statistics.median(took) if took else None,
    )


def _bounds(wanted: Wanted, place: Cursor, prefix: str) -> list[_Condition]:
    """Return between which ids is looked. They begin with the time when they were given, so days are bounds, too."""
    bounds: list[_Condition] = []
    if place.job_id:
        bounds.append(("job_id > ?" if place.is_newer else "job_id < ?", [place.job_id]))
    if wanted.since is not None:
        bounds.append(("job_id >= ?", [job_id_prefix(wanted.since)]))
    if wanted.until is not None:
        bounds.append(("job_id < ?", [job_id_prefix(wanted.until)]))
    if prefix:
        bounds += [("job_id >= ?", [prefix]), ("job_id < ?", [f"{prefix}g"])]  # behind the last hexadecimal digit
    return bounds


def _joined(conditions: Sequence[_Condition]) -> tuple[str, list[object]]:
    where = " AND ".join(condition for condition, _ in conditions) or "1"
    return where, [value for _, values in conditions for value in values]


def _order(place: Cursor) -> str:
    return "ASC" if place.is_newer else "DESC"


def _is_within(job_id: str, reached: str, place: Cursor) -> bool:
    return job_id <= reached if place.is_newer else job_id >= reached


def _has(words: Sequence[str], filename: str, message: str | None) -> bool:
    places = composed(filename), composed(message or "")
    return all(any(composed(word) in place for place in places) for word in words)
