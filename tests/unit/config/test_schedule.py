"""Delivery windows and times of the day: over midnight, and when the clocks are changed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.config.schedule import (
    DAYS,
    clock_text,
    duration_text,
    latest_day,
    midnight,
    read_days,
    read_hours,
    read_zone,
    time_of,
    window_of,
)

BERLIN = "Europe/Berlin"
OFFICE = ZoneInfo(BERLIN)


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    """Return a time of the clock on the wall, in Unix seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("days", "hours", "now", "opens"),
    [
        ("mon-fri", "07:00-19:00", "2026-11-20 06:59:59", "2026-11-20 07:00"),
        ("mon-fri", "07:00-19:00", "2026-11-20 07:00", None),
        ("mon-fri", "07:00-19:00", "2026-11-20 18:59:59", None),
        ("mon-fri", "07:00-19:00", "2026-11-20 19:00", "2026-11-23 07:00"),
        ("mon-fri", "07:00-19:00", "2026-11-21 12:00", "2026-11-23 07:00"),
        ("sat", "00:00-24:00", "2026-11-21 00:00", None),
        ("sat", "00:00-24:00", "2026-11-22 00:00", "2026-11-28 00:00"),
        ("sat, sun", "00:00-24:00", "2026-11-22 00:00", None),
        ("mon", "08:00-09:00", "2026-11-23 09:00", "2026-11-30 08:00"),
        ("mon-sun", "08:00-12:00, 13:00-18:00", "2026-11-20 12:30", "2026-11-20 13:00"),
        ("mon-sun", "08:00-12:00, 13:00-18:00", "2026-11-20 18:00", "2026-11-21 08:00"),
        # Over midnight: the hours belong to the day on which they begin.
        ("mon-fri", "22:00-06:00", "2026-11-20 23:00", None),
        ("mon-fri", "22:00-06:00", "2026-11-21 05:59", None),
        ("mon-fri", "22:00-06:00", "2026-11-21 06:00", "2026-11-23 22:00"),
        ("mon-fri", "22:00-06:00", "2026-11-23 05:00", "2026-11-23 22:00"),
        ("fri-mon", "22:00-06:00", "2026-11-24 05:00", None),
    ],
)
def test_when_it_is_open(days: str, hours: str, now: str, opens: str | None) -> None:
    """A window is open from its first minute to before its last, and says when it opens again."""
    window = window_of(days, hours, BERLIN)
    assert window.is_open(at(now)) is (opens is None)
    assert window.opens_at(at(now)) == at(opens or now)


def test_the_hour_that_is_skipped() -> None:
    """In the night to summer time, where 02:00 to 03:00 is missing, a window of that hour opens all the same, once."""
    window = window_of("mon-sun", "02:15-02:45", BERLIN)
    before = at("2027-03-28 01:59")
    assert window.opens_at(before) == at("2027-03-28 03:15")
    assert window.is_open(at("2027-03-28 03:44"))
    assert not window.is_open(at("2027-03-28 03:45"))


def test_the_hour_that_comes_twice() -> None:
    """In the night to winter time, a window of the hour that comes twice is open from its first to its last minute."""
    window = window_of("mon-sun", "02:15-02:45", BERLIN)
    assert window.opens_at(at("2026-10-25 01:00")) == at("2026-10-25 02:15", fold=0)
    assert window.is_open(at("2026-10-25 02:44", fold=1))
    assert not window.is_open(at("2026-10-25 02:45", fold=1))


@pytest.mark.parametrize("day", ["2027-03-28", "2026-10-25"])
def test_office_hours_are_those_of_the_wall_after_the_change(day: str) -> None:
    """On the days of the change, seven o'clock is seven o'clock."""
    window = window_of("mon-sun", "07:00-19:00", BERLIN)
    assert window.opens_at(at(f"{day} 00:30")) == at(f"{day} 07:00")
    assert window.is_open(at(f"{day} 18:59"))
    assert not window.is_open(at(f"{day} 19:00"))


def test_a_night_that_has_no_midnight() -> None:
    """Where the clocks are changed at midnight (Beirut), whole days follow each other without a gap."""
    window = window_of("sat, sun", "00:00-24:00", "Asia/Beirut")
    for minutes in range(-120, 120):
        assert window.is_open(at("2027-03-28 01:00", "Asia/Beirut") + 60 * minutes)


@pytest.fixture(params=["UTC", "Pacific/Auckland"])
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Two time zones of this machine in turn."""
    with monkeypatch.context() as context:
        context.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize(("zone", "shown"), [("", "local time"), (BERLIN, BERLIN)])
def test_a_window_says_whose_clock_it_goes_by(zone: str, shown: str) -> None:
    """The text of a window has its days, its hours and its time zone, or says that it is this machine's."""
    assert window_of("mon", "08:00-09:00", zone).text == f"mon, 08:00-09:00, {shown}"


def test_without_a_time_zone_it_is_this_machines(here: str) -> None:
    """Where no time zone is given, the clock is this machine's."""
    window = window_of("mon-fri", "07:00-19:00", "")
    assert window.opens_at(at("2026-11-21 12:00", here)) == at("2026-11-23 07:00", here)


ZONES = st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Asia/Kolkata", "UTC"])
MINUTES = st.integers(0, 24 * 60 - 1)


@given(
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.lists(st.tuples(MINUTES, MINUTES).filter(lambda span: span[0] != span[1]), min_size=1, max_size=3),
    ZONES,
    st.floats(1.6e9, 2.0e9),
)
def test_it_always_opens_again(days: set[str], spans: list[tuple[int, int]], zone: str, now: float) -> None:
    """Whatever the window, wherever and whenever: within a bit more than a week it opens, and then it is open."""
    hours = ",".join(f"{b // 60:02}:{b % 60:02}-{e // 60:02}:{e % 60:02}" for b, e in spans)
    window = window_of(",".join(days), hours, zone)
    opens_at = window.opens_at(now)
    assert (opens_at == now) == window.is_open(now)
    assert 0 <= opens_at - now <= 8 * 86_400
    assert window.is_open(opens_at)
    if opens_at > now:
        assert not window.is_open(opens_at - 0.001)


@given(st.floats(1.6e9, 2.0e9), MINUTES, MINUTES.filter(lambda minutes: minutes > 0))
def test_it_is_what_the_clock_on_the_wall_shows(now: float, begin: int, length: int) -> None:
    """Where the clocks are never changed it is plain arithmetic, over midnight, too."""
    end = begin + length
    window = window_of("mon-sun", f"{begin // 60}:{begin % 60:02}-{end % 1440 // 60}:{end % 1440 % 60:02}", "UTC")
    moment = datetime.fromtimestamp(now, UTC)
    minutes = moment.hour * 60 + moment.minute
    assert window.is_open(now) == (begin <= minutes < end or begin <= minutes + 1440 < end)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", {0}),
        ("Mon-Wed", {0, 1, 2}),
        ("sat-mon, wed", {5, 6, 0, 2}),
        ("sun - sun", {6}),
        ("tue-mon", {0, 1, 2, 3, 4, 5, 6}),
    ],
)
def test_days_are_read(text: str, days: set[int]) -> None:
    """Days are names, ranges of them, and lists of both; a range may go over Sunday."""
    assert read_days(text) == days


@pytest.mark.parametrize("text", ["", "monday", "mo", "mon-", "-fri", "mon,,tue", "1", "mon-wed-fri"])
def test_what_names_no_days(text: str) -> None:
    """What is no day is a mistake, not a day less."""
    with pytest.raises(ValueError):  # noqa: PT011 - whoever asks words it
        read_days(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7-19",
        "07:00",
        "07:00-",
        "24:00-06:00",
        "07:00-24:01",
        "07:60-08:00",
        "07:60-09:00",
        "07:00-08:60",
        "07:00-07:00",
        "٠٧:٠٠-٠٨:٠٠",
        "a:b-c:d",
    ],
)
def test_what_names_no_hours(text: str) -> None:
    """What is no span of hours is a mistake; so is one that ends where it begins, which may mean all or nothing."""
    with pytest.raises(ValueError):  # noqa: PT011 - whoever asks words it
        read_hours(text)


@pytest.mark.parametrize("name", ["Berlin", "Europe", "../etc/passwd", "/etc/localtime", "\0", "a" * 300])
def test_what_is_no_time_zone(name: str) -> None:
    """What is in no database of time zones is a mistake."""
    with pytest.raises(ValueError):  # noqa: PT011 - whoever asks words it
        read_zone(name)


# --- times of the day ----------------------------------------------------------------------------------------------


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
    assert latest_day(moment(now), time_of(at), OFFICE) == date.fromisoformat(day)


def test_a_time_comes_once_a_day_over_a_year() -> None:
    """Each day of a year has its summary; that the clock goes back over it makes no earlier day the last one told."""
    moments = (moment("2026-01-01T12:00") + 1200 * step for step in range(365 * 24 * 3))
    days = list(itertools.accumulate((latest_day(each, time_of("02:30"), OFFICE) for each in moments), max))
    changes = [day for day, before in zip(days[1:], days, strict=False) if day != before]
    assert changes == [date(2026, 1, 2) + timedelta(days=number) for number in range(365)]


def test_midnight_is_that_of_the_office() -> None:
    """The day began at midnight in the office, whatever the offset was then."""
    assert midnight(moment("2026-03-29T12:00"), OFFICE) == moment("2026-03-28T23:00")
    assert midnight(moment("2026-10-25T12:00"), OFFICE) == moment("2026-10-24T22:00")


def test_times_and_spans_for_people() -> None:
    """A time of today has no date, and a span its two largest units."""
    now = moment("2026-11-20T13:05")
    assert clock_text(now - 3600, now, OFFICE) == "13:05"
    assert clock_text(now - 86400, now, OFFICE) == "2026-11-19 14:05"
    spans = {20: "less than a minute", 60: "1 minute", 5400: "1 hour 30 minutes", 216_000: "2 days 12 hours"}
    spans |= {90_060: "1 day 1 hour"}
    assert {seconds: duration_text(seconds) for seconds in spans} == spans
