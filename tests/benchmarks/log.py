"""log: what the job log's calls cost, with few rows and with very many; and how large its file is.

Both logs are filled with copies of one receipt that went all the way, with its history and its attempt, by SQL. Each
call is then made for fresh receipts; medians of thread CPU time, in microseconds: the disk is the same for both.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.tables import JOB_COLUMNS
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.states import OPEN_STATES, Event, State
from tests.benchmarks.report import Table

_FEW = 1000
_CALLS = 200
_LISTINGS = 20
_NOW = 1_800_000_000.0
_SECONDS_APART = 60.0
_INBOX = ["office"]


def log(root: Path, *, rows: int) -> Table:
    """Measure it with few rows, and with so many, in turns."""
    logs = [JobLog(root / "few.db"), JobLog(root / "many.db")]
    sizes = [_fill(log, number) / number for log, number in zip(logs, [min(_FEW, rows), rows], strict=True)]
    took: dict[str, list[list[float]]] = {}
    for number in range(_CALLS):
        for column, log in enumerate(logs):
            for label, seconds in _pass(log, _fresh(number, _NOW + number)).items():
                took.setdefault(label, [[], []])[column].append(seconds)
    for _ in range(_LISTINGS):
        for column, log in enumerate(logs):
            for label, ask in _questions(log).items():
                took.setdefault(label, [[], []])[column].append(_cpu_seconds(ask))
    for log in logs:
        log.database.close()
    found = {label: [statistics.median(each) * 1_000_000 for each in both] for label, both in took.items()}
    table = {label: [few, many, many / few] for label, (few, many) in {**found, "bytes a job": sizes}.items()}
    about = f"{rows:,} receipts are in the log; microseconds of CPU for each call"
    return Table("log", about, ["few", "many", "ratio"], table)


def _fill(log: JobLog, rows: int) -> int:
    """Fill a log with so many receipts, leave it open, and return how large its file is."""
    log.database.open()
    _pass(log, _fresh(0, _NOW - (rows + 1) * _SECONDS_APART))
    log.database.close()
    _multiply(log.database.path, rows - 1)
    log.database.open()
    return log.database.path.stat().st_size


def _fresh(number: int, at: float) -> Job:
    job_id = new_job_id(at)
    name = f"receipt-{number:07}-{job_id[-6:]}.jpg"
    return Job(
        job_id=job_id,
        state=State.QUEUED,
        inbox="office",
        branch="office",
        filename=name,
        relative_path=Path(name),
        folder=Folder.PROCESSING,
        stored_path=Path(job_id, name),
        mime_type="image/jpeg",
        size=200_000,
        sha256=job_id.replace("-", "") * 2,
        target="https://n8n.example.com/webhook/receipts ",
        notion_database_id="",
        created_at=at,
        updated_at=at,
        next_attempt_at=at,
    )


def _pass(log: JobLog, job: Job) -> dict[str, float]:
    """Let a receipt go all the way; return how long each call took, in seconds of CPU."""
    now, done = job.created_at, Path("2027-01") / job.filename
    accepted = Attempt(now, "accepted", counted=True, status_code=200, message="200 Workflow was started")

    def record() -> None:
        with log.database.transaction():
            log.lookups.same_receipts(job.sha256 or "", job.target, OPEN_STATES | {State.SUCCESS})
            log.lookups.earlier_versions("office", job.relative_path, job.size)
            log.jobs.link_conflicts(log.jobs.insert(job))

    def settle() -> None:
        with log.database.transaction():
            log.jobs.advance(job.job_id, Event.ACCEPT, now, detail="200", deadline_at=now + 900)
            log.jobs.add_attempt(job.job_id, now, accepted)

    def file_away() -> None:
        [due] = log.files.due_moves(_INBOX, 64)
        moves = log.moves.intend_moves([(due, Folder.DONE, done)])
        log.moves.finish_moves(moves, now)

    page = "https://www.notion.so/0f3c0f3c0f3c0f3c0f3c0f3c0f3c0f3c"
    calls: dict[str, Callable[[], object]] = {
        "record": record,
        "next due": lambda: log.lookups.next_due(_INBOX),
        "claim": lambda: log.jobs.claim(_INBOX, now),
        "settle": settle,
        "conclude": lambda: log.jobs.advance(job.job_id, Event.SUCCEED, now, detail="success", notion_page_url=page),
        "file away": file_away,
    }
    return {label: _cpu_seconds(call) for label, call in calls.items()}


def _questions(log: JobLog) -> dict[str, Callable[[], object]]:
    """Return what is asked now and then: by loops, and by people for one page."""
    newest = log.lookups.listing(limit=1)[0].job_id
    return {
        "overdue": lambda: log.lookups.overdue(_INBOX, _NOW),
        "next deadline": log.lookups.next_deadline,
        "oldest open": lambda: log.lookups.oldest_open(_NOW, 1000),
        "open in an inbox": lambda: log.statistics.open_in("office", _NOW),
        "failures since": lambda: log.histories.failures_after(log.histories.last_event() - 10),
        "list a page": lambda: log.lookups.listing(limit=50),
        "list failed": lambda: log.lookups.listing(states=[State.FAILURE], limit=50),
        "show one": lambda: (log.lookups.get(newest), log.histories.attempts(newest), log.histories.lines(newest)),
    }


def _multiply(path: Path, count: int) -> None:
    """Add copies of the one receipt that is there, each older by a while than the one before."""
    with closing(sqlite3.connect(path)) as database:
        database.create_function("new_id", 1, lambda number: new_job_id(_NOW - number * _SECONDS_APART))
        database.execute("CREATE TEMP TABLE fresh (number INTEGER PRIMARY KEY, job_id TEXT)")
        database.execute(
            "WITH RECURSIVE counted(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted WHERE number < ?)"
            " INSERT INTO fresh SELECT number, new_id(?1 + 1 - number) FROM counted WHERE number <= ?1",
            [count],
        )
        [template] = database.execute("SELECT job_id FROM job").fetchone()
        own = {
            "job_id": "fresh.job_id",
            "filename": "'receipt-' || printf('%07d', number) || '.jpg'",
            "relative_path": "CAST('receipt-' || printf('%07d', number) || '.jpg' AS BLOB)",
            "stored_path": "CAST('2027-01/receipt-' || printf('%07d', number) || '.jpg' AS BLOB)",
            "sha256": "replace(fresh.job_id || fresh.job_id, '-', '')",
            **{name: f"{name} + number * {_SECONDS_APART}" for name in ("created_at", "updated_at", "completed_at")},
        }
        for table, columns in _columns(database).items():
            values = ", ".join(own.get(name, name) for name in columns)
            database.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM fresh CROSS JOIN"
                f" (SELECT {', '.join(name if name != 'job_id' else 'job_id AS old' for name in columns)} FROM {table}"
                " WHERE job_id = ?) ORDER BY number",
                [template],
            )
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _columns(database: sqlite3.Connection) -> dict[str, list[str]]:
    """Return which columns of each table are copied; numbers of rows are given anew."""
    named = {
        table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")] for table in ("attempt", "history")
    }
    return {"job": list(JOB_COLUMNS)} | {table: columns[1:] for table, columns in named.items()}


def _cpu_seconds(call: Callable[[], object]) -> float:
    before = time.thread_time()
    call()
    return time.thread_time() - before
