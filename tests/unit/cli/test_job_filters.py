"""`jobs` finds by state, inbox, name and time, quickly among a million."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli.times import moment_of
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from tests.conftest import make_job
from tests.unit.cli.typed_commands import Command, Said, add

NOW = datetime(2026, 11, 20, 14, 5)  # noqa: DTZ001 - the office's clock is meant


def names(said: Said) -> list[str]:
    """Return the files' names of a listing."""
    assert said.code == 0, said.err
    return [job["filename"] for job in said.json]


@pytest.fixture
def four_jobs(job_log: JobLog) -> JobLog:
    """Four jobs, of which one is three days old, and one of another inbox."""
    now = time.time()
    add(job_log, "old.pdf", State.SUCCESS, age_seconds=3 * 86400)
    add(job_log, "Scan_1.PDF", State.FAILURE, age_seconds=3600)
    add(job_log, "photo.jpg", age_seconds=60)
    job_log.jobs.insert(make_job(now, inbox="cellar", filename="scan_2.pdf"))
    return job_log


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["scan_2.pdf", "photo.jpg", "Scan_1.PDF", "old.pdf"]),
        (("--name", "*.pdf"), ["scan_2.pdf", "Scan_1.PDF", "old.pdf"]),
        (("--name", "SCAN*"), ["scan_2.pdf", "Scan_1.PDF"]),
        (("--name", "scan_?.pdf", "--inbox", "cellar"), ["scan_2.pdf"]),
        (("--name", "pdf"), []),
        (("--since", "2h"), ["scan_2.pdf", "photo.jpg", "Scan_1.PDF"]),
        (("--since", "30 minutes ago"), ["scan_2.pdf", "photo.jpg"]),
        (("--since", "2h", "--status", "failure", "--status", "success"), ["Scan_1.PDF"]),
        (("--name", "*.pdf", "--limit", "1"), ["scan_2.pdf"]),
        (("--words", "pdf SCAN"), ["scan_2.pdf", "Scan_1.PDF"]),
        (("--words", "pdf scan", "--limit", "1"), ["scan_2.pdf"]),
        (("--words", "scan", "--inbox", "office", "--since", "2h", "--status", "failure"), ["Scan_1.PDF"]),
        (("--words", '"pdf scan"'), []),
    ],
)
def test_filters(words: tuple[str, ...], expected: list[str], command: Command, four_jobs: JobLog) -> None:
    """Jobs are chosen by status, inbox, time and name, by all that is given, the newest first."""
    assert names(command("jobs", "--json", *words)) == expected


def test_json_lines(command: Command, four_jobs: JobLog) -> None:
    """One job on a line, for programs that read line by line; the same as in the array."""
    said = command("jobs", "--json-lines")
    assert [json.loads(line) for line in said.out.splitlines()] == command("jobs", "--json").json


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--json", "--json-lines"),
        ("jobs", "--name", "*.pdf", "--words", "scan"),
        ("balance", "--force"),
        ("balance", "--force", "--csv", "-"),
        ("n8n-workflow", "echo", "--credentials"),
        ("n8n-workflow", "--signed"),
    ],
)
def test_options_that_contradict_are_refused(words: tuple[str, ...], command: Command, four_jobs: JobLog) -> None:
    """Of two options that exclude each other none is dropped without a word."""
    said = command(*words)
    assert said.code == 2
    assert "--" in said.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-11-20T12:05"),
        ("90m", "2026-11-20T12:35"),
        ("2 hours ago", "2026-11-20T12:05"),
        ("1 Day", "2026-11-19T14:05"),
        ("3 weeks ago", "2026-10-30T14:05"),
        ("today", "2026-11-20T00:00"),
        ("yesterday", "2026-11-19T00:00"),
        ("2026-11-01", "2026-11-01T00:00"),
        ("2026-11-01T12:30", "2026-11-01T12:30"),
    ],
)
def test_since_when(text: str, expected: str) -> None:
    """What people say of time is understood, on the office's clock."""
    assert moment_of(text, NOW) == datetime.fromisoformat(expected).timestamp()


@given(st.text())
def test_any_text_is_a_time_or_is_none(text: str) -> None:
    """Whatever is given is a time, or is told to be none."""
    with contextlib.suppress(ValueError):
        assert isinstance(moment_of(text, NOW), float)


def test_no_time(command: Command, job_log: JobLog) -> None:
    """A time that cannot be read is a mistake that says what can."""
    said = command("jobs", "--since", "soon")
    assert said.code == 2
    assert "'soon' is no time; write 2h" in said.err


def test_a_million_receipts(job_log: JobLog) -> None:
    """A listing never sorts, and reads no row that it does not show, however rare what it looks for is."""
    asked: list[str] = []
    connection = job_log.database.connection.raw()
    connection.set_trace_callback(asked.append)
    job_log.lookups.listing()
    job_log.lookups.listing(
        states=[State.FAILURE, State.QUEUED], inbox="office", since=1.0, name="*.pdf", older_than="f", limit=9
    )
    job_log.lookups.find("scan.pdf")
    connection.set_trace_callback(None)
    assert len(asked) == 5
    with contextlib.closing(sqlite3.connect(job_log.database.path)) as other:
        for statement in asked:
            plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}")]
            looks = [step for step in plan if step.startswith(("SCAN job", "SEARCH"))]
            if statement.startswith("SELECT job_id,"):
                assert looks.pop(0) == "SEARCH job USING INDEX sqlite_autoindex_job_1 (job_id=?)", plan
            assert all(re.search(r"COVERING INDEX \w+ \(job_id", step) for step in looks), plan
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_what_a_job_may_be_called(job_log: JobLog) -> None:
    """A job is found by its id, the beginning of it in either case, or its file's whole name; no more than ten are."""
    ids = [add(job_log, f"scan_{number}.pdf") for number in range(12)]
    assert [job.job_id for job in job_log.lookups.find(ids[3])] == [ids[3]]
    assert [job.job_id for job in job_log.lookups.find(ids[3][:-1].upper())] == [ids[3]]
    assert [job.job_id for job in job_log.lookups.find("scan_7.pdf")] == [ids[7]]
    assert job_log.lookups.find("scan_7") == job_log.lookups.find("%") == job_log.lookups.find("SCAN_7.PDF") == []
    assert len(job_log.lookups.find("0")) == 10
