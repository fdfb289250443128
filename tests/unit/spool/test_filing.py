"""Filing away: where each file ends, the note beside it, and that no interruption leaves a move half done."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo import samples
from receipt_watcher.config.sections.inbox import Duplicates
from receipt_watcher.errors import FileVanishedError
from receipt_watcher.examine.judge import FileLimits, examine
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.moves import Moves
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.service.loops import Loops
from receipt_watcher.spool import route
from receipt_watcher.spool.filing import BATCH_FILES, Filing
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.processing import Processing
from receipt_watcher.spool.reason_file import NOTE_SUFFIX, is_note, write_note
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system import disk
from receipt_watcher.system.display import NAME_MAX_BYTES
from receipt_watcher.system.wakeup import Bell
from tests.conftest import INSTALLATION, FakeClock
from tests.fakes.daemons.process import digest, jpegs
from tests.fakes.unprivileged import ordinary_permissions
from tests.unit.inbox.test_take_in import Desk, route_on, settled, take_in
from tests.unit.system.disk_faults import Crash, another_file_system, behind_a_bind_mount, crash, refusing

MONTH = "2023-11"


class Office(Desk):
    """A desk with the filing behind it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rings = Bell()
        self.filing = self.new_filing()

    def new_filing(self) -> Filing:
        """Return the filing of a process that has just started."""
        return Filing(self.log, [self.route], examine=examine, deliveries=self.rings, clock=self.clock)

    def drop_in(self, name: str = "scan.jpg", content: bytes | None = None) -> Job:
        """Drop a receipt into the inbox and take it in."""
        (job,) = self.take(self.drop(name, samples.jpeg(1) if content is None else content))
        return job

    def tell(self, job: Job, event: Event, **changes: Any) -> Job:
        """Let something happen to a job."""
        after = self.log.jobs.advance(job.job_id, event, self.clock.advance(60), **changes)
        assert after is not None
        return after

    def fail(self, job: Job, message: str | None = "The supplier is unknown.") -> Job:
        """Let N8N fail a job."""
        return self.tell(job, Event.FAIL, reason=Reason.N8N_FAILURE, message=message)

    def file(self) -> int:
        """File until nothing more can be done, and return how many moves it took."""
        moves = 0
        while moved := self.filing.file_away_due():
            moves += moved
        return moves

    def restart(self) -> None:
        """Do what the daemon does at its start."""
        self.filing = self.new_filing()
        while self.filing.file_away(self.route):
            pass
        self.recover()

    def now(self, job: Job) -> Job:
        """Return a job as the log has it now."""
        found = self.log.lookups.get(job.job_id)
        assert found is not None
        return found

    def place(self, job: Job) -> str:
        """Return where the log says that a file is; it must be there, and nowhere else."""
        found = self.now(job)
        assert (found.move_due, found.moving_to_folder, found.moving_to_path) == (False, None, None)
        path = self.route.path_of(found)
        assert digest(path.read_bytes()) == found.sha256
        return str(path.relative_to(path.parents[len(found.stored_path.parts)]))

    def all_files(self) -> list[str]:
        """Return every file and every empty folder of the spool, but not the owner's mark."""
        folders = self.route.spool.folders
        return sorted(
            str(Path(root.name) / path.relative_to(root))
            for root in (folders.inbox, folders.processing, folders.done, folders.failed)
            for path in root.rglob("*")
            if path.name != ".owner" and not (path.is_dir() and any(path.iterdir()))
        )

    def note(self, name: str = "scan.jpg") -> str:
        """Return the text of a note in failed/."""
        return (self.route.spool.folders.failed / f"{name}{NOTE_SUFFIX}").read_text("utf-8")


@pytest.fixture(autouse=True)
def universal_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock on the office's wall shows UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def office(log: JobLog, spool: Spool, clock: FakeClock) -> Office:
    """An office with one inbox."""
    return Office(log, route_on(spool), clock)


# --- late ---


def test_a_move_that_hangs_until_its_daemon_has_ended_is_no_defect(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload does not wait for a disk for ever: what moves then is finished by the next daemon."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    hangs, go_on, stopping, bell = threading.Event(), threading.Event(), threading.Event(), Bell()
    move = Spool.move

    def hang(*arguments: Any) -> None:
        hangs.set()
        assert go_on.wait(60)
        move(*arguments)

    loops = Loops(stopping)
    with capture_logs() as lines:
        with monkeypatch.context() as context:
            context.setattr(Spool, "move", hang)
            loops.add("filing", bell, lambda: float(office.file()))
            loops.start()
            assert hangs.wait(60)
            stopping.set()
            bell.ring()
            assert not loops.wait(0.1)
            office.log.database.close()
            go_on.set()
            assert loops.wait(60)
        office.log.database.open()
        office.restart()
    assert [line for line in lines if line["log_level"] not in ("debug", "info")] == []
    assert office.place(job) == f"done/{MONTH}/scan.jpg"


# --- done ---


def test_a_success_goes_to_done(office: Office) -> None:
    """A receipt that N8N has dealt with is in done/, in the month's folder; nothing is left behind."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    with capture_logs() as lines:
        assert office.file() == 1
    assert office.place(job) == f"done/{MONTH}/scan.jpg"
    assert office.all_files() == [f"done/{MONTH}/scan.jpg"]
    assert [(line["event"], line["folder"], line["path"]) for line in lines] == [
        ("file.filed", "done", f"{MONTH}/scan.jpg")
    ]
    assert office.file() == 0


@pytest.mark.parametrize(
    ("subfolder", "expected"),
    [
        ("", "done/sub/deeper/scan.jpg"),
        ("%Y/%m/%d", "done/2023/11/14/sub/deeper/scan.jpg"),
        ("paid", "done/paid/sub/deeper/scan.jpg"),
    ],
)
def test_done_keeps_the_inboxs_subfolders(office: Office, subfolder: str, expected: str) -> None:
    """The day of filing comes first, then the path below the inbox."""
    office.route = with_branch(office.route, done_subfolder=subfolder)
    office.filing = office.new_filing()
    job = office.tell(office.drop_in("sub/deeper/scan.jpg"), Event.SUCCEED)
    assert office.file() == 1
    assert office.place(job) == expected


def test_the_day_is_that_of_the_office(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The month is the local one on the day of filing, not that of Greenwich or of the scan."""
    job = office.drop_in()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # UTC+14
    time.tzset()
    office.clock.now = 1_701_352_800.0  # 2023-11-30 14:00 UTC
    office.tell(job, Event.SUCCEED)
    office.file()
    assert office.place(job) == "done/2023-12/scan.jpg"


def test_a_name_that_is_taken_gets_a_number(office: Office) -> None:
    """Scanners count from one again: nothing in done/ is overwritten, within a round and over many."""
    one, two, three = jpegs(3)
    jobs = [office.tell(office.drop_in(content=one), Event.SUCCEED)]
    assert office.file() == 1
    jobs += [office.tell(office.drop_in(content=content), Event.SUCCEED) for content in (two, three)]
    assert office.filing.file_away_due() == 2
    assert [office.place(job) for job in jobs] == [
        f"done/{MONTH}/scan.jpg",
        f"done/{MONTH}/scan (2).jpg",
        f"done/{MONTH}/scan (3).jpg",
    ]


@pytest.mark.parametrize("name", ["x" * 251 + ".jpg", "ü" * 125 + ".jpg", "x" * 255, "1. " + "x" * 252])
@pytest.mark.parametrize("event", [Event.SUCCEED, Event.FAIL])
def test_the_longest_names_are_filed(office: Office, name: str, event: Event) -> None:
    """Names of 255 bytes are filed, numbered and, where they failed, explained, as any other."""
    jobs = []
    for content in jpegs(2):
        jobs.append(office.drop_in(name, content))
        office.tell(jobs[-1], event, **({"reason": Reason.N8N_FAILURE} if event is Event.FAIL else {}))
        office.file()
    places = [office.place(job) for job in jobs]
    assert len(set(places)) == 2
    assert all(len(os.fsencode(Path(place).name)) <= NAME_MAX_BYTES for place in places)
    if event is Event.FAIL:
        assert all(is_note(_failed(office) / (office.now(job).note_path or "")) for job in jobs)


def _failed(office: Office) -> Path:
    return office.route.spool.folders.failed


def _done(office: Office) -> Path:
    return office.route.spool.folders.done


def test_many_are_filed_in_rounds(office: Office) -> None:
    """However many verdicts came at once: a round takes a batch, and rounds follow until none is due."""
    jobs = [
        office.tell(office.drop_in(f"{number}.jpg", content), Event.SUCCEED)
        for number, content in enumerate(jpegs(BATCH_FILES + 3))
    ]
    assert office.filing.file_away_due() == BATCH_FILES
    assert office.filing.file_away_due() == 3
    assert office.filing.file_away_due() == 0
    assert [office.place(job) for job in jobs] == [f"done/{MONTH}/{number}.jpg" for number in range(BATCH_FILES + 3)]


# --- failed ---


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
    (_failed(office) / "scan.jpg.reason.txt").write_text("somebody's")
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


# --- copies ---


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


# --- late verdicts ---


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
        (_failed(office) / name).rename(office.inbox / name)
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
    assert not list(_failed(office).rglob("*.txt"))


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
    (_failed(office) / "scan.jpg").write_bytes(other)
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    office.file()
    found = office.now(job)
    assert (found.state, found.reason) == (State.FAILURE, Reason.CHANGED)
    assert found.sha256 == job.sha256
    assert (_failed(office) / "scan.jpg").read_bytes() == other
    assert "its bytes are no longer those that were recorded" in office.note()


def test_a_retry_of_a_file_that_is_gone_fails(office: Office) -> None:
    """A file that somebody took out of failed/ cannot be retried: the job says that it is missing, and is not due."""
    job = office.fail(office.drop_in())
    office.file()
    (_failed(office) / "scan.jpg").unlink()
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
    job = _dropped_back(office)
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
    lies = _failed(office) / "scan.jpg"
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
    lies = _failed(office) / "scan.jpg"
    content = lies.read_bytes()
    lies.unlink()
    office.tell(job, Event.SUCCEED)
    [back] = office.take(office.drop("scan.jpg", content))
    assert back.job_id == job.job_id
    office.file()
    found = office.now(job)
    assert (found.state, found.folder, found.move_due) == (State.SUCCESS, Folder.DONE, False)
    assert office.route.path_of(found).read_bytes() == content
    assert list(_failed(office).iterdir()) == []


def nobody_waits(*waiting: object) -> NoReturn:
    """Fail: nothing is to stay in the inbox here."""
    raise AssertionError(waiting)


def with_branch(route: InboxRoute, **changes: Any) -> InboxRoute:
    """Return a route whose only branch is another one."""
    [branch] = route.branches
    return replace(route, branches=(replace(branch, **changes),))


def _with_duplicates(office: Office, policy: Duplicates) -> None:
    office.route = with_branch(office.route, duplicates=policy)
    office.filing = office.new_filing()


def _claimed(office: Office) -> list[str]:
    """Return the ids of all jobs that workers may send now."""
    claims = iter(lambda: office.log.jobs.claim(["office"], office.clock.now), None)
    return [job.job_id for job in claims]


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
    assert _claimed(office) == ([] if has_succeeded else [original.job_id])


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
    assert len(_claimed(office)) == expected
    assert {office.place(job).split("/")[0] for job in jobs} == (
        {"processing"} if expected == 2 else {"failed", "processing"}
    )


# --- a name in failed/ that another receipt has now ---


def _one_in_the_others_place(office: Office) -> tuple[Job, Job]:
    """Return two failed jobs; the file of the first was deleted, and that of the second lies under its name."""
    jobs = []
    for content in jpegs(2):
        (_failed(office) / "scan.jpg").unlink(missing_ok=True)
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
    assert _claimed(office) == [second.job_id]


# --- trouble ---


def test_a_name_that_somebody_took_meanwhile_is_left_to_him(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that appears under the chosen name before the move stays; ours gets another name in the next round."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    intend = Moves.intend_moves

    def take_the_name(part: Moves, moves: Any) -> Any:
        monkeypatch.setattr(Moves, "intend_moves", intend)
        (_done(office) / MONTH).mkdir()
        (_done(office) / MONTH / "scan.jpg").write_bytes(b"somebody's")
        return intend(part, moves)

    monkeypatch.setattr(Moves, "intend_moves", take_the_name)
    assert office.filing.file_away_due() == 0
    assert office.filing.file_away_due() == 1
    assert office.place(job) == f"done/{MONTH}/scan (2).jpg"
    assert (_done(office) / MONTH / "scan.jpg").read_bytes() == b"somebody's"


def test_a_file_where_a_folder_should_be_stops_nobody(office: Office) -> None:
    """A failed file of the name of a subfolder is gone around: what failed in that subfolder is filed all the same."""
    file, inside = (office.fail(office.drop_in(name, c)) for name, c in zip(("a", "b/x.jpg"), jpegs(2), strict=True))
    office.file()
    assert office.place(file) == "failed/a"
    below = office.fail(office.drop_in("a/x.jpg", jpegs(1, first=9)[0]))
    office.file()
    assert office.place(inside) == "failed/b/x.jpg"
    assert office.place(below) == "failed/a (2)/x.jpg"


@pytest.fixture
def two(log: JobLog, clock: FakeClock, tmp_path: Path) -> Iterator[tuple[Office, Office]]:
    """Two offices with one job log and one filing; the first is troubled by the tests."""
    offices = []
    for name in ("first", "second"):
        root = tmp_path / name
        (root / "inbox").mkdir(parents=True)
        spool = Spool(name, SpoolFolders(root / "inbox", root / "processing", root / "done", root / "failed"))
        spool.open(INSTALLATION)
        offices.append(Office(log, route_on(spool), clock))
    one, other = offices
    one.filing = other.filing = Filing(log, [one.route, other.route], examine=examine, deliveries=Bell(), clock=clock)
    yield one, other
    for office in offices:
        office.route.spool.close()


def _done_away(office: Office, patch: pytest.MonkeyPatch) -> str:
    done = _done(office)
    done.rename(done.with_name("elsewhere"))
    return "done is not there"


def _processing_away(office: Office, patch: pytest.MonkeyPatch) -> str:
    office.processing.rename(office.processing.with_name("elsewhere"))
    return ""


def _disk_full(office: Office, patch: pytest.MonkeyPatch) -> str:
    move = Spool.move

    def refuse(spool: Spool, *what: Any) -> None:
        if spool is office.route.spool:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(spool, *what)

    patch.setattr(Spool, "move", refuse)
    return "No space left on device"


def _flush_fails(office: Office, patch: pytest.MonkeyPatch) -> str:
    flush = Spool.flush_moves

    def refuse(spool: Spool, targets: Any) -> None:
        if spool is office.route.spool:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        flush(spool, targets)

    patch.setattr(Spool, "flush_moves", refuse)
    return "Input/output error"


def _mend(office: Office) -> None:
    for folder in (office.processing, _done(office)):
        elsewhere = folder.with_name("elsewhere")
        if elsewhere.exists() and not folder.exists():
            elsewhere.rename(folder)


@pytest.mark.parametrize("trouble", [_done_away, _processing_away, _disk_full, _flush_fails])
def test_trouble_of_one_spool_delays_only_its_own(
    two: tuple[Office, Office],
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[Office, pytest.MonkeyPatch], str],
) -> None:
    """A share that is away or a disk that is full is told once; the other inbox goes on; after it all are filed."""
    troubled, other = two
    jobs = [
        troubled.tell(troubled.drop_in(f"{number}.jpg", content), Event.SUCCEED)
        for number, content in enumerate(jpegs(3))
    ]
    with monkeypatch.context() as patch:
        said = trouble(troubled, patch)
        with capture_logs() as lines:
            for number, content in enumerate(jpegs(3, first=10)):
                job = other.tell(other.drop_in(f"{number}.jpg", content), Event.SUCCEED)
                assert other.filing.file_away_due() == 1
                assert other.place(job) == f"done/{MONTH}/{number}.jpg"
    told = [line for line in lines if line["log_level"] == "error"]
    assert [(line["event"], line["inbox"]) for line in told] == ([("file.not_filed", "first")] if said else [])
    assert all(said in line["message"] for line in told)
    assert all(troubled.now(job).state is State.SUCCESS for job in jobs)
    _mend(troubled)
    assert troubled.file() == 3
    assert [troubled.place(job) for job in jobs] == [f"done/{MONTH}/{number}.jpg" for number in range(3)]


def test_trouble_that_comes_again_is_told_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once files were moved again, the next trouble is news."""
    contents = jpegs(2)
    with capture_logs() as lines:
        for content in contents:
            office.tell(office.drop_in(content=content), Event.SUCCEED)
            with monkeypatch.context() as patch:
                _disk_full(office, patch)
                office.file()
                office.file()
            office.file()
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["file.not_filed", "file.not_filed"]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EACCES, errno.EPERM])
def test_a_file_that_cannot_be_moved_delays_only_itself(
    office: Office, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file that is open at another client (EBUSY) stays; those after it are filed, and it is told once."""
    move = Spool.move

    def refuse(spool: Spool, source: Path, *where: Any) -> None:
        if source.name == "0.jpg":
            raise OSError(number, os.strerror(number))
        move(spool, source, *where)

    jobs = [office.tell(office.drop_in(f"{n}.jpg", content), Event.SUCCEED) for n, content in enumerate(jpegs(3))]
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(Spool, "move", refuse)
        assert office.file() == 2
        assert office.file() == 0
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["file.not_filed"]
    assert [office.place(job) for job in jobs[1:]] == [f"done/{MONTH}/1.jpg", f"done/{MONTH}/2.jpg"]
    assert office.file() == 1
    assert office.place(jobs[0]) == f"done/{MONTH}/0.jpg"


def test_a_file_that_the_disk_does_not_give_delays_only_itself(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retried file that cannot be read (EIO) waits; what was moved beside it is written down, and it is told once."""
    bad, good, done = (office.drop_in(f"{number}.jpg", content) for number, content in enumerate(jpegs(3)))
    for job in (bad, good):
        office.fail(job)
    office.file()
    for job in (bad, good):
        office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    office.tell(done, Event.SUCCEED)
    read = examine

    def refuse(path: Path, limits: FileLimits) -> Any:
        if path.name == "0.jpg":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path, limits)

    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(office.filing, "_examine", refuse)
        assert office.filing.file_away_due() == 2
        assert [office.filing.file_away_due() for _ in range(3)] == [0, 0, 0]  # the loop waits for its tick
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["file.not_filed"]
    assert [office.place(job) for job in (good, done)] == [f"processing/{good.job_id}/1.jpg", f"done/{MONTH}/2.jpg"]
    assert office.log.files.due_moves(["office"], 10) == [office.now(bad)]
    assert _claimed(office) == [good.job_id]
    assert office.file() == 1
    assert office.place(bad) == f"processing/{bad.job_id}/0.jpg"
    assert _claimed(office) == [bad.job_id]


@pytest.mark.parametrize("event", [Event.SUCCEED, Event.RETRY])
def test_a_file_in_failed_that_the_disk_does_not_give_delays_only_itself(
    office: Office, monkeypatch: pytest.MonkeyPatch, event: Event
) -> None:
    """A file that cannot be read where it lies in failed/ (EIO) keeps no other from being filed."""
    bad, other = (office.drop_in(f"{number}.jpg", content) for number, content in enumerate(jpegs(2)))
    office.fail(bad)
    office.file()
    office.tell(bad, event, **({"next_attempt_at": office.clock.now} if event is Event.RETRY else {}))
    office.tell(other, Event.SUCCEED)
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(route, "digest_of", refusing(errno.EIO))
        assert office.file() == 1
        assert office.file() == 0
    assert office.place(other) == f"done/{MONTH}/1.jpg"
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["file.not_filed"]
    assert office.file() == 1
    assert office.place(bad).startswith("done/" if event is Event.SUCCEED else "processing/")


@pytest.mark.parametrize("event", [Event.SUCCEED, Event.RETRY])
def test_a_file_on_a_share_that_is_away_is_not_missing(office: Office, event: Event) -> None:
    """While failed/ is away, neither a late success nor a retry takes its files for lost: both wait for it."""
    job = office.fail(office.drop_in())
    office.file()
    _failed(office).rename(_failed(office).with_name("elsewhere"))
    office.tell(job, event, **({"next_attempt_at": office.clock.now} if event is Event.RETRY else {}))
    with capture_logs() as lines:
        assert office.file() == 0
    assert [line["event"] for line in lines] == ["file.not_filed"]
    assert office.now(job).state is (State.SUCCESS if event is Event.SUCCEED else State.QUEUED)
    _failed(office).with_name("elsewhere").rename(_failed(office))
    assert office.file() == 1
    assert office.place(job) in {f"done/{MONTH}/scan.jpg", f"processing/{job.job_id}/scan.jpg"}


def test_trouble_is_shown_until_filing_is_resumed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What keeps files where they are is told once, shown as it is now, and its end has a line of its own."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    with capture_logs() as lines:
        for number in (errno.ENOSPC, errno.EROFS):
            with monkeypatch.context() as context:
                context.setattr(disk, "move_file", refusing(number))
                assert office.filing.file_away_due() == 0
            assert os.strerror(number) in office.filing.troubles["office"]
        assert office.filing.file_away_due() == 1
    assert office.filing.troubles == {}
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == ["file.not_filed", "filing.resumed"]
    assert office.place(job) == f"done/{MONTH}/scan.jpg"
    with capture_logs() as lines:
        office.file()
    assert lines == []


def test_trouble_with_a_file_that_is_due_no_more_is_over(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry may make a move needless: then nothing is kept from its place any more."""
    job = office.fail(office.drop_in())
    with monkeypatch.context() as context:
        context.setattr(disk, "is_there", refusing(errno.EIO))
        assert office.filing.file_away_due() == 0
    assert office.filing.troubles.keys() == {"office"}
    office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
    with capture_logs() as lines:
        office.file()
    assert [line["event"] for line in lines] == ["filing.resumed"]
    assert office.filing.troubles == {}


def test_a_name_that_the_disk_does_not_tell_of_delays_only_its_file(office: Office) -> None:
    """Where the disk does not say whether a name is free, the other files go on, and the trouble is told once."""
    first, second = (
        office.tell(office.drop_in(name, content), Event.SUCCEED)
        for name, content in zip(("a/b/c.jpg", "d.jpg"), jpegs(2), strict=True)
    )
    shut = office.route.spool.folders.done / MONTH / "a"
    shut.mkdir(parents=True)
    shut.chmod(0)
    with capture_logs() as lines, ordinary_permissions():
        assert office.filing.file_away_due() == 1
        third = office.tell(office.drop_in("e.jpg", samples.jpeg(3)), Event.SUCCEED)
        assert office.filing.file_away_due() == 1
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["file.not_filed"]
    assert "filing.resumed" not in [line["event"] for line in lines]
    assert "Permission denied" in office.filing.troubles["office"]
    assert office.place(second) == f"done/{MONTH}/d.jpg"
    assert office.place(third) == f"done/{MONTH}/e.jpg"
    shut.chmod(0o700)
    assert office.file() == 1
    assert office.place(first) == f"done/{MONTH}/a/b/c.jpg"
    assert office.filing.troubles == {}


def test_an_inbox_that_is_not_ready_is_not_filed(office: Office) -> None:
    """Until a spool is open and recovered nothing of it is moved."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    office.route.is_ready = False
    assert office.file() == 0
    office.route.is_ready = True
    assert office.file() == 1
    assert office.place(job) == f"done/{MONTH}/scan.jpg"


def test_empty_folders_are_tidied_and_others_kept(office: Office) -> None:
    """The job's folder in processing/ goes with its file; folders that hold anything stay."""
    jobs = [office.drop_in(f"sub/deeper/{n}.jpg", content) for n, content in enumerate(jpegs(2))]
    (office.processing / jobs[1].job_id / "somebodys.txt").touch()
    for job in jobs:
        office.tell(job, Event.SUCCEED)
    office.file()
    assert [path.name for path in office.processing.iterdir() if path.name != ".owner"] == [jobs[1].job_id]
    assert (office.processing / jobs[1].job_id / "somebodys.txt").exists()
    assert not (office.processing / jobs[1].job_id / "sub").exists()


# --- interruptions ---


def _to_done(office: Office) -> Job:
    return office.tell(office.drop_in("sub/scan.jpg"), Event.SUCCEED)


def _to_failed(office: Office) -> Job:
    return office.fail(office.drop_in("sub/scan.jpg"))


def _from_failed_to_done(office: Office) -> Job:
    job = _to_failed(office)
    office.file()
    return office.tell(job, Event.SUCCEED)


def _back(office: Office) -> Job:
    job = _to_failed(office)
    office.file()
    return office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)


def _dropped_back(office: Office) -> Job:
    job = _to_failed(office)
    office.file()
    (office.inbox / "sub").mkdir(exist_ok=True)
    (_failed(office) / "sub/scan.jpg").rename(office.inbox / "sub/scan.jpg")
    (again,) = office.take(Path("sub/scan.jpg"))
    assert again.job_id == job.job_id
    return again


JOURNEYS = {
    "to done": (_to_done, f"done/{MONTH}/sub/scan.jpg"),
    "to failed": (_to_failed, "failed/sub/scan.jpg"),
    "from failed to done": (_from_failed_to_done, f"done/{MONTH}/sub/scan.jpg"),
    "back for a retry": (_back, "processing/{}/sub/scan.jpg"),
    "dropped back": (_dropped_back, "processing/{}/sub/scan.jpg"),
}


def _after(owner: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def plug(patch: pytest.MonkeyPatch) -> None:
        call = getattr(owner, name)

        def then_crash(*arguments: Any, **options: Any) -> None:
            call(*arguments, **options)
            raise Crash

        patch.setattr(owner, name, then_crash)

    return plug


def _instead_of(owner: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(owner, name, crash)


BOUNDARIES = {
    "before the intent": _instead_of(Moves, "intend_moves"),
    "after the intent": _after(Moves, "intend_moves"),
    "after the rename": _after(Spool, "move"),
    "before the flush": _instead_of(Spool, "flush_moves"),
    "after the flush": _after(Spool, "flush_moves"),
    "before the commit": _instead_of(Moves, "finish_moves"),
    "in the commit": _after(Moves, "finish_moves"),
    "in the examination": _instead_of(Filing, "_examined"),
    "after the commit": _instead_of(Processing, "tidy"),
    "in the clean-up": _instead_of(Filing, "_clean_up"),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("journey", JOURNEYS)
def test_an_interrupted_move_is_finished(
    office: Office, monkeypatch: pytest.MonkeyPatch, journey: str, boundary: str
) -> None:
    """Wherever a crash comes, the next start finishes the move: one file, one place, the note where it belongs."""
    begin, place = JOURNEYS[journey]
    job = begin(office)
    with monkeypatch.context() as patch, contextlib.suppress(Crash):
        BOUNDARIES[boundary](patch)
        office.file()
    office.restart()
    expected = place.format(job.job_id)
    assert office.place(job) == expected
    notes = [f"{expected}{NOTE_SUFFIX}"] if expected.startswith("failed") else []
    found = [name for name in office.all_files() if not name.endswith("/sub")]  # people's folders are kept
    assert found == sorted([expected, *notes])
    assert office.now(job).note_path == (Path(f"sub/scan.jpg{NOTE_SUFFIX}") if notes else None)
    assert office.recorded() == [office.now(job)]
    assert (office.log.jobs.claim(["office"], office.clock.now) is not None) is expected.startswith("processing")


@pytest.fixture(params=[another_file_system, behind_a_bind_mount])
def divided(
    request: pytest.FixtureRequest, log: JobLog, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Office]:
    """An office whose done/ no rename reaches."""
    (tmp_path / "inbox").mkdir()
    with request.param(tmp_path, monkeypatch) as other:
        folders = SpoolFolders(tmp_path / "inbox", tmp_path / "processing", other / "done", tmp_path / "failed")
        spool = Spool("office", folders)
        spool.open(INSTALLATION)
        yield Office(log, route_on(spool), clock)
        spool.close()


def _killed_in_the_copy(patch: pytest.MonkeyPatch) -> None:
    """End as by kill -9: half a copy is there, and nobody is left to remove it."""

    def copy_half(reader: Any, writer: Any, _: int) -> None:
        writer.write(reader.read(100))
        writer.flush()
        raise Crash

    patch.setattr(shutil, "copyfileobj", copy_half)
    patch.setattr(Path, "unlink", crash)


COPY_ENDS = {
    "killed in the copy": _killed_in_the_copy,
    "after the copy": _after(shutil, "copyfileobj"),
    "before the copy gets its name": _instead_of(disk, "_rename_no_replace"),
    "before the original goes": _instead_of(disk, "_remove_old_name"),
}


@pytest.mark.parametrize("journey", ["to done", "from failed to done"])
@pytest.mark.parametrize("end", COPY_ENDS)
def test_an_interrupted_copy_is_finished(
    divided: Office, monkeypatch: pytest.MonkeyPatch, journey: str, end: str
) -> None:
    """Where done/ is on another file system, a crash in the copy or behind it ends in one whole file all the same."""
    begin, expected = JOURNEYS[journey]
    job = begin(divided)
    with monkeypatch.context() as patch:
        COPY_ENDS[end](patch)
        with pytest.raises(Crash):
            divided.file()
    divided.restart()
    assert divided.place(job) == expected
    assert [name for name in divided.all_files() if not name.endswith("/sub")] == [expected]


def test_a_begun_move_goes_where_it_was_going(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move that was written down is finished to the same name, though the month has changed since."""
    job = _to_done(office)
    with monkeypatch.context() as patch:
        BOUNDARIES["after the rename"](patch)
        with pytest.raises(Crash):
            office.file()
    office.clock.advance(40 * 24 * 3600)
    office.restart()
    assert office.place(job) == f"done/{MONTH}/sub/scan.jpg"


def test_names_of_moves_that_were_begun_are_not_given_twice(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was written down for one file is not chosen for the next of the same name."""
    first, second = (office.drop_in(content=content) for content in jpegs(2))
    office.tell(first, Event.SUCCEED)
    with monkeypatch.context() as patch:
        BOUNDARIES["after the intent"](patch)
        with pytest.raises(Crash):
            office.file()
    office.tell(second, Event.SUCCEED)
    assert office.new_filing().file_away_due() == 2
    assert [office.place(job) for job in (first, second)] == [f"done/{MONTH}/scan.jpg", f"done/{MONTH}/scan (2).jpg"]
