"""The job log returns every field, attempt and fact as it was given."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from peewee import IntegrityError

from receipt_watcher.jobs.job import Folder, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job
from tests.unit.jobs.log.job_log_rows import NOW, current, everything, put

# --- what is kept --------------------------------------------------------------------------------------------------


def test_every_field_is_kept(log: JobLog) -> None:
    """A job comes back from the log as it was put in, with all its fields."""
    original = log.jobs.insert(make_job())
    job = make_job(
        state=State.DUPLICATE,
        reason=Reason.CANCELLED,
        filename="Überweisung Ä €.jpg",
        relative_path=Path("a/b/Überweisung Ä €.jpg"),
        folder=Folder.FAILED,
        stored_path=Path("a/b/Überweisung Ä € (2).jpg"),
        note_path=Path("a/b/Überweisung Ä € (2).jpg.reason.txt"),
        mime_type=None,
        sha256=None,
        size=2**40,
        attempts=3,
        failures=2,
        resends=1,
        created_at=0.1 + 0.2,
        deadline_at=1.5,
        completed_at=2.5,
        destination_failed_at=3.5,
        message="zwei\nZeilen «so»",
        notion_page_url="https://notion.so/1",
        duplicate_of=original.job_id,
        removed_at=4.5,
    )
    log.jobs.insert(job)
    log.database.close()
    log.database.open()
    assert current(log, job) == job


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\xff\xfe", b"new\nline\x1b[31m.pdf", b"nested/\x80/\xf0\x9f.png"])
def test_names_of_any_bytes_survive(log: JobLog, name: bytes) -> None:
    """A path comes back byte for byte, also where it is no UTF-8."""
    path = Path(os.fsdecode(name))
    fields = {"relative_path": path, "stored_path": Path("x") / path, "note_path": path}
    job = put(log, State.FAILURE, **fields)
    log.moves.intend_moves([(job, Folder.FAILED, path)])
    found = current(log, job)
    assert os.fsencode(found.relative_path) == name
    assert os.fsencode(found.stored_path) == b"x/" + name
    assert (found.note_path, found.moving_to_path) == (path, path)


def test_a_job_begins_with_its_history(log: JobLog) -> None:
    """A new job has one line of history: how it was recorded."""
    job = log.jobs.insert(make_job(state=State.FAILURE, reason=Reason.EMPTY, message="It has no content."))
    assert [
        (row["event"], row["from_state"], row["to_state"], row["detail"]) for row in log.histories.lines(job.job_id)
    ] == [("record", None, "failure", "It has no content.")]


def test_an_id_is_used_once(log: JobLog) -> None:
    """A second row under the same id is refused, and the first stays as it is."""
    job = log.jobs.insert(make_job())
    before = everything(log)
    with pytest.raises(IntegrityError):
        log.jobs.insert(replace(job, filename="other.jpg"))
    assert everything(log) == before


def test_history_belongs_to_a_job(log: JobLog) -> None:
    """Nothing can be written about a job that does not exist."""
    with pytest.raises(IntegrityError):
        log.histories.note(new_job_id(NOW), NOW, "callback.unreadable")


def test_attempts_are_kept_in_order(log: JobLog) -> None:
    """Each delivery's end is kept with what was answered, the first first."""
    job = put(log)
    log.jobs.add_attempt(
        job.job_id, NOW + 2, Attempt(NOW + 1, "deferred", counted=False, status_code=503, message="busy")
    )
    log.jobs.add_attempt(job.job_id, NOW + 4, Attempt(NOW + 3, "accepted", counted=True, status_code=200))
    assert [
        (row["started_at"], row["ended_at"], row["outcome"], row["counted"], row["status_code"], row["message"])
        for row in log.histories.attempts(job.job_id)
    ] == [
        (NOW + 1, NOW + 2, "deferred", False, 503, "busy"),
        (NOW + 3, NOW + 4, "accepted", True, 200, None),
    ]


def test_a_fact_is_the_last_that_was_kept(log: JobLog) -> None:
    """A fact has one value: that which was kept last; an unknown one is None."""
    log.facts.table.put("alive_at", "1")
    log.facts.table.put("alive_at", "2")
    assert (log.facts.table.get("alive_at"), log.facts.table.get("unknown")) == ("2", None)


def test_an_unknown_job_is_none(log: JobLog) -> None:
    """Asking for a job that is not there is no error."""
    job_id = new_job_id(NOW)
    assert log.lookups.get(job_id) is None
    assert log.jobs.advance(job_id, Event.SUCCEED, NOW) is None
    assert (log.histories.attempts(job_id), log.histories.lines(job_id)) == ([], [])


# --- the schema ----------------------------------------------------------------------------------------------------


def test_any_text_is_stored(log: JobLog) -> None:
    """A message that UTF-8 cannot encode is stored as it can be shown, and stops nobody."""
    job = log.jobs.insert(make_job())
    log.histories.note(job.job_id, 1.0, "file.missing", detail="caf\udce9 \ud800 é")
    assert [row["detail"] for row in log.histories.lines(job.job_id)][-1] == r"caf\udce9 \ud800 é"
