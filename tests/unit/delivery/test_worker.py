"""Delivery: real job log, holds and files; a destination that answers as told; time that is moved by hand."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.delivery.destinations import Concluded, Outcome, Refused, Unreadable
from receipt_watcher.errors import ChangedOnDiskError, JobLogError
from receipt_watcher.jobs.job import Job, unknown_outcome
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.spool.folders import Spool
from tests.conftest import refusing_commits
from tests.fakes.daemons.process import wait_until
from tests.unit.delivery.worker_world import (
    ACCEPTED,
    BOOKED,
    BROKEN,
    DOWN,
    LOST,
    SETTINGS,
    TOO_LARGE,
    Script,
    World,
)

# --- what follows from each outcome --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """The effect of an outcome on a receipt and on its destination."""

    outcome: Outcome
    state: State
    event: Event
    counted: bool = True
    is_held: bool = False
    is_awaited: bool = False
    is_filed: bool = False
    reason: Reason | None = None


EFFECTS = {
    "accepted": Effect(ACCEPTED, State.PROCESSING, Event.ACCEPT, is_awaited=True),
    "concluded": Effect(BOOKED, State.SUCCESS, Event.SUCCEED, is_filed=True),
    "concluded-badly": Effect(
        Concluded(Verdict(success=False, message="no total"), "200 no total", 200),
        State.FAILURE,
        Event.FAIL,
        is_filed=True,
        reason=Reason.N8N_FAILURE,
    ),
    "deferred": Effect(DOWN, State.QUEUED, Event.DEFER, counted=False, is_held=True),
    "ambiguous": Effect(BROKEN, State.QUEUED, Event.DEFER, counted=False, is_held=True),
    "refused": Effect(
        Refused(Reason.REFUSED, "422", 422), State.FAILURE, Event.FAIL, is_filed=True, reason=Reason.REFUSED
    ),
    "too-large": Effect(TOO_LARGE, State.FAILURE, Event.FAIL, is_filed=True, reason=Reason.REFUSED_TOO_LARGE),
    "lost": Effect(LOST, State.PROCESSING, Event.LOSE, is_held=True, is_awaited=True),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_effect_of_an_outcome(world: World, name: str) -> None:
    """Each outcome has its state, its count, its deadline, its line of history, and holds the destination or not."""
    effect = EFFECTS[name]
    world.destination.script = lambda _: effect.outcome
    (job,) = world.record()
    assert world.delivery.deliver_due() is True
    after = world.job(job)
    assert (after.state, after.reason) == (effect.state, effect.reason)
    assert after.attempts == int(effect.counted)
    assert after.failures == 0
    assert after.deadline_at == (world.clock.now + 600 if effect.is_awaited else None)
    assert after.move_due is effect.is_filed
    assert (world.filings.count > 0) is effect.is_filed
    assert world.events(job) == ["record", "claim", effect.event]
    assert world.standing.is_held is effect.is_held
    (attempt,) = world.log.histories.attempts(job.job_id)
    assert attempt["outcome"] == type(effect.outcome).__name__.lower()
    assert attempt["counted"] is effect.counted
    assert attempt["message"] == effect.outcome.message
    assert attempt["status_code"] == getattr(effect.outcome, "status_code", None)
    assert world.destination.calls == [(job.job_id, 1, f"http://receipts.lan/{job.job_id}", world.clock.now)]


@pytest.mark.parametrize("name", EFFECTS)
def test_callback_may_overtake_the_answer(world: World, name: str) -> None:
    """A success that is heard while the receipt is still being sent stays, whatever the answer then is."""

    def overtaken(job: Job) -> Outcome:
        assert world.log.jobs.advance(job.job_id, Event.SUCCEED, world.clock.now, message="booked")
        return EFFECTS[name].outcome

    world.destination.script = overtaken
    (job,) = world.record()
    world.delivery.deliver_due()
    after = world.job(job)
    assert (after.state, after.message, after.attempts) == (State.SUCCESS, "booked", 1)
    assert world.events(job) == ["record", "claim", "succeed"]
    assert len(world.log.histories.attempts(job.job_id)) == 1


def retried_meanwhile(world: World, outcome: Outcome, claims: list[Job | None]) -> Script:
    """Return what lets a receipt fail, be retried and be claimed anew while it is being sent."""

    def overtaken(job: Job) -> Outcome:
        now = world.clock.advance(1)
        assert world.log.jobs.advance(job.job_id, Event.FAIL, now, reason=Reason.N8N_FAILURE)
        assert world.log.jobs.advance(job.job_id, Event.RETRY, now, next_attempt_at=now)
        claims.append(world.log.jobs.claim(["office"], now))
        return outcome

    return overtaken


def test_success_of_an_older_claim_is_the_receipts(known: World) -> None:
    """A success that comes as the answer counts like a callback's, whichever claim it belongs to: it was booked."""
    known.destination.script = retried_meanwhile(known, BOOKED, [])
    (job,) = known.record()
    known.delivery.deliver_due()
    assert (known.job(job).state, known.job(job).message) == (State.SUCCESS, "booked")
    assert known.events(job)[-2:] == ["claim", "succeed"]


@pytest.mark.parametrize("name", sorted(EFFECTS.keys() - {"concluded"}))
def test_outcome_of_an_older_claim_changes_nothing(known: World, name: str) -> None:
    """An answer that comes after a failure, a retry and a new claim is not that claim's: only the attempt is kept."""
    claims: list[Job | None] = []
    known.destination.script = retried_meanwhile(known, EFFECTS[name].outcome, claims)
    (job,) = known.record()
    standing = known.standing
    known.delivery.deliver_due()
    assert [known.job(job)] == claims
    assert (known.job(job).state, known.job(job).attempts) == (State.DELIVERING, 2)
    assert known.events(job) == ["record", "claim", "fail", "retry", "claim"]
    assert known.standing == standing
    (attempt,) = known.log.histories.attempts(job.job_id)
    assert (attempt["outcome"], attempt["counted"]) == (type(EFFECTS[name].outcome).__name__.lower(), True)


def test_claim_is_durable_before_anything_is_sent(world: World) -> None:
    """While the receipt is on the wire, another process already reads in the log that it is."""
    seen: list[tuple[str, int]] = []

    def look(job: Job) -> Outcome:
        with contextlib.closing(sqlite3.connect(world.log.database.path)) as other:
            seen.extend(other.execute("SELECT state, attempts FROM job WHERE job_id = ?", [job.job_id]))
        return ACCEPTED

    world.destination.script = look
    world.record()
    world.delivery.deliver_due()
    assert seen == [("delivering", 1)]


def test_outcome_and_attempt_are_one_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the attempt cannot be written, the outcome is not either: no half of it is ever seen."""
    (job,) = world.record()

    def full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as context:
        context.setattr(world.log.jobs, "add_attempt", full)
        with pytest.raises(OSError, match="disk full"):
            world.delivery.deliver_due()
    assert world.job(job).state is State.DELIVERING
    assert world.log.histories.attempts(job.job_id) == []


def test_nothing_is_due(world: World) -> None:
    """A round without a due receipt delivers nothing and says so."""
    assert world.delivery.deliver_due() is False
    world.record(next_attempt_at=world.clock.now + 1)
    assert world.delivery.deliver_due() is False
    world.clock.advance(1)
    assert world.delivery.deliver_due() is True
    assert world.delivery.deliver_due() is False


def test_inbox_that_is_not_ready_waits(known: World) -> None:
    """Nothing goes out of a spool that is not open."""
    known.record()
    known.routes[0].is_ready = False
    assert known.deliver_all() == 0
    assert known.delivery.wait_seconds(5) == 5
    known.routes[0].is_ready = True
    assert known.deliver_all() == 1


def test_many_workers_deliver_each_receipt_once(known: World) -> None:
    """However many workers there are, each receipt goes out once."""
    jobs = known.record(60)
    threads = [threading.Thread(target=known.deliver_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(known.destination.delivered) == [job.job_id for job in jobs]
    assert {known.job(job).state for job in jobs} == {State.PROCESSING}


# --- the file ------------------------------------------------------------------------------------------------------


def test_changed_file_fails_its_receipt(known: World) -> None:
    """A file that is no longer the recorded one fails its receipt with that reason, and holds nobody."""

    def changed(_: Job) -> Outcome:
        raise ChangedOnDiskError("scan.jpg is not what was recorded")

    known.destination.script = changed
    (job,) = known.record()
    known.deliver_all()
    assert (known.job(job).state, known.job(job).reason) == (State.FAILURE, Reason.CHANGED)
    assert not known.standing.is_held


def test_missing_file_fails_its_receipt(known: World, spool: Spool) -> None:
    """A file that somebody removed from processing/ fails its receipt, and the text names it."""
    (job,) = known.record()
    path = spool.folders.processing / job.stored_path
    path.unlink()
    known.deliver_all()
    assert known.job(job).reason is Reason.FILE_MISSING
    assert str(path) in (known.job(job).message or "")


def test_absent_spool_fails_nothing(known: World, spool: Spool, tmp_path: Path) -> None:
    """Where the whole folder is away, as after an unmount, receipts wait and lose nothing."""
    jobs = known.record(2)
    spool.folders.processing.rename(tmp_path / "away")
    assert known.deliver_all() == 2
    for job in jobs:
        after = known.job(job)
        assert (after.state, after.attempts, after.next_attempt_at) == (State.QUEUED, 0, known.clock.now + 5)
    assert not known.standing.is_held
    (tmp_path / "away").rename(spool.folders.processing)
    known.clock.advance(5)
    assert known.deliver_all() == 2
    assert {known.job(job).state for job in jobs} == {State.PROCESSING}


def test_unreadable_file_is_put_off(known: World) -> None:
    """A file that cannot be read now is tried again later: no attempt, no hold, and others pass."""
    (bad,) = known.record()

    def unreadable(job: Job) -> Outcome:
        if job.job_id == bad.job_id:
            raise PermissionError(13, "Permission denied", "scan.jpg")
        return ACCEPTED

    known.destination.script = unreadable
    (good,) = known.record()
    assert known.deliver_all() == 2
    after = known.job(bad)
    assert (after.state, after.attempts, after.next_attempt_at) == (State.QUEUED, 0, known.clock.now + 5)
    assert known.events(bad) == ["record", "claim", "release"]
    assert not known.standing.is_held
    assert known.job(good).state is State.PROCESSING


# --- stop, defects, recovery ---------------------------------------------------------------------------------------


def test_stopping_gives_the_claim_back(known: World) -> None:
    """A worker that has claimed a receipt when the daemon stops sends nothing and gives it back, uncounted."""
    (job,) = known.record()
    known.stopping.set()
    known.delivery.deliver_due()
    after = known.job(job)
    assert (after.state, after.attempts, after.next_attempt_at) == (State.QUEUED, 0, known.clock.now)
    assert known.events(job) == ["record", "claim", "release"]
    assert known.destination.calls == []


@pytest.mark.parametrize(("outcome", "is_given_back"), [(DOWN, True), (BROKEN, False), (ACCEPTED, False)])
def test_stopping_amid_the_tries_gives_the_claim_back(known: World, outcome: Outcome, is_given_back: bool) -> None:
    """What was not sent when the daemon stopped says nothing of N8N: no attempt, no hold. An answer counts as ever."""

    def stop(_: Job) -> Outcome:
        known.stopping.set()
        return outcome

    known.destination.script = stop
    (job,) = known.record()
    known.delivery.deliver_due()
    assert (known.events(job)[-1] == "release") is is_given_back
    assert len(known.log.histories.attempts(job.job_id)) == int(not is_given_back)
    if is_given_back:
        after = known.job(job)
        assert (after.state, after.attempts, after.next_attempt_at) == (State.QUEUED, 0, known.clock.now)
        assert not known.standing.is_held


@pytest.mark.parametrize("defect", [RuntimeError("a defect"), KeyboardInterrupt()])
def test_defect_leaves_no_claim(known: World, defect: BaseException) -> None:
    """After an unexpected error nobody knows whether it was sent: its callback is awaited, and the error is seen."""

    def broken(_: Job) -> Outcome:
        raise defect

    known.destination.script = broken
    (job,) = known.record()
    with pytest.raises(type(defect)):
        known.delivery.deliver_due()
    after = known.job(job)
    assert (after.state, after.attempts, after.deadline_at) == (State.PROCESSING, 1, known.clock.now + 600)
    (attempt,) = known.log.histories.attempts(job.job_id)
    assert attempt["outcome"] == "lost"


def test_claims_of_a_dead_process_are_awaited(known: World) -> None:
    """A claim that a crash left behind becomes an awaited callback: it may have been sent."""
    (job,) = known.record()
    known.log.jobs.claim(["office"], known.clock.now)
    assert [lost.job_id for lost in known.another_delivery().recover("stopped")] == [job.job_id]
    after = known.job(job)
    assert (after.state, after.attempts, after.deadline_at) == (State.PROCESSING, 1, known.clock.now + 600)
    assert known.events(job) == ["record", "claim", "lose"]
    assert known.another_delivery().recover("stopped") == []


def once(world: World) -> World:
    """Let the destination answer at once, call back never, and remember no job id."""
    world.send_once()
    return world


def test_a_lost_answer_without_a_callback_is_given_up(known: World) -> None:
    """Where no callback can come a receipt that may have been booked fails, and says so; it is not sent again."""
    once(known).destination.script = lambda _: LOST
    (job,) = known.record()
    known.delivery.deliver_due()
    after = known.job(job)
    assert (after.state, after.reason, after.deadline_at) == (State.FAILURE, Reason.OUTCOME_UNKNOWN, None)
    assert after.message == unknown_outcome(job, "No answer in time")
    assert known.events(job) == ["record", "claim", "give_up"]
    assert after.move_due
    assert known.filings.count
    assert known.standing.is_held
    known.clock.now += 10**6
    assert known.deliver_all() == 0


def test_what_was_certainly_not_sent_is_not_given_up(known: World) -> None:
    """A deferral stays one: nothing was booked, and the receipt goes out again."""
    outcomes: Iterator[Outcome] = iter([DOWN, BOOKED])
    once(known).destination.script = lambda _: next(outcomes)
    (job,) = known.record()
    known.deliver_all()
    known.clock.now = known.standing.probe_at or 0.0
    known.deliver_all()
    assert known.job(job).state is State.SUCCESS


def test_claims_of_a_dead_process_without_a_callback_are_given_up(known: World) -> None:
    """A crash while a receipt is claimed leaves it open whether it was booked."""
    (job,) = once(known).record()
    known.log.jobs.claim(["office"], known.clock.now)
    with capture_logs() as lines:
        assert [lost.job_id for lost in known.another_delivery().recover("stopped")] == [job.job_id]
    after = known.job(job)
    assert (after.state, after.reason) == (State.FAILURE, Reason.OUTCOME_UNKNOWN)
    assert [line["event"] for line in lines] == ["job.lost", "job.concluded"]
    assert known.another_delivery().recover("stopped") == []


def test_claims_of_before_the_mode_was_changed_are_given_up(known: World) -> None:
    """A claim is of the delivery as it was configured when it was made, also if callbacks can come since."""
    once(known).delivery.recover("start")
    (job,) = known.record()
    known.log.jobs.claim(["office"], known.clock.now)
    known.send_once(is_so=False)
    known.another_delivery().recover("stopped")
    assert known.job(job).reason is Reason.OUTCOME_UNKNOWN
    (next_job,) = known.record()
    known.log.jobs.claim(["office"], known.clock.now)
    known.another_delivery().recover("stopped")
    assert known.job(next_job).state is State.PROCESSING


def test_a_defect_of_ours_without_a_callback_gives_up(known: World) -> None:
    """Nobody knows after an error of our own whether it was sent."""
    (job,) = once(known).record()
    known.destination.script = lambda _: (_ for _ in ()).throw(RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        known.delivery.deliver_due()
    assert known.job(job).reason is Reason.OUTCOME_UNKNOWN


def test_an_unreadable_answer_is_kept_and_ends_the_receipt(known: World) -> None:
    """JSON without a verdict proves that the workflow ran: the receipt fails with it, and is not sent again."""
    known.destination.script = lambda _: Unreadable("N8N answered 200", '{"id": 7}', 200, "4711")
    (job,) = known.record()
    known.delivery.deliver_due()
    after = known.job(job)
    assert (after.state, after.reason, after.message) == (State.FAILURE, Reason.UNREADABLE_VERDICT, "N8N answered 200")
    assert after.execution_id == "4711"
    assert known.log.histories.lines(job.job_id)[-1]["detail"] == '{"id": 7}'
    assert not known.standing.is_held


def test_unreadable_answers_in_a_row_hold_the_destination(known: World) -> None:
    """A workflow that answers wrongly does not use up all receipts; a verdict that can be read ends the hold."""
    known.destination.script = lambda _: Unreadable("N8N answered 200", "7", 200)
    jobs = known.record(5)
    assert known.deliver_all() == 3
    assert known.standing.hold_kind is HoldKind.SILENCE
    known.destination.script = lambda _: BOOKED
    known.clock.now = known.standing.probe_at or 0.0
    assert known.deliver_all() == 2
    states = Counter(known.job(job).state for job in jobs)
    assert states == {State.FAILURE: 3, State.SUCCESS: 2}


def test_an_outcome_that_the_log_did_not_take_is_not_lost(known: World) -> None:
    """An answer is the only word on its receipt where no callback comes: it is kept until the log can be written."""
    (job,) = once(known).record()

    def answer(_: Job) -> Outcome:
        stack.enter_context(refusing_commits(known.log))
        return BOOKED

    known.destination.script = answer
    with contextlib.ExitStack() as stack, pytest.raises(JobLogError):
        known.delivery.deliver_due()
    assert known.job(job).state is State.DELIVERING
    known.clock.now += 60
    assert known.delivery.recover("its outcome could not be written down") == []
    assert known.job(job).state is State.SUCCESS
    assert known.delivery.recover("its outcome could not be written down") == []


def test_claim_in_flight_is_left_alone(known: World) -> None:
    """Recovery while running does not touch what a worker is sending."""
    known.destination.script = lambda _: LOST if known.delivery.recover("tick") else ACCEPTED
    (job,) = known.record()
    known.delivery.deliver_due()
    assert known.events(job) == ["record", "claim", "accept"]


def test_outcome_that_could_not_be_written_is_awaited(known: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the outcome could not be written, as on a full disk, the next recovery awaits the callback."""
    (job,) = known.record()
    with monkeypatch.context() as context:
        context.setattr(known.log.jobs, "add_attempt", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            known.delivery.deliver_due()
    assert [lost.job_id for lost in known.delivery.recover("could not be written")] == [job.job_id]
    assert known.job(job).state is State.PROCESSING
    assert known.destination.delivered == [job.job_id]


def test_claims_that_could_not_be_written_take_no_workers_place(known: World) -> None:
    """Where the commit of claims failed, as on a full disk, all go out once it does not; no worker counts as busy."""
    jobs = known.record(6)
    workers = [threading.Thread(target=_deliver_in_vain, args=(known,)) for _ in range(SETTINGS.workers)]
    with refusing_commits(known.log):
        with known.log.database._turns._lock:  # as somebody else who writes: all claims share one commit
            for worker in workers:
                worker.start()
            wait_until(
                lambda: len(known.log.database._turns._waiting) == len(workers), "all workers wait for their turn"
            )
        for worker in workers:
            worker.join()
    assert {known.job(job).state for job in jobs} == {State.QUEUED}
    known.clock.now += 1
    assert [known.delivery.deliver_due() for _ in jobs] == [True] * len(jobs)
    assert sorted(known.destination.delivered) == sorted(job.job_id for job in jobs)


def _deliver_in_vain(known: World) -> None:
    with pytest.raises(JobLogError):
        known.delivery.deliver_due()


def test_same_id_on_every_attempt(known: World) -> None:
    """A receipt goes out under one job id however often; the attempt's number counts only what counted."""
    (job,) = known.record()
    outcomes: Iterator[Outcome] = iter([DOWN, DOWN, LOST, ACCEPTED])
    known.destination.script = lambda _: next(outcomes)
    for _ in range(3):
        known.deliver_all()
        known.clock.now = (known.standing.probe_at or 0.0) + 1
    now = known.clock.now
    assert known.log.jobs.advance(job.job_id, Event.RESEND, now, next_attempt_at=now, resends=1)
    known.deliver_all()
    assert [(job_id, attempt) for job_id, attempt, *_ in known.destination.calls] == [
        (job.job_id, 1),
        (job.job_id, 1),
        (job.job_id, 1),
        (job.job_id, 2),
    ]


def test_conclusion_at_once_counts_as_a_callback(world: World) -> None:
    """A destination that answers with its verdict has called back: the next receipts need not wait for it."""
    world.destination.script = lambda _: BOOKED
    jobs = world.record(3)
    assert world.deliver_all() == 3
    assert {world.job(job).state for job in jobs} == {State.SUCCESS}


def test_conclusion_at_once_ends_a_hold(known: World) -> None:
    """A verdict at once ends a hold like an acceptance, and is told like one."""
    known.record(2)
    known.destination.script = lambda _: DOWN
    known.deliver_all()
    known.clock.now = known.standing.probe_at or 0.0
    known.destination.script = lambda _: BOOKED
    with capture_logs() as lines:
        rung = known.deliveries.count
        known.deliver_all()
    assert not known.standing.is_held
    assert "destination.resumed" in [line["event"] for line in lines]
    assert known.deliveries.count > rung
