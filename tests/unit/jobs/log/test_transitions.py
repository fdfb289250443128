"""A job changes its state only as the table of transitions allows."""

from __future__ import annotations

import itertools
import random
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job
from tests.unit.jobs.log.job_log_rows import NOW, OFFICE, changes_for, current, everything, in_threads, must, put
from tests.unit.jobs.test_states import ALLOWED, EVENTS, STATES

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


# --- the schema ----------------------------------------------------------------------------------------------------


def test_the_straight_line(log: JobLog) -> None:
    """A receipt that all goes well for passes four states, and each is in the log before the next begins."""
    job = put(log)
    states = [current(log, job).state]
    for event in (Event.CLAIM, Event.ACCEPT, Event.SUCCEED):
        log.jobs.advance(job.job_id, event, NOW)
        states.append(current(log, job).state)
    assert states == [State.QUEUED, State.DELIVERING, State.PROCESSING, State.SUCCESS]
    assert [row["event"] for row in log.histories.lines(job.job_id)] == ["record", "claim", "accept", "succeed"]
