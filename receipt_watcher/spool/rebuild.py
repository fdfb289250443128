"""Rebuild what a job log that was lost or restored does not know: receipts in processing/, done/ and failed/.

What it promises: nothing that is in done/ or failed/ is sent again by itself. What is in processing/, or waits by the
log, may have been sent: it goes out under its old id only after its callback had its chance. The folders are read once,
before anything is taken from their inbox. Each file in them is compared by its digest: it gets a row, or the job of
these bytes that the log took for open gets its end. Nobody knows whether N8N booked what is in failed/, so that no copy
of it is sent.

Called by an inbox's own thread when the log does not know its spool, or is behind it. A crash leaves rows for a part of
the files; the next start goes on with the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from receipt_watcher.config.branches import Branch
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import OPEN_STATES, Event, State
from receipt_watcher.spool.reason_file import is_note, job_id_of, note_path
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system import disk
from receipt_watcher.system.disk import PARTIAL_SUFFIX, digest_of
from receipt_watcher.system.display import display_name

logger = structlog.get_logger()

_BATCH_ROWS = 64
_MOST_JOBS = 100
_DETAILS = {
    Folder.DONE: "found in done/: the job log had been lost",
    Folder.FAILED: "found in failed/: the job log had been lost",
}
_FAILED_MESSAGE = (
    "The job log was lost or restored, and does not know what became of this receipt; the note beside it may say it. "
    "It may have been booked: look in N8N for its job."
)


@dataclass(frozen=True, slots=True)
class _StoredFile:
    """A file in done/ or failed/ whose row is to be written; `job` if the log has one for it."""

    path: Path
    folder: Folder
    sha256: str
    size: int
    came_at: float
    job: Job | None
    job_id: str


def rebuild(route: InboxRoute, log: JobLog, now: float, progress: Callable[[], None], *, reads_all: bool) -> int:
    """Give each file in done/ and failed/ that no job is known for the row it should have; return how many there were.

    `progress` is called before each file. With `reads_all` also those are compared whose path is known: after a restore
    another receipt may have it. When a receipt came is told by its modification time, as well as it can be: it was not
    after `now`. When it was concluded is `now`, in Unix seconds, so that no retention removes early what is of unknown
    age.

    Raises:
        OSError: a folder cannot be read.
    """
    batch: list[_StoredFile] = []
    count = 0
    for folder in (Folder.DONE, Folder.FAILED):
        for path in _files(route.spool.folders.path_of(folder)):
            progress()
            if not reads_all and log.files.stored_at(route.name, folder, path) is not None:
                continue
            stored = _unknown(route, log, folder, path, now)
            if stored is not None:
                batch.append(stored)
                count += 1
            is_linked = stored is not None and (stored.job is not None or folder is Folder.FAILED)
            if is_linked or len(batch) == _BATCH_ROWS:  # before the next one is looked up
                _record(route, log, batch, now)
                batch = []
    _record(route, log, batch, now)
    if count:
        logger.warning(
            "job_log.rebuilt",
            inbox=route.name,
            jobs=count,
            why="files in done/ or failed/ that the job log did not know",
        )
    return count


def await_open_jobs(route: InboxRoute, log: JobLog, now: float) -> None:
    """Take what waits for its delivery by a restored log for what was sent: its callback is awaited first.

    It is claimed by nobody, so the next look at such claims takes it for a lost answer.
    """
    with log.database.transaction():
        for job in log.lookups.queued_of(route.name):
            log.jobs.advance(job, Event.CLAIM, now, detail=_MAY_HAVE_BEEN_SENT, attempts=job.attempts + 1)


_MAY_HAVE_BEEN_SENT = "the job log was restored: it may have been sent since"


def _unknown(route: InboxRoute, log: JobLog, folder: Folder, path: Path, now: float) -> _StoredFile | None:
    """Return a file with the job that it belongs to; None if the log knows that job to have its file here."""
    file = route.spool.folders.path_of(folder) / path
    status = file.stat()
    sha256 = digest_of(file)
    jobs = [job for job in log.lookups.with_bytes(sha256, _MOST_JOBS) if job.inbox == route.name]
    if any((job.folder, job.stored_path) == (folder, path) and job.removed_at is None for job in jobs):
        return None
    came_at = min(max(status.st_mtime, 0.0), now)
    noted = (job_id_of(note_path(file)) if folder is Folder.FAILED else None) or ""
    job = next((job for job in jobs if job.job_id == noted and not _has_its_file(route, job)), None)
    if job is None:
        job = next((job for job in jobs if _is_astray(route, job)), None)
    job_id = noted if noted and log.lookups.get(noted) is None else new_job_id(came_at)
    return _StoredFile(path, folder, sha256, status.st_size, came_at, job, job_id)


def _has_its_file(route: InboxRoute, job: Job) -> bool:
    """Whether a job's file is where the log has it, and no other one in its place."""
    path = route.path_of(job)
    return disk.is_there(path) and digest_of(path) == job.sha256


def _is_astray(route: InboxRoute, job: Job) -> bool:
    """Whether a job's file is not where the log has it, so that one of the same bytes elsewhere may be it."""
    return job.state is not State.DUPLICATE and not disk.is_there(route.path_of(job))


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, onerror=_passed_on):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            if not is_note(path) and not name.endswith(PARTIAL_SUFFIX):  # a copy that a crash left unfinished
                yield path.relative_to(root)


def _passed_on(error: OSError) -> None:
    raise error


def _job(route: InboxRoute, stored: _StoredFile) -> Job:
    branch, relative = _way_of(route, stored.path, stored.folder)
    note = note_path(stored.path) if stored.folder is Folder.FAILED else None
    has_note = note is not None and is_note(route.spool.folders.failed / note)
    return Job(
        job_id=stored.job_id,
        state=State.QUEUED,
        inbox=route.name,
        filename=display_name(relative.name),
        relative_path=relative,
        folder=stored.folder,
        stored_path=stored.path,
        note_path=note if has_note else None,
        mime_type=None,
        size=stored.size,
        sha256=stored.sha256,
        target=branch.target,
        notion_database_id=branch.notion_database_id,
        created_at=stored.came_at,
        updated_at=stored.came_at,
        branch=branch.key,
    )


def _way_of(route: InboxRoute, path: Path, folder: Folder) -> tuple[Branch, Path]:
    """Return the branch that a file came by, and where it was below the inbox: in done/ done_subfolder is before that.

    The wrong branch would be another target, where a copy of the file were no duplicate.
    """
    if folder is Folder.FAILED:
        return route.branch_at(path), path
    for branch in route.branches:
        relative = _without_subfolder(branch, path)
        if route.branch_at(relative) is branch:
            return branch, relative
    return route.branches[-1], _without_subfolder(route.branches[-1], path)


def _without_subfolder(branch: Branch, path: Path) -> Path:
    before = len(Path(time.strftime(branch.done_subfolder, time.localtime(0))).parts)  # %D has slashes
    return Path(*path.parts[min(before, len(path.parts) - 1) :])


def _record(route: InboxRoute, log: JobLog, batch: list[_StoredFile], now: float) -> None:
    with log.database.transaction():
        for stored in batch:
            detail = _DETAILS[stored.folder]
            if stored.job is None:
                job = log.jobs.insert(_job(route, stored))
            else:
                job = log.moves.find_again(stored.job, stored.folder, stored.path, now, detail)
            if stored.folder is Folder.DONE:
                log.jobs.advance(job.job_id, Event.SUCCEED, now, detail=detail)
            elif job.state in OPEN_STATES:
                reason = Reason.OUTCOME_UNKNOWN
                log.jobs.advance(job.job_id, Event.FAIL, now, detail=detail, reason=reason, message=_FAILED_MESSAGE)
