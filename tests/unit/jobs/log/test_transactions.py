"""A transaction is committed as a whole or not at all, and is durable and visible to other processes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job
from tests.unit.jobs.log.job_log_rows import NOW, OFFICE, PlannedError, current, everything, in_threads, must, put

# --- transactions --------------------------------------------------------------------------------------------------


def fail_inside(log: JobLog, work: Callable[[], object]) -> None:
    """Do work in a transaction that then fails."""
    with log.database.transaction():
        work()
        raise PlannedError


def test_an_error_takes_everything_back(log: JobLog) -> None:
    """Where anything in a transaction fails, nothing of it has happened, and the log can be used as before."""
    job = put(log)
    before = everything(log)

    def work() -> None:
        log.jobs.insert(make_job())
        log.jobs.advance(job.job_id, Event.CLAIM, NOW)
        log.facts.table.put("a", "b")
        with log.database.transaction():
            log.histories.note(job.job_id, NOW, "x")

    with pytest.raises(PlannedError):
        fail_inside(log, work)
    assert everything(log) == before
    assert must(log.jobs.claim(OFFICE, NOW)).job_id == job.job_id


def test_an_error_inside_an_inner_transaction_takes_everything_back(log: JobLog) -> None:
    """A transaction inside another one is part of it: its failure takes both back."""
    before = everything(log)

    def work() -> None:
        log.facts.table.put("a", "b")
        fail_inside(log, lambda: log.facts.table.put("c", "d"))

    with pytest.raises(PlannedError), log.database.transaction():
        work()
    assert everything(log) == before


def test_a_state_and_its_history_are_one(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the history line cannot be written, the state does not change either."""
    job = put(log)
    before = everything(log)

    def fail(*args: object, **kwargs: object) -> None:
        raise PlannedError

    monkeypatch.setattr(log.histories, "note", fail)
    with pytest.raises(PlannedError):
        log.jobs.advance(job.job_id, Event.CLAIM, NOW)
    with pytest.raises(PlannedError):
        log.jobs.insert(make_job())
    assert everything(log) == before


def test_threads_share_no_transaction(log: JobLog) -> None:
    """What one thread writes is not taken back because another one's transaction fails."""

    def work(number: int) -> None:
        for turn in range(10):
            if number % 2:
                log.facts.table.put(f"{number}-{turn}", "kept")
            else:
                with pytest.raises(PlannedError):
                    fail_inside(log, lambda: log.facts.table.put(f"{number}-{turn}", "lost"))  # noqa: B023 - called at once

    in_threads(6, work)
    assert sorted(everything(log)["fact"]) == sorted(
        (f"{number}-{turn}", "kept") for number in (1, 3, 5) for turn in range(10)
    )


# --- durability, and other processes -------------------------------------------------------------------------------


def test_commits_survive_a_power_loss(log: JobLog) -> None:
    """The file is in WAL mode with synchronous=FULL, and foreign keys count: at the first start and at any other."""
    for _ in range(2):
        found = [
            log.database.connection._database.pragma(name) for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        assert found == ["wal", 2, 1]
        log.database.close()
        log.database.open()


def test_what_is_written_is_seen_by_others(log: JobLog, other: sqlite3.Connection) -> None:
    """When a method that writes has returned, another process sees its rows; before, it sees the old ones."""
    job = put(log)
    with log.database.transaction():
        log.jobs.advance(job.job_id, Event.CLAIM, NOW)
        assert other.execute("SELECT state FROM job").fetchall() == [("queued",)]
    assert other.execute("SELECT state FROM job").fetchall() == [("delivering",)]


def test_a_transaction_has_the_write_lock_from_its_beginning(log: JobLog, other: sqlite3.Connection) -> None:
    """No other process can write between what a transaction reads and what it writes."""
    with log.database.transaction():
        log.statistics.counts()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")


def test_a_writer_waits_for_another_process(log: JobLog, other: sqlite3.Connection) -> None:
    """While another process writes, a write here waits for it and then succeeds, upon what the other one wrote."""
    job = put(log)
    has_begun = threading.Event()
    connection: sqlite3.Connection = log.database.connection.raw()
    connection.set_trace_callback(lambda sql: has_begun.set() if sql.startswith("BEGIN") else None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE job SET state = 'cancelled'")
    results: list[Job | None] = []
    thread = threading.Thread(target=lambda: results.append(log.jobs.advance(job.job_id, Event.CLAIM, NOW)))
    thread.start()
    assert has_begun.wait(10)
    assert results == []
    other.execute("COMMIT")
    thread.join(timeout=30)
    assert results == [None]  # it lost the race against the cancel, by the table, not by an error
    assert current(log, job).state is State.CANCELLED


def test_a_reader_does_not_wait_for_another_process(log: JobLog, other: sqlite3.Connection) -> None:
    """While another process writes, reading goes on at once."""
    put(log)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE job SET state = 'cancelled'")
    assert log.statistics.counts()[State.QUEUED] == 1
    other.execute("ROLLBACK")


def test_closing_is_harmless(tmp_path: Path) -> None:
    """A log may be closed twice, before it was opened, and opened again; it knows whether it is open."""
    log = JobLog(tmp_path / "receipts.db")
    steps = [
        log.database.close,
        log.database.open,
        log.database.close,
        log.database.close,
        log.database.open,
        log.database.close,
    ]
    seen = []
    for step in steps:
        step()
        seen.append(log.database.is_open)
    assert seen == [step == log.database.open for step in steps]
    assert not (tmp_path / "receipts.db-wal").exists()
