"""The watchdog: feeds systemd's watchdog while work goes on, and says what does not.

What it promises: a ping only when each part that is to go on has gone on within half of the watchdog's time. What
hangs is named in the log, once, with what each thread is doing; systemd then ends the service and starts it again. A
start, a reload and a stop take as long as they were granted, and ask systemd for that time.

It has a thread of its own, which waits for nothing and nobody. The main thread says what is to go on. Where nobody
listens nothing is done. A crash leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import sys
import threading
from collections.abc import Callable

import structlog

from receipt_watcher.service.systemd import Systemd

logger = structlog.get_logger()

#: Interval of requests for more time while a start or a reload goes on, and the time to ask for.
_LOOK_SECONDS = 5.0
_MORE_SECONDS = 30.0

#: Returns, in words, the work without progress for that many seconds; it never blocks.
StandingStill = Callable[[float], list[str]]


def dump_stacks() -> None:
    """Write to standard error what each thread is doing: files, lines and functions, and no values."""
    with contextlib.suppress(OSError, ValueError, AttributeError, io.UnsupportedOperation):
        faulthandler.dump_traceback(sys.stderr, all_threads=True)


class WorkWatchdog:
    """The watch over one process."""

    def __init__(
        self, systemd: Systemd, monotonic: Callable[[], float], dump: Callable[[], object] | None = None
    ) -> None:
        self._systemd = systemd
        self._monotonic = monotonic
        self._dump = dump or dump_stacks
        self._standing_still: StandingStill = lambda _seconds: []
        self._granted_until = 0.0
        self._told: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin."""
        if self._systemd.listens:
            self._thread.start()

    def stop(self) -> None:
        """End; harmless when called twice, or before the start."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(_LOOK_SECONDS)

    def grant(self, seconds: float) -> None:
        """Let what begins now take so long, at most, without a sign of work."""
        self._granted_until = self._monotonic() + seconds
        self._systemd.extend(min(seconds, _MORE_SECONDS))

    def follow(self, standing_still: StandingStill) -> None:
        """Watch these parts from now on; what was granted is over."""
        self._standing_still = standing_still
        self._granted_until = 0.0
        self._told = []

    def check_work(self) -> None:
        """Do one round."""
        if self._monotonic() < self._granted_until:
            self._systemd.extend(_MORE_SECONDS)
            self._systemd.ping()
            return
        watchdog_seconds = self._systemd.watchdog_seconds
        if watchdog_seconds is None:
            return
        hanging = self._standing_still(watchdog_seconds / 2)
        if not hanging:
            self._systemd.ping()
        elif hanging != self._told:
            logger.error("watchdog.withheld", hanging=", ".join(hanging), watchdog_seconds=watchdog_seconds)
            self._dump()
        self._told = hanging

    def _run(self) -> None:
        watchdog_seconds = self._systemd.watchdog_seconds
        pause = _LOOK_SECONDS if watchdog_seconds is None else min(_LOOK_SECONDS, watchdog_seconds / 4)
        while not self._ended.wait(pause):
            self.check_work()
