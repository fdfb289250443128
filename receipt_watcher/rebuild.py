"""What a job log that was lost leaves: receipts in processing/ and done/ that no row knows.

What it promises: nothing that is in done/ is sent again, and what is in processing/, which may have been sent before,
goes out under its old id only after its callback had its chance. `done/` is read once, before anything is taken from
the inbox that it belongs to, and each file there gets a row that has succeeded.

Called by an inbox's own thread when the log has never seen its spool, but an earlier daemon has. A crash leaves
rows for a part of the files; the next start goes on with the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from receipt_watcher.disk import PARTIAL_SUFFIX, digest_of, display_name
from receipt_watcher.job import Event, Folder, Job, State, new_job_id
from receipt_watcher.joblog import JobLog
from receipt_watcher.note import is_note
from receipt_watcher.route import Branch, Route

logger = structlog.get_logger()

_BATCH_ROWS = 64
_DETAIL = "found in done/: the job log had been lost"


def rebuild_done(route: Route, log: JobLog, now: float, progress: Callable[[], None]) -> int:
    """Give each file in done/ that no job is known for one that has succeeded; return how many there were.

    `progress` is called before each file. When the receipt came is told by its modification time, as well as it can be:
    it was not after `now`. When it was concluded is `now`, in Unix seconds, so that no retention removes early what
    nobody knows the age of.

    Raises:
        OSError: done/ cannot be read.
    """
    batch: list[Job] = []
    count = 0
    for path in _files(route.spool.folders.done):
        progress()
        if log.stored_at(route.name, Folder.DONE, path) is None:
            batch.append(_job(route, path, now))
            count += 1
        if len(batch) == _BATCH_ROWS:
            _record(log, batch, now)
            batch = []
    _record(log, batch, now)
    if count:
        logger.warning(
            "job_log.rebuilt", inbox=route.name, jobs=count, why="files in done/ that the job log did not know"
        )
    return count


def _files(done: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(done, onerror=_passed_on):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            if not is_note(path) and not name.endswith(PARTIAL_SUFFIX):  # a copy that a crash left unfinished
                yield path.relative_to(done)


def _passed_on(error: OSError) -> None:
    raise error


def _job(route: Route, path: Path, now: float) -> Job:
    file = route.spool.folders.done / path
    status = file.stat()
    came_at = min(max(status.st_mtime, 0.0), now)
    branch, relative = _way_of(route, path)
    return Job(
        job_id=new_job_id(came_at),
        state=State.QUEUED,
        inbox=route.name,
        filename=display_name(relative.name),
        relative_path=relative,
        folder=Folder.DONE,
        stored_path=path,
        mime_type=None,
        size=status.st_size,
        sha256=digest_of(file),
        target=branch.target,
        notion_database_id=branch.notion_database_id,
        created_at=came_at,
        updated_at=came_at,
        branch=branch.key,
    )


def _way_of(route: Route, path: Path) -> tuple[Branch, Path]:
    """Return the branch that a file in done/ came by, and where it was below the inbox: done_subfolder is before that.

    The wrong branch would be another target, where a copy of the file were no duplicate.
    """
    for branch in route.branches:
        relative = _without_subfolder(branch, path)
        if route.branch_at(relative) is branch:
            return branch, relative
    return route.branches[-1], _without_subfolder(route.branches[-1], path)


def _without_subfolder(branch: Branch, path: Path) -> Path:
    before = len(Path(time.strftime(branch.done_subfolder, time.localtime(0))).parts)  # %D has slashes
    return Path(*path.parts[min(before, len(path.parts) - 1) :])


def _record(log: JobLog, jobs: list[Job], now: float) -> None:
    with log.transaction():
        for job in jobs:
            log.insert(job)
            log.advance(job.job_id, Event.SUCCEED, now, detail=_DETAIL)
