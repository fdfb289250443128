"""callbacks: N8N says what became of very many receipts, at a fixed rate, while uploads run and a page is open.

All those receipts were accepted before and wait for their callback. Whoever asks is a process of its own, away from
the daemon's processors where there are others. Verified is that no callback is lost: each is answered with 200, and
each receipt is in done/ at the end.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from receipt_watcher.jobs.states import State
from tests.benchmarks.crowd import BEGUN, CHROMIUM
from tests.benchmarks.report import SPREAD, Table, spread
from tests.benchmarks.stage import far_side, make_receipts, move_all, running_daemon
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, wait_until

_PATIENCE_SECONDS = 120.0
#: Nothing is sent again meanwhile. This machine may see and upload.
_CHANGES = {"callback": {"deadline_seconds": 3600}, "http": {"local_role": "operator"}}
_GOOD = {"callback": {"200"}, "upload": {"202"}, "page": {"200", "304"}}


def callbacks(root: Path, cpus: Sequence[int], *, receipts: int, per_second: float, size: int) -> Table:
    """Measure it."""
    store = root / "store"
    digests = make_receipts(store, receipts, size)
    with (
        far_side(root, cpus, "--silent-for", "receipt-") as far,
        running_daemon(root, far, cpus, _CHANGES) as daemon,
    ):
        move_all(digests, store, daemon.inbox)
        wait_until(lambda: _count(daemon, State.PROCESSING) >= receipts, "all were accepted", _PATIENCE_SECONDS)
        with daemon.job_log() as log:
            job_ids = [job.job_id for job in log.lookups.listing(states=[State.PROCESSING], limit=None)]
        with _crowd(daemon.url, "reader") as reader, _crowd(daemon.url, "sender") as sender:
            with _crowd(daemon.url, "caller", "--per-second", str(per_second)) as caller:
                told = _end(caller, "\n".join(job_ids))
            seen = {"callback": told, "upload": _end(sender), "page": _end(reader)}
        uploads = sum(map(len, seen["upload"].values()))
        wait_until(lambda: daemon.is_quiet(1 + receipts + uploads), "all are filed", _PATIENCE_SECONDS)
        missing = {path.name for path in daemon.files(daemon.done)} ^ set(digests)
        problems = [*_refusals(seen), *(f"not filed, or too much: {name}" for name in missing if _is_told(name))]
    rows = {what: spread([took for times in found.values() for took in times]) for what, found in seen.items()}
    about = (
        f"{receipts:,} callbacks, {per_second:g} a second, {uploads} uploads meanwhile, the overview open "
        f"in {'a script' if CHROMIUM is None else 'Chromium'}; milliseconds until the answer"
    )
    return Table("callbacks", about, SPREAD, rows, problems)


def _count(daemon: RunningDaemon, state: State) -> int:
    with daemon.job_log() as log:
        return log.statistics.counts()[state]


def _is_told(name: str) -> bool:
    """Return whether it is one of those that were called back for by the benchmark."""
    return name.startswith("receipt-")


@contextlib.contextmanager
def _crowd(url: str, who: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.benchmarks.crowd", who, url, *options]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if who != "caller":
                assert process.stdout is not None
                assert process.stdout.readline().strip() == BEGUN
            yield process
        finally:
            process.kill()


def _end(process: subprocess.Popen[str], said: str = "") -> dict[str, list[float]]:
    """Say the last there is to say, and return what was seen."""
    seen: dict[str, list[float]] = json.loads(process.communicate(said, _PATIENCE_SECONDS)[0])
    return seen


def _refusals(seen: dict[str, dict[str, list[float]]]) -> list[str]:
    return [
        f"{what}: {len(times)} answered with {status}"
        for what, found in seen.items()
        for status, times in found.items()
        if status not in _GOOD[what]
    ]
