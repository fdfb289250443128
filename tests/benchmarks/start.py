"""start: from the command to `daemon.started`, and until the inbox is open, with nothing and with very much waiting.

A backlog waits either as jobs, each with its row and its file in processing/, or as files in the inbox. N8N is out of
reach, so that nothing is sent meanwhile.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from tests.benchmarks import probe
from tests.benchmarks.machine import pinned
from tests.benchmarks.report import Table
from tests.benchmarks.stage import TOKEN, pid_of
from tests.fakes.daemons.process import RunningDaemon, wait_until

_PATIENCE_SECONDS = 120.0
#: A webhook that nobody listens at.
NOBODY = "http://127.0.0.1:9/webhook/receipts"
_ROWS_A_COMMIT = 10_000
_CONTENT = b"x"


def start(root: Path, cpus: Sequence[int], *, waiting: int) -> Table:
    """Measure it three times."""
    problems: list[str] = []
    rows = {
        "nothing waits": _measure(root / "empty", cpus, lambda _: None, 0, problems),
        "queued jobs": _measure(root / "queued", cpus, lambda daemon: queue_jobs(daemon, waiting), waiting, problems),
        "files in the inbox": _measure(root / "files", cpus, lambda daemon: drop_files(daemon, waiting), 0, problems),
    }
    about = f"{waiting:,} receipts wait; seconds since the command"
    return Table("start", about, ["started", "inbox open", "peak, MB"], rows, problems)


def queue_jobs(daemon: RunningDaemon, count: int, inbox: str = "office", processing: Path | None = None) -> list[str]:
    """Record so many receipts that are due, each with its file, and return their ids, the oldest first."""
    processing = processing or daemon.processing
    now = time.time() - count
    job_ids = [new_job_id(now + number) for number in range(count)]
    processing.mkdir(exist_ok=True)
    for number, job_id in enumerate(job_ids):
        (processing / job_id).mkdir()
        (processing / job_id / f"scan_{number:07}.jpg").write_bytes(_CONTENT)
    daemon.state.mkdir(exist_ok=True)
    log = JobLog(daemon.state / "receipts.db")
    log.database.open()
    for first in range(0, count, _ROWS_A_COMMIT):
        with log.database.transaction():
            for number, job_id in enumerate(job_ids[first:][:_ROWS_A_COMMIT], first):
                log.jobs.insert(_queued(inbox, job_id, number, now + number))
    log.database.close()
    return job_ids


def _queued(inbox: str, job_id: str, number: int, at: float) -> Job:
    name = f"scan_{number:07}.jpg"
    return Job(
        job_id=job_id,
        state=State.QUEUED,
        inbox=inbox,
        branch=inbox,
        filename=name,
        relative_path=Path(name),
        folder=Folder.PROCESSING,
        stored_path=Path(job_id, name),
        mime_type="image/jpeg",
        size=len(_CONTENT),
        sha256=hashlib.sha256(_CONTENT).hexdigest(),
        target=f"{NOBODY} ",
        notion_database_id="",
        created_at=at,
        updated_at=at,
        next_attempt_at=at,
    )


def drop_files(daemon: RunningDaemon, count: int) -> None:
    """Put so many files into the inbox."""
    for number in range(count):
        (daemon.inbox / f"scan_{number:07}.jpg").write_bytes(_CONTENT)


def _measure(
    root: Path, cpus: Sequence[int], prepare: Callable[[RunningDaemon], object], queued: int, problems: list[str]
) -> list[float]:
    daemon = RunningDaemon(root, NOBODY, TOKEN, changes={"logging": {"level": "info"}})
    daemon.is_forked = False
    prepare(daemon)
    try:
        with pinned(cpus):
            began_at = time.time()
            daemon.start("--accept-backlog", wait=False)
        wait_until(lambda: _seconds_to(daemon, "daemon.started", began_at), "it starts", _PATIENCE_SECONDS)
        wait_until(lambda: _seconds_to(daemon, "inbox.watched", began_at), "the inbox opens", _PATIENCE_SECONDS)
        peak = probe.peak_megabytes(pid_of(daemon))
        daemon.terminate(_PATIENCE_SECONDS)
    finally:
        daemon.kill()
    if queued and (kept := _queued_count(daemon)) != queued:
        problems.append(f"{kept} of {queued} jobs are queued")
    return [*(_seconds_to(daemon, name, began_at) for name in ("daemon.started", "inbox.watched")), peak]


def _seconds_to(daemon: RunningDaemon, event: str, began_at: float) -> float:
    """Return when it said so; 0 where it has not."""
    return next((_moment(line) - began_at for line in daemon.events(event)), 0.0)


def _moment(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def _queued_count(daemon: RunningDaemon) -> int:
    with daemon.job_log() as log:
        return log.statistics.counts()[State.QUEUED]
