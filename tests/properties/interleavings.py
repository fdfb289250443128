"""The life of jobs under any interleaving: workers, callbacks, deadlines, an admin, filing, people, and kills.

The real job log, spool and stages work on real files, and stop between any two of their steps (see `stepwise_threads`)
for whatever else may happen; N8N answers as it likes. What must hold is checked after each rule, from ledgers that are
kept here, never from the program's own word. At the end all faults end, and everything has to come to rest.

`python -m tests.properties.interleavings --examples 2000 --seed 1` runs the long form; the suite runs a short one.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from receipt_watcher.config.sections.inbox import Duplicates
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.tables import JOB_COLUMNS, job_of
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, Reason
from receipt_watcher.jobs.states import CLOSED_STATES, INITIAL_STATES, OPEN_STATES, TRANSITIONS, Event, State
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from tests.conftest import ANSWERING, open_log
from tests.fakes.daemons.process import digest
from tests.properties.stepped_process import DEADLINE, SETTINGS, URL, Answer, Ledger, Process, TickingClock
from tests.properties.turns import CONTENTS, NAMES, NO_RECEIPT, TO_THE_END, one_turn, picture

_ALL_JOBS = f"SELECT {', '.join(JOB_COLUMNS)} FROM job ORDER BY job_id"

#: The table as it was when this module was read: a fault that is planted in it later is a fault here too.
LEGAL = {event: (transition.sources, transition.target) for event, transition in TRANSITIONS.items()}


class AnyInterleaving(RuleBasedStateMachine):
    """One inbox, its daemon in pieces, an admin with the command line, people, and N8N."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.folders = SpoolFolders(*(self.root / name for name in ("inbox", "processing", "done", "failed")))
        (self.folders.inbox / "sub").mkdir(parents=True)
        self.clock = TickingClock()
        self.ledger = Ledger()
        self.policy: Duplicates = "skip"
        self.sends_once = False
        self._heard_before, self._hears_since = 0.0, None  # type: float, float | None
        self._states: dict[str, State] = {}
        self._last_row = 0
        self._dropped = 0
        self._log = open_log(self.root / "receipts.db")  # the admin's, and the auditor's
        self._process: Process | None = None

    @initialize(
        policy=st.sampled_from(["skip", "skip", "send", "fail"]),
        has_called_back=st.sampled_from([True, True, False]),
        sends_once=st.sampled_from([False, False, True]),
    )
    def begin(self, policy: Duplicates, *, has_called_back: bool, sends_once: bool = False) -> None:
        """Choose what becomes of second copies, whether N8N ever called back, and whether it can at all."""
        self.policy = policy
        self.sends_once = sends_once
        if has_called_back:
            self._log.holds.called_back(URL, self.clock())
        for name, content in zip(NAMES, CONTENTS, strict=False):
            self._drop(name, content)
        self.take_in(TO_THE_END)

    def send_once(self) -> None:
        """Let N8N be one that may have booked what its answer was lost for."""
        self.sends_once = True
        assert self._process is not None
        route = self._process.route
        route.branches = tuple(replace(branch, accept=ANSWERING) for branch in route.branches)

    @rule(turn=one_turn())
    def turn(self, turn: tuple[str, dict[str, Any]]) -> None:
        """Let one of them have a turn. One rule: of several, hypothesis leaves out some in each example."""
        name, options = turn
        getattr(self, name)(**options)

    # --- time ----------------------------------------------------------------------------------------------------

    def heard_seconds(self) -> float:
        """Return for how long callbacks were heard so far."""
        return self._heard_before + (0.0 if self._hears_since is None else self.clock.now - self._hears_since)

    def hears_again(self) -> None:
        """From now on deadlines run."""
        self._hears_since = self.clock.now

    def _hears_no_more(self) -> None:
        self._heard_before, self._hears_since = self.heard_seconds(), None

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    # --- people --------------------------------------------------------------------------------------------------

    def drop(self, name: str, content: int) -> None:
        """Drop a file into the inbox, perhaps with bytes that were there before."""
        self._drop(name, CONTENTS[content])

    def _drop(self, name: str, content: bytes) -> None:
        path = self.folders.inbox / name
        if not path.exists():
            path.write_bytes(content)
            self.ledger.dropped[digest(content)] += 1

    def drop_back(self, pick: int) -> None:
        """Move a file from failed/ back into the inbox."""
        files = self._files(self.folders.failed)
        if not files:
            return
        source = files[pick % len(files)]
        path = source.relative_to(self.folders.failed)
        target = self.folders.inbox / path
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            self.ledger.taken_away.add(digest(source.read_bytes()))
            source.rename(target)
            for job in self._jobs():
                if path in (job.stored_path, job.moving_to_path):
                    self.ledger.taken_away.add(job.job_id)

    def command(self, pick: int, event: Event, *, is_forced: bool = False) -> None:
        """An admin retries or cancels a job, from another process, as the command line does."""
        job, now = self._picked(pick), self.clock()
        if job is None:
            return
        if event is Event.RETRY:
            self.ledger.forced |= {job.job_id} if is_forced else set()
            self._log.jobs.retry(job.job_id, now, "by an admin", is_forced=is_forced)
            return
        self.ledger.cancelled.add(job.job_id)
        self._log.jobs.advance(job.job_id, event, now, detail="by an admin")

    def settle(self, pick: int, *, is_delivered: bool) -> None:
        """An admin looks in N8N, and says what became of a job."""
        job = self._picked(pick)
        after = (
            self._log.jobs.settle(job.job_id, self.clock(), "by an admin", is_delivered=is_delivered) if job else None
        )
        if after is not None:
            self.ledger.settled.add(after.job_id)
            self.ledger.heard |= {after.job_id} if is_delivered else set()

    def may_have_booked(self, job_id: str) -> None:
        """Note that nobody can tell whether a job was booked, if nothing has been said of it yet."""
        job = self._log.lookups.get(job_id)
        if job is not None and job.state in OPEN_STATES:
            self.ledger.perhaps_booked.add(job_id)

    # --- threads of the process ----------------------------------------------------------------------------------

    def _round(self, name: str, work: Callable[[Process], object], steps: int, *, until_death: bool = False) -> None:
        if self._process is None:
            self.start_up(TO_THE_END)
        process = self._process
        if process is None or name in process.actors or not process.is_listening:
            return
        if until_death:
            process.life.steps_left, steps = steps, TO_THE_END
        process.start(name, lambda: work(process), steps)
        if until_death:
            self.kill()

    def deliver(self, answer: Answer, worker: str, steps: int) -> None:
        """A worker begins a round, or goes on with it."""
        name = f"worker {worker}"
        if self._process is not None and name in self._process.actors:
            self._process.go_on(name, steps)
        else:
            self._round(name, lambda process: process.deliver(answer), steps)

    def take_in(self, steps: int) -> None:
        """The inbox's thread does a round."""
        self._round("inbox", Process.take, steps)

    def file_away(self, steps: int) -> None:
        """The filing thread does a round."""
        self._round("filing", lambda process: process.filing.file_away_due(), steps)

    def expire(self, steps: int) -> None:
        """The periodic tasks do their rounds."""
        self._round("expiry", lambda process: process.deadlines.expire_due(), steps)

    def settle_claims(self) -> None:
        """The other periodic tasks do theirs."""
        self._round("claims", lambda process: process.delivery.recover("not written down"), TO_THE_END)
        self._round("alive", Process.note_alive, TO_THE_END)

    def call_back(self, pick: int, *, success: bool) -> None:
        """N8N calls back for a job that it was sent; again, late, or against its own word as it likes."""
        sent = sorted({*self.ledger.answers, *self.ledger.in_flight})
        if sent:
            job_id = sent[pick % len(sent)]
            self._round("callback", lambda process: process.call_back(job_id, success=success), TO_THE_END)

    def call_back_unreadably(self, pick: int) -> None:
        """N8N posts a body that nobody can read."""
        job = self._picked(pick)
        job_id = job.job_id if job else "no such job"
        is_sent = job_id in self.ledger.answers.keys() | self.ledger.in_flight.keys()

        def call_back(process: Process) -> None:
            self.ledger.unreadable.add(job_id)
            if is_sent:
                self.may_have_booked(job_id)
            process.conclusion.keep_unreadable(job_id, b"?", "no JSON")

        self._round("callback", call_back, TO_THE_END)

    def go_on(self, pick: int, steps: int) -> None:
        """A thread that waits somewhere goes on."""
        if self._process is not None and self._process.actors:
            waiting = sorted(self._process.actors)
            self._process.go_on(waiting[pick % len(waiting)], steps)

    # --- the end of the process, and a new one -------------------------------------------------------------------

    def die(self, what: str, steps: int, answer: Answer, pick: int) -> None:
        """The process is killed in the midst of a round, also within a transaction."""
        sent = sorted({*self.ledger.answers, *self.ledger.in_flight})
        works: dict[str, Callable[[Process], object]] = {
            "inbox": Process.take,
            "filing": lambda process: process.filing.file_away_due(),
            "expiry": lambda process: process.deadlines.expire_due(),
            "worker": lambda process: process.deliver(answer),
        }
        if sent:
            works["callback"] = lambda process: process.call_back(sent[pick % len(sent)], success=True)
        if what in works:
            self._round(what, works[what], steps, until_death=True)
        self.kill()

    def kill(self) -> None:
        """End the process as kill -9 does, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process = None
            self._hears_no_more()
            self._forget_requests()

    def _forget_requests(self) -> None:
        """Await callbacks from the next start on for requests under way: N8N may have read them."""
        for job_id in self.ledger.in_flight:
            self.ledger.unanswered[job_id] = self.heard_seconds()
            if self.sends_once:
                self.may_have_booked(job_id)
        self.ledger.in_flight.clear()

    def stop(self) -> None:
        """The process stops in order: each thread ends its round."""
        if self._process is not None and self._process.is_listening:
            self._process.stopping.set()
            self._finish_rounds()
            self._process.note_alive()
        self.kill()

    def start_up(self, steps: int, *, dies: bool = False) -> None:
        """A new process starts, or dies while it starts."""
        if self._process is None:
            self._process = process = Process(self)
            is_last = dies and steps < TO_THE_END
            if is_last:
                process.life.steps_left = steps
            process.start("opening", process.open, TO_THE_END if is_last else steps)
            if is_last:
                self.kill()

    def _finish_rounds(self) -> None:
        assert self._process is not None
        for name in sorted(self._process.actors):
            self._process.go_on(name, TO_THE_END)
            self.all_promises_hold()

    def park(self, *what: object) -> None:
        """Fail: nobody writes the files here, so none has to wait in the inbox."""
        raise AssertionError(what)

    # --- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def all_promises_hold(self) -> None:
        """Check everything."""
        self._check_files()
        self._check_histories()
        self._check_verdicts()
        self._check_places()

    def _check_files(self) -> None:
        """Each file that was dropped is in exactly one folder, whole, and nothing else is there."""
        files = [path for folder in self._all_folders() for path in self._files(folder)]
        assert Counter(digest(path.read_bytes()) for path in files) == self.ledger.dropped, files

    def _check_histories(self) -> None:
        """Each job begins in an initial state, and each change is one of the table; deadlines are kept."""
        rows = self._log.database.select(
            "SELECT id, job_id, event, from_state, to_state, at FROM history WHERE id > ? ORDER BY id", self._last_row
        )
        for number, job_id, event, source, target, at in rows:
            self._last_row = number
            if target is None:
                continue
            if event == "record":
                assert State(target) in INITIAL_STATES
                assert job_id not in self._states
            else:
                sources, right = LEGAL[Event(event)]
                assert self._states[job_id] == source
                assert State(source) in sources, (source, event)
                assert target == right
                assert source != State.SUCCESS, "a success was taken back"
            self._states[job_id] = State(target)
            self._check_deadline(job_id, event, at)
            self._check_repetition(job_id, event)
            if event == Event.LOSE:  # a claim of which the process that is gone may have sent nothing
                self.ledger.unanswered.setdefault(job_id, self.heard_seconds() - (self.clock.now - at))
            if State(target) in CLOSED_STATES:
                self.ledger.unanswered.pop(job_id, None)
                self.ledger.in_flight.pop(job_id, None)  # a verdict may overtake its answer; a retry may follow it

    def _check_deadline(self, job_id: str, event: str, at: float) -> None:
        if event not in (Event.RESEND, Event.EXPIRE):
            return
        since = self.ledger.unanswered.get(job_id)
        assert since is not None, "sent again, or given up, though it was never sent"
        assert self.heard_seconds() - since >= DEADLINE, "sent again, or given up, before its deadline"
        standing = self._log.holds.of(URL)
        if standing.held_since is not None and standing.held_since < at:
            assert event == Event.RESEND, "given up while its destination was held"
            assert (standing.probe_at or 0.0) <= at, "sent again while its destination was held"

    def _check_repetition(self, job_id: str, event: str) -> None:
        """Check that a receipt which may be booked is sent again only by a person's wish or word that it is not."""
        if event == Event.RETRY and job_id in self.ledger.perhaps_booked:
            job = self._log.lookups.get(job_id)
            assert job is not None
            assert job_id in self.ledger.forced or self._was_taken_away(job), "sent again though nobody asked for it"
        if event in (Event.RETRY, Event.SETTLE_NOT_DELIVERED, Event.FAIL, Event.CANCEL):
            self.ledger.perhaps_booked.discard(job_id)

    def _check_verdicts(self) -> None:
        """A success is N8N's, and stays; each failure has its cause; one receipt has one id."""
        for job in self._jobs():
            assert self._states.get(job.job_id, job.state) is job.state
            if job.job_id in self.ledger.heard:
                assert job.state is State.SUCCESS
            if job.state is State.SUCCESS:
                assert job.job_id in self.ledger.succeeded | self.ledger.settled
            elif job.state in (State.FAILURE, State.CANCELLED):
                self._check_reason(job)
            if job.state not in OPEN_STATES:
                assert (job.next_attempt_at, job.deadline_at) == (None, None)
        if self.policy == "skip":
            assert all(len(jobs) == 1 for jobs in self.ledger.sent_as.values()), self.ledger.sent_as

    def _check_reason(self, job: Job) -> None:
        answers = self.ledger.answers.get(job.job_id, Counter[Answer]())
        is_right = {
            Reason.N8N_FAILURE: job.job_id in self.ledger.failed,
            Reason.REFUSED: answers[Answer.REFUSED] > 0,
            Reason.REFUSED_TOO_LARGE: answers[Answer.TOO_LARGE] > 0,
            Reason.ATTEMPTS_EXHAUSTED: answers[Answer.BROKEN] + answers[Answer.TOO_LARGE] >= SETTINGS.max_attempts,
            Reason.NO_CALLBACK: job.job_id in set().union(*self.ledger.sent_as.values()),
            Reason.OUTCOME_UNKNOWN: self.sends_once,
            Reason.UNREADABLE_VERDICT: job.job_id in self.ledger.unreadable,
            Reason.NOT_DELIVERED: job.job_id in self.ledger.settled,
            Reason.CANCELLED: job.job_id in self.ledger.cancelled,
            Reason.ALREADY_SEEN: self.policy != "send",
            Reason.CHANGED: self._was_taken_away(job),
            Reason.FILE_MISSING: self._was_taken_away(job),
        }
        assert job.reason is not None
        if job.reason in EXAMINATION_REASONS:
            assert job.sha256 == digest(NO_RECEIPT)
        else:
            assert is_right[job.reason], job

    def _check_places(self) -> None:
        """Check that a file without a due move is where the log says, unless a person has taken it."""
        for job in self._jobs():
            if job.move_due or self._was_taken_away(job):
                continue
            path = self.folders.path_of(job.folder) / job.stored_path
            assert path.is_file(), job
            assert digest(path.read_bytes()) == job.sha256, job

    # --- the end -------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """All faults end; then everything comes to rest."""
        try:
            if sys.exc_info()[0] is None:
                self._settle()
        finally:
            self.kill()
            self._log.database.close()
            shutil.rmtree(self.root)

    def _settle(self) -> None:
        if self._process is None:
            self.start_up(TO_THE_END)
        self._finish_rounds()
        for number in range(40):
            self._work_off()
            self.all_promises_hold()
            if self._is_quiet():
                break
            self.clock.advance(DEADLINE + 1)
            if number % 10 == 9:  # the last sends of a held destination wait for another receipt's luck
                self._drop(f"luck-{number}.png", picture(100 + number))
        else:
            raise AssertionError(
                f"no rest: {[job for job in self._jobs() if job.move_due or job.state in OPEN_STATES]}"
            )
        self._check_rest()

    def _work_off(self) -> None:
        process = self._process
        assert process is not None
        self._round("inbox", Process.take, TO_THE_END)
        while process.deliver(Answer.ACCEPTED):
            self.all_promises_hold()
            for job in self._jobs():
                if job.state is State.PROCESSING and self.ledger.answers.get(job.job_id, Counter())[Answer.ACCEPTED]:
                    process.call_back(job.job_id, success=True)
        process.deadlines.expire_due()
        process.delivery.recover("not written down")
        while process.filing.file_away_due():
            self.all_promises_hold()

    def _is_quiet(self) -> bool:
        return not self._files(self.folders.inbox) and not any(
            job.move_due or job.state in OPEN_STATES for job in self._jobs()
        )

    def _check_rest(self) -> None:
        """Each job is concluded and filed in the folder of its verdict, with its note if it failed; no place twice."""
        left = [str(path) for path in self.folders.processing.rglob("*")]
        assert left == [str(self.folders.processing / ".owner")], left
        jobs = [job for job in self._jobs() if not self._has_lost_its_file(job)]
        places = Counter(self.folders.path_of(job.folder) / job.stored_path for job in jobs)
        assert all(count == 1 for count in places.values()), places
        filed = {*self._files(self.folders.done), *self._files(self.folders.failed)}
        assert filed >= places.keys()
        assert filed <= {self.folders.path_of(job.folder) / job.stored_path for job in self._jobs()}
        for job in jobs:
            assert job.folder is self._log.files.home_of(job)
            assert job.folder is not Folder.PROCESSING
            if job.folder is Folder.FAILED:
                assert job.note_path is not None
                assert f"Job: {job.job_id}" in (self.folders.failed / job.note_path).read_text()

    def _was_taken_away(self, job: Job) -> bool:
        return job.job_id in self.ledger.taken_away or job.sha256 in self.ledger.taken_away

    def _has_lost_its_file(self, job: Job) -> bool:
        """Return whether a person has taken the file, and it came back under another job."""
        path = self.folders.path_of(job.folder) / job.stored_path
        others = [each for each in self._jobs() if (each.folder, each.stored_path) == (job.folder, job.stored_path)]
        return self._was_taken_away(job) and (
            not path.is_file() or digest(path.read_bytes()) != job.sha256 or len(others) > 1
        )

    # --- looking -------------------------------------------------------------------------------------------------

    def _all_folders(self) -> list[Path]:
        return [self.folders.inbox, self.folders.processing, self.folders.done, self.folders.failed]

    def _files(self, folder: Path) -> list[Path]:
        return sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".owner" and not path.name.endswith((NOTE_SUFFIX, PARTIAL_SUFFIX))
        )

    def _jobs(self) -> list[Job]:
        return [job_of(row) for row in self._log.database.select(_ALL_JOBS)]

    def _picked(self, pick: int) -> Job | None:
        jobs = self._jobs()
        return jobs[pick % len(jobs)] if jobs else None


def be_quiet() -> None:
    """Write no log lines."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def run(examples: int, seed: int | None, steps: int = 60) -> None:
    """Run the machine for so many examples; the same seed gives the same ones."""
    be_quiet()
    machine = AnyInterleaving if seed is None else hypothesis.seed(seed)(AnyInterleaving)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def main() -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.interleavings", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    run(options.examples, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
