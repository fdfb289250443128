"""A failure is filed in failed/, with a note that explains it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from tests.fakes.daemons.process import jpegs
from tests.unit.spool.filing.office import Office, failed_folder
from tests.unit.system.disk_faults import refusing


def test_a_failure_goes_to_failed_with_a_note(office: Office) -> None:
    """A failed receipt lies in failed/ under its own name, with a note in plain language: what happened, what to do."""
    job = office.fail(office.drop_in("sub/scan.jpg"))
    assert office.file() == 1
    assert office.place(job) == "failed/sub/scan.jpg"
    assert office.all_files() == ["failed/sub/scan.jpg", "failed/sub/scan.jpg.reason.txt", "inbox/sub"]
    assert office.now(job).note_path == Path("sub/scan.jpg.reason.txt")
    assert office.note("sub/scan.jpg") == (
        "receipt-watcher wrote this note about the file beside it.\n"
        "\n"
        "scan.jpg\n"
        "\n"
        "What happened (2023-11-14 22:14):\n"
        "The N8N workflow reported a failure.\n"
        "The supplier is unknown.\n"
        "\n"
        "What to do:\n"
        "Read its message; mend the cause; then retry or drop the file in again.\n"
        "To try again: move the file back into the inbox.\n"
        "\n"
        f"Job: {job.job_id}\n"
    )


def given_up(office: Office) -> Job:
    """Return a receipt that may have been booked, filed in failed/."""
    job = office.drop_in()
    office.tell(job, Event.CLAIM)
    office.tell(job, Event.GIVE_UP, reason=Reason.OUTCOME_UNKNOWN, message="No answer. It may have been booked.")
    office.file()
    return office.now(job)


def test_the_note_says_what_moving_back_would_do(office: Office) -> None:
    """Of a receipt that may have been booked the note says when to move it back, and what to do if it was booked."""
    job = given_up(office)
    text = office.note()
    assert "To try again" not in text
    assert "If it was not booked: move the file back into the inbox, and it is sent again." in text
    assert "If it was booked: leave the file here, or it is booked twice." in text
    assert f"receipt-watcher settle {job.job_id} --delivered" in text


def test_the_note_follows_what_was_settled(office: Office) -> None:
    """When somebody says that nothing was booked, the note beside the file says so, and what to do then."""
    job = given_up(office)
    assert office.log.jobs.settle(job.job_id, office.clock.now, "by anna", is_delivered=False)
    office.file()
    assert Reason.NOT_DELIVERED.meaning in office.note()
    assert "Marked as not delivered by anna." in office.note()
    assert "may have been booked" not in office.note()
    assert (office.place(job), office.now(job).move_due) == ("failed/scan.jpg", False)


def test_what_was_settled_as_delivered_goes_to_done(office: Office) -> None:
    """When somebody says that it was booked, the file moves to done/, without its note."""
    job = given_up(office)
    assert office.log.jobs.settle(job.job_id, office.clock.now, "by anna", is_delivered=True)
    office.file()
    assert office.all_files() == ["done/2023-11/scan.jpg"]
    assert office.now(job).message == "Marked as delivered by anna."


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_explained(office: Office, reason: Reason) -> None:
    """Whatever the reason, the note says in a sentence what it means and what to do."""
    office.tell(office.drop_in(), Event.FAIL, reason=reason, message=None)
    office.file()
    assert f":\n{reason.meaning}\n\nWhat to do:\n{reason.advice}\n" in office.note()


def test_what_examination_refused_is_explained_with_what_was_found(office: Office) -> None:
    """A file that is no receipt gets no advice to drop the same bytes in again."""
    job = office.drop_in("scan.jpg", b"These are only words.")
    assert office.file() == 1
    assert office.place(job) == "failed/scan.jpg"
    assert "It is plain text (text/plain), although its name ends in .jpg.\n" in office.note()
    assert "To try again" not in office.note()


def test_a_cancelled_receipt_goes_to_failed(office: Office) -> None:
    """What an admin cancelled is in failed/, and the note says that it was an admin."""
    job = office.tell(office.drop_in(), Event.CANCEL)
    office.file()
    assert office.place(job) == "failed/scan.jpg"
    assert "An admin cancelled the job." in office.note()


def test_a_name_that_is_taken_in_failed_gets_a_number_and_its_own_note(office: Office) -> None:
    """Two failed files of one name lie side by side, each with its own note."""
    jobs = [office.fail(office.drop_in(content=content), f"number {n}") for n, content in enumerate(jpegs(2))]
    office.file()
    assert [office.place(job) for job in jobs] == ["failed/scan.jpg", "failed/scan (2).jpg"]
    assert "number 0" in office.note("scan.jpg")
    assert "number 1" in office.note("scan (2).jpg")


def test_somebodys_file_in_the_notes_place_stays(office: Office) -> None:
    """A file of a person that has the note's name is not replaced; the receipt is filed all the same."""
    (failed_folder(office) / "scan.jpg.reason.txt").write_text("somebody's")
    job = office.fail(office.drop_in())
    office.file()
    assert office.place(job) == "failed/scan.jpg"
    assert office.note() == "somebody's"
    assert office.now(job).note_path is None


def test_a_note_that_cannot_be_written_keeps_no_receipt(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the note cannot be written the file is filed, and the log says that the note is missing."""
    job = office.fail(office.drop_in())
    monkeypatch.setattr("receipt_watcher.spool.reason_file.write_note", refusing(errno.EACCES))
    with capture_logs() as lines:
        office.file()
    assert office.place(job) == "failed/scan.jpg"
    (line,) = [line for line in lines if line["event"] == "note.not_written"]
    assert (line["job_id"], line["log_level"]) == (job.job_id, "error")
