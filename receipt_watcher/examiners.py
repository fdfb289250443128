"""Keeps examiners, the processes that judge receipts: a file that breaks one breaks nothing else.

What it promises: `examine` says of any file what it is, or why it is refused, and never longer than its limits allow. A
file at which an examiner crashes, runs out of memory or computes without end is tried once more, in a fresh one that
has seen no other file, and then refused (`unexaminable`). What is no fault of the file is an OSError: the disk does not
give it, no examiner can be started, the daemon stops. A file whose reading hangs is the disk's trouble, one at which an
examiner only computes, or sleeps, is not.

The file is opened, and its size and digest are read, in this process, which never looks at what the bytes mean. An
examiner is given the open file, so that it needs no rights. It is not trusted any more once it has read a hostile
file: its answer can let that file, or one that it reads later, wait, fail, or pass under another type. It cannot have
other bytes sent, or a file called a copy of one that was here before: that hangs on the digest, and what is sent is
compared with it.

`draw` has a picture of a file's first page made, within the same bounds; a file that does not come through has none.

Any thread may call it; each examiner works for one at a time, and another one is started where all are busy. They die
with the daemon: the kernel kills them when the thread ends that started them, for which one thread is kept, and an idle
one ends by itself when its socket closes.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from receipt_watcher import disk
from receipt_watcher.config import Config
from receipt_watcher.examination import (
    EXIT_OUT_OF_MEMORY,
    FILE_DESCRIPTOR,
    MAX_DIGEST_BYTES,
    MESSAGE_BYTES,
    READY,
    Examination,
    Judgement,
    Limits,
    Refusal,
    drawing_question,
    question,
    read_answer,
    read_size,
    unreadable,
)
from receipt_watcher.job import Reason
from receipt_watcher.onecore import leave_core

logger = structlog.get_logger()

#: Idle examiners that are kept. Each takes some 40 MB, and two threads seldom examine at the same moment.
_KEPT = 2

#: How a picture begins that is handed over.
_JPEG_MARK = b"\xff\xd8\xff"

#: After so many files an examiner is replaced: what libraries leak, or a hostile file left in it, goes then.
_FILES_EACH = 10_000

#: How long an examiner may take to start, and to end once it was killed.
_START_SECONDS = 30.0
_END_SECONDS = 1.0

#: How soon a stop is noticed while an examiner works.
_TICK_SECONDS = 0.25

#: A disk that gives less than this in a second is taken for one that hangs.
_SLOWEST_BYTES = 1 << 20

#: What the signal that ended an examiner tells.
_FAULT = ", as by a fault in a library"
_GIVES_UP = ", as by libraries that get no more memory (limits.examination_mb), or find themselves in disorder"
_HINTS: dict[int, str] = {
    signal.SIGABRT: _GIVES_UP,
    signal.SIGTRAP: _GIVES_UP,
    signal.SIGSEGV: _FAULT,
    signal.SIGBUS: _FAULT,
    signal.SIGKILL: ", as by the system where memory is short",
}

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one examination may take: computing time and memory, and silence while it does neither."""

    cpu_seconds: int
    memory_bytes: int
    hang_seconds: float = 30.0

    @property
    def megabytes(self) -> int:
        """The memory, as it is configured."""
        return self.memory_bytes // 1024**2

    def brief(self) -> Bounds:
        """Return what is left of them where a person waits for the answer."""
        return replace(self, cpu_seconds=1, hang_seconds=2.0)

    def for_pictures(self) -> Bounds:
        """Return what a picture may take: it is nothing that has to be."""
        return replace(self, cpu_seconds=min(5, self.cpu_seconds), hang_seconds=5.0)


def bounds_of(config: Config) -> Bounds:
    """Return what one examination may take."""
    limits = config.limits
    return Bounds(limits.examination_seconds, limits.examination_mb * 1024 * 1024)


class _BrokenError(Exception):
    """An examiner did not come through; its text is a sentence."""


class _Examiner:
    """One process. Whoever has it, has it alone."""

    def __init__(self, module: str, bounds: Bounds) -> None:
        self._bounds = bounds
        self.files = 0
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        numbers = map(str, (bounds.memory_bytes, bounds.cpu_seconds, os.getpid()))
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, and numbers
                [sys.executable, "-BP", "-m", module, *numbers],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C in a terminal is for the daemon, which stops in order
            )
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def hears(self, seconds: float, stopping: threading.Event) -> bytes | None:
        """Return what it says, nothing where it ended, None where it says nothing for so long.

        Raises:
            OSError: the daemon stops.
        """
        for _ in range(math.ceil(seconds / _TICK_SECONDS)):
            if self._poll.poll(_TICK_SECONDS * 1000):
                try:
                    return self._channel.recv(MESSAGE_BYTES + 1)
                except ConnectionResetError:
                    return b""
            if stopping.is_set():
                raise OSError(errno.ECANCELED, "the daemon is stopping")
        return None

    def await_start(self, stopping: threading.Event) -> None:
        """Return when it is ready.

        Raises:
            OSError: it does not start.
        """
        said = self.hears(_START_SECONDS, stopping)
        if said != READY:
            raise _not_started("it says nothing" if said is None else self._how_it_ended())

    def ask(self, descriptor: int, name: str, limits: Limits) -> None:
        """Have it judge an open file."""
        self.files += 1
        try:
            socket.send_fds(self._channel, [question(name, limits)], [descriptor])
        except (BrokenPipeError, ConnectionResetError):
            raise _BrokenError(self._how_it_ended()) from None

    def ask_for_picture(self, descriptor: int, mime_type: str, max_pixels: int) -> None:
        """Have it draw the first page of an open file."""
        self.files += 1
        socket.send_fds(self._channel, [drawing_question(mime_type, max_pixels)], [descriptor])

    def picture(self, stopping: threading.Event) -> bytes:
        """Return what it has drawn; nothing where it could not.

        Raises:
            ValueError: what it says makes no sense.
            OSError: it ended, it hangs, or the daemon stops.
        """
        size = read_size(self._next(stopping))
        picture = b""
        while len(picture) < size:
            picture += self._next(stopping)
        if picture and not picture.startswith(_JPEG_MARK):
            raise ValueError("it is no picture")
        return picture

    def _next(self, stopping: threading.Event) -> bytes:
        said = self.hears(self._bounds.cpu_seconds + self._bounds.hang_seconds, stopping)
        if not said:
            raise ChildProcessError(errno.ECHILD, "the examiner hangs" if said is None else self._how_it_ended())
        return said

    def answer(self, path: Path, size: int, stopping: threading.Event) -> Judgement:
        """Return what it says of the file, of which it reads `size` bytes at the most.

        Raises:
            _BrokenError: it crashed, took too much, hung, or says nothing that makes sense.
            OSError: the disk does not give the file, or the daemon stops.
        """
        said = self.hears(self._bounds.hang_seconds + size / _SLOWEST_BYTES, stopping)
        if said is None:
            raise self._why_silent(path)
        if not said:
            raise _BrokenError(self._how_it_ended())
        try:
            found = read_answer(said)
        except ValueError:
            raise _BrokenError("The examiner said something that makes no sense.") from None
        if isinstance(found, str):
            raise _BrokenError(f"The examiner failed: {found}.")
        if isinstance(found, OSError):
            raise OSError(found.errno, found.strerror, str(path))
        return found

    def _why_silent(self, path: Path) -> Exception:
        """Say whose fault it is that it neither answers nor ends: the file's, or the system's."""
        state, cpu_seconds = self._state()
        if cpu_seconds >= self._bounds.cpu_seconds:
            return _BrokenError(self._too_long)
        if state == "S" and not self._is_reading():
            return _BrokenError("The examiner hung: it neither computed nor read the file.")
        return TimeoutError(
            errno.ETIMEDOUT, "takes too long to be read; is the disk or the machine overloaded?", str(path)
        )

    def _state(self) -> tuple[str, float]:
        """Return the state of its only thread, and for how long it has computed since it began; see proc(5)."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            return "", 0.0
        return fields[0], (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS

    def _is_reading(self) -> bool:
        """Whether it waits in a system call on the file; some network file systems sleep in the usual way there."""
        try:
            call = Path(f"/proc/{self.pid}/syscall").read_text("ascii").split()
        except OSError:
            return True  # it cannot be told, so it is not held against the file
        return len(call) > 1 and int(call[1], 16) == FILE_DESCRIPTOR

    @property
    def _too_long(self) -> str:
        return (
            f"The examiner computed for more than {self._bounds.cpu_seconds} seconds (limits.examination_seconds) "
            "without coming to an end."
        )

    def _how_it_ended(self) -> str:
        """Return how it ended, as a sentence."""
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return "The examiner fell silent."
        if code == -signal.SIGXCPU:
            return self._too_long
        if code == EXIT_OUT_OF_MEMORY:
            return f"The examiner needed more than {self._bounds.megabytes:,} MB of memory (limits.examination_mb)."
        if code >= 0:
            return f"The examiner ended with exit code {code}."
        return f"The examiner was ended by {_signal_name(-code)}{_HINTS.get(-code, '')}."

    def end(self) -> None:
        """Kill it; one that hangs in the kernel ends when that lets go."""
        self._channel.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)


def _environment() -> dict[str, str]:
    """Return what an examiner gets of ours: how it finds the same code, and no secrets."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _not_started(why: object) -> OSError:
    """Return the error for that; a number of its own keeps it from being taken for something about the file."""
    return ChildProcessError(errno.ECHILD, f"no examiner can be started: {why}")


class Examiners:
    """Examines files in processes of their own, until `stopping`; `module` is what they run.

    So many idle ones are `kept`; with none of them each file has a process to itself.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        stopping: threading.Event | None = None,
        is_logged: bool = True,
        module: str = "receipt_watcher.examiner",
        kept: int = _KEPT,
    ) -> None:
        self._bounds = bounds
        self._stopping = stopping or threading.Event()
        self._is_logged = is_logged
        self._module = module
        self._kept = kept
        self._lock = threading.Lock()
        self._idle: list[_Examiner] = []
        self._ending: list[_Examiner] = []
        self._starter: ThreadPoolExecutor | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all examiners; harmless when called twice. What a thread still waits for ends with an OSError."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            starter, self._starter = self._starter, None
        for examiner in idle:
            examiner.end()
        if starter is not None:
            starter.shutdown()

    def examine(self, path: Path, limits: Limits) -> Examination:
        """Examine the file at `path`, which nobody else moves meanwhile.

        Raises:
            OSError: the system's own trouble, FileNotFoundError among it; never for what the file contains.
        """
        try:
            with disk.open_plainly(path) as file:
                return self._examine(file.fileno(), path, limits)
        except PermissionError:
            return unreadable(path)

    def draw(self, descriptor: int, mime_type: str, max_pixels: int) -> bytes | None:
        """Return a picture (JPEG) of the first page of an open file; None where none can be drawn.

        Raises:
            OSError: no examiner can be started, or the daemon stops.
        """
        with self._lent(fresh=True) as examiner:
            try:
                examiner.ask_for_picture(descriptor, mime_type, max_pixels)
                return examiner.picture(self._stopping) or None
            except (OSError, ValueError) as error:
                if self._stopping.is_set():
                    raise OSError(errno.ECANCELED, "the daemon is stopping") from error
                return None

    def _examine(self, descriptor: int, path: Path, limits: Limits) -> Examination:
        try:
            return self._examine_once(descriptor, path, limits, fresh=False)
        except _BrokenError as error:
            self._tell(path, error, "tried once more, in a fresh one")
        try:
            return self._examine_once(descriptor, path, limits, fresh=True)
        except _BrokenError as error:
            self._tell(path, error, "the file is refused")
            size, sha256 = disk.read_digest(descriptor, MAX_DIGEST_BYTES)
            return Examination(size, sha256, None, Refusal(Reason.UNEXAMINABLE, str(error)))

    def _tell(self, path: Path, error: _BrokenError, advice: str) -> None:
        if self._is_logged:
            logger.warning("examiner.broke", path=disk.display_name(path), why=str(error), advice=advice)

    def _examine_once(self, descriptor: int, path: Path, limits: Limits, *, fresh: bool) -> Examination:
        with self._lent(fresh=fresh) as examiner:
            examiner.ask(descriptor, path.name, limits)
            size, sha256 = disk.read_digest(descriptor, MAX_DIGEST_BYTES)  # while the other looks at it
            found = examiner.answer(path, min(size, limits.max_file_bytes), self._stopping)
        if found.size != size:
            return Examination(size, sha256, None, Refusal(Reason.INCOMPLETE, "It changed while it was examined."))
        return Examination(size, sha256, found.mime_type, found.refusal)

    @contextlib.contextmanager
    def _lent(self, *, fresh: bool) -> Iterator[_Examiner]:
        """Lend an examiner; one with which anything went wrong is not used again."""
        examiner = (None if fresh else self._idle_one()) or self._started()
        is_fine = False
        try:
            yield examiner
            is_fine = examiner.files < _FILES_EACH
        finally:
            with self._lock:
                is_kept = is_fine and not self._is_closed and len(self._idle) < self._kept
                if is_kept:
                    self._idle.append(examiner)
            if not is_kept:
                self._end(examiner)

    def _idle_one(self) -> _Examiner | None:
        with self._lock:
            while self._idle:
                examiner = self._idle.pop()
                if not examiner.has_ended:
                    return examiner
                examiner.end()
        return None

    def _started(self) -> _Examiner:
        """Start one.

        Raises:
            OSError: that is not possible now.
        """
        with self._lock:
            if self._is_closed:
                raise OSError(errno.ECANCELED, "the daemon is stopping")
            # The kernel kills an examiner when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).
            self._starter = self._starter or ThreadPoolExecutor(1, "examiners", initializer=leave_core)
            started = self._starter.submit(_Examiner, self._module, self._bounds)
        try:
            examiner = started.result()
        except OSError as error:
            raise _not_started(error) from error
        try:
            examiner.await_start(self._stopping)
        except BaseException:
            self._end(examiner)
            raise
        return examiner

    def _end(self, examiner: _Examiner) -> None:
        """End one, and look again for those that did not want to end before."""
        examiner.end()
        with self._lock:
            self._ending = [each for each in (*self._ending, examiner) if not each.has_ended]
