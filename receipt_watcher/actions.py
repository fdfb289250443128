"""What people change by the API: retry, cancel, resume; each with their name in the job's history.

What it promises: each change is one guarded step of the state machine; losing a race is an answer in words, not an
error. Called in the worker threads of the HTTP side. A crash leaves whole steps or none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from receipt_watcher.config import masked
from receipt_watcher.holds import Holds
from receipt_watcher.job import Event, Job, State, next_state
from receipt_watcher.joblog import JobLog
from receipt_watcher.records import Wanted
from receipt_watcher.route import Bell
from receipt_watcher.view import iso_time

logger = structlog.get_logger()

#: How many jobs one call may retry; the others by the cursor.
MOST_RETRIED = 500


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of many jobs; `more` is what the next call begins before, None where this was all."""

    retried: int
    refused: int
    more: str | None


class Actions:
    """Changes jobs, and rings for those who go on with them."""

    def __init__(
        self, log: JobLog, holds: Holds, *, deliveries: Bell, filings: Bell, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._holds = holds
        self._deliveries = deliveries
        self._filings = filings
        self._clock = clock

    def retry(self, job_id: str, by: str) -> Job | str | None:
        """Try a failed or cancelled job again; return it, why that cannot be, or None for no such job."""
        return self._advance(job_id, Event.RETRY, by)

    def cancel(self, job_id: str, by: str) -> Job | str | None:
        """End a job that waits; return it, why that cannot be, or None for no such job."""
        return self._advance(job_id, Event.CANCEL, by)

    def retry_all(self, wanted: Wanted, before: str | None, by: str) -> Retried:
        """Try all again that are wanted, the newest first, so many at a time."""
        jobs, more = self._log.search(wanted, before, MOST_RETRIED)
        done = [isinstance(self._step(job, Event.RETRY, by), Job) for job in jobs]
        self._ring()
        logger.info("jobs.retried", by=by, retried=sum(done), refused=len(done) - sum(done))
        return Retried(sum(done), len(done) - sum(done), more)

    def probe(self, url: str, by: str) -> bool:
        """Try a held destination now, not when its time comes; return whether it is held."""
        if not self._holds.probe_now(url, self._clock()):
            return False
        logger.info("destination.probed", destination=masked(url), by=by)
        self._deliveries.ring()
        return True

    def _advance(self, job_id: str, event: Event, by: str) -> Job | str | None:
        before = self._log.get(job_id)
        if before is None:
            return None
        after = self._step(before, event, by)
        self._ring()
        return after

    def _step(self, job: Job, event: Event, by: str) -> Job | str:
        now = self._clock()
        changes = {"next_attempt_at": now} if event is Event.RETRY else {}
        after = self._log.advance(job.job_id, event, now, detail=f"by {by}", **changes)
        return why_not(job, event) if after is None else after

    def _ring(self) -> None:
        self._deliveries.ring()
        self._filings.ring()


def why_not(job: Job, event: Event) -> str:
    """Return why an event could not happen to a job."""
    if next_state(job.state, event) is None:
        later = "; it is being delivered, try again in a moment" if job.state is State.DELIVERING else ""
        return f"This is not possible, the job is {job.state.value}{later}."
    if job.removed_at is not None:
        return f"Its file was removed at {iso_time(job.removed_at)}, by retention; drop it into the inbox again."
    return "Its file is not in failed/ yet, or it changed just now; try again in a moment."
