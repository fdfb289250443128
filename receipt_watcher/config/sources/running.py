"""The configuration of the running daemon, as it leaves it for the commands: masked, with the origin of each value.

What it promises: no secret is in the file. Of a value that is shown with asterisks it holds a digest that is keyed with
the installation's own secret, so a command can tell that two secrets differ, and nothing else. The file is the user's
own (0600), replaced whole, and removed at the end. After a crash it stays, so a reader passes over one whose process is
not the one that holds the lock; a daemon of an earlier version has none.

The daemon's main thread writes it; any process reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from receipt_watcher.config.consistency import dotted
from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import plain, redacted
from receipt_watcher.config.sections.section import Key
from receipt_watcher.config.sources.tree import options_of
from receipt_watcher.system.runtime_dir import noted_runtime_folder
from receipt_watcher.system.state_dir import Installation

Origin = Callable[[Key], str]

_NAME = "configuration.json"

#: The runtime folders that the units and users' sessions give.
_RUNTIME_FOLDERS = ("run/receipt-watcher*", "run/user/*/receipt-watcher/*")


@dataclass(frozen=True, slots=True)
class KeptValue:
    """The value of one option as it is shown, and its origin; `digest` if a part of it is not shown."""

    value: Any
    origin: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class RunningConfiguration:
    """The configuration that one daemon runs with: the options by their dotted names; times are in Unix seconds.

    `refusals` are why its last reload was refused, empty if it was not.
    """

    pid: int
    user: str
    version: str
    started_at: float
    read_at: float
    file: str | None
    state_dir: str
    options: Mapping[str, KeptValue]
    refused_at: float | None = None
    refusals: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """An option with another value in the daemon than in this command; None is no value at all."""

    option: str
    daemon: KeptValue | None
    command: KeptValue | None

    @property
    def is_secret(self) -> bool:
        """Whether what differs cannot be shown."""
        return self.daemon is not None and self.command is not None and self.daemon.value == self.command.value


def kept_options(config: Config, origin_of: Origin, secret: str) -> dict[str, KeptValue]:
    """Return the options of a configuration as they are kept; `secret` keys the digests, "" for none."""
    whole = dict(options_of(plain(config)))
    kept = {}
    for key, shown in options_of(redacted(config)):
        is_hidden = shown != whole.get(key)
        digest = _digest(secret, dotted(key), whole.get(key)) if is_hidden and secret else ""
        kept[dotted(key)] = KeptValue(shown, origin_of(key), digest)
    return kept


def _digest(secret: str, option: str, value: object) -> str:
    text = f"{option}={json.dumps(value)}"
    return hashlib.blake2b(text.encode(), key=secret.encode()[: hashlib.blake2b.MAX_KEY_SIZE]).hexdigest()


def differences(running: RunningConfiguration, ours: Mapping[str, KeptValue]) -> Iterator[Difference]:
    """Yield what differs between a daemon and a command, in the order of the options."""
    for option in {**ours, **running.options}:
        daemon, command = running.options.get(option), ours.get(option)
        if (
            daemon is None
            or command is None
            or daemon.value != command.value
            or _is_other(daemon.digest, command.digest)
        ):
            yield Difference(option, daemon, command)


def _is_other(left: str, right: str) -> bool:
    """Return whether two digests are known to differ."""
    return bool(left and right) and left != right


# --- the file --------------------------------------------------------------------------------------------------------


def running_configuration(state_dir: Path) -> RunningConfiguration | None:
    """Return the configuration of the daemon with this state folder; None if none runs, or it keeps none."""
    installation = Installation(state_dir)
    if not installation.is_running():
        return None
    running = _read(noted_runtime_folder(state_dir) / _NAME)
    return running if running is not None and running.pid == installation.locked_by() else None


def other_daemons(state_dir: Path, root: Path = Path("/")) -> Iterator[RunningConfiguration]:
    """Yield what daemons of this machine with other state folders run with, as far as we may read it."""
    folders = [Path(os.environ.get("XDG_RUNTIME_DIR") or root / "run", "receipt-watcher").glob("*")]
    folders += [root.glob(pattern) for pattern in _RUNTIME_FOLDERS]
    known = {str(state_dir)}
    for folder in (folder for listed in folders for folder in _listed(listed)):
        running = _read(folder / _NAME)
        if running is None or running.state_dir in known:
            continue
        known.add(running.state_dir)
        if running_configuration(Path(running.state_dir)) == running:
            yield running


def _listed(folders: Iterator[Path]) -> list[Path]:
    try:
        return sorted(folders)
    except OSError:
        return []


class RunningConfigurationFile:
    """The file that one daemon keeps in its runtime folder; a disk that is full costs it, nothing else."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME

    def write(self, running: RunningConfiguration) -> None:
        """Replace the file whole."""
        temporary = self._path.with_name(f".{_NAME}.{running.pid}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            temporary.touch(mode=0o600, exist_ok=False)
            temporary.write_text(json.dumps(asdict(running)), "utf-8")
            temporary.replace(self._path)

    def remove(self) -> None:
        """Remove the file: the daemon ends."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def _read(path: Path) -> RunningConfiguration | None:
    """Return what a file holds; None if there is none, we may not read it, or it is of another version's form."""
    try:
        kept = json.loads(path.read_text("utf-8"))
        options = {str(name): KeptValue(**value) for name, value in kept.pop("options").items()}
        return RunningConfiguration(**kept, options=options)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
