"""The machine that is changed: its files, its commands, and its services while the program is replaced."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from receipt_watcher.cli.setup.places import INSTANCES, UNIT, USER
from receipt_watcher.errors import ReceiptWatcherError


class Host:
    """The machine that is changed: its files below `root`, and its commands."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def at(self, path: Path) -> Path:
        """Return where a path of that machine is."""
        return self.root / path.relative_to("/")

    def run(self, *words: str) -> None:
        """Run a command of the system.

        Raises:
            ReceiptWatcherError: it is missing, or failed; the text has what it said.
        """
        try:
            ran = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
        except FileNotFoundError as error:
            raise ReceiptWatcherError(f"{words[0]} is not there; this needs a Linux with systemd") from error
        if ran.returncode != 0:
            raise ReceiptWatcherError(f"{' '.join(words)} failed: {(ran.stderr or ran.stdout).strip()}")

    def says(self, *words: str) -> list[str]:
        """Return the lines that a command of the system prints; none where it is missing."""
        try:
            return subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()  # noqa: S603 - likewise
        except FileNotFoundError:
            return []

    def answers(self, *words: str) -> bool:
        """Return whether a command of the system ends well."""
        try:
            return subprocess.run(words, capture_output=True, check=False).returncode == 0  # noqa: S603 - likewise
        except FileNotFoundError:
            return False

    def ids(self) -> tuple[int, int] | None:
        """Return the numbers of the service's user and group, or None before they are made."""
        try:
            return pwd.getpwnam(USER).pw_uid, grp.getgrnam(USER).gr_gid
        except KeyError:
            return None

    def own(self, path: Path, mode: int, *, by_root: bool = False) -> None:
        """Give a file or folder to the service's user, or to root and the service's group."""
        user, group = self.ids() or (-1, -1)
        os.chown(path, 0 if by_root else user, group)
        path.chmod(mode)


class Pause:
    """A pause of our services: `begin` stops those that run, and the end starts them again, even after an error."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._stopped: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._stopped:
            return
        try:
            # restart: a callback may have started it meanwhile, by the socket, with the program from before.
            self._host.run("systemctl", "restart", *self._stopped)
        except ReceiptWatcherError as failed:
            raise failed if error is None else ReceiptWatcherError(f"{error}; and then {failed}") from error

    def begin(self) -> None:
        """Stop what runs, and remember it.

        Raises:
            ReceiptWatcherError: it cannot be stopped.
        """
        wanted = ("--plain", "--no-legend", "--state=active,activating,reloading", UNIT, INSTANCES)
        self._stopped = [
            line.split()[0] for line in self._host.says("systemctl", "list-units", *wanted) if line.split()
        ]
        if self._stopped:
            self._host.run("systemctl", "stop", *self._stopped)

    def has_started(self, unit: str) -> bool:
        """Return whether a unit was stopped, and is, or will be, started again."""
        return unit in self._stopped
