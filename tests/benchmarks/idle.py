"""idle: what the daemon costs while nothing comes, with an empty log and with very many receipts on hold.

One receipt has gone through before, and its connections have closed; those on hold were there at the start. The balance
that the daemon makes after each start is waited for: it is not idle before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import probe
from tests.benchmarks.machine import pinned
from tests.benchmarks.report import Table
from tests.benchmarks.stage import TOKEN, far_side, pid_of, running_daemon
from tests.benchmarks.start import NOBODY, queue_jobs
from tests.fakes.daemons.process import RunningDaemon, wait_until

#: As it is by default; tests are less patient.
_PATIENT = {"backoff_initial_seconds": 5, "backoff_max_seconds": 900, "hold_after": 1}
_PATIENCE_SECONDS = 300.0


def idle(root: Path, cpus: Sequence[int], *, seconds: float, calm_seconds: float, waiting: int) -> Table:
    """Measure both for so long, each after a calm."""
    (root / "empty").mkdir()
    with far_side(root, cpus) as far, running_daemon(root / "empty", far, cpus) as daemon:
        empty = _measure(daemon, seconds, calm_seconds)
    held = _with_hold(root / "held", cpus, seconds, calm_seconds, waiting)
    rows = {label: [figure, held[label]] for label, figure in empty.items()}
    more_bytes = (held["memory, MB"] - empty["memory, MB"]) * 1_000_000 / waiting
    rows["memory for each that waits, bytes"] = [0.0, more_bytes]
    about = f"{seconds:g} s with nothing to do"
    return Table("idle", about, ["none wait", "many wait"], rows)


def _with_hold(root: Path, cpus: Sequence[int], seconds: float, calm_seconds: float, waiting: int) -> dict[str, float]:
    daemon = RunningDaemon(root, NOBODY, TOKEN, changes={"logging": {"level": "info"}, "n8n": _PATIENT})
    daemon.is_forked = False
    queue_jobs(daemon, waiting)
    try:
        with pinned(cpus):
            daemon.start()
        wait_until(lambda: daemon.count("destination.held"), "N8N is held", _PATIENCE_SECONDS)
        found = _measure(daemon, seconds, calm_seconds)
        daemon.terminate(_PATIENCE_SECONDS)
    finally:
        daemon.kill()
    return found


def _measure(daemon: RunningDaemon, seconds: float, calm_seconds: float) -> dict[str, float]:
    pid = pid_of(daemon)
    wait_until(lambda: daemon.count("balance.checked"), "the balance after the start is made", _PATIENCE_SECONDS)
    threading.Event().wait(calm_seconds)
    began, cpu, wakeups = time.monotonic(), probe.cpu_seconds(pid), probe.wakeups(pid)
    threading.Event().wait(seconds)
    took = time.monotonic() - began
    return {
        "CPU, % of a core": (probe.cpu_seconds(pid) - cpu) / took * 100,
        "wake-ups a second": (probe.wakeups(pid) - wakeups) / took,
        "memory, MB": probe.resident_megabytes(pid),
        "memory of its own, MB": probe.private_megabytes(pid),
    }
