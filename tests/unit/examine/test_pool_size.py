"""Many threads and inboxes share few examiners."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from receipt_watcher.examine.examiners import Bounds, Examiners
from receipt_watcher.examine.pool import ExaminerPool
from receipt_watcher.system import cpu
from receipt_watcher.system.cpu import processors
from tests.fakes.daemons import hostile_examiner
from tests.fakes.daemons.process import wait_until
from tests.unit.examine.examiner_processes import LIMITS, children_of
from tests.unit.examine.test_judge import sample


def test_many_threads_share_few_examiners(tmp_path: Path) -> None:
    """Judging and drawing share one bound, each thread has its answer, and what is kept is within the bound."""
    path = tmp_path / "scan.jpg"
    path.write_bytes(sample("jpeg"))
    pool = ExaminerPool(threading.Event(), most=2)
    seen: list[int] = []
    with (
        Examiners(Bounds(20, 1024**3), pool=pool) as judging,
        Examiners(Bounds(20, 1024**3), pool=pool, is_logged=False) as drawing,
        ThreadPoolExecutor(12) as threads,
    ):

        def work(number: int) -> bool:
            seen.append(len(children_of(os.getpid())))
            if number % 4:
                return judging.examine(path, LIMITS).refusal is None
            with path.open("rb") as file:
                return bool(drawing.draw(file.fileno(), "image/jpeg", LIMITS.max_pixels))

        assert all(threads.map(work, range(24)))
        assert 1 <= len(children_of(os.getpid())) <= 2
    assert max(seen) <= 2
    assert children_of(os.getpid()) == []


def test_idle_examiners_end_after_a_minute(tmp_path: Path) -> None:
    """An examiner serves the next file for a minute, and ends when none came."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    now = [1000.0]
    pool = ExaminerPool(threading.Event(), most=2, monotonic=lambda: now[0])
    with Examiners(Bounds(20, 1024**3), pool=pool) as found:
        found.examine(tmp_path / "scan.jpg", LIMITS)
        (pid,) = children_of(os.getpid())
        now[0] += 59
        pool.end_idle()
        found.examine(tmp_path / "scan.jpg", LIMITS)
        now[0] += 59
        pool.end_idle()
        assert children_of(os.getpid()) == [pid]
        now[0] += 1
        pool.end_idle()
        assert children_of(os.getpid()) == []
        assert found.examine(tmp_path / "scan.jpg", LIMITS).refusal is None


def test_an_examiner_that_waits_for_a_disk_keeps_nobody_waiting(tmp_path: Path) -> None:
    """With one place, a file that the disk never gives lets others be examined meanwhile."""
    (tmp_path / "hangs.jpg").write_bytes(b"read\n")
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    stopping = threading.Event()
    bounds = Bounds(cpu_seconds=20, memory_bytes=1024**3, hang_seconds=600.0)
    pool = ExaminerPool(stopping, most=1)
    with (
        Examiners(bounds, stopping=stopping, module=hostile_examiner.MODULE, pool=pool) as found,
        ThreadPoolExecutor(1) as threads,
    ):
        hanging = threads.submit(found.examine, tmp_path / "hangs.jpg", LIMITS)
        wait_until(lambda: children_of(os.getpid()), "it is asked")
        for _ in range(3):
            assert found.examine(tmp_path / "scan.jpg", LIMITS).refusal is None
        assert not hanging.done()
        stopping.set()
        with pytest.raises(OSError, match="stopping"):
            hanging.result()
    assert children_of(os.getpid()) == []


def test_no_thread_can_be_had(genuine: Examiners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread to start examiners with, the file waits; the place is free again afterwards."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    for _ in range(processors() + 3):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ChildProcessError, match="no examiner can be started: can't start new thread"):
                genuine.examine(tmp_path / "scan.jpg", LIMITS)
    assert genuine.examine(tmp_path / "scan.jpg", LIMITS).refusal is None


@pytest.mark.parametrize(
    ("lines", "quota", "number"),
    [("0::/", "max 100000", 8), ("0::/", "150000 100000", 2), ("0::/unit", "50000 100000", 1), ("12:cpu:/", "", 8)],
)
def test_a_quota_counts_as_processors(
    lines: str, quota: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's or unit's CPU quota, rounded up, bounds the processors that examiners are counted by."""
    group = tmp_path / lines.partition("::/")[2]
    group.mkdir(exist_ok=True)
    (group / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(cpu, "_CONTROL_GROUPS", str(tmp_path))
    monkeypatch.setattr(cpu, "_ALLOWED", set(range(8)))
    monkeypatch.setattr(cpu, "_own_groups", lambda: lines)
    assert cpu.processors() == number
