"""A copy is filed where its original is."""

from __future__ import annotations

import pytest

from receipt_watcher.jobs.states import Event
from tests.unit.spool.filing.office import MONTH, Office


@pytest.mark.parametrize("event", [Event.SUCCEED, Event.FAIL, Event.CANCEL])
def test_a_copy_follows_its_original(office: Office, event: Event) -> None:
    """A copy stays in processing/ while its original is open, and is then filed where that one is filed."""
    original, copy = office.drop_in("a.jpg"), office.drop_in("b.jpg")
    assert office.file() == 0
    assert office.place(copy).startswith("processing/")
    office.tell(original, event)
    assert office.file() == 2
    folder = f"done/{MONTH}" if event is Event.SUCCEED else "failed"
    assert [office.place(job) for job in (original, copy)] == [f"{folder}/a.jpg", f"{folder}/b.jpg"]
    if event is not Event.SUCCEED:
        assert "This is a copy of a receipt" in office.note("b.jpg")
        assert f": a.jpg (job {original.job_id})." in office.note("b.jpg")
        assert "See the note beside the original." in office.note("b.jpg")


def test_a_copy_of_what_was_filed_is_filed_at_once(office: Office) -> None:
    """A copy that comes after its original succeeded goes to done/ too."""
    original = office.tell(office.drop_in("a.jpg"), Event.SUCCEED)
    office.file()
    copy = office.drop_in("a.jpg")
    assert (copy.duplicate_of, office.filings.count) == (original.job_id, 1)
    office.file()
    assert office.place(copy) == f"done/{MONTH}/a (2).jpg"


def test_a_copy_follows_through_failure_retry_and_success(office: Office) -> None:
    """A copy in failed/ waits there while its original is tried again, and comes to done/ with it; its note goes."""
    original, copy = office.drop_in("a.jpg"), office.drop_in("b.jpg")
    office.fail(original)
    office.file()
    office.tell(original, Event.RETRY, next_attempt_at=office.clock.now)
    office.file()
    assert office.place(original).startswith("processing/")
    assert office.place(copy) == "failed/b.jpg"
    office.tell(original, Event.SUCCEED)
    office.file()
    assert office.all_files() == [f"done/{MONTH}/a.jpg", f"done/{MONTH}/b.jpg"]


def test_a_copy_whose_original_is_open_again_just_then_waits(office: Office) -> None:
    """A retry between a failure and the filing of its copy: the copy stays where it is, and is not looked at again."""
    original, copy = office.drop_in("a.jpg"), office.drop_in("b.jpg")
    office.fail(original)
    office.tell(original, Event.RETRY, next_attempt_at=office.clock.now)
    assert office.file() == 0
    assert office.place(copy).startswith("processing/")
    assert office.place(original).startswith("processing/")
    assert office.log.files.due_moves(["office"], 10) == []
