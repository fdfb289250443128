"""The rows of the job log, as Python sees them; `migrations/` makes the tables. Only the job log uses this module.

The rows are written by the parts of the job log alone. Paths are kept as the bytes that the file system knows (BLOB),
since a name need not be UTF-8.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State

#: The columns of a job's row are the fields of `Job`.
JOB_COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Job))

#: The beginning of a question whose rows `job_of` understands. What is asked several times for each receipt stands as
#: SQL: to put such a statement together costs Peewee five times what it costs SQLite to run it (measured: 0.3 ms
#: against 0.06 ms).
SELECT_JOB = f"SELECT {', '.join(JOB_COLUMNS)} FROM job"  # noqa: S608 - our own column names

#: The open jobs, in the words of the partial indexes: SQLite uses such an index for no others.
IS_OPEN = "state NOT IN ('success', 'failure', 'cancelled', 'duplicate')"
#: The jobs that may be claimed once they are due, likewise.
IS_WAITING = "state = 'queued' AND move_due = 0"
#: The jobs that failed, likewise.
IS_FAILED = "NOT (state <> 'failure')"


def stored(value: object) -> object:
    """Return a value as SQL takes it: paths as bytes, words as text.

    A text that UTF-8 cannot encode, such as a message with a name that is no UTF-8, is stored as it can be shown.
    """
    if type(value) is str and value.isascii():  # nearly all of them
        return value
    if isinstance(value, Path):
        return os.fsencode(value)
    return str(value).encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def job_of(row: tuple[Any, ...]) -> Job:
    """Return a row of all columns as a job."""
    values = dict(zip(JOB_COLUMNS, row, strict=True))
    for name, read in _READERS.items():
        if values[name] is not None:
            values[name] = read(values[name])
    return Job(**values)


def _path(value: bytes) -> Path:
    return Path(os.fsdecode(value))


#: The readers of values that SQL knows as numbers, texts or bytes, by the type of the field.
_READERS_OF: dict[object, Callable[[Any], object]] = {
    State: State,
    Reason: lambda code: Reason._value2member_map_[code],  # mypy takes Reason.__new__ for the look-up
    Folder: Folder,
    Path: _path,
    bool: bool,
}
_READERS = {
    name: read
    for name, field_type in get_type_hints(Job).items()
    for python_type, read in _READERS_OF.items()
    if python_type in (field_type, *get_args(field_type))
}
