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
import os


def _allowed() -> set[int]:
    try:
        return os.sched_getaffinity(0)
    except OSError:  # it is refused; then so is to change it
        return set()


#: The processors that we may use, as taskset or systemd (CPUAffinity=) has it.
_ALLOWED = _allowed()


def keep_to_one_core() -> None:
    """Have this thread, and all that it starts, run on the processor where it runs now."""
    # A C library without it; a call that is refused; a system that does not know where it runs, and says -1.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.sched_setaffinity(0, {ctypes.CDLL(None).sched_getcpu()})


def leave_core() -> None:
    """Have this thread, and the processes that it starts, run on any processor that we may use."""
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, _ALLOWED)
