"""One receipt on its way, where its file belongs, its id and its pauses. Pure: no I/O, no clock."""

from __future__ import annotations

import os
import random
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from receipt_watcher.jobs.reasons import MAY_BE_BOOKED, Reason
from receipt_watcher.jobs.states import State


class Folder(StrEnum):
    """In which folder of its spool a job's file is; the inbox holds no job's file."""

    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"


#: The home of the file of a job in this state. A duplicate is filed where the job that it copies is filed.
HOME_FOLDER: dict[State, Folder] = {
    State.QUEUED: Folder.PROCESSING,
    State.DELIVERING: Folder.PROCESSING,
    State.PROCESSING: Folder.PROCESSING,
    State.SUCCESS: Folder.DONE,
    State.FAILURE: Folder.FAILED,
    State.CANCELLED: Folder.FAILED,
}


#: The beginning of the ids of `check --live`'s made-up receipts; they are no jobs, and are in no log.
REHEARSAL_PREFIX = "check-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One receipt on its way, as the job log knows it. Times are Unix seconds, sizes bytes.

    `stored_path` is where the file is, relative to `folder`; `moving_to_…` is where it is being moved to, written
    down before the move; `move_due` says that it is not where it belongs. `note_path` is the note beside a
    failed file, relative to failed/. `branch` is the inbox, or the subfolder of it that has settings of its own.
    `revision_of` is the job of an earlier, shorter version under the same name; `original_path` is what a conflict
    copy of a sync client is a copy of, and `conflict_of` the job of that file, where there is one. `removed_at` is when
    retention removed the file; `folder` and `stored_path` then say where it was. `execution_id` is the execution of N8N
    that had the receipt last, where N8N named one.
    """

    job_id: str
    state: State
    reason: Reason | None = None
    inbox: str
    filename: str
    relative_path: Path
    folder: Folder
    stored_path: Path
    moving_to_folder: Folder | None = None
    moving_to_path: Path | None = None
    move_due: bool = False
    note_path: Path | None = None
    mime_type: str | None
    size: int
    sha256: str | None
    target: str
    notion_database_id: str
    attempts: int = 0
    failures: int = 0
    resends: int = 0
    created_at: float
    updated_at: float
    next_attempt_at: float | None = None
    deadline_at: float | None = None
    completed_at: float | None = None
    destination_failed_at: float | None = None
    message: str | None = None
    notion_page_url: str | None = None
    duplicate_of: str | None = None
    branch: str = ""
    revision_of: str | None = None
    original_path: Path | None = None
    conflict_of: str | None = None
    removed_at: float | None = None
    execution_id: str | None = None


def subfolder_of(job: Job) -> str:
    """Return the subfolder of the inbox that a receipt was dropped into, as safe text; "" for none."""
    parent = job.relative_path.parent
    return "" if parent == Path() else os.fsencode(parent).decode("utf-8", "backslashreplace")


def may_be_booked(job: Job) -> bool:
    """Return whether a job has failed without a word on whether N8N booked it."""
    return job.state is State.FAILURE and job.reason in MAY_BE_BOOKED


def is_overdue(job: Job, now: float) -> bool:
    """Return whether N8N has a job and has not reported back in time: it may have booked it."""
    return job.state is State.PROCESSING and job.deadline_at is not None and job.deadline_at <= now


def standing_of(job: Job) -> str:
    """Return how a job stands, in words that go on after a semicolon."""
    return f"this one is {job.state.value}" + (f" ({job.reason.value})" if job.reason else "")


def unknown_outcome(job: Job, why: str) -> str:
    """Return what to tell of a job whose outcome nobody knows, and where to look for it in N8N."""
    execution = f"execution {job.execution_id}" if job.execution_id else f"the execution of job {job.job_id}"
    why = why[:1].upper() + why[1:].removesuffix(".")
    return f"{why}. It may have been booked. Look in N8N for {execution}, then retry or mark it delivered."


def backoff_seconds(failures: int, initial_seconds: float, max_seconds: float, jitter: random.Random) -> float:
    """Return how long to wait after the `failures`-th failure in a row (1 is the first), in seconds.

    `min(max, initial * 2 ** (failures - 1))`, of which a random half to whole is taken, so that many receipts
    that failed together do not come back together.
    """
    exponent = min(max(failures, 1) - 1, 62)  # beyond 2**62 a float is as good as infinite, and int ** grows
    ceiling = min(max_seconds, initial_seconds * 2.0**exponent)
    return ceiling * jitter.uniform(0.5, 1.0)


def job_id_prefix(at: float) -> str:
    """Return how job ids of that time begin: those of earlier ones are smaller, those of later ones greater."""
    text = f"{int(at * 1000) & (2**48 - 1):012x}"
    return f"{text[:8]}-{text[8:]}"


def new_job_id(now: float) -> str:
    """Return a fresh UUID of version 7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 74 random bits.

    Ids that sort by time keep the log's primary key compact and make `ls processing/` read in order of arrival.
    """
    milliseconds = int(now * 1000) & (2**48 - 1)
    rest = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (rest >> 62 & 0xFFF) << 64 | 0b10 << 62 | rest & (2**62 - 1)
    return str(uuid.UUID(int=value))


def is_job_id(text: str) -> bool:
    """Whether a text has the form of a job's id."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
