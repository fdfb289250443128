"""Jobs as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from receipt_watcher.job import Job


def print_jobs(found: Sequence[Job]) -> None:
    """Print them, a line each, below their titles."""
    from receipt_watcher.telemetry import printable

    columns: list[tuple[str, Callable[[Job], str]]] = [
        ("recorded", lambda job: datetime.fromtimestamp(job.created_at).astimezone().strftime("%Y-%m-%d %H:%M:%S")),
        ("status", lambda job: job.state.value),
        ("inbox", lambda job: job.inbox),
        ("file", lambda job: job.filename),
        ("reason", lambda job: job.reason.value if job.reason else ""),
        ("job", lambda job: job.job_id),
    ]
    rows = [[title for title, _ in columns], *([printable(cell(job)) for _, cell in columns] for job in found)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
