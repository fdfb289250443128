"""memory: the most that the daemon holds while large receipts come at once, sent as multipart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import probe
from tests.benchmarks.report import Table
from tests.benchmarks.stage import (
    far_side,
    make_receipts,
    move_all,
    pid_of,
    problems_of,
    running_daemon,
    wait_for_filed,
)

_CHANGES = {"n8n": {"payload": "multipart"}, "limits": {"max_file_mb": 50}}


def memory(root: Path, cpus: Sequence[int], *, receipts: int, size: int) -> Table:
    """Measure it."""
    store = root / "store"
    digests = make_receipts(store, receipts, size)
    with far_side(root, cpus) as far, running_daemon(root, far, cpus, _CHANGES) as daemon:
        before = probe.peak_megabytes(pid_of(daemon))
        move_all(digests, store, daemon.inbox)
        wait_for_filed(daemon, receipts)
        rows = {
            "peak before, MB": [before],
            "peak, MB": [probe.peak_megabytes(pid_of(daemon))],
        }
        problems = problems_of(daemon, far, digests)
    about = f"{receipts} JPEGs of {size / 1_000_000:g} MB at once, as multipart"
    return Table("memory", about, ["value"], rows, problems)
