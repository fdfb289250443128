"""idle: what the daemon costs while nothing comes, after one receipt has gone through and connections have closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import probe
from tests.benchmarks.report import Table
from tests.benchmarks.stage import far_side, pid_of, running_daemon


def idle(root: Path, cpus: Sequence[int], *, seconds: float, calm_seconds: float) -> Table:
    """Measure it for so long, after a calm."""
    with far_side(root, cpus) as far, running_daemon(root, far, cpus) as daemon:
        pid = pid_of(daemon)
        threading.Event().wait(calm_seconds)
        began, cpu, wakeups = time.monotonic(), probe.cpu_seconds(pid), probe.wakeups(pid)
        threading.Event().wait(seconds)
        took = time.monotonic() - began
        rows = {
            "CPU, % of a core": [(probe.cpu_seconds(pid) - cpu) / took * 100],
            "wake-ups a second": [(probe.wakeups(pid) - wakeups) / took],
            "memory, MB": [probe.resident_megabytes(pid)],
            "memory of its own, MB": [probe.private_megabytes(pid)],
        }
    return Table("idle", f"{seconds:g} s with nothing to do", ["value"], rows)
