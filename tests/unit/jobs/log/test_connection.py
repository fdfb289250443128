"""Transactions of threads that wait for each other share one commit, and stay apart in everything else."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import pytest
from structlog.testing import capture_logs

from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.log.job_log import JobLog
from tests.conftest import make_job, refusing_commits
from tests.fakes.daemons.process import DEADLINE_SECONDS, wait_until

Work = Callable[[], object]

#: Wait for something that must not come.
_SOON_SECONDS = 0.2


class PlannedError(Exception):
    """Raised in the middle of a transaction."""


def facts(log: JobLog) -> set[str]:
    """Return the names of the facts that are durable, as another program sees them."""
    with closing(sqlite3.connect(log.database.path)) as other:
        return {name for (name,) in other.execute("SELECT name FROM fact")}


def said(log: JobLog) -> list[str]:
    """Return the first word of each statement that SQLite is given from now on."""
    words: list[str] = []
    connection: sqlite3.Connection = log.database.connection.raw()
    connection.set_trace_callback(lambda statement: words.append(statement.split()[0]))
    return words


@contextmanager
def queued(log: JobLog, works: Sequence[Work]) -> Iterator[list[Future[object]]]:
    """Have each work, in a thread of its own, wait for its turn while the block has it, in this order."""
    with ThreadPoolExecutor(len(works)) as pool:
        with log.database.transaction():
            futures: list[Future[object]] = []
            for number, work in enumerate(works, 1):
                futures.append(pool.submit(work))
                wait_until(lambda: len(log.database._turns._waiting) == number, "it waits for its turn")  # noqa: B023 - called at once
            yield futures
        for future in futures:
            future.exception(DEADLINE_SECONDS)


def fail_inside(log: JobLog, work: Work) -> None:
    """Do work in a transaction that then fails."""
    with log.database.transaction():
        work()
        raise PlannedError


def test_those_who_wait_share_a_commit(log: JobLog) -> None:
    """What came while another one wrote is committed together with that, once, and all of it is durable."""
    works = [lambda number=number: log.facts.table.put(f"late {number}", "") for number in range(5)]
    words = said(log)
    with queued(log, works):
        log.facts.table.put("first", "")
    assert facts(log) == {"first", *(f"late {number}" for number in range(5))}
    assert (words.count("BEGIN"), words.count("COMMIT")) == (1, 1)
    log.facts.table.put("alone", "")
    assert "alone" in facts(log)
    assert (words.count("BEGIN"), words.count("COMMIT")) == (2, 2)


@pytest.mark.parametrize("ask", ["write", "read"])
def test_nobody_goes_on_before_what_was_written_or_seen_is_durable(log: JobLog, ask: str) -> None:
    """While one of a group is still at it, nobody else of it goes on: neither who wrote, nor who has read that."""
    has_gone_on = threading.Event()
    found: list[tuple[set[str], bool]] = []

    def go_on() -> None:
        log.facts.table.put("second", "") if ask == "write" else log.facts.table.get("first")
        has_gone_on.set()

    def look() -> None:
        with log.database.transaction():
            log.facts.table.put("last", "")
            found.append((facts(log), has_gone_on.wait(_SOON_SECONDS)))

    with queued(log, [go_on, look]) as futures:
        log.facts.table.put("first", "")
    assert [future.exception() for future in futures] == [None, None]
    assert found == [(set(), False)]
    assert {"first", "last"} <= facts(log)


def test_a_part_that_fails_is_taken_back_alone(log: JobLog) -> None:
    """An error in one thread's transaction reaches that thread only, and takes back nothing of the others."""
    works = [
        lambda: log.facts.table.put("before", ""),
        lambda: fail_inside(log, lambda: log.facts.table.put("failed", "")),
        lambda: log.facts.table.put("after", ""),
        lambda: fail_inside(log, lambda: log.facts.table.put("failed last", "")),
    ]
    with queued(log, works) as futures:
        log.facts.table.put("first", "")
    assert [type(future.exception()) for future in futures] == [type(None), PlannedError, type(None), PlannedError]
    assert facts(log) == {"first", "before", "after"}


def test_those_who_wait_go_on_where_the_first_fails(log: JobLog) -> None:
    """An error in the transaction that began takes back that one; those who waited for it are committed."""

    def begin() -> None:
        with queued(log, [lambda: log.facts.table.put("late", ""), lambda: log.facts.table.put("later", "")]):
            log.facts.table.put("first", "")
            raise PlannedError

    with pytest.raises(PlannedError):
        begin()
    assert facts(log) == {"late", "later"}


def test_a_full_disk_fails_the_whole_group(log: JobLog) -> None:
    """Where SQLite has taken back a group, each of its parts is told so, and the next one is whole."""

    def write_much() -> None:
        with log.database.transaction():
            for _ in range(200):
                log.jobs.insert(make_job(message="x" * 1000))

    pages = log.database.select("PRAGMA page_count")[0][0]
    most = log.database.select("PRAGMA max_page_count")[0][0]
    log.database.select(f"PRAGMA max_page_count = {pages}")
    with capture_logs() as lines:
        with (
            pytest.raises(JobLogError, match="its disk is full"),
            queued(log, [write_much]) as [future],  # one alone: who comes first of two is anybody's guess
        ):
            log.facts.table.put("first", "")
        error = future.exception()
        assert isinstance(error, JobLogError)
        assert "its disk is full" in str(error)
        assert (facts(log), log.lookups.listing()) == (set(), [])
        log.database.select(f"PRAGMA max_page_count = {most}")
        log.facts.table.put("third", "")
    assert facts(log) == {"third"}
    assert [line["event"] for line in lines] == ["job_log.failing", "job_log.mended"]


def test_a_commit_that_fails_fails_all_its_parts(log: JobLog) -> None:
    """What could not be committed is told to everybody who wrote it; whoever only looked knows it as well."""
    with ExitStack() as refused, capture_logs() as lines:

        def write_in_vain() -> None:
            log.facts.table.put("first", "")
            refused.enter_context(refusing_commits(log))

        with (
            pytest.raises(JobLogError, match="cannot be used now"),
            queued(log, [lambda: log.facts.table.put("second", ""), lambda: log.facts.table.get("first")]) as futures,
        ):
            write_in_vain()
        assert [type(future.exception()) for future in futures] == [JobLogError, JobLogError]
        assert facts(log) == set()
        refused.close()
        log.facts.table.put("third", "")
    assert facts(log) == {"third"}
    assert [line["event"] for line in lines] == ["job_log.failing", "job_log.mended"]


def test_closing_commits_what_was_left_to_others(log: JobLog) -> None:
    """What a thread has written, and left to the next one to commit, is durable after the log was closed."""
    with queued(log, [lambda: log.facts.table.put("second", "")]):
        log.facts.table.put("first", "")
    log.database.close()
    assert facts(log) == {"first", "second"}
