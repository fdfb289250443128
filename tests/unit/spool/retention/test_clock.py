"""A clock that was wrong makes nothing old."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.retention import BelievedTime, Tally
from tests.conftest import FakeClock
from tests.fakes.daemons.process import jpegs
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.retention.archive import DAY, Archive


def test_a_clock_that_runs_away_removes_nothing_for_weeks(log: JobLog, spool: Spool, clock: FakeClock) -> None:
    """On a machine that takes it for 2038 after a reboot a week is six weeks at the most, not fifteen years."""
    archive = Archive(log, route_on(spool), clock, days=Retention(done_days=365))
    job = archive.conclude(Event.SUCCEED)
    monotonic = FakeClock(0.0)
    clock.advance(15 * 365 * DAY)
    archive.conclude(Event.SUCCEED, "new.jpg", jpegs(1, 1)[0])  # dated 2038 itself: no proof
    believed = BelievedTime(log, clock=clock, monotonic=monotonic)
    started_at = believed()
    for hour in range(1, 7 * 24 + 1):
        monotonic.now = hour * 3600.0
        assert believed() - started_at <= hour * 6 * 3600
    assert believed() == started_at + 42 * DAY < (job.completed_at or 0) + 365 * DAY
    clock.now = started_at + 3600
    assert believed() == clock.now  # mended


def test_days_are_counted_by_the_believed_time(archive: Archive) -> None:
    """What the clock calls a hundred days at once is a quarter of a day to the retention after an hour."""
    job = archive.conclude(Event.SUCCEED)
    monotonic = FakeClock(0.0)
    believed = BelievedTime(archive.log, clock=archive.clock, monotonic=monotonic)
    believed()
    archive.remover._believed = believed
    archive.clock.advance(100 * DAY)
    looks = 0
    while not archive.is_removed(job):
        monotonic.advance(3600)
        archive.remover.remove_due()
        looks += 1
        assert looks <= 121
    assert looks == 30 * 4 + 1  # it began a minute before the verdict


def test_the_believed_time_outlives_a_restart(log: JobLog) -> None:
    """It goes on where it was; restarts do not make it move faster."""
    clock, monotonic = FakeClock(), FakeClock(0.0)
    first = BelievedTime(log, clock=clock, monotonic=monotonic)
    assert first() == clock.now  # nothing in the log, so nothing to lose
    begun = clock.now
    clock.advance(1000 * DAY)
    for number in range(20):
        again = BelievedTime(log, clock=clock, monotonic=monotonic)
        assert again() == begun + number * 360
        monotonic.advance(60)
        assert again() == begun + (number + 1) * 360
    with capture_logs() as lines:
        BelievedTime(log, clock=clock, monotonic=monotonic)()
    assert [(line["event"], line["days"]) for line in lines] == [("retention.catching_up", 999.9)]


def test_a_first_start_begins_with_the_last_change(archive: Archive) -> None:
    """Where retention is switched on in an idle office, the log's last change is where the time begins."""
    archive.log.facts.table.put("believed_time", "0")
    archive.log.database.change("DELETE FROM fact WHERE name = 'believed_time'")
    job = archive.conclude(Event.SUCCEED)
    clock = FakeClock(archive.clock.now + 500 * DAY)
    assert BelievedTime(archive.log, clock=clock, monotonic=clock)() == job.updated_at


@pytest.mark.parametrize("behind", [40 * DAY, 1_000_000_000.0])
def test_a_clock_that_was_behind_makes_nothing_old(archive: Archive, behind: float) -> None:
    """What was recorded while the clock was behind, by weeks or by decades, is no older than the receipt before."""
    archive.conclude(Event.SUCCEED, "before.jpg", jpegs(1)[0])
    archive.clock.now -= behind
    wrong = archive.conclude(Event.SUCCEED, "wrong.jpg", jpegs(1, 1)[0])
    archive.clock.now += behind
    assert archive.look_after(29) == Tally()
    assert not archive.is_removed(wrong)
    assert archive.look_after(2).removed == 2


def test_a_clock_that_was_ahead_stops_nothing(archive: Archive) -> None:
    """One receipt that was recorded in a wrong future stays till then, and holds up none of those that come after."""
    archive.clock.now += 10_000 * DAY
    ahead = archive.conclude(Event.SUCCEED, "ahead.jpg", jpegs(1)[0])
    archive.clock.now -= 10_000 * DAY
    after = archive.conclude(Event.SUCCEED, "after.jpg", jpegs(1, 1)[0])
    assert archive.look_after(31).removed == 1
    assert [archive.is_removed(job) for job in (ahead, after)] == [False, True]
