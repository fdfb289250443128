"""Draw the last day of the overview: bars of receipts, a line of times.

Pure; the template writes the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from receipt_watcher.jobs.log.queries.search import Hour
from receipt_watcher.web.pages.texts.language import Texts

#: The picture of the last day, in pixels of a desktop and of a phone: the bars above, the times below.
WIDTHS = {"wide": 720, "narrow": 330}
HEIGHT = 196
_TOP = 18
_BARS_HEIGHT = 100
_TIMES_TOP = 142
_TIMES_HEIGHT = 34


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour in the picture: its bars from the bottom up, as (class, y, height)."""

    x: float
    width: float
    parts: tuple[tuple[str, float, float], ...]
    begins_at: float
    count: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """The picture for one width of a screen: bars, a line of times, and the marks below."""

    name: str
    width: int
    bars: tuple[Bar, ...]
    line: str
    dots: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """The chart of the last day."""

    hours: Sequence[Hour]
    drawings: tuple[Drawing, ...]
    most: int
    longest: float | None
    summary: str


def chart(texts: Texts, hours: Sequence[Hour]) -> Chart | None:
    """Return the picture of the last day; None where nothing came."""
    most = max((hour.count for hour in hours), default=0)
    if not most:
        return None
    longest = max((hour.median_seconds for hour in hours if hour.median_seconds is not None), default=None)
    return Chart(
        hours=hours,
        drawings=tuple(_drawing(texts, name, hours, most, longest) for name in WIDTHS),
        most=most,
        longest=longest,
        summary=texts(
            "chart.summary",
            came=texts.number(sum(hour.count for hour in hours)),
            done=texts.number(sum(hour.done for hour in hours)),
            failed=texts.number(sum(hour.failed for hour in hours)),
        ),
    )


def _drawing(texts: Texts, name: str, hours: Sequence[Hour], most: int, longest: float | None) -> Drawing:
    slot = WIDTHS[name] / len(hours)
    middles = [round(slot * (number + 0.5), 1) for number in range(len(hours))]
    dots = tuple(
        (x, round(_TIMES_TOP + _TIMES_HEIGHT * (1 - hour.median_seconds / (longest or 1)), 1))
        for x, hour in zip(middles, hours, strict=True)
        if hour.median_seconds is not None
    )
    return Drawing(
        name=name,
        width=WIDTHS[name],
        bars=tuple(_bar(texts, slot, number, hour, most) for number, hour in enumerate(hours)),
        line=" ".join(f"{x},{y}" for x, y in dots),
        dots=dots,
        marks=tuple((x, hour.begins_at) for x, hour in list(zip(middles, hours, strict=True))[2::6]),
    )


def _bar(texts: Texts, slot: float, number: int, hour: Hour, most: int) -> Bar:
    y = float(_TOP + _BARS_HEIGHT)
    parts = []
    for kind, count in (("done", hour.done), ("open", hour.waiting), ("failed", hour.failed)):
        if count:
            height = max(2.0, round(_BARS_HEIGHT * count / most, 1))
            y -= height
            parts.append((kind, round(y, 1), height))
    x, width = round(slot * (number + 0.1), 1), round(slot * 0.8, 1)
    return Bar(x, width, tuple(parts), hour.begins_at, f": {texts.number(hour.count)}")
