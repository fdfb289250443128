"""Jobs as a table for people: as wide as the terminal, coloured only there, and as it is in a file or a pipe.

NO_COLOR (no-color.org) and TERM=dumb keep it plain.

We draw it ourselves, without rich: structlog imports rich if it is installed, so each start of the daemon would load 81
modules more, for 3.6 MB of memory.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from receipt_watcher.jobs.job import Job

_GAP = "  "
_COLOURS = {"success": "green", "failure": "red", "cancelled": "yellow", "processing": "cyan", "delivering": "cyan"}

#: Columns that shrink on a narrow terminal, in this order, each with its fewest characters. By taste; the beginning of
#: an id is enough to name a job.
_YIELDING = ((3, 24), (5, 18), (4, 8), (3, 10), (2, 6))


def print_jobs(jobs: Sequence[Job]) -> None:
    """Print them, a line each, below their titles."""
    from receipt_watcher.system.display import printable

    columns: list[tuple[str, Callable[[Job], str]]] = [
        ("recorded", lambda job: datetime.fromtimestamp(job.created_at).astimezone().strftime("%Y-%m-%d %H:%M:%S")),
        ("status", lambda job: job.state.value),
        ("inbox", lambda job: job.inbox),
        ("file", lambda job: job.filename),
        ("reason", lambda job: job.reason.value if job.reason else ""),
        ("job", lambda job: job.job_id),
    ]
    rows = [[title for title, _ in columns], *([printable(cell(job)) for _, cell in columns] for job in jobs)]
    is_terminal = sys.stdout.isatty()
    widths = widths_of(rows, shutil.get_terminal_size().columns if is_terminal else None)
    for row in rows:
        row[-1] = row[-1][: widths[-1]]  # the beginning of an id is a name for the job
        cells = [padded(cell, width) for cell, width in zip(row, widths, strict=True)]
        if is_terminal and may_colour():
            cells[1] = click.style(cells[1], fg=_COLOURS.get(row[1]), bold=row is rows[0])
        click.echo(_GAP.join(cells).rstrip())


def may_colour() -> bool:
    """Return whether the one at the terminal wants colours."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def widths_of(rows: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """Return how wide each column is, so that all fit in `room` where they can; None is no limit."""
    widths = [max(columns_of(row[index]) for row in rows) for index in range(len(rows[0]))]
    for index, least in _YIELDING if room is not None else ():
        too_much = sum(widths) + len(_GAP) * (len(widths) - 1) - (room or 0)
        if too_much > 0:
            widths[index] = min(widths[index], max(least, widths[index] - too_much))
    return widths


def padded(text: str, width: int) -> str:
    """Return text that takes `width` columns, its middle left out where it is longer: both ends tell files apart."""
    if columns_of(text) > width:
        half = (width - 1) // 2
        text = f"{_first(text, width - 1 - half)}…{_first(text[::-1], half)[::-1]}"
    return text + " " * (width - columns_of(text))


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: some characters take two, some none."""
    return sum(_columns_of(character) for character in text)


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _first(text: str, width: int) -> str:
    """Return as much of a text's beginning as fits."""
    taken, used = "", 0
    for character in text:
        used += _columns_of(character)
        if used > width:
            break
        taken += character
    return taken
