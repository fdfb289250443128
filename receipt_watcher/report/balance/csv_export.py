"""The accountant's export: one row per receipt as CSV (RFC 4180), with what the balance found of it.

What it promises: the file appears under its name only when it is whole, and replaces none unless that was asked for.
Lines end in CR LF and cells are quoted if they must be. A file begins with a byte order mark, without which Excel
takes UTF-8 for something else; what goes to standard output, for other programs, does not. A text that a spreadsheet
would take for a formula gets an apostrophe in front (OWASP, CSV injection); `unguarded` takes it away again, exactly.

Called by the command line. A crash leaves a file beside it whose name begins with a dot and ends in `.partial`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TextIO

from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.json_view import job_view
from receipt_watcher.report.balance.findings import Finding
from receipt_watcher.system.disk import flush_folder, move_file
from receipt_watcher.system.display import display_name
from receipt_watcher.system.permissions import give_away

COLUMNS = (
    *("job_id", "status", "reason", "inbox", "subfolder", "filename"),
    *("received_utc", "received_local", "completed_utc", "completed_local"),
    *("size", "sha256", "mime_type", "attempts", "message", "notion_page_url", "duplicate_of", "revision_of"),
    *("execution_id", "path", "finding"),
)

#: Characters that a spreadsheet takes for the beginning of a formula, or skips; the wide ones are Japanese keyboards'.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

_BYTE_ORDER_MARK = "\ufeff"

RowWriter = Callable[[Job, str, Finding], None]


def guarded(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def unguarded(cell: str) -> str:
    """Return the text that `guarded` made a cell of."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def row_of(job: Job, path: str, finding: Finding) -> list[str]:
    """Return the cells of one receipt, in the order of `COLUMNS`; `path` is where its file is by the log."""
    view = job_view(job, None)
    view |= {
        "received_utc": view["created_at"],
        "received_local": _local(job.created_at),
        "completed_utc": view["completed_at"],
        "completed_local": _local(job.completed_at),
        "path": display_name(path),
        "finding": finding.value,
    }
    return [guarded("" if view[name] is None else str(view[name])) for name in COLUMNS]


def _local(seconds: float | None) -> str:
    """Return a time as the office's clock showed it, in the form that spreadsheets know."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006 - local is meant


@contextlib.contextmanager
def exporting(target: Path | None, *, force: bool = False) -> Iterator[RowWriter]:
    """Write each row that the given function is called with to `target` ("-": standard output; None: nowhere).

    Raises:
        ReceiptWatcherError: it cannot be written, or is there already and `force` is not given.
    """
    if target is None:
        yield lambda _job, _path, _finding: None
    elif str(target) == "-":
        with _as_utf8(sys.stdout) as stream:
            yield _writing(stream)
    else:
        try:
            with _whole_file(target, force=force) as stream:
                stream.write(_BYTE_ORDER_MARK)
                yield _writing(stream)
        except FileExistsError as error:
            raise ReceiptWatcherError(
                f"{target} is there already and was not touched; choose another name, or give --force"
            ) from error
        except OSError as error:
            raise ReceiptWatcherError(f"{target} cannot be written: {error.strerror or error}") from error


def _writing(stream: TextIO) -> RowWriter:
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    return lambda job, path, finding: writer.writerow(row_of(job, path, finding))


@contextlib.contextmanager
def _as_utf8(stream: TextIO) -> Iterator[TextIO]:
    """Write to a stream in UTF-8, whatever the locale says, and leave it open."""
    stream.flush()
    wrapped = io.TextIOWrapper(stream.buffer, "utf-8", errors="backslashreplace", newline="")
    try:
        yield wrapped
        wrapped.flush()
    finally:
        wrapped.detach()


@contextlib.contextmanager
def _whole_file(target: Path, *, force: bool) -> Iterator[TextIO]:
    """Write a file beside its place, and give it its name when it is whole and durable."""
    if os.path.lexists(target) and not force:
        raise FileExistsError
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("x", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            partial.replace(target)
        else:
            move_file(partial, target)
        give_away(target)
        flush_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)
