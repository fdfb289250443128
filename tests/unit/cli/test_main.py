"""The program explains itself, and ends with the right code on mistakes and interruptions."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from receipt_watcher import __version__
from receipt_watcher.cli import main
from receipt_watcher.cli.context import hurrying
from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.lookups import Lookups
from tests.conftest import TOKEN
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, wait_until
from tests.unit.cli.typed_commands import Command, add, all_commands

# --- help and usage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", list(all_commands(main.commands)), ids=" ".join)
def test_help(words: tuple[str, ...], command: Command) -> None:
    """Each command explains itself, with an example of how it is typed."""
    said = command(*words, "--help")
    assert said.code == 0
    assert f"Example: receipt-watcher {' '.join(words)}" in said.out


def test_all_commands_are_listed(command: Command) -> None:
    """The overview names each command and says where to begin."""
    said = command("--help")
    assert said.code == 0
    assert "receipt-watcher demo" in said.out
    for words in all_commands(main.commands):
        assert f"  {words[0]} " in said.out


def test_version(command: Command) -> None:
    """--version says which one it is."""
    assert command("--version").out == f"receipt-watcher, version {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ("dance",),
        ("show",),
        ("cancel",),
        ("run", "--fast"),
        ("jobs", "--limit", "0"),
        ("jobs", "--status", "lost"),
        ("retry",),
        ("retry", "scan.jpg", "--failed"),
    ],
    ids=" ".join,
)
def test_wrong_usage(words: tuple[str, ...], command: Command) -> None:
    """What cannot be understood is told on stderr, with exit code 2."""
    said = command(*words)
    assert (said.code, said.out) == (2, "")
    assert "Error: " in said.err


def test_interrupted(command: Command, monkeypatch: pytest.MonkeyPatch, job_log: JobLog) -> None:
    """Ctrl-C ends a command with exit code 1 and no traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lookups, "listing", interrupt)
    said = command("jobs")
    assert (said.code, said.out) == (1, "")
    assert "Traceback" not in said.err


# --- beside a daemon, and in pipes ---------------------------------------------------------------------------------


def test_beside_a_daemon(tmp_path: Path, n8n: StandIn) -> None:
    """The commands work while a daemon runs, and it goes on with what they changed within seconds."""
    n8n.behave = lambda delivery: Behaviour(verdict="failure" if delivery.attempt == 1 else "success")
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        assert daemon.run("status").returncode == 0
        assert json.loads(daemon.run("backup", str(tmp_path / "backup.db"), "--json").stdout)["jobs"] == 1
        assert [job["status"] for job in daemon.jobs()] == ["failure"]
        assert "n8n_failure" in daemon.run("show", "scan.jpg").stdout
        assert daemon.run("retry", "scan.jpg").returncode == 0
        wait_until(lambda: daemon.job("scan.jpg").folder is Folder.DONE, "the daemon went on with it", 10)


def test_a_reader_that_leaves(job_log: JobLog, config_file: Path) -> None:
    """`receipt-watcher jobs | head` is no error and leaves no traceback."""
    with job_log.database.transaction():
        for number in range(2000):
            add(job_log, f"scan-{number}.jpg")
    process = subprocess.Popen(
        [sys.executable, "-m", "receipt_watcher", "jobs", "--limit", "2000"],
        cwd=REPOSITORY,
        env=os.environ | {"RECEIPT_WATCHER_CONFIG": str(config_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as lines, process.stderr as errors:
        assert b"recorded" in lines.readline()
        lines.close()
        assert errors.read() == b""
    assert process.returncode == 0


def test_the_collector_rests_while_the_daemon_is_loaded() -> None:
    """Loading makes no garbage, and what was loaded stays: it is not looked at again and again."""
    with hurrying():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize(("listen_pid", "pauses"), [("own", [5.0]), ("other", []), ("", [])])
def test_a_mistake_pauses_where_the_socket_starts_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    listen_pid: str,
    pauses: list[float],
) -> None:
    """Under the socket unit a mistake in the configuration pauses: each waiting call starts it at once."""
    (tmp_path / "watcher.yaml").write_text("nonsense: 1\n")
    if listen_pid:
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if listen_pid == "own" else "1")
    monkeypatch.setattr(sys, "argv", ["receipt-watcher", "run", "--config", str(tmp_path / "watcher.yaml")])
    paused: list[tuple[float, str]] = []
    monkeypatch.setattr(main, "_pause", lambda seconds: paused.append((seconds, capsys.readouterr().err)))
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert [seconds for seconds, _ in paused] == pauses
    assert all("nonsense" in said for _, said in paused)
