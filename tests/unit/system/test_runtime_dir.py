"""Files that a running daemon leaves to other processes: their folder, and that an idle one writes to no disk."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.inbox import state as snapshot
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system.runtime_dir import note_runtime_folder, noted_runtime_folder, runtime_folder
from tests.conftest import FakeClock
from tests.fakes.daemons.process import RunningDaemon, wait_until
from tests.unit.inbox.test_gate import Porch

TOKEN = "a-token-for-the-tests"


def test_systemds_folder_comes_first(tmp_path: Path) -> None:
    """The runtime folder is systemd's, else one of the user's for each state folder, else the state folder."""
    state, given, users = (tmp_path / name for name in ("state", "given", "users"))
    for folder in (given, users):
        folder.mkdir()
    environ = {"RUNTIME_DIRECTORY": f"{given}:/run/another", "XDG_RUNTIME_DIR": str(users)}
    assert runtime_folder(state, environ) == given
    found = {runtime_folder(folder, {"XDG_RUNTIME_DIR": str(users)}) for folder in (state, tmp_path / "other")}
    assert {folder.parent for folder in found} == {users / "receipt-watcher"}
    assert len(found) == 2
    assert runtime_folder(state, {}) == state
    assert runtime_folder(state, {"RUNTIME_DIRECTORY": "relative", "XDG_RUNTIME_DIR": str(tmp_path / "gone")}) == state


def test_the_note_is_written_only_when_it_changes(tmp_path: Path) -> None:
    """The commands find the folder of the last start; a start with the same folder writes nothing."""
    assert noted_runtime_folder(tmp_path) == tmp_path
    note_runtime_folder(tmp_path, Path("/run/one"))
    before = (tmp_path / "runtime_folder").stat()
    written = (before.st_ino, before.st_mtime_ns, before.st_ctime_ns)
    note_runtime_folder(tmp_path, Path("/run/one"))
    after = (tmp_path / "runtime_folder").stat()  # reading it may change the time of access
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == written
    note_runtime_folder(tmp_path, Path("/run/two"))
    assert noted_runtime_folder(tmp_path) == Path("/run/two")


@pytest.mark.parametrize("noted", ["", "relative", "/run/\0"])
def test_a_damaged_note_is_none(tmp_path: Path, noted: str) -> None:
    """A note that holds no path leads to the state folder."""
    (tmp_path / "runtime_folder").write_text(noted)
    assert noted_runtime_folder(tmp_path) == tmp_path


@pytest.mark.parametrize("tells_scans", [False, True], ids=["on a disk", "in memory"])
def test_an_idle_inbox_writes_nothing(
    tmp_path: Path, log: JobLog, clock: FakeClock, spool: Spool, *, tells_scans: bool
) -> None:
    """While nothing changes the snapshot is not written; when it was scanned is told in memory only, each minute."""
    porch = Porch(tmp_path, log, clock, spool)
    file = tmp_path / "inboxes" / "office.json"
    sources = porch.gate.observer._sources
    porch.gate.observer._sources = replace(sources, snapshot_file=file, tells_scans=tells_scans)
    told = []
    porch.gate.round()
    before = file.stat()
    for _ in range(5):
        clock.advance(61)
        porch.gate.round()
        found = snapshot.read(file)
        assert found is not None
        told.append(found.scanned_at)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert sorted(path.name for path in file.parent.iterdir()) == ["office.json", "office.scanned"][: 1 + tells_scans]
    assert told == ([round(clock() - 61 * left) for left in (4, 3, 2, 1, 0)] if tells_scans else [None] * 5)
    porch.leave()


def test_a_daemon_with_a_runtime_folder_leaves_its_disk_alone(tmp_path: Path, n8n: StandIn) -> None:
    """With systemd's folder the commands know as much, nothing of it is in the state folder, and a stop removes it."""
    folder = tmp_path / "run"
    folder.mkdir()
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, environment={"RUNTIME_DIRECTORY": str(folder)}) as daemon:
        earlier = daemon.state / "inboxes" / "office.json"
        file = folder / "inboxes" / "office.json"
        wait_until(file.with_suffix(".scanned").exists, "the scan is told")
        (daemon.inbox / "scan.jpg.part").touch()
        shown = json.loads(daemon.run("status", "--json").stdout)["inboxes"][0]
        assert shown["mode"] in ("native", "polling")
        assert shown["scanned_at"].endswith("Z")
        assert not earlier.exists()
        earlier.parent.mkdir(exist_ok=True)
        earlier.write_text("{}")  # as a daemon of an earlier version left it in a crash
        assert daemon.terminate() == 0
        assert list(file.parent.iterdir()) == []
        daemon.start()
        assert not earlier.exists()
        assert os.fsdecode((daemon.state / "runtime_folder").read_bytes()) == str(folder)
