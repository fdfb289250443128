"""A change that comes between the plan and the removal keeps the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool import retention
from receipt_watcher.spool.retention import Tally
from tests.unit.spool.retention.archive import CHANGES, Archive


def meanwhile(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, happening: Callable[[], object], *, late: bool
) -> None:
    """Let something happen after the files were read: just before the removal is written down, or just after."""
    intend = archive.log.moves.intend_removals

    def interrupted(*given: Any) -> list[Job]:
        if not late:
            happening()
        intended = intend(*given)
        if late:
            happening()
        return intended

    monkeypatch.setattr(archive.log.moves, "intend_removals", interrupted)


def test_a_retry_that_comes_first_wins(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin who retries a job while its file is being read keeps the file, and the job goes on with it."""
    job = archive.conclude(Event.FAIL)
    meanwhile(archive, monkeypatch, lambda: archive.tell(job, Event.RETRY, next_attempt_at=0.0), late=False)
    assert archive.look_after(31) == Tally()
    assert not archive.is_removed(job)
    archive.file()
    assert archive.place(job) == f"processing/{job.job_id}/scan.jpg"
    assert archive.now(job).state is State.QUEUED


def test_a_retry_that_comes_second_is_refused(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the removal is written down, a retry is refused, as it is later; nothing waits for a file that is gone."""
    job = archive.conclude(Event.FAIL)
    answers: list[Job | None] = []

    def retry() -> None:
        answers.append(archive.log.jobs.advance(job.job_id, Event.RETRY, archive.clock.now, next_attempt_at=0.0))

    meanwhile(archive, monkeypatch, retry, late=True)
    assert archive.look_after(31).removed == 1
    retry()
    assert answers == [None, None]
    assert archive.is_removed(job)
    assert (archive.now(job).state, archive.file()) == (State.FAILURE, 0)


@pytest.mark.parametrize(
    "change",
    [
        "state = 'cancelled'",
        "folder = 'done'",
        "stored_path = CAST('elsewhere.jpg' AS BLOB)",
        "completed_at = completed_at + 1",
        "sha256 = 'f00'",
        "move_due = 1",
        "moving_to_folder = 'done', moving_to_path = CAST('a.jpg' AS BLOB)",
        "removed_at = 1",
    ],
)
def test_a_job_that_changes_in_any_way_stays(archive: Archive, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Whatever happens to a row after its file was read: it is not written over, and the file stays."""
    job = archive.conclude(Event.FAIL)
    path = archive.path(job)
    meanwhile(archive, monkeypatch, lambda: archive.log.database.change(f"UPDATE job SET {change}"), late=False)
    assert archive.look_after(31) == Tally()
    assert path.exists()
    assert "file.removed" not in archive.events(job)


def test_no_file_is_moved_meanwhile(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the word in the log to the empty folder's end the filing rests: it might be moving a file just there."""
    archive.conclude(Event.SUCCEED)
    rests: list[bool] = []
    meanwhile(archive, monkeypatch, lambda: rests.append(archive.filing.at_rest(archive.route).locked()), late=True)
    tidy = retention._remove_empty

    def tidying(*given: Path) -> None:
        rests.append(archive.filing.at_rest(archive.route).locked())
        tidy(*given)

    monkeypatch.setattr(retention, "_remove_empty", tidying)
    assert archive.look_after(31).removed == 1
    assert rests == [True, True]
    assert not archive.filing.at_rest(archive.route).locked()


@pytest.mark.parametrize("change", [*CHANGES, Path.touch])
def test_a_file_that_changes_at_the_last_moment_stays(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """A file that somebody touches after it was read stays, and the log takes its word back."""
    job = archive.conclude(Event.SUCCEED)
    meanwhile(archive, monkeypatch, lambda: change(archive.path(job)), late=True)
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally(kept=1)
    assert [line["event"] for line in lines] == ["retention.kept"]
    assert os.path.lexists(archive.path(job))
    assert archive.now(job).removed_at is None
    assert archive.events(job)[-2:] == ["file.removed", "file.kept"]


def test_a_verdict_in_between_makes_the_move_due(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a late success comes while a removal is taken back, the file is filed where it belongs now."""
    job = archive.conclude(Event.FAIL)

    def change() -> None:
        archive.path(job).touch()
        archive.tell(job, Event.SUCCEED)

    meanwhile(archive, monkeypatch, change, late=True)
    assert archive.look_after(31).kept == 1
    assert archive.file() == 1
    assert archive.place(job).startswith("done/")
