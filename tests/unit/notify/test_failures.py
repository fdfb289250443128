"""Failures are gathered, and reported if nobody has settled them meanwhile."""

from __future__ import annotations

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.notify.notices import Kind
from receipt_watcher.notify.watcher import forget
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.notify.notice_office import DAY, HOUR, Office


def test_failures_are_gathered(office: Office) -> None:
    """Receipts that fail within a while are one notice; the next ones wait until it may be told again."""
    office.fail(20)
    assert office.after(30) == []
    office.fail(5, filename="late.pdf")
    assert office.after(30) == [Kind.FAILED]
    assert office.channel.sent[-1].title == "25 receipts need a person"
    office.fail(3)
    assert office.after(600) == []
    office.fail()
    assert office.after(300) == [Kind.FAILED]
    assert office.channel.sent[-1].title == "4 receipts need a person"
    assert office.after(DAY) == []


def test_what_was_mended_meanwhile_is_not_told(office: Office) -> None:
    """A failure that was retried, or succeeded after all, before it was told needs nobody."""
    first, second, third = office.fail(3)
    office.log.jobs.advance(first.job_id, Event.RETRY, office.clock.now)
    office.log.jobs.advance(second.job_id, Event.SUCCEED, office.clock.now)
    assert office.after(60) == [Kind.FAILED]
    assert office.channel.sent[-1].title == "1 receipt needs a person"
    office.log.jobs.advance(third.job_id, Event.RETRY, office.clock.now)
    office.log.jobs.advance(third.job_id, Event.FAIL, office.clock.now, reason=Reason.REFUSED)
    assert office.after(HOUR) == [Kind.FAILED]


def test_a_failure_at_the_record(office: Office) -> None:
    """A file that the examination refuses is told of as any other failure."""
    office.record(state=State.FAILURE, reason=Reason.ENCRYPTED, completed_at=office.clock.now)
    assert office.after(60) == [Kind.FAILED]


def test_failures_of_before_are_not_news(log: JobLog, clock: FakeClock, spool: Spool) -> None:
    """Whoever is named as a channel is not told what failed before; nor what failed while nobody was named."""
    office = Office(log, clock, spool)
    office.fail(9)
    assert [office.after(HOUR) for _ in range(3)] == [[], [], []]
    office.fail()
    office.channel.trouble = "no connection"
    assert office.after(HOUR) == []
    office.fail()
    forget(log)  # a start without channels
    office.channel.trouble = None
    office.restarted()
    assert [office.after(HOUR) for _ in range(3)] == [[], [], []]
    office.fail()
    assert office.after(HOUR) == [Kind.FAILED]


def test_histories_that_were_removed(office: Office) -> None:
    """Where retention removed the histories, and their numbers come again, no failure is passed over."""
    office.fail(50)
    assert office.after(60) == [Kind.FAILED]
    office.log.database.change("DELETE FROM history")
    assert office.after(HOUR) == []
    office.fail()
    assert office.after(60) == [Kind.FAILED]


def test_a_busy_day_without_a_failure(office: Office) -> None:
    """However much goes well, the look for failures stays short."""
    for job in office.record(600):
        office.log.jobs.advance(job.job_id, Event.SUCCEED, office.clock.now)
    assert office.after(60) == []
    fact = office.log.facts.table.get("told")
    assert fact is not None
    assert f'"event": {office.log.histories.last_event()}' in fact
    office.fail()
    assert office.after(60) == [Kind.FAILED]
