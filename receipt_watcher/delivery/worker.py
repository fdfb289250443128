"""Deliver: claim a due job, hand it to its destination, have written down what became of it.

What it promises: the claim is durable before anything is sent; whatever happens in between, the job leaves the
state `delivering`: by its outcome, by a release when nothing was sent, or, when that is not certain, as a lost
answer, whose callback is awaited before anything is sent again; if none can come, the receipt is given up.
`claims` says which job may go out when, `outcomes` what follows from each outcome.

`deliver_due` does one round; several workers call it at once. A crash leaves claims: `recover` turns each into a lost
answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import structlog

from receipt_watcher.config.branches import Branch
from receipt_watcher.delivery.claims import Claim, WaitUntil, decide
from receipt_watcher.delivery.destinations import Deferred, Destination, Lost, Outcome, Refused
from receipt_watcher.delivery.outcomes import Outcomes
from receipt_watcher.delivery.pace import Pace
from receipt_watcher.delivery.pauses import DeliverySettings, while_unreadable
from receipt_watcher.delivery.queues import LoggedQueue, branches_by_destination
from receipt_watcher.errors import ChangedOnDiskError
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.route import InboxRoute

logger = structlog.get_logger()


class Deliveries:
    """The second stage; `destinations` are by the key of the branch."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        routes: Sequence[InboxRoute],
        destinations: Mapping[str, Destination],
        *,
        outcomes: Outcomes,
        settings: DeliverySettings,
        callback_url_of: Callable[[str], str],
        stopping: threading.Event,
        clock: Callable[[], float],
        must_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        self._log = log
        self._holds = holds
        self._routes = routes
        self._destinations = destinations
        self._outcomes = outcomes
        self._settings = settings
        self._callback_url_of = callback_url_of
        self._stopping = stopping
        self._clock = clock
        self._must_wait = must_wait
        self._turn = 0
        self._idle: set[str] = set()  # destinations that the last round had nothing for
        self._served: dict[str, str] = {}  # destination to the inbox whose receipt it was given last
        self._paces: dict[str, Pace] = {}  # of each destination; a restart lets one go early
        self._in_flight: dict[int, Job] = {}  # by worker; entered with the log's lock held, as the claim is made

    # --- one round ---------------------------------------------------------------------------------------------

    def deliver_due(self) -> bool:
        """Deliver one receipt that is due; return False where none is, or none may go out now."""
        try:
            return self._deliver_next()
        finally:  # also where a claim was not written after all: it would take a worker's place for ever
            self._in_flight.pop(threading.get_ident(), None)

    def _deliver_next(self) -> bool:
        now = self._clock()
        destinations = list(branches_by_destination(self._routes).items())
        self._turn += 1  # which destination is asked first changes from round to round, so that none starves another
        for offset in range(len(destinations)):
            url, branches = destinations[(self._turn + offset) % len(destinations)]
            job = self._claim(url, branches, now)
            if job is not None:
                self._deliver(job)
                return True
        return False

    def wait_seconds(self, most_seconds: float) -> float:
        """Return for how long nothing will be due, `most_seconds` at most."""
        now = self._clock()
        decisions = [
            decide(self._queue(url, branches, now), now)
            for url, branches in branches_by_destination(self._routes).items()
        ]
        times = [decision.at for decision in decisions if isinstance(decision, WaitUntil) and decision.at is not None]
        # A job that is due and still not claimed waits for another one's answer, which will ring.
        return min([most_seconds, *(at - now for at in times if at > now)])

    def _queue(self, url: str, branches: Sequence[Branch], now: float) -> LoggedQueue:
        return LoggedQueue(
            log=self._log,
            holds=self._holds,
            url=url,
            branches=branches,
            now=now,
            pace=self._pace_of(url),
            served=self._served.get(url),
            may_send_more=lambda: self._sending() < self._settings.workers,
        )

    def _claim(self, url: str, branches: Sequence[Branch], now: float) -> Job | None:
        """Claim the next job for a destination, if it may have one now.

        A transaction keeps others waiting: where the last round found nothing, it is first seen whether one is needed.
        """
        if url in self._idle and not self._queue(url, branches, now).is_due:
            return None
        with self._log.database.transaction():
            if self._must_wait():
                return None  # they are applied first: one may be of the receipt that would be sent again
            decision = decide(self._queue(url, branches, now), now)
            job = self._claim_first(url, decision, now) if isinstance(decision, Claim) else None
            if job is None:
                self._idle.add(url)
            else:
                self._idle.discard(url)
                self._in_flight[threading.get_ident()] = job
            return job

    def _claim_first(self, url: str, claim: Claim, now: float) -> Job | None:
        for branches in claim.groups:
            job = self._log.jobs.claim(branches, now, least_failed_first=claim.is_probe)
            if job is None:
                continue
            if not claim.is_probe:
                self._served[url] = job.inbox
            if claim.is_paced and (pace := self._pace_of(url)) is not None:
                pace.take(now)
            return job
        return None

    def _pace_of(self, url: str) -> Pace | None:
        if not self._settings.drain_per_minute:
            return None
        return self._paces.setdefault(url, Pace(self._settings.drain_per_minute))

    def _sending(self) -> int:
        """Return how many receipts are being sent; one whose file system answers nothing keeps no other waiting."""
        ready = {route.name for route in self._routes if route.is_ready}
        return sum(job.inbox in ready for job in tuple(self._in_flight.values()))

    # --- sending -----------------------------------------------------------------------------------------------

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
            self._outcomes.settle(
                route.branch_of(job), job, Lost("an error of receipt-watcher itself; see its log"), started_at
            )
            raise
        else:
            if self._stopping.is_set() and isinstance(outcome, Deferred) and outcome.status_code is None:
                self._release(job, 0.0, "stopping before anything was sent")
            else:
                self._outcomes.settle(route.branch_of(job), job, outcome, started_at)

    def _outcome(self, route: InboxRoute, job: Job, now: float) -> Outcome:
        try:
            return self._destinations[route.branch_of(job).key].deliver(
                job, route.path_of(job), job.attempts, self._callback_url_of(job.job_id), now
            )
        except ChangedOnDiskError as error:
            return Refused(Reason.CHANGED, str(error))
        except FileNotFoundError as error:
            if not route.spool.presence.is_missing(route.path_of(job)):
                raise  # its folder is away, or was a moment ago: no fault of the receipt
            return Refused(Reason.FILE_MISSING, f"{error.filename} is not there any more")

    def _put_off(self, job: Job, message: str) -> None:
        pause = while_unreadable(job, self._settings, self._clock())
        self._release(job, pause, message)
        logger.warning("job.put_off", job_id=job.job_id, inbox=job.inbox, filename=job.filename, message=message)

    def _release(self, job: Job, pause_seconds: float, detail: str) -> None:
        """Give a claim back: nothing was sent, so it was no attempt."""
        with self._log.database.transaction():
            now = self._clock()
            self._log.jobs.advance(
                job.job_id,
                Event.RELEASE,
                now,
                detail=detail,
                next_attempt_at=now + pause_seconds,
                attempts=job.attempts - 1,
            )

    # --- start and stop ----------------------------------------------------------------------------------------

    def recover(self, detail: str) -> list[Job]:
        """Settle claims that no worker holds: the receipt may have been sent, so its answer is lost.

        At start every claim is one; while running only those whose outcome could not be written down. An outcome that
        is still known is written down instead.
        """
        self._outcomes.write_kept()
        return self._outcomes.write_lost(detail, but=lambda: {job.job_id for job in tuple(self._in_flight.values())})
