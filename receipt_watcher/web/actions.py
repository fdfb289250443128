"""Changes by the API: retry, settle, cancel, hold, resume; each with a person's name in the history or the log.

What it promises: each change is one guarded step of the state machine; losing a race is an answer in words, not an
error. Called in the worker threads of the HTTP side. A crash leaves whole steps or none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.jobs.job import Job, is_overdue, may_be_booked, standing_of
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.log.queries.search import Cursor, Wanted
from receipt_watcher.jobs.reasons import MAY_BE_BOOKED_WORDS, OVERRULABLE
from receipt_watcher.jobs.states import Event, State, next_state
from receipt_watcher.spool.route import log_concluded
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: Most jobs that one call may retry; the others by the cursor.
MOST_RETRIED = 500


@dataclass(frozen=True, slots=True)
class Retried:
    """The counts of a retry of many jobs; `more` is the cursor of the next call, None if this was all."""

    retried: int
    refused: int
    more: str | None


class Actions:
    """Changes jobs, and rings for those who go on with them."""

    def __init__(
        self,
        log: JobLog,
        names: DestinationNames,
        *,
        deadline_seconds: float,
        deliveries: Bell,
        filings: Bell,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._names = names
        self._deadline_seconds = deadline_seconds
        self._deliveries = deliveries
        self._filings = filings
        self._clock = clock

    def retry(self, job_id: str, by: str, *, is_forced: bool = False, may_overrule: bool = False) -> Job | str | None:
        """Try a failed or cancelled job again; return it, why that cannot be, or None for no such job.

        One that may have been booked is retried only if that is forced. Only an admin may overrule a refusal.
        """

        def retried(job: Job) -> Job | str:
            if is_forced and job.reason in OVERRULABLE and not may_overrule:
                return "Only an admin may have a file sent that was refused."
            return self._retried(job, by, is_forced=is_forced)

        return self._changed(job_id, retried)

    def settle(self, job_id: str, by: str, *, is_delivered: bool) -> Job | str | None:
        """Say what became of a job that may be booked; return it, why that cannot be, or None for no such job."""
        return self._changed(job_id, lambda job: self._settled(job, by, is_delivered=is_delivered))

    def cancel(self, job_id: str, by: str) -> Job | str | None:
        """End a job that waits; return it, why that cannot be, or None for no such job."""
        return self._changed(job_id, lambda job: self._cancelled(job, by))

    def retry_all(self, wanted: Wanted, before: str | None, by: str, *, shown_at: float | None = None) -> Retried:
        """Retry all jobs that are wanted, the newest first, a page at a time; none that may have been booked.

        With `shown_at`, jobs that ended later are left alone: the caller has not seen them.
        """
        page = self._log.search.page(wanted, Cursor(before) if before else None, MOST_RETRIED)
        seen = [job for job in page.jobs if shown_at is None or (job.completed_at or 0.0) <= shown_at]
        done = [isinstance(self._retried(job, by), Job) for job in seen]
        self._ring()
        logger.info("jobs.retried", by=by, retried=sum(done), refused=len(done) - sum(done))
        return Retried(sum(done), len(done) - sum(done), page.older.job_id if page.older else None)

    def hold(self, kind: HoldTarget, name: str, why: str, by: str) -> None:
        """Hold an inbox or a destination by hand, or say anew why."""
        self._log.manual_holds.hold(kind, name, why, self._clock())
        logger.info("hold.begun", what=self._what(kind, name), by=by, why=why)

    def resume_inbox(self, name: str, by: str) -> bool:
        """Let an inbox go on; return whether it was held."""
        was_held = self._log.manual_holds.resume(HoldTarget.INBOX, name)
        if was_held:
            logger.info("hold.ended", what=self._what(HoldTarget.INBOX, name), by=by)
        return was_held

    def resume_destination(self, url: str, branches: Sequence[str], by: str) -> bool:
        """Let a destination go on, or have it tried now; return whether it was held."""
        if not resume_destination(self._log, url, branches, self._deadline_seconds, self._clock()):
            return False
        logger.info("hold.ended", what=self._what(HoldTarget.DESTINATION, url), by=by)
        self._deliveries.ring()
        return True

    def _changed(self, job_id: str, change: Callable[[Job], Job | str]) -> Job | str | None:
        before = self._log.lookups.get(job_id)
        if before is None:
            return None
        after = change(before)
        self._ring()
        return after

    def _retried(self, job: Job, by: str, *, is_forced: bool = False) -> Job | str:
        now = self._clock()
        after = self._log.jobs.retry(job.job_id, now, f"by {by}", is_forced=is_forced)
        if after is None and is_overdue(job, now) and not is_forced:
            overdue = f"Its callback is overdue since {iso_time(job.deadline_at)}."
            return f'{overdue} {MAY_BE_BOOKED_WORDS} Send {{"force": true}} to have it sent again.'
        if after is None and may_be_booked(job) and not is_forced:
            return f'{MAY_BE_BOOKED_WORDS} Settle it, or send {{"force": true}} to have it sent again.'
        return why_not(job, Event.RETRY) if after is None else after

    def _settled(self, job: Job, by: str, *, is_delivered: bool) -> Job | str:
        after = self._log.jobs.settle(job.job_id, self._clock(), f"by {by}", is_delivered=is_delivered)
        if after is None:
            return f"Only a failure that may have been booked can be settled; {standing_of(job)}."
        log_concluded(after, self._clock())
        return after

    def _cancelled(self, job: Job, by: str) -> Job | str:
        after = self._log.jobs.advance(job.job_id, Event.CANCEL, self._clock(), detail=f"by {by}")
        return why_not(job, Event.CANCEL) if after is None else after

    def _what(self, kind: HoldTarget, name: str) -> str:
        return f"the inbox {name}" if kind is HoldTarget.INBOX else self._names.name_of(name)

    def _ring(self) -> None:
        self._deliveries.ring()
        self._filings.ring()


def resume_destination(log: JobLog, url: str, branches: Sequence[str], deadline_seconds: float, now: float) -> bool:
    """End a hold, or have a destination probed that is held for its answers; return whether it was held.

    What it was given before a hold by hand has its whole time for the callback again. What was overdue under a hold for
    missing callbacks is sent again, as far as it may be: that no callback came was not its fault.
    """
    holds = log.holds
    with log.database.transaction():
        was_held = log.manual_holds.resume(HoldTarget.DESTINATION, url)
        if was_held:
            log.jobs.extend_deadlines(branches, now + deadline_seconds)
        is_held = holds.of(url).is_held
        if (was_held or is_held) and holds.resumed_by_hand(url, now):
            log.jobs.forget_resends(branches)
    return was_held or is_held


def why_not(job: Job, event: Event) -> str:
    """Return why an event could not happen to a job."""
    if next_state(job.state, event) is None:
        later = "; it is being delivered, try again in a moment" if job.state is State.DELIVERING else ""
        return f"This is not possible, the job is {job.state.value}{later}."
    if job.removed_at is not None:
        return f"Its file was removed at {iso_time(job.removed_at)}, by retention; drop it into the inbox again."
    return "Its file is not in failed/ yet, or it changed just now; try again in a moment."
