"""One life of the daemon that stops between any two of its steps, and an N8N that answers as it is told."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receipt_watcher.delivery.callbacks import Callbacks, Reception
from receipt_watcher.delivery.deadlines import Deadlines, DeadlineSettings
from receipt_watcher.delivery.destinations import Accepted, Concluded, Deferred, Lost, Outcome, Refused, Unreadable
from receipt_watcher.delivery.outcomes import Outcomes
from receipt_watcher.delivery.pauses import DeliverySettings
from receipt_watcher.delivery.worker import Deliveries
from receipt_watcher.errors import ChangedOnDiskError
from receipt_watcher.examine.judge import examine
from receipt_watcher.inbox.take_in import TakeIn
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.spool.filing import Filing
from receipt_watcher.system.wakeup import Bell
from tests.conftest import ANSWERING, AUTO, INSTALLATION, FakeClock
from tests.fakes.daemons.process import digest
from tests.fakes.daemons.stepwise_threads import Actor, Life, SteppingLog, SteppingSpool
from tests.unit.inbox.test_take_in import route_on, settled, take_in

if TYPE_CHECKING:
    from tests.properties.interleavings import AnyInterleaving

URL = "http://n8n.example.com/webhook/receipts"
DEADLINE = 100.0
SETTINGS = DeliverySettings(
    max_attempts=2,
    backoff_initial_seconds=5,
    backoff_max_seconds=60,
    callback_deadline_seconds=DEADLINE,
    workers=2,
    hold_after=2,
    probe_max_seconds=60,
    drain_per_minute=20,
)
MAX_RESENDS = 1


class Answer(Enum):
    """The end of one delivery."""

    ACCEPTED = "accepted"
    DONE = "concluded well"
    NOT_DONE = "concluded badly"
    DOWN = "no connection"
    BUSY = "503, retry later"
    BROKEN = "500"
    TOO_LARGE = "413"
    REFUSED = "422"
    LOST = "no answer"
    NO_VERDICT = "JSON without a verdict"
    UNREADABLE = "the disk does not give the file"
    DEFECT = "an error of our own"


class DefectError(Exception):
    """An error of the program itself, as far as it knows."""


OUTCOMES: dict[Answer, Outcome] = {
    Answer.ACCEPTED: Accepted("200 Workflow was started", 200),
    Answer.DONE: Concluded(Verdict(success=True, message="done"), "200 done", 200),
    Answer.NOT_DONE: Concluded(Verdict(success=False, message="no supplier"), "200 no supplier", 200),
    Answer.DOWN: Deferred("no connection: refused"),
    Answer.BUSY: Deferred("N8N answered 503", 503, retry_after_seconds=20),
    Answer.BROKEN: Deferred("N8N answered 500", 500, is_ambiguous=True),
    Answer.TOO_LARGE: Refused(Reason.REFUSED_TOO_LARGE, "N8N answered 413", 413),
    Answer.REFUSED: Refused(Reason.REFUSED, "N8N answered 422", 422),
    Answer.LOST: Lost("no answer in time"),
    Answer.NO_VERDICT: Unreadable("200 without a verdict", '{"id": 7}', 200),
}

#: After these nobody knows whether N8N will call back, so that is awaited.
_UNANSWERED = {Answer.ACCEPTED, Answer.LOST, Answer.DEFECT}


class TickingClock(FakeClock):
    """A clock that goes on by a millisecond whenever it is read, so that ids have an order."""

    def __call__(self) -> float:
        """Return the time, and let some pass."""
        return self.advance(0.001)


@dataclass
class Ledger:
    """The true events, noted by those who caused them. Seconds are those in which the program ran and could hear."""

    #: The bytes that were dropped, by digest.
    dropped: Counter[str] = field(default_factory=Counter)
    #: The jobs that each digest was sent under.
    sent_as: dict[str, set[str]] = field(default_factory=dict)
    #: The jobs that are being sent, and since when an answer or a callback is awaited.
    in_flight: dict[str, object] = field(default_factory=dict)
    unanswered: dict[str, float] = field(default_factory=dict)
    #: N8N's answers to a job.
    answers: dict[str, Counter[Answer]] = field(default_factory=dict)
    #: Jobs that N8N called a success, or a failure; and those whose success the program said it has.
    succeeded: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    #: Jobs that may have been booked though nobody can tell, until a person, or N8N, has said something of them; those
    #: whose verdict could not be read; those that an admin wants to be sent again all the same, or has settled.
    perhaps_booked: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    forced: set[str] = field(default_factory=set)
    settled: set[str] = field(default_factory=set)
    #: Jobs whose file a person may have taken out of failed/, and the digests of such files: of two equal ones nobody
    #: can tell which it was.
    taken_away: set[str] = field(default_factory=set)


class N8N:
    """The far side: it answers as it was told, and writes down what it was sent."""

    url = URL

    def __init__(self, office: AnyInterleaving, life: Life, log: Path) -> None:
        self._office = office
        self._ledger = office.ledger
        self._life = life
        self._log = log
        self._heard_seconds = office.heard_seconds
        self.answer = threading.local()  # each worker thread has its own

    def deliver(self, job: Job, file: Path, attempt: int, callback_url: str, now: float) -> Outcome:
        """Take a receipt, and answer some time later."""
        ledger, answer = self._ledger, self.answer.value
        self._life.step()
        if answer is Answer.UNREADABLE:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if digest(file.read_bytes()) != job.sha256:
            raise ChangedOnDiskError(f"{file} has changed")
        assert job.job_id not in ledger.in_flight, "sent twice at the same time"
        since = ledger.unanswered.get(job.job_id)
        assert since is None or self._heard_seconds() - since >= DEADLINE, "sent again while its callback is awaited"
        ledger.sent_as.setdefault(job.sha256 or "", set()).add(job.job_id)
        request = object()
        if self._is_still_claimed(job):  # else a verdict on an earlier request came before this one was read
            assert job.job_id not in ledger.perhaps_booked, "sent again though it may have been booked"
            ledger.unanswered[job.job_id] = self._heard_seconds()
            ledger.in_flight[job.job_id] = request
        self._life.step()
        ledger.answers.setdefault(job.job_id, Counter())[answer] += 1
        if ledger.in_flight.get(job.job_id) is request:  # else a verdict has overtaken it, and perhaps a retry
            del ledger.in_flight[job.job_id]
            if answer in _UNANSWERED:
                ledger.unanswered[job.job_id] = self._heard_seconds()
            else:
                ledger.unanswered.pop(job.job_id, None)
        if answer is Answer.NO_VERDICT or (self._office.sends_once and answer in {Answer.LOST, Answer.DEFECT}):
            self._office.may_have_booked(job.job_id)
            ledger.unreadable |= {job.job_id} if answer is Answer.NO_VERDICT else set()
        if answer is Answer.DONE:
            ledger.succeeded.add(job.job_id)
        if answer is Answer.NOT_DONE:
            ledger.failed.add(job.job_id)
        if answer is Answer.DEFECT:
            raise DefectError
        return OUTCOMES[answer]

    def _is_still_claimed(self, job: Job) -> bool:
        """Return whether the claim is the newest thing that happened to the job, by what is committed."""
        with contextlib.closing(sqlite3.connect(f"file:{self._log}?mode=ro", uri=True)) as log:
            found = log.execute("SELECT state, attempts FROM job WHERE job_id = ?", [job.job_id]).fetchall()
        return found == [(State.DELIVERING.value, job.attempts)]


class Process:
    """One life of the daemon: its parts, as `daemon` builds them, and its threads."""

    def __init__(self, office: AnyInterleaving) -> None:
        self._office = office
        clock = office.clock
        self.life = Life()
        self.log = SteppingLog(office.root / "receipts.db", self.life)
        self.spool = SteppingSpool("office", office.folders, self.life)
        self.n8n = N8N(office, self.life, self.log.database.path)
        self.route = route_on(
            self.spool,
            webhook_url=self.n8n.url,
            accept=ANSWERING if office.sends_once else AUTO,
            duplicates=office.policy,
            is_ready=False,
        )
        self.stopping = threading.Event()
        self.is_listening = False
        self.actors: dict[str, Actor] = {}
        holds = self.log.holds
        bells: dict[str, Any] = {"deliveries": Bell(), "filings": Bell()}
        self.take_in = TakeIn(self.log, [self.route], examine=examine, **bells, clock=clock, monotonic=clock)
        outcomes = Outcomes(self.log, holds, [self.route], SETTINGS, **bells, clock=clock, jitter=random.Random(0))
        self.delivery = Deliveries(
            self.log,
            holds,
            [self.route],
            {branch.key: self.n8n for branch in self.route.branches},
            outcomes=outcomes,
            settings=SETTINGS,
            callback_url_of=lambda job_id: f"http://receipts.lan/{job_id}",
            stopping=self.stopping,
            clock=clock,
        )
        self.conclusion = Callbacks(
            self.log,
            holds,
            [self.route],
            probe_seconds=5,
            **bells,
            clock=clock,
        )
        self.deadlines = Deadlines(
            self.log,
            holds,
            [self.route],
            DeadlineSettings(DEADLINE, MAX_RESENDS, probe_seconds=5),
            heard_at=self.conclusion.heard_at,
            **bells,
            clock=clock,
        )
        self.filing = Filing(self.log, [self.route], examine=examine, deliveries=bells["deliveries"], clock=clock)

    # --- what its threads do, one round each; as in `daemon` and `gate` ------------------------------------------

    def open(self) -> None:
        """Start: the log first, then callbacks are heard, then the spool."""
        self.log.database.open()
        self.log.jobs.assign_branches(self.route.name, self.route.key_at)
        now = self._office.clock()
        with self.log.database.transaction():
            self.log.jobs.postpone_deadlines(float(self.log.facts.table.get("alive_at") or now), now)
            self.log.facts.table.put("alive_at", repr(now))
            self._office.hears_again()
        self.delivery.recover("stopped while this was being sent")
        self.is_listening = True
        self.spool.open(INSTALLATION)
        while self.filing.file_away(self.route):
            pass
        self.take_in.recovery.recover(self.route)
        self.route.is_ready = True

    def take(self) -> None:
        """Take in whatever is in the inbox."""
        if self.take_in.recovery.recover_in_seconds(self.route) is not None:
            self.take_in.recovery.recover(self.route)
        inbox = self._office.folders.inbox
        paths = sorted(path.relative_to(inbox) for path in inbox.rglob("*") if path.is_file())
        take_in(self.take_in, self.route, [settled(inbox, path) for path in paths], self._office.park)

    def deliver(self, answer: Answer) -> bool:
        """Deliver one receipt, which N8N answers so; return whether there was one."""
        self.n8n.answer.value = answer
        try:
            return self.delivery.deliver_due()
        except DefectError:
            return True

    def note_alive(self) -> None:
        """Remember that deadlines are running."""
        self.log.facts.table.put("alive_at", repr(self._office.clock()))

    def call_back(self, job_id: str, *, success: bool) -> None:
        """Let N8N call back."""
        ledger = self._office.ledger
        (ledger.succeeded if success else ledger.failed).add(job_id)
        reception = self.conclusion.conclude(job_id, Verdict(success=success, message="so N8N says"))
        if success and reception is Reception.RECEIVED:
            ledger.heard.add(job_id)

    # --- threads -------------------------------------------------------------------------------------------------

    def start(self, name: str, work: Callable[[], object], steps: int) -> None:
        """Begin a thread's round, unless the one before is not over."""
        if name not in self.actors:
            self.actors[name] = Actor(self.life, work)
            self.go_on(name, steps)

    def go_on(self, name: str, steps: int) -> None:
        """Let a thread go on."""
        actor = self.actors[name]
        try:
            actor.go_on(steps)
        finally:
            if actor.has_ended:
                del self.actors[name]

    def kill(self) -> None:
        """End: nothing is committed, cleaned up or answered any more."""
        self.life.is_over = True
        self.log.die()
        for name in tuple(self.actors):
            self.go_on(name, 0)
        self.spool.close()
