"""Deliver: claim a due job, hand it to its destination, write down what became of it.

What it promises: the claim is durable before anything is sent; whatever happens in between, the job leaves the
state `delivering`: by its outcome, by a release when nothing was sent, or, when that is not certain, as a lost
answer, whose callback is awaited before anything is sent again. A failure that is the destination's holds the
destination and costs the receipt no attempt; it is the receipt's own only by evidence: another receipt passed the
same destination after it had failed, and it fails again.

What is due goes out in order of arrival within an inbox, and inboxes that share a destination take turns: a hundred
thousand receipts of one delay the single receipt of another by one.

`deliver_due` does one round; several workers call it at once. A crash leaves claims: `recover` turns each into an
awaited callback.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from receipt_watcher.destinations import Accepted, Concluded, Deferred, Lost, Outcome, Refused
from receipt_watcher.errors import ChangedOnDiskError
from receipt_watcher.holds import HoldKind, Holds, Standing
from receipt_watcher.job import Event, Job, Reason, State, backoff_seconds
from receipt_watcher.joblog import Attempt, JobLog
from receipt_watcher.route import Bell, Branch, Route, branches_of, tell_concluded

logger = structlog.get_logger()


_EVENT_OF: dict[type[Outcome], str] = {
    Accepted: "job.accepted",
    Deferred: "job.deferred",
    Refused: "job.refused",
    Lost: "job.lost",
}


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How patient delivery is; seconds, and numbers of tries."""

    max_attempts: int
    backoff_initial_seconds: float
    backoff_max_seconds: float
    callback_deadline_seconds: float
    workers: int


class Delivery:
    """The second stage."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        routes: Sequence[Route],
        settings: DeliverySettings,
        *,
        callback_url_of: Callable[[str], str],
        deliveries: Bell,
        filings: Bell,
        stopping: threading.Event,
        clock: Callable[[], float],
        jitter: random.Random,
    ) -> None:
        self._log = log
        self._holds = holds
        self._routes = routes
        self._settings = settings
        self._callback_url_of = callback_url_of
        self._deliveries = deliveries
        self._filings = filings
        self._stopping = stopping
        self._clock = clock
        self._jitter = jitter
        self._turn = 0
        self._served: dict[str, str] = {}  # destination to the inbox whose receipt it was given last
        self._in_flight: dict[str, str] = {}  # job to inbox; entered with the log's lock held, as the claim is made

    # --- one round ---------------------------------------------------------------------------------------------

    def deliver_due(self) -> bool:
        """Deliver one receipt that is due; return False where none is, or none may go out now."""
        now = self._clock()
        destinations = list(self._branches().items())
        self._turn += 1  # which destination is asked first changes from round to round, so that none starves another
        for offset in range(len(destinations)):
            url, inboxes = destinations[(self._turn + offset) % len(destinations)]
            job = self._claim(url, inboxes, now)
            if job is not None:
                try:
                    self._deliver(job)
                finally:
                    self._in_flight.pop(job.job_id, None)
                return True
        return False

    def wait_seconds(self, most_seconds: float) -> float:
        """Return for how long nothing will be due, `most_seconds` at most."""
        now = self._clock()
        times = []
        for url, inboxes in self._branches().items():
            due_at = self._log.next_due(_all_of(inboxes))
            if due_at is not None:
                probe_at = self._holds.get(url).probe_at
                times.append(max(due_at, probe_at or 0.0))
        # A job that is due and still not claimed waits for another one's answer, which will ring.
        return min([most_seconds, *(at - now for at in times if at > now)])

    def _branches(self) -> dict[str, dict[str, list[str]]]:
        """Return the branches that may be delivered from now, by destination and by inbox."""
        found: dict[str, dict[str, list[str]]] = {}
        for route in self._routes:
            for branch in route.branches if route.is_ready else ():
                found.setdefault(branch.destination.url, {}).setdefault(route.name, []).append(branch.key)
        return found

    def _claim(self, url: str, inboxes: Mapping[str, Sequence[str]], now: float) -> Job | None:
        """Claim the next job for a destination, if it may have one now.

        While it is held: one probe at a time, when its time has come. Until it has called back for the first time
        ever: one receipt at a time, so that a wrong callback URL costs one receipt its patience, not a thousand.
        """
        branches = _all_of(inboxes)
        due_at = self._log.next_due(branches)
        if due_at is None or due_at > now:
            return None
        with self._log.transaction():
            if self._sending() >= self._settings.workers:
                return None
            standing = self._holds.get(url)
            if standing.is_held:
                if (standing.probe_at or 0.0) > now or self._log.count(branches, State.DELIVERING):
                    return None
                job = self._log.claim(branches, now, least_failed_first=True)
            elif standing.called_back_at is None and self._log.count(branches, State.DELIVERING, State.PROCESSING):
                return None
            else:
                job = self._claim_in_turn(url, inboxes, now)
            if job is not None:
                self._in_flight[job.job_id] = job.inbox
            return job

    def _claim_in_turn(self, url: str, inboxes: Mapping[str, Sequence[str]], now: float) -> Job | None:
        """Claim the oldest job of the inbox whose turn it is: the first one after the one that was served last."""
        names = list(inboxes)
        first = names.index(self._served[url]) + 1 if self._served.get(url) in inboxes else 0
        for name in (*names[first:], *names[:first]):
            job = self._log.claim(inboxes[name], now)
            if job is not None:
                self._served[url] = name
                return job
        return None

    def _sending(self) -> int:
        """Return how many receipts are being sent; one whose file system answers nothing keeps no other waiting."""
        ready = {route.name for route in self._routes if route.is_ready}
        return sum(inbox in ready for inbox in tuple(self._in_flight.values()))

    def _deliver(self, job: Job) -> None:
        route = next(route for route in self._routes if route.name == job.inbox)
        if self._stopping.is_set():
            self._release(job, 0.0, "stopping")
            return
        started_at = self._clock()
        try:
            outcome = self._outcome(route, job, started_at)
        except OSError as error:
            self._put_off(job, f"the file cannot be read now: {error}")
        except BaseException:
            # A defect of ours: nobody knows whether it was sent, and the claim must not stay for ever.
            self._settle(route.branch_of(job), job, Lost("an error of receipt-watcher itself; see its log"), started_at)
            raise
        else:
            if self._stopping.is_set() and isinstance(outcome, Deferred) and outcome.status_code is None:
                self._release(job, 0.0, "stopping before anything was sent")
            else:
                self._settle(route.branch_of(job), job, outcome, started_at)

    def _outcome(self, route: Route, job: Job, now: float) -> Outcome:
        try:
            return route.branch_of(job).destination.deliver(
                job, route.path_of(job), job.attempts, self._callback_url_of(job.job_id), now
            )
        except ChangedOnDiskError as error:
            return Refused(Reason.CHANGED, str(error))
        except FileNotFoundError as error:
            if not route.spool.is_present():
                raise  # the folder is away, not the file: nobody's fault but the mount's
            return Refused(Reason.FILE_MISSING, f"{error.filename} is not there any more")

    def _put_off(self, job: Job, message: str) -> None:
        # Half the age of the job: the pauses double, as a backoff does, and nothing has to be counted for it.
        pause = (self._clock() - job.created_at) / 2
        pause = min(max(pause, self._settings.backoff_initial_seconds), self._settings.backoff_max_seconds)
        self._release(job, pause, message)
        logger.warning("job.put_off", job_id=job.job_id, inbox=job.inbox, filename=job.filename, message=message)

    def _release(self, job: Job, pause_seconds: float, detail: str) -> None:
        """Give a claim back: nothing was sent, so it was no attempt."""
        with self._log.transaction():
            now = self._clock()
            self._log.advance(
                job.job_id,
                Event.RELEASE,
                now,
                detail=detail,
                next_attempt_at=now + pause_seconds,
                attempts=job.attempts - 1,
            )

    # --- what follows from an outcome --------------------------------------------------------------------------

    def _settle(self, branch: Branch, job: Job, outcome: Outcome, started_at: float) -> None:
        """Write an outcome down, in one commit. A callback may have overtaken it: then only the attempt is kept."""
        with self._log.transaction():
            now = self._clock()  # here, so that no jump of the clock comes between it and the times that are set
            current = self._log.get(job.job_id)
            # A failure, a retry and a new claim may have come meanwhile: this outcome is not that claim's.
            is_ours = current is not None and current.attempts == job.attempts
            after = self._follow(branch, job, outcome, now) if is_ours else None
            counted = after is None or after.attempts == job.attempts
            status_code = None if isinstance(outcome, Lost) else outcome.status_code
            self._log.add_attempt(
                job.job_id,
                now,
                Attempt(started_at, type(outcome).__name__.lower(), counted, status_code, outcome.message),
            )
        self._tell(job, outcome, after, now, started_at)

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

    def _accept(self, branch: Branch, job: Job, outcome: Accepted, now: float) -> Job | None:
        url = branch.destination.url
        if self._holds.accepted(url, now):
            self._log.forget_resends(branches_of(self._routes, url))
            self._tell_resumed(branch, "it accepts receipts again")
        standing = self._holds.get(url)
        if standing.hold_kind is HoldKind.SILENCE:  # only a callback ends that; the next probe waits longer
            probe_at = now + self._backoff_seconds(standing.probes + 1)
            self._holds.hold(url, HoldKind.SILENCE, standing.hold_message or "", now, probe_at)
        return self._await_callback(job, Event.ACCEPT, outcome.message, now, failed_at=None)

    def _conclude(self, branch: Branch, job: Job, outcome: Concluded, now: float) -> Job | None:
        ended_by_answer = self._holds.accepted(branch.destination.url, now)
        if self._holds.called_back(branch.destination.url, now) or ended_by_answer:
            self._tell_resumed(branch, "it concludes receipts again")
        if outcome.success:
            return self._log.advance(job.job_id, Event.SUCCEED, now, message=outcome.message)
        return self._log.advance(job.job_id, Event.FAIL, now, reason=Reason.N8N_FAILURE, message=outcome.message)

    def _lose(self, branch: Branch, job: Job, outcome: Lost, now: float) -> Job | None:
        self._hold(branch, outcome.message, None, now)
        return self._await_callback(job, Event.LOSE, outcome.message, now, failed_at=now)

    def _await_callback(self, job: Job, event: Event, detail: str, now: float, failed_at: float | None) -> Job | None:
        """Wait for the callback until the deadline. A job that had one before was sent again, and that counts."""
        return self._log.advance(
            job.job_id,
            event,
            now,
            detail=detail,
            deadline_at=now + self._settings.callback_deadline_seconds,
            resends=job.resends + (job.deadline_at is not None),
            destination_failed_at=failed_at,
        )

    def _defer(self, branch: Branch, job: Job, outcome: Deferred, now: float) -> Job | None:
        standing = self._holds.get(branch.destination.url)
        if outcome.is_ambiguous and self._others_passed(job, standing):
            return self._own_failure(job, outcome.message, now)
        self._hold(branch, outcome.message, outcome.retry_after_seconds, now)
        return self._log.advance(
            job.job_id,
            Event.DEFER,
            now,
            detail=outcome.message,
            next_attempt_at=now,
            destination_failed_at=now,
            attempts=job.attempts - 1,
        )

    def _others_passed(self, job: Job, standing: Standing) -> bool:
        """Whether the destination works but for this job: it took another one after it had failed this one."""
        failed_at = job.destination_failed_at
        return failed_at is not None and not standing.is_held and (standing.accepted_at or 0.0) > failed_at

    def _own_failure(self, job: Job, message: str, now: float) -> Job | None:
        """Count a failure that others did not have: after `max_attempts` of them the receipt has failed."""
        failures = job.failures + 1
        if failures >= self._settings.max_attempts:
            return self._log.advance(
                job.job_id, Event.FAIL, now, reason=Reason.ATTEMPTS_EXHAUSTED, message=message, failures=failures
            )
        return self._log.advance(
            job.job_id,
            Event.DEFER,
            now,
            detail=message,
            next_attempt_at=now + self._backoff_seconds(failures),
            destination_failed_at=now,
            failures=failures,
        )

    def _refuse(self, branch: Branch, job: Job, outcome: Refused, now: float) -> Job | None:
        url = branch.destination.url
        if outcome.reason is Reason.REFUSED_TOO_LARGE and self._holds.too_large(url, job.job_id):
            # Two different receipts, none accepted between them: a limit of the destination, not of one receipt.
            return self._defer(branch, job, Deferred(outcome.message, outcome.status_code, is_ambiguous=True), now)
        return self._log.advance(job.job_id, Event.FAIL, now, reason=outcome.reason, message=outcome.message)

    def _hold(self, branch: Branch, message: str, retry_after_seconds: float | None, now: float) -> None:
        url = branch.destination.url
        pause = self._backoff_seconds(self._holds.get(url).probes + 1)
        if retry_after_seconds is not None:
            pause = max(pause, min(retry_after_seconds, self._settings.backoff_max_seconds))
        if self._holds.hold(url, HoldKind.ANSWERS, message, now, now + pause):  # one line per hold, not per probe
            logger.warning("destination.held", inbox=branch.inbox, message=message, probe_seconds=round(pause, 1))

    def _backoff_seconds(self, failures: int) -> float:
        return backoff_seconds(
            failures, self._settings.backoff_initial_seconds, self._settings.backoff_max_seconds, self._jitter
        )

    # --- telling -----------------------------------------------------------------------------------------------

    def _tell_resumed(self, branch: Branch, why: str) -> None:
        logger.info("destination.resumed", inbox=branch.inbox, why=why)
        self._deliveries.ring()

    def _tell(self, job: Job, outcome: Outcome, after: Job | None, now: float, started_at: float) -> None:
        if not isinstance(outcome, Concluded):  # its line is job.concluded
            level = logger.info if isinstance(outcome, Accepted) else logger.warning
            level(
                _EVENT_OF[type(outcome)],
                job_id=job.job_id,
                inbox=job.inbox,
                filename=job.filename,
                attempt=job.attempts,
                message=outcome.message,
                seconds=round(now - started_at, 3),
            )
        if after is not None and after.state in (State.SUCCESS, State.FAILURE):
            tell_concluded(after, now)
            self._filings.ring()

    # --- start and stop ----------------------------------------------------------------------------------------

    def recover(self, detail: str) -> list[Job]:
        """Settle claims that no worker holds: the receipt may have been sent, so its callback is awaited first.

        At start every claim is one; while running only those whose outcome could not be written down.
        """
        with self._log.transaction():
            now = self._clock()
            deadline_at = now + self._settings.callback_deadline_seconds
            jobs = self._log.lose_claims(now, deadline_at, detail, but=self._in_flight.keys())
        for job in jobs:
            logger.warning("job.lost", job_id=job.job_id, inbox=job.inbox, filename=job.filename, message=detail)
        return jobs


def _all_of(inboxes: Mapping[str, Sequence[str]]) -> list[str]:
    return [branch for branches in inboxes.values() for branch in branches]
