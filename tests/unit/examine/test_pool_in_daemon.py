"""The real daemon with examiners that hang, break and are killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.system.cpu import processors
from tests.conftest import TOKEN
from tests.fakes.daemons import hostile_examiner
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, jpegs, wait_until
from tests.unit.examine.examiner_processes import children_of, is_running
from tests.unit.examine.test_judge import sample


class HostileDaemon(RunningDaemon):
    """The daemon with examiners that do what the files say."""

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command with this configuration."""
        whole = super().command(*arguments)
        return (
            [hostile_examiner.MODULE if word == "receipt_watcher" else word for word in whole]
            if "run" in whole
            else whole
        )


CHANGES = {"limits": {"examination_seconds": 1, "examination_mb": 300}}


@pytest.mark.long
def test_bad_files_among_good_ones(n8n: StandIn, tmp_path: Path) -> None:
    """Files that break examiners are failed with a reason and a note; all others get through the same daemon.

    Dropped in again, such a file is examined again, under its old job.
    """
    good = jpegs(20)
    bad = [f"{deed}\n".encode() for deed in ("segfault", "loop", "allocate", "leave")]
    with HostileDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=CHANGES) as daemon:
        for number, content in enumerate(good):
            daemon.drop(f"good {number}.jpg", content)
            if number < len(bad):
                daemon.drop(f"bad {number}.jpg", bad[number])
        daemon.wait_quiet(24)
        assert daemon.process is not None
        assert daemon.process.poll() is None
        jobs = assert_consistent(daemon, n8n.deliveries, [*good, *bad])
        failures = {job.filename: job for job in jobs.values() if job.state is State.FAILURE}
        assert {(name, job.reason) for name, job in failures.items()} == {
            (f"bad {number}.jpg", Reason.UNEXAMINABLE) for number in range(4)
        }
        note = (daemon.failed / "bad 0.jpg.reason.txt").read_text()
        assert Reason.UNEXAMINABLE.meaning in note
        assert "The examiner was ended by SIGSEGV" in note
        assert daemon.count("examiner.broke") == 8
        (daemon.failed / "bad 0.jpg").rename(daemon.inbox / "bad 0.jpg")
        wait_until(
            lambda: daemon.count("examiner.broke") == 12, "it is examined again, as it comes and for its old job"
        )
        daemon.wait_quiet(24)
        assert daemon.job("bad 0.jpg").job_id == failures["bad 0.jpg"].job_id
        assert daemon.terminate() == 0
    assert daemon.count("stage.failed") == 0


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_no_examiner_is_left_behind(end: str, n8n: StandIn, tmp_path: Path) -> None:
    """However the daemon ends while a file hangs an examiner, that ends as well, and the file stays where it was."""
    with HostileDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"limits": {"examination_seconds": 25}}) as daemon:
        daemon.drop("good.jpg", sample("jpeg"))
        daemon.wait_quiet(1)
        daemon.drop("bad.jpg", b"loop\n")
        assert daemon.process is not None
        (pid,) = children_of(daemon.process.pid)
        wait_until(lambda: _state(pid) == "R", "the examiner loops")
        assert getattr(daemon, end)() == (0 if end == "terminate" else None)
        wait_until(lambda: not is_running(pid), "the examiner is gone")
        assert [path.name for path in daemon.files(daemon.inbox)] == ["bad.jpg"]
        assert len(daemon.recorded()) == 1
        assert daemon.count("daemon.cut_off") == 0


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_signals_that_stop_the_service_do_not_stop_examiners(n8n: StandIn, tmp_path: Path) -> None:
    """A service manager signals every process of the service, and the daemon needs its examiners to stop in order."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("1.jpg", sample("jpeg"))
        daemon.wait_quiet(1)
        assert daemon.process is not None
        (pid,) = children_of(daemon.process.pid)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        daemon.drop("2.pdf", sample("pdf"))
        daemon.wait_quiet(2)
        assert children_of(daemon.process.pid) == [pid]
        assert daemon.count("examiner.broke") == 0


def test_fifty_inboxes_share_the_examiners(n8n: StandIn, tmp_path: Path) -> None:
    """However many inboxes are full, there are processors and one examiners, and all receipts get through."""
    inboxes = [{"path": str(tmp_path / f"{number}" / "inbox"), "name": f"i{number}"} for number in range(50)]
    good = jpegs(150)
    for number, content in enumerate(good):
        folder = Path(inboxes[number % 50]["path"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(content)
    changes = {"inboxes": [{**each, "settle_seconds": 0.2} for each in inboxes]}
    started: set[int] = set()
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes) as daemon:
        assert daemon.process is not None
        pid = daemon.process.pid

        def all_done() -> bool:
            now = children_of(pid)
            assert len(now) <= processors() + 1
            started.update(now)
            return len(daemon.recorded()) == len(good)

        wait_until(all_done, "all are taken in", 120)
        assert daemon.terminate() == 0
    assert len(started) <= processors() + 1
    assert daemon.count("inbox.unavailable") == 0
