"""The running daemon's configuration beside that of a command: `status`, `config show`, `check` and `explain`."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, wait_until

_NOBODY = "http://127.0.0.1:9/webhook/receipts"
_NEEDLES = ("status", "config show", "check", "explain receipt.jpg")


def shown(daemon: RunningDaemon, command: str, **variables: str) -> str:
    """Return what a command prints for people."""
    return daemon.run(*command.split(), **variables).stdout


def compared(daemon: RunningDaemon, **variables: str) -> Any:
    """Return the comparison as `status --json` has it."""
    return json.loads(daemon.run("status", "--json", **variables).stdout)["configuration"]


@pytest.fixture
def office(tmp_path: Path) -> RunningDaemon:
    """A daemon that is not started, with a runtime folder of its own and a file that waits."""
    runtime = tmp_path / "run"
    runtime.mkdir()
    made = RunningDaemon(tmp_path / "office", _NOBODY, TOKEN, environment={"XDG_RUNTIME_DIR": str(runtime)})
    (made.inbox / "receipt.jpg").write_bytes(b"is no picture")
    return made


def test_the_same_configuration(office: RunningDaemon) -> None:
    """A command that reads what the daemon read names the process and its file, and nothing that differs."""
    with office:
        assert office.process is not None
        answer = compared(office)
        assert (answer["daemon"]["pid"], answer["differences"]) == (office.process.pid, [])
        assert answer["daemon"]["file"] == str(office.config_file)
        assert f"It is process {office.process.pid} of user" in shown(office, "status")
        assert yaml.safe_load(shown(office, "config show"))["callback"]["max_resends"] == 1


def test_a_variable_in_the_daemons_environment(office: RunningDaemon) -> None:
    """An environment file that overrides an option is named by each command, with both values and origins."""
    office.environment["RECEIPT_WATCHER_CALLBACK__MAX_RESENDS"] = "7"
    with office:
        del office.environment["RECEIPT_WATCHER_CALLBACK__MAX_RESENDS"]
        sentence = (
            "callback.max_resends: the daemon has 7 (environment variable RECEIPT_WATCHER_CALLBACK__MAX_RESENDS), "
            "this command 1 (default)"
        )
        for command in _NEEDLES:
            assert sentence in shown(office, command), command
        assert "the daemon's environment is in force; change it there" in shown(office, "status")


def test_another_secret(office: RunningDaemon) -> None:
    """A secret of the daemon that differs is said to differ; neither value is shown or kept."""
    office.environment["CALLBACK_SECRET_TOKEN"] = "a-token-of-the-daemon-alone"
    with office:
        del office.environment["CALLBACK_SECRET_TOKEN"]
        answer = shown(office, "status")
        assert "callback.secret_token differs: the daemon has another secret" in answer
        (kept,) = (office.root.parent / "run").rglob("configuration.json")
        for text in (answer, kept.read_text("utf-8")):
            assert "a-token-of-the-daemon-alone" not in text
            assert TOKEN not in text
        assert kept.stat().st_mode & 0o777 == 0o600


def test_a_refused_reload(office: RunningDaemon) -> None:
    """A reload that was refused is reported with its reason until the next one that is accepted."""
    with office:
        assert office.process is not None
        good = office.config_file.read_text("utf-8")
        office.config_file.write_text(good.replace("port: 0", "port: 65123"), "utf-8")
        office.process.send_signal(signal.SIGHUP)
        wait_until(lambda: compared(office)["daemon"]["refusals"], "the refusal is kept")
        for command in _NEEDLES:
            answer = shown(office, command)
            assert "was refused" in answer, command
            assert "http.port" in answer, command
        assert office.run("status").returncode == 1
        assert "http.port: the daemon has 0" in shown(office, "status")
        office.config_file.write_text(good, "utf-8")
        office.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not compared(office)["daemon"]["refusals"], "the accepted reload is kept")
        assert compared(office)["differences"] == []


def test_the_daemon_of_a_colleague(office: RunningDaemon, tmp_path: Path) -> None:
    """A command with another state folder names the daemon that has its inbox, and how to ask that one."""
    with office:
        assert office.process is not None
        theirs = {"RECEIPT_WATCHER_STATE_DIR": str(tmp_path / "other state")}
        answer = shown(office, "check", **theirs)
        assert f"process {office.process.pid} of user" in answer
        assert f"RECEIPT_WATCHER_STATE_DIR={office.state}" in answer
        assert f"process {office.process.pid}" in shown(office, "config show", **theirs)
        refused = office.run("status", **theirs)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"process {office.process.pid}" in refused.stderr


def test_a_daemon_that_keeps_nothing(office: RunningDaemon) -> None:
    """A daemon of an earlier version has no such file, which is no error; a file that is damaged counts as none."""
    with office:
        (kept,) = (office.root.parent / "run").rglob("configuration.json")
        kept.write_text('{"pid": 1}', "utf-8")
        assert compared(office)["daemon"] is None
        kept.unlink()
        assert compared(office)["differences"] == []
        assert "The daemon is running." in shown(office, "status")


def test_the_end(office: RunningDaemon) -> None:
    """A stop removes the file; what a killed daemon leaves is passed over, since none holds the lock."""
    with office:
        office.kill()
        assert list((office.root.parent / "run").rglob("configuration.json"))
        assert compared(office)["daemon"] is None
        office.start()
        office.terminate()
        assert not list((office.root.parent / "run").rglob("configuration.json"))
