"""Every migration that was ever committed: its number is never used again, and what it does never changes."""

from __future__ import annotations

import hashlib
import importlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.jobs.log import migrations
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.migrations import WITHDRAWN
from receipt_watcher.report.balance.last_result import last_balance

FOLDER = Path(migrations.__file__).parent

#: Each name that was ever committed, with the beginning of the SHA-256 of its statements. Add a row for a new one with
#: the next number; never change or remove a row, not even when a migration is taken back before a release.
EVER = {
    "0001_first": "c4cf48c5e864",
    "0002_branches": "614910fa1a37",
    "0003_retention": "5049a2b9bddc",
    "0004_order": "9228b943cfec",
    "0005_stored": "77d0087df2aa",
    "0006_holds": "afaee198913b",
    "0007_notices": "94033e12e40c",
    "0008_execution": "b040b89427e4",
    "0009_commands": "806a1a8ffe19",
    "0010_listing": "bf88489e7530",
    "0011_pages": "3d43c73030fa",
    "0011_retention": "7f7bd3022e43",
    "0012_withdrawn": "890fb4728954",
}

#: The one number that was given twice, before this list was kept.
GIVEN_TWICE = {"0011"}


def present() -> set[str]:
    """Return the names of the migrations that this version has."""
    return {path.stem for path in FOLDER.glob("[0-9]*.py")}


def digest_of(name: str) -> str:
    """Return the beginning of the SHA-256 of what a migration does; its comments may change."""

    class Recorder:
        """Takes statements in the place of a database."""

        statements: list[str]

        def __init__(self) -> None:
            self.statements = []

        def execute_sql(self, statement: str, *_values: Any) -> None:
            self.statements.append(" ".join(statement.split()))

    recorder = Recorder()
    importlib.import_module(f"receipt_watcher.jobs.log.migrations.{name}").up(None, recorder)
    assert recorder.statements
    return hashlib.sha256("\n".join(recorder.statements).encode()).hexdigest()[:12]


def test_each_migration_that_was_ever_committed_is_known() -> None:
    """A migration is there, or is named as withdrawn: a log that has it is never called one of a newer version."""
    assert present() | WITHDRAWN == set(EVER)
    assert not present() & WITHDRAWN


def test_no_number_is_used_again() -> None:
    """Each number stands for one migration for ever, the number of a withdrawn one included."""
    numbers = Counter(name.partition("_")[0] for name in EVER)
    assert {number for number, count in numbers.items() if count > 1} == GIVEN_TWICE


@pytest.mark.parametrize("name", sorted(present()))
def test_a_committed_migration_is_never_edited(name: str) -> None:
    """What a migration does to a log stays as it was committed; what is to change comes as a new one."""
    assert digest_of(name) == EVER[name], f"add to EVER, or undo the change: {name}: {digest_of(name)}"


@pytest.mark.parametrize("name", sorted(WITHDRAWN))
def test_a_log_with_a_withdrawn_migration_is_carried_over(tmp_path: Path, name: str) -> None:
    """Such a log opens, and has the schema that a new one has; opening it again changes nothing."""
    fresh, old = JobLog(tmp_path / "fresh.db"), JobLog(tmp_path / "old.db")
    for log in (fresh, old):
        log.database.open()
    with closing(sqlite3.connect(old.database.path, isolation_level=None)) as database:
        database.execute("DELETE FROM schema_migration WHERE name > '0010_listing'")
        database.execute("DROP INDEX job_kept")
        database.execute("DROP INDEX job_created")
        database.execute("CREATE INDEX job_filed ON job (stored_path) WHERE folder <> 'processing'")
        database.execute("CREATE INDEX job_list_state ON job (state || '', job_id)")
        database.execute("CREATE INDEX job_list_inbox ON job (inbox || '', job_id)")
        database.execute("INSERT INTO schema_migration (name, applied) VALUES (?, '2026-11-21')", [name])
    for _ in range(2):
        old.database.close()
        old.database.open()
        assert indexes(old) == indexes(fresh)
    old.database.close()
    fresh.database.close()


def indexes(log: JobLog) -> list[tuple[str, ...]]:
    """Return the tables and indexes of a log."""
    return log.database.select("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")


@pytest.mark.parametrize("fact", ['{"at": 1, "received": 2, "of_a_newer_version": 3}', "{}", "[]", "no JSON"])
def test_a_balance_that_another_version_kept_counts_as_none(tmp_path: Path, fact: str) -> None:
    """A fact has no migration: one with other fields stops neither `status` nor the daemon."""
    log = JobLog(tmp_path / "receipts.db")
    log.database.open()
    log.facts.table.put("balance", fact)
    assert last_balance(log) is None
    log.database.close()
