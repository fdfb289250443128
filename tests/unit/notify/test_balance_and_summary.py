"""The balance is reported while it disagrees, and each day has its summary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from receipt_watcher.notify.notices import Kind
from receipt_watcher.report.balance.last_result import LastBalance, keep_balance
from tests.unit.notify.notice_office import DAY, HOUR, NIGHT, SETTINGS, Office, moment

# --- the balance ---------------------------------------------------------------------------------------------------


def balance(office: Office, wrong: int, *names: str) -> None:
    """Let the daemon's balance have found this."""
    keep_balance(office.log, LastBalance(office.clock.now, 100, wrong, wrong, None, [], list(names)))


def test_a_balance_that_disagrees_is_told_until_it_agrees(office: Office) -> None:
    """What log and folders disagree about is told once, again when it is more or other, and anew afterwards."""
    balance(office, 0)
    assert office.after(60) == []
    balance(office, 1, "missing: a.jpg")
    assert office.after(60) == [Kind.DISAGREES]
    office.restarted()
    balance(office, 1, "missing: a.jpg")
    assert office.after(DAY) == []
    balance(office, 2, "missing: a.jpg", "missing: b.jpg")
    assert office.after(DAY) == [Kind.DISAGREES]
    balance(office, 2, "missing: a.jpg", "missing: c.jpg")
    assert office.after(DAY) == [Kind.DISAGREES]
    balance(office, 0)
    assert office.after(DAY) == []
    balance(office, 1, "missing: a.jpg")
    assert office.after(60) == [Kind.DISAGREES]
    assert "missing: a.jpg" in office.channel.sent[-1].text


def test_a_balance_at_night_is_told_in_the_morning(office: Office) -> None:
    """What the nightly balance found waits for the end of the quiet hours."""
    office.clock.now = moment("2026-11-20T23:00")
    office.restarted(replace(SETTINGS, quiet=NIGHT))
    balance(office, 1, "missing: a.jpg")
    assert office.after(6 * HOUR) == []
    assert office.after(HOUR + 60) == [Kind.DISAGREES]


# --- the day -------------------------------------------------------------------------------------------------------


def test_a_summary_of_each_day(office: Office) -> None:
    """A summary comes once a day at its time, of what was received since the last one; a restart repeats none."""
    office.restarted(replace(SETTINGS, daily_summary_at="08:00"))
    assert office.after(0) == []  # no day has passed yet
    office.record(2)
    office.fail()
    assert office.after(60) == [Kind.FAILED]
    assert office.after(DAY - 15 * 60) == [Kind.STUCK]
    assert office.after(120) == [Kind.SUMMARY]
    assert office.channel.sent[-1].title == "Receipts of the day: 3 received, 1 failed"
    office.restarted()
    assert office.after(HOUR) == []
    told = [(office.clock.now, kind) for _ in range(3 * 24) for kind in office.after(HOUR)]
    assert [kind for _, kind in told] == [Kind.SUMMARY] * 3
    assert office.channel.sent[-1].title == "Receipts of the day: 0 received, none failed"


def test_a_summary_after_days_off(office: Office) -> None:
    """Where the daemon was off at the time, one summary of all of it comes at the next start."""
    office.restarted(replace(SETTINGS, daily_summary_at="08:00"))
    assert office.after(0) == []
    office.clock.advance(3 * DAY + 5 * HOUR)
    office.restarted()
    assert office.after(0) == [Kind.SUMMARY]
    assert "From 2026-11-20 08:13 to 13:13:" in office.channel.sent[-1].text


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_a_summary_when_the_clock_changes(office: Office, day: str) -> None:
    """A time that the clock skips, or shows twice, has its summary, and one only."""
    office.clock.now = moment(f"{day}T03:00")
    office.restarted(replace(SETTINGS, daily_summary_at="02:30"))
    assert [kind for _ in range(4 * 47) for kind in office.after(900)] == [Kind.SUMMARY] * 2
