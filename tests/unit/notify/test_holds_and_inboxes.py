"""A hold or an inbox that is away is reported once, and its end as well."""

from __future__ import annotations

from dataclasses import replace

from receipt_watcher.jobs.states import Event
from receipt_watcher.notify.notices import Kind
from tests.unit.notify.notice_office import HOUR, OFFICE, Office

# --- holds ---------------------------------------------------------------------------------------------------------


def test_a_hold_is_told_once_and_its_end_with_what_waited(office: Office) -> None:
    """A hold is told when it has lasted for a while, and not again; its end tells how many receipts waited."""
    office.hold()
    assert office.after(59) == []
    assert office.after(1) == [Kind.HELD]
    office.record(3)
    assert [kind for _ in range(50) for kind in office.after(HOUR)] == []
    office.resume()
    assert office.after(2) == [Kind.RESUMED]
    assert "3 receipts waited and go out now" in office.channel.sent[-1].text
    assert "(2 days 2 hours)" in office.channel.sent[-1].text
    assert [kind for _ in range(3) for kind in office.after(HOUR)] == []


def test_a_restart_of_n8n_is_nobodys_news(office: Office) -> None:
    """A hold that ends before it was told is not told at all, neither its beginning nor its end."""
    office.hold()
    assert office.after(30) == []
    office.resume()
    assert office.after(HOUR) == []


def test_a_weekend(office: Office) -> None:
    """N8N is down for 60 hours while 500 receipts come: one notice when it begins, one when it ends, and none between.

    That they are older than `stuck_after_minutes` is no news: during the hold, nor while they go out afterwards.
    """
    office.hold("no connection: refused")
    told = []
    for hour in range(60):
        office.record(500 // 60 + (hour < 500 % 60))
        told += office.after(HOUR)
        if hour == 30:
            office.restarted()
    office.resume()
    told += office.after(5)
    assert told == [Kind.HELD, Kind.RESUMED]
    assert "500 receipts waited and go out now" in office.channel.sent[-1].text
    for number, job in enumerate(office.log.lookups.listing(limit=None)[::-1]):
        assert office.log.jobs.advance(job.job_id, Event.SUCCEED, office.clock.now)
        if number % 10 == 0:
            assert office.after(200) == []


def test_a_hold_that_comes_and_goes(office: Office) -> None:
    """A destination that flaps is told once in a while; an end is told only where the beginning was."""
    told = []
    for _ in range(60):  # two minutes down, one up, for three hours
        office.hold()
        told += office.after(60) + office.after(60)
        office.resume()
        told += office.after(60)
    assert told[::2] == [Kind.HELD] * (len(told) // 2)
    assert told[1::2] == [Kind.RESUMED] * (len(told) // 2)
    assert 11 <= len(told) // 2 <= 12


def test_a_destination_that_is_configured_no_more(office: Office) -> None:
    """The end of a hold is not told of a destination that was taken out of the configuration."""
    office.hold()
    assert office.after(60) == [Kind.HELD]
    office.routes = []
    office.restarted()
    office.resume()
    assert office.after(HOUR) == []


# --- inboxes -------------------------------------------------------------------------------------------------------


def test_an_inbox_that_is_away(office: Office) -> None:
    """An inbox that is unavailable is told once, with why, and once when it is back, also over restarts."""
    office.shut()
    assert office.after(30) == []
    assert office.after(30) == [Kind.INBOX_AWAY]
    assert "the share is gone" in office.channel.sent[-1].text
    office.restarted()
    office.inboxes = [replace(OFFICE, is_ready=False)]  # a start: nobody knows yet
    assert office.after(HOUR) == []
    office.shut()
    assert office.after(HOUR) == []
    office.restarted()
    office.inboxes = [OFFICE]
    assert office.after(HOUR) == [Kind.INBOX_BACK]
    assert office.after(HOUR) == []


def test_many_inboxes_in_one_notice(office: Office) -> None:
    """A server that is gone takes all its inboxes along; that is one notice, and one when they are back."""
    office.shut()
    office.inboxes = [replace(office.inboxes[0], name=name) for name in ("a", "b", "c")]
    assert office.after(60) == [Kind.INBOX_AWAY]
    assert office.channel.sent[-1].title == "3 inboxes are unavailable"
    office.inboxes = [replace(OFFICE, name=name) for name in ("a", "b", "c")]
    assert office.after(60) == [Kind.INBOX_BACK]
