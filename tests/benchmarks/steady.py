"""steady: receipts that come one after the other at a fixed rate, as from scanners that never rest.

As `latency`, but nobody waits for one before the next comes, so the daemon takes, sends and files at the same time.
When a file was filed its own inode tells (ctime), since to look for very many costs what is looked at: by the
kernel's clock, which may be some milliseconds behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.latency import Passage, rows_of
from tests.benchmarks.report import SPREAD, Table, spread
from tests.benchmarks.stage import (
    far_side,
    make_receipts,
    problems_of,
    running_daemon,
    wait_for_filed,
)


def steady(root: Path, cpus: Sequence[int], *, receipts: int, per_second: float, size: int) -> Table:
    """Measure it; all are renamed into the inbox."""
    store = root / "store"
    digests = make_receipts(store, receipts, size)
    with far_side(root, cpus) as far, running_daemon(root, far, cpus) as daemon:
        pause, lateness, closed_at = threading.Event(), [], {}
        began = time.monotonic()
        for number, name in enumerate(digests):
            due_at = began + number / per_second
            pause.wait(max(0.0, due_at - time.monotonic()))
            (store / name).rename(daemon.inbox / name)
            closed_at[name] = time.time()
            lateness.append(time.monotonic() - due_at)
        wait_for_filed(daemon, receipts)
        passages = [
            Passage(name, was_moved=True, closed_at=at, filed_at=(daemon.done / name).stat().st_ctime)
            for name, at in closed_at.items()
        ]
        rows = rows_of(passages, daemon, far)
        del rows["settled to POST, moved in"], rows["settled to POST, written"]
        rows["dropped too late"] = spread([late * 1000 for late in lateness])
        problems = problems_of(daemon, far, digests)
    about = (
        f"{receipts:,} receipts of {size / 1000:,.0f} kB, {per_second:g} a second; milliseconds, settle time taken off"
    )
    return Table("steady", about, SPREAD, rows, problems)
