"""Receipts, probes and resends wait until the delivery window opens."""

from __future__ import annotations

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from receipt_watcher.config.schedule import Window, window_of
from receipt_watcher.delivery.callbacks import Reception
from receipt_watcher.delivery.destinations import Outcome
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.scenarios.outage_office import BOOKED, BUSY, DEFAULTS, Office
from tests.unit.delivery.worker_world import ACCEPTED, DOWN, LOST, FakeDestination, route_to

BERLIN = ZoneInfo("Europe/Berlin")
FRIDAY_EVENING = datetime(2026, 11, 20, 20, tzinfo=BERLIN).timestamp()

OFFICE_HOURS = window_of("mon-fri", "07:00-19:00", "Europe/Berlin")


@pytest.fixture
def punctual(log: JobLog, spool: Spool, clock: FakeClock) -> Office:
    """An inbox whose receipts are sent in office hours; it is Friday evening."""
    clock.now = FRIDAY_EVENING
    world = Office(log, clock, route_to(FakeDestination(), spool, window=OFFICE_HOURS), settings=DEFAULTS)
    world.heard()
    return world


def assert_all_in(window: Window, calls: list[tuple[str, int, str, float]]) -> None:
    """Check that nothing was sent outside a window."""
    assert calls
    assert all(window.is_open(now) for *_, now in calls)


def test_receipts_wait_for_the_window(punctual: Office) -> None:
    """What comes on Friday evening is sent on Monday at seven, in order, and costs nothing."""
    jobs = punctual.record(20)
    punctual.live_until(FRIDAY_EVENING + 59 * 3600 - 1)
    assert punctual.destination.calls == []
    assert {(after.state, after.attempts) for after in map(punctual.job, jobs)} == {(State.QUEUED, 0)}
    punctual.live_until(FRIDAY_EVENING + 59 * 3600 + 1)
    assert punctual.destination.delivered == [job.job_id for job in jobs]
    assert_all_in(OFFICE_HOURS, punctual.destination.calls)


def test_a_worker_sleeps_until_the_window_opens(punctual: Office) -> None:
    """The wait for work ends when the window opens, no sooner."""
    punctual.record()
    assert punctual.delivery.wait_seconds(10**6) == 59 * 3600


def test_probes_wait_for_the_window(punctual: Office) -> None:
    """A hold is not probed outside the window; what is due for another look then is looked at when it opens."""
    punctual.clock.now = FRIDAY_EVENING - 3600 - 5 * 60  # Friday, 18:55
    punctual.record(5)
    punctual.destination.script = lambda _: DOWN
    punctual.live_until(FRIDAY_EVENING + 70 * 3600)
    assert_all_in(OFFICE_HOURS, punctual.destination.calls)
    assert punctual.standing.is_held
    assert len([now for *_, now in punctual.destination.calls if now > FRIDAY_EVENING]) > 30


def test_resends_wait_for_the_window(punctual: Office) -> None:
    """A receipt whose deadline passes in the evening goes out again on Monday, under its id."""
    punctual.clock.now = FRIDAY_EVENING - 3600 - 5 * 60
    (job,) = punctual.record()
    punctual.live_until(FRIDAY_EVENING + 59 * 3600 + 1)
    assert punctual.events(job) == ["record", "claim", "accept", "resend", "claim", "accept"]
    assert [now for *_, now in punctual.destination.calls][1] == pytest.approx(FRIDAY_EVENING + 59 * 3600)


def test_deadlines_go_on_outside_the_window(punctual: Office) -> None:
    """The window is about sending: callbacks are heard, and their deadlines pass, at any hour."""
    punctual.clock.now = FRIDAY_EVENING - 3600 - 60
    heard, unheard = punctual.record(2)
    punctual.deliver_all()
    punctual.clock.now = FRIDAY_EVENING
    assert punctual.conclusion().conclude(heard.job_id, Verdict(success=True)) is Reception.RECEIVED
    assert [job.job_id for job in punctual.deadlines().expire_due()] == [unheard.job_id]
    assert punctual.job(unheard).state is State.QUEUED


def test_a_window_is_one_inboxes(log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock) -> None:
    """Of two inboxes with one workflow, the one whose window is closed waits; the other goes on."""
    clock.now = FRIDAY_EVENING
    shared = FakeDestination(script=lambda _: BOOKED)
    office = Office(
        log,
        clock,
        route_to(shared, spool, window=OFFICE_HOURS),
        route_to(shared, other_spool, "other"),
        settings=DEFAULTS,
    )
    office.heard()
    waiting, going = office.record(5), office.record(5, "other")
    office.live_until(FRIDAY_EVENING + 3600)
    assert shared.delivered == [job.job_id for job in going]
    assert office.states(waiting) == {State.QUEUED}


@pytest.mark.long
def test_nothing_is_sent_outside_whatever_happens(punctual: Office) -> None:
    """Nine days with faults at random: nothing goes out outside the window, and nothing is failed or forgotten."""
    chance = random.Random(5)
    outcomes: list[Outcome] = [ACCEPTED, ACCEPTED, DOWN, LOST, BUSY]
    punctual.destination.script = lambda _: chance.choice(outcomes)
    jobs = punctual.record(15)
    ends_at = FRIDAY_EVENING + 9 * 86_400

    def call_back() -> None:
        for job in jobs:
            if punctual.job(job).state is State.PROCESSING and chance.random() < 0.05:
                punctual.conclusion().conclude(job.job_id, Verdict(success=True))

    punctual.live_until(ends_at, call_back)
    assert_all_in(OFFICE_HOURS, punctual.destination.calls)
    assert State.QUEUED not in punctual.states(jobs)
    assert {punctual.job(job).reason for job in jobs} <= {None, Reason.NO_CALLBACK}
