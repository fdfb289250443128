"""Judge and draw receipts in processes of their own: a file that breaks one breaks nothing else.

What it promises: `examine` says of any file what it is, or why it is refused, and never longer than its limits allow. A
file at which an examiner crashes, runs out of memory or computes without end is tried once more, in a fresh one that
has seen no other file, and then refused (`unexaminable`). What is no fault of the file is an OSError: the disk does not
give it, no examiner can be started, somebody ended it from outside, the daemon stops. A file whose reading hangs is the
disk's trouble, one at which an examiner only computes, or sleeps, is not.

The file is opened, and its size and digest are read, in this process, which never looks at what the bytes mean. An
examiner is given the open file, so that it needs no rights. It is not trusted any more once it has read a hostile
file: its answer can let that file, or one that it reads later, wait, fail, or pass under another type. It cannot have
other bytes sent, or a file called a copy of one that was here before: that hangs on the digest, and what is sent is
compared with it.

`draw` makes a picture of a file's first page within the same bounds; a file that does not come through has none.

Any thread may call it. How many examiners there are, and who is next, is decided in `examinerpool`. They die with the
daemon, and an idle one ends by itself when its socket closes.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from receipt_watcher.examine.pool import ExaminerPool, Recipe
from receipt_watcher.examine.process import Bounds, BrokenError, EndedFromOutsideError, bounds_of
from receipt_watcher.examine.result import MAX_DIGEST_BYTES, Examination, FileLimits, Refusal, unreadable
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.system import disk
from receipt_watcher.system.display import display_name

__all__ = ["Bounds", "Examiners", "bounds_of"]

logger = structlog.get_logger()


class Examiners:
    """Examines files in processes of their own, until `stopping`; `module` is what they run.

    They come from `pool`, which others may share. `kept` bounds the idle ones; with 0 each file has its own process.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        stopping: threading.Event | None = None,
        is_logged: bool = True,
        module: str = "receipt_watcher.examine.worker",
        pool: ExaminerPool | None = None,
        kept: int | None = None,
    ) -> None:
        self._stopping = stopping or threading.Event()
        self._is_logged = is_logged
        self._recipe = Recipe(module, bounds)
        self._pool = pool or ExaminerPool(self._stopping)
        self._kept = kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all examiners; harmless when called twice. What a thread still waits for ends with an OSError."""
        self._pool.close()

    def examine(self, path: Path, limits: FileLimits) -> Examination:
        """Examine the file at `path`, which nobody else moves meanwhile.

        Raises:
            OSError: the system's own trouble, FileNotFoundError among it; never for what the file contains.
        """
        return self._opened(path, limits, is_caller=False)

    def examine_for_caller(self, path: Path, limits: FileLimits) -> Examination:
        """Do the same for a caller who waits for the answer: ahead of a backlog, but in turns with it.

        Raises:
            OSError: as `examine`.
        """
        return self._opened(path, limits, is_caller=True)

    def draw(self, descriptor: int, mime_type: str, max_pixels: int) -> bytes | None:
        """Return a picture (JPEG) of the first page of an open file; None if none can be drawn.

        Raises:
            OSError: no examiner can be started, or the daemon stops.
        """
        for _ in range(2):  # it is tried once more if somebody ended the first one
            with contextlib.suppress(EndedFromOutsideError):
                return self._draw(descriptor, mime_type, max_pixels)
        return None

    def _draw(self, descriptor: int, mime_type: str, max_pixels: int) -> bytes | None:
        # One that has read a hostile file shall neither draw nor judge another one.
        with self._pool.lend(self._recipe, is_caller=True, is_fresh=True, kept=0) as loan:
            try:
                loan.examiner.ask_for_picture(descriptor, mime_type, max_pixels)
                return loan.examiner.picture(self._stopping) or None
            except EndedFromOutsideError:
                raise
            except (OSError, ValueError, BrokenError) as error:
                if self._stopping.is_set():
                    raise OSError(errno.ECANCELED, "the daemon is stopping") from error
                return None

    def _opened(self, path: Path, limits: FileLimits, *, is_caller: bool) -> Examination:
        try:
            with disk.open_plainly(path) as file:
                return self._examine(file.fileno(), path, limits, is_caller=is_caller)
        except PermissionError:
            return unreadable(path)

    def _examine(self, descriptor: int, path: Path, limits: FileLimits, *, is_caller: bool) -> Examination:
        """Examine an open file, a second time in a fresh examiner if the first one did not come through."""
        # Read before there is an examiner: a disk that hangs here keeps nobody from having one.
        size, sha256 = disk.read_digest(descriptor, MAX_DIGEST_BYTES)
        looked_at = _LookedAt(descriptor, path, size, sha256, limits, is_caller)
        try:
            return self._examine_once(looked_at, is_fresh=False)
        except (BrokenError, EndedFromOutsideError) as error:
            self._log_end(path, error, "it is tried once more, in a fresh one")
        try:
            return self._examine_once(looked_at, is_fresh=True)
        except EndedFromOutsideError as error:
            self._log_end(path, error, "the file waits, and is examined again")
            raise
        except BrokenError as error:
            self._log_end(path, error, "the file is refused")
            return Examination(size, sha256, None, Refusal(Reason.UNEXAMINABLE, str(error)))

    def _log_end(self, path: Path, error: BrokenError | EndedFromOutsideError, advice: str) -> None:
        if not self._is_logged:
            return
        name, why = display_name(path), str(error)
        if isinstance(error, EndedFromOutsideError):
            logger.warning("examiner.ended", path=name, why=why, advice=advice)
        else:
            logger.warning("examiner.broke", path=name, why=why, advice=advice)

    def _examine_once(self, looked_at: _LookedAt, *, is_fresh: bool) -> Examination:
        size, sha256 = looked_at.size, looked_at.sha256
        with self._pool.lend(self._recipe, is_caller=looked_at.is_caller, is_fresh=is_fresh, kept=self._kept) as loan:
            loan.examiner.ask(looked_at.descriptor, looked_at.path.name, looked_at.limits)
            most = min(size, looked_at.limits.max_file_bytes)
            examination = loan.examiner.answer(looked_at.path, most, self._stopping, loan.yield_if_hanging)
        if examination.size != size:
            return Examination(size, sha256, None, Refusal(Reason.INCOMPLETE, "It changed while it was examined."))
        return Examination.of(examination, sha256)


@dataclass(frozen=True, slots=True)
class _LookedAt:
    """One open file, as far as this process knows it."""

    descriptor: int
    path: Path
    size: int
    sha256: str | None
    limits: FileLimits
    is_caller: bool
