"""The consequences of each outcome of a delivery: for its job, and for the destination.

What it promises: an outcome is written down in one commit, with the attempt. One that the log does not take is kept in
memory until it does. A failure that is the destination's costs the receipt no attempt, and `hold_after` of them in a
row hold the destination; it is the receipt's own only by evidence: another receipt passed the same destination after
it had failed, and it fails again.

The delivery workers call it, several at once. A crash leaves claims, which `write_lost` settles at the next start.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import cast

import structlog

from receipt_watcher.config.branches import Branch
from receipt_watcher.delivery.destinations import (
    Accepted,
    Concluded,
    Deferred,
    Lost,
    Outcome,
    Refused,
    Unreadable,
)
from receipt_watcher.delivery.naming import branch_keys_of
from receipt_watcher.delivery.pauses import DeliverySettings, Pauses, others_passed
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import HoldKind, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.jobs.verdict import in_words
from receipt_watcher.spool.route import InboxRoute, log_concluded
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

_EVENT_OF: dict[type[Outcome], str] = {
    Accepted: "job.accepted",
    Deferred: "job.deferred",
    Refused: "job.refused",
    Lost: "job.lost",
    Unreadable: "job.unreadable",
}


class Outcomes:
    """Writes down how deliveries ended."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        routes: Sequence[InboxRoute],
        settings: DeliverySettings,
        *,
        deliveries: Bell,
        filings: Bell,
        clock: Callable[[], float],
        jitter: random.Random,
    ) -> None:
        self._log = log
        self._holds = holds
        self._routes = routes
        self._settings = settings
        self._deliveries = deliveries
        self._filings = filings
        self._clock = clock
        self._pauses = Pauses(settings, jitter)
        #: Outcomes that the log did not take, by job.
        self._unwritten: dict[str, tuple[Branch, Job, Outcome, float]] = {}

    def settle(self, branch: Branch, job: Job, outcome: Outcome, started_at: float) -> None:
        """Write an outcome down; if the log does not take it now, it is kept in memory until `write_kept`.

        Raises:
            JobLogError: the log does not take it.
        """
        try:
            self._write_down(branch, job, outcome, started_at)
        except JobLogError:
            self._unwritten[job.job_id] = branch, job, outcome, started_at
            raise

    def write_kept(self) -> None:
        """Write down the outcomes that the log did not take.

        Raises:
            JobLogError: it still does not; they are kept.
        """
        for job_id, unwritten in tuple(self._unwritten.items()):
            self._write_down(*unwritten)
            del self._unwritten[job_id]

    def write_lost(self, detail: str, *, but: Callable[[], AbstractSet[str]]) -> list[Job]:
        """Turn every claim into a lost answer, but those of the jobs that `but` names when the log's lock is held."""
        with self._log.database.transaction():
            now = self._clock()
            deadline_at = now + self._settings.callback_deadline_seconds
            jobs = self._log.jobs.lose_claims(now, deadline_at, detail, but=but(), sent_once=self._branches_sent_once())
        for job in jobs:
            logger.warning("job.lost", job_id=job.job_id, inbox=job.inbox, filename=job.filename, message=detail)
            self._log_if_concluded(job, now)
        return jobs

    def _branches_sent_once(self) -> set[str]:
        """Return the branches whose claims must not be sent again: of this start and of the one before.

        The workflow, and with it `n8n.accept`, may have been changed while a receipt was out.
        """
        now = {branch.key for route in self._routes for branch in route.branches if branch.sends_once}
        before = self._log.facts.sends_once.get() or set()
        if now != before:
            self._log.facts.sends_once.put(now)
        return now | before

    def _write_down(self, branch: Branch, job: Job, outcome: Outcome, started_at: float) -> None:
        """Write an outcome down, in one commit. A callback may have overtaken it: then only the attempt is kept."""
        with self._log.database.transaction():
            now = self._clock()  # here, so that no jump of the clock comes between it and the times that are set
            current = self._log.lookups.get(job.job_id)
            # A failure, a retry and a new claim may have come meanwhile: this outcome is not that claim's. A success is
            # the receipt's, however late.
            is_ours = current is not None and current.attempts == job.attempts
            is_success = isinstance(outcome, Concluded) and outcome.verdict.success
            after = self._follow(branch, current, outcome, now) if current and (is_ours or is_success) else None
            execution_id = outcome.execution_id if isinstance(outcome, Accepted | Concluded | Unreadable) else None
            if (is_ours or is_success) and execution_id is not None:  # also where the callback was faster
                self._log.jobs.keep_execution(job.job_id, execution_id)
            counted = after is None or after.attempts == job.attempts
            self._log.jobs.add_attempt(
                job.job_id,
                now,
                Attempt(started_at, type(outcome).__name__.lower(), counted, outcome.status_code, outcome.message),
            )
            is_held = isinstance(outcome, Deferred) and self._holds.of(branch.webhook_url).is_held
        self._log_outcome(job, outcome, after, now, started_at, is_held=is_held)

    def _follow(self, branch: Branch, job: Job, outcome: Outcome, now: float) -> Job | None:
        match outcome:
            case Accepted():
                return self._accept(branch, job, outcome, now)
            case Concluded():
                return self._conclude(branch, job, outcome, now)
            case Lost():
                return self._lose(branch, job, outcome, now)
            case Deferred():
                return self._defer(branch, job, outcome, now)
            case Refused():
                return self._refuse(branch, job, outcome, now)
            case Unreadable():
                return self._give_up_unreadable(branch, job, outcome, now)

    def _accept(self, branch: Branch, job: Job, outcome: Accepted, now: float) -> Job | None:
        url = branch.webhook_url
        if self._holds.accepted(url, now):
            self._resume(branch, "it accepts receipts again")
        state = self._holds.of(url)
        if state.hold_kind is HoldKind.SILENCE:  # only a callback ends that; the next probe waits longer
            probe_at = now + self._pauses.before_probe(state)
            self._holds.hold(url, HoldKind.SILENCE, state.hold_message or "", now, probe_at)
        return self._await_callback(job, Event.ACCEPT, outcome.message, now, failed_at=None)

    def _conclude(self, branch: Branch, job: Job, outcome: Concluded, now: float) -> Job | None:
        """Write the verdict that came as the answer, as a callback's is; no callback is awaited."""
        url, verdict = branch.webhook_url, outcome.verdict
        ended_by_answer = self._holds.accepted(url, now)
        if self._holds.called_back(url, now) or ended_by_answer:
            self._resume(branch, "it concludes receipts again")
        detail, message = in_words(verdict), verdict.message
        if verdict.success:
            page = verdict.notion_page_url
            return self._log.jobs.advance(job, Event.SUCCEED, now, detail=detail, message=message, notion_page_url=page)
        return self._log.jobs.advance(job, Event.FAIL, now, detail=detail, reason=Reason.N8N_FAILURE, message=message)

    def _lose(self, branch: Branch, job: Job, outcome: Lost, now: float) -> Job | None:
        self._miss(branch, outcome, now)
        if branch.sends_once:
            return self._log.jobs.give_up(job, now, outcome.message)
        return self._await_callback(job, Event.LOSE, outcome.message, now, failed_at=now)

    def _give_up_unreadable(self, branch: Branch, job: Job, outcome: Unreadable, now: float) -> Job | None:
        """Fail a receipt whose verdict cannot be read, and keep it as it came; several in a row hold N8N."""
        url = branch.webhook_url
        if self._holds.accepted(url, now):
            self._resume(branch, "it answers receipts again")
        probe_at = now + self._pauses.before_probe(self._holds.of(url))
        if self._holds.unreadable(url, job.job_id, outcome.message, now, probe_at):
            logger.warning("destination.held", inbox=branch.inbox, message=outcome.message)
        reason, text = Reason.UNREADABLE_VERDICT, outcome.text
        return self._log.jobs.advance(job, Event.GIVE_UP, now, detail=text, reason=reason, message=outcome.message)

    def _await_callback(self, job: Job, event: Event, detail: str, now: float, failed_at: float | None) -> Job | None:
        """Wait for the callback until the deadline. A job that had one before was sent again, and that counts."""
        return self._log.jobs.advance(
            job,
            event,
            now,
            detail=detail,
            deadline_at=now + self._settings.callback_deadline_seconds,
            resends=job.resends + (job.deadline_at is not None),
            destination_failed_at=failed_at,
        )

    def _defer(self, branch: Branch, job: Job, outcome: Deferred, now: float, *, is_proven: bool = False) -> Job | None:
        state = self._holds.of(branch.webhook_url)
        if outcome.is_ambiguous and others_passed(job, state):
            return self._own_failure(job, outcome.message, now)
        self._miss(branch, outcome, now, is_proven=is_proven)
        after = self._holds.of(branch.webhook_url)
        return self._log.jobs.advance(
            job,
            Event.DEFER,
            now,
            detail=outcome.message,
            next_attempt_at=now if after.is_held else now + self._pauses.of_job(job, state, after, now),
            destination_failed_at=now,
            attempts=job.attempts - 1,
        )

    def _own_failure(self, job: Job, message: str, now: float) -> Job | None:
        """Count a failure that others did not have: after `max_attempts` of them the receipt has failed."""
        failures = job.failures + 1
        if failures >= self._settings.max_attempts:
            return self._log.jobs.advance(
                job, Event.FAIL, now, reason=Reason.ATTEMPTS_EXHAUSTED, message=message, failures=failures
            )
        return self._log.jobs.advance(
            job,
            Event.DEFER,
            now,
            detail=message,
            next_attempt_at=now + self._pauses.after_failures(failures),
            destination_failed_at=now,
            failures=failures,
        )

    def _refuse(self, branch: Branch, job: Job, outcome: Refused, now: float) -> Job | None:
        url = branch.webhook_url
        if outcome.reason is Reason.REFUSED_TOO_LARGE and self._holds.too_large(url, job.job_id):
            # Two different receipts, none accepted between them: a limit of the destination, not of one receipt.
            deferred = Deferred(outcome.message, outcome.status_code, is_ambiguous=True)
            return self._defer(branch, job, deferred, now, is_proven=True)
        return self._log.jobs.advance(job, Event.FAIL, now, reason=outcome.reason, message=outcome.message)

    def _miss(self, branch: Branch, outcome: Deferred | Lost, now: float, *, is_proven: bool = False) -> None:
        """Count a failure of the destination; hold it when there were enough in a row, or where one is proof.

        Until then it is only left alone for as long as it asks.
        """
        url, message = branch.webhook_url, outcome.message
        misses, state = self._holds.missed(url, message), self._holds.of(url)
        asked = outcome.retry_after_seconds if isinstance(outcome, Deferred) else None
        asked = None if asked is None else min(asked, self._settings.probe_max_seconds)
        if state.is_held or is_proven or misses >= self._settings.hold_after:
            pause = max(self._pauses.before_probe(state), asked or 0.0)
            if self._holds.hold(url, HoldKind.ANSWERS, message, now, now + pause):  # one line per hold, not per probe
                logger.warning("destination.held", inbox=branch.inbox, message=message, probe_seconds=round(pause, 1))
        elif asked is not None:
            self._holds.pause(url, now + asked)

    def _resume(self, branch: Branch, why: str) -> None:
        """Let everything go on behind a hold that has ended."""
        self._log.jobs.forget_resends(branch_keys_of(self._routes, branch.webhook_url))
        logger.info("destination.resumed", inbox=branch.inbox, why=why)
        self._deliveries.ring()

    def _log_outcome(
        self, job: Job, outcome: Outcome, after: Job | None, now: float, started_at: float, *, is_held: bool
    ) -> None:
        if not isinstance(outcome, Concluded):  # its line is job.concluded
            level = _level_of(outcome, job, is_held=is_held)
            level(
                _EVENT_OF[type(outcome)],
                job_id=job.job_id,
                inbox=job.inbox,
                filename=job.filename,
                attempt=job.attempts,
                message=outcome.message,
                seconds=round(now - started_at, 3),
            )
        if after is not None:
            self._log_if_concluded(after, now)

    def _log_if_concluded(self, job: Job, now: float) -> None:
        if job.state in (State.SUCCESS, State.FAILURE):
            log_concluded(job, now)
            self._filings.ring()


def _level_of(outcome: Outcome, job: Job, *, is_held: bool) -> Callable[..., object]:
    """Two lines for a receipt that goes well, taken in and concluded; two for a hold, whatever its probes meet."""
    if isinstance(outcome, Accepted):
        return cast("Callable[..., object]", logger.info if job.attempts > 1 else logger.debug)
    return cast("Callable[..., object]", logger.debug if is_held else logger.warning)
