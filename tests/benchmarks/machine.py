"""The machine, on which the figures depend: processors, file system, Python; and how to keep to two processors.

The daemon and the far side share the processors that are pinned, the benchmark itself keeps away from them where
there are others: looking must not cost what is looked at.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from receipt_watcher.system.mounts import mount_of

TWO_CORES = 2
_FLUSHES = 20


def there() -> set[int]:
    """Return the processors that this process may use."""
    return os.sched_getaffinity(0)


def choose_cpus(wanted: Sequence[int] | None) -> list[int]:
    """Return the processors for daemon and far side: those that are wanted, by default two; [] wants no pinning."""
    all_cpus = sorted(there())
    if wanted is None:
        return all_cpus[:TWO_CORES]
    return list(wanted) or all_cpus


def keep_off(cpus: Sequence[int]) -> None:
    """Run this process on the processors that are left, if any are."""
    left = there() - set(cpus)
    if left:
        os.sched_setaffinity(0, left)


@contextlib.contextmanager
def pinned(cpus: Sequence[int]) -> Iterator[None]:
    """Let processes that are started inside keep to these processors: a child has its parent's."""
    before = there()
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe(folder: Path, cpus: Sequence[int]) -> dict[str, Any]:
    """Return what the reader of the figures needs to know."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "pinned_to": list(cpus),
        "load": round(os.getloadavg()[0], 2),
        "file_system": mount_of(folder).file_system,
        "flush_ms": round(_flush_seconds(folder) * 1000, 3),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def in_words(machine: dict[str, Any]) -> str:
    """Return the description in two lines."""
    cpus = ",".join(map(str, machine["pinned_to"]))
    return (
        f"{machine['cpu']}, {machine['cores']} cores; daemon and far side on {cpus} (--pin); load {machine['load']}\n"
        f"{machine['file_system']}, {machine['flush_ms']} ms to flush a small file; "
        f"Python {machine['python']}, Linux {machine['kernel']}\n"
    )


def _cpu_model() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _flush_seconds(folder: Path) -> float:
    """Return what durability costs on this disk at least: writing and flushing a small new file."""
    took = []
    for _ in range(_FLUSHES):
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)
