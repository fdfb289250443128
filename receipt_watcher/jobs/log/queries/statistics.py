"""Counts of jobs of each kind, and since when they are. Nothing here changes the job log.

Any thread may call it. Times are Unix seconds and always given by the caller. Each method may raise JobLogError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from receipt_watcher.jobs.log.engine.sqlite import Database, marks
from receipt_watcher.jobs.log.queries.known_answers import KnownAnswers
from receipt_watcher.jobs.log.queries.lookups import Lookups
from receipt_watcher.jobs.log.tables import IS_FAILED, IS_OPEN, IS_WAITING
from receipt_watcher.jobs.states import OPEN_STATES, State

# What metrics ask for, at each scrape, so each must find its rows by an index; a test looks.
WAITING = {
    State.QUEUED: f"SELECT COUNT(*) FROM job WHERE branch = ? AND {IS_WAITING}",  # noqa: S608 - our own words
    State.DELIVERING: "SELECT COUNT(*) FROM job WHERE branch = ? AND state = 'delivering'",
    State.PROCESSING: "SELECT COUNT(*) FROM job WHERE branch = ? AND state = 'processing'",
}
MOVES_DUE = "SELECT COUNT(*) FROM job WHERE inbox = ? AND move_due = 1"
#: The plus: else SQLite goes through all jobs of the inbox.
OF_INBOX = "+inbox = ?"
OLDEST_OPEN = (
    "SELECT created_at, (SELECT MAX(at) FROM history WHERE history.job_id = job.job_id AND event = 'retry')"  # noqa: S608
    f" FROM job WHERE {IS_OPEN} AND {{}} ORDER BY created_at LIMIT ?"
)
#: The numbers of the oldest jobs that are looked at, one after the other, until one is found that was not retried.
_LOOKS = (10, 1000)


class Statistics:
    """Counts of jobs."""

    def __init__(self, database: Database, lookups: Lookups) -> None:
        self._database = database
        self._lookups = lookups
        self._known = KnownAnswers(database)

    def count(self, branches: Sequence[str], *states: State) -> int:
        """Return how many jobs of these branches are in these states."""
        statement = f"SELECT COUNT(*) FROM job WHERE branch IN ({marks(branches)}) AND state IN ({marks(states)})"  # noqa: S608
        question = ("count", *branches, *states)
        return self._known.answer(question, lambda: int(self._database.select(statement, *branches, *states)[0][0]))

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each state."""
        return dict.fromkeys(State, 0) | dict(
            self._database.select_as(_counted, "SELECT state, COUNT(*) FROM job GROUP BY state")
        )

    def counts_between(self, since: float, until: float) -> dict[State, int]:
        """Return how many of the jobs that were recorded in a time are in each state."""
        # The plus: else SQLite goes through all jobs by their states.
        statement = "SELECT state, COUNT(*) FROM job WHERE created_at >= ? AND created_at < ? GROUP BY +state"
        return dict.fromkeys(State, 0) | dict(self._database.select_as(_counted, statement, since, until))

    def open_jobs(self) -> int:
        """Return how many jobs are open, be they of an inbox that is configured or not."""
        # With a time, else SQLite goes through all jobs by their states.
        return int(self._database.select(f"SELECT COUNT(*) FROM job WHERE {IS_OPEN} AND created_at > 0")[0][0])  # noqa: S608

    def open_jobs_except(self, inboxes: Sequence[str]) -> int:
        """Return how many jobs are open, without those of these inboxes."""
        statement = f"SELECT COUNT(*) FROM job WHERE {IS_OPEN} AND created_at > 0 AND inbox NOT IN ({marks(inboxes)})"  # noqa: S608
        question = ("open except", *inboxes)
        return self._known.answer(question, lambda: int(self._database.select(statement, *inboxes)[0][0]))

    def failed_since(self, since: float) -> int:
        """Return how many jobs have failed since a time, and are failed still."""
        statement = f"SELECT COUNT(*) FROM job WHERE {IS_FAILED} AND completed_at >= ?"  # noqa: S608 - our own words
        return int(self._database.select(statement, since)[0][0])

    def open_jobs_of(self, inboxes: Sequence[str]) -> int:
        """Return how many jobs of these inboxes are open."""
        states = sorted(OPEN_STATES)
        statement = f"SELECT COUNT(*) FROM job WHERE inbox IN ({marks(inboxes)}) AND state IN ({marks(states)})"  # noqa: S608
        return int(self._database.select(statement, *inboxes, *states)[0][0])

    def open_in(self, inbox: str, before: float) -> tuple[int, float | None]:
        """Return how many jobs of an inbox are open that were recorded before a time, and since when the oldest."""
        statement = f"SELECT COUNT(*) FROM job WHERE {IS_OPEN} AND created_at < ? AND {OF_INBOX}"  # noqa: S608

        def ask() -> tuple[int, float | None]:
            [(count,)] = self._database.select(statement, before, inbox)
            return int(count), self.oldest_open(OF_INBOX, inbox)

        return self._known.answer(("open in", inbox), ask) if self._lookups.are_all_open_since(before) else ask()

    def oldest_open_in(self, inbox: str) -> float | None:
        """Return since when the oldest open job of an inbox is open, in Unix seconds; None where none is open."""
        return self.oldest_open(OF_INBOX, inbox)

    def oldest_open(self, condition: str = "1 = 1", *values: object) -> float | None:
        """Return since when the oldest open job is open, in Unix seconds; None where none is open.

        One that was retried is open since then: what lay in failed/ for weeks did not wait for weeks.
        """
        oldest: float | None = None
        for limit in _LOOKS:
            rows = self._database.select(OLDEST_OPEN.format(condition), *values, limit)
            for created_at, retried_at in rows:
                if oldest is not None and created_at >= oldest:
                    return oldest
                since = max(created_at, retried_at or 0.0)
                oldest = since if oldest is None else min(oldest, since)
            if len(rows) < limit:
                break
        return oldest

    def waiting_on(self, branch: str) -> dict[State, int]:
        """Return how many jobs of a branch are in each open state; the file of each lies in processing/."""
        return {state: int(self._database.select(statement, branch)[0][0]) for state, statement in WAITING.items()}

    def moves_due(self, inbox: str) -> int:
        """Return how many files of an inbox are not where they belong."""
        return int(self._database.select(MOVES_DUE, inbox)[0][0])

    def removed_files(self) -> int:
        """Return how many files were removed in all."""
        return int(self._database.select("SELECT COUNT(*) FROM job WHERE removed_at IS NOT NULL")[0][0])

    def latest_change(self, now: float) -> float | None:
        """Return when a job changed last, in Unix seconds; times after `now` are not believed."""
        changed_at: float | None = self._database.select("SELECT MAX(updated_at) FROM job WHERE updated_at <= ?", now)[
            0
        ][0]
        return changed_at


def _counted(row: tuple[Any, ...]) -> tuple[State, int]:
    return State(row[0]), int(row[1])
