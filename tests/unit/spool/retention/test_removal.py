"""Retention removes what is old, and nothing by default."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool import retention
from receipt_watcher.spool.retention import Tally
from tests.fakes.daemons.process import jpegs
from tests.unit.spool.retention.archive import DAY, Archive, more_bytes, with_days

MONTH = "2023-11"


def test_off_by_default(archive: Archive) -> None:
    """Without a setting nothing is ever removed, however old it is, and there is nothing to do."""
    jobs = [
        archive.conclude(event, f"{event}.jpg", jpegs(1, n)[0]) for n, event in enumerate((Event.SUCCEED, Event.FAIL))
    ]
    with_days(archive)
    assert not archive.remover.is_needed
    assert archive.look_after(36_000) == Tally()
    assert [archive.is_removed(job) for job in jobs] == [False, False]


def test_an_old_success_goes_and_stays_in_the_log(archive: Archive) -> None:
    """After done_days the file goes, and with it the month's empty folder; the row says when, and keeps all it said."""
    job = archive.conclude(Event.SUCCEED)
    assert archive.look_after(29.9).removed == 0
    assert not archive.is_removed(job)
    with capture_logs() as lines:
        assert archive.look_after(0.2) == Tally(removed=1, size=job.size)
    assert archive.is_removed(job)
    assert archive.now(job) == replace(job, removed_at=archive.clock.now, updated_at=archive.clock.now)
    assert archive.all_files() == []
    assert archive.route.spool.folders.done.is_dir()
    history = archive.log.histories.lines(job.job_id)
    assert (history[-1]["event"], history[-1]["detail"]) == ("file.removed", f"done/{MONTH}/scan.jpg, by retention")
    assert [(line["event"], line["files"], line["bytes"]) for line in lines] == [("retention.removed", 1, job.size)]
    assert archive.remover.remove_due() == Tally()


def test_an_old_failure_goes_with_its_note(archive: Archive) -> None:
    """After failed_days a failed file goes with its note; somebody's file beside it stays, and so does the folder."""
    job = archive.conclude(Event.FAIL, "sub/scan.jpg")
    (archive.path(job).parent / "somebody's.txt").write_text("mine")
    assert archive.look_after(31).removed == 1
    assert archive.is_removed(job)
    assert archive.now(job).note_path is None
    assert [name for name in archive.all_files() if name.startswith("failed")] == ["failed/sub/somebody's.txt"]


def test_a_note_that_is_not_ours_stays(archive: Archive) -> None:
    """Where somebody wrote over the note, it is theirs, and stays."""
    job = archive.conclude(Event.FAIL)
    beside = archive.path(job).with_name("scan.jpg.reason.txt")
    beside.write_text("Called the supplier, they send it again.")
    assert archive.look_after(31).removed == 1
    assert beside.read_text() == "Called the supplier, they send it again."


@pytest.mark.parametrize(("days", "gone"), [({"done_days": 1.5}, "done"), ({"failed_days": 2}, "failed")])
def test_each_folder_has_its_own_days(archive: Archive, days: dict[str, float], gone: str) -> None:
    """What is not set is kept for ever: successes and failures are two settings."""
    success = archive.conclude(Event.SUCCEED, "a.jpg", jpegs(1)[0])
    failure = archive.conclude(Event.FAIL, "b.jpg", jpegs(1, 1)[0])
    with_days(archive, **days)
    assert archive.look_after(1000).removed == 1
    assert [archive.is_removed(success), archive.is_removed(failure)] == [gone == "done", gone == "failed"]


def test_only_what_is_old_goes(archive: Archive) -> None:
    """The age counts from the verdict, not from the scan; a folder that still holds something stays."""
    old = archive.conclude(Event.SUCCEED, "old.jpg", jpegs(1)[0])
    waiting = archive.drop_in("late.jpg", jpegs(1, 1)[0])
    archive.clock.advance(20 * DAY)
    archive.tell(waiting, Event.SUCCEED)
    archive.file()
    assert archive.look_after(15).removed == 1
    assert [archive.is_removed(job) for job in (old, waiting)] == [True, False]
    assert archive.look_after(15.1).removed == 1
    assert archive.is_removed(waiting)


def test_a_round_has_an_end(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round removes so many files at the most, in several commits; the next round goes on, the oldest first."""
    monkeypatch.setattr(retention, "ROUND_FILES", 5)
    monkeypatch.setattr(retention, "BATCH_FILES", 2)
    jobs = [archive.conclude(Event.SUCCEED, f"{n}.jpg", content) for n, content in enumerate(jpegs(7))]
    assert archive.look_after(31).removed == 5
    assert [archive.is_removed(job) for job in jobs] == [True] * 5 + [False] * 2
    assert archive.remover.remove_due().removed == 2


def test_what_must_stay_keeps_nothing_else(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ones, of which one changed and one is needed, do not take up each round: the next goes past them."""
    monkeypatch.setattr(retention, "ROUND_FILES", 1)
    changed, needed, free = (archive.conclude(Event.SUCCEED, f"{n}.jpg", content) for n, content in enumerate(jpegs(3)))
    more_bytes(archive.path(changed))
    later = archive.drop_in("later.jpg", jpegs(1, 9)[0])
    archive.log.database.change("UPDATE job SET revision_of = ? WHERE job_id = ?", needed.job_id, later.job_id)
    assert [archive.look_after(31).removed, *(archive.look_after(0.1).removed for _ in range(2))] == [0, 0, 1]
    assert [archive.is_removed(job) for job in (changed, needed, free)] == [False, False, True]


def test_a_stop_ends_a_round(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the daemon stops, no further file is read; what was written down is done."""
    monkeypatch.setattr(retention, "BATCH_FILES", 2)
    jobs = [archive.conclude(Event.SUCCEED, f"{n}.jpg", content) for n, content in enumerate(jpegs(5))]
    intend = archive.log.moves.intend_removals

    def stop_then_intend(*given: Any) -> list[Job]:
        archive.stopping.set()
        return intend(*given)

    monkeypatch.setattr(archive.log.moves, "intend_removals", stop_then_intend)
    assert archive.look_after(31).removed == 2
    assert [archive.is_removed(job) for job in jobs] == [True] * 2 + [False] * 3
