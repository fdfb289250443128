"""A job log of an older version gets what retention needs."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from peewee import SqliteDatabase
from playhouse.migrations import Runner

from receipt_watcher.jobs.log import migrations
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State

MIGRATIONS = Path(migrations.__file__).parent


def log_of_version(path: Path, version: int) -> None:
    """Write a job log as an earlier version made it, with a job, a copy of it, and a line of history."""
    known = path.with_suffix(".migrations")
    known.mkdir()
    for migration in sorted(MIGRATIONS.glob("[0-9]*.py"))[:version]:
        shutil.copy(migration, known)
    earlier = SqliteDatabase(str(path))
    Runner(earlier, directory=str(known)).up()
    earlier.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for job_id, state, original in (("a", "success", None), ("b", "duplicate", "a")):
            database.execute(
                "INSERT INTO job (job_id, state, inbox, filename, relative_path, folder, stored_path, size, sha256,"
                " target, notion_database_id, created_at, updated_at, completed_at, duplicate_of)"
                " VALUES (?, ?, 'office', 'scan.jpg', ?, 'done', ?, 3, 'abc', 'http://n8n 0f3c', '0f3c', 1, 2, 2, ?)",
                [job_id, state, b"caf\xe9.jpg", job_id.encode(), original],
            )
        database.execute("INSERT INTO history (job_id, at, event) VALUES ('a', 1, 'record')")


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_log_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """A log of an earlier version keeps all its rows, and has the same tables and indexes as a new one."""
    old, new = JobLog(tmp_path / "old.db"), JobLog(tmp_path / "new.db")
    log_of_version(old.database.path, version)
    new.database.open()
    old.database.open()
    jobs = old.lookups.listing()
    assert [(job.job_id, job.state, job.duplicate_of, job.removed_at) for job in jobs] == [
        ("b", State.DUPLICATE, "a", None),
        ("a", State.SUCCESS, None, None),
    ]
    assert jobs[1].branch == ("office" if version == 1 else "")
    assert os.fsencode(jobs[1].relative_path) == b"caf\xe9.jpg"
    assert [row["event"] for row in old.histories.lines("a")] == ["record"]
    [left, right] = [log.database.select("SELECT type, name FROM sqlite_master ORDER BY 1, 2") for log in (old, new)]
    [columns, others] = [log.database.select("SELECT name FROM pragma_table_info('job')") for log in (old, new)]
    assert (left, columns) == (right, others)
    assert [len(log.database.select("PRAGMA foreign_key_check")) for log in (old, new)] == [0, 0]
    old.database.close()
    new.database.close()
