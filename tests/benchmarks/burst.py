"""burst: many receipts at once. How many a second go all the way, beside the reference in the same run.

The receipts are drawn and on disk before the clock starts, in a folder beside, and are renamed into the inbox; after
each run they are renamed back. All of them are verified: arrived once, filed, byte for byte.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import probe, reference
from tests.benchmarks.machine import pinned
from tests.benchmarks.report import Table, with_median
from tests.benchmarks.stage import (
    SETTLE_SECONDS,
    FarSide,
    far_side,
    make_receipts,
    move_all,
    pid_of,
    problems_of,
    running_daemon,
    wait_for_filed,
)
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon


@dataclass(frozen=True, slots=True)
class Reference:
    """The time of the same work without durability, and the receipts of it that did not arrive."""

    seconds: float
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Run:
    """The figures of one run; moments are Unix seconds."""

    receipts: int
    size: int
    dropped_at: float
    first_posted_at: float
    last_filed_at: float
    daemon_cpu_seconds: float
    far_side_cpu_seconds: float
    peak_megabytes: float
    reference: Reference
    problems: list[str]

    @property
    def per_second(self) -> float:
        """From the first POST to the last one filed."""
        return self.receipts / (self.last_filed_at - self.first_posted_at)

    @property
    def per_second_of_drop(self) -> float:
        """From the first rename into the inbox: with the settle time and the taking in."""
        return self.receipts / (self.last_filed_at - self.dropped_at)

    @property
    def megabytes_per_second(self) -> float:
        """The same in bytes of receipts."""
        return self.per_second * self.size / 1_000_000

    @property
    def reference_per_second(self) -> float:
        """The receipts that the reference finished a second."""
        return self.receipts / self.reference.seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """The number and size (in bytes) of receipts that come at once, their payload, and the number of runs."""

    name: str
    receipts: int
    size: int
    runs: int
    payload: str = "json"


class Burst:
    """One plan on one machine: the receipts, and what is done with them."""

    def __init__(self, root: Path, cpus: Sequence[int], plan: Plan) -> None:
        self._root = root
        self._cpus = cpus
        self._plan = plan
        self._store = root / "store"
        self._digests = make_receipts(self._store, plan.receipts, plan.size)

    def run(self, number: int) -> Run:
        """Do it once: the reference first, then the daemon."""
        root = self._root / f"run-{number}"
        root.mkdir()
        with far_side(root, self._cpus) as far:
            without_durability = self._refer(root, far)
            with running_daemon(root, far, self._cpus, {"n8n": {"payload": self._plan.payload}}) as daemon:
                return self._measure(daemon, far, without_durability)

    def _refer(self, root: Path, far: FarSide) -> Reference:
        """Let the reference do the same work."""
        target = root / "reference"
        target.mkdir()
        words = ["tests.benchmarks.reference", str(self._store), str(target), far.webhook_url, self._plan.payload]
        with pinned(self._cpus):
            command = [sys.executable, "-m", *words]
            ended = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
        move_all(self._digests, target, self._store)
        arrived = {line["filename"]: line["sha256"] for line in far.arrivals(reference.INBOX)}
        problems = [] if arrived == self._digests else ["what the reference sent did not all arrive"]
        return Reference(json.loads(ended.stdout)["seconds"], problems)

    def _measure(self, daemon: RunningDaemon, far: FarSide, without_durability: Reference) -> Run:
        digests = self._digests
        pids = (pid_of(daemon), far.process.pid)
        costs = [probe.cpu_seconds(pid) for pid in pids]
        dropped_at = time.time()
        move_all(digests, self._store, daemon.inbox)
        wait_for_filed(daemon, len(digests))
        last_filed_at = time.time()
        daemon_cost, far_cost = [probe.cpu_seconds(pid) - cost for pid, cost in zip(pids, costs, strict=True)]
        peak = probe.peak_megabytes(pids[0])
        problems = [*without_durability.problems, *problems_of(daemon, far, digests)]
        move_all([path.name for path in daemon.files(daemon.done) if path.name in digests], daemon.done, self._store)
        return Run(
            receipts=len(digests),
            size=self._plan.size,
            dropped_at=dropped_at,
            first_posted_at=min((line["received_at"] for line in far.arrivals("office")), default=dropped_at),
            last_filed_at=last_filed_at,
            daemon_cpu_seconds=daemon_cost,
            far_side_cpu_seconds=far_cost,
            peak_megabytes=peak,
            reference=without_durability,
            problems=problems,
        )


def burst(root: Path, cpus: Sequence[int], plan: Plan) -> Table:
    """Measure it so many times."""
    made = Burst(root, cpus, plan)
    return _table([made.run(number) for number in range(1, plan.runs + 1)], plan)


def _table(runs: Sequence[Run], plan: Plan) -> Table:
    rows = {
        "drop to all filed, s": [run.last_filed_at - run.dropped_at for run in runs],
        "finished a second, since the drop": [run.per_second_of_drop for run in runs],
        "finished a second, since the first POST": [run.per_second for run in runs],
        "MB a second, since the first POST": [run.megabytes_per_second for run in runs],
        "reference, finished a second": [run.reference_per_second for run in runs],
        "ratio to the reference": [run.per_second / run.reference_per_second for run in runs],
        "CPU of the daemon, ms a receipt": [run.daemon_cpu_seconds / plan.receipts * 1000 for run in runs],
        "CPU of the far side, ms a receipt": [run.far_side_cpu_seconds / plan.receipts * 1000 for run in runs],
        "peak memory of the daemon, MB": [run.peak_megabytes for run in runs],
    }
    return Table(
        plan.name,
        f"{plan.receipts:,} JPEGs of {plan.size / 1000:,.0f} kB, as {plan.payload}, renamed into the inbox at once, "
        f"settle time {SETTLE_SECONDS:g} s",
        ["median", *(f"run {number}" for number in range(1, plan.runs + 1))],
        {label: with_median(figures) for label, figures in rows.items()},
        [problem for run in runs for problem in run.problems],
    )
