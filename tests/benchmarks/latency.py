"""latency: receipts one by one. How long each step of the way takes when nothing else is to do.

Half of them are renamed into the inbox, half are written there in pieces. The time of settling is taken off: it counts
from the rename, or the close, and N8N has a receipt when all of it has arrived. The verdict's moment is when the
daemon began to write it down (`completed_at`, in whole milliseconds).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.benchmarks.report import SPREAD, Table, spread
from tests.benchmarks.stage import (
    SETTLE_SECONDS,
    FarSide,
    far_side,
    make_receipts,
    problems_of,
    running_daemon,
)
from tests.fakes.daemons.process import DEADLINE_SECONDS, RunningDaemon

_LOOK_SECONDS = 0.0005
_PIECES = 4


@dataclass(frozen=True, slots=True)
class Passage:
    """One receipt's moments, Unix seconds."""

    name: str
    was_moved: bool
    closed_at: float
    filed_at: float


def latency(root: Path, cpus: Sequence[int], *, receipts: int, size: int) -> Table:
    """Measure it."""
    store = root / "store"
    digests = make_receipts(store, receipts, size)
    with far_side(root, cpus) as far, running_daemon(root, far, cpus) as daemon:
        gaps = random.Random(1)
        passages = []
        for number, name in enumerate(digests):
            # An odd pause, so that no tick of the daemon meets all receipts at the same point.
            threading.Event().wait(gaps.uniform(0.02, 0.12))
            passages.append(_pass(daemon, store / name, was_moved=number % 2 == 0))
        problems = problems_of(daemon, far, digests)
        return Table(
            "latency",
            f"{receipts} receipts of {size / 1000:,.0f} kB one by one; milliseconds, settle time taken off",
            SPREAD,
            rows_of(passages, daemon, far),
            problems,
        )


def _pass(daemon: RunningDaemon, file: Path, *, was_moved: bool) -> Passage:
    target = daemon.inbox / file.name
    if was_moved:
        file.rename(target)
    else:
        _write(file, target)
    closed_at = time.time()
    return Passage(file.name, was_moved, closed_at, filed_at(daemon.done / file.name))


def _write(source: Path, target: Path) -> None:
    """Write a file where it will stay, in pieces."""
    content = source.read_bytes()
    step = len(content) // _PIECES + 1
    with target.open("wb", buffering=0) as writer:
        for start in range(0, len(content), step):
            writer.write(content[start:][:step])


def filed_at(path: Path) -> float:
    """Wait for a file, looking oftener than `wait_until` does, and return when it was there."""
    pause = threading.Event()
    ends_at = time.monotonic() + DEADLINE_SECONDS
    while not path.exists():
        if time.monotonic() > ends_at:
            raise AssertionError(f"not within {DEADLINE_SECONDS:g} s: {path.name} is filed")
        pause.wait(_LOOK_SECONDS)
    return time.time()


def rows_of(passages: Sequence[Passage], daemon: RunningDaemon, far: FarSide) -> dict[str, list[float]]:
    """Return how long each leg took, in milliseconds."""
    posted = {line["filename"]: line["received_at"] for line in far.arrivals("office")}
    judged = {job["filename"]: datetime.fromisoformat(job["completed_at"]).timestamp() for job in daemon.jobs()}
    settled_to_post = {
        passage: posted[passage.name] - passage.closed_at - SETTLE_SECONDS
        for passage in passages
        if passage.name in posted
    }
    seconds = {
        "settled to POST, moved in": [took for passage, took in settled_to_post.items() if passage.was_moved],
        "settled to POST, written": [took for passage, took in settled_to_post.items() if not passage.was_moved],
        "settled to POST": list(settled_to_post.values()),
        "verdict to filed": [passage.filed_at - judged[passage.name] for passage in passages],
        "settled to filed": [passage.filed_at - passage.closed_at - SETTLE_SECONDS for passage in passages],
    }
    return {label: spread([figure * 1000 for figure in figures]) for label, figures in seconds.items()}
