"""The result of a benchmark, as a table for people and as JSON for programs; pure, and keeps nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SHOWN_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of figures under common columns; `problems` are what could not be verified."""

    name: str
    about: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float]]
    problems: Sequence[str] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return it for programs; what is no number there is null."""
        return {
            "about": self.about,
            "figures": {
                label: {
                    column: round(figure, 4) if math.isfinite(figure) else None
                    for column, figure in zip(self.columns, figures, strict=True)
                }
                for label, figures in self.rows.items()
            },
            "problems": list(self.problems),
        }

    def __str__(self) -> str:
        width = max(map(len, self.rows))
        head = f"  {'':<{width}}" + "".join(f"{column:>10}" for column in self.columns)
        lines = [
            f"  {label:<{width}}" + "".join(f"{_shown(figure):>10}" for figure in figures)
            for label, figures in self.rows.items()
        ]
        return "\n".join([f"{self.name}: {self.about}", head, *lines, *self._wrong()])

    def _wrong(self) -> list[str]:
        shown = [f"  NOT VERIFIED: {problem}" for problem in self.problems[:_SHOWN_PROBLEMS]]
        more = len(self.problems) - len(shown)
        return [*shown, f"  and {more} more"] if more else shown


def _shown(figure: float) -> str:
    """Write a figure with three digits that count, and a large one as it is."""
    if not math.isfinite(figure):
        return "-"
    return f"{figure:,.{max(0, 2 - int(math.log10(max(abs(figure), 0.01))))}f}"


SPREAD = ("p50", "p95", "p99", "max")


def spread(figures: Sequence[float]) -> list[float]:
    """Return the figures of `SPREAD`; of few figures the higher ones are the largest."""
    if not figures:
        return [math.nan] * len(SPREAD)
    ordered = sorted(figures)
    return [statistics.median(ordered), *(ordered[math.ceil(part * len(ordered)) - 1] for part in (0.95, 0.99, 1.0))]


def with_median(figures: Sequence[float]) -> list[float]:
    """Return the median, then what each run gave."""
    return [statistics.median(figures), *figures]
