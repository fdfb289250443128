"""What a signal handler may set while the main thread waits for it.

A threading.Event is none: its lock is not reentrant, and a handler runs in the main thread, perhaps just when that
holds it. A byte in a pipe needs no lock.
"""

from __future__ import annotations

import os
import select


class StopSignal:
    """Set once, by a signal handler or any thread; waited for by the main thread."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_set = False

    def set(self) -> None:
        """End every wait, now and later."""
        if not self._is_set:
            self._is_set = True
            os.write(self._writer, b".")

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Return True as soon as it is set, False when the time is over before."""
        return bool(select.select([self._reader], [], [], timeout_seconds)[0])
