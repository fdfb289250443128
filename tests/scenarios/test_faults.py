"""Disks and job logs that fail, as `python -m tests.scenarios.faults` plays them, with a daemon that waits for less."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.mounts import CannotMountError
from tests.scenarios import faults
from tests.scenarios.faults import FAULTS, play


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_harms_no_receipt(name: str, tmp_path: Path) -> None:
    """Nothing is lost or sent twice, health says why, and work goes on when the fault ends; nothing is our defect."""
    try:
        scene = play(name, tmp_path, is_impatient=True)
    except CannotMountError as error:
        pytest.skip(str(error.strerror))
    assert [scene.daemon.count(event) for event in ("stage.failed", "task.failed", "http.failed")] == [0, 0, 0]
    assert list(scene.told())


def test_the_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name each fault is listed, with what it is; so it is for a name that there is not, as an error."""
    assert faults.main([]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()] == list(FAULTS)
    assert all(len(line.split()) > 5 for line in listed.splitlines())
    assert faults.main(["lost", "nonsense"]) == 2
    assert capsys.readouterr().out == listed


def test_one_that_cannot_be_played_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing can be mounted, the command says so and that it failed."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert faults.main(["done-full"]) == 1
    assert "cannot be played here: not on this system: unshare" in capsys.readouterr().out
