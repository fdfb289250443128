"""Which receipt a worker may deliver next: the first one alone, and destinations and inboxes in turn."""

from __future__ import annotations

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.delivery.worker_world import (
    ACCEPTED,
    DOWN,
    TOO_LARGE,
    FakeDestination,
    World,
    route_to,
    while_sending,
)

# --- who may go ----------------------------------------------------------------------------------------------------


def test_one_receipt_is_out_until_the_first_callback_ever(world: World) -> None:
    """A destination that has never called back gets one receipt; all others follow its first callback."""
    world.record(4)
    assert world.deliver_all() == 1
    assert world.delivery.wait_seconds(5) == 5
    world.clock.advance(3600)
    assert world.deliver_all() == 0
    world.heard()
    assert world.deliver_all() == 3


def test_one_receipt_is_out_while_the_first_is_being_sent(world: World) -> None:
    """That holds while the first one is still on the wire, too."""
    world.record(2)
    with while_sending(world, ACCEPTED):
        assert world.delivery.deliver_due() is False


def test_failed_first_receipt_lets_the_next_go(world: World) -> None:
    """A first receipt that is refused is not waited for."""
    first, second = world.record(2)
    world.destination.script = lambda job: TOO_LARGE if job.job_id == first.job_id else ACCEPTED
    assert world.deliver_all() == 2
    assert world.job(second).state is State.PROCESSING


def test_destinations_take_turns(log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock) -> None:
    """A thousand receipts for one destination do not let those for another wait."""
    office, other = FakeDestination(), FakeDestination("http://other.example.com/")
    world = World(log, clock, route_to(office, spool), route_to(other, other_spool, "other"))
    world.heard()
    world.record(10)
    world.record(3, "other")
    for _ in range(6):
        assert world.delivery.deliver_due()
    assert (len(office.calls), len(other.calls)) == (3, 3)


def test_inboxes_of_one_destination_take_turns(log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock) -> None:
    """An inbox with a backlog delays the few receipts of another by one each; within each, the oldest goes first."""
    shared = FakeDestination()
    world = World(log, clock, route_to(shared, spool), route_to(shared, other_spool, "other"))
    world.heard()
    many, few = world.record(8), world.record(3, "other")
    assert world.deliver_all() == 11
    ids = [job.job_id for pair in zip(many, few, strict=False) for job in pair] + [job.job_id for job in many[3:]]
    assert shared.delivered == ids


def test_an_inbox_that_is_away_misses_its_turns_only(
    log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock
) -> None:
    """While one inbox is shut the other goes on; afterwards they take turns again."""
    shared = FakeDestination()
    world = World(log, clock, route_to(shared, spool), route_to(shared, other_spool, "other"))
    world.heard()
    many, few = world.record(5), world.record(2, "other")
    world.delivery.deliver_due()
    world.delivery.deliver_due()
    world.routes[1].is_ready = False
    world.delivery.deliver_due()
    world.routes[1].is_ready = True
    assert world.deliver_all() == 4
    ids = [job.job_id for job in (many[0], few[0], many[1], few[1], *many[2:])]
    assert shared.delivered == ids


def test_held_destination_stops_no_other(log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock) -> None:
    """While one destination is held, the other's receipts go out."""
    office, other = FakeDestination(script=lambda _: DOWN), FakeDestination("http://other.example.com/")
    world = World(log, clock, route_to(office, spool), route_to(other, other_spool, "other"))
    world.heard()
    world.record(5)
    world.record(5, "other")
    assert world.deliver_all() == 6
    assert (len(office.calls), len(other.calls)) == (1, 5)


def test_inboxes_of_one_destination_are_held_together(
    log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock
) -> None:
    """Two inboxes with the same webhook share its hold: an outage is probed once, not once for each."""
    shared = FakeDestination(script=lambda _: DOWN)
    world = World(log, clock, route_to(shared, spool), route_to(shared, other_spool, "other"))
    world.heard()
    world.record(2)
    world.record(2, "other")
    assert world.deliver_all() == 1
    assert world.delivery.wait_seconds(100) <= 5


@pytest.mark.parametrize(("due_in", "wait"), [(None, 60.0), (7.0, 7.0), (100.0, 60.0)])
def test_wait_ends_when_something_is_due(known: World, due_in: float | None, wait: float) -> None:
    """A worker waits until the next receipt is due, and no longer than it is told."""
    if due_in is not None:
        known.record(next_attempt_at=known.clock.now + due_in)
    assert known.delivery.wait_seconds(60) == wait
