"""Jobs whose callback does not come by its deadline: each is sent again, or given up.

What it promises: a deadline that passes while the destination is held, or while we were not running, expires nothing.
A callback that is kept (`kept_callbacks`) is applied first: nothing expires before.

The scheduler calls `expire_due`. A crash leaves each job as it was, or with its next state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from receipt_watcher.delivery.naming import branch_keys_of
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import (
    REFUSED_EVENT,
    REFUSED_WORDS,
    SILENT_JOBS_BEFORE_HOLD,
    DestinationState,
    HoldKind,
    Holds,
)
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.route import InboxRoute, log_concluded, route_of
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: A hold for missing callbacks waits for a callback, a test or an admin; then receipts without resends fail.
SILENCE_SECONDS = 86400.0

#: A callback that was heard so short a time ago shows that callbacks arrive. By taste: some looks for deadlines.
_HEARD_LATELY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class DeadlineSettings:
    """The wait for a callback, the number of resends, and the pause before a hold that begins then is probed."""

    deadline_seconds: float
    max_resends: int
    probe_seconds: float


class Deadlines:
    """Looks for jobs that are overdue; `heard_at` tells when a destination last called back."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        routes: Sequence[InboxRoute],
        settings: DeadlineSettings,
        *,
        heard_at: Callable[[str], float],
        deliveries: Bell,
        filings: Bell,
        clock: Callable[[], float],
        must_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        self._log = log
        self._must_wait = must_wait
        self._holds = holds
        self._hand_holds = log.manual_holds
        self._routes = routes
        self._settings = settings
        self._heard_at = heard_at
        self._deliveries = deliveries
        self._filings = filings
        self._clock = clock

    def expire_due(self) -> list[Job]:
        """Send again, or give up, what no callback came for by its deadline; return those jobs."""
        expired: list[Job] = []
        for url in self._urls():
            if self._hand_holds.of_destination(url) is not None:
                continue  # nothing may be sent again; a resume gives each its whole time anew
            now = self._clock()
            branches = branch_keys_of(self._routes, url)
            standing = self._holds.of(url)
            below = self._settings.max_resends if standing.is_held and not _is_silent_for_long(standing, now) else None
            for job in self._log.lookups.overdue(branches, now, below):
                if not self._may_expire(url, branches, job, now):
                    continue
                after = self._expire(url, job, now)
                if after is not None:
                    expired.append(after)
        if expired:
            self._deliveries.ring()
            self._filings.ring()
        return expired

    def _may_expire(self, url: str, branches: Sequence[str], job: Job, now: float) -> bool:
        """Return whether an overdue job may go on: not under a hold, unless no other could be its probe.

        Else a hold would last until the next receipt is dropped, perhaps for ever: the overdue job becomes its probe.
        A job without resends left, or one that is sent once, waits for another one's luck, so the hold stays until that
        one was accepted: N8N may have booked it, and does not know repeats by itself. While N8N accepts receipts, and
        only callbacks are missing, there may never be another one: after a day nobody waits for it any more.
        """
        standing = self._holds.of(url)
        if not standing.is_held:
            return True
        is_last = job.resends >= self._settings.max_resends or self._is_sent_once(job)
        if now < (standing.probe_at or 0.0) or (is_last and not _is_silent_for_long(standing, now)):
            return False
        ready = branch_keys_of([route for route in self._routes if route.is_ready], url)
        return self._log.lookups.next_due(ready) is None and not self._log.statistics.count(branches, State.DELIVERING)

    def _is_sent_once(self, job: Job) -> bool:
        """Return whether a job must not be sent again: no callback can be expected from where it goes."""
        route = route_of(self._routes, job)
        return route is not None and route.branch_of(job).sends_once

    def _is_silence(self, url: str, job: Job) -> bool:
        """Return whether a job without a callback is evidence that none arrives.

        It is not if nobody knows that N8N took it, nor if a callback was heard just now: else many that N8N lost in a
        crash would go out again three by three, with a hold and a probe between them. Nor if its deadline had passed
        when a hold was ended: that was because callbacks arrive again.
        """
        was_accepted = job.destination_failed_at is None
        if (job.deadline_at or 0.0) <= (self._holds.of(url).resumed_at or 0.0):
            return False
        ago = abs(self._clock() - self._heard_at(url))  # a clock that was set back since proves nothing
        return was_accepted and ago > _HEARD_LATELY_SECONDS

    def _urls(self) -> list[str]:
        return list(dict.fromkeys(branch.webhook_url for route in self._routes for branch in route.branches))

    def _expire(self, url: str, job: Job, now: float) -> Job | None:
        with self._log.database.transaction():
            current = self._log.lookups.get(job.job_id)
            if current is None or current.state is not State.PROCESSING or self._must_wait():
                return None  # its callback has come since, or may be among those that are to be applied first
            silent_jobs = self._holds.silent(url, job.job_id) if self._is_silence(url, current) else 0
            if silent_jobs >= SILENT_JOBS_BEFORE_HOLD and not self._holds.of(url).is_held:
                message = "N8N accepts receipts, but no callback arrives; can it reach the callback URL?"
                if self._log.histories.has(job.job_id, REFUSED_EVENT):
                    message = f"N8N's {REFUSED_WORDS}"
                self._holds.hold(url, HoldKind.SILENCE, message, now, now + self._settings.probe_seconds)
                logger.warning("destination.held", inbox=job.inbox, message=message)
                return None
            is_last = current.resends >= self._settings.max_resends or self._is_sent_once(current)
            if is_last and (standing := self._holds.of(url)).misses:
                # It may be N8N's failure, so the last word is not spoken: it waits until another one has passed.
                probe_at = now + self._settings.probe_seconds
                self._holds.hold(url, HoldKind.ANSWERS, standing.hold_message or "", now, probe_at)
                logger.warning("destination.held", inbox=job.inbox, message=standing.hold_message)
                return None
            if self._is_sent_once(current):
                after = self._log.jobs.give_up(current, now, "no callback came")
            elif job.resends < self._settings.max_resends:
                after = self._log.jobs.advance(job.job_id, Event.RESEND, now, detail="no callback", next_attempt_at=now)
            else:
                seconds, times = self._settings.deadline_seconds, job.resends + 1
                message = f"No callback within {seconds:g} seconds, sent {times} times."
                if self._log.histories.has(job.job_id, REFUSED_EVENT):
                    message = f"{message} N8N's {REFUSED_WORDS}."
                after = self._log.jobs.advance(
                    job.job_id, Event.EXPIRE, now, reason=Reason.NO_CALLBACK, message=message
                )
        if after is not None and after.state is State.QUEUED:
            logger.warning("job.resent", job_id=job.job_id, inbox=job.inbox, filename=job.filename)
        elif after is not None:
            log_concluded(after, now)
        return after


def _is_silent_for_long(standing: DestinationState, now: float) -> bool:
    return standing.hold_kind is HoldKind.SILENCE and now >= (standing.held_since or now) + SILENCE_SECONDS
