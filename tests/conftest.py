"""Fixtures that many tests start from: a clock that only moves when told, a spool, a job log, a stand-in for N8N."""

from __future__ import annotations

import compileall
import functools
import gc
import os
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.branches import Branch
from receipt_watcher.config.sections.sending import Accept
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders

# How fast an example is drawn or checked depends on what else the machine does: that is no property of the program.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Many tests start Python. It compiles the program once, even if the environment forbids Python to keep bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
if "PYTEST_XDIST_WORKER" not in os.environ:
    for _folder in ("receipt_watcher", "systemd"):  # before any test copies them
        compileall.compile_dir(Path(__file__).parents[1] / _folder, quiet=2)

TOKEN = "a-token-for-tests-only"
INSTALLATION = "11111111-2222-4333-8444-555555555555"


@dataclass
class FakeClock:
    """Time that stands still until it is moved; Unix seconds."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Let seconds pass."""
        self.now += seconds
        return self.now


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the long tests: in the beginning it has one stretch of all tests."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    ordered: list[pytest.Item] = []
    for number in range(workers):
        share = long[number::workers]
        length = (len(items) - len(ordered)) // (workers - number)  # as `--dist worksteal` divides them
        ordered += [*share, *others[: length - len(share)]]
        del others[: length - len(share)]
    items[:] = ordered


@pytest.fixture(autouse=True)
def no_thread_leaks() -> Iterator[None]:
    """Each test ends the threads that it started."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)
    leaked = [thread.name for thread in set(threading.enumerate()) - before]
    assert leaked == []


@pytest.fixture(autouse=True)
def collected_garbage() -> Iterator[None]:
    """A command may let the collector rest, since its process ends; the tests' own goes on."""
    yield
    gc.unfreeze()
    gc.enable()


@pytest.fixture(autouse=True)
def plain_logging() -> Iterator[None]:
    """Undo all changes to logging; tracebacks are plain, since one in colours takes two seconds."""
    *first, _ = structlog.get_config()["processors"]
    structlog.configure([*first, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def folders(tmp_path: Path) -> SpoolFolders:
    """The four folders of a spool, the inbox being there."""
    (tmp_path / "inbox").mkdir()
    return SpoolFolders(tmp_path / "inbox", tmp_path / "processing", tmp_path / "done", tmp_path / "failed")


@pytest.fixture
def spool(folders: SpoolFolders) -> Iterator[Spool]:
    """An open spool."""
    spool = Spool("office", folders)
    spool.open(INSTALLATION)
    yield spool
    spool.close()


@contextmanager
def refusing_commits(log: JobLog) -> Iterator[None]:
    """Have SQLite refuse each commit of a log, as a disk that is full may."""

    def judge(action: int, what: str | None, *_: str | None) -> int:
        is_commit = action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT"
        return sqlite3.SQLITE_DENY if is_commit else sqlite3.SQLITE_OK

    connection: sqlite3.Connection = log.database.connection.raw()
    connection.set_authorizer(judge)
    yield
    connection.set_authorizer(None)


@functools.cache
def _empty_log() -> bytes:
    """Return the file of a job log without a receipt."""
    with tempfile.TemporaryDirectory() as folder:
        log = JobLog(Path(folder, "receipts.db"))
        log.database.open()
        log.database.close()
        return log.database.path.read_bytes()


def open_log(path: Path) -> JobLog:
    """Open a job log; one that is not there yet is copied from an empty one, quicker than its tables are made."""
    if not path.exists():
        path.write_bytes(_empty_log())
    log = JobLog(path)
    log.database.open()
    return log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[JobLog]:
    """An open, empty job log on a real file."""
    log = open_log(tmp_path / "receipts.db")
    yield log
    log.database.close()


@pytest.fixture
def n8n() -> Iterator[StandIn]:
    """A stand-in for N8N on loopback; set `behave` to make it do something else."""
    with StandIn(token=TOKEN, keep_content=True) as standin:
        yield standin


#: The rules of two branches: N8N calls back, or its answer is the verdict.
AUTO, ANSWERING = Accept(mode="auto"), Accept(mode="respond")


def make_branch(inbox: str = "office", **changes: Any) -> Branch:
    """Return the branch of an inbox itself, with the given fields changed."""
    branch = Branch(
        inbox=inbox,
        subfolder="",
        webhook_url="http://127.0.0.1/webhook/receipts",
        notion_database_id="0f3c",
        accept=AUTO,
        remembers_jobs=False,
        window=None,
        duplicates="skip",
        done_subfolder="%Y-%m",
        settle_seconds=2.0,
        patience_seconds=60.0,
    )
    return replace(branch, **changes)


def make_job(now: float = 1_700_000_000.0, **changes: object) -> Job:
    """Return a queued job, not in any log, with the given fields changed."""
    job_id = str(changes.pop("job_id", None) or new_job_id(now))
    fields: dict[str, object] = {
        "job_id": job_id,
        "state": State.QUEUED,
        "inbox": "office",
        "branch": changes.get("inbox", "office"),
        "filename": "scan.jpg",
        "relative_path": Path("scan.jpg"),
        "folder": Folder.PROCESSING,
        "stored_path": Path(job_id) / "scan.jpg",
        "mime_type": "image/jpeg",
        "size": 3,
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "target": "http://127.0.0.1/webhook/receipts ",
        "notion_database_id": "",
        "created_at": now,
        "updated_at": now,
        "next_attempt_at": now,
    }
    return Job(**(fields | changes))  # type: ignore[arg-type]  # a test names the fields that it means
