"""One examiner: a process that judges or draws receipts, one file at a time, as seen by the daemon.

What it promises: each question has an answer, or an error that says whose fault it is: the file's (`BrokenError`), or
the system's (OSError): the disk hangs, the daemon stops, or somebody ended the process from outside. The kernel ends
it when the thread that started it ends. It gets no secrets of the daemon's environment.

One thread at a time uses it. Nothing is kept on disk.
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
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from receipt_watcher.config.options import Config
from receipt_watcher.examine.result import (
    EXIT_OUT_OF_MEMORY,
    FILE_DESCRIPTOR,
    MESSAGE_BYTES,
    READY,
    FileLimits,
    Judgement,
    drawing_question,
    question,
    read_answer,
    read_size,
)
from receipt_watcher.system.display import MEBIBYTE, as_sentence

#: The beginning of a picture that is handed over.
_JPEG_MARK = b"\xff\xd8\xff"

#: An examiner may take so long to start, and to end once it was killed.
_START_SECONDS = 30.0
_END_SECONDS = 1.0

#: A stop is noticed so soon while an examiner works.
TICK_SECONDS = 0.25

#: A disk that gives less than this in a second is taken for one that hangs.
_SLOWEST_BYTES = 1 << 20

#: The meaning of the signal that ended an examiner.
_FAULT = ", as by a fault in a library"
_GIVES_UP = ", as by libraries that get no more memory (limits.examination_mb), or find themselves in disorder"
_FROM_OUTSIDE = " from outside, as by the system when memory is short"
_HINTS: dict[int, str] = {
    signal.SIGABRT: _GIVES_UP,
    signal.SIGTRAP: _GIVES_UP,
    signal.SIGSEGV: _FAULT,
    signal.SIGBUS: _FAULT,
}

#: The signals by which a file can end its examiner. No other one comes from within: memory and computing time have
#: limits of their own, which end it otherwise.
_OF_THE_FILE = frozenset(
    {
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT),
        *(signal.SIGTRAP, signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ),
    }
)

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one examination: computing time and memory, and silence while it does neither."""

    cpu_seconds: int
    memory_bytes: int
    hang_seconds: float = 30.0

    @property
    def megabytes(self) -> int:
        """The memory, as it is configured."""
        return self.memory_bytes // MEBIBYTE

    def brief(self) -> Bounds:
        """Return the tighter bounds for an answer that a person waits for."""
        return replace(self, cpu_seconds=1, hang_seconds=2.0)

    def for_pictures(self) -> Bounds:
        """Return the tighter bounds for previews, which are optional."""
        return replace(self, cpu_seconds=min(5, self.cpu_seconds), hang_seconds=5.0)


def bounds_of(config: Config) -> Bounds:
    """Return the bounds of one examination."""
    limits = config.limits
    return Bounds(limits.examination_seconds, limits.examination_bytes)


def file_limits_of(config: Config) -> FileLimits:
    """Return the limits of the size of a receipt."""
    return FileLimits(config.limits.max_file_bytes, config.limits.max_pixels)


class BrokenError(Exception):
    """The file broke its examiner; the text is a sentence."""


class EndedFromOutsideError(ChildProcessError):
    """Somebody ended the examiner: an admin, or the system because memory was short. It is no fault of the file."""

    def __str__(self) -> str:
        return str(self.strerror)


class Examiner:
    """One process, lent to one thread at a time."""

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
        """The id of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def hears(
        self, seconds: float, stopping: threading.Event, while_silent: Callable[[], None] = lambda: None
    ) -> bytes | None:
        """Return the next message, nothing if the process ended, None if it stays silent for this long.

        Raises:
            OSError: the daemon stops.
        """
        for _ in range(math.ceil(seconds / TICK_SECONDS)):
            if self._poll.poll(TICK_SECONDS * 1000):
                try:
                    return self._channel.recv(MESSAGE_BYTES + 1)
                except ConnectionResetError:
                    return b""
            if stopping.is_set():
                raise OSError(errno.ECANCELED, "the daemon is stopping")
            while_silent()
        return None

    def await_start(self, stopping: threading.Event) -> None:
        """Wait until the process is ready.

        Raises:
            OSError: it does not start.
        """
        message = self.hears(_START_SECONDS, stopping)
        if message != READY:
            raise not_started("it says nothing" if message is None else self._how_it_ended())

    def ask(self, descriptor: int, name: str, limits: FileLimits) -> None:
        """Send the process an open file to judge.

        Raises:
            BrokenError: it has ended.
            EndedFromOutsideError: somebody ended it.
        """
        self._send(question(name, limits), descriptor)

    def ask_for_picture(self, descriptor: int, mime_type: str, max_pixels: int) -> None:
        """Send the process an open file whose first page it draws; raise as `ask`."""
        self._send(drawing_question(mime_type, max_pixels), descriptor)

    def _send(self, message: bytes, descriptor: int) -> None:
        self.files += 1
        try:
            socket.send_fds(self._channel, [message], [descriptor])
        except (BrokenPipeError, ConnectionResetError):
            raise self._why_it_ended() from None

    def picture(self, stopping: threading.Event) -> bytes:
        """Return the picture, without bytes if none could be drawn.

        Raises:
            ValueError: what it says makes no sense.
            BrokenError: it ended.
            EndedFromOutsideError: somebody ended it.
            OSError: it hangs, or the daemon stops.
        """
        size = read_size(self._next(stopping))
        picture = b""
        while len(picture) < size:
            picture += self._next(stopping)
        if picture and not picture.startswith(_JPEG_MARK):
            raise ValueError("it is no picture")
        return picture

    def _next(self, stopping: threading.Event) -> bytes:
        message = self.hears(self._bounds.cpu_seconds + self._bounds.hang_seconds, stopping)
        if message is None:
            raise ChildProcessError(errno.ECHILD, "the examiner hangs")
        if not message:
            raise self._why_it_ended()
        return message

    def answer(
        self, path: Path, size: int, stopping: threading.Event, while_silent: Callable[[], None] = lambda: None
    ) -> Judgement:
        """Return the judgement of a file of at most `size` bytes; `while_silent` is called meanwhile.

        Raises:
            BrokenError: it crashed, took too much, hung, or says nothing that makes sense.
            EndedFromOutsideError: somebody ended it.
            OSError: the disk does not give the file, or the daemon stops.
        """
        message = self.hears(self._bounds.hang_seconds + size / _SLOWEST_BYTES, stopping, while_silent)
        if message is None:
            raise self._why_silent(path)
        if not message:
            raise self._why_it_ended()
        try:
            answer = read_answer(message)
        except ValueError:
            raise BrokenError("The examiner said something that makes no sense.") from None
        if isinstance(answer, str):
            raise BrokenError(as_sentence(f"The examiner failed: {answer}"))
        if isinstance(answer, OSError):
            raise OSError(answer.errno, answer.strerror, str(path))
        return answer

    def _why_silent(self, path: Path) -> Exception:
        """Return the error for a process that neither answers nor ends: the file's, or the system's."""
        state, cpu_seconds = self._state()
        if cpu_seconds >= self._bounds.cpu_seconds:
            return BrokenError(self._too_long)
        if state == "S" and not self._is_reading():
            return BrokenError("The examiner hung: it neither computed nor read the file.")
        return TimeoutError(
            errno.ETIMEDOUT, "takes too long to be read; is the disk or the machine overloaded?", str(path)
        )

    def waits_for_disk(self) -> bool:
        """Return whether the process is idle because the file system does not answer."""
        state, _ = self._state()
        return state == "D" or (state == "S" and self._is_reading())

    def _state(self) -> tuple[str, float]:
        """Return the state of the only thread, and its computing time in seconds; see proc(5)."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            return "", 0.0
        return fields[0], (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS

    def _is_reading(self) -> bool:
        """Return whether it waits in a system call on the file: some network file systems sleep interruptibly."""
        try:
            call = Path(f"/proc/{self.pid}/syscall").read_text("ascii").split()
        except OSError:
            return True  # unknown, so the file is not blamed
        return len(call) > 1 and int(call[1], 16) == FILE_DESCRIPTOR

    @property
    def _too_long(self) -> str:
        return (
            f"The examiner computed for more than {self._bounds.cpu_seconds} seconds (limits.examination_seconds) "
            "without coming to an end."
        )

    def _why_it_ended(self) -> Exception:
        """Return the error for the end of the process: the file's, or the system's."""
        cause = self._how_it_ended()
        code = self._process.returncode
        if code is not None and code < 0 and -code not in _OF_THE_FILE:
            return EndedFromOutsideError(errno.ECHILD, cause.removesuffix("."))
        return BrokenError(cause)

    def _how_it_ended(self) -> str:
        """Return how the process ended, as a sentence."""
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
        hint = _HINTS.get(-code, "" if -code in _OF_THE_FILE else _FROM_OUTSIDE)
        return f"The examiner was ended by {_signal_name(-code)}{hint}."

    def end(self) -> None:
        """Kill the process; one that hangs in the kernel ends when the kernel returns."""
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


def not_started(why: object) -> OSError:
    """Return the error for an examiner that does not start; its number is never one about the file."""
    return ChildProcessError(errno.ECHILD, f"no examiner can be started: {why}")
