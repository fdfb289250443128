"""What ends the program: SIGTERM, SIGINT, SIGHUP, waited for by the main thread.

A threading.Event is no help here. Its lock is not reentrant, and a handler runs in the main thread, perhaps just when
that holds it; and the kernel may hand a signal to another thread, which does not wake the main one. So Python writes
a byte into a pipe for each signal, in whatever thread it comes (signal.set_wakeup_fd), and the main thread waits for
that byte.
"""

from __future__ import annotations

import os
import select
import signal
import time

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignal:
    """Set once, by a signal or by anybody; waited for by the main thread."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_set = False

    def listen(self) -> None:
        """Take the first of `SIGNALS` as the word to stop; a second one ends the process at once."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._is_set:
            os._exit(128 + number)
        self._is_set = True

    def set(self) -> None:
        """End every wait, now and later."""
        self._is_set = True
        os.write(self._writer, b".")

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Return True as soon as it is set, False when the time is over before."""
        ends_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self._is_set:
            left = None if ends_at is None else ends_at - time.monotonic()
            if left is not None and left <= 0:
                break
            if select.select([self._reader], [], [], left)[0]:
                os.read(self._reader, 4096)  # other signals leave bytes, too
        return self._is_set
