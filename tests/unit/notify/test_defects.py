"""What is wrong with ourselves, and files that need a person, are told without waiting for hours."""

from __future__ import annotations

from dataclasses import replace

from receipt_watcher.inbox.state import Waiting
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.notify.notices import Kind
from receipt_watcher.report.health.troubles import Trouble, TroubleKind
from tests.unit.notify.notice_office import HOUR, OFFICE, SETTINGS, Office

FILING = Trouble(TroubleKind.FILING, "inbox office: files cannot be filed: done/ is full", "office")


def test_files_that_cannot_be_filed(office: Office) -> None:
    """A trouble of ours is told once it has lasted, and once more when it is over; a restart repeats nothing."""
    office.troubles = [FILING]
    assert office.after(0) == []
    assert office.after(60) == [Kind.TROUBLE]
    assert FILING.text in office.channel.sent[-1].text
    office.restarted()
    assert office.after(HOUR) == []
    office.troubles = []
    assert office.after(1) == [Kind.TROUBLE_OVER]
    assert office.after(1) == []


def test_a_short_trouble_is_no_news(office: Office) -> None:
    """What is over before it has lasted is never told."""
    office.troubles = [FILING]
    assert office.after(0) == []
    office.troubles = []
    assert office.after(HOUR) == []


def test_what_has_a_notice_of_its_own_is_not_told_twice(office: Office) -> None:
    """Inboxes that are away, holds, failures and the balance are told by their own notices."""
    office.troubles = [Trouble(kind, "it is wrong") for kind in TroubleKind if kind.value not in _OURS]
    assert office.after(0) == office.after(HOUR) == []


_OURS = {"filing", "disk", "watch", "log_output"}


def test_who_does_not_want_to_hear_of_it(office: Office) -> None:
    """Without inboxes among the kinds nobody is told."""
    office.restarted(replace(SETTINGS, kinds=frozenset({"stuck"})))
    office.troubles = [FILING]
    assert office.after(0) == office.after(HOUR) == []


def test_a_file_that_needs_a_person(office: Office) -> None:
    """A file that only a person can help is told of after a minute, and not once more when it is stuck."""
    file = Waiting("scan.pdf", WaitReason.UNREADABLE, "", 3, 0, office.clock.now, office.clock.now, None)
    office.inboxes = [replace(OFFICE, waiting=(file,))]
    assert office.after(59) == []
    assert office.after(1) == [Kind.BLOCKED]
    assert "The service may not read it." in office.channel.sent[-1].text
    assert office.after(5 * HOUR) == []
