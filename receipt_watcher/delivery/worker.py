"""Deliver: claim a due job, hand it to its destination, write down what became of it.

What it promises: the claim is durable before anything is sent; whatever happens in between, the job leaves the
state `delivering`: by its outcome, by a release when nothing was sent, or, when that is not certain, as a lost
answer, whose callback is awaited before anything is sent again; if none can come, the receipt is given up. An outcome
that the log does not take is kept in memory until it does. A failure that is the destination's costs the receipt
no attempt, and `hold_after` of them in a row hold the destination; it is the receipt's own only by evidence: another
receipt passed the same destination after it had failed, and it fails again.

What is due goes out in order of arrival within an inbox, and inboxes that share a destination take turns: a hundred
thousand receipts of one delay the single receipt of another by one. Outside its delivery window nothing of a branch
goes out, be it a probe or a resend. What waited for a hold's end goes out at `drain_per_minute`.

`deliver_due` does one round; several workers call it at once. A crash leaves claims: `recover` turns each into a lost
answer.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import structlog

from receipt_watcher.delivery.destinations import (
    Accepted,
    Concluded,
    Deferred,
    Destination,
    Lost,
    Outcome,
    Refused,
    Unreadable,
)
from receipt_watcher.delivery.pace import Pace
from receipt_watcher.errors import ChangedOnDiskError, JobLogError
from receipt_watcher.jobs.job import Job, backoff_seconds, job_id_prefix
from receipt_watcher.jobs.log.holds import DestinationState, HoldKind, Holds
from receipt_watcher.jobs.log.manual_holds import ManualHolds
from receipt_watcher.jobs.log.transitions import Attempt, JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.jobs.verdict import in_words
from receipt_watcher.spool.route import Branch, InboxRoute, branches_of, log_concluded
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()


_EVENT_OF: dict[type[Outcome], str] = {
    Accepted: "job.accepted",
    Deferred: "job.deferred",
    Refused: "job.refused",
    Lost: "job.lost",
    Unreadable: "job.unreadable",
}

#: The branches whose receipts are sent once, as of the last start: a claim that it left may be of such a delivery.
_SENDS_ONCE_FACT = "sends_once"


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How patient delivery is; seconds, and numbers of tries. `drain_per_minute` 0 is as fast as it goes."""

    max_attempts: int
    backoff_initial_seconds: float
    backoff_max_seconds: float
    callback_deadline_seconds: float
    workers: int
    hold_after: int
    probe_max_seconds: float
    drain_per_minute: float


class Deliveries:
    """The second stage; `destinations` are by the key of the branch."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        routes: Sequence[InboxRoute],
        destinations: Mapping[str, Destination],
        settings: DeliverySettings,
        *,
        callback_url_of: Callable[[str], str],
        deliveries: Bell,
        filings: Bell,
        stopping: threading.Event,
        clock: Callable[[], float],
        jitter: random.Random,
        must_wait: Callable[[], bool] = lambda: False,
    ) -> None:
        self._must_wait = must_wait
        self._log = log
        self._holds = holds
        self._hand_holds = ManualHolds(log)
        self._routes = routes
        self._destinations = destinations
        self._settings = settings
        self._callback_url_of = callback_url_of
        self._deliveries = deliveries
        self._filings = filings
        self._stopping = stopping
        self._clock = clock
        self._jitter = jitter
        self._turn = 0
        self._idle: set[str] = set()  # destinations that the last round had nothing for
        self._served: dict[str, str] = {}  # destination to the inbox whose receipt it was given last
        self._paces: dict[str, Pace] = {}  # of each destination; a restart lets one go early
        self._unwritten: dict[
            str, tuple[Branch, Job, Outcome, float]
        ] = {}  # outcomes that the log did not take, by job
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
        destinations = list(self._branches(now).items())
        self._turn += 1  # which destination is asked first changes from round to round, so that none starves another
        for offset in range(len(destinations)):
            url, inboxes = destinations[(self._turn + offset) % len(destinations)]
            job = self._claim(url, inboxes, now)
            if job is not None:
                self._deliver(job)
                return True
        return False

    def wait_seconds(self, most_seconds: float) -> float:
        """Return for how long nothing will be due, `most_seconds` at most."""
        now = self._clock()
        times = [
            max(due_at, branch.opens_at(now))
            for branch in self._ready_branches()
            if branch.window and not branch.window.is_open(now) and (due_at := self._log.next_due([branch.key]))
        ]
        for url, inboxes in self._branches(now).items():
            due_at = self._log.next_due(_all_of(inboxes))
            if due_at is not None and self._hand_holds.of_destination(url) is None:
                standing = self._holds.get(url)
                paced_until = now + self._pause_of_drain(standing, _all_of(inboxes), now)
                times.append(max(due_at, standing.probe_at or 0.0, paced_until))
        # A job that is due and still not claimed waits for another one's answer, which will ring.
        return min([most_seconds, *(at - now for at in times if at > now)])

    def _ready_branches(self) -> Iterator[Branch]:
        """Yield the branches of the spools that are open."""
        for route in self._routes:
            if route.is_ready:
                yield from route.branches

    def _branches(self, now: float) -> dict[str, dict[str, list[str]]]:
        """Return the branches that may be delivered from now, by destination and by inbox."""
        found: dict[str, dict[str, list[str]]] = {}
        for branch in self._ready_branches():
            if branch.window is None or branch.window.is_open(now):
                found.setdefault(branch.url, {}).setdefault(branch.inbox, []).append(branch.key)
        return found

    def _claim(self, url: str, inboxes: Mapping[str, Sequence[str]], now: float) -> Job | None:
        """Claim the next job for a destination, if it may have one now.

        A transaction keeps others waiting: where the last round found nothing, it is first seen whether one is needed.
        """
        if url in self._idle and not self._is_due(_all_of(inboxes), now):
            return None
        with self._log.transaction():
            if self._must_wait():
                return None  # they are applied first: one may be of the receipt that would be sent again
            job = self._claim_if_it_may(url, inboxes, now)
            if job is None:
                self._idle.add(url)
            else:
                self._idle.discard(url)
                self._in_flight[threading.get_ident()] = job
            return job

    def _is_due(self, branches: Sequence[str], now: float) -> bool:
        due_at = self._log.next_due(branches)
        return due_at is not None and due_at <= now

    def _claim_if_it_may(self, url: str, inboxes: Mapping[str, Sequence[str]], now: float) -> Job | None:
        """Claim one, inside a transaction, unless something speaks against it.

        While an admin holds it: none, and no probe. While it is held: one probe at a time, when its time has come.
        While it drains: at its pace. Until it has called back for the first time ever: one receipt at a time, so that a
        wrong callback URL costs one receipt its patience, not a thousand.
        """
        branches = _all_of(inboxes)
        if not self._is_due(branches, now) or self._sending() >= self._settings.workers:
            return None
        standing = self._holds.get(url)
        if self._hand_holds.of_destination(url) is not None or (standing.probe_at or 0.0) > now:
            return None
        if standing.is_held:
            is_probed = self._log.count(branches, State.DELIVERING) > 0
            return None if is_probed else self._log.claim(branches, now, least_failed_first=True)
        if standing.called_back_at is None and self._log.count(branches, State.DELIVERING, State.PROCESSING):
            return None
        drains = self._is_draining(standing, branches, now)
        if drains and self._pace_of(url).wait_seconds(now) > 0:
            return None
        job = self._claim_in_turn(url, inboxes, now)
        if job is not None and drains:
            self._pace_of(url).take(now)
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

    def _is_draining(self, standing: DestinationState, branches: Sequence[str], now: float) -> bool:
        """Whether what is due waited for the end of a hold, and is to go out at a pace: by when it came."""
        if not self._settings.drain_per_minute or standing.is_held or standing.resumed_at is None:
            return False
        oldest = self._log.oldest_due(branches, now)
        return oldest is not None and oldest.job_id < job_id_prefix(standing.resumed_at)

    def _pause_of_drain(self, standing: DestinationState, branches: Sequence[str], now: float) -> float:
        """Return how long the pace keeps a destination that drains waiting, in seconds."""
        pause = self._pace_of(standing.url).wait_seconds(now) if self._settings.drain_per_minute else 0.0
        return pause if pause and self._is_draining(standing, branches, now) else 0.0

    def _pace_of(self, url: str) -> Pace:
        return self._paces.setdefault(url, Pace(self._settings.drain_per_minute))

    def _sending(self) -> int:
        """Return how many receipts are being sent; one whose file system answers nothing keeps no other waiting."""
        ready = {route.name for route in self._routes if route.is_ready}
        return sum(job.inbox in ready for job in tuple(self._in_flight.values()))

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

    def _outcome(self, route: InboxRoute, job: Job, now: float) -> Outcome:
        try:
            return self._destinations[route.branch_of(job).key].deliver(
                job, route.path_of(job), job.attempts, self._callback_url_of(job.job_id), now
            )
        except ChangedOnDiskError as error:
            return Refused(Reason.CHANGED, str(error))
        except FileNotFoundError as error:
            if not route.spool.is_missing(route.path_of(job)):
                raise  # its folder is away, or was a moment ago: no fault of the receipt
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
        """Write an outcome down; `recover` does it later if the log does not take it now.

        Raises:
            JobLogError: the log does not take it.
        """
        try:
            self._write_down(branch, job, outcome, started_at)
        except JobLogError:
            self._unwritten[job.job_id] = branch, job, outcome, started_at
            raise

    def _write_down(self, branch: Branch, job: Job, outcome: Outcome, started_at: float) -> None:
        """Write an outcome down, in one commit. A callback may have overtaken it: then only the attempt is kept."""
        with self._log.transaction():
            now = self._clock()  # here, so that no jump of the clock comes between it and the times that are set
            current = self._log.get(job.job_id)
            # A failure, a retry and a new claim may have come meanwhile: this outcome is not that claim's. A success is
            # the receipt's, however late.
            is_ours = current is not None and current.attempts == job.attempts
            is_success = isinstance(outcome, Concluded) and outcome.verdict.success
            after = self._follow(branch, current, outcome, now) if current and (is_ours or is_success) else None
            execution_id = outcome.execution_id if isinstance(outcome, Accepted | Concluded | Unreadable) else None
            if (is_ours or is_success) and execution_id is not None:  # also where the callback was faster
                self._log.keep_execution(job.job_id, execution_id)
            counted = after is None or after.attempts == job.attempts
            self._log.add_attempt(
                job.job_id,
                now,
                Attempt(started_at, type(outcome).__name__.lower(), counted, outcome.status_code, outcome.message),
            )
            is_held = isinstance(outcome, Deferred) and self._holds.get(branch.url).is_held
        self._tell(job, outcome, after, now, started_at, is_held=is_held)

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
        url = branch.url
        if self._holds.accepted(url, now):
            self._log.forget_resends(branches_of(self._routes, url))
            self._tell_resumed(branch, "it accepts receipts again")
        standing = self._holds.get(url)
        if standing.hold_kind is HoldKind.SILENCE:  # only a callback ends that; the next probe waits longer
            probe_at = now + self._probe_pause(standing)
            self._holds.hold(url, HoldKind.SILENCE, standing.hold_message or "", now, probe_at)
        return self._await_callback(job, Event.ACCEPT, outcome.message, now, failed_at=None)

    def _conclude(self, branch: Branch, job: Job, outcome: Concluded, now: float) -> Job | None:
        """Write the verdict that came as the answer, as a callback's is; no callback is awaited."""
        url, verdict = branch.url, outcome.verdict
        ended_by_answer = self._holds.accepted(url, now)
        if self._holds.called_back(url, now) or ended_by_answer:
            self._log.forget_resends(branches_of(self._routes, url))
            self._tell_resumed(branch, "it concludes receipts again")
        detail, message = in_words(verdict), verdict.message
        if verdict.success:
            page = verdict.notion_page_url
            return self._log.advance(job, Event.SUCCEED, now, detail=detail, message=message, notion_page_url=page)
        return self._log.advance(job, Event.FAIL, now, detail=detail, reason=Reason.N8N_FAILURE, message=message)

    def _lose(self, branch: Branch, job: Job, outcome: Lost, now: float) -> Job | None:
        self._miss(branch, outcome, now)
        if branch.sends_once:
            return self._log.give_up(job, now, outcome.message)
        return self._await_callback(job, Event.LOSE, outcome.message, now, failed_at=now)

    def _give_up_unreadable(self, branch: Branch, job: Job, outcome: Unreadable, now: float) -> Job | None:
        """Fail a receipt whose verdict cannot be read, and keep it as it came; several in a row hold N8N."""
        url = branch.url
        if self._holds.accepted(url, now):
            self._log.forget_resends(branches_of(self._routes, url))
            self._tell_resumed(branch, "it answers receipts again")
        probe_at = now + self._probe_pause(self._holds.get(url))
        if self._holds.unreadable(url, job.job_id, outcome.message, now, probe_at):
            logger.warning("destination.held", inbox=branch.inbox, message=outcome.message)
        reason, text = Reason.UNREADABLE_VERDICT, outcome.text
        return self._log.advance(job, Event.GIVE_UP, now, detail=text, reason=reason, message=outcome.message)

    def _await_callback(self, job: Job, event: Event, detail: str, now: float, failed_at: float | None) -> Job | None:
        """Wait for the callback until the deadline. A job that had one before was sent again, and that counts."""
        return self._log.advance(
            job,
            event,
            now,
            detail=detail,
            deadline_at=now + self._settings.callback_deadline_seconds,
            resends=job.resends + (job.deadline_at is not None),
            destination_failed_at=failed_at,
        )

    def _defer(self, branch: Branch, job: Job, outcome: Deferred, now: float, *, is_proven: bool = False) -> Job | None:
        standing = self._holds.get(branch.url)
        if outcome.is_ambiguous and self._others_passed(job, standing):
            return self._own_failure(job, outcome.message, now)
        self._miss(branch, outcome, now, is_proven=is_proven)
        after = self._holds.get(branch.url)
        return self._log.advance(
            job,
            Event.DEFER,
            now,
            detail=outcome.message,
            next_attempt_at=now if after.is_held else now + self._own_pause(job, standing, after, now),
            destination_failed_at=now,
            attempts=job.attempts - 1,
        )

    def _others_passed(self, job: Job, standing: DestinationState) -> bool:
        """Whether the destination works but for this job: it took another one after it had failed this one."""
        failed_at = job.destination_failed_at
        return failed_at is not None and not standing.is_held and (standing.accepted_at or 0.0) > failed_at

    def _own_pause(self, job: Job, before: DestinationState, after: DestinationState, now: float) -> float:
        """Return how long a job waits by itself after a failure that holds nobody yet, in seconds.

        Where others passed since its last failure, twice as long as since then: the pauses double, and nothing has to
        be counted for it.
        """
        if job.destination_failed_at is None or not self._others_passed(job, before):
            return self._backoff_seconds(after.misses)
        pause = 2 * (now - job.destination_failed_at) * self._jitter.uniform(0.5, 1.0)
        return min(max(pause, self._settings.backoff_initial_seconds), self._settings.backoff_max_seconds)

    def _own_failure(self, job: Job, message: str, now: float) -> Job | None:
        """Count a failure that others did not have: after `max_attempts` of them the receipt has failed."""
        failures = job.failures + 1
        if failures >= self._settings.max_attempts:
            return self._log.advance(
                job, Event.FAIL, now, reason=Reason.ATTEMPTS_EXHAUSTED, message=message, failures=failures
            )
        return self._log.advance(
            job,
            Event.DEFER,
            now,
            detail=message,
            next_attempt_at=now + self._backoff_seconds(failures),
            destination_failed_at=now,
            failures=failures,
        )

    def _refuse(self, branch: Branch, job: Job, outcome: Refused, now: float) -> Job | None:
        url = branch.url
        if outcome.reason is Reason.REFUSED_TOO_LARGE and self._holds.too_large(url, job.job_id):
            # Two different receipts, none accepted between them: a limit of the destination, not of one receipt.
            deferred = Deferred(outcome.message, outcome.status_code, is_ambiguous=True)
            return self._defer(branch, job, deferred, now, is_proven=True)
        return self._log.advance(job, Event.FAIL, now, reason=outcome.reason, message=outcome.message)

    def _miss(self, branch: Branch, outcome: Deferred | Lost, now: float, *, is_proven: bool = False) -> None:
        """Count a failure of the destination; hold it when there were enough in a row, or where one is proof.

        Until then it is only left alone for as long as it asks.
        """
        url, message = branch.url, outcome.message
        misses, standing = self._holds.missed(url, message), self._holds.get(url)
        asked = outcome.retry_after_seconds if isinstance(outcome, Deferred) else None
        asked = None if asked is None else min(asked, self._settings.probe_max_seconds)
        if standing.is_held or is_proven or misses >= self._settings.hold_after:
            pause = max(self._probe_pause(standing), asked or 0.0)
            if self._holds.hold(url, HoldKind.ANSWERS, message, now, now + pause):  # one line per hold, not per probe
                logger.warning("destination.held", inbox=branch.inbox, message=message, probe_seconds=round(pause, 1))
        elif asked is not None:
            self._holds.pause(url, now + asked)

    def _probe_pause(self, standing: DestinationState) -> float:
        """Return how long the next probe waits, in seconds: the pauses double."""
        initial = self._settings.backoff_initial_seconds
        return backoff_seconds(standing.probes + 1, initial, self._settings.probe_max_seconds, self._jitter)

    def _backoff_seconds(self, failures: int) -> float:
        return backoff_seconds(
            failures, self._settings.backoff_initial_seconds, self._settings.backoff_max_seconds, self._jitter
        )

    # --- telling -----------------------------------------------------------------------------------------------

    def _tell_resumed(self, branch: Branch, why: str) -> None:
        logger.info("destination.resumed", inbox=branch.inbox, why=why)
        self._deliveries.ring()

    def _tell(
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
        if after is not None and after.state in (State.SUCCESS, State.FAILURE):
            log_concluded(after, now)
            self._filings.ring()

    # --- start and stop ----------------------------------------------------------------------------------------

    def recover(self, detail: str) -> list[Job]:
        """Settle claims that no worker holds: the receipt may have been sent, so its answer is lost.

        At start every claim is one; while running only those whose outcome could not be written down. An outcome that
        is still known is written down instead.
        """
        for job_id, unwritten in tuple(self._unwritten.items()):
            self._write_down(*unwritten)
            del self._unwritten[job_id]
        with self._log.transaction():
            now = self._clock()
            deadline_at = now + self._settings.callback_deadline_seconds
            held = {job.job_id for job in tuple(self._in_flight.values())}
            jobs = self._log.lose_claims(now, deadline_at, detail, but=held, sent_once=self._branches_sent_once())
        for job in jobs:
            logger.warning("job.lost", job_id=job.job_id, inbox=job.inbox, filename=job.filename, message=detail)
            if job.state is State.FAILURE:
                log_concluded(job, now)
                self._filings.ring()
        return jobs

    def _branches_sent_once(self) -> set[str]:
        """Return the branches whose claims must not be sent again: of this start and of the one before.

        The workflow, and with it `n8n.accept`, may have been changed while a receipt was out.
        """
        now = {branch.key for route in self._routes for branch in route.branches if branch.sends_once}
        before = set(json.loads(self._log.fact(_SENDS_ONCE_FACT) or "[]"))
        if now != before:
            self._log.keep_fact(_SENDS_ONCE_FACT, json.dumps(sorted(now)))
        return now | before


def _level_of(outcome: Outcome, job: Job, *, is_held: bool) -> Callable[..., object]:
    """Two lines for a receipt that goes well, taken in and concluded; two for a hold, whatever its probes meet."""
    if isinstance(outcome, Accepted):
        return cast("Callable[..., object]", logger.info if job.attempts > 1 else logger.debug)
    return cast("Callable[..., object]", logger.debug if is_held else logger.warning)


def _all_of(inboxes: Mapping[str, Sequence[str]]) -> list[str]:
    return [branch for branches in inboxes.values() for branch in branches]
