"""All of the daemon keeps to one processor, as Python can use one at a time; examiners use whatever is free."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.system import cpu
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon

ALLOWED = os.sched_getaffinity(0)


@pytest.mark.skipif(len(ALLOWED) == 1, reason="there is one processor")
def test_one_processor_for_the_daemon_and_all_for_examiners(tmp_path: Path, n8n: StandIn) -> None:
    """Every thread is on the same processor, but for the one that starts examiners, which have all that we may use."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        assert daemon.process is not None
        tasks = list(Path(f"/proc/{daemon.process.pid}/task").iterdir())
        masks = [os.sched_getaffinity(int(task.name)) for task in tasks]
        examiners = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
        assert examiners
        assert all(os.sched_getaffinity(pid) == ALLOWED for pid in examiners)
        kept = [mask for mask in masks if mask != ALLOWED]
        assert (len(kept), {len(mask) for mask in kept}) == (len(masks) - 1, {1})
        assert len(set(map(frozenset, kept))) == 1


def test_a_system_that_does_not_know_its_processor_keeps_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where sched_getcpu(3) fails, which is -1, or is missing, all goes on as without it."""

    class Ignorant:
        @staticmethod
        def sched_getcpu() -> int:
            return -1

    for library in (Ignorant, object):
        monkeypatch.setattr("ctypes.CDLL", lambda _name, library=library: library())
        cpu.keep_to_one_core()
        assert os.sched_getaffinity(0) == ALLOWED


def test_processors_that_may_not_be_asked_for_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the calls are refused, nothing is changed, and nothing fails."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.sched_getaffinity", refuse)
    assert cpu._allowed() == set()
    monkeypatch.setattr("os.sched_setaffinity", refuse)
    cpu.keep_to_one_core()
    cpu.leave_core()
