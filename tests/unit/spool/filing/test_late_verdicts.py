"""A verdict that comes late moves a file that was filed already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.reason_file import write_note
from tests.unit.spool.filing.office import MONTH, Office, failed_folder


@pytest.mark.parametrize("before", [Event.FAIL, Event.CANCEL])
def test_a_late_success_moves_from_failed_to_done(office: Office, before: Event) -> None:
    """A success that comes after a failure or a cancel brings the file to done/, and the note goes."""
    job = office.tell(office.drop_in("sub/scan.jpg"), before)
    office.file()
    assert office.now(job).note_path is not None
    office.tell(job, Event.SUCCEED)
    office.file()
    assert office.place(job) == f"done/{MONTH}/sub/scan.jpg"
    assert [name for name in office.all_files() if "scan" in name] == [f"done/{MONTH}/sub/scan.jpg"]
    assert office.now(job).note_path is None


def test_a_note_that_came_along_into_the_inbox_goes_too(office: Office) -> None:
    """People move the note back together with its file: once the file succeeds, that note is gone as well."""
    job = office.fail(office.drop_in())
    office.file()
    for name in ("scan.jpg", "scan.jpg.reason.txt"):
        (failed_folder(office) / name).rename(office.inbox / name)
    write_note(office.inbox / "other.jpg.reason.txt", "another job", "stays")
    (again,) = office.take(Path("scan.jpg"))
    assert again.job_id == job.job_id
    office.file()
    assert office.place(job) == f"processing/{job.job_id}/scan.jpg"
    office.tell(job, Event.SUCCEED)
    office.file()
    assert office.all_files() == [f"done/{MONTH}/scan.jpg", "inbox/other.jpg.reason.txt"]


def test_a_verdict_in_the_middle_of_a_move_makes_the_next_one_due(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A success that comes while the file is being moved to failed/ is not lost: the file moves on to done/."""
    job = office.fail(office.drop_in())
    move = Spool.move

    def hear_meanwhile(spool: Spool, source: Path, folder: Folder, path: Path) -> None:
        move(spool, source, folder, path)
        if folder is Folder.FAILED:
            office.tell(job, Event.SUCCEED)

    monkeypatch.setattr(Spool, "move", hear_meanwhile)
    assert office.file() == 2
    assert office.place(job) == f"done/{MONTH}/scan.jpg"
    assert office.all_files() == [f"done/{MONTH}/scan.jpg"]


def test_a_retry_between_plan_and_move_keeps_the_file_where_it_is(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry that comes before the move was written down calls it off: the file is where a worker looks for it."""
    job = office.fail(office.drop_in())
    free_path = Spool.free_path

    def hear_meanwhile(spool: Spool, *what: Any) -> Path:
        monkeypatch.setattr(Spool, "free_path", free_path)
        office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
        return free_path(spool, *what)

    monkeypatch.setattr(Spool, "free_path", hear_meanwhile)
    assert office.file() == 0
    assert office.place(job) == f"processing/{job.job_id}/scan.jpg"
    assert office.log.jobs.claim(["office"], office.clock.now) is not None


def test_a_retry_in_the_middle_of_a_move_brings_the_file_back(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a file is on its way to failed/ no worker claims its job; it comes back first, and its note goes."""
    job = office.fail(office.drop_in())
    move = Spool.move

    def hear_meanwhile(spool: Spool, source: Path, folder: Folder, path: Path) -> None:
        move(spool, source, folder, path)
        if folder is Folder.FAILED:
            office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
        assert office.log.jobs.claim(["office"], office.clock.now) is None

    monkeypatch.setattr(Spool, "move", hear_meanwhile)
    assert office.file() == 2
    assert office.place(job) == f"processing/{job.job_id}/scan.jpg"
    assert office.all_files() == [f"processing/{job.job_id}/scan.jpg"]
    assert office.log.jobs.claim(["office"], office.clock.now) is not None
