"""A job log is created, migrated or refused when it is opened."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playhouse.migrations import Runner

from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.engine import connection as log_connection
from receipt_watcher.jobs.log.histories import ATTEMPT_COLUMNS, LINE_COLUMNS
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from tests.fakes.daemons.process import wait_until
from tests.fakes.unprivileged import ordinary_permissions
from tests.unit.jobs.log.job_log_rows import PlannedError, everything, put

MIGRATIONS = sorted(path.stem for path in (Path(log_connection.__file__).parents[1] / "migrations").glob("[0-9]*.py"))


def versions(path: Path) -> list[str]:
    """Return the migrations that a file has seen."""
    with closing(sqlite3.connect(path)) as connection:
        return sorted(name for (name,) in connection.execute("SELECT name FROM schema_migration"))


def test_a_fresh_file_is_of_the_newest_version(log: JobLog) -> None:
    """A new file has seen every migration, in tables whose columns are those that the code knows, in that order."""
    assert versions(log.database.path) == MIGRATIONS
    assert MIGRATIONS[0] == "0001_first"
    with closing(sqlite3.connect(log.database.path)) as connection:
        for table, columns in (("history", LINE_COLUMNS), ("attempt", ATTEMPT_COLUMNS), ("fact", ("name", "value"))):
            assert tuple(row[1] for row in connection.execute(f"PRAGMA table_info({table})")) == columns
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_job_has_a_column_for_each_field(log: JobLog) -> None:
    """A field that a job gets is not forgotten in the log."""
    with closing(sqlite3.connect(log.database.path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(job)")]
    assert columns == list(Job.__dataclass_fields__)


def test_two_logs_of_one_process_are_told_apart(log: JobLog, tmp_path: Path) -> None:
    """What is asked of one log is answered by it, though another one was opened later, and closed."""
    job = put(log)
    log.facts.version.put("1")
    other = JobLog(tmp_path / "other.db")
    other.database.open()
    assert (other.facts.version.get(), other.histories.lines(job.job_id)) == (None, [])
    assert (log.facts.version.get(), len(log.histories.lines(job.job_id))) == ("1", 1)
    other.database.close()
    assert (log.facts.version.get(), len(log.histories.lines(job.job_id))) == ("1", 1)


def test_opening_again_is_harmless(log: JobLog) -> None:
    """A file that is opened again has all its rows, and is not changed."""
    put(log, State.FAILURE)
    before = everything(log)
    for _ in range(3):
        log.database.close()
        log.database.open()
    assert everything(log) == before


def test_a_newer_file_is_refused(log: JobLog) -> None:
    """A file of a newer version is refused in words that say what to do, and nothing in it is touched."""
    with closing(sqlite3.connect(log.database.path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO schema_migration (name, applied) VALUES ('9999_future', '2030-01-01')")
    before = everything(log)
    log.database.close()
    with pytest.raises(JobLogError) as caught:
        log.database.open()
    assert str(caught.value) == (
        f"the job log {log.database.path} was written by a newer version (it has 9999_future); install that"
    )
    assert not log.database.is_open
    assert everything(log) == before


@pytest.mark.parametrize("look", [1, 2])
def test_two_processes_may_open_a_new_file_at_once(
    log: JobLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    """Whenever in our start another process makes the tables, one of both makes them, and both go on."""
    with closing(sqlite3.connect(log.database.path)) as finished:
        script = f"BEGIN IMMEDIATE; {' '.join(list(finished.iterdump())[1:])}"
    log.database.close()
    path = tmp_path / "late.db"
    looks = itertools.count(1)
    others: list[str] = []

    class Interrupted(Runner):  # type: ignore[misc]  # Peewee's migrations have no types
        def status(self) -> Any:
            found = super().status()
            if next(looks) == look:
                with closing(sqlite3.connect(path, timeout=0)) as other:
                    try:
                        other.executescript(script)
                        others.append("made them")
                    except sqlite3.OperationalError as error:
                        others.append(str(error))
            return found

    monkeypatch.setattr(log_connection, "Runner", Interrupted)
    late = JobLog(path)
    late.database.open()
    put(late)
    assert versions(path) == MIGRATIONS
    assert late.database.connection._database.pragma("foreign_keys") == 1
    late.database.close()
    assert others in (["made them"], ["database is locked"])


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is cut off in the middle of making the tables leaves none; the next one makes them all."""

    class CutOff(Runner):  # type: ignore[misc]  # likewise
        def _run(self, *args: Any, **kwargs: Any) -> None:
            super()._run(*args, **kwargs)
            raise PlannedError

    log = JobLog(tmp_path / "receipts.db")
    monkeypatch.setattr(log_connection, "Runner", CutOff)
    with pytest.raises(PlannedError):
        log.database.open()
    log.database.close()
    monkeypatch.undo()
    with closing(sqlite3.connect(log.database.path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'job'").fetchall() == [(0,)]
    log.database.open()
    put(log)
    log.database.close()


def damaged(path: Path) -> None:
    """Write something that is no database."""
    path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)


def foreign(path: Path) -> None:
    """Write a text."""
    path.write_text("this is no database, but it is long enough to be looked at " * 40)


def folder(path: Path) -> None:
    """Put a folder in the file's place."""
    path.mkdir()


def taken(path: Path) -> None:
    """Write the database of another program, which has a table of the same name."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE job (name TEXT)")


@pytest.mark.parametrize("spoil", [damaged, foreign, folder, taken])
def test_a_damaged_file_is_told(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """A file that is no job log is told by its path, with what to look at, and stays as it is."""
    path = tmp_path / "receipts.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    log = JobLog(path)
    with pytest.raises(JobLogError, match="cannot be used") as caught:
        log.database.open()
    assert str(path) in str(caught.value)
    assert not log.database.is_open
    if spoil is not taken:  # there the look itself switches the file to WAL mode
        assert (path.read_bytes() if path.is_file() else None) == before


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Where the folder is missing, or is a file, the error names the path."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "receipts.db", tmp_path / "file" / "receipts.db"):
        with pytest.raises(JobLogError, match="let the service's user write"):
            JobLog(path).database.open()


@pytest.mark.parametrize("name", [".", "receipts.db"])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    """Where the folder or the file may only be read, the error names the path."""
    path = tmp_path / "state" / "receipts.db"
    path.parent.mkdir()
    if name != ".":
        path.touch()
    (path.parent / name).chmod(0o500)
    try:
        with ordinary_permissions(), pytest.raises(JobLogError, match="let the service's user write"):
            JobLog(path).database.open()
    finally:
        (path.parent / name).chmod(0o700)


def test_opening_needs_no_write_lock(tmp_path: Path) -> None:
    """A file that is up to date is opened at once, also while another process writes."""
    log = JobLog(tmp_path / "receipts.db")
    log.database.open()
    log.database.close()
    with closing(sqlite3.connect(log.database.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        opened = threading.Thread(target=log.database.open)
        opened.start()
        wait_until(lambda: log.database.is_open, "the file is open, since opening only reads")
        opened.join(timeout=30)
        other.execute("COMMIT")
    log.database.close()
