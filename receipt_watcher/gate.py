"""The gate of one inbox: open while its folders are there, and then everything that has settled comes in.

What it promises: a folder that is away closes this gate only, is said once, and opens it again by itself; what a
crash or an error left in processing/ is recorded before anything new is taken. Old files at the very first start
wait until somebody accepts them.

`round` is called by the inbox's own thread, `open_first` by the main thread before that one starts. Nothing is kept
here that a crash could lose.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from receipt_watcher.errors import ForeignSpoolError, LockedError, SpoolError
from receipt_watcher.filing import Filing
from receipt_watcher.inbox import BLOCKED_PAUSE_SECONDS, InboxWatch
from receipt_watcher.joblog import JobLog
from receipt_watcher.route import Bell, Route
from receipt_watcher.takein import BATCH_FILES, TakeIn

logger = structlog.get_logger()

#: How soon a folder that is away is looked for again.
RETRY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a gate needs of the configuration and the command line."""

    installation_id: Callable[[], str]
    take_over: bool
    accept_backlog: bool
    backlog_files: int


class Gate:
    """One inbox, its spool, and the thread that takes in."""

    def __init__(
        self,
        route: Route,
        watch: InboxWatch,
        bell: Bell,
        settings: GateSettings,
        *,
        log: JobLog,
        take_in: TakeIn,
        filing: Filing,
        ring: Callable[[], None],
        stopping: threading.Event,
        monotonic: Callable[[], float],
    ) -> None:
        self.route = route
        self.watch = watch
        self.bell = bell
        self.unavailable: str | None = None  # why nothing is taken now: for the log, health and status
        self.is_idle = False  # the last round left nothing to settle or to take
        self._settings = settings
        self._log = log
        self._take_in = take_in
        self._filing = filing
        self._ring = ring
        self._stopping = stopping
        self._monotonic = monotonic
        self._recover_at: float | None = None  # when files that are left in processing/ are tried again

    def open_first(self) -> None:
        """Open at start; what is away is waited for, what is somebody else's is an error now.

        Raises:
            ForeignSpoolError: the spool belongs to another installation.
            LockedError: another daemon is using it.
        """
        try:
            self._open()
        except (OSError, SpoolError) as error:
            self._shut(str(error))

    def round(self) -> float:
        """Open if need be, take in what has settled, and return how long to wait for the bell, in seconds."""
        self.is_idle = False
        try:
            if not self.route.is_ready:
                self._open()
            self._recover_if_due()
            if self._waits_for_acceptance():
                return RETRY_SECONDS
            settled = self.watch.settled(self._monotonic(), BATCH_FILES)
            if settled and not self._stopping.is_set():
                self._take(settled)
        except (OSError, SpoolError, ForeignSpoolError, LockedError) as error:
            self._shut(str(error))
            return RETRY_SECONDS
        self.is_idle = len(self.watch.settler) == 0  # what was taken is in the log by now
        return self.watch.next_due() - self._monotonic()

    def close(self) -> None:
        """Stop watching and give the spool back; harmless when called twice."""
        self.route.is_ready = False
        self.watch.stop()
        self.route.spool.close()

    # --- opening and shutting ----------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the spool, finish what a crash left there, then watch the inbox and let the stages see it."""
        self.route.spool.open(self._settings.installation_id(), take_over=self._settings.take_over)
        while self._filing.file_away(self.route):
            pass
        self._recover()
        self.watch.start()
        self.route.is_ready = True
        self._tell_available()
        self._ring()

    def _shut(self, why: str) -> None:
        self.close()
        self._tell_unavailable(why)

    def _tell_unavailable(self, why: str) -> None:
        if self.unavailable is None:
            logger.error("inbox.unavailable", inbox=self.route.name, why=why)
        self.unavailable = why

    def _tell_available(self) -> None:
        if self.unavailable is not None:
            logger.info("inbox.available", inbox=self.route.name)
            self.unavailable = None

    def _waits_for_acceptance(self) -> bool:
        """Whether old files wait at the very first start, so that nobody books ten years of scans by accident."""
        fact = f"inbox_started:{self.route.name}"
        if self.watch.scanned_at is not None or self._log.fact(fact) is not None:
            return False
        waiting = sum(1 for _ in self.watch.files())
        if waiting > self._settings.backlog_files and not self._settings.accept_backlog:
            self._tell_unavailable(
                f"{waiting} files were here before the first start, more than limits.backlog_files "
                f"({self._settings.backlog_files}); move away what is not to be booked, or start once with "
                "--accept-backlog"
            )
            return True
        self._log.keep_fact(fact, str(waiting))
        self._tell_available()
        return False

    # --- taking in ---------------------------------------------------------------------------------------------

    def _take(self, settled: list[Path]) -> None:
        self._recover_at = self._monotonic()  # unless all goes well: an error in the middle leaves orphans
        self._take_in.take_in(self.route, settled, self._tell_blocked)
        self._plan_recovery()

    def _recover_if_due(self) -> None:
        if self._recover_at is not None and self._recover_at <= self._monotonic():
            self._recover()

    def _recover(self) -> None:
        self._take_in.recover(self.route)
        self._plan_recovery()

    def _plan_recovery(self) -> None:
        is_due = self._take_in.left(self.route) > 0
        self._recover_at = self._monotonic() + BLOCKED_PAUSE_SECONDS if is_due else None

    def _tell_blocked(self, relative: Path, why: str) -> None:
        signature = self.watch.signature_of(str(relative))
        if signature is not None:
            self.watch.settler.blocked(str(relative), signature, why, self._monotonic())
        logger.warning(
            "file.blocked",
            inbox=self.route.name,
            filename=relative.name,
            why=why,
            advice=f"the service's user must be able to rename files in {self.watch.path}",
        )
