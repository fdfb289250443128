"""Digests and verdicts outlive the history that is trimmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.retention import BelievedTime, Trimmer
from tests.fakes.daemons.process import jpegs
from tests.unit.spool.retention.archive import DAY, Archive


def trimmer(archive: Archive, days: float | None, believed: Callable[[], float] | None = None) -> Trimmer:
    """Return what trims an archive's log."""
    time_of = BelievedTime(archive.log, clock=archive.clock, monotonic=archive.clock)
    time_of()
    return Trimmer(archive.log, Retention(log_days=days), believed=time_of, stopping=archive.stopping)


def test_digest_and_verdict_outlive_the_history(archive: Archive) -> None:
    """After log_days history, attempts and message go; the row stays, so that the receipt is known for ever."""
    job = archive.conclude(Event.FAIL)
    archive.log.jobs.add_attempt(job.job_id, archive.clock.now, Attempt(archive.clock.now, "accepted", counted=True))
    trim = trimmer(archive, 100)
    archive.look_after(31)
    archive.clock.advance(99 * DAY)
    assert trim.trim_due() == 0  # a hundred days since the removal, too
    archive.clock.advance(2 * DAY)
    before = archive.now(job)
    with capture_logs() as lines:
        assert trim.trim_due() == 1
    assert [(line["event"], line["jobs"]) for line in lines] == [("retention.trimmed", 1)]
    assert archive.now(job) == replace(before, message=None)
    assert (archive.log.histories.lines(job.job_id), archive.log.histories.attempts(job.job_id)) == ([], [])
    assert trim.trim_due() == 0
    assert archive.drop_in().job_id == job.job_id


def test_no_history_of_anything_open_is_trimmed(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open, to be filed, young, or retried at the last moment keeps its history."""
    old = archive.conclude(Event.FAIL, "old.jpg", jpegs(1)[0])
    retried = archive.conclude(Event.FAIL, "retried.jpg", jpegs(1, 1)[0])
    moved = archive.conclude(Event.FAIL, "moved.jpg", jpegs(1, 5)[0])
    waiting = archive.drop_in("open.jpg", jpegs(1, 2)[0])
    due = archive.tell(archive.drop_in("due.jpg", jpegs(1, 3)[0]), Event.SUCCEED)
    trim = trimmer(archive, 100)
    archive.clock.advance(101 * DAY)
    young = archive.conclude(Event.SUCCEED, "young.jpg", jpegs(1, 4)[0])
    archive.log.database.change("UPDATE job SET move_due = 1 WHERE job_id = ?", due.job_id)
    find = archive.log.files.old_histories

    def find_then_retry(*given: float) -> list[str]:
        found = find(*given)
        archive.tell(retried, Event.RETRY, next_attempt_at=0.0)
        archive.log.database.change("UPDATE job SET move_due = 1 WHERE job_id = ?", moved.job_id)
        return found

    monkeypatch.setattr(archive.log.files, "old_histories", find_then_retry)
    assert trim.trim_due() == 1
    assert archive.events(old) == []
    assert all(archive.events(job) for job in (retried, moved, waiting, due, young))


def test_trimming_stops_with_the_daemon(archive: Archive) -> None:
    """When the daemon stops, no further jobs are trimmed; without a setting none ever is."""
    job = archive.conclude(Event.SUCCEED)
    trim, off = trimmer(archive, 1), trimmer(archive, None)
    archive.clock.advance(10 * DAY)
    archive.stopping.set()
    assert (trim.trim_due(), off.trim_due(), trim.is_needed, off.is_needed) == (0, 0, True, False)
    assert archive.events(job)
