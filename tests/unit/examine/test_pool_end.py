"""No examiner outlives its pool or its parent."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from receipt_watcher.examine.examiners import Bounds, Examiners
from tests.fakes.daemons import hostile_examiner
from tests.fakes.daemons.process import wait_until
from tests.unit.examine.examiner_processes import LIMITS, children_of
from tests.unit.examine.test_judge import sample


def test_a_stop_waits_for_no_hung_examiner(tmp_path: Path) -> None:
    """When the daemon stops, whoever waits for an examiner hears so, and nothing is said about the file."""
    (tmp_path / "scan.jpg").write_bytes(b"sleep\n")
    stopping = threading.Event()
    bounds = Bounds(cpu_seconds=20, memory_bytes=1024**3, hang_seconds=600.0)
    with Examiners(bounds, stopping=stopping, module=hostile_examiner.MODULE) as found, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(found.examine, tmp_path / "scan.jpg", LIMITS)
        wait_until(lambda: children_of(os.getpid()), "it is asked")
        stopping.set()
        with pytest.raises(OSError, match="stopping") as caught:
            waiting.result()
    assert caught.value.errno == errno.ECANCELED
    assert children_of(os.getpid()) == []


def test_nothing_is_examined_after_the_end(genuine: Examiners, tmp_path: Path) -> None:
    """Closed twice it is closed once; then no examiner is started any more."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    genuine.examine(tmp_path / "scan.jpg", LIMITS)
    genuine.close()
    genuine.close()
    assert children_of(os.getpid()) == []
    with pytest.raises(OSError, match="stopping"):
        genuine.examine(tmp_path / "scan.jpg", LIMITS)


def test_it_does_not_outlive_a_parent_that_is_gone() -> None:
    """An examiner whose parent went before it could be bound to its life ends at once."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        command = [sys.executable, "-m", "receipt_watcher.examine.worker", str(1024**3), "1", "1"]
        ended = subprocess.run(command, stdin=theirs.fileno(), capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"the daemon is gone\n")
