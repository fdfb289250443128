"""The job log on real SQLite files: guarded changes, claims, moves, migrations, and other processes meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peewee import IntegrityError
from playhouse.migrations import Runner

from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.engine import connection as log_connection
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.tables import TABLES
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job
from tests.fakes.daemons.process import REPOSITORY, wait_until
from tests.fakes.unprivileged import ordinary_permissions
from tests.unit.jobs.test_states import ALLOWED, EVENTS, STATES

NOW = 1_700_000_000.0
OFFICE = ["office"]

#: The events that bring a job into each state.
WAYS: dict[State, list[Event]] = {
    State.QUEUED: [],
    State.DELIVERING: [Event.CLAIM],
    State.PROCESSING: [Event.CLAIM, Event.ACCEPT],
    State.SUCCESS: [Event.CLAIM, Event.ACCEPT, Event.SUCCEED],
    State.FAILURE: [Event.CLAIM, Event.ACCEPT, Event.FAIL],
    State.CANCELLED: [Event.CANCEL],
}


def put(log: JobLog, state: State = State.QUEUED, **fields: Any) -> Job:
    """Put a job into the log and bring it into a state."""
    if state is State.DUPLICATE:
        original = log.jobs.insert(make_job())
        return log.jobs.insert(make_job(state=State.DUPLICATE, duplicate_of=original.job_id, **fields))
    job = log.jobs.insert(make_job(**fields))
    for event in WAYS[state]:
        job = must(log.jobs.advance(job.job_id, event, NOW, **changes_for(event)))
    return job


def changes_for(event: Event) -> dict[str, Any]:
    """Return what a caller gives along with an event."""
    match event:
        case Event.ACCEPT | Event.LOSE:
            return {"deadline_at": NOW + 900}
        case Event.FAIL | Event.EXPIRE:
            return {"reason": Reason.N8N_FAILURE, "message": "no total"}
        case Event.DEFER | Event.RELEASE | Event.RESEND | Event.RETRY:
            return {"next_attempt_at": NOW}
        case _:
            return {}


def must(job: Job | None) -> Job:
    """Return a job that cannot be missing."""
    assert job is not None
    return job


def current(log: JobLog, job: Job) -> Job:
    """Return a job as it stands in the log now."""
    return must(log.lookups.get(job.job_id))


def everything(log: JobLog) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, as another connection sees them."""
    with closing(sqlite3.connect(log.database.path)) as other:
        tables = [name for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: other.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in tables}


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Do the same work in many threads that begin together, and pass on the first error."""
    errors: list[BaseException] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    if errors:
        raise errors[0]


@pytest.fixture
def other(log: JobLog) -> Iterator[sqlite3.Connection]:
    """Another process's connection to the same file, which never waits."""
    with closing(sqlite3.connect(log.database.path, timeout=0, isolation_level=None)) as connection:
        yield connection


# --- what is kept --------------------------------------------------------------------------------------------------


def test_every_field_is_kept(log: JobLog) -> None:
    """A job comes back from the log as it was put in, with all its fields."""
    original = log.jobs.insert(make_job())
    job = make_job(
        state=State.DUPLICATE,
        reason=Reason.CANCELLED,
        filename="Überweisung Ä €.jpg",
        relative_path=Path("a/b/Überweisung Ä €.jpg"),
        folder=Folder.FAILED,
        stored_path=Path("a/b/Überweisung Ä € (2).jpg"),
        note_path=Path("a/b/Überweisung Ä € (2).jpg.reason.txt"),
        mime_type=None,
        sha256=None,
        size=2**40,
        attempts=3,
        failures=2,
        resends=1,
        created_at=0.1 + 0.2,
        deadline_at=1.5,
        completed_at=2.5,
        destination_failed_at=3.5,
        message="zwei\nZeilen «so»",
        notion_page_url="https://notion.so/1",
        duplicate_of=original.job_id,
        removed_at=4.5,
    )
    log.jobs.insert(job)
    log.database.close()
    log.database.open()
    assert current(log, job) == job


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\xff\xfe", b"new\nline\x1b[31m.pdf", b"nested/\x80/\xf0\x9f.png"])
def test_names_of_any_bytes_survive(log: JobLog, name: bytes) -> None:
    """A path comes back byte for byte, also where it is no UTF-8."""
    path = Path(os.fsdecode(name))
    fields = {"relative_path": path, "stored_path": Path("x") / path, "note_path": path}
    job = put(log, State.FAILURE, **fields)
    log.moves.intend_moves([(job, Folder.FAILED, path)])
    found = current(log, job)
    assert os.fsencode(found.relative_path) == name
    assert os.fsencode(found.stored_path) == b"x/" + name
    assert (found.note_path, found.moving_to_path) == (path, path)


def test_a_job_begins_with_its_history(log: JobLog) -> None:
    """A new job has one line of history: how it was recorded."""
    job = log.jobs.insert(make_job(state=State.FAILURE, reason=Reason.EMPTY, message="It has no content."))
    assert [
        (row["event"], row["from_state"], row["to_state"], row["detail"]) for row in log.histories.lines(job.job_id)
    ] == [("record", None, "failure", "It has no content.")]


def test_an_id_is_used_once(log: JobLog) -> None:
    """A second row under the same id is refused, and the first stays as it is."""
    job = log.jobs.insert(make_job())
    before = everything(log)
    with pytest.raises(IntegrityError):
        log.jobs.insert(replace(job, filename="other.jpg"))
    assert everything(log) == before


def test_history_belongs_to_a_job(log: JobLog) -> None:
    """Nothing can be written about a job that does not exist."""
    with pytest.raises(IntegrityError):
        log.histories.note(new_job_id(NOW), NOW, "callback.unreadable")


def test_attempts_are_kept_in_order(log: JobLog) -> None:
    """Each delivery's end is kept with what was answered, the first first."""
    job = put(log)
    log.jobs.add_attempt(
        job.job_id, NOW + 2, Attempt(NOW + 1, "deferred", counted=False, status_code=503, message="busy")
    )
    log.jobs.add_attempt(job.job_id, NOW + 4, Attempt(NOW + 3, "accepted", counted=True, status_code=200))
    assert [
        (row["started_at"], row["ended_at"], row["outcome"], row["counted"], row["status_code"], row["message"])
        for row in log.histories.attempts(job.job_id)
    ] == [
        (NOW + 1, NOW + 2, "deferred", False, 503, "busy"),
        (NOW + 3, NOW + 4, "accepted", True, 200, None),
    ]


def test_a_fact_is_the_last_that_was_kept(log: JobLog) -> None:
    """A fact has one value: that which was kept last; an unknown one is None."""
    log.facts.table.keep("alive_at", "1")
    log.facts.table.keep("alive_at", "2")
    assert (log.facts.table.get("alive_at"), log.facts.table.get("unknown")) == ("2", None)


def test_an_unknown_job_is_none(log: JobLog) -> None:
    """Asking for a job that is not there is no error."""
    job_id = new_job_id(NOW)
    assert log.lookups.get(job_id) is None
    assert log.jobs.advance(job_id, Event.SUCCEED, NOW) is None
    assert (log.histories.attempts(job_id), log.histories.lines(job_id)) == ([], [])


# --- advance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), list(itertools.product(STATES, EVENTS)))
def test_advance_is_guarded(log: JobLog, state: str, event: str) -> None:
    """An event that the table allows changes the state with one line of history; another changes nothing at all."""
    job = put(log, State(state))
    before = everything(log)
    after = log.jobs.advance(job.job_id, Event(event), NOW + 5, detail="why", **changes_for(Event(event)))
    target = ALLOWED.get((state, event))
    if target is None:
        assert after is None
        assert everything(log) == before
    else:
        assert must(after).state.value == target
        assert after == current(log, job)
        assert current(log, job).updated_at == NOW + 5
        *earlier, row = log.histories.lines(job.job_id)
        assert len(earlier) == len([line for line in before["history"] if line[1] == job.job_id])
        assert (row["at"], row["event"], row["detail"]) == (NOW + 5, event, "why")
        assert (row["from_state"], row["to_state"]) == (state, target)


def test_the_database_knows_the_states(log: JobLog, other: sqlite3.Connection) -> None:
    """Even a hand in the database cannot write a state or a folder that does not exist, or half of a move."""
    put(log)
    for change in ("state = 'lost'", "folder = 'inbox'", "moving_to_folder = 'done'"):
        with pytest.raises(sqlite3.IntegrityError):
            other.execute(f"UPDATE job SET {change}")


def test_the_update_itself_names_the_states(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process changes the job between the look and the update, the update does not happen."""
    job = put(log, State.SUCCESS)
    before = everything(log)
    stale = replace(job, state=State.QUEUED)
    monkeypatch.setattr(log.lookups, "get", lambda job_id: stale)
    assert log.jobs.advance(job.job_id, Event.FAIL, NOW, reason=Reason.REFUSED) is None
    assert everything(log) == before


def test_history_is_legal(log: JobLog) -> None:
    """After any sequence of events each job's history is a chain of steps that the design allows."""
    chance = random.Random(4)
    jobs = [log.jobs.insert(make_job()) for _ in range(40)]
    for _ in range(1500):
        event = chance.choice(list(Event))
        log.jobs.advance(chance.choice(jobs).job_id, event, NOW, **changes_for(event))
    steps = 0
    for job in jobs:
        first, *rows = log.histories.lines(job.job_id)
        state = first["to_state"]
        for row in rows:
            assert row["from_state"] == state
            assert ALLOWED[row["from_state"], row["event"]] == row["to_state"]
            state = row["to_state"]
            steps += 1
        assert current(log, job).state == state
    assert steps > 100


def test_of_many_verdicts_one_wins(log: JobLog) -> None:
    """Of many threads that conclude one job at once, one changes it and the others are told that they lost."""
    job = put(log, State.PROCESSING)
    results: list[Job | None] = []
    in_threads(8, lambda number: results.append(log.jobs.advance(job.job_id, Event.SUCCEED, NOW, message=f"{number}")))
    won = [result for result in results if result is not None]
    assert len(won) == 1
    assert current(log, job) == won[0]
    assert [row["event"] for row in log.histories.lines(job.job_id)].count("succeed") == 1


@pytest.mark.parametrize("event", [Event.SUCCEED, Event.FAIL, Event.EXPIRE, Event.CANCEL])
def test_an_end_clears_what_was_awaited(log: JobLog, event: Event) -> None:
    """A job that has ended is due for nothing any more, and it is known when it ended."""
    job = put(log, State.PROCESSING)
    after = must(log.jobs.advance(job.job_id, event, NOW + 7, **changes_for(event)))
    assert (after.next_attempt_at, after.deadline_at, after.completed_at) == (None, None, NOW + 7)


def test_a_success_has_no_reason(log: JobLog) -> None:
    """A late success takes the reason of the failure away, and N8N's words take the place of ours."""
    job = put(log, State.FAILURE)
    after = must(
        log.jobs.advance(job.job_id, Event.SUCCEED, NOW, message="booked", notion_page_url="https://notion.so/1")
    )
    assert (after.reason, after.message, after.notion_page_url) == (None, "booked", "https://notion.so/1")


def test_a_cancel_is_its_own_reason(log: JobLog) -> None:
    """A cancelled job says that an admin cancelled it."""
    assert put(log, State.CANCELLED).reason is Reason.CANCELLED


def test_a_retry_begins_anew(log: JobLog) -> None:
    """A retry forgets the failures, the reason and the resends, but goes on counting attempts."""
    job = put(log, attempts=5)
    log.jobs.advance(job.job_id, Event.CLAIM, NOW)
    log.jobs.advance(
        job.job_id,
        Event.FAIL,
        NOW,
        reason=Reason.ATTEMPTS_EXHAUSTED,
        message="N8N answered 500",
        failures=8,
        resends=1,
        destination_failed_at=NOW,
    )
    after = must(log.jobs.advance(job.job_id, Event.RETRY, NOW + 1, next_attempt_at=NOW + 1))
    assert (after.failures, after.resends, after.attempts) == (0, 0, 5)
    assert (after.reason, after.message, after.completed_at, after.destination_failed_at) == (None, None, None, None)


def test_what_was_refused_is_retried_from_failed_only(log: JobLog) -> None:
    """A file that the examination refused is not retried before it is filed: it would go out without being examined."""
    job = log.jobs.insert(make_job(state=State.FAILURE, reason=Reason.TOO_LARGE))
    before = everything(log)
    assert log.jobs.advance(job.job_id, Event.RETRY, NOW, next_attempt_at=NOW) is None
    assert everything(log) == before
    log.moves.finish_moves([(job, Folder.FAILED, Path("scan.jpg"))], NOW)
    after = must(log.jobs.advance(job.job_id, Event.RETRY, NOW, next_attempt_at=NOW))
    assert (after.state, after.move_due) == (State.QUEUED, True)
    assert log.jobs.claim(OFFICE, NOW) is None


def test_a_refused_copy_is_retried_from_failed_only(log: JobLog) -> None:
    """A copy is not retried before it is filed: it would go out without a look at its original."""
    job = log.jobs.insert(make_job(state=State.FAILURE, reason=Reason.ALREADY_SEEN))
    assert log.jobs.advance(job.job_id, Event.RETRY, NOW, next_attempt_at=NOW) is None
    assert log.jobs.claim(OFFICE, NOW) is None


def test_what_n8n_failed_is_retried_where_it_is(log: JobLog) -> None:
    """A file that N8N failed and that is not filed yet goes out again from where it is."""
    job = put(log, State.FAILURE)
    after = must(log.jobs.advance(job.job_id, Event.RETRY, NOW, next_attempt_at=NOW))
    assert (after.state, after.folder, after.move_due) == (State.QUEUED, Folder.PROCESSING, False)
    assert must(log.jobs.claim(OFFICE, NOW)).job_id == job.job_id


# --- claims --------------------------------------------------------------------------------------------------------


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


def asked_by(log: JobLog, call: Callable[[], object]) -> list[str]:
    """Return the statements that SQLite is given meanwhile."""
    asked: list[str] = []
    connection: sqlite3.Connection = log.database.connection.raw()
    connection.set_trace_callback(asked.append)
    call()
    connection.set_trace_callback(None)
    return asked


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


# --- deadlines -----------------------------------------------------------------------------------------------------


def test_deadlines_are_postponed(log: JobLog) -> None:
    """Time when nobody listened is added to the deadlines of awaited callbacks, and to nothing else."""
    awaited, sent, queued = put(log, State.PROCESSING), put(log, State.DELIVERING), put(log)
    resent = must(log.jobs.advance(put(log, State.PROCESSING).job_id, Event.RESEND, NOW, next_attempt_at=NOW))
    log.jobs.postpone_deadlines(NOW + 60, NOW + 3660)
    assert current(log, awaited) == replace(awaited, deadline_at=NOW + 900 + 3600)
    assert [current(log, job) for job in (sent, queued, resent)] == [sent, queued, resent]


def test_deadline_that_began_after_we_were_last_noted_alive(log: JobLog) -> None:
    """That we live is noted now and then; a callback is owed no more time than has passed since its acceptance."""
    awaited = put(log, State.PROCESSING)
    log.jobs.postpone_deadlines(NOW - 3 * 86_400, NOW + 100)
    assert current(log, awaited).deadline_at == NOW + 900 + 100


def test_overdue_jobs_that_may_be_sent_again(log: JobLog) -> None:
    """A hundred that were sent often enough hide none that may still be sent again."""
    for _ in range(101):
        put(log, State.PROCESSING, resends=1)
    fresh = put(log, State.PROCESSING)
    assert len(log.lookups.overdue(OFFICE, NOW + 900)) == 100
    assert log.lookups.overdue(OFFICE, NOW + 900, 1) == [fresh]
    assert log.lookups.overdue(OFFICE, NOW + 900, 0) == []


def test_a_clock_that_went_back_postpones_nothing(log: JobLog) -> None:
    """Where the clock stands before the time when we were last alive, deadlines stay."""
    awaited = put(log, State.PROCESSING)
    log.jobs.postpone_deadlines(NOW + 60, NOW + 10)
    assert current(log, awaited) == awaited


def test_what_is_overdue(log: JobLog) -> None:
    """A callback is overdue at its deadline, the oldest deadline first, each inbox by itself."""
    jobs = [put(log, State.PROCESSING) for _ in range(3)]
    cellar = put(log, State.PROCESSING, inbox="cellar")
    put(log)
    for job, seconds in zip(jobs, (3, 1, 2), strict=True):
        log.jobs.advance(job.job_id, Event.RESEND, NOW, next_attempt_at=NOW)
        log.jobs.advance(job.job_id, Event.CLAIM, NOW)
        log.jobs.advance(job.job_id, Event.LOSE, NOW, deadline_at=NOW + seconds)
    assert [job.job_id for job in log.lookups.overdue(OFFICE, NOW + 3)] == [
        jobs[1].job_id,
        jobs[2].job_id,
        jobs[0].job_id,
    ]
    assert [job.job_id for job in log.lookups.overdue(OFFICE, NOW + 1.5)] == [jobs[1].job_id]
    assert log.lookups.overdue(OFFICE, NOW + 0.9) == []
    assert log.lookups.overdue(["cellar"], NOW + 900) == [cellar]
    assert log.lookups.next_deadline() == NOW + 1


def test_no_deadline_where_nothing_is_awaited(log: JobLog) -> None:
    """Where no callback is awaited there is no deadline."""
    put(log, State.SUCCESS)
    put(log, State.DELIVERING)
    assert log.lookups.next_deadline() is None


# --- where the files are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "home"),
    [
        (State.QUEUED, Folder.PROCESSING),
        (State.DELIVERING, Folder.PROCESSING),
        (State.PROCESSING, Folder.PROCESSING),
        (State.SUCCESS, Folder.DONE),
        (State.FAILURE, Folder.FAILED),
        (State.CANCELLED, Folder.FAILED),
    ],
)
def test_a_file_belongs_where_its_job_stands(log: JobLog, state: State, home: Folder) -> None:
    """A file that is not in the folder of its job's state is due to be moved there, and only such a file."""
    job = put(log, state)
    assert log.files.home_of(job) is home
    assert current(log, job).move_due == (home is not Folder.PROCESSING)
    assert [due.job_id for due in log.files.due_moves(OFFICE, 10)] == ([job.job_id] if job.move_due else [])
    log.moves.finish_moves([(job, home, Path("scan.jpg"))], NOW + 1)
    after = current(log, job)
    assert (after.folder, after.stored_path, after.move_due) == (home, Path("scan.jpg"), False)


def test_a_refused_file_is_due_at_once(log: JobLog) -> None:
    """A file that the examination refused is due to be moved to failed/ with its first row."""
    assert log.jobs.insert(make_job(state=State.FAILURE, reason=Reason.EMPTY)).move_due
    assert not log.jobs.insert(make_job()).move_due


def test_an_intended_move_is_remembered(log: JobLog) -> None:
    """Where a file is about to go outlives a restart, and is forgotten when it is there."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan (2).jpg"))])
    log.database.close()
    log.database.open()
    [due] = log.files.due_moves(OFFICE, 10)
    assert (due.moving_to_folder, due.moving_to_path) == (Folder.FAILED, Path("scan (2).jpg"))
    log.moves.finish_moves([(due, Folder.FAILED, Path("scan (2).jpg"))], NOW)
    assert current(log, job).moving_to_path is None
    assert log.files.due_moves(OFFICE, 10) == []


@pytest.mark.parametrize("verdict_first", [True, False])
def test_a_success_in_the_middle_of_a_move(log: JobLog, verdict_first: bool) -> None:
    """A success that comes while the file is on its way to failed/ makes the way on to done/ due."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan.jpg"))])
    steps: list[Callable[[], object]] = [
        lambda: log.jobs.advance(job.job_id, Event.SUCCEED, NOW),
        lambda: log.moves.finish_moves([(job, Folder.FAILED, Path("scan.jpg"))], NOW),
    ]
    if not verdict_first:
        steps.reverse()
    steps[0]()
    assert current(log, job).move_due == verdict_first
    steps[1]()
    assert current(log, job).move_due
    after = current(log, job)
    assert (after.state, after.folder, after.moving_to_folder) == (State.SUCCESS, Folder.FAILED, None)


def test_a_retry_in_the_middle_of_a_move(log: JobLog) -> None:
    """A retry while the file is on its way to failed/ waits for that move, then for the way back."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan.jpg"))])
    after = must(log.jobs.advance(job.job_id, Event.RETRY, NOW, next_attempt_at=NOW))
    assert after.move_due  # it is in processing/ by the log, but no longer on disk
    assert log.jobs.claim(OFFICE, NOW) is None
    log.moves.finish_moves([(after, Folder.FAILED, Path("scan.jpg"))], NOW)
    assert current(log, job).move_due
    log.moves.finish_moves([(after, Folder.PROCESSING, Path(job.job_id, "scan.jpg"))], NOW)
    assert must(log.jobs.claim(OFFICE, NOW)).job_id == job.job_id


def test_a_move_that_is_no_longer_due_is_not_begun(log: JobLog) -> None:
    """A move that was planned before a retry, or before another round made it, is not begun any more."""
    due, retried, moved, begun = (put(log, State.FAILURE) for _ in range(4))
    log.jobs.advance(retried.job_id, Event.RETRY, NOW, next_attempt_at=NOW)
    log.moves.finish_moves([(moved, Folder.FAILED, Path("moved.jpg"))], NOW)
    log.moves.intend_moves([(begun, Folder.FAILED, Path("first.jpg"))])
    planned = [(job, Folder.FAILED, Path("second.jpg")) for job in (due, retried, moved, begun)]
    assert log.moves.intend_moves(planned) == planned[:1]
    assert [current(log, job).moving_to_path for job in (due, retried, moved, begun)] == [
        Path("second.jpg"),
        None,
        None,
        Path("first.jpg"),
    ]


def test_a_move_is_not_lost_by_an_old_view(log: JobLog) -> None:
    """Whoever finishes a move goes by the job's state in the log, not by the one that was read before the move."""
    stale = put(log, State.PROCESSING)
    log.jobs.advance(stale.job_id, Event.SUCCEED, NOW)
    log.moves.finish_moves([(stale, Folder.PROCESSING, stale.stored_path)], NOW)
    assert current(log, stale).move_due


def test_a_move_that_ends_late_does_not_hide_a_newer_one(log: JobLog) -> None:
    """A file that was dropped in again while its old move was being finished is where the newer row says."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan.jpg"))])
    again = must(
        log.jobs.advance(
            job.job_id,
            Event.RETRY,
            NOW,
            next_attempt_at=NOW,
            folder=Folder.PROCESSING,
            stored_path=Path("newer/scan.jpg"),
            moving_to_folder=Folder.PROCESSING,
            moving_to_path=Path(job.job_id, "scan.jpg"),
        )
    )
    log.moves.finish_moves([(job, Folder.FAILED, Path("scan.jpg"))], NOW + 1)
    assert current(log, job) == again
    assert log.jobs.claim(OFFICE, NOW + 1) is None
    log.moves.finish_moves([(again, Folder.PROCESSING, Path(job.job_id, "scan.jpg"))], NOW + 2)
    assert current(log, job).stored_path == Path(job.job_id, "scan.jpg")
    assert must(log.jobs.claim(OFFICE, NOW + 2)).job_id == job.job_id


@pytest.mark.parametrize(
    ("event", "home"),
    [(Event.SUCCEED, Folder.DONE), (Event.FAIL, Folder.FAILED), (Event.CANCEL, Folder.FAILED)],
)
def test_copies_follow(log: JobLog, event: Event, home: Folder) -> None:
    """A copy stays where it is until the job that it copies ends, then it is due to be filed in the same folder."""
    original, unrelated = put(log), put(log, State.DUPLICATE)
    copies = [log.jobs.insert(make_job(state=State.DUPLICATE, duplicate_of=original.job_id)) for _ in range(3)]
    assert not any(copy.move_due for copy in copies)
    log.jobs.advance(original.job_id, event, NOW, **changes_for(event))
    for copy in copies:
        assert current(log, copy).move_due
        assert log.files.home_of(copy) is home
        assert current(log, copy).state is State.DUPLICATE
    assert not current(log, unrelated).move_due


def test_a_copy_of_a_success_is_due_at_once(log: JobLog) -> None:
    """A copy of a receipt that has succeeded is filed at once."""
    original = put(log, State.SUCCESS)
    copy = log.jobs.insert(make_job(state=State.DUPLICATE, duplicate_of=original.job_id))
    assert copy.move_due
    assert log.files.home_of(copy) is Folder.DONE


def test_a_copy_in_failed_follows_a_late_success(log: JobLog) -> None:
    """A copy that was filed with a failure stays there during a retry, and goes to done/ with the success."""
    original = put(log)
    copy = log.jobs.insert(make_job(state=State.DUPLICATE, duplicate_of=original.job_id))
    log.jobs.advance(original.job_id, Event.FAIL, NOW, reason=Reason.REFUSED)
    log.moves.finish_moves([(copy, Folder.FAILED, Path("copy.jpg"))], NOW)
    assert not current(log, copy).move_due
    log.jobs.advance(original.job_id, Event.RETRY, NOW, next_attempt_at=NOW)
    assert log.files.home_of(current(log, copy)) is Folder.FAILED
    log.jobs.advance(original.job_id, Event.SUCCEED, NOW)
    assert current(log, copy).move_due
    assert log.files.home_of(current(log, copy)) is Folder.DONE


def test_due_moves_come_in_order(log: JobLog) -> None:
    """Moves come oldest first, so many at most, and only of the inboxes that were asked for."""
    jobs = [log.jobs.insert(make_job(NOW + number, state=State.FAILURE, reason=Reason.EMPTY)) for number in range(5)]
    log.jobs.insert(make_job(NOW - 1, state=State.FAILURE, reason=Reason.EMPTY, inbox="cellar"))
    assert [job.job_id for job in log.files.due_moves(OFFICE, 3)] == [job.job_id for job in jobs[:3]]


def test_a_missing_file_is_not_looked_for_for_ever(log: JobLog) -> None:
    """A move whose file is gone is given up, and the history says so."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan.jpg"))])
    log.moves.abandon_move(job.job_id, NOW, "it is not there any more")
    after = current(log, job)
    assert (after.move_due, after.moving_to_folder, after.moving_to_path) == (False, None, None)
    row = log.histories.lines(job.job_id)[-1]
    assert (row["event"], row["detail"], row["to_state"]) == ("file.missing", "it is not there any more", None)


def test_what_lies_in_processing(log: JobLog) -> None:
    """The log knows which folders of processing/ hold a job's file, so that no other is mistaken for one."""
    put(log, stored_path=Path("a/sub/scan.jpg"))
    put(log, stored_path=Path("b/scan.jpg"), inbox="cellar")
    filed = put(log, State.FAILURE, stored_path=Path("c/scan.jpg"))
    log.moves.finish_moves([(filed, Folder.FAILED, Path("scan.jpg"))], NOW)
    assert log.files.unrecorded_in_processing("office", ["a", "a.b", "aa", "b", "c"]) == {"a.b", "aa", "b", "c"}
    assert log.files.unrecorded_in_processing("office", []) == set()


def test_an_examination_is_filled_in(log: JobLog) -> None:
    """What a later examination finds is kept."""
    job = put(log, sha256=None, mime_type=None, size=0)
    log.jobs.complete(job.job_id, "ab" * 32, "image/png", 7)
    assert current(log, job) == replace(job, sha256="ab" * 32, mime_type="image/png", size=7)


def test_a_note_is_remembered(log: JobLog) -> None:
    """Where a note stands is kept, and forgotten when it is gone."""
    job = put(log)
    log.moves.keep_note_path(job.job_id, Path("scan.jpg.reason.txt"))
    assert current(log, job).note_path == Path("scan.jpg.reason.txt")
    log.moves.keep_note_path(job.job_id, None)
    assert current(log, job).note_path is None


# --- reading -------------------------------------------------------------------------------------------------------


def test_the_same_receipts(log: JobLog) -> None:
    """The same bytes for the same target are found in the states that are asked for, the newest first."""
    old, new = (log.jobs.insert(make_job(NOW + number, sha256="ab" * 32, target="here")) for number in range(2))
    put(log, sha256="ab" * 32, target="there")
    put(log, sha256="cd" * 32, target="here")
    put(log, sha256=None, target="here")
    put(log, State.FAILURE, sha256="ab" * 32, target="here")
    found = log.lookups.same_receipts("ab" * 32, "here", frozenset({State.QUEUED, State.SUCCESS}))
    assert [job.job_id for job in found] == [new.job_id, old.job_id]


def test_a_listing_goes_back_in_pages(log: JobLog) -> None:
    """A listing shows the newest first, and each page goes on where the one before ended."""
    jobs = [log.jobs.insert(make_job(NOW + number)).job_id for number in range(5)]
    first = [job.job_id for job in log.lookups.listing(limit=3)]
    second = [job.job_id for job in log.lookups.listing(limit=3, older_than=first[-1])]
    assert first + second == jobs[::-1]


def test_a_listing_is_narrowed(log: JobLog) -> None:
    """A listing can be of some states and of one inbox."""
    failed, cellar = put(log, State.FAILURE), put(log, State.FAILURE, inbox="cellar")
    put(log)
    assert {job.job_id for job in log.lookups.listing(states=[State.FAILURE])} == {failed.job_id, cellar.job_id}
    assert [job.job_id for job in log.lookups.listing(states=[State.FAILURE], inbox="office")] == [failed.job_id]
    assert len(log.lookups.listing(limit=None)) == 3


def test_a_state_that_is_asked_for_twice_is_listed_once(log: JobLog) -> None:
    """Who names a state twice gets as many jobs as who names it once."""
    for number in range(6):
        log.jobs.insert(make_job(NOW + number))
    assert log.lookups.listing(states=[State.QUEUED] * 2, limit=4) == log.lookups.listing(
        states=[State.QUEUED], limit=4
    )


def test_a_job_is_found_by_what_an_admin_calls_it(log: JobLog) -> None:
    """A job is found by its id, the beginning of it, or its file's whole name; at most ten."""
    job = put(log, filename="50%_off.jpg")
    for number in range(12):
        log.jobs.insert(make_job(NOW + 1e6 + number, filename="scan.jpg"))
    assert [found.job_id for found in log.lookups.find(job.job_id)] == [job.job_id]
    assert job.job_id in [found.job_id for found in log.lookups.find(job.job_id[:10])]
    assert [found.job_id for found in log.lookups.find("50%_off.jpg")] == [job.job_id]
    assert len(log.lookups.find("scan.jpg")) == 10
    assert log.lookups.find("50%") == log.lookups.find("%") == log.lookups.find("_") == []


def test_jobs_are_counted(log: JobLog) -> None:
    """Jobs are counted by state, those that have none with zero, and by inbox."""
    put(log)
    put(log, inbox="cellar")
    put(log, State.FAILURE)
    expected = dict.fromkeys(State, 0) | {State.QUEUED: 2, State.FAILURE: 1}
    assert log.statistics.counts() == expected
    assert log.statistics.count(OFFICE, State.QUEUED, State.FAILURE) == 2
    assert log.statistics.count(OFFICE) == log.statistics.count([], State.QUEUED) == 0


def test_what_changed_and_what_is_still_open(log: JobLog) -> None:
    """What a run did is what changed since it began and what is still open, the oldest first."""
    closed, still_open = put(log, State.SUCCESS, job_id=new_job_id(NOW - 9)), put(log, job_id=new_job_id(NOW - 8))
    changed = put(log, State.PROCESSING, job_id=new_job_id(NOW - 7))
    log.jobs.advance(changed.job_id, Event.SUCCEED, NOW + 10)
    assert [job.job_id for job in log.lookups.changed_since(NOW + 5)] == [still_open.job_id, changed.job_id]
    assert closed.job_id in [job.job_id for job in log.lookups.changed_since(NOW)]


def test_what_has_been_open_for_long(log: JobLog) -> None:
    """Open jobs from before a time are found, the oldest first, and so many at most."""
    jobs = [log.jobs.insert(make_job(NOW + number)) for number in (3, 1, 2)]
    put(log, State.SUCCESS, created_at=NOW - 100)
    assert [job.job_id for job in log.lookups.open_since(NOW + 2, 9)] == [jobs[1].job_id, jobs[2].job_id]
    assert [job.job_id for job in log.lookups.open_since(NOW + 3, 1)] == [jobs[1].job_id]


# --- transactions --------------------------------------------------------------------------------------------------


class PlannedError(Exception):
    """Raised in the middle of a transaction."""


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
        log.facts.table.keep("a", "b")
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
        log.facts.table.keep("a", "b")
        fail_inside(log, lambda: log.facts.table.keep("c", "d"))

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
                log.facts.table.keep(f"{number}-{turn}", "kept")
            else:
                with pytest.raises(PlannedError):
                    fail_inside(log, lambda: log.facts.table.keep(f"{number}-{turn}", "lost"))  # noqa: B023 - called at once

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


# --- the schema ----------------------------------------------------------------------------------------------------

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
        for table in TABLES:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table._meta.table_name})")]
            assert columns == [field.column_name for field in table._meta.sorted_fields]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_job_has_a_column_for_each_field(log: JobLog) -> None:
    """A field that a job gets is not forgotten in the log."""
    with closing(sqlite3.connect(log.database.path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(job)")]
    assert columns == list(Job.__dataclass_fields__)


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


def test_the_straight_line(log: JobLog) -> None:
    """A receipt that all goes well for passes four states, and each is in the log before the next begins."""
    job = put(log)
    states = [current(log, job).state]
    for event in (Event.CLAIM, Event.ACCEPT, Event.SUCCEED):
        log.jobs.advance(job.job_id, event, NOW)
        states.append(current(log, job).state)
    assert states == [State.QUEUED, State.DELIVERING, State.PROCESSING, State.SUCCESS]
    assert [row["event"] for row in log.histories.lines(job.job_id)] == ["record", "claim", "accept", "succeed"]


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


def test_any_text_is_stored(log: JobLog) -> None:
    """A message that UTF-8 cannot encode is stored as it can be shown, and stops nobody."""
    job = log.jobs.insert(make_job())
    log.histories.note(job.job_id, 1.0, "file.missing", detail="caf\udce9 \ud800 é")
    assert [row["detail"] for row in log.histories.lines(job.job_id)][-1] == r"caf\udce9 \ud800 é"
