"""Histories: what happened to each job, line by line, and how each of its deliveries ended.

Any thread may call it. Times are Unix seconds and always given by the caller. Each method may raise JobLogError. A
crash leaves whole transactions or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.jobs.states import State

_INSERT_HISTORY = "INSERT INTO history (job_id, at, event, from_state, to_state, detail) VALUES (?, ?, ?, ?, ?, ?)"
#: More rows than any job has.
_ALL = 2**62
LINE_COLUMNS = ("id", "job_id", "at", "event", "from_state", "to_state", "detail")
ATTEMPT_COLUMNS = ("id", "job_id", "started_at", "ended_at", "outcome", "counted", "status_code", "message")
# Metrics ask for these at each scrape, so each must find its rows by an index; a test looks.
TURNS = (
    "SELECT history.id, inbox, event, to_state FROM history CROSS JOIN job ON job.job_id = history.job_id"
    " WHERE history.id > ? AND history.id <= ?"
    " AND (event = 'record' OR to_state IN ('success', 'failure', 'cancelled', 'duplicate'))"
    " ORDER BY history.id LIMIT ?"
)
DELIVERED = (
    "SELECT id, outcome, status_code, ended_at - started_at FROM attempt WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
)
_HAPPENINGS = (
    "SELECT history.id, at, history.job_id, inbox, filename, event, from_state, to_state, detail"
    " FROM history JOIN job ON job.job_id = history.job_id"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A line of a history by which a job began (`event` is record), was concluded, or both; `state` is the new one."""

    number: int
    inbox: str
    event: str
    state: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The end of one delivery, and how long it took."""

    number: int
    outcome: str
    status_code: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of a job's history, with whose it is; `number` grows with each. Unix seconds."""

    number: int
    at: float
    job_id: str
    inbox: str
    filename: str
    event: str
    from_state: str | None
    to_state: str | None
    detail: str | None


class Histories:
    """The lines of all histories, and the deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(
        self,
        job_id: str,
        now: float,
        event: str,
        *,
        from_state: State | None = None,
        to_state: State | None = None,
        detail: str | None = None,
    ) -> None:
        """Add a line to a job's history."""
        self._database.change(_INSERT_HISTORY, job_id, now, event, from_state, to_state, detail)

    def has(self, job_id: str, event: str) -> bool:
        """Return whether the history of a job has a line of this event."""
        statement = "SELECT 1 FROM history WHERE job_id = ? AND event = ? LIMIT 1"
        return bool(self._database.select(statement, job_id, event))

    def lines(self, job_id: str) -> list[dict[str, Any]]:
        """Return what happened to a job, the first first."""
        return self.lines_after(job_id, 0, _ALL)

    def lines_after(self, job_id: str, row: int, limit: int) -> list[dict[str, Any]]:
        """Return what happened to a job after a line of its history, the first first."""
        return self._rows_after("history", LINE_COLUMNS, job_id, row, limit)

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """Return a job's deliveries, the first first."""
        return self.attempts_after(job_id, 0, _ALL)

    def attempts_after(self, job_id: str, row: int, limit: int) -> list[dict[str, Any]]:
        """Return a job's deliveries after a row of them, the first first."""
        rows = self._rows_after("attempt", ATTEMPT_COLUMNS, job_id, row, limit)
        return [attempt | {"counted": bool(attempt["counted"])} for attempt in rows]

    def _rows_after(
        self, table: str, columns: Sequence[str], job_id: str, row: int, limit: int
    ) -> list[dict[str, Any]]:
        statement = f"SELECT {', '.join(columns)} FROM {table} WHERE job_id = ? AND id > ? ORDER BY id LIMIT ?"  # noqa: S608
        return [
            dict(zip(columns, values, strict=True)) for values in self._database.select(statement, job_id, row, limit)
        ]

    def last_event(self) -> int:
        """Return the number of the newest line of all histories; 0 where there is none."""
        return int(self._database.select("SELECT COALESCE(MAX(id), 0) FROM history")[0][0])

    def events_after(self, number: int, limit: int) -> list[JobEvent]:
        """Return what happened to receipts after a line of the histories (0: from the first one on), in that order."""
        return [
            JobEvent(*row)
            for row in self._database.select(
                f"{_HAPPENINGS} WHERE history.id > ? ORDER BY history.id LIMIT ?", number, limit
            )
        ]

    def last_events(self, limit: int) -> list[JobEvent]:
        """Return what happened last, in its order."""
        rows = self._database.select(f"{_HAPPENINGS} ORDER BY history.id DESC LIMIT ?", limit)
        return [JobEvent(*row) for row in reversed(rows)]

    def failures_after(self, event: int) -> list[tuple[int, float, str]]:
        """Return each failure since a line of the histories: its own line, when (Unix seconds), and the job's id."""
        statement = "SELECT id, at, job_id FROM history WHERE id > ? AND to_state = 'failure' ORDER BY id"
        return self._database.select_as(lambda row: (int(row[0]), float(row[1]), str(row[2])), statement, event)

    def last_retry(self, job_id: str) -> float | None:
        """Return when a job was last retried, in Unix seconds; None where it never was."""
        statement = "SELECT MAX(at) FROM history WHERE job_id = ? AND event = 'retry'"
        ended_at: float | None = self._database.select(statement, job_id)[0][0]
        return ended_at

    def last_attempt(self) -> int:
        """Return the number of the newest delivery that has an outcome; 0 where there is none."""
        return int(self._database.select("SELECT COALESCE(MAX(id), 0) FROM attempt")[0][0])

    def beginnings_and_ends(self, after: int, until: int, limit: int) -> list[Turn]:
        """Return what was recorded or concluded between two lines of the histories, the oldest first."""
        return [Turn(*row) for row in self._database.select(TURNS, after, until, limit)]

    def deliveries(self, after: int, until: int, limit: int) -> list[Delivered]:
        """Return how deliveries ended, by their numbers, the oldest first."""
        return [Delivered(*row) for row in self._database.select(DELIVERED, after, until, limit)]
