"""A receipt or a file that waits for too long is reported."""

from __future__ import annotations

from dataclasses import replace

from receipt_watcher.config.schedule import window_of
from receipt_watcher.inbox.state import Waiting
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.states import Event
from receipt_watcher.notify.notices import Kind
from tests.unit.notify.notice_office import HOUR, OFFICE, Office


def test_a_receipt_that_is_stuck(office: Office) -> None:
    """A receipt that is open for longer than it should be is told of once, with what it waits for."""
    (job,) = office.record()
    assert office.after(4 * HOUR - 1) == []
    assert office.after(1) == [Kind.STUCK]
    assert "It waits for its turn to be sent to N8N." in office.channel.sent[-1].text
    office.restarted()
    assert [kind for _ in range(9) for kind in office.after(HOUR)] == []
    office.log.jobs.advance(job.job_id, Event.CANCEL, office.clock.now)
    assert office.after(HOUR) == []
    office.log.jobs.advance(job.job_id, Event.RETRY, office.clock.now)
    assert office.after(4 * HOUR - 1) == []
    assert office.after(1) == [Kind.STUCK]


def test_a_file_that_stays_in_the_inbox(office: Office) -> None:
    """A file that is not taken for too long is told of once, with why; a restart repeats nothing."""
    seen = Waiting("scan.pdf", WaitReason.OPEN, "", 3, 0, office.clock.now, office.clock.now, None)
    office.inboxes = [replace(OFFICE, waiting=(seen,))]
    assert office.after(4 * HOUR) == [Kind.STUCK]
    assert "A program has it open for writing." in office.channel.sent[-1].text
    office.restarted()
    office.inboxes = [OFFICE]
    assert office.after(10) == []
    office.inboxes = [replace(OFFICE, waiting=(replace(seen, first_seen_at=office.clock.now),))]
    assert office.after(5 * HOUR) == []
    office.inboxes = [OFFICE]
    assert office.after(HOUR) == []
    office.inboxes = [replace(OFFICE, waiting=(replace(seen, first_seen_at=office.clock.now),))]
    assert office.after(5 * HOUR) == [Kind.STUCK]  # another file of that name, by now


def test_a_thousand_are_one_notice(office: Office) -> None:
    """Many that are stuck are one notice, with ten names."""
    office.record(300)
    assert office.after(5 * HOUR) == [Kind.STUCK]
    assert office.channel.sent[-1].title == "300 receipts are waiting for longer than 4 hours"
    assert office.after(5 * HOUR) == []


def test_what_waits_for_its_window_is_not_stuck(office: Office) -> None:
    """A receipt that waits for deliver_when is no news; once the window is open, it has its time from then on."""
    (route,) = office.routes
    window = window_of("mon-sun", "18:00-06:00", "Europe/Berlin")
    office.routes = [replace(route, branches=(replace(route.branches[0], window=window),))]
    office.restarted()
    office.record()
    assert [kind for _ in range(13) for kind in office.after(HOUR)] == []
    assert office.after(0) == []  # 21:13
    assert office.after(HOUR) == [Kind.STUCK]
