"""Verdicts and deadlines: what N8N's later word does to a job, and what follows when it never comes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receipt_watcher.delivery.callbacks import Callbacks, Reception
from receipt_watcher.delivery.deadlines import Deadlines, DeadlineSettings
from receipt_watcher.delivery.destinations import Accepted, Lost, Outcome, Refused
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.jobs.verdict import Verdict, parse_verdict
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.delivery.worker_world import ACCEPTED, BROKEN, DOWN, LOST, URL, FakeDestination, World, route_to

SUCCESS = Verdict(success=True, message="booked", notion_page_url="https://notion.example/1", details={"total": 12})
FAILURE = Verdict(success=False, message="no total found")
DEADLINE_SECONDS = 600.0  # as the tests of delivery have it


class Concluding(World):
    """A delivery and what concludes its jobs."""

    def __init__(self, log: JobLog, clock: FakeClock, spool: Spool) -> None:
        super().__init__(log, clock, route_to(FakeDestination(), spool))
        self.conclusion = Callbacks(
            self.log,
            self.holds,
            self.routes,
            probe_seconds=5,
            deliveries=self.deliveries,
            filings=self.filings,
            clock=self.clock,
        )
        self.deadlines = self.another_deadlines()

    def another_deadlines(self, max_resends: int = 1) -> Deadlines:
        """Return what looks for deadlines with another number of resends."""
        return Deadlines(
            self.log,
            self.holds,
            self.routes,
            DeadlineSettings(DEADLINE_SECONDS, max_resends, probe_seconds=5),
            heard_at=self.conclusion.heard_at,
            deliveries=self.deliveries,
            filings=self.filings,
            clock=self.clock,
        )

    def conclude(self, job: Job, verdict: Verdict) -> Reception:
        """Call back."""
        return self.conclusion.conclude(job.job_id, verdict)

    def accepted(self, count: int = 1) -> list[Job]:
        """Return jobs that N8N has accepted."""
        jobs = self.record(count)
        for _ in jobs:
            assert self.delivery.deliver_due()
        return [self.job(job) for job in jobs]

    def in_state(self, state: State) -> Job:
        """Return a job in this state."""
        (job,) = self.record(state=state if state is State.DUPLICATE else State.QUEUED)
        events = {
            State.DELIVERING: [Event.CLAIM],
            State.PROCESSING: [Event.CLAIM, Event.ACCEPT],
            State.SUCCESS: [Event.SUCCEED],
            State.FAILURE: [Event.FAIL],
            State.CANCELLED: [Event.CANCEL],
        }
        for event in events.get(state, []):
            assert self.log.jobs.advance(job.job_id, event, self.clock.now)
        assert self.job(job).state is state
        return self.job(job)

    def expire(self, seconds: float = DEADLINE_SECONDS) -> list[Job]:
        """Let time pass, then look for deadlines."""
        self.clock.advance(seconds)
        return self.deadlines.expire_due()


@pytest.fixture
def world(log: JobLog, spool: Spool, clock: FakeClock) -> Concluding:
    """One inbox, whose destination has called back before."""
    world = Concluding(log, clock, spool)
    world.heard()
    return world


# --- verdicts ------------------------------------------------------------------------------------------------------

MATRIX = [
    (State.QUEUED, SUCCESS, Reception.RECEIVED, State.SUCCESS),
    (State.QUEUED, FAILURE, Reception.RECEIVED, State.FAILURE),
    (State.DELIVERING, SUCCESS, Reception.RECEIVED, State.SUCCESS),
    (State.DELIVERING, FAILURE, Reception.RECEIVED, State.FAILURE),
    (State.PROCESSING, SUCCESS, Reception.RECEIVED, State.SUCCESS),
    (State.PROCESSING, FAILURE, Reception.RECEIVED, State.FAILURE),
    (State.SUCCESS, SUCCESS, Reception.RECEIVED, State.SUCCESS),
    (State.SUCCESS, FAILURE, Reception.CONTRARY, State.SUCCESS),
    (State.FAILURE, SUCCESS, Reception.RECEIVED, State.SUCCESS),
    (State.FAILURE, FAILURE, Reception.RECEIVED, State.FAILURE),
    (State.CANCELLED, SUCCESS, Reception.RECEIVED, State.SUCCESS),
    (State.CANCELLED, FAILURE, Reception.RECEIVED, State.CANCELLED),
    (State.DUPLICATE, SUCCESS, Reception.NEVER_SENT, State.DUPLICATE),
    (State.DUPLICATE, FAILURE, Reception.NEVER_SENT, State.DUPLICATE),
]


def test_matrix_is_complete() -> None:
    """Each state has its answer to each verdict."""
    assert {(state, verdict.success) for state, verdict, *_ in MATRIX} == {
        (state, success) for state in State for success in (True, False)
    }


@pytest.mark.parametrize(("state", "verdict", "reception", "after"), MATRIX)
def test_verdict_in_each_state(
    world: Concluding, state: State, verdict: Verdict, reception: Reception, after: State
) -> None:
    """Verdicts only rise: an open job takes either, a failed or cancelled one only a success, a success none."""
    job = world.in_state(state)
    assert world.conclude(job, verdict) is reception
    assert world.job(job).state is after


def test_verdict_on_an_unknown_job(world: Concluding) -> None:
    """A verdict on a job that is not in the log changes nothing."""
    assert world.conclusion.conclude("no-such-job", SUCCESS) is Reception.UNKNOWN
    assert world.log.histories.lines("no-such-job") == []


def test_success_is_kept_with_all_that_was_said(world: Concluding) -> None:
    """A success closes the job, its file is due for done/, and all that N8N said is kept."""
    (job,) = world.accepted()
    rung = world.filings.count
    world.clock.advance(7)
    world.conclude(job, SUCCESS)
    after = world.job(job)
    assert (after.message, after.notion_page_url) == ("booked", "https://notion.example/1")
    assert (after.completed_at, after.deadline_at, after.next_attempt_at) == (world.clock.now, None, None)
    assert (after.move_due, world.log.files.home_of(after), after.reason) == (True, Folder.DONE, None)
    assert world.filings.count > rung
    assert json.loads(world.log.histories.lines(job.job_id)[-1]["detail"]) == {
        "status": "success",
        "message": "booked",
        "notion_page_url": "https://notion.example/1",
        "data": {"total": 12},
    }


def test_failure_has_n8ns_own_message(world: Concluding) -> None:
    """A failure closes the job with N8N's words, and its file is due for failed/."""
    (job,) = world.accepted()
    world.conclude(job, FAILURE)
    after = world.job(job)
    assert (after.reason, after.message) == (Reason.N8N_FAILURE, "no total found")
    assert (after.move_due, world.log.files.home_of(after)) == (True, Folder.FAILED)


def test_deliveries_wake_for_the_first_callback_only(world: Concluding) -> None:
    """Until the first callback one receipt is out at a time, so that it lets the next one go; a later one does not."""
    (first,) = world.accepted()
    rung = world.deliveries.count
    world.conclude(first, SUCCESS)
    assert world.deliveries.count == rung + 1
    (second,) = world.accepted()
    rung = world.deliveries.count
    world.conclude(second, SUCCESS)
    assert world.deliveries.count == rung


def test_verdict_is_durable_when_it_is_received(world: Concluding) -> None:
    """When a verdict counts as received, another process already reads it in the log."""
    (job,) = world.accepted()
    assert world.conclude(job, SUCCESS) is Reception.RECEIVED
    with contextlib.closing(sqlite3.connect(world.log.database.path)) as other:
        assert other.execute("SELECT state FROM job WHERE job_id = ?", [job.job_id]).fetchall() == [("success",)]


@pytest.mark.parametrize("verdict", [SUCCESS, FAILURE], ids=["success", "failure"])
def test_repeated_verdict_changes_nothing(world: Concluding, verdict: Verdict) -> None:
    """The same verdict again leaves the job exactly as it was."""
    (job,) = world.accepted()
    world.conclude(job, verdict)
    before, history = world.job(job), world.log.histories.lines(job.job_id)
    world.clock.advance(3600)
    assert world.conclude(job, verdict) is Reception.RECEIVED
    assert (world.job(job), world.log.histories.lines(job.job_id)) == (before, history)


def test_contrary_verdict_is_kept_but_changes_nothing(world: Concluding) -> None:
    """A failure after a success is not taken, yet it stands in the history for whoever asks."""
    (job,) = world.accepted()
    world.conclude(job, SUCCESS)
    before = world.job(job)
    assert world.conclude(job, FAILURE) is Reception.CONTRARY
    assert world.job(job) == before
    assert world.events(job)[-1] == "callback.contrary"
    assert "no total found" in world.log.histories.lines(job.job_id)[-1]["detail"]


def test_late_success_brings_a_failed_file_back(world: Concluding) -> None:
    """A success after a failure whose file is already in failed/ makes that file due for done/."""
    (job,) = world.accepted()
    world.conclude(job, FAILURE)
    world.log.moves.finish_moves([(world.job(job), Folder.FAILED, Path("scan.jpg"))], world.clock.now)
    assert not world.job(job).move_due
    assert world.conclude(job, SUCCESS) is Reception.RECEIVED
    after = world.job(job)
    assert (after.state, after.reason, after.move_due) == (State.SUCCESS, None, True)
    assert world.log.files.home_of(after) is Folder.DONE


def test_what_is_sent_once_is_not_sent_again_after_its_deadline(world: Concluding) -> None:
    """An acceptance where no callback can come ends as an unknown outcome: sending it again could book it twice."""
    world.send_once()
    (job,) = world.accepted()
    (expired,) = world.expire()
    assert (expired.state, expired.reason) == (State.FAILURE, Reason.OUTCOME_UNKNOWN)
    assert world.deliver_all() == 0
    assert world.conclude(job, SUCCESS) is Reception.RECEIVED
    assert world.job(job).state is State.SUCCESS


def test_nothing_that_is_sent_once_expires_during_a_hold(world: Concluding) -> None:
    """While its destination is held a receipt is neither given up nor made the probe."""
    world.send_once()
    (job,) = world.accepted()
    world.holds.hold(URL, HoldKind.ANSWERS, "503", world.clock.now, world.clock.now)
    assert world.expire() == []
    assert world.job(job).state is State.PROCESSING


def test_late_success_after_no_callback(world: Concluding) -> None:
    """A success that comes after we had given up wins."""
    world.deadlines = world.another_deadlines(max_resends=0)
    (job,) = world.accepted()
    world.expire()
    assert world.job(job).reason is Reason.NO_CALLBACK
    assert world.conclude(job, SUCCESS) is Reception.RECEIVED
    assert (world.job(job).state, world.job(job).reason) == (State.SUCCESS, None)


def test_success_amid_a_retry_stops_it(world: Concluding) -> None:
    """A success of an earlier delivery that comes while a retry waits ends the job: it is not sent again."""
    (job,) = world.accepted()
    world.conclude(job, FAILURE)
    world.log.jobs.advance(job.job_id, Event.RETRY, world.clock.now, next_attempt_at=world.clock.now)
    world.conclude(job, SUCCESS)
    assert world.deliver_all() == 0
    assert len(world.destination.calls) == 1


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"status=success", "status=success"),
        (b"\xff\xfe\x00", "\\xff\\xfe\x00"),
        (b"x" * 1_000_000, "x" * 64 * 1024),
        (b"", ""),
    ],
)
def test_unreadable_callback_is_kept(world: Concluding, body: bytes, shown: str) -> None:
    """A body that cannot be read is kept in the job's history, in bounds: N8N posts only once."""
    (job,) = world.accepted()
    assert world.conclusion.keep_unreadable(job.job_id, body, "The body is no JSON.")
    line = world.log.histories.lines(job.job_id)[-1]
    assert (line["event"], line["detail"]) == ("callback.unreadable", f"The body is no JSON.: {shown}")


def unreadable(world: Concluding, job: Job, body: bytes = b"booked") -> Job:
    """Let N8N call back with something that cannot be read, and return the job."""
    assert world.conclusion.keep_unreadable(job.job_id, body, "The body is no JSON.")
    return world.job(job)


def test_an_unreadable_callback_ends_the_job(world: Concluding) -> None:
    """It proves that the workflow ran: the receipt fails with what came, and is never sent again by itself."""
    (job,) = world.accepted()
    after = unreadable(world, job)
    assert (after.state, after.reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)
    assert after.message == "The body is no JSON. It came as: booked"
    world.expire()
    assert world.deliver_all() == 0
    assert len(world.destination.calls) == 1


def test_an_unreadable_callback_overtakes_the_answer(world: Concluding) -> None:
    """It may come while the receipt is still being sent; whatever is answered then changes nothing."""
    (job,) = world.record()

    def call_back(job: Job) -> Outcome:
        unreadable(world, job)
        return Lost("no answer in time")

    world.destination.script = call_back
    world.deliver_all()
    assert world.job(job).reason is Reason.UNREADABLE_VERDICT


def test_an_unreadable_callback_after_the_deadline(world: Concluding) -> None:
    """A receipt that waits to be sent again is not: the callback is about what was sent before."""
    (job,) = world.accepted()
    world.expire()
    assert world.job(job).state is State.QUEUED
    assert unreadable(world, job).reason is Reason.UNREADABLE_VERDICT
    assert world.deliver_all() == 0


@pytest.mark.parametrize(
    "body",
    [
        '{"json": {"status": "failure"}, "json": {"status": "success"}}',
        '{"body": {"status": "success"}, "body": {"status": "failure"}}',
        "json=%7B%22status%22:%22failure%22%7D&json=%7B%22status%22:%22success%22%7D",
    ],
)
def test_two_wrapped_verdicts_are_none(body: str) -> None:
    """A wrapping that is there twice, and not the same, says nothing: neither of its verdicts is taken."""
    with pytest.raises(ValueError, match="twice, and not the same"):
        parse_verdict(body)


def test_an_unreadable_callback_of_what_was_never_sent(world: Concluding) -> None:
    """Of a receipt that was not sent yet it proves nothing, and is only kept."""
    (job,) = world.record()
    assert unreadable(world, job) == job
    assert world.log.histories.lines(job.job_id)[-1]["event"] == "callback.unreadable"


@pytest.mark.parametrize(
    ("verdict", "reason"), [(SUCCESS, None), (FAILURE, Reason.N8N_FAILURE)], ids=["success", "failure"]
)
def test_an_unreadable_callback_undoes_nothing(world: Concluding, verdict: Verdict, reason: Reason | None) -> None:
    """A verdict that stands is not touched, nor is what an admin has ended."""
    job, cancelled = world.accepted(2)
    world.conclude(job, verdict)
    world.log.jobs.advance(cancelled.job_id, Event.CANCEL, world.clock.now)
    before = world.job(job), world.job(cancelled)
    assert (unreadable(world, job), unreadable(world, cancelled)) == before
    assert world.job(job).reason is reason


@pytest.mark.parametrize("verdict", [SUCCESS, FAILURE], ids=["success", "failure"])
def test_a_readable_verdict_after_an_unreadable_one(world: Concluding, verdict: Verdict) -> None:
    """A success that can be read wins; a failure says that nothing was booked, so a retry needs no force."""
    (job,) = world.accepted()
    unreadable(world, job)
    assert world.conclude(job, verdict) is Reception.RECEIVED
    after = world.job(job)
    assert after.state is (State.SUCCESS if verdict.success else State.FAILURE)
    assert after.reason is (None if verdict.success else Reason.N8N_FAILURE)
    assert (world.log.jobs.retry(job.job_id, world.clock.now, "by an admin") is None) is verdict.success


def test_unreadable_callbacks_in_a_row_hold_the_destination(world: Concluding) -> None:
    """A workflow that reports wrongly does not use up all receipts; a readable verdict ends the hold."""
    *jobs, last = world.accepted(4)
    for job in jobs:
        unreadable(world, job)
    standing = world.holds.of(URL)
    assert standing.hold_kind is HoldKind.SILENCE
    assert "cannot be read" in (standing.hold_message or "")
    world.conclude(last, SUCCESS)
    assert not world.holds.of(URL).is_held


def test_unreadable_callback_of_an_unknown_job(world: Concluding) -> None:
    """Of a job that is not there nothing is kept."""
    assert world.conclusion.keep_unreadable("no-such-job", b"{", "why") is False
    assert world.log.histories.lines("no-such-job") == []


@pytest.mark.parametrize("details", ["x" * 10**6, ["\ud800"], {"a": [None, True, 1.5]}, float("nan")])
def test_anything_may_be_said(world: Concluding, details: object) -> None:
    """A verdict counts whatever came with it, and the history stays in bounds."""
    (job,) = world.accepted()
    assert world.conclude(job, Verdict(success=True, details=details)) is Reception.RECEIVED
    assert len(world.log.histories.lines(job.job_id)[-1]["detail"]) <= 64 * 1024


# --- any order -----------------------------------------------------------------------------------------------------

OUTCOMES: dict[str, Outcome] = {
    "accept": ACCEPTED,
    "lose": LOST,
    "defer": DOWN,
    "break": BROKEN,
    "refuse": Refused(Reason.REFUSED, "422", 422),
}
STEPS = [*OUTCOMES, "success", "failure", "unreadable", "expire", "cancel", "retry", "recover"]


def do(world: Concluding, job: Job, step: str) -> None:
    """Let one thing happen to a job."""
    now = world.clock.advance(1)
    match step:
        case "success" | "failure":
            world.conclude(job, SUCCESS if step == "success" else FAILURE)
        case "unreadable":
            world.conclusion.keep_unreadable(job.job_id, b"{", "why")
        case "expire":
            world.expire()
        case "cancel":
            world.log.jobs.advance(job.job_id, Event.CANCEL, now)
        case "retry":
            world.log.jobs.advance(job.job_id, Event.RETRY, now, next_attempt_at=now)
        case "recover":
            world.log.jobs.claim(["office"], now)
            world.another_delivery().recover("stopped")
        case _:
            world.destination.script = lambda _: OUTCOMES[step]
            world.deliver_all()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(STEPS), max_size=12))
def test_success_is_never_lost_and_never_invented(world: Concluding, steps: list[str]) -> None:
    """Whatever happens in whatever order: the job has succeeded if, and only if, a success was ever received."""
    world.heard()
    world.holds.accepted(URL, world.clock.now)
    (job,) = world.record()
    for step in steps:
        do(world, job, step)
    after = world.job(job)
    assert (after.state is State.SUCCESS) == ("success" in steps)
    assert after.state is not State.DELIVERING
    assert after.attempts >= 0
    if after.state is State.PROCESSING:
        assert after.deadline_at is not None
    if after.state is State.QUEUED:
        assert after.next_attempt_at is not None
        world.log.jobs.advance(job.job_id, Event.CANCEL, world.clock.now)  # it is not to go out in the next example
    elif after.state is State.PROCESSING:
        world.log.jobs.advance(job.job_id, Event.CANCEL, world.clock.now)


# --- executions of N8N -----------------------------------------------------------------------------------------------


def named(execution_id: str) -> Accepted:
    """Return an acceptance that names its execution."""
    return replace(ACCEPTED, execution_id=execution_id)


def test_the_execution_of_the_answer_is_kept(world: Concluding) -> None:
    """What N8N calls the run is in the log once it has answered, and stays when the callback does not name it."""
    world.destination.script = lambda _: named("1042")
    [job] = world.accepted()
    assert job.execution_id == "1042"
    world.conclude(job, SUCCESS)
    assert world.job(job).execution_id == "1042"


@pytest.mark.parametrize("verdict", [SUCCESS, FAILURE])
def test_the_execution_of_the_callback_is_kept(world: Concluding, verdict: Verdict) -> None:
    """The callback names it last, and its word is in the history, too."""
    world.destination.script = lambda _: named("1042")
    [job] = world.accepted()
    world.conclude(job, replace(verdict, execution_id="1043"))
    assert world.job(job).execution_id == "1043"
    assert '"execution_id": "1043"' in world.log.histories.lines(job.job_id)[-1]["detail"]


def test_the_execution_is_kept_where_the_callback_was_faster(world: Concluding) -> None:
    """A callback overtakes the answer to its own delivery: what that names is kept all the same."""

    def overtaken(job: Job) -> Accepted:
        world.conclude(job, SUCCESS)
        return named("1042")

    world.destination.script = overtaken
    [job] = world.accepted()
    assert (job.state, job.execution_id) == (State.SUCCESS, "1042")


def test_a_retry_forgets_the_execution(world: Concluding) -> None:
    """A job that is tried anew has not been in any execution yet; the history still names the last."""
    [job] = world.accepted()
    world.conclude(job, replace(FAILURE, execution_id="1042"))
    world.log.jobs.advance(job.job_id, Event.RETRY, world.clock.now, next_attempt_at=world.clock.now)
    assert world.job(job).execution_id is None
