"""Times on the office's clock, over both changes of summer time."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from receipt_watcher.config.hours import clock_text, duration_text, latest_day, midnight, time_of

BERLIN = ZoneInfo("Europe/Berlin")


def moment(text: str) -> float:
    """Return a time in UTC as Unix seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "at", "day"),
    [
        ("2026-11-20T06:59", "08:00", "2026-11-19"),
        ("2026-11-20T07:00", "08:00", "2026-11-20"),
        ("2026-03-29T00:59", "02:30", "2026-03-28"),  # 01:59 in Berlin
        ("2026-03-29T01:00", "02:30", "2026-03-29"),  # 03:00: there is no 02:30 on this day
        ("2026-10-25T00:30", "02:30", "2026-10-25"),  # the first 02:30
    ],
)
def test_the_day_of_a_summary(now: str, at: str, day: str) -> None:
    """A summary is of the last day on which its time has come, also where the clock skips that time."""
    assert latest_day(moment(now), time_of(at), BERLIN) == date.fromisoformat(day)


def test_a_time_comes_once_a_day_over_a_year() -> None:
    """Each day of a year has its summary; that the clock goes back over it makes no earlier day the last one told."""
    moments = (moment("2026-01-01T12:00") + 1200 * step for step in range(365 * 24 * 3))
    days = list(itertools.accumulate((latest_day(each, time_of("02:30"), BERLIN) for each in moments), max))
    changes = [day for day, before in zip(days[1:], days, strict=False) if day != before]
    assert changes == [date(2026, 1, 2) + timedelta(days=number) for number in range(365)]


def test_midnight_is_that_of_the_office() -> None:
    """The day began at midnight in the office, whatever the offset was then."""
    assert midnight(moment("2026-03-29T12:00"), BERLIN) == moment("2026-03-28T23:00")
    assert midnight(moment("2026-10-25T12:00"), BERLIN) == moment("2026-10-24T22:00")


def test_times_and_spans_for_people() -> None:
    """A time of today has no date, and a span its two largest units."""
    now = moment("2026-11-20T13:05")
    assert clock_text(now - 3600, now, BERLIN) == "13:05"
    assert clock_text(now - 86400, now, BERLIN) == "2026-11-19 14:05"
    spans = {20: "less than a minute", 60: "1 minute", 5400: "1 hour 30 minutes", 216_000: "2 days 12 hours"}
    assert {seconds: duration_text(seconds) for seconds in spans} == spans
