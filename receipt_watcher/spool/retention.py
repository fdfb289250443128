"""Retention: remove the files of receipts that were concluded long ago, and what the log says beyond the verdict.

Off by default; the only deletion of receipts there is. What it promises: a file goes only when its job is concluded
and filed, for so many days since its verdict, nothing open depends on it, it lies where the log says, and its bytes
are those that were recorded. A file that changed stays, with a warning a day. The row stays for ever: digest and
verdict are known when the same bytes come again.

**The order.** The bytes are compared; then one transaction writes `removed_at` and a line of history, guarded by how
the job stood before; then the file is removed, if it is still the one that was read (inode, size and times); its note
goes along; the folders are flushed; then the end is written down, and folders that became empty are removed. So a
retry comes before the removal, or is refused. A crash after the transaction leaves a file that the log calls removed:
the next start removes it if it is still whole, or takes the word back. There is never a file gone without a word.

**The clock.** Days are counted by a time that moves at the most six times as fast as the daemon runs: where the clock
says that years have passed at once, as on a machine without one, files grow six days old in each day in which nobody
mends it, and at the most so many go in an hour. A row that was recorded while the clock was behind is no older than
the rows before it.

Each inbox has a `Remover`, called by a thread of its own, which a share that answers nothing keeps, and nobody else;
one more thread calls `Trimmer`. Between two files both look whether the daemon stops.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.errors import ChangedOnDiskError, FileVanishedError, SpoolError
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool import reason_file
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system import disk

logger = structlog.get_logger()

#: Each waits so long between two rounds.
PAUSE_SECONDS = 3600.0

#: Files that one round looks at: a mistake is not everything at once. By taste.
ROUND_FILES = 1000

#: Files that share one commit, during which no file of the inbox is moved; jobs whose history goes in one. By taste.
BATCH_FILES = 32
BATCH_HISTORIES = 200

#: The time by which days are counted may move so much faster than the daemon runs: four hours a day keep up. By taste.
HASTE = 6.0

DAY_SECONDS = 86400.0

_Item = TypeVar("_Item")

#: The marks of a file that was read: inode, size, and times of content and of status.
Signature = tuple[int, ...]


class BelievedTime:
    """Returns the Unix seconds that days are counted by: the clock's, unless that ran away.

    It begins with what it was before the restart, at first with the last change in the log, and is never later than
    the clock. Any thread may call it.
    """

    def __init__(self, log: JobLog, *, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._time: float | None = None
        self._at = 0.0

    def __call__(self) -> float:
        """Return it, and keep it for the next start."""
        with self._lock:
            now, at = self._clock(), self._monotonic()
            if self._time is None:
                self._time = min(now, self._begin(now))
                if now - self._time > DAY_SECONDS:
                    logger.info("retention.catching_up", days=round((now - self._time) / DAY_SECONDS, 1))
            else:
                self._time = min(now, self._time + HASTE * (at - self._at))
            self._at = at
            self._log.facts.believed_time.put(self._time)
            return self._time

    def _begin(self, now: float) -> float:
        believed = self._log.facts.believed_time.get()
        if believed is not None:
            return believed
        latest = self._log.statistics.latest_change(now)
        return now if latest is None else latest


@dataclass(slots=True)
class Tally:
    """The result of one round: files removed and their bytes, kept since they changed, and not there."""

    removed: int = 0
    size: int = 0
    kept: int = 0
    missing: int = 0


class Remover:
    """Removes the files of one inbox; `at_rest` keeps the filing from moving any of them meanwhile."""

    def __init__(
        self,
        log: JobLog,
        route: InboxRoute,
        routes: Iterable[InboxRoute],
        days: Retention,
        *,
        at_rest: contextlib.AbstractContextManager[bool],
        believed: BelievedTime,
        stopping: threading.Event,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.route = route
        self._log = log
        self._routes = tuple(routes)
        self._days = {Folder.DONE: days.done_days, Folder.FAILED: days.failed_days}
        self._at_rest = at_rest
        self._believed = believed
        self._stopping = stopping
        self._clock = clock
        self._monotonic = monotonic
        self._passed_over: set[str] = set()  # jobs that were looked at in vain today
        self._forget_at = 0.0
        self._refused: set[str] = set()  # jobs whose file the system did not let us remove; until the next start
        self._trouble: str | None = None

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do: files that may be removed, or removals that a crash interrupted."""
        return any(days is not None for days in self._days.values()) or bool(
            self._log.files.begun_removals(self.route.name)
        )

    def remove_due(self) -> Tally:
        """Do one round: first what was begun, then what is old enough; say in one line what was removed."""
        if self._monotonic() >= self._forget_at:
            self._passed_over.clear()
            self._forget_at = self._monotonic() + DAY_SECONDS
        tally = Tally()
        try:
            self._check_present()
            self._finish_begun(tally)
            for folder, days in self._days.items():
                if days is not None:
                    self._remove_old(folder, days, tally)
        except (OSError, SpoolError) as error:
            self._log_trouble(str(error))
        else:
            self._trouble = None
        if tally.removed:
            counts = {"files": tally.removed, "bytes": tally.size, "kept": tally.kept, "missing": tally.missing}
            logger.info("retention.removed", inbox=self.route.name, **counts)
        return tally

    def _check_present(self) -> None:
        """Tell a folder that is away from files that are missing.

        Raises:
            SpoolError: one is away.
        """
        self.route.spool.presence.check()

    def _remove_old(self, folder: Folder, days: float, tally: Tally) -> None:
        now = self._believed()
        ignored = self._passed_over | self._refused
        limit = ROUND_FILES + len(ignored)
        stored = self._log.files.old(self.route.name, folder, now - days * DAY_SECONDS, now, limit)
        old = [job for job in stored if job.job_id not in ignored][:ROUND_FILES]
        for batch in _batches(old, BATCH_FILES):
            if self._stopping.is_set():
                return
            self._remove_batch(batch, tally)

    def _remove_batch(self, jobs: Sequence[Job], tally: Tally) -> None:
        """Read each file, then write down what is removed, then remove it."""
        read: dict[str, Signature] = {}
        for job in jobs:
            if self._stopping.is_set():
                return
            signature = self._read_or_log(job, tally)
            if signature is None:
                self._passed_over.add(job.job_id)
            else:
                read[job.job_id] = signature
        if not read:
            return
        unchanged = [job for job in jobs if job.job_id in read]
        with self._at_rest:
            beside = self._beside(unchanged[0].folder)
            intended = self._log.moves.intend_removals(self.route.name, unchanged, beside, self._clock())
            self._passed_over.update(read.keys() - {job.job_id for job in intended})
            self._check_present()
            self._remove([(job, read[job.job_id]) for job in intended], {}, tally)

    def _beside(self, folder: Folder) -> list[str]:
        """Return the inboxes that have the same folder, this one being among them."""
        root = self.route.spool.folders.path_of(folder)
        return [route.name for route in self._routes if route.spool.folders.path_of(folder) == root]

    # --- one file ----------------------------------------------------------------------------------------------

    def _read_or_log(self, job: Job, tally: Tally) -> Signature | None:
        """Return what the file was when its bytes were those that were recorded; else say why it is kept.

        Raises:
            OSError: the share is gone.
        """
        try:
            return _read(self.route.path_of(job), job)
        except FileVanishedError:
            self._check_present()
            tally.missing += 1  # somebody took it out of the folder, as people may
        except ChangedOnDiskError as error:
            self._log_kept(job, str(error), tally)
        except OSError as error:
            if error.errno in disk.SHARE_IS_GONE:
                raise
            self._log_kept(job, f"{self.route.path_of(job)} cannot be read: {error.strerror}", tally)
        return None

    def _log_kept(self, job: Job, why: str, tally: Tally) -> None:
        tally.kept += 1
        advice = "look at it; retention removes only what is as it was recorded"
        logger.warning("retention.kept", inbox=job.inbox, job_id=job.job_id, why=why, advice=advice)

    def _remove(self, files: Sequence[tuple[Job, Signature]], kept: dict[str, str], tally: Tally) -> None:
        """Remove what was intended, make that durable, and write down how it ended."""
        gone: list[Job] = []
        for job, signature in files:
            why = _unlink(self.route.path_of(job), signature)
            if why is None:
                gone.append(job)
                tally.removed += 1
                tally.size += job.size
            else:
                kept[job.job_id] = why
                self._refused.add(job.job_id)
                self._log_kept(job, why, tally)
        self._finish(gone, kept)

    def _finish(self, gone: Sequence[Job], kept: dict[str, str]) -> None:
        self._check_present()  # else what was not found is not known to be removed: the next round looks again
        folders = self.route.spool.folders
        for job in gone:
            if job.note_path is not None:
                reason_file.remove_note(folders.failed / job.note_path, job.job_id)
        left = {(folders.path_of(job.folder), self.route.path_of(job).parent) for job in gone}
        for _, folder in left:
            with contextlib.suppress(FileNotFoundError):
                disk.flush_folder(folder)
        self._log.moves.finish_removals(self.route.name, gone, kept, self._clock())
        for root, folder in left:
            _remove_empty(folder, root)

    def _finish_begun(self, tally: Tally) -> None:
        """Finish the removals that a crash interrupted, by the same rules; what must stay is taken back."""
        with self._at_rest:
            begun = self._log.files.begun_removals(self.route.name)
            files: list[tuple[Job, Signature]] = []
            kept: dict[str, str] = {}
            for job in begun:
                why = self._why_not(job)
                try:
                    signature = _read(self.route.path_of(job), job)
                except FileVanishedError:
                    files.append((job, ()))
                    continue
                except ChangedOnDiskError as error:
                    why = str(error)
                except OSError as error:
                    if error.errno in disk.SHARE_IS_GONE:
                        raise
                    why = f"{self.route.path_of(job)} cannot be read: {error.strerror}"
                if why is None:
                    files.append((job, signature))
                else:
                    kept[job.job_id] = why
                    self._passed_over.add(job.job_id)
                    self._log_kept(job, why, tally)
            if begun:
                self._remove(files, kept, tally)

    def _why_not(self, job: Job) -> str | None:
        if self._days[job.folder] is None:
            return "retention was switched off"
        if self._log.files.is_named_by_another(job, self._beside(job.folder)):
            return f"{self.route.path_of(job)} belongs to another job now"
        return None

    def _log_trouble(self, why: str) -> None:
        if self._trouble is None:  # once is enough
            logger.error("retention.put_off", inbox=self.route.name, why=why, advice="fix it; it is tried every hour")
        self._trouble = why


class Trimmer:
    """Removes what the log says of old jobs beyond the row: history, attempts, and N8N's message."""

    def __init__(self, log: JobLog, days: Retention, *, believed: BelievedTime, stopping: threading.Event) -> None:
        self._log = log
        self._days = days.log_days
        self._believed = believed
        self._stopping = stopping

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do."""
        return self._days is not None

    def trim_due(self) -> int:
        """Do one round, and return how many jobs were trimmed."""
        if self._days is None:
            return 0
        now = self._believed()
        before = now - self._days * DAY_SECONDS
        trimmed = 0
        for batch in _batches(self._log.files.old_histories(before, now), BATCH_HISTORIES):
            if self._stopping.is_set():
                break
            trimmed += self._log.jobs.trim(batch, before)
        if trimmed:
            logger.info("retention.trimmed", jobs=trimmed)
        return trimmed


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _read(path: Path, job: Job) -> Signature:
    """Return the signature of a file whose bytes are those that were recorded.

    Raises:
        FileVanishedError: it is not there.
        ChangedOnDiskError: it is another one now, or no regular file.
        OSError: it cannot be read.
    """
    try:
        with disk.open_plainly(path) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size != job.size:
                raise ChangedOnDiskError(f"{path} is another file now, not the one that was recorded")
            if disk.digest_of_open(file) != job.sha256:
                raise ChangedOnDiskError(f"{path} has other bytes now than those that were recorded")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileVanishedError(f"{path} is not there any more") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise ChangedOnDiskError(f"{path} is no regular file any more") from error
        raise
    return _signature(status)


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _unlink(path: Path, signature: Signature) -> str | None:
    """Remove a file that is still the one that was read; return why it was not removed, None where it is gone."""
    try:
        if _signature(os.lstat(path)) != signature:
            return f"{path} changed just before it was removed"
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"{path} cannot be removed: {error.strerror}" if os.path.lexists(path) else None
    return None


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder below `root`, and those around it, that became empty; anything that holds something stays."""
    with contextlib.suppress(OSError):
        while folder != root and folder.is_relative_to(root):
            folder.rmdir()
            folder = folder.parent
