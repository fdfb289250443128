"""The note beside a failed file: `<name>.reason.txt`, for people who see only folders.

A note is told by its name and its first line, so that a receipt of the same name is never mistaken for one, and a
note is never taken as a receipt. Written by the filing thread; a crash leaves the old note, the new one, or none,
and the filing is done again.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from receipt_watcher.jobs.job import is_job_id
from receipt_watcher.system.display import NAME_MAX_BYTES, cut_name

NOTE_SUFFIX = ".reason.txt"
_JOB_BEGINS = "Job: "
_FIRST_LINE = "receipt-watcher wrote this note about the file beside it."


def note_path(path: Path) -> Path:
    """Return where the note about `path` stands: the whole name plus `.reason.txt`, the name cut where too long."""
    room = NAME_MAX_BYTES - len(NOTE_SUFFIX)
    return path.with_name(cut_name(path.name, room) + NOTE_SUFFIX)


def is_note(path: Path) -> bool:
    """Whether the file is a note of ours, told by its name and its first line."""
    if not path.name.endswith(NOTE_SUFFIX):
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(_FIRST_LINE)) == _FIRST_LINE.encode()
    except OSError:
        return False


def write_note(path: Path, job_id: str, text: str) -> bool:
    """Write a note; our own older one is replaced, nobody else's file. Return whether it was written."""
    if path.exists() and not is_note(path):
        return False
    temporary = path.with_name(f".{job_id}{NOTE_SUFFIX}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(f"{_FIRST_LINE}\n\n{text}\n\n{_JOB_BEGINS}{job_id}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return True


def is_about(path: Path, job_id: str) -> bool:
    """Whether a note of ours is there and is about this job."""
    try:
        return is_note(path) and f"{_JOB_BEGINS}{job_id}" in path.read_text("utf-8", "replace")
    except OSError:
        return False


def job_id_of(path: Path) -> str | None:
    """Return the job that a note of ours is about; None if it is not there, or does not say."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines() if is_note(path) else []
    except OSError:
        return None
    job_id = lines[-1].removeprefix(_JOB_BEGINS) if lines and lines[-1].startswith(_JOB_BEGINS) else ""
    return job_id if is_job_id(job_id) else None


def remove_note(path: Path, job_id: str) -> None:
    """Remove a note of ours, if it is there and is about this job."""
    with contextlib.suppress(OSError):
        if is_about(path, job_id):
            path.unlink()
