"""The limits of an examination, and the processes that a pool has started."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.examine.result import FileLimits
from tests.fakes.daemons.fork_server import server_pids

LIMITS = FileLimits(max_file_bytes=50_000_000, max_pixels=250_000_000)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started, and that have not been waited for, without the fork server."""
    listed = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [child for children in listed for child in map(int, children) if child not in server_pids()]


def is_running(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
