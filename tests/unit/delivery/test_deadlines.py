"""Deadlines: what no callback comes for is sent again or given up, and silence holds a destination."""

from __future__ import annotations

import pytest

from receipt_watcher.delivery.callbacks import Reception
from receipt_watcher.delivery.deadlines import SILENCE_SECONDS
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.actions import resume_destination
from tests.conftest import FakeClock
from tests.unit.delivery.test_callbacks import DEADLINE_SECONDS, FAILURE, SUCCESS, Concluding
from tests.unit.delivery.worker_world import ACCEPTED, LOST, URL


@pytest.fixture
def world(log: JobLog, spool: Spool, clock: FakeClock) -> Concluding:
    """One inbox, whose destination has called back before."""
    world = Concluding(log, clock, spool)
    world.heard()
    return world


# --- deadlines -----------------------------------------------------------------------------------------------------


def test_nothing_expires_before_its_deadline(world: Concluding) -> None:
    """Until the deadline a callback is awaited."""
    (job,) = world.accepted()
    assert world.expire(DEADLINE_SECONDS - 1) == []
    assert world.job(job) == job


def test_silent_job_is_sent_again_then_given_up(world: Concluding) -> None:
    """No callback by the deadline: sent again under the same id, max_resends times; then it fails with that reason."""
    (job,) = world.accepted()
    rung = world.deliveries.count
    (resent,) = world.expire()
    assert (resent.state, resent.resends, resent.next_attempt_at) == (State.QUEUED, 0, world.clock.now)
    assert world.deliveries.count > rung
    assert world.deliver_all() == 1
    assert world.job(job).deadline_at == world.clock.now + DEADLINE_SECONDS
    assert world.expire(DEADLINE_SECONDS - 1) == []
    rung = world.filings.count
    (failed,) = world.expire(1)
    assert (failed.state, failed.reason, failed.move_due) == (State.FAILURE, Reason.NO_CALLBACK, True)
    assert failed.message == "No callback within 600 seconds, sent 2 times."
    assert world.filings.count > rung
    assert world.destination.delivered == [job.job_id, job.job_id]
    assert world.events(job) == ["record", "claim", "accept", "resend", "claim", "accept", "expire"]
    assert world.expire() == []


@pytest.mark.parametrize("max_resends", [0, 1, 3])
def test_resends_are_counted(world: Concluding, max_resends: int) -> None:
    """A receipt is sent once and then max_resends times, never more."""
    world.deadlines = world.another_deadlines(max_resends)
    (job,) = world.accepted()
    for _ in range(max_resends + 3):
        world.expire()
        world.deliver_all()
    assert world.job(job).reason is Reason.NO_CALLBACK
    assert len(world.destination.calls) == max_resends + 1


def test_lost_answer_has_a_deadline_too(world: Concluding) -> None:
    """A receipt whose answer was lost is awaited like an accepted one, and its callback counts."""
    world.destination.script = lambda _: LOST
    (job,) = world.accepted()
    assert world.job(job).deadline_at == world.clock.now + DEADLINE_SECONDS
    assert world.conclude(job, SUCCESS) is Reception.RECEIVED


@pytest.mark.parametrize("kind", HoldKind)
def test_nothing_expires_under_a_hold(world: Concluding, kind: HoldKind) -> None:
    """While the destination is held and other receipts probe it, no deadline counts; once it is not, they do."""
    (job,) = world.accepted()
    world.holds.hold(URL, kind, "trouble", world.clock.now, world.clock.now + 5)
    world.record()
    assert world.expire(10 * DEADLINE_SECONDS) == []
    assert world.job(job) == job
    world.holds.accepted(URL, world.clock.now)
    world.holds.called_back(URL, world.clock.now)
    assert [after.job_id for after in world.deadlines.expire_due()] == [job.job_id]


def test_last_receipt_before_an_outage_is_not_forgotten(world: Concluding) -> None:
    """A receipt whose answer was lost, with no other one to probe with, becomes the probe itself after its deadline."""
    world.destination.script = lambda _: LOST
    (job,) = world.accepted()
    assert world.holds.of(URL).is_held
    world.destination.script = lambda _: ACCEPTED
    (resent,) = world.expire()
    assert (resent.state, resent.resends) == (State.QUEUED, 0)  # an outage uses up nothing
    assert world.deadlines.expire_due() == []
    assert world.deliver_all() == 1
    assert not world.holds.of(URL).is_held
    assert world.job(job).state is State.PROCESSING


def test_silent_receipts_probe_one_by_one(world: Concluding) -> None:
    """Where all receipts are out and none was called back, they are sent again one by one, each within its resends."""
    jobs = world.accepted(5)
    sent = len(world.destination.calls)
    world.expire()
    world.deliver_all()
    for _ in range(40):
        before = len(world.destination.calls)
        world.expire()
        world.deliver_all()
        assert len(world.destination.calls) <= before + 1
    assert len(world.destination.calls) - sent == len(jobs)
    assert {world.job(job).state for job in jobs} == {State.PROCESSING}
    assert world.conclude(jobs[0], SUCCESS) is Reception.RECEIVED
    assert not world.holds.of(URL).is_held


@pytest.mark.parametrize("max_resends", [0, 1, 2])
@pytest.mark.parametrize(("step_seconds", "hours"), [(5.0, 4), (60.0, 24), (900.0, 7 * 24)])
def test_lost_answers_book_no_receipt_more_often_than_allowed(
    world: Concluding, max_resends: int, step_seconds: float, hours: int
) -> None:
    """A destination that never answers gets each receipt at most 1 + max_resends times; once it answers, all go on."""
    world.deadlines = world.another_deadlines(max_resends)
    world.destination.script = lambda _: LOST
    jobs = world.record(3)
    ends_at = world.clock.now + hours * 3600
    while world.clock.now < ends_at:
        world.deliver_all()
        world.expire(step_seconds)
        assert {world.job(job).state for job in jobs} <= {State.QUEUED, State.PROCESSING}
    assert sorted(world.destination.delivered) == sorted([job.job_id for job in jobs] * (1 + max_resends))
    assert world.holds.of(URL).is_held
    sent = len(world.destination.calls)
    world.destination.script = lambda _: ACCEPTED
    (luck,) = world.record()
    world.clock.now = max(world.clock.now, world.standing.probe_at or 0.0)
    assert world.deliver_all() == 1
    assert not world.holds.of(URL).is_held
    if max_resends:
        assert len(world.deadlines.expire_due()) == 3
        assert world.deliver_all() == 3
        assert sorted(world.destination.delivered[sent:]) == sorted(job.job_id for job in (*jobs, luck))


def test_none_is_given_up_while_another_probes(world: Concluding) -> None:
    """A receipt without resends left does not fail because another one, with resends left, becomes the probe."""
    world.destination.script = lambda _: LOST
    (spent, fresh) = world.record(2)
    world.deliver_all()
    now = world.standing.probe_at or 0.0
    world.log.jobs.advance(spent.job_id, Event.RESEND, now, next_attempt_at=now)
    world.log.jobs.advance(fresh.job_id, Event.CLAIM, now)
    world.log.jobs.advance(fresh.job_id, Event.LOSE, now, deadline_at=now + 1, destination_failed_at=now)
    world.clock.now = now
    world.deliver_all()
    assert (world.job(spent).resends, world.job(fresh).resends) == (1, 0)
    assert [job.job_id for job in world.expire(10 * DEADLINE_SECONDS)] == [fresh.job_id]
    assert world.deadlines.expire_due() == []
    assert world.job(spent).state is State.PROCESSING


# --- silence -------------------------------------------------------------------------------------------------------


def test_three_silent_jobs_hold_the_destination(world: Concluding) -> None:
    """Three different jobs without a callback hold the destination, instead of failing one receipt after another."""
    jobs = world.accepted(5)
    rest = world.record(3, next_attempt_at=world.clock.now + DEADLINE_SECONDS)
    assert len(world.expire()) == 2
    assert world.standing.hold_kind is HoldKind.SILENCE
    assert world.standing.probe_at == world.clock.now + 5
    assert "no callback arrives" in (world.standing.hold_message or "")
    assert [world.job(job).state for job in jobs] == [State.QUEUED] * 2 + [State.PROCESSING] * 3
    assert world.expire(3600) == []
    assert {world.job(job).state for job in rest} == {State.QUEUED}
    rung = world.deliveries.count
    assert world.conclude(jobs[4], SUCCESS) is Reception.RECEIVED
    assert not world.holds.of(URL).is_held
    assert world.deliveries.count > rung
    assert world.deliver_all() == 5


def test_callback_in_between_is_no_silence(world: Concluding) -> None:
    """One callback between silent jobs shows that callbacks arrive: those jobs are a matter of their own."""
    first, second, third, fourth, fifth = world.accepted(5)
    for job in (third, fourth):
        world.log.jobs.advance(job.job_id, Event.LOSE, 0)  # changes nothing: it is not being delivered
    world.conclude(fifth, SUCCESS)
    with world.log.database.transaction():
        assert len(world.expire()) == 2  # first and second; the third one is evidence
    assert world.holds.of(URL).is_held
    world.conclude(third, SUCCESS)
    assert not world.holds.of(URL).is_held
    assert [job.job_id for job in world.deadlines.expire_due()] == [fourth.job_id]
    assert not world.holds.of(URL).is_held
    assert world.job(first).state is world.job(second).state is State.QUEUED


def test_callbacks_that_arrive_again_let_all_go(world: Concluding) -> None:
    """As soon as the probe of a silent destination is called back, all that it lost are sent again, not two by two."""
    jobs = world.accepted(20)
    assert len(world.expire()) == 2
    assert world.holds.of(URL).is_held
    world.clock.advance(5)
    assert world.delivery.deliver_due()
    assert world.conclude(jobs[0], SUCCESS) is Reception.RECEIVED
    world.clock.advance(2)
    assert len(world.deadlines.expire_due()) == 18
    assert not world.holds.of(URL).is_held
    assert {world.job(job).state for job in jobs[1:]} == {State.QUEUED}


def silent_without_resends(world: Concluding) -> list[Job]:
    """Let N8N accept four receipts and call back for none until all have used their resends; return them."""
    jobs = world.accepted(4)
    world.expire()
    for _ in range(9):
        world.clock.advance(DEADLINE_SECONDS)
        world.deliver_all()
        world.deadlines.expire_due()
    assert world.standing.hold_kind is HoldKind.SILENCE
    return jobs


def resume(world: Concluding) -> None:
    """Resume the destination as an admin does."""
    assert resume_destination(world.log, URL, ["office"], DEADLINE_SECONDS, world.clock.now)


def test_a_resume_ends_a_hold_for_missing_callbacks(world: Concluding) -> None:
    """A resume lets all that is overdue go out again at the next look, whatever resends were used up before."""
    jobs = silent_without_resends(world)
    before = len(world.destination.delivered)
    resume(world)
    assert not world.standing.is_held
    world.deadlines.expire_due()
    world.deliver_all()
    overdue = [job.job_id for job in jobs]
    assert sorted(world.destination.delivered[before:]) == sorted(overdue)
    assert not world.standing.is_held
    for job in jobs:
        assert world.conclude(job, SUCCESS) is Reception.RECEIVED
    assert {world.job(job).state for job in jobs} == {State.SUCCESS}


def test_a_resume_too_early_holds_again(world: Concluding) -> None:
    """If callbacks are missing still, three of what was sent again hold the destination once more."""
    silent_without_resends(world)
    resume(world)
    world.deadlines.expire_due()
    world.deliver_all()
    world.expire()
    assert world.standing.hold_kind is HoldKind.SILENCE


def test_a_hold_for_missing_callbacks_is_no_dead_end(world: Concluding) -> None:
    """After a day without a callback, a test or an admin, receipts without resends fail, and no longer wait."""
    jobs = silent_without_resends(world)
    spent = [job for job in jobs if world.job(job).state is State.PROCESSING]
    held_since = world.standing.held_since or 0.0
    world.clock.now = held_since + SILENCE_SECONDS - 1
    assert world.deadlines.expire_due() == []
    world.clock.now = held_since + SILENCE_SECONDS
    failed = world.deadlines.expire_due()
    assert {job.job_id for job in failed} == {job.job_id for job in spent}
    assert {job.reason for job in failed} == {Reason.NO_CALLBACK}


def test_what_is_sent_once_gets_its_last_word_too(world: Concluding) -> None:
    """A receipt that may not be sent again fails as unknown after a day of silence, and is not sent."""
    jobs = silent_without_resends(world)
    world.send_once()
    sent = len(world.destination.delivered)
    world.clock.now = (world.standing.held_since or 0.0) + SILENCE_SECONDS
    world.deadlines.expire_due()
    reasons = {world.job(job).reason for job in jobs if world.job(job).state is State.FAILURE}
    assert reasons == {Reason.OUTCOME_UNKNOWN}
    assert len(world.destination.delivered) == sent


def test_callbacks_with_a_wrong_token_are_no_silence(world: Concluding) -> None:
    """What fails for want of a callback says that callbacks came, with a wrong token."""
    (job,) = world.accepted()
    world.conclusion.note_wrong_token(job.job_id, b"{}", "its token is wrong")
    world.expire()
    world.deliver_all()
    (failed,) = world.expire()
    assert failed.reason is Reason.NO_CALLBACK
    assert "callbacks bear a wrong token" in (failed.message or "")


def test_one_job_twice_is_no_evidence(world: Concluding) -> None:
    """One job that stays silent again and again is one: it fails, and the destination is not held."""
    world.deadlines = world.another_deadlines(max_resends=5)
    (job,) = world.accepted()
    for _ in range(6):
        world.expire()
        world.deliver_all()
    assert world.job(job).reason is Reason.NO_CALLBACK
    assert not world.holds.of(URL).is_held


def test_callback_that_just_came_is_no_silence(world: Concluding, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback that comes between the look for deadlines and their expiry is no silence of its job."""
    (job,) = world.accepted()
    world.clock.advance(DEADLINE_SECONDS)
    stale = world.log.lookups.overdue(["office"], world.clock.now)
    world.conclude(job, SUCCESS)
    monkeypatch.setattr(world.log.lookups, "overdue", lambda *_: stale)
    assert world.deadlines.expire_due() == []
    assert world.standing.silent_jobs == ()
    assert world.job(job).state is State.SUCCESS


def test_first_callback_lets_the_others_go(log: JobLog, spool: Spool, clock: FakeClock) -> None:
    """The first callback ever of a destination wakes the workers: now several receipts may be out."""
    world = Concluding(log, clock, spool)
    first, *_ = world.record(3)
    assert world.deliver_all() == 1
    rung = world.deliveries.count
    world.conclude(first, FAILURE)
    assert world.deliveries.count > rung
    assert world.deliver_all() == 2
