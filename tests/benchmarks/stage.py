"""The daemon and the far side, each a process of its own on the pinned processors, around a folder.

The daemon is the real one at log level info. The far side is the stand-in for N8N: it answers and calls back at once,
and writes a line for each receipt when all of it has arrived, its digest being computed there. Both end with the
stage; a benchmark that is killed leaves its folder and two processes, which hold nothing of value.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receipt_watcher.cli.demo import samples
from tests.benchmarks.machine import pinned
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, wait_until

TOKEN = "a-token-for-benchmarks-only"
SETTLE_SECONDS = 0.2
_STALL_SECONDS = 30.0
_LOOK_SECONDS = 0.01
_WARM_UP = "warm-up.jpg"
_WARM_UP_SEED = 999_999


@dataclass(frozen=True, slots=True)
class FarSide:
    """The stand-in for N8N."""

    process: subprocess.Popen[str]
    webhook_url: str
    log_file: Path

    def arrivals(self, inbox: str) -> list[dict[str, Any]]:
        """Return what has arrived from an inbox, in this order, without the warm-up."""
        lines = [json.loads(line) for line in self.log_file.read_text().splitlines()]
        return [line for line in lines if line["inbox"] == inbox and line["filename"] != _WARM_UP]


@contextlib.contextmanager
def far_side(root: Path, cpus: Sequence[int], *options: str) -> Iterator[FarSide]:
    """Run a stand-in for N8N."""
    log_file = root / "far-side.log"
    command = [
        sys.executable,
        "-m",
        "receipt_watcher.cli.demo.stand_in",
        "--token",
        TOKEN,
        "--log",
        str(log_file),
        *options,
    ]
    with pinned(cpus), subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield FarSide(process, json.loads(process.stdout.readline())["webhook_url"], log_file)
        finally:
            process.send_signal(signal.SIGTERM)


class _Plugged(RunningDaemon):
    """A daemon that is run by another module."""

    is_forked = False
    module = "receipt_watcher"

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command with this configuration; only `run` is another one."""
        module = self.module if arguments[:1] == ("run",) else "receipt_watcher"
        return [module if word == "receipt_watcher" else word for word in super().command(*arguments)]


@contextlib.contextmanager
def running_daemon(
    root: Path,
    far: FarSide,
    cpus: Sequence[int],
    changes: Mapping[str, Any] | None = None,
    module: str = "receipt_watcher",
) -> Iterator[RunningDaemon]:
    """Run the daemon; it has sent one receipt already, since until the first callback it sends one at a time.

    `module` is what is run: the daemon, or the daemon with something plugged into it.
    """
    daemon = _Plugged(
        root,
        far.webhook_url,
        TOKEN,
        inbox={"done_subfolder": "", "settle_seconds": SETTLE_SECONDS},
        changes={"logging": {"level": "info"}, **(changes or {})},
    )
    daemon.module = module
    try:
        with pinned(cpus):
            daemon.start()
        daemon.drop(_WARM_UP, samples.jpeg(_WARM_UP_SEED))
        wait_until((daemon.done / _WARM_UP).exists, "the first receipt is filed")
        yield daemon
        daemon.terminate()
    finally:
        daemon.kill()


def pid_of(daemon: RunningDaemon) -> int:
    """Return the process id of a daemon that runs."""
    assert daemon.process is not None
    return daemon.process.pid


# --- receipts ---


def make_receipts(folder: Path, count: int, size: int) -> dict[str, str]:
    """Draw distinct receipts into a new folder, on disk when this returns; return the digest of each by its name."""
    folder.mkdir()
    digests = {}
    for number in range(count):
        content = samples.jpeg(number, target_bytes=size)
        name = f"receipt-{number:05}.jpg"
        (folder / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    os.sync()
    return digests


def move_all(names: Iterable[str], source: Path, target: Path) -> None:
    """Rename files from one folder to another."""
    for name in names:
        (source / name).rename(target / name)


def filed_count(folder: Path) -> int:
    """Return how many receipts are in a folder, without the warm-up."""
    with os.scandir(folder) as entries:
        return sum(not entry.name.startswith(".") and entry.name != _WARM_UP for entry in entries)


def wait_for_filed(daemon: RunningDaemon, count: int) -> None:
    """Return when so many receipts are filed, or when none has been for long; what is missing is verified later."""
    pause = threading.Event()
    before, progressed_at = 0, time.monotonic()
    while before < count and time.monotonic() < progressed_at + _STALL_SECONDS:
        pause.wait(_LOOK_SECONDS)
        now = filed_count(daemon.done)
        if now != before:
            before, progressed_at = now, time.monotonic()


def problems_of(daemon: RunningDaemon, far: FarSide, digests: Mapping[str, str]) -> list[str]:
    """Say what is not as it must be: each receipt arrived once, whole, and is in done/, whole; nothing else is."""
    arrived = [(line["filename"], line["sha256"]) for line in far.arrivals("office")]
    filed = {path.name: _digest_of(path) for path in daemon.files(daemon.done) if path.name != _WARM_UP}
    left = [path for folder in (daemon.inbox, daemon.processing, daemon.failed) for path in daemon.files(folder)]
    return [*_differences("arrived", arrived, digests), *_differences("in done/", filed.items(), digests)] + [
        f"left behind: {path.relative_to(daemon.root)}" for path in left
    ]


def _differences(where: str, found: Iterable[tuple[str, str]], digests: Mapping[str, str]) -> list[str]:
    times = Counter(found)
    wrong = [
        f"{where}: {name} {times[name, digest]} times, whole"
        for name, digest in digests.items()
        if times[name, digest] != 1
    ]
    strange = [f"{where}: {name} with other bytes" for name, digest in times if digests.get(name) != digest]
    return wrong + strange


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
