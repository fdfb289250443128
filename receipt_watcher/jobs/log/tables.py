"""The tables of the job log, as Peewee sees them; `migrations/` makes them. Only the job log uses this module.

The rows are written by the parts of the job log alone. Paths are kept as the bytes that the file system knows (BLOB),
since a name need not be UTF-8.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peewee import (
    AutoField,
    BlobField,
    BooleanField,
    DoubleField,
    IntegerField,
    Model,
    TextField,
)

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State


class JobRow(Model):
    """One receipt on its way; the columns are the fields of `job.Job`, in the same order."""

    job_id = TextField(primary_key=True)
    state = TextField()
    reason = TextField(null=True)
    inbox = TextField()
    filename = TextField()
    relative_path = BlobField()
    folder = TextField()
    stored_path = BlobField()
    moving_to_folder = TextField(null=True)
    moving_to_path = BlobField(null=True)
    move_due = BooleanField()
    note_path = BlobField(null=True)
    mime_type = TextField(null=True)
    size = IntegerField()
    sha256 = TextField(null=True)
    target = TextField()
    notion_database_id = TextField()
    attempts = IntegerField()
    failures = IntegerField()
    resends = IntegerField()
    created_at = DoubleField()
    updated_at = DoubleField()
    next_attempt_at = DoubleField(null=True)
    deadline_at = DoubleField(null=True)
    completed_at = DoubleField(null=True)
    destination_failed_at = DoubleField(null=True)
    message = TextField(null=True)
    notion_page_url = TextField(null=True)
    duplicate_of = TextField(null=True)
    branch = TextField()
    revision_of = TextField(null=True)
    original_path = BlobField(null=True)
    conflict_of = TextField(null=True)
    removed_at = DoubleField(null=True)
    execution_id = TextField(null=True)

    class Meta:  # noqa: D106 - Peewee's own form
        table_name = "job"


class AttemptRow(Model):
    """One delivery with an outcome; `counted` tells whether it used up one of the receipt's attempts."""

    id = AutoField()
    job_id = TextField()
    started_at = DoubleField()
    ended_at = DoubleField()
    outcome = TextField()
    counted = BooleanField()
    status_code = IntegerField(null=True)
    message = TextField(null=True)

    class Meta:  # noqa: D106 - Peewee's own form
        table_name = "attempt"


class HistoryRow(Model):
    """One thing that happened to a job."""

    id = AutoField()
    job_id = TextField()
    at = DoubleField()
    event = TextField()
    from_state = TextField(null=True)
    to_state = TextField(null=True)
    detail = TextField(null=True)

    class Meta:  # noqa: D106 - Peewee's own form
        table_name = "history"


class FactRow(Model):
    """A named fact about the installation, such as when it was last alive."""

    name = TextField(primary_key=True)
    value = TextField()

    class Meta:  # noqa: D106 - Peewee's own form
        table_name = "fact"


TABLES: tuple[type[Model], ...] = (JobRow, AttemptRow, HistoryRow, FactRow)
JOB_COLUMNS: tuple[str, ...] = tuple(field.name for field in JobRow._meta.sorted_fields)  # noqa: SLF001 - Peewee's documented way

#: The beginning of a question whose rows `job_of` understands. What is asked several times for each receipt stands as
#: SQL: to put such a statement together costs Peewee five times what it costs SQLite to run it (measured: 0.3 ms
#: against 0.06 ms).
SELECT_JOB = f"SELECT {', '.join(JOB_COLUMNS)} FROM job"  # noqa: S608 - our own column names

#: The open jobs, in the words of the partial indexes: SQLite uses such an index for no others.
IS_OPEN = "state NOT IN ('success', 'failure', 'cancelled', 'duplicate')"


def stored(value: object) -> object:
    """Return a value as SQL takes it: paths as bytes, words as text.

    A text that UTF-8 cannot encode, such as a message with a name that is no UTF-8, is stored as it can be shown.
    """
    if isinstance(value, Path):
        return os.fsencode(value)
    return str(value).encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def job_of(row: tuple[Any, ...]) -> Job:
    """Return a row of all columns as a job."""
    fields = dict(zip(JOB_COLUMNS, row, strict=True))
    for name, read in _READERS.items():
        if fields[name] is not None:
            fields[name] = read(fields[name])
    return Job(**fields)


def _path(value: bytes) -> Path:
    return Path(os.fsdecode(value))


_READERS: dict[str, Callable[[Any], object]] = {
    "state": State,
    "reason": lambda code: Reason._value2member_map_[code],  # mypy takes Reason.__new__ for the look-up
    "folder": Folder,
    "moving_to_folder": Folder,
    "relative_path": _path,
    "stored_path": _path,
    "moving_to_path": _path,
    "note_path": _path,
    "original_path": _path,
    "move_due": bool,
}
