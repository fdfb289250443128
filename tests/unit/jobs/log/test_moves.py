"""The job log says which file is due to move, and remembers the moves that were begun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job
from tests.unit.jobs.log.job_log_rows import NOW, OFFICE, changes_for, current, must, put


@pytest.mark.parametrize(
    ("state", "home"),
    [
        (State.QUEUED, Folder.PROCESSING),
        (State.DELIVERING, Folder.PROCESSING),
        (State.PROCESSING, Folder.PROCESSING),
        (State.SUCCESS, Folder.DONE),
        (State.FAILURE, Folder.FAILED),
        (State.CANCELLED, Folder.FAILED),
    ],
)
def test_a_file_belongs_where_its_job_stands(log: JobLog, state: State, home: Folder) -> None:
    """A file that is not in the folder of its job's state is due to be moved there, and only such a file."""
    job = put(log, state)
    assert log.files.home_of(job) is home
    assert current(log, job).move_due == (home is not Folder.PROCESSING)
    assert [due.job_id for due in log.files.due_moves(OFFICE, 10)] == ([job.job_id] if job.move_due else [])
    log.moves.finish_moves([(job, home, Path("scan.jpg"))], NOW + 1)
    after = current(log, job)
    assert (after.folder, after.stored_path, after.move_due) == (home, Path("scan.jpg"), False)


def test_a_refused_file_is_due_at_once(log: JobLog) -> None:
    """A file that the examination refused is due to be moved to failed/ with its first row."""
    assert log.jobs.insert(make_job(state=State.FAILURE, reason=Reason.EMPTY)).move_due
    assert not log.jobs.insert(make_job()).move_due


def test_an_intended_move_is_remembered(log: JobLog) -> None:
    """Where a file is about to go outlives a restart, and is forgotten when it is there."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan (2).jpg"))])
    log.database.close()
    log.database.open()
    [due] = log.files.due_moves(OFFICE, 10)
    assert (due.moving_to_folder, due.moving_to_path) == (Folder.FAILED, Path("scan (2).jpg"))
    log.moves.finish_moves([(due, Folder.FAILED, Path("scan (2).jpg"))], NOW)
    assert current(log, job).moving_to_path is None
    assert log.files.due_moves(OFFICE, 10) == []


@pytest.mark.parametrize("verdict_first", [True, False])
def test_a_success_in_the_middle_of_a_move(log: JobLog, verdict_first: bool) -> None:
    """A success that comes while the file is on its way to failed/ makes the way on to done/ due."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan.jpg"))])
    steps: list[Callable[[], object]] = [
        lambda: log.jobs.advance(job.job_id, Event.SUCCEED, NOW),
        lambda: log.moves.finish_moves([(job, Folder.FAILED, Path("scan.jpg"))], NOW),
    ]
    if not verdict_first:
        steps.reverse()
    steps[0]()
    assert current(log, job).move_due == verdict_first
    steps[1]()
    assert current(log, job).move_due
    after = current(log, job)
    assert (after.state, after.folder, after.moving_to_folder) == (State.SUCCESS, Folder.FAILED, None)


def test_a_retry_in_the_middle_of_a_move(log: JobLog) -> None:
    """A retry while the file is on its way to failed/ waits for that move, then for the way back."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan.jpg"))])
    after = must(log.jobs.advance(job.job_id, Event.RETRY, NOW, next_attempt_at=NOW))
    assert after.move_due  # it is in processing/ by the log, but no longer on disk
    assert log.jobs.claim(OFFICE, NOW) is None
    log.moves.finish_moves([(after, Folder.FAILED, Path("scan.jpg"))], NOW)
    assert current(log, job).move_due
    log.moves.finish_moves([(after, Folder.PROCESSING, Path(job.job_id, "scan.jpg"))], NOW)
    assert must(log.jobs.claim(OFFICE, NOW)).job_id == job.job_id


def test_a_move_that_is_no_longer_due_is_not_begun(log: JobLog) -> None:
    """A move that was planned before a retry, or before another round made it, is not begun any more."""
    due, retried, moved, begun = (put(log, State.FAILURE) for _ in range(4))
    log.jobs.advance(retried.job_id, Event.RETRY, NOW, next_attempt_at=NOW)
    log.moves.finish_moves([(moved, Folder.FAILED, Path("moved.jpg"))], NOW)
    log.moves.intend_moves([(begun, Folder.FAILED, Path("first.jpg"))])
    planned = [(job, Folder.FAILED, Path("second.jpg")) for job in (due, retried, moved, begun)]
    assert log.moves.intend_moves(planned) == planned[:1]
    assert [current(log, job).moving_to_path for job in (due, retried, moved, begun)] == [
        Path("second.jpg"),
        None,
        None,
        Path("first.jpg"),
    ]


def test_a_move_is_not_lost_by_an_old_view(log: JobLog) -> None:
    """Whoever finishes a move goes by the job's state in the log, not by the one that was read before the move."""
    stale = put(log, State.PROCESSING)
    log.jobs.advance(stale.job_id, Event.SUCCEED, NOW)
    log.moves.finish_moves([(stale, Folder.PROCESSING, stale.stored_path)], NOW)
    assert current(log, stale).move_due


def test_a_move_that_ends_late_does_not_hide_a_newer_one(log: JobLog) -> None:
    """A file that was dropped in again while its old move was being finished is where the newer row says."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan.jpg"))])
    again = must(
        log.jobs.advance(
            job.job_id,
            Event.RETRY,
            NOW,
            next_attempt_at=NOW,
            folder=Folder.PROCESSING,
            stored_path=Path("newer/scan.jpg"),
            moving_to_folder=Folder.PROCESSING,
            moving_to_path=Path(job.job_id, "scan.jpg"),
        )
    )
    log.moves.finish_moves([(job, Folder.FAILED, Path("scan.jpg"))], NOW + 1)
    assert current(log, job) == again
    assert log.jobs.claim(OFFICE, NOW + 1) is None
    log.moves.finish_moves([(again, Folder.PROCESSING, Path(job.job_id, "scan.jpg"))], NOW + 2)
    assert current(log, job).stored_path == Path(job.job_id, "scan.jpg")
    assert must(log.jobs.claim(OFFICE, NOW + 2)).job_id == job.job_id


@pytest.mark.parametrize(
    ("event", "home"),
    [(Event.SUCCEED, Folder.DONE), (Event.FAIL, Folder.FAILED), (Event.CANCEL, Folder.FAILED)],
)
def test_copies_follow(log: JobLog, event: Event, home: Folder) -> None:
    """A copy stays where it is until the job that it copies ends, then it is due to be filed in the same folder."""
    original, unrelated = put(log), put(log, State.DUPLICATE)
    copies = [log.jobs.insert(make_job(state=State.DUPLICATE, duplicate_of=original.job_id)) for _ in range(3)]
    assert not any(copy.move_due for copy in copies)
    log.jobs.advance(original.job_id, event, NOW, **changes_for(event))
    for copy in copies:
        assert current(log, copy).move_due
        assert log.files.home_of(copy) is home
        assert current(log, copy).state is State.DUPLICATE
    assert not current(log, unrelated).move_due


def test_a_copy_of_a_success_is_due_at_once(log: JobLog) -> None:
    """A copy of a receipt that has succeeded is filed at once."""
    original = put(log, State.SUCCESS)
    copy = log.jobs.insert(make_job(state=State.DUPLICATE, duplicate_of=original.job_id))
    assert copy.move_due
    assert log.files.home_of(copy) is Folder.DONE


def test_a_copy_in_failed_follows_a_late_success(log: JobLog) -> None:
    """A copy that was filed with a failure stays there during a retry, and goes to done/ with the success."""
    original = put(log)
    copy = log.jobs.insert(make_job(state=State.DUPLICATE, duplicate_of=original.job_id))
    log.jobs.advance(original.job_id, Event.FAIL, NOW, reason=Reason.REFUSED)
    log.moves.finish_moves([(copy, Folder.FAILED, Path("copy.jpg"))], NOW)
    assert not current(log, copy).move_due
    log.jobs.advance(original.job_id, Event.RETRY, NOW, next_attempt_at=NOW)
    assert log.files.home_of(current(log, copy)) is Folder.FAILED
    log.jobs.advance(original.job_id, Event.SUCCEED, NOW)
    assert current(log, copy).move_due
    assert log.files.home_of(current(log, copy)) is Folder.DONE


def test_due_moves_come_in_order(log: JobLog) -> None:
    """Moves come oldest first, so many at most, and only of the inboxes that were asked for."""
    jobs = [log.jobs.insert(make_job(NOW + number, state=State.FAILURE, reason=Reason.EMPTY)) for number in range(5)]
    log.jobs.insert(make_job(NOW - 1, state=State.FAILURE, reason=Reason.EMPTY, inbox="cellar"))
    assert [job.job_id for job in log.files.due_moves(OFFICE, 3)] == [job.job_id for job in jobs[:3]]


def test_a_missing_file_is_not_looked_for_for_ever(log: JobLog) -> None:
    """A move whose file is gone is given up, and the history says so."""
    job = put(log, State.FAILURE)
    log.moves.intend_moves([(job, Folder.FAILED, Path("scan.jpg"))])
    log.moves.abandon_move(job.job_id, NOW, "it is not there any more")
    after = current(log, job)
    assert (after.move_due, after.moving_to_folder, after.moving_to_path) == (False, None, None)
    row = log.histories.lines(job.job_id)[-1]
    assert (row["event"], row["detail"], row["to_state"]) == ("file.missing", "it is not there any more", None)


def test_what_lies_in_processing(log: JobLog) -> None:
    """The log knows which folders of processing/ hold a job's file, so that no other is mistaken for one."""
    put(log, stored_path=Path("a/sub/scan.jpg"))
    put(log, stored_path=Path("b/scan.jpg"), inbox="cellar")
    filed = put(log, State.FAILURE, stored_path=Path("c/scan.jpg"))
    log.moves.finish_moves([(filed, Folder.FAILED, Path("scan.jpg"))], NOW)
    assert log.files.unrecorded_in_processing("office", ["a", "a.b", "aa", "b", "c"]) == {"a.b", "aa", "b", "c"}
    assert log.files.unrecorded_in_processing("office", []) == set()


def test_an_examination_is_filled_in(log: JobLog) -> None:
    """What a later examination finds is kept."""
    job = put(log, sha256=None, mime_type=None, size=0)
    log.jobs.complete(job.job_id, "ab" * 32, "image/png", 7)
    assert current(log, job) == replace(job, sha256="ab" * 32, mime_type="image/png", size=7)


def test_a_note_is_remembered(log: JobLog) -> None:
    """Where a note stands is kept, and forgotten when it is gone."""
    job = put(log)
    log.moves.keep_note_path(job.job_id, Path("scan.jpg.reason.txt"))
    assert current(log, job).note_path == Path("scan.jpg.reason.txt")
    log.moves.keep_note_path(job.job_id, None)
    assert current(log, job).note_path is None
