"""Times of the day as people mean them: on the office's clock, over both changes of summer time.

What it promises: pure functions of a moment (Unix seconds) and a time zone. Only the time on the wall counts. `zone`
None is the machine's own.

Any thread may call it.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, tzinfo

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


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
    left = max(0, round(seconds / _MINUTE)) * _MINUTE
    parts = []
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        number, left = divmod(left, unit)
        if number:
            parts.append(f"{number} {name}{'s' if number > 1 else ''}")
    return " ".join(parts[:2]) or "less than a minute"
