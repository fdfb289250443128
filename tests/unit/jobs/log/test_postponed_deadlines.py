"""Time in which the daemon was down does not count against a callback's deadline."""

from __future__ import annotations

from dataclasses import replace

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from tests.unit.jobs.log.job_log_rows import NOW, OFFICE, current, must, put


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
