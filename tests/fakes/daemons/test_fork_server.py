"""The fork server tells each process's end once, whoever asks."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fakes.daemons.fork_server import fork_server


def test_threads_that_wait_for_one_process_learn_its_end() -> None:
    """Threads that ask for the end of one process at the same time all learn its exit code."""
    command = [sys.executable, "-m", "receipt_watcher", "--version"]
    for _ in range(5):
        with Path(os.devnull).open("wb") as nothing, ThreadPoolExecutor(8) as threads:
            process = fork_server().start(command, os.environ, nothing, nothing)
            assert list(threads.map(process.wait, [60.0] * 8)) == [0] * 8
