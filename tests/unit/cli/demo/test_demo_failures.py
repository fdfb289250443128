"""The demo tells what went wrong, and ends."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from receipt_watcher.cli.demo import demo, play
from tests.unit.cli.demo.demo_run import processes_in


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which this process makes its temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_daemon_that_does_not_start_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the daemon ends by itself, the demo shows the end of its log, exits 1 and keeps the folder."""
    monkeypatch.setattr(play, "example_yaml", lambda values: "inboxes: 3\n")
    assert demo.run_demo(keep=False) == 1
    output = capsys.readouterr().out
    assert "the daemon ended by itself, with code 2" in output
    assert "the configuration has 1 mistake" in output
    assert len(list(temporary.glob("receipt-watcher-demo-*/daemon.log"))) == 1


def test_a_daemon_that_hangs_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the daemon does not get ready in time, the demo says so, stops it and exits 1."""
    monkeypatch.setattr(play, "START_SECONDS", 0.0)
    assert demo.run_demo(keep=False) == 1
    assert "not within 0 s was it so that the daemon has started" in capsys.readouterr().out
    assert processes_in(temporary) == []


def test_a_difference_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where one thing differs at the end, it is named, the exit code is 1, and the folder stays with the log."""
    monkeypatch.setattr(demo, "_show", lambda root, stop: ["hotel.pdf: status should be: success, but is: failure"])
    assert demo.run_demo(keep=False) == 1
    output = capsys.readouterr().out
    (root,) = temporary.iterdir()
    assert "hotel.pdf: status should be: success, but is: failure" in output
    assert f"The demo's folder stays: {root};" in " ".join(output.split())
    assert "init DIR" not in output


def test_a_folder_that_cannot_be_made_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a place for temporary files there is a sentence and the exit code 1, no traceback."""
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "not there"))
    assert demo.run_demo(keep=False) == 1
    assert "no temporary folder can be made" in capsys.readouterr().err


def test_a_full_disk_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the system before the daemon runs is a sentence and the exit code 1, no traceback."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "DemoDaemon", fail)
    assert demo.run_demo(keep=False) == 1
    assert "No space left on device" in capsys.readouterr().out
