"""Nobody is woken at night, and nothing of the night is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from receipt_watcher.notify.notices import Kind
from tests.unit.notify.notice_office import HOUR, NIGHT, OFFICE, SETTINGS, Office, moment

NIGHTS = [
    pytest.param("2026-11-20T21:00", "2026-11-21T06:00", id="nine hours"),
    pytest.param("2026-03-28T21:00", "2026-03-29T05:00", id="eight, into summer time"),
    pytest.param("2026-10-24T20:00", "2026-10-25T06:00", id="ten, out of it"),
]


@pytest.mark.parametrize(("start", "end"), NIGHTS)
def test_nobody_is_woken(office: Office, start: str, end: str) -> None:
    """From 22:00 to 07:00 nothing is sent; at 07:00 what is still so is told, and the failures of the night in one."""
    office.clock.now = moment(start) - 60
    office.restarted(replace(SETTINGS, quiet=NIGHT, throttle_seconds=0))
    office.clock.advance(30)
    office.hold()
    office.clock.advance(-30)
    assert office.after(60) == []
    told, failed = [], 0
    while office.clock.now < moment(end) - 60:
        told += office.after(60)
        if office.clock.now % HOUR == 0:
            failed += len(office.fail(2))
        if office.clock.now == moment(start) + 2 * HOUR:
            office.shut()
            office.restarted()
    assert told == []
    assert office.after(moment(end) - office.clock.now) == [Kind.HELD, Kind.INBOX_AWAY, Kind.FAILED]
    assert office.channel.sent[-1].title == f"{failed} receipts need a person"
    assert office.after(60) == []


def test_what_ended_at_night_is_told_where_its_beginning_was(office: Office) -> None:
    """The end of what was told in the evening is told in the morning, with its time; what came and went is not."""
    office.clock.now = moment("2026-11-20T20:58")
    office.restarted(replace(SETTINGS, quiet=NIGHT))
    office.hold()
    assert office.after(60) == [Kind.HELD]
    office.clock.now = moment("2026-11-20T23:00")
    office.shut()
    office.resume()
    assert office.after(0) == []
    office.clock.now = moment("2026-11-21T03:00")
    office.inboxes = [OFFICE]
    assert office.after(0) == []
    office.clock.now = moment("2026-11-21T06:00")
    assert office.after(0) == [Kind.RESUMED]
    assert (
        "again since 00:00. It was on hold since 2026-11-20 21:58 (2 hours 2 minutes)" in office.channel.sent[-1].text
    )


def test_what_waits_in_the_outbox_waits_for_the_morning(office: Office) -> None:
    """A notice that could not be sent in the evening is not sent in the night."""
    office.clock.now = moment("2026-11-20T20:58")
    office.restarted(replace(SETTINGS, quiet=NIGHT))
    office.channel.trouble = "no connection"
    office.hold()
    assert office.after(60) == []
    office.channel.trouble = None
    assert office.after(8 * HOUR) == []
    assert office.after(HOUR + 60) == [Kind.HELD]
    assert office.channel.sent[-1].text.startswith("(Written at 2026-11-20 21:59; it could not be sent before.)")
