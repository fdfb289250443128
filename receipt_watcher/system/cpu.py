"""One processor for all threads of the daemon, as Python runs them: one at a time.

Each system call lets another thread go on, and on several processors that one is woken on another of them. In a burst
that was four of five context switches, and a third of the computing time: 138 for each receipt, 33 on one processor.
The kernel moves other programs away from a processor that is busy. Examiners, which are processes of their own, do
not keep to it.

`keep_to_one_core` is called once, before any thread starts. It changes this process only; where it is not allowed, all
goes on as without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from pathlib import Path

_CONTROL_GROUPS = "/sys/fs/cgroup"


def _allowed() -> set[int]:
    try:
        return os.sched_getaffinity(0)
    except OSError:  # it is refused; then so is to change it
        return set()


#: The processors that we may use, as taskset or systemd (CPUAffinity=) has it.
_ALLOWED = _allowed()


def processors() -> int:
    """Return how many processors examiners may use: by CPU affinity, and by the quota of a container or a unit."""
    number = len(_ALLOWED) or os.cpu_count() or 1
    quotas = [quota for quota in map(_quota, _control_groups()) if quota is not None]
    return max(1, min([number, *quotas]))


def _own_groups() -> str:
    """Return which control groups we are in, a line for each hierarchy; see cgroups(7)."""
    try:
        return Path("/proc/self/cgroup").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _control_groups() -> list[Path]:
    """Return the folders of our control group and of those above it."""
    lines = _own_groups().splitlines()
    own = next((Path(f"{_CONTROL_GROUPS}{line[3:]}") for line in lines if line.startswith("0::/")), None)
    return [] if own is None else [own, *(each for each in own.parents if each.is_relative_to(_CONTROL_GROUPS))]


def _quota(group: Path) -> int | None:
    """Return how many processors a control group may use, rounded up; None for no limit."""
    try:
        quota, period = (group / "cpu.max").read_text("ascii").split()
        return None if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None


def keep_to_one_core() -> None:
    """Have this thread, and all that it starts, run on the processor where it runs now."""
    # A C library without it; a call that is refused; a system that does not know where it runs, and says -1.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.sched_setaffinity(0, {ctypes.CDLL(None).sched_getcpu()})


def leave_core() -> None:
    """Have this thread, and the processes that it starts, run on any processor that we may use."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, _ALLOWED)
