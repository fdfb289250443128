"""Write log lines to a stream that may block: a pipe that nobody reads, a terminal that is stopped, a full socket.

What it promises: no line keeps a thread for longer than a second, and once the stream takes nothing, lines are dropped
at once and counted until it takes something again. A disk that is full, or a reader that left, costs lines as well.
A line that was cut is ended before the next one.

Any thread may write. A file whose disk hangs can still hold a thread up: the kernel calls it writable.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TextIO

#: Longest wait, once, for a stream that takes nothing. The same as for the journal.
_PATIENCE_SECONDS = 1.0

#: A pipe that is writable takes this much without blocking (PIPE_BUF, pipe(7)).
_PIECE_BYTES = 4096


class LogStream:
    """A stream whose own trouble costs log lines and never ends or delays a loop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._lock = threading.Lock()
        self._is_cut = False  # the last line has no end
        self._lost = 0
        self.is_clogged = False

    def write(self, text: str) -> bool:
        """Write a line, and return whether it went out whole."""
        descriptor = self._descriptor()
        if descriptor is None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
            return True
        with self._lock:
            line = text.encode(self._encoding, "backslashreplace")
            is_written = self._wrote(descriptor, b"\n" + line if self._is_cut else line)
            self.is_clogged = not is_written
            self._lost += not is_written
            return is_written

    def flush(self) -> None:
        """Flush what a stream without a descriptor keeps."""
        if self._descriptor() is None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    @property
    def trouble(self) -> str | None:
        """Why lines are lost now, in words; None if they are not."""
        if not self.is_clogged:
            return None
        return f"{self._lost} log lines are lost so far: nobody reads the standard error output, or its disk is full"

    def take_lost(self) -> int:
        """Return how many lines were lost since this was asked last; 0 while lines are still lost."""
        with self._lock:
            if self.is_clogged:
                return 0
            lost, self._lost = self._lost, 0
            return lost

    def keep_lost(self, lines: int) -> None:
        """Count lines that were lost again: that they were could not be told."""
        with self._lock:
            self._lost += lines

    def _descriptor(self) -> int | None:
        try:
            return self._stream.fileno()
        except (OSError, ValueError, AttributeError):  # it is in memory, or closed
            return None

    def _wrote(self, descriptor: int, line: bytes) -> bool:
        """Write a line piece by piece, each when it does not block; return False if the stream takes no more."""
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        at = 0
        while at < len(line):
            if not poll.poll(0 if self.is_clogged else _PATIENCE_SECONDS * 1000):
                self._is_cut = self._is_cut or at > 0
                return False
            try:
                at += os.write(descriptor, line[at : at + _PIECE_BYTES])
            except OSError:  # the reader left, the disk is full, or another process was faster
                self._is_cut = self._is_cut or at > 0
                return False
        self._is_cut = False
        return True
