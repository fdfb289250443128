"""Builds daemons and starts them, and says so to systemd.

What it promises: a start that fails leaves nothing running. The status line begins with what the last reload refused.

The main thread is in here. A crash is a restart.
"""

from __future__ import annotations

import contextlib
import time

from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.monitoring import Logging
from receipt_watcher.errors import JobLogError
from receipt_watcher.service import wiring
from receipt_watcher.service.daemon_parts import RunOptions
from receipt_watcher.service.logging import setup
from receipt_watcher.service.process.daemon import Daemon
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.service.systemd import Systemd
from receipt_watcher.service.watchdog import WorkWatchdog

#: Time limit of a start, for example if a long log is migrated or many folders are recovered. By taste.
_START_MOST_SECONDS = 900.0

#: Time that a stop needs beyond its limit, to write down and to close.
_CLOSING_SECONDS = 15.0

#: A reload accepts nothing that the command line accepted at the start.
_RELOADED = RunOptions()


class Launcher:
    """Builds, starts and stops the daemons of one process, one after the other."""

    def __init__(self, systemd: Systemd, resources: HeldResources, logging: Logging) -> None:
        self.systemd = systemd
        self.watchdog = WorkWatchdog(systemd, time.monotonic)
        self.refusal = ""  # of the last reload, as it begins the status
        self._resources = resources
        self._logging = logging  # as it was configured last

    def built(self, config: Config, options: RunOptions = _RELOADED) -> Daemon:
        """Return a daemon that is not started."""
        parts = wiring.build(config, self._resources, options)
        return Daemon(parts, self._resources, send_status=self._send_status if self.systemd.listens else None)

    def run_watchdog(self) -> None:
        """Have the watchdog run, which waits for the first start."""
        self.watchdog.grant(_START_MOST_SECONDS)
        self.watchdog.start()

    def start(self, daemon: Daemon, *, is_first: bool = False, for_the_next: bool = False) -> None:
        """Start a daemon, or leave nothing of it running; with `for_the_next`, requests then wait for another one.

        Raises:
            ReceiptWatcherError: it could not be started.
        """
        try:
            daemon.start(after_another=not is_first)
        except BaseException:
            daemon.stop(for_the_next=for_the_next)
            raise
        self.watchdog.follow(daemon.progress.standing_still)
        self.notify_ready(daemon)

    def notify_ready(self, daemon: Daemon) -> None:
        """Tell systemd that a daemon works, and what it does."""
        words = ""
        if self.systemd.listens:
            with contextlib.suppress(JobLogError):  # its log line, and health, say so
                words = daemon.parts.reports.overview.in_one_line()
        self.systemd.ready(self.refusal + words)

    def stop(self, daemon: Daemon) -> bool:
        """Stop a daemon for good; return whether every thread ended by itself."""
        self.systemd.stopping()
        stop_seconds = daemon.parts.shared.config.limits.stop_timeout_seconds + _CLOSING_SECONDS
        self.watchdog.grant(stop_seconds)
        self.systemd.extend(stop_seconds)
        return daemon.stop()

    def grant_replacement(self, answer_seconds: float) -> None:
        """Let the watchdog wait for a daemon that ends within so many seconds, and for the start of the next one."""
        self.watchdog.grant(answer_seconds + _CLOSING_SECONDS + _START_MOST_SECONDS)

    def log_as(self, config: Config) -> None:
        """Write the log as a configuration says from now on."""
        if config.logging != self._logging:
            setup.configure(config.logging.level, config.logging.format)
        self._logging = config.logging

    def _send_status(self, words: str) -> None:
        self.systemd.status(self.refusal + words)
