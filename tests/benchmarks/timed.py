"""receipt-watcher that notes how long each stage of its receipts takes.

`python -m tests.benchmarks.timed run …` with STAGES_FILE naming a file: for each call of a stage a line of JSON goes
there when the daemon ends, with its name, wall time and CPU time of its thread, in seconds, what it calls included.
Nothing in the production code knows of it. A stage that was renamed is an AttributeError here: move the plug along.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from receipt_watcher.cli import main
from receipt_watcher.delivery.callbacks import Callbacks
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.outcomes import Outcomes
from receipt_watcher.delivery.worker import Deliveries
from receipt_watcher.examine.examiners import Examiners
from receipt_watcher.inbox.duplicates import DuplicateCheck
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.log.engine.turns import ConnectionTurns
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.folders import Spool

#: In the order in which a receipt meets them; those that are indented are parts of the one above.
STAGES: dict[str, tuple[type, str]] = {
    "look at the inbox": (InboxWatch, "settled"),
    "take in": (Gate, "_take"),
    "  examine": (Examiners, "examine"),
    "  move to processing": (Spool, "take"),
    "  flush": (Spool, "flush"),
    "  record": (DuplicateCheck, "record"),
    "claim": (Deliveries, "_claim"),
    "POST": (Outbound, "post"),
    "settle": (Outcomes, "settle"),
    "conclude": (Callbacks, "conclude"),
    "file away": (Filing, "_move_all"),
    "  move": (Spool, "move"),
    "  flush the move": (Spool, "flush_moves"),
    "all commits": (ConnectionTurns, "commit"),
}

_noted: deque[tuple[str, float, float]] = deque()


def _timed(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def timing(*arguments: Any, **options: Any) -> Any:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return call(*arguments, **options)
        finally:
            _noted.append((stage, time.perf_counter() - wall, time.thread_time() - cpu))

    return timing


def _write() -> None:
    Path(os.environ["STAGES_FILE"]).write_text("".join(f"{json.dumps(each)}\n" for each in _noted))


if __name__ == "__main__":
    for stage, (owner, name) in STAGES.items():
        setattr(owner, name, _timed(stage, getattr(owner, name)))
    atexit.register(_write)
    sys.argv[0] = "receipt-watcher"
    main.main()
