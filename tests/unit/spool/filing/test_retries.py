"""A receipt that is retried comes back from failed/ if it is still the same, and no other file does."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo import samples
from receipt_watcher.config.sections.inbox import Duplicates
from receipt_watcher.errors import FileVanishedError
from receipt_watcher.examine.judge import FileLimits
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.folders import Spool
from tests.fakes.daemons.process import digest, jpegs
from tests.unit.inbox.test_take_in import settled, take_in
from tests.unit.spool.filing.office import Office, claimed_ids, dropped_back, failed_folder, with_branch

# --- retries ---


def test_a_retried_file_comes_back_and_is_due(office: Office) -> None:
    """A retry moves the file back to processing/ under its old id, removes the note, and wakes a worker."""
    job = office.fail(office.drop_in("sub/scan.jpg"))
    office.file()
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    assert office.log.jobs.claim(["office"], office.clock.now) is None
    rung = office.rings.count
    assert office.file() == 1
    assert office.place(job) == f"processing/{job.job_id}/sub/scan.jpg"
    assert office.rings.count == rung + 1
    claimed = office.log.jobs.claim(["office"], office.clock.now)
    assert claimed is not None
    assert claimed.job_id == job.job_id
    assert not list(failed_folder(office).rglob("*.txt"))


def test_a_file_that_was_refused_may_pass_under_new_limits(office: Office) -> None:
    """A retry examines again: what was too large is queued once the limit was raised."""
    small = replace(office.route, limits=FileLimits(max_file_bytes=10, max_pixels=10))
    (job,) = take_in(
        office.take_in, small, [settled(office.inbox, office.drop("scan.jpg", samples.jpeg(1)))], nobody_waits
    )
    assert job.reason is Reason.TOO_LARGE
    office.file()
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    office.file()
    assert (office.now(job).state, office.now(job).reason) == (State.QUEUED, None)
    assert office.place(job) == f"processing/{job.job_id}/scan.jpg"


def test_a_file_that_is_still_refused_goes_back(office: Office) -> None:
    """A retry of what is no receipt fails again, with its reason, a line that sums it up, and a new note."""
    job = office.drop_in("scan.jpg", b"These are only words.")
    office.file()
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    with capture_logs() as lines:
        assert office.file() == 2
    assert (office.now(job).state, office.now(job).reason) == (State.FAILURE, Reason.UNSUPPORTED_TYPE)
    assert office.place(job) == "failed/scan.jpg"
    assert "It is plain text" in office.note()
    assert [line["status"] for line in lines if line["event"] == "job.concluded"] == ["failure"]


def test_what_could_not_be_read_is_filled_in(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose permissions were mended is examined at the retry: its digest, type and size are known then."""
    content = samples.jpeg(1)
    relative = office.drop("scan.jpg", content)
    with monkeypatch.context() as patch:
        _make_unreadable(patch)
        (job,) = office.take(relative)
        office.file()
    assert (office.now(job).reason, office.now(job).sha256) == (Reason.UNREADABLE, None)
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    office.file()
    found = office.now(job)
    assert (found.state, found.sha256, found.mime_type, found.size) == (
        State.QUEUED,
        digest(content),
        "image/jpeg",
        len(content),
    )


def _make_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shut us out of receipts, as the mode 0600 of another user does (root is never shut out)."""
    read = os.open

    def refuse(path: Any, *rest: Any, **options: Any) -> int:
        if str(path).endswith(".jpg"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)


def test_a_file_that_became_unreadable_is_not_said_to_have_changed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry of a file that shuts us out now is refused for that reason: nobody looks for other bytes."""
    job = office.fail(office.drop_in())
    office.file()
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    with monkeypatch.context() as patch:
        _make_unreadable(patch)
        office.file()
    assert (office.now(job).state, office.now(job).reason) == (State.FAILURE, Reason.UNREADABLE)
    assert office.place(job) == "failed/scan.jpg"


def test_a_file_that_changed_in_failed_is_not_sent(office: Office) -> None:
    """Bytes that are no longer those that were recorded are refused at the retry, and the note says so."""
    job = office.fail(office.drop_in())
    office.file()
    other = samples.jpeg(2)
    (failed_folder(office) / "scan.jpg").write_bytes(other)
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    office.file()
    found = office.now(job)
    assert (found.state, found.reason) == (State.FAILURE, Reason.CHANGED)
    assert found.sha256 == job.sha256
    assert (failed_folder(office) / "scan.jpg").read_bytes() == other
    assert "its bytes are no longer those that were recorded" in office.note()


def test_a_retry_of_a_file_that_is_gone_fails(office: Office) -> None:
    """A file that somebody took out of failed/ cannot be retried: the job says that it is missing, and is not due."""
    job = office.fail(office.drop_in())
    office.file()
    (failed_folder(office) / "scan.jpg").unlink()
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    with capture_logs() as lines:
        assert office.file() == 0
    found = office.now(job)
    assert (found.state, found.reason, found.move_due) == (State.FAILURE, Reason.FILE_MISSING, False)
    assert [line["event"] for line in lines] == ["job.concluded", "file.missing"]
    assert (lines[0]["reason"], lines[1]["filename"]) == ("file_missing", "scan.jpg")
    assert "scan.jpg is not there any more" in lines[1]["message"]
    assert "file.missing" in [row["event"] for row in office.log.histories.lines(job.job_id)]
    assert office.file() == 0


def test_a_file_that_is_gone_keeps_up_nobody_whatever_its_name(office: Office) -> None:
    """A name that is no UTF-8 is told as well as it can be: the log takes it, and the other files are moved."""
    gone = office.tell(office.drop_in(os.fsdecode(b"caf\xe9.jpg")), Event.SUCCEED)
    other = office.tell(office.drop_in("other.jpg", samples.jpeg(2)), Event.SUCCEED)
    office.route.path_of(gone).unlink()
    with capture_logs() as lines:
        assert office.file() == 1
    assert office.now(other).folder is Folder.DONE
    [missing] = [line for line in lines if line["event"] == "file.missing"]
    assert missing["message"].endswith(r"caf\xe9.jpg is not there any more")
    details = [row["detail"] for row in office.log.histories.lines(gone.job_id) if row["event"] == "file.missing"]
    assert details == [missing["message"]]


def test_a_dropped_back_file_that_is_gone_is_told_once(office: Office) -> None:
    """A file that was dropped in again and then taken out of processing/ fails its job, and that is the end of it."""
    job = dropped_back(office)
    office.route.path_of(job).unlink()
    with capture_logs() as lines:
        assert office.file() == 0
        assert office.file() == 0
    assert (office.now(job).reason, office.now(job).move_due) == (Reason.FILE_MISSING, False)
    assert [line["event"] for line in lines] == ["job.concluded", "file.missing"]


def test_a_success_whose_file_is_gone_stays_a_success(office: Office) -> None:
    """A verdict is not undone by a missing file: that is told once, and not tried again."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    shutil.rmtree(office.processing / job.job_id)
    with capture_logs() as lines:
        assert office.file() == 0
        assert office.file() == 0
    assert office.now(job).state is State.SUCCESS
    assert [line["event"] for line in lines] == ["file.missing"]


def test_the_folder_of_a_file_that_is_gone_does_not_stay(office: Office) -> None:
    """A file that a crash left half-way out of processing/ and that somebody took leaves no empty folder there."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    office.route.path_of(job).unlink()
    assert office.file() == 0
    assert not (office.processing / job.job_id).exists()


def test_a_retry_that_comes_while_a_file_is_found_missing_is_not_left_open(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose file is gone is never left queued with no file, whenever the retry came."""
    job = office.fail(office.drop_in())
    shutil.rmtree(office.processing / job.job_id)

    def retry_meanwhile(_: Spool, source: Path, *__: object) -> None:
        monkeypatch.undo()
        office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
        raise FileVanishedError(f"{source} is not there any more")

    monkeypatch.setattr(Spool, "move", retry_meanwhile)
    office.file()
    assert (office.now(job).state, office.now(job).reason) == (State.FAILURE, Reason.FILE_MISSING)


def test_a_file_that_is_dropped_back_while_it_is_found_missing_is_not_given_up(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry whose file is gone from failed/ goes on where the file has come by the inbox in that very moment."""
    job = office.fail(office.drop_in())
    office.file()
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    lies = failed_folder(office) / "scan.jpg"
    content = lies.read_bytes()

    def dropped_back_meanwhile(_: Spool, source: Path, *__: object) -> None:
        monkeypatch.undo()
        lies.unlink()
        [back] = office.take(office.drop("scan.jpg", content))
        assert back.job_id == job.job_id
        raise FileVanishedError(f"{source} is not there any more")

    monkeypatch.setattr(Spool, "move", dropped_back_meanwhile)
    with capture_logs() as lines:
        assert office.file() == 0
        assert office.file() == 1
    assert [line for line in lines if line["event"] == "file.missing"] == []
    found = office.now(job)
    assert (found.state, found.folder, found.stored_path) == (
        State.QUEUED,
        Folder.PROCESSING,
        Path(job.job_id, "scan.jpg"),
    )
    assert office.route.path_of(found).read_bytes() == content


def test_a_file_that_is_dropped_back_while_its_success_comes_late_is_filed_in_done(office: Office) -> None:
    """N8N fails a receipt, somebody drags it back, and then a success comes: the one file is its, in done/."""
    job = office.fail(office.drop_in())
    office.file()
    lies = failed_folder(office) / "scan.jpg"
    content = lies.read_bytes()
    lies.unlink()
    office.tell(job, Event.SUCCEED)
    [back] = office.take(office.drop("scan.jpg", content))
    assert back.job_id == job.job_id
    office.file()
    found = office.now(job)
    assert (found.state, found.folder, found.move_due) == (State.SUCCESS, Folder.DONE, False)
    assert office.route.path_of(found).read_bytes() == content
    assert list(failed_folder(office).iterdir()) == []


def nobody_waits(*waiting: object) -> NoReturn:
    """Fail: nothing is to stay in the inbox here."""
    raise AssertionError(waiting)


def _with_duplicates(office: Office, policy: Duplicates) -> None:
    office.route = with_branch(office.route, duplicates=policy)
    office.filing = office.new_filing()


@pytest.mark.parametrize("has_succeeded", [False, True])
def test_a_retried_copy_is_not_sent_beside_its_original(office: Office, has_succeeded: bool) -> None:
    """A retry of a copy that was refused fails again while its original is open or has succeeded: it is never sent."""
    _with_duplicates(office, "fail")
    original, copy = office.drop_in("a.jpg"), office.drop_in("b.jpg")
    assert copy.reason is Reason.ALREADY_SEEN
    if has_succeeded:
        office.tell(original, Event.SUCCEED)
    office.file()
    office.tell(copy, Event.RETRY, next_attempt_at=office.clock.now)
    assert office.file() == 2
    found = office.now(copy)
    assert (found.state, found.reason) == (State.FAILURE, Reason.ALREADY_SEEN)
    assert found.message == f"The same receipt is there as a.jpg (job {original.job_id})."
    assert office.place(copy) == "failed/b.jpg"
    assert found.message in office.note("b.jpg")
    assert claimed_ids(office) == ([] if has_succeeded else [original.job_id])


@pytest.mark.parametrize(("policy", "expected"), [("skip", 1), ("fail", 1), ("send", 2)])
def test_of_two_equal_files_that_pass_under_new_limits_one_is_sent(
    office: Office, policy: Duplicates, expected: int
) -> None:
    """Two copies that were too large, both retried under raised limits, are one receipt, unless copies are sent too."""
    small = replace(office.route, limits=FileLimits(max_file_bytes=10, max_pixels=10))
    names = [office.drop(name, samples.jpeg(1)) for name in ("a.jpg", "b.jpg")]
    jobs = [
        job for name in names for job in take_in(office.take_in, small, [settled(office.inbox, name)], nobody_waits)
    ]
    assert [job.reason for job in jobs] == [Reason.TOO_LARGE] * 2
    _with_duplicates(office, policy)
    office.file()
    for job in jobs:
        office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    office.file()
    reasons = [office.now(job).reason for job in jobs]
    assert (reasons.count(None), reasons.count(Reason.ALREADY_SEEN)) == (expected, 2 - expected)
    assert len(claimed_ids(office)) == expected
    assert {office.place(job).split("/")[0] for job in jobs} == (
        {"processing"} if expected == 2 else {"failed", "processing"}
    )


# --- a name in failed/ that another receipt has now ---


def _one_in_the_others_place(office: Office) -> tuple[Job, Job]:
    """Return two failed jobs; the file of the first was deleted, and that of the second lies under its name."""
    jobs = []
    for content in jpegs(2):
        (failed_folder(office) / "scan.jpg").unlink(missing_ok=True)
        jobs.append(office.fail(office.drop_in(content=content)))
        office.file()
    first, second = jobs
    assert office.now(first).stored_path == office.now(second).stored_path == Path("scan.jpg")
    return first, second


def test_a_late_success_does_not_take_another_receipts_file(office: Office) -> None:
    """A success of a job whose file was deleted leaves the file that lies under its name now, and that one's note."""
    first, second = _one_in_the_others_place(office)
    office.tell(first, Event.SUCCEED)
    with capture_logs() as lines:
        assert office.file() == 0
        assert office.file() == 0
    assert [line["event"] for line in lines] == ["file.missing"]
    assert (office.now(first).state, office.now(first).move_due) == (State.SUCCESS, False)
    assert office.place(second) == "failed/scan.jpg"
    assert f"Job: {second.job_id}\n" in office.note()
    assert office.all_files() == ["failed/scan.jpg", "failed/scan.jpg.reason.txt"]


def test_a_retry_does_not_take_another_receipts_file(office: Office) -> None:
    """Of two jobs of one name in failed/ that are retried, the one whose file it is goes on with its own bytes."""
    first, second = _one_in_the_others_place(office)
    for job in (first, second):
        office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    assert office.file() == 1
    found = office.now(first)
    assert (found.state, found.reason, found.move_due) == (State.FAILURE, Reason.CHANGED, False)
    assert office.now(second).state is State.QUEUED
    assert office.place(second) == f"processing/{second.job_id}/scan.jpg"
    assert office.all_files() == [f"processing/{second.job_id}/scan.jpg"]
    assert claimed_ids(office) == [second.job_id]
