"""decompose: where the time of one receipt goes, stage by stage, when nothing else is to do.

The daemon runs with a stopwatch on each stage (see `timed`), and receipts are renamed into its inbox one by one. What
a stage costs is the sum of all its calls, those that found nothing to do included, over all receipts. Of the examiner,
which is another process, only the wait is seen. Wall time and CPU time of the thread; parts are indented.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import probe
from tests.benchmarks.latency import filed_at
from tests.benchmarks.report import Table
from tests.benchmarks.stage import far_side, make_receipts, pid_of, problems_of, running_daemon
from tests.benchmarks.timed import STAGES

_PAUSE_SECONDS = 0.05


def decompose(root: Path, cpus: Sequence[int], *, receipts: int, size: int) -> Table:
    """Measure it."""
    store, stages_file = root / "store", root / "stages"
    digests = make_receipts(store, receipts, size)
    os.environ["STAGES_FILE"] = str(stages_file)
    with far_side(root, cpus) as far, running_daemon(root, far, cpus, module="tests.benchmarks.timed") as daemon:
        before = probe.cpu_seconds(pid_of(daemon))
        for name in digests:
            threading.Event().wait(_PAUSE_SECONDS)
            (store / name).rename(daemon.inbox / name)
            filed_at(daemon.done / name)
        whole = (probe.cpu_seconds(pid_of(daemon)) - before) / receipts * 1_000_000
        problems = problems_of(daemon, far, digests)
    rows = _rows(stages_file, receipts + 1)  # the first one warmed it up
    rows["the whole process"] = [float("nan"), whole]
    about = f"{receipts} receipts of {size / 1000:,.0f} kB one by one; microseconds a receipt"
    return Table("decompose", about, ["wall", "CPU"], rows, problems)


def _rows(stages_file: Path, receipts: int) -> dict[str, list[float]]:
    noted = [json.loads(line) for line in stages_file.read_text().splitlines()]
    return {
        stage: [sum(each[column] for each in noted if each[0] == stage) / receipts * 1_000_000 for column in (1, 2)]
        for stage in STAGES
    }
