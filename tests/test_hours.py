"""Hours on the office's clock: over midnight, and over both changes of summer time."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.hours import clock_text, duration_text, hours_of, latest_day, local, midnight, time_of

BERLIN = ZoneInfo("Europe/Berlin")


def moment(text: str) -> float:
    """Return a time in UTC as Unix seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def quiet_minutes(hours: str, day: str) -> int:
    """Return how many of the 20 hours from noon UTC on are within hours in Berlin."""
    quiet, start = hours_of(hours), moment(f"{day}T12:00")
    return sum(quiet.holds(local(start + 60 * minute, BERLIN).time()) for minute in range(20 * 60))


@pytest.mark.parametrize(
    ("hours", "day", "minutes"),
    [
        ("22:00-07:00", "2026-11-20", 9 * 60),
        ("22:00-07:00", "2026-03-28", 8 * 60),  # the night of 29 March has no 02:30
        ("22:00-07:00", "2026-10-24", 10 * 60),  # that of 25 October has it twice
        ("02:15-02:45", "2026-03-28", 0),
        ("02:15-02:45", "2026-10-24", 60),
        ("12:00-13:30", "2026-11-20", 30),  # from 13:00 in Berlin on
    ],
)
def test_a_night_is_as_long_as_it_is(hours: str, day: str, minutes: int) -> None:
    """Only the time on the wall counts, so a night with a change of summer time is an hour shorter or longer."""
    assert quiet_minutes(hours, day) == minutes


@pytest.mark.parametrize("text", ["", "22", "22:00", "22:00-", "22:00-24:00", "8:00-8:00", "22:00 07:00", "a-b"])
def test_what_are_no_hours(text: str) -> None:
    """Hours that cannot be read, or would be none or all of the day, are a mistake."""
    with pytest.raises(ValueError):  # noqa: PT011 - whichever
        hours_of(text)


@given(start=st.times(), end=st.times(), at=st.times())
def test_either_the_hours_or_the_rest(start: time, end: time, at: time) -> None:
    """Each time of the day lies either in some hours or in those from their end to their start."""
    texts = [f"{each.hour:02}:{each.minute:02}" for each in (start, end)]
    if texts[0] != texts[1]:
        at = at.replace(tzinfo=None)
        assert hours_of("-".join(texts)).holds(at) is not hours_of("-".join(reversed(texts))).holds(at)


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
