"""The command: `python -m tests.scenarios.bounds --receipts 100000`: whether the daemon stays as small as it is.

Drops distinct receipts into the inbox of the real daemon without a pause, but never more than a few hundred ahead of
it; a stand-in for N8N answers and calls back at once. Every 1,000 receipts it prints what the daemon holds: memory,
file descriptors, threads, bytes of the job log a job (with its WAL), and receipts a second. At the end it verifies
that each receipt arrived once and that nothing is left, and compares the second tenth of the run with its last: exit
code 1 if more is held than `GROWTH` allows, or if something is not verified.

The folder is a temporary one (on $TMPDIR; some 40 kB a receipt, most of it the receipts themselves) and goes with the
run. 100,000 receipts take some ten minutes on two cores; with --minutes it ends earlier, with what there was time for.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import machine, probe
from tests.benchmarks.stage import FarSide, far_side, pid_of, running_daemon
from tests.fakes.daemons.process import RunningDaemon, jpegs

#: So many receipts lie in inbox/ and processing/ at once, and so many are dropped together.
_AHEAD = 400
_TOGETHER = 50
_STALL_SECONDS = 60.0
_LOOK_SECONDS = 0.01

#: A verdict needs so many samples: then a tenth is two of them.
_SAMPLES_FOR_A_VERDICT = 20

_WARM_UP = 1  # the receipt that `running_daemon` sends first


@dataclass(frozen=True, slots=True)
class Sample:
    """The resources that the daemon holds after a number of receipts."""

    receipts: int
    megabytes: float
    descriptors: float
    threads: float
    log_bytes_per_job: float
    per_second: float


@dataclass(frozen=True, slots=True)
class Growth:
    """The growth of a resource that is allowed from the second tenth to the end."""

    noise: float
    per_receipt: float = 0.0
    reason: str = ""

    def bound(self, receipts: int) -> float:
        """Return how much more it may be after so many more receipts."""
        return self.noise + self.per_receipt * receipts


GROWTH: Mapping[str, Growth] = {
    "megabytes": Growth(
        5.0,
        32e-6,
        "each of the allocator's two arenas keeps its peak, some 2 MB once; the smallest thing that could be kept for "
        "each receipt, its id in a set, takes more than 110 bytes",
    ),
    "descriptors": Growth(12, reason="connections, of N8N's callbacks and to it, come and go"),
    "threads": Growth(4, reason="the pools start a thread when they need it"),
}


def problems_of(samples: Sequence[Sample]) -> list[str]:
    """Compare the median of the second tenth with that of the last; nothing where there are too few to tell."""
    if len(samples) < _SAMPLES_FOR_A_VERDICT:
        return []
    tenth = len(samples) // 10
    early, late = samples[tenth : 2 * tenth], samples[-tenth:]
    receipts = round(_median(late, "receipts") - _median(early, "receipts"))
    problems = []
    for name, growth in GROWTH.items():
        before, after = _median(early, name), _median(late, name)
        if after - before > growth.bound(receipts):
            problems.append(
                f"{name}: {before:,.1f} in the second tenth, {after:,.1f} in the last, {receipts:,} receipts later; "
                f"at most {growth.bound(receipts):,.1f} more is allowed: {growth.reason}"
            )
    return problems


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(statistics.median(getattr(sample, name) for sample in samples))


# --- the run -------------------------------------------------------------------------------------------------------


def samples_of(daemon: RunningDaemon, receipts: int, every: int, ends_at: float) -> Iterator[Sample]:
    """Drop so many receipts, or as many as there is time for, and yield what is held after every so many."""
    dropped, finished, before = 0, 0, time.monotonic()
    while dropped < receipts and time.monotonic() < ends_at:
        block = min(every, receipts - dropped)
        for first in range(dropped, dropped + block, _TOGETHER):
            _wait_until_left(daemon, _AHEAD - _TOGETHER)
            for number, content in enumerate(jpegs(min(_TOGETHER, dropped + block - first), first), first):
                daemon.drop(f"receipt-{number:07}.jpg", content)
        dropped += block
        now, finished_before = time.monotonic(), finished
        finished = max(finished, dropped - _left(daemon))  # one that is moved meanwhile is counted twice
        yield _sample(daemon, finished, (finished - finished_before) / (now - before))
        before = now
    _wait_until_left(daemon, 0)
    yield _sample(daemon, dropped, (dropped - finished) / (time.monotonic() - before))


def _wait_until_left(daemon: RunningDaemon, most: int) -> None:
    """Return when no more than so many lie in the inbox and in processing/; fail when none gets on for long."""
    pause = threading.Event()
    before, progressed_at = -1, time.monotonic()
    while (left := _left(daemon)) > most:
        if left != before:
            before, progressed_at = left, time.monotonic()
        if time.monotonic() > progressed_at + _STALL_SECONDS:
            raise AssertionError(f"{left} receipts have not moved for {_STALL_SECONDS:g} s; see {daemon.log_file}")
        pause.wait(_LOOK_SECONDS)


def _left(daemon: RunningDaemon) -> int:
    folders = (daemon.inbox, daemon.processing)
    return sum(not entry.name.startswith(".") for folder in folders for entry in folder.iterdir())


def _sample(daemon: RunningDaemon, receipts: int, per_second: float) -> Sample:
    pid = pid_of(daemon)
    log_bytes = sum(path.stat().st_size for path in daemon.state.glob("receipts.db*"))
    return Sample(
        receipts=receipts,
        megabytes=probe.resident_megabytes(pid),
        descriptors=_count(Path(f"/proc/{pid}/fd")),
        threads=_count(Path(f"/proc/{pid}/task")),
        log_bytes_per_job=log_bytes / (receipts + _WARM_UP),
        per_second=per_second,
    )


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def verified(daemon: RunningDaemon, far: FarSide, receipts: int) -> list[str]:
    """Say what is not as it must be: each receipt arrived once and has succeeded, and the log is sound."""
    problems = []
    arrived = Counter(line["filename"] for line in far.arrivals("office"))
    if (len(arrived), arrived.total()) != (receipts, receipts):
        problems.append(f"{len(arrived)} of {receipts} receipts arrived, in {arrived.total()} deliveries")
    with contextlib.closing(sqlite3.connect(f"file:{daemon.state / 'receipts.db'}?mode=ro", uri=True)) as log:
        states = dict(log.execute("SELECT state, COUNT(*) FROM job WHERE move_due = 0 GROUP BY state"))
        if states != {"success": receipts + _WARM_UP}:
            problems.append(f"the job log says {states}")
        if (found := log.execute("PRAGMA integrity_check").fetchone()) != ("ok",):
            problems.append(f"the job log is not sound: {found}")
    if (filed := len(daemon.files(daemon.done))) != receipts + _WARM_UP:
        problems.append(f"{filed} of {receipts + _WARM_UP} files are in done/")
    return problems


# --- the command ---------------------------------------------------------------------------------------------------

_HEAD = f"{'receipts':>9} {'memory, MB':>11} {'descriptors':>12} {'threads':>8} {'log, B/job':>11} {'a second':>9}"


def _line(sample: Sample) -> str:
    return (
        f"{sample.receipts:>9,} {sample.megabytes:>11.1f} {sample.descriptors:>12} {sample.threads:>8} "
        f"{sample.log_bytes_per_job:>11,.0f} {sample.per_second:>9.0f}"
    )


def main() -> int:
    """Run it, print it, and return the exit code."""
    options = _options()
    ends_at = time.monotonic() + options.minutes * 60
    cpus = sorted(machine.there())
    os.environ["MALLOC_ARENA_MAX"] = "2"  # as systemd/receipt-watcher.service does
    samples: list[Sample] = []
    _show(_HEAD)
    with tempfile.TemporaryDirectory(prefix="receipt-watcher-bounds-") as folder:
        root = Path(folder)
        with far_side(root, cpus) as far, running_daemon(root, far, cpus) as daemon:
            for sample in samples_of(daemon, options.receipts, options.every, ends_at):
                samples.append(sample)
                _show(_line(sample))
            problems = verified(daemon, far, samples[-1].receipts)
    problems += problems_of(samples)
    for problem in problems:
        _show(f"NOT AS IT MUST BE: {problem}")
    _show(_verdict(samples, problems))
    return int(bool(problems))


def _verdict(samples: Sequence[Sample], problems: Sequence[str]) -> str:
    if problems:
        return f"{samples[-1].receipts:,} receipts: not within bounds"
    if len(samples) < _SAMPLES_FOR_A_VERDICT:
        return f"{samples[-1].receipts:,} receipts: each arrived once; too few samples to tell what grows"
    return f"{samples[-1].receipts:,} receipts: each arrived once; memory, descriptors and threads are flat"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.scenarios.bounds",
        description="Whether memory, descriptors, threads and job log stay bounded over very many receipts.",
        epilog="Example: python -m tests.scenarios.bounds --receipts 20000",
    )
    parser.add_argument("--receipts", type=int, default=100_000, help="how many; default 100,000")
    parser.add_argument("--every", type=int, default=1000, help="a line after so many; default 1,000")
    parser.add_argument("--minutes", type=float, default=60.0, help="end after so long at the latest; default 60")
    return parser.parse_args()


def _show(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what the command is for


if __name__ == "__main__":
    sys.exit(main())
