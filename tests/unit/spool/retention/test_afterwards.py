"""A receipt whose file was removed is still known."""

from __future__ import annotations

from pathlib import Path

import pytest

from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.states import Event, State
from tests.fakes.daemons.process import jpegs
from tests.unit.spool.retention.archive import Archive
from tests.unit.system.disk_faults import Crash, crash


def test_a_removed_success_is_still_known(archive: Archive) -> None:
    """The same bytes after years are a copy of the receipt that was removed, and are not sent again."""
    job = archive.conclude(Event.SUCCEED)
    archive.look_after(31)
    assert archive.is_removed(job)
    again = archive.drop_in("again.jpg")
    assert (again.state, again.duplicate_of) == (State.DUPLICATE, job.job_id)
    archive.file()
    assert archive.place(again) == "done/2023-12/again.jpg"
    assert archive.look_after(29).removed == 0
    assert archive.look_after(2).removed == 1


@pytest.mark.parametrize("name", ["scan.jpg", "other.jpg"])
def test_a_removed_failure_that_is_dropped_in_again_goes_on(archive: Archive, name: str) -> None:
    """The same bytes as a removed failure are sent under the old id, with the old history, and a file again."""
    job = archive.conclude(Event.FAIL)
    archive.look_after(31)
    assert archive.is_removed(job)
    again = archive.drop_in(name)
    assert (again.job_id, again.state, again.removed_at) == (job.job_id, State.QUEUED, None)
    archive.file()
    assert archive.place(job) == f"processing/{job.job_id}/{name}"
    archive.tell(job, Event.SUCCEED)
    archive.file()
    assert archive.place(job) == f"done/2023-12/{name}"
    assert "file.removed" in archive.events(job)


def test_a_success_after_the_removal_moves_nothing(archive: Archive) -> None:
    """N8N's late success for a failure whose file was removed counts; its copies, removed too, are not looked for."""
    original, copy = archive.drop_in("a.jpg"), archive.drop_in("b.jpg")
    archive.fail(original)
    archive.file()
    assert archive.look_after(31).removed == 2
    archive.tell(original, Event.SUCCEED)
    assert archive.now(original).state is State.SUCCESS
    assert [archive.now(job).move_due for job in (original, copy)] == [False, False]
    assert archive.file() == 0


def test_a_path_is_that_of_the_file_that_is_there(archive: Archive) -> None:
    """Where an older receipt is filed under a name that a removed one had, the path means the one that is there."""
    older = archive.drop_in(content=jpegs(1)[0])
    removed = archive.conclude(Event.FAIL)
    assert archive.log.files.stored_at("office", Folder.FAILED, Path("scan.jpg")) == removed
    assert archive.look_after(31).removed == 1
    archive.fail(older)
    archive.file()
    assert archive.log.files.stored_at("office", Folder.FAILED, Path("scan.jpg")) == archive.now(older)


def test_a_dropped_file_before_a_removal_is_finished(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes that come between a crash and the next look get a job of their own; each job has one file."""
    job = archive.conclude(Event.FAIL)
    monkeypatch.setattr(Path, "unlink", crash)
    with pytest.raises(Crash):
        archive.look_after(31)
    monkeypatch.undo()
    again = archive.drop_in()
    assert (again.job_id != job.job_id, again.state) == (True, State.QUEUED)
    archive.remover = archive.new_remover()
    assert archive.remover.remove_due().removed == 1
    assert archive.is_removed(job)
    assert archive.place(again).startswith("processing/")
