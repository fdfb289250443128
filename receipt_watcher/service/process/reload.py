"""A reload: the configuration is read again, and a daemon with the new one takes the place of the one before.

What it promises: either all of a new configuration is in force or none. One with mistakes, or that no daemon can be
started with, is refused with words, and the one before goes on. A reload lets each delivery end as a stop does, but
gives it all the time that its answer may take; meanwhile the lock and the port stay ours, and callbacks wait for the
next daemon to answer. So a reload sends nothing twice. Options that only a restart changes are refused.

After each reload its outcome (a number, and what was refused) is left whole in the runtime folder. The command that
asks sends SIGHUP and returns when that number has changed: `systemctl reload` ends in an error if it was refused.

The main thread is in here. A crash amid a reload is a restart; the last outcome stays until the next start removes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from receipt_watcher.errors import ConfigError, Problem, ReceiptWatcherError

if TYPE_CHECKING:  # the command that asks for a reload needs no daemon
    from receipt_watcher.config.options import Config
    from receipt_watcher.config.sources.record import ConfigurationRecord
    from receipt_watcher.service.process.daemon import Daemon
    from receipt_watcher.service.process.launcher import Launcher
    from receipt_watcher.service.process.signals import StopSignal

logger = structlog.get_logger()

#: Seconds between two looks for a stop while a reload waits for answers.
_STOP_LOOK_SECONDS = 0.2

_OUTCOME_LOOK_SECONDS = 0.1
_GONE = ("the daemon ended while it reloaded; its log says why",)

#: The options that only a restart changes: those by which another process knows us.
FIXED_OPTIONS = (
    *("state_dir", "database.url"),
    *("http.host", "http.port", "http.uds", "http.tls_certificate", "http.tls_key"),
)


class Reload:
    """The reloads of one process."""

    def __init__(
        self,
        launcher: Launcher,
        stop: StopSignal,
        reread: Callable[[], Config],
        outcomes: ReloadOutcomes,
        record: ConfigurationRecord,
    ) -> None:
        self._launcher = launcher
        self._stop = stop
        self._reread = reread
        self._outcomes = outcomes
        self._record = record
        self._refused: list[str] = []  # by the last reload

    def run(self, daemon: Daemon) -> Daemon:
        """Return the daemon that runs from now on: one with the configuration read anew, or the one that ran."""
        self._refused = []
        self._launcher.systemd.reloading(time.monotonic())
        after = self._tried(lambda: self._next(daemon))
        if after is None:
            self._launcher.notify_ready(daemon)
        else:
            daemon = self._replace(daemon, after)
        self._record.write(daemon.parts.shared.config, self._refused)
        self._outcomes.write(self._refused)
        return daemon

    def _tried(self, begin: Callable[[], Daemon]) -> Daemon | None:
        """Return what `begin` returns; None if it fails, and the new configuration is refused for it."""
        try:
            return begin()
        except (ReceiptWatcherError, OSError) as error:
            self._refuse(error)
        except Exception as error:  # a defect of ours, with which the one that runs has nothing to do
            logger.exception("stage.failed", stage="reload")
            self._refuse(ReceiptWatcherError(f"an error of receipt-watcher itself, which its log has ({error})"))
        return None

    def _next(self, daemon: Daemon) -> Daemon:
        """Build the next daemon, while this one still runs.

        Raises:
            ReceiptWatcherError: it cannot take this one's place.
        """
        before, config = daemon.parts.shared.config, self._reread()
        problems = [
            Problem("configuration", key, "cannot change while the service runs", "restart the service instead")
            for key in FIXED_OPTIONS
            if _option(config, key) != _option(before, key)
        ]
        if problems:
            raise ConfigError(problems)
        hanging = [gate.route.name for gate in daemon.parts.stages.gates if gate.limit.is_exceeded]
        if hanging:
            raise ReceiptWatcherError(
                f"the file system of the inbox {hanging[0]} answers nothing, so it cannot be given back; reload when "
                "it answers, or restart the service"
            )
        daemon.deadlines.prove_log()
        return self._launcher.built(config)

    def _refuse(self, error: Exception) -> None:
        whys = list(map(str, error.problems)) if isinstance(error, ConfigError) else [str(error)]
        self._refused = whys
        for why in whys:
            logger.error("configuration.refused", why=why, advice="mend it and reload; the one before is in force")
        more = f" (and {len(whys) - 1} more)" if len(whys) > 1 else ""
        self._launcher.refusal = f"the new configuration was refused: {whys[0]}{more}; "

    def _replace(self, daemon: Daemon, after: Daemon) -> Daemon:
        before = daemon.parts.shared.config
        answer_seconds = before.n8n.timeout_seconds + before.limits.stop_timeout_seconds
        self._launcher.grant_replacement(answer_seconds)
        daemon.request_stop(for_the_next=True)
        ends_at = time.monotonic() + answer_seconds
        while not self._stop.is_set() and time.monotonic() < ends_at and not daemon.has_ended(_STOP_LOOK_SECONDS):
            pass
        if self._stop.is_set():
            return daemon  # whose stop goes on
        daemon.stop(for_the_next=True)
        begun = self._tried(lambda: self._begin(after))
        return begun or self._begin(self._launcher.built(before), is_new=False)

    def _begin(self, daemon: Daemon, *, is_new: bool = True) -> Daemon:
        self._launcher.log_as(daemon.parts.shared.config)
        if is_new:
            before, self._launcher.refusal = self._launcher.refusal, ""
            try:
                self._launcher.start(daemon, for_the_next=True)
            except BaseException:
                self._launcher.refusal = before
                raise
            logger.info("configuration.reloaded", inboxes=len(daemon.parts.stages.routes))
        else:
            self._launcher.start(daemon)
        return daemon


class ReloadOutcomes:
    """The outcomes that one process leaves in its runtime folder, for the commands that asked."""

    def __init__(self, runtime_folder: Path) -> None:
        self._file = _file_in(runtime_folder)
        self._number = 0
        with contextlib.suppress(OSError):
            self._file.unlink()  # of the process before, which counted from 1, too

    def write(self, refusals: Sequence[str]) -> None:
        """Write what was refused, nothing if the reload is done; without a folder to write to no command learns it."""
        self._number += 1
        temporary = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps([self._number, *refusals]), "utf-8")
            temporary.replace(self._file)


def ask_for_reload(pid: int, runtime_folder: Path | None) -> Sequence[str]:
    """Have the daemon with this process id reload, and return what it refused, once that is known.

    Without a runtime folder nothing is waited for.
    """
    file = None if runtime_folder is None else _file_in(runtime_folder)
    before = _read(file)
    try:
        os.kill(pid, signal.SIGHUP)
        pause = threading.Event()
        while file is not None and _read(file)[:1] == before[:1]:
            pause.wait(_OUTCOME_LOOK_SECONDS)
            os.kill(pid, 0)
    except ProcessLookupError:
        return _GONE
    return [str(each) for each in _read(file)[1:]]


def _file_in(runtime_folder: Path) -> Path:
    return runtime_folder / "reload.json"


def _read(file: Path | None) -> list[object]:
    with contextlib.suppress(OSError, ValueError):
        outcome = json.loads(file.read_text("utf-8")) if file is not None else []
        return outcome if isinstance(outcome, list) else []
    return []


def _option(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
