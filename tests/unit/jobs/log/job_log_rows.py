"""Jobs in any state, and the rows of a job log as they are on disk."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job

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


def asked_by(log: JobLog, call: Callable[[], object]) -> list[str]:
    """Return the statements that SQLite is given meanwhile."""
    asked: list[str] = []
    connection: sqlite3.Connection = log.database.connection.raw()
    connection.set_trace_callback(asked.append)
    call()
    connection.set_trace_callback(None)
    return asked


class PlannedError(Exception):
    """Raised in the middle of a transaction."""
