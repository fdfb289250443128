"""Each due job is claimed once, in the order of arrival."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.jobs.log.job_log_rows import NOW, OFFICE, WAYS, asked_by, current, in_threads, must, put


def test_threads_never_claim_one_job_twice(log: JobLog) -> None:
    """Sixteen workers that claim at the same time get each of 400 jobs exactly once."""
    with log.database.transaction():
        jobs = [log.jobs.insert(make_job()) for _ in range(400)]
    claimed: list[Job] = []

    def work(_: int) -> None:
        while (job := log.jobs.claim(OFFICE, NOW)) is not None:
            claimed.append(job)

    in_threads(16, work)
    assert sorted(job.job_id for job in claimed) == sorted(job.job_id for job in jobs)
    assert {(job.state, job.attempts) for job in claimed} == {(State.DELIVERING, 1)}
    assert log.statistics.count(OFFICE, State.DELIVERING) == 400
    assert all(len(log.histories.lines(job.job_id)) == 2 for job in jobs)


_CLAIMER = """
import sys
from pathlib import Path
from receipt_watcher.jobs.log.job_log import JobLog

log = JobLog(Path(sys.argv[1]))
log.database.open()
print("ready", flush=True)
sys.stdin.readline()
while (job := log.jobs.claim(["office"], float(sys.argv[2]))) is not None:
    print(job.job_id, flush=True)
log.database.close()
"""


def test_processes_never_claim_one_job_twice(log: JobLog) -> None:
    """Two processes and a thread that claim from one file at once get each job exactly once, and none fails."""
    with log.database.transaction():
        jobs = [log.jobs.insert(make_job()) for _ in range(150)]
    command = [sys.executable, "-c", _CLAIMER, str(log.database.path), str(NOW)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    others = [subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in others:
        assert process.stdout.readline() == "ready\n"
    for process in others:
        process.stdin.write("\n")
        process.stdin.flush()
    claimed = [job.job_id for job in iter(lambda: log.jobs.claim(OFFICE, NOW), None)]
    for process in others:
        printed, complaint = process.communicate(timeout=60)
        assert (process.returncode, complaint) == (0, "")
        claimed += printed.split()
    assert sorted(claimed) == sorted(job.job_id for job in jobs)


def test_claims_go_in_order_of_arrival(log: JobLog) -> None:
    """Of all that is due, in whichever branch, the job that came first goes first, however long each has been due."""
    branches = ["office", "office/travel", "office/suppliers"]
    jobs = [
        make_job(NOW - age, next_attempt_at=NOW - due, branch=branches[age % 3])
        for age, due in ((60, 0), (50, 5), (40, 9), (30, 1), (20, 7), (10, 3))
    ]
    for job in reversed(jobs):
        log.jobs.insert(job)
    later = log.jobs.insert(make_job(NOW - 70, next_attempt_at=NOW + 1))
    order = [must(log.jobs.claim(branches, NOW)).job_id for _ in jobs]
    assert order == [job.job_id for job in jobs]
    assert log.jobs.claim(branches, NOW) is None
    assert must(log.jobs.claim(branches, NOW + 1)).job_id == later.job_id


def test_a_backlog_is_never_sorted(log: JobLog) -> None:
    """What is asked for each receipt is found in an index, in its order: it costs the same with 100,000 waiting."""
    put(log)
    put(log, State.SUCCESS)
    with closing(sqlite3.connect(log.database.path)) as other:
        asked = asked_by(
            log,
            lambda: (
                log.lookups.next_due(["office", "cellar"]),
                log.jobs.claim(["office", "cellar"], NOW),
                log.files.due_moves(OFFICE, 64),
                log.files.unrecorded_in_processing("office", ["a", "b"]),
            ),
        )
        plans = {
            statement: " / ".join(row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}"))
            for statement in asked
            if statement.startswith("SELECT") and "FROM job" in statement
        }
    indexes = ["job_queued", "job_order", "job_move_due", "job_in_processing"]
    assert all(any(index in plan for plan in plans.values()) for index in indexes), plans
    assert [plan for plan in plans.values() if "TEMP B-TREE" in plan or "SCAN job" in plan] == []


def test_only_what_is_due_is_claimed(log: JobLog) -> None:
    """A job is claimed when it is due, not before, and not from another inbox."""
    job = put(log, next_attempt_at=NOW + 10)
    assert log.jobs.claim(OFFICE, NOW + 9.9) is None
    assert log.jobs.claim(["cellar"], NOW + 10) is None
    assert log.jobs.claim([], NOW + 10) is None
    assert must(log.jobs.claim(["cellar", "office"], NOW + 10)).job_id == job.job_id
    assert log.jobs.claim(OFFICE, NOW + 10) is None


@pytest.mark.parametrize("state", [state for state in State if state is not State.QUEUED])
def test_only_queued_jobs_are_claimed(log: JobLog, state: State) -> None:
    """A job in any other state is not claimed, whatever its times say."""
    job = put(log, state)
    log.jobs.advance(job.duplicate_of or "", Event.CANCEL, NOW)
    assert log.jobs.claim(OFFICE, NOW + 1e9) is None
    assert log.lookups.next_due(OFFICE) is None


def test_a_probe_is_another_receipt_each_time(log: JobLog) -> None:
    """For a probe the job goes first that its destination never failed, then the one that it failed longest ago."""
    failed_lately = put(log, next_attempt_at=NOW - 9, destination_failed_at=NOW - 1)
    failed_before = put(log, next_attempt_at=NOW - 8, destination_failed_at=NOW - 2)
    untried = put(log, next_attempt_at=NOW - 1)
    order = [must(log.jobs.claim(OFFICE, NOW, least_failed_first=True)).job_id for _ in range(3)]
    assert order == [untried.job_id, failed_before.job_id, failed_lately.job_id]


def test_a_file_on_its_way_is_not_sent(log: JobLog) -> None:
    """A job whose file is still being brought back is not claimed before the file is in its place."""
    job = put(log, State.FAILURE)
    log.moves.finish_moves([(job, Folder.FAILED, Path("scan.jpg"))], NOW)
    job = must(log.jobs.advance(job.job_id, Event.RETRY, NOW, next_attempt_at=NOW))
    assert job.move_due
    assert (log.jobs.claim(OFFICE, NOW), log.lookups.next_due(OFFICE)) == (None, None)
    log.moves.finish_moves([(job, Folder.PROCESSING, Path(job.job_id, "scan.jpg"))], NOW)
    assert log.lookups.next_due(OFFICE) == NOW
    assert must(log.jobs.claim(OFFICE, NOW)).job_id == job.job_id


def test_lost_claims_are_awaited(log: JobLog) -> None:
    """Claims that nobody holds become awaited callbacks with a deadline; those in flight and all other jobs stay."""
    jobs = {state: put(log, state) for state in WAYS}
    in_flight = put(log, State.DELIVERING)
    lost = log.jobs.lose_claims(NOW + 1, NOW + 901, "stopped", but={in_flight.job_id})
    assert [job.job_id for job in lost] == [jobs[State.DELIVERING].job_id]
    after = current(log, lost[0])
    assert (after.state, after.deadline_at) == (State.PROCESSING, NOW + 901)
    row = log.histories.lines(after.job_id)[-1]
    assert (row["event"], row["detail"]) == ("lose", "stopped")
    for job in (in_flight, *(job for state, job in jobs.items() if state is not State.DELIVERING)):
        assert current(log, job) == job
    assert log.jobs.lose_claims(NOW + 1, NOW + 901, "again", but={in_flight.job_id}) == []
