"""A receipt's file for whoever has a link to it, or may read it.

What it promises: what is read is the file that the job log recorded, wherever the log says it is now, proven while it
is read (`content`); a move in between is followed, and a file that was opened before a move is read on. No call takes
longer than its limit: a file system that answers nothing costs the caller that time, and a thread of its own until it
answers. No text that comes from here names a path.

Runs in the worker threads of the HTTP side. Nothing is written or kept.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from receipt_watcher.delivery.destinations.verified_file import PIECE_BYTES, verified_pieces
from receipt_watcher.errors import ChangedOnDiskError
from receipt_watcher.jobs.job import Job
from receipt_watcher.spool.route import InboxRoute, route_of
from receipt_watcher.system.time_limit import within

#: Time limits for a file system's answer. The one to open a file is longer, since one in failed/ is hashed before.
_OPEN_SECONDS = 30.0
_READ_SECONDS = 10.0

#: Most times that the log is asked for the file's place: it may be moved between the question and the opening.
_LOOKS = 3


class Absence(Enum):
    """Why there is no file, with the status of the answer and its words."""

    UNKNOWN = (404, "There is no such receipt.")
    GONE = (410, "The file is no longer there as it was recorded.")
    AWAY = (503, "The file cannot be read now; try again in a minute.")

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        self.words = words


class OpenReceipt:
    """A receipt's open file. `next_piece` and `close` are not called at the same time."""

    def __init__(self, job: Job, file: BinaryIO, path: Path) -> None:
        self.job = job
        self._file = file
        self._pieces: Iterator[bytes] = verified_pieces(file, path, job)
        self._is_hanging = False

    def next_piece(self) -> bytes | None:
        """Return the next piece, or None after the last.

        Raises:
            ChangedOnDiskError: the file is not the one that was recorded.
            OSError: it cannot be read, or its file system answers nothing.
        """
        try:
            return within(_READ_SECONDS, lambda: next(self._pieces, None), "the file system")
        except TimeoutError:
            self._is_hanging = True
            raise

    def go_back(self, start: int, length: int) -> None:
        """Have `next_piece` return this part, once it has returned None: then the whole was as recorded."""
        self._pieces = _part(self._file, start, length)

    def fileno(self) -> int:
        """Return the descriptor of the open file."""
        return self._file.fileno()

    def close(self) -> None:
        """Let the file go, at once: a file system that answers nothing may hang that, too."""
        if not self._is_hanging:  # else the thread that reads lets it go, when it can
            threading.Thread(target=self._file.close, name="close", daemon=True).start()


class Fetching:
    """Finds and opens the files of jobs."""

    def __init__(self, find_job: Callable[[str], Job | None], routes: Sequence[InboxRoute]) -> None:
        self._find_job = find_job
        self._routes = routes

    def open(self, job_id: str, sha256: str | None) -> OpenReceipt | Absence:
        """Open the file of a job, one that has this digest where it is given.

        Raises:
            JobLogError: the log cannot be read.
        """
        opened: OpenReceipt | Absence | None = None
        for _ in range(_LOOKS):
            job = self._find_job(job_id)
            opened = Absence.UNKNOWN if job is None else self._open(job, sha256)
            if opened is not None:
                break
        return opened or Absence.GONE

    def _open(self, job: Job, sha256: str | None) -> OpenReceipt | Absence | None:
        route = route_of(self._routes, job)
        is_other = job.sha256 is None or sha256 not in (None, job.sha256)
        if route is None or job.removed_at is not None or is_other:
            return Absence.GONE
        if not route.is_ready:
            return Absence.AWAY
        try:
            return within(_OPEN_SECONDS, lambda: _opened(route, job), "the file system")
        except ChangedOnDiskError:
            return Absence.GONE
        except OSError:
            return Absence.AWAY


def _part(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    file.seek(start)
    while length > 0 and (piece := file.read(min(PIECE_BYTES, length))):
        length -= len(piece)
        yield piece
    if length:
        raise OSError(errno.EIO, "the file became shorter while it was read")


def _opened(route: InboxRoute, job: Job) -> OpenReceipt | None:
    """Open a job's file; None where it is at none of its places: it may have been moved just now.

    Raises:
        ChangedOnDiskError: another file is there.
        OSError: it cannot be opened.
    """
    route.check_is_its_own(job)
    for path in _places(route, job):
        try:
            file = open(path, "rb", opener=_opener)  # noqa: SIM115 - it outlives this, see OpenReceipt.close
        except (FileNotFoundError, NotADirectoryError):
            continue
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_size == job.size:
            return OpenReceipt(job, file, path)
        file.close()
    if not route.spool.presence.is_complete():
        raise FileNotFoundError(errno.ENOENT, "a folder of its spool is away", str(route.path_of(job)))
    return None


def _places(route: InboxRoute, job: Job) -> Iterator[Path]:
    """Yield where a job's file is by the log, and where it is just being moved to."""
    yield route.path_of(job)
    if (file := route.spool.folders.next_file_of(job)) is not None:
        yield file


def _opener(path: str, flags: int) -> int:
    """Open a file, and hang at nothing that is none: a pipe that somebody put there would wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
