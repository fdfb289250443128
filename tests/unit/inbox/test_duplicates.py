"""The job that an arriving file belongs to, on a real job log; the folder failed/ is a set of job ids."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.examine.judge import Examination, Refusal
from receipt_watcher.inbox.duplicates import Arrival, DuplicateCheck
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job

NOW = 1_700_000_000.0
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
TARGET = "http://127.0.0.1/webhook/receipts 0f3c"
_moments = itertools.count()


@dataclass
class Failed:
    """The files in failed/, by job id."""

    jobs: set[str] = field(default_factory=set)

    def holds(self, job: Job) -> bool:
        """Return whether a job's file lies there."""
        return job.job_id in self.jobs


@pytest.fixture
def failed() -> Failed:
    """An empty folder of failed files."""
    return Failed()


@pytest.fixture
def intake(log: JobLog, failed: Failed) -> DuplicateCheck:
    """Return the recorder of arrivals."""
    return DuplicateCheck(log, failed.holds)


def arrival(name: str = "sub/scan.jpg", *, refusal: Refusal | None = None, **changes: Any) -> Arrival:
    """Return a file that was just moved to processing/ and examined; each arrives a second after the one before."""
    fields: dict[str, Any] = {
        "job_id": new_job_id(NOW + next(_moments)),
        "inbox": "office",
        "filename": Path(name).name,
        "relative_path": Path(name),
        "target": TARGET,
        "notion_database_id": "0f3c",
        "duplicates": "skip",
        "examination": Examination(3, changes.pop("sha256", ABC), "image/jpeg", refusal),
    }
    return Arrival(**(fields | changes))


def one(intake: DuplicateCheck, came: Arrival) -> Job:
    """Record one file, and return the job that it belongs to now."""
    [job] = intake.record([came], NOW)
    return job


def earlier(log: JobLog, *events: Event, **changes: Any) -> Job:
    """Put the job of an earlier file with the same bytes into the log, and let events happen to it."""
    fields: dict[str, Any] = {"job_id": new_job_id(NOW + next(_moments)), "target": TARGET, "sha256": ABC}
    job = log.jobs.insert(make_job(**(fields | changes)))
    for event in events:
        reason = {"reason": Reason.REFUSED, "message": "no"} if event is Event.FAIL else {}
        log.jobs.advance(job.job_id, event, NOW, **reason)
    return current(log, job)


def filed(log: JobLog, failed: Failed, *events: Event, is_there: bool, **changes: Any) -> Job:
    """Put an earlier job into the log that has ended and was filed in failed/, where its file still lies or not."""
    job = earlier(log, *events, **changes)
    log.moves.finish_moves([(job, Folder.FAILED, Path("sub/scan.jpg"))], NOW)
    log.moves.keep_note_path(job.job_id, Path("sub/scan.jpg.reason.txt"))
    if is_there:
        failed.jobs.add(job.job_id)
    return current(log, job)


def current(log: JobLog, job: Job) -> Job:
    """Return a job as it stands in the log now."""
    found = log.lookups.get(job.job_id)
    assert found is not None
    return found


def events_of(log: JobLog, job: Job) -> list[str]:
    """Return what happened to a job."""
    return [row["event"] for row in log.histories.lines(job.job_id)]


# --- a new receipt -------------------------------------------------------------------------------------------------


def test_a_new_receipt_is_queued(log: JobLog, intake: DuplicateCheck) -> None:
    """A file with new bytes gets a job of its own that is due at once, with all that the examination found."""
    came = arrival("sub/Überweisung.pdf")
    job = one(intake, came)
    assert job == current(log, job)
    assert job == make_job(
        NOW,
        job_id=came.job_id,
        filename="Überweisung.pdf",
        relative_path=Path("sub/Überweisung.pdf"),
        stored_path=Path(came.job_id, "sub", "Überweisung.pdf"),
        target=TARGET,
        notion_database_id="0f3c",
    )
    assert log.jobs.claim(["office"], NOW) is not None


def test_each_refused_file_has_a_row(log: JobLog, intake: DuplicateCheck) -> None:
    """A file that the examination refuses fails at once, with its reason and in words, and is due to be filed."""
    job = one(intake, arrival(refusal=Refusal(Reason.ENCRYPTED, "It is a PDF that asks for a password.")))
    assert (job.state, job.reason, job.message) == (
        State.FAILURE,
        Reason.ENCRYPTED,
        "It is a PDF that asks for a password.",
    )
    assert (job.completed_at, job.next_attempt_at, job.move_due) == (NOW, None, True)
    assert events_of(log, job) == ["record"]
    assert log.jobs.claim(["office"], NOW) is None


def test_files_without_a_digest_are_never_copies(intake: DuplicateCheck) -> None:
    """A file that could not be read has no digest, and is taken for a copy of nothing."""
    refusal = Refusal(Reason.UNREADABLE, "It may not be read.")
    jobs = [one(intake, arrival(sha256=None, refusal=refusal)) for _ in range(3)]
    assert [(job.state, job.reason, job.duplicate_of) for job in jobs] == [(State.FAILURE, Reason.UNREADABLE, None)] * 3
    assert len({job.job_id for job in jobs}) == 3


def test_nothing_is_recorded_for_nothing(log: JobLog, intake: DuplicateCheck) -> None:
    """No arrivals, no rows."""
    assert intake.record([], NOW) == []
    assert log.lookups.listing() == []


def test_a_batch_is_one_commit(log: JobLog, intake: DuplicateCheck) -> None:
    """Where one row of a batch cannot be written, none is: recovery will record them all."""
    first, second = arrival(sha256="1" * 64), arrival(sha256="2" * 64)
    with pytest.raises(Exception, match="UNIQUE"):
        intake.record([first, second, replace(second, examination=first.examination, target="x")], NOW)
    assert log.lookups.listing() == []


# --- a second copy -------------------------------------------------------------------------------------------------

OPEN = [(), (Event.CLAIM,), (Event.CLAIM, Event.ACCEPT)]


@pytest.mark.parametrize("events", OPEN)
def test_a_copy_of_an_open_receipt_waits(log: JobLog, intake: DuplicateCheck, events: Sequence[Event]) -> None:
    """The same bytes for the same target are not sent again while the first is under way, and wait for its end."""
    original = earlier(log, *events)
    copy = one(intake, arrival("again.jpg"))
    assert (copy.state, copy.duplicate_of) == (State.DUPLICATE, original.job_id)
    assert (copy.move_due, copy.next_attempt_at) == (False, None)
    assert current(log, original) == original


def test_a_copy_of_a_success_is_filed(log: JobLog, intake: DuplicateCheck) -> None:
    """The same bytes as those of a success are filed with it at once."""
    original = earlier(log, Event.SUCCEED)
    copy = one(intake, arrival("again.jpg"))
    assert (copy.state, copy.duplicate_of, copy.move_due) == (State.DUPLICATE, original.job_id, True)
    assert log.files.home_of(copy) is Folder.DONE
    assert current(log, original) == original


def test_a_copy_of_a_copy_names_the_first(log: JobLog, intake: DuplicateCheck) -> None:
    """However many copies come, each names the job that is really sent."""
    original = one(intake, arrival())
    copies = [one(intake, arrival(f"{number}.jpg")) for number in range(3)]
    assert {copy.duplicate_of for copy in copies} == {original.job_id}
    assert log.statistics.count(["office"], State.QUEUED) == 1


def test_a_copy_of_several_names_the_oldest(log: JobLog, intake: DuplicateCheck) -> None:
    """Where the same bytes were sent more than once, a copy names the first of those jobs."""
    first, *_ = [one(intake, arrival(duplicates="send")) for _ in range(3)]
    assert one(intake, arrival()).duplicate_of == first.job_id


def test_copies_in_one_batch(log: JobLog, intake: DuplicateCheck) -> None:
    """Of the same bytes twice in one batch, the first is queued and the second is its copy."""
    jobs = intake.record([arrival("a.jpg"), arrival("b.jpg"), arrival("c.jpg", sha256="0" * 64)], NOW)
    assert [job.state for job in jobs] == [State.QUEUED, State.DUPLICATE, State.QUEUED]
    assert jobs[1].duplicate_of == jobs[0].job_id


@pytest.mark.parametrize("events", [*OPEN, (Event.SUCCEED,)])
def test_the_same_bytes_for_another_target_are_sent(
    log: JobLog, intake: DuplicateCheck, events: Sequence[Event]
) -> None:
    """What goes to another webhook or another Notion database is another receipt."""
    earlier(log, *events)
    assert one(intake, arrival(target="http://127.0.0.1/webhook/receipts beef")).state is State.QUEUED


def test_copies_are_recognised_across_inboxes(log: JobLog, intake: DuplicateCheck) -> None:
    """Two inboxes with one target are one to a receipt: its bytes are sent once."""
    original = earlier(log, inbox="cellar")
    assert one(intake, arrival()).duplicate_of == original.job_id


def test_policy_send(log: JobLog, intake: DuplicateCheck) -> None:
    """With duplicates set to send, every copy of an open or booked receipt is sent under an id of its own."""
    first, second = one(intake, arrival(duplicates="send")), one(intake, arrival(duplicates="send"))
    log.jobs.advance(first.job_id, Event.SUCCEED, NOW)
    third = one(intake, arrival(duplicates="send"))
    assert [job.state for job in (first, second, third)] == [State.QUEUED] * 3
    assert len({job.job_id for job in (first, second, third)}) == 3


@pytest.mark.parametrize("events", [*OPEN, (Event.SUCCEED,)])
def test_policy_fail(log: JobLog, intake: DuplicateCheck, events: Sequence[Event]) -> None:
    """With duplicates set to fail, a copy fails with a reason that names the first receipt."""
    original = earlier(log, *events, filename="first.jpg")
    copy = one(intake, arrival(duplicates="fail"))
    assert (copy.state, copy.reason, copy.duplicate_of) == (State.FAILURE, Reason.ALREADY_SEEN, None)
    assert copy.message == f"The same receipt came before, as first.jpg (job {original.job_id})."
    assert copy.move_due
    assert current(log, original) == original


def test_a_refused_file_is_no_copy(log: JobLog, intake: DuplicateCheck) -> None:
    """What the examination refuses fails for that reason, whatever came before."""
    earlier(log, Event.SUCCEED)
    job = one(intake, arrival(refusal=Refusal(Reason.TOO_LARGE, "It is too large.")))
    assert (job.state, job.reason) == (State.FAILURE, Reason.TOO_LARGE)


def test_a_failed_copy_is_no_receipt_to_retry(log: JobLog, intake: DuplicateCheck) -> None:
    """A copy that failed for being one is not what a later file goes on with: nobody ever meant to send it."""
    original = earlier(log)
    copy = one(intake, arrival(duplicates="fail"))
    log.jobs.advance(original.job_id, Event.FAIL, NOW, reason=Reason.REFUSED)
    job = one(intake, arrival(duplicates="fail"))
    assert current(log, copy).state is State.FAILURE
    assert job.job_id == original.job_id


# --- a failed receipt comes back -----------------------------------------------------------------------------------

ENDED = [(Event.FAIL,), (Event.CANCEL,), (Event.CLAIM, Event.ACCEPT, Event.EXPIRE)]


@pytest.mark.parametrize("events", ENDED)
@pytest.mark.parametrize("duplicates", ["skip", "send", "fail"])
def test_a_file_that_is_dropped_back_goes_on(
    log: JobLog, intake: DuplicateCheck, failed: Failed, events: Sequence[Event], duplicates: str
) -> None:
    """A failed or cancelled file that is moved back into the inbox goes on under its old id, with all its history."""
    job = filed(log, failed, *events, is_there=False, attempts=2)
    before = events_of(log, job)
    came = arrival("other/name.jpg", duplicates=duplicates, inbox="cellar")
    found = one(intake, came)
    assert found.job_id == job.job_id
    assert found == current(log, job)
    assert (found.state, found.reason, found.next_attempt_at) == (State.QUEUED, None, NOW)
    assert (found.inbox, found.filename, found.relative_path) == ("cellar", "name.jpg", Path("other/name.jpg"))
    assert events_of(log, job) == [*before, "retry"]
    assert log.histories.lines(job.job_id)[-1]["detail"] == "dropped in again as name.jpg"
    assert log.lookups.get(came.job_id) is None


def test_a_file_that_is_dropped_back_is_moved_to_its_old_id(
    log: JobLog, intake: DuplicateCheck, failed: Failed
) -> None:
    """The log knows where the dropped-back file is now and where it is to go, and it is sent only from there."""
    job = filed(log, failed, Event.FAIL, is_there=False)
    came = arrival("scan.jpg")
    found = one(intake, came)
    assert (found.folder, found.stored_path) == (Folder.PROCESSING, Path(came.job_id, "scan.jpg"))
    assert (found.moving_to_folder, found.moving_to_path) == (Folder.PROCESSING, Path(job.job_id, "scan.jpg"))
    assert found.move_due
    assert found.note_path == Path("sub/scan.jpg.reason.txt")  # it goes when the file succeeds
    assert log.jobs.claim(["office"], NOW) is None
    log.moves.finish_moves([(found, Folder.PROCESSING, Path(job.job_id, "scan.jpg"))], NOW)
    claimed = log.jobs.claim(["office"], NOW)
    assert claimed is not None
    assert claimed.job_id == job.job_id


@pytest.mark.parametrize("duplicates", ["skip", "send", "fail"])
def test_a_file_that_is_dropped_back_while_an_admin_retries_it(
    log: JobLog, intake: DuplicateCheck, failed: Failed, duplicates: str
) -> None:
    """A job that waits for its file from failed/ gets it from the inbox, where somebody has put it meanwhile."""
    job = filed(log, failed, Event.FAIL, Event.RETRY, is_there=False)
    came = arrival("other/name.jpg", duplicates=duplicates, inbox="cellar")
    found = one(intake, came)
    assert (found.job_id, found.state, found.move_due) == (job.job_id, State.QUEUED, True)
    assert (found.inbox, found.filename, found.branch) == ("cellar", "name.jpg", "cellar")
    assert (found.folder, found.stored_path) == (Folder.PROCESSING, Path(came.job_id, "other/name.jpg"))
    assert (found.moving_to_folder, found.moving_to_path) == (Folder.PROCESSING, Path(job.job_id, "other/name.jpg"))
    assert log.histories.lines(job.job_id)[-1]["event"] == "file.brought"
    assert log.histories.lines(job.job_id)[-1]["detail"] == "dropped in again as name.jpg"
    assert log.lookups.get(came.job_id) is None


def test_a_retried_file_that_is_dropped_back_may_be_refused_again(
    log: JobLog, intake: DuplicateCheck, failed: Failed
) -> None:
    """Such a file that is refused fails its own job again: it has no other one."""
    job = filed(log, failed, Event.FAIL, Event.RETRY, is_there=False)
    found = one(intake, arrival(refusal=Refusal(Reason.BROKEN, "It is broken.")))
    assert (found.job_id, found.state, found.reason) == (job.job_id, State.FAILURE, Reason.BROKEN)


def test_a_file_that_is_dropped_back_while_its_success_comes_late(
    log: JobLog, intake: DuplicateCheck, failed: Failed
) -> None:
    """A job that succeeds when its file has just left failed/ gets it from the inbox, for done/; nothing is sent."""
    job = filed(log, failed, Event.CLAIM, Event.FAIL, Event.SUCCEED, is_there=False)
    came = arrival("other/name.jpg")
    found = one(intake, came)
    assert (found.job_id, found.state, found.move_due) == (job.job_id, State.SUCCESS, True)
    assert (found.folder, found.stored_path) == (Folder.PROCESSING, Path(came.job_id, "other/name.jpg"))
    assert (found.moving_to_folder, found.moving_to_path) == (None, None)
    assert log.jobs.claim(["office"], NOW) is None
    assert log.lookups.get(came.job_id) is None


def test_what_retention_removed_is_not_brought_back(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """The bytes of a success whose file was removed on purpose are a copy of it."""
    job = filed(log, failed, Event.CLAIM, Event.FAIL, Event.SUCCEED, is_there=False)
    log.database.change("UPDATE job SET removed_at = 1.0 WHERE job_id = ?", job.job_id)
    found = one(intake, arrival())
    assert (found.state, found.duplicate_of) == (State.DUPLICATE, job.job_id)


MAYBE = [Reason.OUTCOME_UNKNOWN, Reason.UNREADABLE_VERDICT, Reason.NO_CALLBACK]


def perhaps_booked(log: JobLog, failed: Failed, reason: Reason, *, is_there: bool) -> Job:
    """Put a job into the log that may have been booked, and was filed in failed/."""
    job = earlier(log, Event.CLAIM)
    log.jobs.advance(job.job_id, Event.GIVE_UP, NOW, reason=reason)
    log.moves.finish_moves([(current(log, job), Folder.FAILED, Path("sub/scan.jpg"))], NOW)
    failed.jobs |= {job.job_id} if is_there else set()
    return current(log, job)


@pytest.mark.parametrize("reason", MAYBE)
@pytest.mark.parametrize("duplicates", ["skip", "fail"])
def test_a_copy_of_what_may_have_been_booked_sends_nothing(
    log: JobLog, intake: DuplicateCheck, failed: Failed, reason: Reason, duplicates: str
) -> None:
    """A second copy that comes by itself is no wish to book once more: it is filed with the first, or failed."""
    job = perhaps_booked(log, failed, reason, is_there=True)
    found = one(intake, arrival("again.jpg", duplicates=duplicates))
    assert found.state is (State.DUPLICATE if duplicates == "skip" else State.FAILURE)
    assert found.duplicate_of == (job.job_id if duplicates == "skip" else None)
    assert current(log, job) == job
    assert log.jobs.claim(["office"], NOW) is None


def test_a_copy_of_what_may_have_been_booked_is_sent_where_each_copy_is(
    log: JobLog, intake: DuplicateCheck, failed: Failed
) -> None:
    """With duplicates: send a copy is a receipt of its own; the first one stays as it is."""
    job = perhaps_booked(log, failed, Reason.OUTCOME_UNKNOWN, is_there=True)
    found = one(intake, arrival("again.jpg", duplicates="send"))
    assert (found.state, found.job_id == job.job_id) == (State.QUEUED, False)
    assert current(log, job) == job


@pytest.mark.parametrize("reason", MAYBE)
def test_what_may_have_been_booked_and_is_moved_back_goes_again(
    log: JobLog, intake: DuplicateCheck, failed: Failed, reason: Reason
) -> None:
    """The file itself, moved out of failed/, is a person's wish: the note beside it said what that means."""
    job = perhaps_booked(log, failed, reason, is_there=False)
    found = one(intake, arrival("scan.jpg"))
    assert (found.job_id, found.state) == (job.job_id, State.QUEUED)


@pytest.mark.parametrize("reason", MAYBE)
def test_a_copy_of_what_may_have_been_booked_and_was_removed_sends_nothing(
    log: JobLog, intake: DuplicateCheck, failed: Failed, reason: Reason
) -> None:
    """What retention removed was not moved back: the same bytes are a copy, until somebody has settled the first."""
    job = perhaps_booked(log, failed, reason, is_there=False)
    log.database.change("UPDATE job SET removed_at = 1.0 WHERE job_id = ?", job.job_id)
    found = one(intake, arrival())
    assert (found.state, found.duplicate_of) == (State.DUPLICATE, job.job_id)
    assert log.jobs.claim(["office"], NOW) is None
    assert log.jobs.settle(job.job_id, NOW, "by an admin", is_delivered=False)
    assert one(intake, arrival()).state is State.QUEUED


def test_a_copy_of_a_retried_file_is_a_copy(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """While the file of a retried job still lies in failed/, what comes is a copy of it."""
    job = filed(log, failed, Event.FAIL, Event.RETRY, is_there=True)
    found = one(intake, arrival())
    assert (found.state, found.duplicate_of) == (State.DUPLICATE, job.job_id)


def test_a_retried_file_that_has_passed_otherwise_is_a_copy(
    log: JobLog, intake: DuplicateCheck, failed: Failed
) -> None:
    """Where the same bytes have passed under another id, nothing is sent for a retry whose file is gone."""
    passed = earlier(log, Event.CLAIM, Event.SUCCEED)
    filed(log, failed, Event.FAIL, Event.RETRY, is_there=False)
    found = one(intake, arrival())
    assert (found.state, found.duplicate_of) == (State.DUPLICATE, passed.job_id)


def test_a_copy_of_a_failed_file_retries_it(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """Where the failed file still lies in failed/, a copy that is dropped in retries that job and follows it."""
    job = filed(log, failed, Event.FAIL, is_there=True)
    copy = one(intake, arrival("copy.jpg"))
    assert (copy.state, copy.duplicate_of, copy.move_due) == (State.DUPLICATE, job.job_id, False)
    again = current(log, job)
    assert (again.state, again.next_attempt_at, again.move_due) == (State.QUEUED, NOW, True)
    assert log.files.home_of(again) is Folder.PROCESSING
    assert log.histories.lines(job.job_id)[-1]["detail"] == "a copy was dropped in"
    assert log.statistics.count(["office"], State.QUEUED) == 1


def test_the_newest_failed_job_goes_on(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """Of several failed jobs of the same bytes, the newest whose file is gone from failed/ goes on."""
    oldest, newer, newest = (filed(log, failed, Event.FAIL, is_there=is_there) for is_there in (False, False, True))
    assert one(intake, arrival()).job_id == newer.job_id
    assert [current(log, job).state for job in (oldest, newest)] == [State.FAILURE] * 2


def test_a_success_ends_the_search(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """Where the same bytes have succeeded under another job, a failed one is not retried: that would book twice."""
    booked, job = earlier(log, Event.SUCCEED), filed(log, failed, Event.FAIL, is_there=False)
    copy = one(intake, arrival())
    assert (copy.state, copy.duplicate_of) == (State.DUPLICATE, booked.job_id)
    assert current(log, job).state is State.FAILURE


def test_a_failed_file_for_another_target_stays(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """A failed receipt is retried by a file for its own target only."""
    job = filed(log, failed, Event.FAIL, is_there=False)
    assert one(intake, arrival(target="elsewhere")).job_id != job.job_id
    assert current(log, job).state is State.FAILURE


def test_a_dropped_back_file_may_be_refused_again(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """A refused file that is dropped in again and refused again keeps its id, and its history tells of both."""
    refusal = Refusal(Reason.TOO_LARGE, "It is too large.")
    job = one(intake, arrival(refusal=refusal))
    log.moves.finish_moves([(job, Folder.FAILED, Path("scan.jpg"))], NOW)
    found = one(intake, arrival(refusal=refusal))
    assert (found.job_id, found.state, found.reason) == (job.job_id, State.FAILURE, Reason.TOO_LARGE)
    assert found.message == "It is too large."
    assert events_of(log, job) == ["record", "retry", "fail"]
    assert (found.next_attempt_at, found.completed_at, found.move_due) == (None, NOW, True)


def test_a_dropped_back_file_may_be_accepted_now(log: JobLog, intake: DuplicateCheck) -> None:
    """A file that was refused under stricter limits is queued under its old id when it is dropped in again."""
    job = one(intake, arrival(refusal=Refusal(Reason.TOO_LARGE, "It is too large.")))
    log.moves.finish_moves([(job, Folder.FAILED, Path("scan.jpg"))], NOW)
    found = one(intake, arrival())
    assert (found.job_id, found.state, found.reason, found.message) == (job.job_id, State.QUEUED, None, None)


def test_a_second_refused_copy_gets_its_own_row(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """A refused file whose twin still lies in failed/ fails by itself: nothing is retried that cannot pass."""
    refusal = Refusal(Reason.BROKEN, "It cannot be read.")
    first = one(intake, arrival(refusal=refusal))
    failed.jobs.add(first.job_id)
    second = one(intake, arrival(refusal=refusal))
    assert second.job_id != first.job_id
    assert [current(log, job).state for job in (first, second)] == [State.FAILURE] * 2
    assert events_of(log, first) == ["record"]


def test_a_twin_of_a_dropped_back_file_in_one_batch(log: JobLog, intake: DuplicateCheck, failed: Failed) -> None:
    """Where a failed file and a copy of it are dropped in together, one goes on and the other follows it."""
    job = filed(log, failed, Event.FAIL, is_there=False)
    went_on, copy = intake.record([arrival("a.jpg"), arrival("b.jpg")], NOW)
    assert went_on.job_id == job.job_id
    assert (copy.state, copy.duplicate_of) == (State.DUPLICATE, job.job_id)
    assert log.statistics.count(["office"], State.QUEUED) == 1


# --- at the same time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_failed_before", [False, True])
def test_threads_that_record_the_same_bytes(log: JobLog, failed: Failed, has_failed_before: bool) -> None:
    """However many inboxes record the same bytes at once, exactly one job is queued and all others follow it."""
    if has_failed_before:
        filed(log, failed, Event.FAIL, is_there=False)
    came = [arrival(f"{number}.jpg") for number in range(8)]
    jobs: list[Job] = []
    start = threading.Barrier(len(came))

    def work(mine: Arrival) -> None:
        start.wait()
        jobs.extend(DuplicateCheck(log, failed.holds).record([mine], NOW))

    threads = [threading.Thread(target=work, args=[mine]) for mine in came]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(jobs) == 8
    [queued] = log.lookups.listing(states=[State.QUEUED])
    assert {job.duplicate_of for job in jobs if job.state is State.DUPLICATE} == {queued.job_id}
    assert len(log.lookups.listing(states=[State.DUPLICATE])) == 7
