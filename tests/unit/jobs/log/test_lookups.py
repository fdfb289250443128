"""Jobs are found, listed in pages and counted."""

from __future__ import annotations

from receipt_watcher.jobs.job import new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job
from tests.unit.jobs.log.job_log_rows import NOW, OFFICE, put


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
    assert [job.job_id for job in log.lookups.oldest_open(NOW + 2, 9)] == [jobs[1].job_id, jobs[2].job_id]
    assert [job.job_id for job in log.lookups.oldest_open(NOW + 3, 1)] == [jobs[1].job_id]
