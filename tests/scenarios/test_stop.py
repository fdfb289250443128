"""SIGTERM lets a delivery end, takes no new file, and does not wait for ever."""

from __future__ import annotations

import ctypes
import signal
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.scenarios.one_office import ACCEPTED, office


def is_stopping(daemon: RunningDaemon) -> bool:
    """Return whether the daemon says that it is stopping."""
    return "stopping" in httpx.get(f"{daemon.url}/health/ready").json().get("failing", {})


def test_sigterm_lets_a_delivery_end(tmp_path: Path, n8n: StandIn) -> None:
    """SIGTERM waits for the answer of a receipt that is being sent, writes it down, and exits with 0."""
    answer = threading.Event()
    n8n.behave = lambda _: replace(ACCEPTED, hang=answer)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 1, 30)
        assert daemon.process is not None
        daemon.process.terminate()
        wait_until(lambda: is_stopping(daemon), "the daemon stops")
        assert daemon.process.poll() is None
        answer.set()
        assert daemon.ended() == 0
        assert daemon.job("scan.jpg").state is State.PROCESSING
        assert daemon.count("job.accepted") == 1
        assert daemon.count("daemon.cut_off") == 0


def test_sigterm_does_not_wait_for_ever(tmp_path: Path, n8n: StandIn) -> None:
    """SIGTERM ends within its time although N8N hangs; the next start awaits the callback of what was being sent."""
    n8n.behave = lambda _: replace(ACCEPTED, hang=threading.Event())
    with office(tmp_path, n8n, changes={"limits": {"stop_timeout_seconds": 0.5}}) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 1, 30)
        assert daemon.terminate(timeout_seconds=5) == 0
        assert daemon.count("daemon.cut_off") == 1
        assert daemon.job("scan.jpg").state is State.DELIVERING
        daemon.start()
        job = daemon.job("scan.jpg")
        assert job.state is State.PROCESSING
        assert daemon.call(job.job_id, {"status": "success"}, TOKEN).status_code == 200
        daemon.wait_quiet(1)
    assert len(n8n.deliveries) == 1


def test_sigterm_that_reaches_another_thread(tmp_path: Path, n8n: StandIn) -> None:
    """The kernel may give a signal to any thread; the daemon ends whichever it is."""
    tell = getattr(ctypes.CDLL(None), "tgkill", None)
    if tell is None:
        pytest.skip("this C library has no tgkill")
    with office(tmp_path, n8n) as daemon:
        assert daemon.process is not None
        pid = daemon.process.pid
        other = next(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid))
        assert tell(pid, other, signal.SIGTERM) == 0
        assert daemon.ended() == 0
        assert daemon.count("daemon.stopped") == 1


def test_sigterm_takes_no_new_files(tmp_path: Path, n8n: StandIn) -> None:
    """What arrives during a stop stays in the inbox, and is sent after the next start."""
    answer = threading.Event()
    n8n.behave = lambda _: Behaviour(hang=answer)
    contents = jpegs(2)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("one.jpg", contents[0])
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 1, 30)
        assert daemon.process is not None
        daemon.process.terminate()
        wait_until(lambda: is_stopping(daemon), "the daemon stops")
        daemon.drop("two.jpg", contents[1])
        answer.set()
        assert daemon.ended() == 0
        assert (daemon.inbox / "two.jpg").read_bytes() == contents[1]
        daemon.start()
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 2, 30)
    assert n8n.deliveries[1].content == contents[1]
