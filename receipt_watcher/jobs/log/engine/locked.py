"""Another program keeps the job log locked: since when, which one, and for how long a caller waits for it.

What it promises: the time counts for the log, not for each caller: when it has been locked for longer than a caller is
patient, that caller is told at once, and none queues behind another. Any thread may ask; only the one that has the
log's connection notes something. Nothing is kept on disk.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path

#: For how long the caller waits while another program locks the log, in seconds; None: as long as the log lets anybody.
#: A request sets it for itself; threads that do work for it inherit it.
patience_seconds: ContextVar[float | None] = ContextVar("patience_seconds", default=None)

_LOCKS = Path("/proc/locks")


class Locked:
    """The locks of other programs on these files, as far as they were noticed."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._since: float | None = None
        self.last_at = float("-inf")  # when it was last found locked, by the monotonic clock

    @property
    def seconds(self) -> float:
        """For how long it has been locked, as far as is known; 0 if it is not."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def found(self) -> None:
        """Note that it is locked now."""
        self.last_at = time.monotonic()
        if self._since is None:
            self._since = self.last_at

    def is_over(self) -> None:
        """Note that it could be written just now."""
        self._since = None

    @property
    def advice(self) -> str:
        """The advice, with the name of the program if the kernel tells it."""
        holders = [f"process {pid} ({_name_of(pid)})" for pid in holders_of(self._files)]
        if holders:
            return f"end {' and '.join(holders)}, or wait for its end"
        return f"end that program; fuser {self._files[0]} names it"


def holders_of(files: Sequence[Path]) -> list[int]:
    """Return the other processes that have a file locked for writing, as far as the kernel tells (proc_locks(5))."""
    known = set()
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        known.add(f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}")
    pids: dict[int, None] = {}
    try:
        lines = _LOCKS.read_text("ascii", "replace").splitlines()
    except OSError:
        return []
    for line in lines:
        words = line.split()[1:]  # the first is a number; "->" follows for a process that waits for the lock itself
        if words[:1] in (["POSIX"], ["OFDLCK"]) and words[2:3] == ["WRITE"] and known.intersection(words[4:5]):
            pid = int(words[3])
            if pid > 0 and pid != os.getpid():
                pids[pid] = None
    return list(pids)


def _name_of(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "unknown"
