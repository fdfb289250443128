"""Signals that the main thread waits for: to end (SIGTERM, SIGINT), or to reload (SIGHUP).

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
RELOAD = signal.SIGHUP


class StopSignal:
    """Set once, by a signal or by anybody; waited for by the main thread."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_set = False
        self._reloads = False
        self._reload_is_wanted = False

    def listen(self, *, reloads: bool = False) -> None:
        """Take the first of `SIGNALS` as the word to stop; a second one ends the process at once.

        With `reloads`, SIGHUP is the word to reload. Else it stops, as when a terminal is closed.
        """
        self._reloads = reloads
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == RELOAD and self._reloads:
            self._reload_is_wanted = True
            return
        if self._is_set:
            os._exit(128 + number)
        self._is_set = True

    def set(self) -> None:
        """End every wait, now and later."""
        self._is_set = True
        os.write(self._writer, b".")

    def is_set(self) -> bool:
        """Return whether it was set."""
        return self._is_set

    def forget_reload(self) -> None:
        """Begin a reload: only a signal that comes from now on is the word for another one."""
        self._reload_is_wanted = False

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Return True as soon as it is set, False when the time is over before, or a reload is wanted."""
        ends_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not (self._is_set or self._reload_is_wanted):
            left = None if ends_at is None else ends_at - time.monotonic()
            if left is not None and left <= 0:
                break
            if select.select([self._reader], [], [], left)[0]:
                os.read(self._reader, 4096)  # other signals leave bytes, too
        return self._is_set
