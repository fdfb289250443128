"""Delivery windows, and times of the day as people mean them: on the clock on the wall. Pure: it is told the time.

What it promises: a window is what a clock on the wall there shows, through every change to and from summer time. It
opens at its hour (in the night when that hour is skipped, as soon as the clock has passed it; when it comes twice, the
first time) and closes at its hour (when that comes twice, the second time). Hours that end before they begin go over
midnight, and belong to the day on which they begin. Moments are Unix seconds; `zone` None is the machine's own.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_PER_DAY = 24 * 60
_WEEK = 7
_MINUTE_SECONDS = 60
_UNITS_SECONDS = ((86400, "day"), (3600, "hour"), (_MINUTE_SECONDS, "minute"))


@dataclass(frozen=True, slots=True)
class Window:
    """Days (0 is Monday), hours as minutes of the day, and where the clock hangs; `zone` None is this machine's."""

    days: frozenset[int]
    hours: tuple[tuple[int, int], ...]
    zone: tzinfo | None
    text: str

    def is_open(self, now: float) -> bool:
        """Return whether receipts may be sent at a time, in Unix seconds."""
        return any(begin <= now < end for begin, end in self._spans(now, -2, 1))

    def opens_at(self, now: float) -> float:
        """Return when receipts may be sent again, in Unix seconds; `now` where they may."""
        if self.is_open(now):
            return now
        return min(begin for begin, _ in self._spans(now, -1, _WEEK + 1) if begin > now)

    def _spans(self, now: float, first: int, last: int) -> Iterator[tuple[float, float]]:
        """Yield when the window opens and closes, by the days from `first` to `last`, counted from today."""
        today = datetime.fromtimestamp(now, self.zone).date()
        for offset in range(first, last + 1):
            day = today + timedelta(days=offset)
            if day.weekday() in self.days:
                for begin, end in self.hours:
                    yield self._at(day, begin), self._end(day, end if end > begin else end + _MINUTES_PER_DAY)

    def _at(self, day: date, minutes: int, fold: int = 0) -> float:
        days, minute = divmod(minutes, _MINUTES_PER_DAY)
        at = time(*divmod(minute, 60), fold=fold, tzinfo=self.zone)
        return datetime.combine(day + timedelta(days=days), at).timestamp()

    def _end(self, day: date, minutes: int) -> float:
        return max(self._at(day, minutes), self._at(day, minutes, fold=1))


def window_of(days: str, hours: str, time_zone: str) -> Window:
    """Return a window from its three texts; time_zone "" is this machine's.

    Raises:
        ValueError: one of them cannot be read.
    """
    text = ", ".join(part for part in (days, hours, time_zone or "local time") if part)
    return Window(read_days(days), read_hours(hours), read_zone(time_zone) if time_zone else None, text)


def read_days(text: str) -> frozenset[int]:
    """Read days such as «mon-fri, sun»; a range may go over Sunday.

    Raises:
        ValueError: it names none, or something else.
    """
    days: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = (name.strip() for name in part.partition("-"))
        begin, end = DAYS.index(first), DAYS.index(last if dash else first)
        days |= {day % _WEEK for day in range(begin, end + 1 if end >= begin else end + _WEEK + 1)}
    return frozenset(days)


def read_hours(text: str) -> tuple[tuple[int, int], ...]:
    """Read hours such as «07:00-12:00, 13:00-18:00», as minutes of the day; over midnight the end is the smaller one.

    Raises:
        ValueError: it is something else, or begins where it ends.
    """
    return tuple(_span(part.strip()) for part in text.split(","))


def _span(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})", text)
    if match is None:
        raise ValueError(text)
    hour, minute, end_hour, end_minute = (int(part) for part in match.groups())
    begin, end = hour * 60 + minute, end_hour * 60 + end_minute
    if minute >= 60 or end_minute >= 60 or begin >= _MINUTES_PER_DAY or end > _MINUTES_PER_DAY or begin == end:  # noqa: PLR2004
        raise ValueError(text)
    return begin, end


def read_zone(name: str) -> tzinfo:
    """Return a time zone by its name in the system's database.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError) as error:  # OSError: the name of a folder
        raise ValueError(name) from error


def time_of(text: str) -> time:
    """Return the time of the day that is written as 08:00.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - a time of the day, in no zone yet


def local(at: float, zone: tzinfo | None) -> datetime:
    """Return what clock and calendar on the wall show at a moment."""
    return datetime.fromtimestamp(at, zone) if zone else datetime.fromtimestamp(at).astimezone()


def latest_day(now: float, at: time, zone: tzinfo | None) -> date:
    """Return the last day on which it has been `at` already."""
    here = local(now, zone)
    return here.date() if here.time() >= at else here.date() - timedelta(days=1)


def midnight(now: float, zone: tzinfo | None) -> float:
    """Return when the day of `now` began, in Unix seconds."""
    here = local(now, zone)
    began = datetime.combine(here.date(), time(), zone)
    return began.timestamp()


def clock_text(at: float, now: float, zone: tzinfo | None) -> str:
    """Return a moment for a person: 14:05 where it is of the same day as `now`, else 2026-11-20 14:05."""
    here = local(at, zone)
    return here.strftime("%H:%M" if here.date() == local(now, zone).date() else "%Y-%m-%d %H:%M")


def duration_text(seconds: float) -> str:
    """Return how long for a person, in the two largest units: 2 days 3 hours, 15 minutes."""
    left = max(0, round(seconds / _MINUTE_SECONDS)) * _MINUTE_SECONDS
    parts = []
    for unit_seconds, name in _UNITS_SECONDS:
        number, left = divmod(left, unit_seconds)
        if number:
            parts.append(f"{number} {name}{'s' if number > 1 else ''}")
    return " ".join(parts[:2]) or "less than a minute"
