"""The costs of a process so far, read from /proc and its clock, without asking it."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

_KIBIBYTES_PER_MEGABYTE = 1_000_000 / 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all its threads: to the nanosecond, where /proc/<pid>/stat counts hundredths."""
    return time.clock_gettime((~pid << 3) | 2)  # the clock that clock_getcpuclockid(3) names, CPUCLOCK_SCHED


def resident_megabytes(pid: int) -> float:
    """Return what it holds in memory now."""
    return _megabytes(pid, "VmRSS")


def private_megabytes(pid: int) -> float:
    """Return what would be free if it ended: without the libraries that it shares with other processes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    return sum(_status_number(rollup, name) for name in ("Private_Clean", "Private_Dirty")) / _KIBIBYTES_PER_MEGABYTE


def peak_megabytes(pid: int) -> float:
    """Return the most that it ever held in memory."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, name: str) -> float:
    return _status_number(Path(f"/proc/{pid}/status"), name) / _KIBIBYTES_PER_MEGABYTE


def wakeups(pid: int) -> int:
    """Return how often its threads gave the processor up of themselves, each a wake-up later."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            total += _status_number(thread / "status", "voluntary_ctxt_switches")
    return total


def _status_number(status: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+)", status.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0
