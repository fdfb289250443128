"""The running daemon's configuration beside the one that a command reads: what differs, and what to do.

What it promises: `config show`, `status`, `check` and `explain` say the same words. Secrets are said to differ, and no
more. A daemon of an earlier version keeps nothing to compare, which is no trouble.

Called by the command line in its only thread; nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.section import Key
from receipt_watcher.config.sources.running import (
    Difference,
    KeptValue,
    RunningConfiguration,
    differences,
    kept_options,
    other_daemons,
    running_configuration,
)
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.system.display import as_sentence, display_name
from receipt_watcher.system.state_dir import Installation

_VARIABLE = "environment variable "


@dataclass(frozen=True, slots=True)
class ConfigurationFinding:
    """One thing that is wrong or misleading about the configuration, and what to do."""

    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class ComparedConfiguration:
    """The configuration that the daemon runs with, beside the one that a command reads.

    `running` is None if no daemon runs on the state folder, or it keeps nothing; `others` are daemons with another
    state folder that have the same file, inbox or port.
    """

    state_dir: str
    file: str
    running: RunningConfiguration | None
    different: Sequence[Difference] = ()
    others: Sequence[RunningConfiguration] = ()

    @property
    def is_refused(self) -> bool:
        """Whether the daemon's last reload was refused."""
        return self.running is not None and bool(self.running.refusals)

    @property
    def process(self) -> str:
        """The daemon's process in words, "" if it is not known."""
        return _in_words(self.running) if self.running is not None else ""

    def findings(self) -> Iterator[ConfigurationFinding]:
        """Yield what is wrong: a refused reload, what differs, and other daemons."""
        if self.running is not None and self.running.refusals:
            yield ConfigurationFinding(
                f"the reload at {iso_time(self.running.refused_at)} was refused: {'; '.join(self.running.refusals)}",
                f"fix it and reload; until then the daemon runs with what it read at {iso_time(self.running.read_at)}",
            )
        for difference in self.different:
            yield ConfigurationFinding(_words(difference), self._advice(difference))
        for other in self.others:
            yield ConfigurationFinding(
                f"no daemon runs with the state folder {display_name(self.state_dir)} of this command; one that runs "
                f"with {display_name(other.state_dir)} ({_origin(other.options.get('state_dir'))}) has the same "
                f"{self._shared_with(other)}: {_in_words(other)}",
                f"to ask that one, give this command its state folder: "
                f"RECEIPT_WATCHER_STATE_DIR={display_name(other.state_dir)}",
            )

    def _shared_with(self, other: RunningConfiguration) -> str:
        return "configuration file" if other.file == self.file else "inbox or port"

    def _advice(self, difference: Difference) -> str:
        daemon, command = _origin(difference.daemon), _origin(difference.command)
        file = self.running.file if self.running is not None else None
        if difference.daemon is not None and daemon.startswith(_VARIABLE):
            name = daemon.removeprefix(_VARIABLE)
            return f"{name} in the daemon's environment is in force; change it there (its unit or environment file)"
        if difference.command is not None and command.startswith(_VARIABLE):
            return f"{command.removeprefix(_VARIABLE)} is set in your shell, not for the daemon; unset it"
        if daemon.startswith("credential "):
            return f"the daemon has the {daemon}, which this command does not read; change it there"
        if file is not None and file != self.file:
            return f"the daemon reads {file}; to read the same here, add: --config {file}"
        return "the file was changed after the daemon read it: reload the daemon, or restart it"

    def lines(self) -> Iterator[str]:
        """Yield it in lines, the daemon's process first."""
        if self.running is not None:
            yield f"It is {self.process}."
        for finding in self.findings():
            yield as_sentence(f"Configuration: {finding.what}")
            yield f"  → {finding.advice}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        running = self.running
        return {
            "daemon": running
            and {
                "pid": running.pid,
                "user": running.user,
                "version": running.version,
                "file": running.file,
                "state_dir": running.state_dir,
                "started_at": iso_time(running.started_at),
                "read_at": iso_time(running.read_at),
                "refused_at": iso_time(running.refused_at),
                "refusals": list(running.refusals),
            },
            "differences": [
                {
                    "option": difference.option,
                    "secret": difference.is_secret,
                    "daemon": _kept_json(difference.daemon),
                    "command": _kept_json(difference.command),
                }
                for difference in self.different
            ],
            "other_daemons": [
                {"pid": other.pid, "user": other.user, "file": other.file, "state_dir": other.state_dir}
                for other in self.others
            ],
        }


def compared(config: Config, origin_of: Callable[[Key], str], file: str) -> ComparedConfiguration:
    """Compare what the daemon runs with with the configuration that a command has read from `file`."""
    installation = Installation(config.state_dir)
    state_dir = str(config.state_dir)
    running = running_configuration(config.state_dir)
    ours = kept_options(config, origin_of, installation.known_session_secret())
    if running is not None:
        return ComparedConfiguration(state_dir, file, running, list(differences(running, ours)))
    if installation.is_running():  # an earlier version, or we may not read it
        return ComparedConfiguration(state_dir, file, None)
    near = [other for other in other_daemons(config.state_dir) if other.file == file or _clashes(other, ours)]
    return ComparedConfiguration(state_dir, file, None, others=near)


def _clashes(other: RunningConfiguration, ours: dict[str, KeptValue]) -> bool:
    """Return whether a daemon has an inbox or the port of these options."""
    port = ours["http.port"].value
    if port and (other.options.get("http.port") or KeptValue(0, "")).value == port:
        return True
    return not _inboxes(other.options).isdisjoint(_inboxes(ours))


def _inboxes(options: Any) -> set[str]:
    return {kept.value for name, kept in options.items() if name.startswith("inboxes[") and name.endswith("].path")}


def _in_words(running: RunningConfiguration) -> str:
    file = display_name(running.file) if running.file else "no configuration file"
    return f"process {running.pid} of user {running.user}, since {iso_time(running.started_at)}, with {file}"


def _origin(kept: KeptValue | None) -> str:
    return kept.origin if kept is not None else "default"


def _words(difference: Difference) -> str:
    daemon, command = difference.daemon, difference.command
    if difference.is_secret:
        return (
            f"{difference.option} differs: the daemon has another secret ({_origin(daemon)}) than this command "
            f"({_origin(command)})"
        )
    return f"{difference.option}: the daemon has {_value(daemon)}, this command {_value(command)}"


def _value(kept: KeptValue | None) -> str:
    if kept is None:
        return "none"
    return f"{kept.value if kept.value is not None else 'none'} ({kept.origin})"


def _kept_json(kept: KeptValue | None) -> dict[str, Any] | None:
    return None if kept is None else {"value": kept.value, "origin": kept.origin}
