"""Keep for the commands what the daemon of this process runs with, and why its last reload was refused.

The main thread is in here. Nothing is removed that another process keeps: the record has a file only once the lock is
ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from receipt_watcher import __version__
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.section import Key
from receipt_watcher.config.sources.running import RunningConfiguration, RunningConfigurationFile, kept_options
from receipt_watcher.system.permissions import user_name
from receipt_watcher.system.state_dir import Installation


class ConfigurationRecord:
    """The record of one process; each configuration that is read is noted, and written once it is in force."""

    def __init__(self, path: Path | None, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._started_at = now()
        self._read: tuple[Config, Callable[[Key], str], float] | None = None
        self._in_force: RunningConfiguration | None = None
        self._file: RunningConfigurationFile | None = None
        self._secret = ""

    def note(self, config: Config, origin_of: Callable[[Key], str]) -> None:
        """Note a configuration that was read, with the origins of its values."""
        self._read = (config, origin_of, self._now())

    def keep_in(self, file: RunningConfigurationFile, installation: Installation) -> None:
        """Keep the record in a file from now on; the lock is ours."""
        self._file = file
        self._secret = installation.session_secret()

    def write(self, config: Config, refusals: Sequence[str] = ()) -> None:
        """Write what is in force: the configuration that was read last, or the one before if that was refused."""
        if self._file is None:
            return
        if self._read is not None and self._read[0] is config:
            _, origin_of, read_at = self._read
            self._read = None  # it holds the sources, with their secrets
            self._in_force = RunningConfiguration(
                pid=os.getpid(),
                user=user_name(os.geteuid()),
                version=__version__,
                started_at=self._started_at,
                read_at=read_at,
                file=str(self._path) if self._path is not None else None,
                state_dir=str(config.state_dir),
                options=kept_options(config, origin_of, self._secret),
            )
        if self._in_force is not None:
            refused_at = self._now() if refusals else None
            self._file.write(replace(self._in_force, refused_at=refused_at, refusals=tuple(refusals)))

    def remove(self) -> None:
        """Remove the file at the end; harmless without one."""
        if self._file is not None:
            self._file.remove()
