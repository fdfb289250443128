"""The service: one daemon after the other in the same process, and what systemd is told of them.

What it promises: READY=1 when the inboxes are watched and the port is bound; a reload (SIGHUP) reads the configuration
again, and either all of it is in force or none: one with mistakes, or that cannot be started with, is refused with
words, also to the command that asked for it, and the one before goes on. A reload lets each delivery end as a stop
does, but gives it all the time that its answer may take; meanwhile the lock and the port stay ours, and callbacks wait
for the next daemon to answer. So a reload sends nothing twice. Options that only a restart changes are refused.

The main thread is in here all the time. A crash is a restart, also amid a reload.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, MutableMapping

import structlog

from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.monitoring import Logging
from receipt_watcher.errors import ConfigError, JobLogError, Problem, ReceiptWatcherError
from receipt_watcher.service import wiring
from receipt_watcher.service.daemon_parts import RunOptions
from receipt_watcher.service.logging import setup
from receipt_watcher.service.process.daemon import Daemon
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.service.process.reload_answer import Outcomes
from receipt_watcher.service.process.signals import StopSignal
from receipt_watcher.service.systemd import Systemd, handed_over, systemd_of
from receipt_watcher.service.watchdog import WorkWatchdog
from receipt_watcher.system.runtime_dir import runtime_folder

logger = structlog.get_logger()

#: How long a start may take, where a long log is migrated or many folders are recovered. By taste.
START_MOST_SECONDS = 900.0

#: What a stop needs beyond its limit, to write down and to close.
_CLOSING_SECONDS = 15.0

#: How soon a stop is noticed while a reload waits for answers.
_LOOK_SECONDS = 0.2

#: A reload accepts nothing that the command line accepted at the start.
_RELOADED = RunOptions()

#: The options that only a restart changes: those by which another process knows us.
FIXED_OPTIONS = (
    *("state_dir", "database.url"),
    *("http.host", "http.port", "http.uds", "http.tls_certificate", "http.tls_key"),
)


class Service:
    """What runs from the first daemon to the last."""

    def __init__(self, systemd: Systemd, resources: HeldResources, stop: StopSignal, options: RunOptions) -> None:
        self._systemd = systemd
        self._resources = resources
        self._stop = stop
        self._options = options
        self._watchdog = WorkWatchdog(systemd, time.monotonic)
        self._logging: Logging | None = None  # as it was configured last
        self._refusal = ""  # of the last reload, as it begins the status
        self._refused: list[str] = []  # by the last reload

    def run(self, config: Config, reread: Callable[[], Config], outcomes: Outcomes) -> bool:
        """Run until the stop signal; return whether every thread ended by itself.

        `outcomes` is told what becomes of each reload.

        Raises:
            ReceiptWatcherError: it could not be started.
        """
        self._logging = config.logging
        self._watchdog.grant(START_MOST_SECONDS)
        self._watchdog.start()
        try:
            self._resources.take(config.http)
            daemon = self._built(config, self._options)
            self._start(daemon, is_first=True)
            while not self._stop.wait():
                self._stop.forget_reload()
                self._refused = []
                daemon = self._reload(daemon, reread)
                outcomes.tell(self._refused)
            return self._stopped(daemon)
        finally:
            self._watchdog.stop()
            self._resources.release()

    def _built(self, config: Config, options: RunOptions = _RELOADED) -> Daemon:
        parts = wiring.build(config, self._resources, options)
        return Daemon(parts, self._resources, send_status=self._send_status if self._systemd.listens else None)

    def _send_status(self, words: str) -> None:
        self._systemd.status(self._refusal + words)

    def _log_as(self, config: Config) -> None:
        if config.logging != self._logging:
            setup.configure(config.logging.level, config.logging.format)
        self._logging = config.logging

    def _start(self, daemon: Daemon, *, is_first: bool = False, for_the_next: bool = False) -> None:
        """Start a daemon, or leave nothing of it running; with `for_the_next`, requests then wait for another one."""
        try:
            daemon.start(after_another=not is_first)
        except BaseException:
            daemon.stop(for_the_next=for_the_next)
            raise
        self._watchdog.follow(daemon.progress.standing_still)
        self._ready(daemon)

    def _ready(self, daemon: Daemon) -> None:
        words = ""
        if self._systemd.listens:
            with contextlib.suppress(JobLogError):  # its log line, and health, say so
                words = daemon.parts.reports.overview.in_one_line()
        self._systemd.ready(self._refusal + words)

    def _stopped(self, daemon: Daemon) -> bool:
        self._systemd.stopping()
        stop_seconds = daemon.parts.shared.config.limits.stop_timeout_seconds + _CLOSING_SECONDS
        self._watchdog.grant(stop_seconds)
        self._systemd.extend(stop_seconds)
        return daemon.stop()

    # --- reload ------------------------------------------------------------------------------------------------

    def _reload(self, daemon: Daemon, reread: Callable[[], Config]) -> Daemon:
        """Return the daemon that runs from now on: one with the configuration read anew, or the one that ran."""
        self._systemd.reloading(time.monotonic())
        after = self._tried(lambda: self._next(daemon, reread))
        if after is None:
            self._ready(daemon)
            return daemon
        return self._replace(daemon, after)

    def _tried(self, begin: Callable[[], Daemon]) -> Daemon | None:
        """Return what comes of it; None where nothing does, and the new configuration is refused for it."""
        try:
            return begin()
        except (ReceiptWatcherError, OSError) as error:
            self._refuse(error)
        except Exception as error:  # a defect of ours, with which the one that runs has nothing to do
            logger.exception("stage.failed", stage="reload")
            self._refuse(ReceiptWatcherError(f"an error of receipt-watcher itself, which its log has ({error})"))
        return None

    def _next(self, daemon: Daemon, reread: Callable[[], Config]) -> Daemon:
        """Build the next daemon, while this one still runs.

        Raises:
            ReceiptWatcherError: it cannot take this one's place.
        """
        before, config = daemon.parts.shared.config, reread()
        problems = [
            Problem("configuration", key, "cannot change while the service runs", "restart the service instead")
            for key in FIXED_OPTIONS
            if _option(config, key) != _option(before, key)
        ]
        if problems:
            raise ConfigError(problems)
        hanging = [gate.route.name for gate in daemon.parts.stages.gates if gate.is_hanging]
        if hanging:
            raise ReceiptWatcherError(
                f"the file system of the inbox {hanging[0]} answers nothing, so it cannot be given back; reload when "
                "it answers, or restart the service"
            )
        daemon.deadlines.prove_log()
        return self._built(config)

    def _refuse(self, error: Exception) -> None:
        whys = list(map(str, error.problems)) if isinstance(error, ConfigError) else [str(error)]
        self._refused = whys
        for why in whys:
            logger.error("configuration.refused", why=why, advice="mend it and reload; the one before is in force")
        more = f" (and {len(whys) - 1} more)" if len(whys) > 1 else ""
        self._refusal = f"the new configuration was refused: {whys[0]}{more}; "

    def _replace(self, daemon: Daemon, after: Daemon) -> Daemon:
        before = daemon.parts.shared.config
        answer_seconds = before.n8n.timeout_seconds + before.limits.stop_timeout_seconds
        self._watchdog.grant(answer_seconds + _CLOSING_SECONDS + START_MOST_SECONDS)
        daemon.request_stop(for_the_next=True)
        ends_at = time.monotonic() + answer_seconds
        while not self._stop.is_set() and time.monotonic() < ends_at and not daemon.has_ended(_LOOK_SECONDS):
            pass
        if self._stop.is_set():
            return daemon  # whose stop goes on
        daemon.stop(for_the_next=True)
        begun = self._tried(lambda: self._begin(after))
        return begun or self._begin(self._built(before), is_new=False)

    def _begin(self, daemon: Daemon, *, is_new: bool = True) -> Daemon:
        self._log_as(daemon.parts.shared.config)
        if is_new:
            before, self._refusal = self._refusal, ""
            try:
                self._start(daemon, for_the_next=True)
            except BaseException:
                self._refusal = before
                raise
            logger.info("configuration.reloaded", inboxes=len(daemon.parts.stages.routes))
        else:
            self._start(daemon)
        return daemon


def _option(config: Config, key: str) -> object:
    found: object = config
    for name in key.split("."):
        found = getattr(found, name)
    return found


def run(
    config: Config,
    stop: StopSignal,
    reread: Callable[[], Config],
    environ: MutableMapping[str, str],
    *,
    take_over: bool,
    accept_backlog: bool,
) -> bool:
    """Run until `stop` is set; return whether every thread ended by itself.

    `reread` reads the configuration again, for a reload. What systemd says in `environ` is taken out of it.

    Raises:
        ReceiptWatcherError: it could not be started.
    """
    systemd = systemd_of(environ, os.getpid())
    resources = HeldResources(config.state_dir, handed_over(environ, os.getpid()))
    service = Service(systemd, resources, stop, RunOptions(take_over=take_over, accept_backlog=accept_backlog))
    return service.run(config, reread, Outcomes(runtime_folder(config.state_dir, environ)))
