"""After an outage the queue drains at its pace, and what comes later does not wait."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.scenarios.outage_office import BOOKED, DEFAULTS, Office, with_settings
from tests.unit.delivery.worker_world import DOWN, FakeDestination, route_to


def outage(office: Office, count: int) -> list[Job]:
    """Let an outage have happened, with so many receipts waiting, and N8N be back."""
    jobs = office.record(count)
    office.destination.script = lambda _: DOWN
    office.live_until(office.clock.now + 3600)
    office.destination.script = lambda _: BOOKED
    office.destination.calls.clear()
    return jobs


def test_the_queue_drains_at_its_pace(office: Office) -> None:
    """After a hold what waited goes out in order of arrival, no faster than drain_per_minute."""
    with_settings(office, drain_per_minute=30)
    jobs = outage(office, 60)
    office.clock.now = max(office.clock.now, office.standing.probe_at or 0.0)
    began = office.clock.now
    office.live_until(began + 118.5)
    assert 55 <= len(office.destination.calls) <= 62
    office.live_until(began + 130)
    probe, *drained = office.destination.delivered
    assert drained == [job.job_id for job in jobs if job.job_id != probe]
    times = [now for *_, now in office.destination.calls][2:]
    assert all(later - earlier >= 2 - 0.002 for earlier, later in pairwise(times))


def test_what_comes_after_the_outage_is_not_paced(office: Office) -> None:
    """The pace is for what has waited: once that has gone, new receipts go out at once."""
    with_settings(office, drain_per_minute=1)
    outage(office, 3)
    while len(office.destination.calls) < 3:
        office.live_until(office.clock.now + 1)
    office.clock.advance(1)
    new = [
        office.log.jobs.insert(replace(job, job_id=f"ffffffff-0000-7000-8000-{number:012}"))
        for number, job in enumerate(fresh(office, 10))
    ]
    assert office.deliver_all() == 10
    assert office.destination.delivered[3:] == [job.job_id for job in new]


def fresh(office: Office, count: int) -> list[Job]:
    """Return jobs that are not recorded, whose file is there."""
    (model,) = office.record(next_attempt_at=office.clock.now + 10**6)
    return [replace(model, next_attempt_at=office.clock.now) for _ in range(count)]


def test_the_pace_survives_a_restart(office: Office) -> None:
    """A restart amid the draining does not send the rest at once."""
    with_settings(office, drain_per_minute=6)
    outage(office, 50)
    office.clock.now = office.standing.probe_at or 0.0
    office.live_until(office.clock.now + 100)
    sent = len(office.destination.calls)
    office.restart()
    assert office.deliver_all() <= 2
    assert 0 < office.delivery.wait_seconds(60) <= 10
    assert 10 <= sent <= 13


def test_without_a_pace_it_goes_as_fast_as_it_can(office: Office) -> None:
    """drain_per_minute 0 sends all that waited at once."""
    outage(office, 30)
    office.clock.now = max(office.clock.now, office.standing.probe_at or 0.0)
    assert office.deliver_all() == 30


def test_one_destination_that_drains_slows_no_other(
    log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock
) -> None:
    """The pace is per destination, as the hold is."""
    down, other = FakeDestination(), FakeDestination("http://other.example.com/")
    office = Office(
        log,
        clock,
        route_to(down, spool),
        route_to(other, other_spool, "other"),
        settings=replace(DEFAULTS, drain_per_minute=1),
    )
    office.heard()
    outage(office, 10)
    office.record(20, "other")
    office.clock.now = max(clock.now, office.standing.probe_at or 0.0)
    assert office.deliver_all() <= 22 + 1
    assert len(other.calls) == 20
