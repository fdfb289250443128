"""Retention: the only deletion there is removes what is concluded, filed, old and unchanged, and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peewee import SqliteDatabase
from playhouse.migrations import Runner
from structlog.testing import capture_logs

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.config.sources.load import load
from receipt_watcher.errors import ConfigError
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log import migrations
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.moves import Moves
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool import reason_file, retention
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.retention import BelievedTime, Remover, Tally, Trimmer
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system import disk
from tests.conftest import INSTALLATION, TOKEN, FakeClock, make_job, open_log
from tests.fakes.daemons.process import RunningDaemon, digest, jpegs, wait_until
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.filing.office import Office
from tests.unit.system.disk_faults import Crash, crash, refusing

DAY = 86400.0
MONTH = "2023-11"
BOTH = Retention(done_days=30, failed_days=30)


@dataclass
class Archive(Office):
    """An office whose filed receipts grow old."""

    days: Retention = BOTH

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stopping = threading.Event()
        self.remover = self.new_remover()

    def new_remover(self, *others: InboxRoute) -> Remover:
        """Return the retention of a process that has just started, and believes the clock."""
        believed = BelievedTime(self.log, clock=self.clock, monotonic=self.clock)
        believed()
        return Remover(
            self.log,
            self.route,
            [self.route, *others],
            self.days,
            at_rest=self.filing.at_rest(self.route),
            believed=believed,
            stopping=self.stopping,
            clock=self.clock,
            monotonic=self.clock,
        )

    def conclude(self, event: Event, name: str = "scan.jpg", content: bytes | None = None) -> Job:
        """Let a receipt go all the way to its folder."""
        job = self.drop_in(name, content)
        reason = {"reason": Reason.N8N_FAILURE, "message": "no"} if event is Event.FAIL else {}
        self.tell(job, event, **reason)
        self.file()
        return self.now(job)

    def look_after(self, days: float) -> Tally:
        """Let days pass, then look."""
        self.clock.advance(days * DAY)
        return self.remover.remove_due()

    def path(self, job: Job) -> Path:
        """Return where a job's file is, or was."""
        return self.route.path_of(self.now(job))

    def is_removed(self, job: Job) -> bool:
        """Return whether a job's file is gone, and the log says so; the two must agree."""
        is_gone = self.now(job).removed_at is not None
        assert is_gone is not self.path(job).exists()
        return is_gone

    def events(self, job: Job) -> list[str]:
        """Return what happened to a job."""
        return [row["event"] for row in self.log.histories.lines(job.job_id)]


@pytest.fixture
def archive(log: JobLog, spool: Spool, clock: FakeClock) -> Archive:
    """An office that keeps what is concluded for thirty days."""
    return Archive(log, route_on(spool), clock)


def with_days(archive: Archive, **days: float) -> None:
    """Restart with other settings."""
    archive.days = Retention(**days)
    archive.remover = archive.new_remover()


# --- what goes -----------------------------------------------------------------------------------------------------


def test_off_by_default(archive: Archive) -> None:
    """Without a setting nothing is ever removed, however old it is, and there is nothing to do."""
    jobs = [
        archive.conclude(event, f"{event}.jpg", jpegs(1, n)[0]) for n, event in enumerate((Event.SUCCEED, Event.FAIL))
    ]
    with_days(archive)
    assert not archive.remover.is_needed
    assert archive.look_after(36_000) == Tally()
    assert [archive.is_removed(job) for job in jobs] == [False, False]


def test_an_old_success_goes_and_stays_in_the_log(archive: Archive) -> None:
    """After done_days the file goes, and with it the month's empty folder; the row says when, and keeps all it said."""
    job = archive.conclude(Event.SUCCEED)
    assert archive.look_after(29.9).removed == 0
    assert not archive.is_removed(job)
    with capture_logs() as lines:
        assert archive.look_after(0.2) == Tally(removed=1, size=job.size)
    assert archive.is_removed(job)
    assert archive.now(job) == replace(job, removed_at=archive.clock.now, updated_at=archive.clock.now)
    assert archive.all_files() == []
    assert archive.route.spool.folders.done.is_dir()
    history = archive.log.histories.lines(job.job_id)
    assert (history[-1]["event"], history[-1]["detail"]) == ("file.removed", f"done/{MONTH}/scan.jpg, by retention")
    assert [(line["event"], line["files"], line["bytes"]) for line in lines] == [("retention.removed", 1, job.size)]
    assert archive.remover.remove_due() == Tally()


def test_an_old_failure_goes_with_its_note(archive: Archive) -> None:
    """After failed_days a failed file goes with its note; somebody's file beside it stays, and so does the folder."""
    job = archive.conclude(Event.FAIL, "sub/scan.jpg")
    (archive.path(job).parent / "somebody's.txt").write_text("mine")
    assert archive.look_after(31).removed == 1
    assert archive.is_removed(job)
    assert archive.now(job).note_path is None
    assert [name for name in archive.all_files() if name.startswith("failed")] == ["failed/sub/somebody's.txt"]


def test_a_note_that_is_not_ours_stays(archive: Archive) -> None:
    """Where somebody wrote over the note, it is theirs, and stays."""
    job = archive.conclude(Event.FAIL)
    beside = archive.path(job).with_name("scan.jpg.reason.txt")
    beside.write_text("Called the supplier, they send it again.")
    assert archive.look_after(31).removed == 1
    assert beside.read_text() == "Called the supplier, they send it again."


@pytest.mark.parametrize(("days", "gone"), [({"done_days": 1.5}, "done"), ({"failed_days": 2}, "failed")])
def test_each_folder_has_its_own_days(archive: Archive, days: dict[str, float], gone: str) -> None:
    """What is not set is kept for ever: successes and failures are two settings."""
    success = archive.conclude(Event.SUCCEED, "a.jpg", jpegs(1)[0])
    failure = archive.conclude(Event.FAIL, "b.jpg", jpegs(1, 1)[0])
    with_days(archive, **days)
    assert archive.look_after(1000).removed == 1
    assert [archive.is_removed(success), archive.is_removed(failure)] == [gone == "done", gone == "failed"]


def test_only_what_is_old_goes(archive: Archive) -> None:
    """The age counts from the verdict, not from the scan; a folder that still holds something stays."""
    old = archive.conclude(Event.SUCCEED, "old.jpg", jpegs(1)[0])
    waiting = archive.drop_in("late.jpg", jpegs(1, 1)[0])
    archive.clock.advance(20 * DAY)
    archive.tell(waiting, Event.SUCCEED)
    archive.file()
    assert archive.look_after(15).removed == 1
    assert [archive.is_removed(job) for job in (old, waiting)] == [True, False]
    assert archive.look_after(15.1).removed == 1
    assert archive.is_removed(waiting)


def test_a_round_has_an_end(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round removes so many files at the most, in several commits; the next round goes on, the oldest first."""
    monkeypatch.setattr(retention, "ROUND_FILES", 5)
    monkeypatch.setattr(retention, "BATCH_FILES", 2)
    jobs = [archive.conclude(Event.SUCCEED, f"{n}.jpg", content) for n, content in enumerate(jpegs(7))]
    assert archive.look_after(31).removed == 5
    assert [archive.is_removed(job) for job in jobs] == [True] * 5 + [False] * 2
    assert archive.remover.remove_due().removed == 2


def test_what_must_stay_keeps_nothing_else(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ones, of which one changed and one is needed, do not take up each round: the next goes past them."""
    monkeypatch.setattr(retention, "ROUND_FILES", 1)
    changed, needed, free = (archive.conclude(Event.SUCCEED, f"{n}.jpg", content) for n, content in enumerate(jpegs(3)))
    more_bytes(archive.path(changed))
    later = archive.drop_in("later.jpg", jpegs(1, 9)[0])
    archive.log.database.change("UPDATE job SET revision_of = ? WHERE job_id = ?", needed.job_id, later.job_id)
    assert [archive.look_after(31).removed, *(archive.look_after(0.1).removed for _ in range(2))] == [0, 0, 1]
    assert [archive.is_removed(job) for job in (changed, needed, free)] == [False, False, True]


def test_a_stop_ends_a_round(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the daemon stops, no further file is read; what was written down is done."""
    monkeypatch.setattr(retention, "BATCH_FILES", 2)
    jobs = [archive.conclude(Event.SUCCEED, f"{n}.jpg", content) for n, content in enumerate(jpegs(5))]
    intend = archive.log.moves.intend_removals

    def stop_then_intend(*given: Any) -> list[Job]:
        archive.stopping.set()
        return intend(*given)

    monkeypatch.setattr(archive.log.moves, "intend_removals", stop_then_intend)
    assert archive.look_after(31).removed == 2
    assert [archive.is_removed(job) for job in jobs] == [True] * 2 + [False] * 3


# --- what stays ----------------------------------------------------------------------------------------------------


def other_bytes(path: Path) -> None:
    """Write other bytes of the same length, at the same time of modification."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def more_bytes(path: Path) -> None:
    """Append something."""
    with path.open("ab") as file:
        file.write(b"late page")


def a_link(path: Path) -> None:
    """Put a link to the file in its place."""
    elsewhere = path.parents[2] / "moved.jpg"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def a_folder(path: Path) -> None:
    """Put a folder in the file's place."""
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    """Put a pipe in the file's place."""
    path.unlink()
    os.mkfifo(path)


CHANGES = [other_bytes, more_bytes, a_link, a_folder, a_pipe]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_stays(archive: Archive, change: Callable[[Path], None]) -> None:
    """What is no longer what was recorded is never removed; a warning a day names it, and others go meanwhile."""
    changed = archive.conclude(Event.SUCCEED, "a.jpg", jpegs(1)[0])
    other = archive.conclude(Event.SUCCEED, "b.jpg", jpegs(1, 1)[0])
    change(archive.path(changed))
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally(removed=1, size=other.size, kept=1)
        assert archive.look_after(0.1) == Tally()
    [line] = [line for line in lines if line["event"] == "retention.kept"]
    assert (line["job_id"], line["log_level"]) == (changed.job_id, "warning")
    assert str(archive.path(changed)) in line["why"]
    assert os.path.lexists(archive.path(changed))
    assert archive.now(changed) == changed
    assert archive.look_after(1).kept == 1


def test_what_people_took_away_is_not_ours(archive: Archive) -> None:
    """A file that somebody took out of the folder was not removed by us; nothing is said, and the row stays."""
    job = archive.conclude(Event.SUCCEED)
    archive.path(job).rename(archive.inbox.parent / "taken home.jpg")
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally(missing=1)
    assert (lines, archive.now(job)) == ([], job)


def test_a_file_without_a_digest_stays(archive: Archive) -> None:
    """A file that could never be read cannot be told from another one, and stays."""
    job = archive.conclude(Event.FAIL)
    archive.log.jobs.complete(job.job_id, None, None, job.size)
    assert archive.look_after(31) == Tally()
    assert not archive.is_removed(job)


@pytest.mark.parametrize("state", [State.QUEUED, State.DELIVERING, State.PROCESSING])
def test_nothing_open_is_touched(archive: Archive, state: State) -> None:
    """A receipt without a verdict stays, however long N8N is down."""
    job = archive.drop_in()
    if state is not State.QUEUED:
        assert archive.log.jobs.claim(["office"], archive.clock.now) is not None
    if state is State.PROCESSING:
        archive.tell(job, Event.ACCEPT)
    assert archive.look_after(3000) == Tally()
    assert archive.now(job).state is state
    assert not archive.is_removed(job)


def test_what_is_not_filed_stays(archive: Archive) -> None:
    """A verdict whose file has not been moved yet, or is to be moved elsewhere, is not removed."""
    late = archive.conclude(Event.FAIL, "late.jpg", jpegs(1, 1)[0])
    job = archive.tell(archive.drop_in(), Event.SUCCEED)
    archive.tell(late, Event.SUCCEED)
    assert archive.look_after(31) == Tally()
    assert [archive.is_removed(each) for each in (job, late)] == [False, False]


def test_a_copy_stays_while_its_original_is_tried_again(archive: Archive) -> None:
    """A copy in failed/ waits there for its original, which an admin retries after months; then both are in done/."""
    original, copy = archive.drop_in("a.jpg"), archive.drop_in("b.jpg")
    archive.fail(original)
    archive.file()
    archive.clock.advance(3000 * DAY)
    archive.tell(original, Event.RETRY, next_attempt_at=0.0)
    assert archive.remover.remove_due() == Tally()
    assert not archive.is_removed(copy)
    archive.tell(original, Event.SUCCEED)
    archive.file()
    assert archive.place(copy).startswith("done/")


@pytest.mark.parametrize("link", ["duplicate_of", "revision_of", "conflict_of"])
def test_what_something_open_depends_on_stays(archive: Archive, link: str) -> None:
    """An earlier version, an original, a copied receipt stays while the job that names it is open or to be filed."""
    first = archive.conclude(Event.SUCCEED, "a.jpg", jpegs(1)[0])
    second = archive.drop_in("b.jpg", jpegs(1, 1)[0])
    archive.log.database.change(f"UPDATE job SET {link} = ? WHERE job_id = ?", first.job_id, second.job_id)
    assert archive.look_after(31) == Tally()
    archive.tell(second, Event.SUCCEED)
    assert archive.look_after(1) == Tally()
    archive.file()
    assert archive.look_after(1.1).removed == 1
    assert [archive.is_removed(job) for job in (first, second)] == [True, False]


@pytest.mark.parametrize("other_inbox", [False, True], ids=["one-inbox", "a-shared-folder"])
def test_a_name_that_came_again_is_the_younger_ones(archive: Archive, other_inbox: bool) -> None:
    """Where people emptied done/ and the same receipt came again under its name, the file is as old as that one."""
    first = archive.conclude(Event.SUCCEED)
    archive.path(first).unlink()
    archive.clock.advance(10 * DAY)
    second = archive.drop_in()  # a copy, filed with the first
    archive.file()
    second = archive.now(second)
    assert second.stored_path == first.stored_path
    if other_inbox:
        archive.log.database.change("UPDATE job SET inbox = 'annex' WHERE job_id = ?", second.job_id)
        folders = archive.route.spool.folders
        annex = route_on(Spool("annex", replace(folders, inbox=folders.inbox.parent / "annex")))
        archive.remover = archive.new_remover(annex)
        assert archive.look_after(31) == Tally()
        return
    assert archive.look_after(21) == Tally()
    assert archive.path(second).exists()
    assert archive.look_after(10).removed == 1
    assert (archive.is_removed(second), archive.now(first).removed_at) == (True, None)


def test_a_share_that_is_away(archive: Archive) -> None:
    """While the folders are away nothing is missing and nothing is removed; it is said once, and goes on by itself."""
    job = archive.conclude(Event.SUCCEED)
    done = archive.route.spool.folders.done
    done.rename(done.with_name("away"))
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally()
        assert archive.look_after(1) == Tally()
    assert [line["event"] for line in lines] == ["retention.put_off"]
    assert "mount the share" in lines[0]["why"]
    done.with_name("away").rename(done)
    assert archive.look_after(1).removed == 1
    assert archive.is_removed(job)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO])
def test_what_the_system_refuses_is_taken_back(archive: Archive, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file that we may not remove is not called removed; it is said once, and tried again after the next start."""
    job = archive.conclude(Event.FAIL)
    monkeypatch.setattr(Path, "unlink", refusing(number))
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally(kept=1)
        assert archive.look_after(2) == Tally()
    assert [line["event"] for line in lines] == ["retention.kept"]
    assert os.strerror(number) in lines[0]["why"]
    assert not archive.is_removed(job)
    assert archive.events(job)[-2:] == ["file.removed", "file.kept"]
    monkeypatch.undo()
    assert archive.now(archive.tell(job, Event.RETRY, next_attempt_at=0.0)).state is State.QUEUED
    archive.file()
    assert archive.place(job).startswith("processing/")


# --- others meanwhile ----------------------------------------------------------------------------------------------


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


# --- afterwards ----------------------------------------------------------------------------------------------------


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


# --- crashes -------------------------------------------------------------------------------------------------------

STEPS: dict[str, tuple[Any, str]] = {
    "unlink": (Path, "unlink"),
    "note": (reason_file, "remove_note"),
    "flush": (disk, "flush_folder"),
    "written": (Moves, "finish_removals"),
    "tidied": (retention, "_remove_empty"),
}


#: There is no note about a success.
NONE = (Event.SUCCEED, "note")


def cut_off(archive: Archive, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let the process end instead of a step, after 31 days, and start the next one."""
    with monkeypatch.context() as patch:
        patch.setattr(*STEPS[step], crash)
        with pytest.raises(Crash):
            archive.look_after(31)
    archive.remover = archive.new_remover()


@pytest.mark.parametrize(
    ("event", "step"),
    [(event, step) for event in (Event.FAIL, Event.SUCCEED) for step in STEPS if (event, step) != NONE],
)
def test_a_crash_leaves_no_file_gone_without_a_word(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, event: Event, step: str
) -> None:
    """Wherever a removal is cut off, the log calls the file removed; the next start finishes it, note and all."""
    job = archive.conclude(event)
    cut_off(archive, monkeypatch, step)
    assert archive.now(job).removed_at is not None
    assert archive.path(job).exists() is (step == "unlink")
    assert archive.log.jobs.advance(job.job_id, Event.RETRY, archive.clock.now, next_attempt_at=0.0) is None
    archive.remover.remove_due()
    assert archive.is_removed(job)
    assert [name for name in archive.all_files() if name.endswith(("g", "txt"))] == []
    assert archive.events(job).count("file.removed") == 1
    assert archive.log.files.begun_removals("office") == []


def test_a_crash_before_the_commit_removes_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends before the removal was committed leaves the file, and a log that knows of nothing."""
    job = archive.conclude(Event.SUCCEED)
    table = archive.log.facts.table
    keep = table.put

    def crash_at_removals(name: str, value: str) -> None:
        if name == archive.log.facts.removing.of(job.inbox).name:
            raise Crash
        keep(name, value)

    with monkeypatch.context() as patch:
        patch.setattr(table, "put", crash_at_removals)
        with pytest.raises(Crash):
            archive.look_after(31)
    assert archive.now(job) == job
    assert not archive.is_removed(job)


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_after_a_crash_stays(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """A file that a crash left, and that is another one by the next start, stays, and the log takes its word back."""
    job = archive.conclude(Event.SUCCEED)
    cut_off(archive, monkeypatch, "unlink")
    change(archive.path(job))
    assert archive.remover.remove_due().kept == 1
    assert os.path.lexists(archive.path(job))
    assert archive.now(job).removed_at is None
    assert archive.events(job)[-1] == "file.kept"


def test_retention_that_is_switched_off_after_a_crash(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever switches retention off after a crash keeps the file that was about to go."""
    job = archive.conclude(Event.SUCCEED)
    cut_off(archive, monkeypatch, "unlink")
    with_days(archive)
    assert archive.remover.is_needed
    assert archive.remover.remove_due().kept == 1
    assert not archive.is_removed(job)
    assert not archive.remover.is_needed


def test_another_receipt_in_the_place_after_a_crash(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another job's file has the same bytes and the same place by the next start, it is that job's, and stays."""
    job = archive.conclude(Event.SUCCEED)
    cut_off(archive, monkeypatch, "flush")
    other = archive.drop_in("other.jpg")
    archive.file()
    archive.path(other).rename(place := archive.path(other).parent / "scan.jpg")
    if place.parent != archive.path(job).parent:
        place.parent.rename(archive.path(job).parent)
    archive.log.database.change("UPDATE job SET stored_path = ? WHERE job_id = ?", job.stored_path, other.job_id)
    archive.remover.remove_due()
    assert archive.path(other).exists()
    assert archive.now(other).removed_at is None


# --- the clock -----------------------------------------------------------------------------------------------------


def test_a_clock_that_runs_away_removes_nothing_for_weeks(log: JobLog, spool: Spool, clock: FakeClock) -> None:
    """On a machine that takes it for 2038 after a reboot a week is six weeks at the most, not fifteen years."""
    archive = Archive(log, route_on(spool), clock, days=Retention(done_days=365))
    job = archive.conclude(Event.SUCCEED)
    monotonic = FakeClock(0.0)
    clock.advance(15 * 365 * DAY)
    archive.conclude(Event.SUCCEED, "new.jpg", jpegs(1, 1)[0])  # dated 2038 itself: no proof
    believed = BelievedTime(log, clock=clock, monotonic=monotonic)
    started_at = believed()
    for hour in range(1, 7 * 24 + 1):
        monotonic.now = hour * 3600.0
        assert believed() - started_at <= hour * 6 * 3600
    assert believed() == started_at + 42 * DAY < (job.completed_at or 0) + 365 * DAY
    clock.now = started_at + 3600
    assert believed() == clock.now  # mended


def test_days_are_counted_by_the_believed_time(archive: Archive) -> None:
    """What the clock calls a hundred days at once is a quarter of a day to the retention after an hour."""
    job = archive.conclude(Event.SUCCEED)
    monotonic = FakeClock(0.0)
    believed = BelievedTime(archive.log, clock=archive.clock, monotonic=monotonic)
    believed()
    archive.remover._believed = believed
    archive.clock.advance(100 * DAY)
    looks = 0
    while not archive.is_removed(job):
        monotonic.advance(3600)
        archive.remover.remove_due()
        looks += 1
        assert looks <= 121
    assert looks == 30 * 4 + 1  # it began a minute before the verdict


def test_the_believed_time_outlives_a_restart(log: JobLog) -> None:
    """It goes on where it was; restarts do not make it move faster."""
    clock, monotonic = FakeClock(), FakeClock(0.0)
    first = BelievedTime(log, clock=clock, monotonic=monotonic)
    assert first() == clock.now  # nothing in the log, so nothing to lose
    begun = clock.now
    clock.advance(1000 * DAY)
    for number in range(20):
        again = BelievedTime(log, clock=clock, monotonic=monotonic)
        assert again() == begun + number * 360
        monotonic.advance(60)
        assert again() == begun + (number + 1) * 360
    with capture_logs() as lines:
        BelievedTime(log, clock=clock, monotonic=monotonic)()
    assert [(line["event"], line["days"]) for line in lines] == [("retention.catching_up", 999.9)]


def test_a_first_start_begins_with_the_last_change(archive: Archive) -> None:
    """Where retention is switched on in an idle office, the log's last change is where the time begins."""
    archive.log.facts.table.put("believed_time", "0")
    archive.log.database.change("DELETE FROM fact WHERE name = 'believed_time'")
    job = archive.conclude(Event.SUCCEED)
    clock = FakeClock(archive.clock.now + 500 * DAY)
    assert BelievedTime(archive.log, clock=clock, monotonic=clock)() == job.updated_at


@pytest.mark.parametrize("behind", [40 * DAY, 1_000_000_000.0])
def test_a_clock_that_was_behind_makes_nothing_old(archive: Archive, behind: float) -> None:
    """What was recorded while the clock was behind, by weeks or by decades, is no older than the receipt before."""
    archive.conclude(Event.SUCCEED, "before.jpg", jpegs(1)[0])
    archive.clock.now -= behind
    wrong = archive.conclude(Event.SUCCEED, "wrong.jpg", jpegs(1, 1)[0])
    archive.clock.now += behind
    assert archive.look_after(29) == Tally()
    assert not archive.is_removed(wrong)
    assert archive.look_after(2).removed == 2


def test_a_clock_that_was_ahead_stops_nothing(archive: Archive) -> None:
    """One receipt that was recorded in a wrong future stays till then, and holds up none of those that come after."""
    archive.clock.now += 10_000 * DAY
    ahead = archive.conclude(Event.SUCCEED, "ahead.jpg", jpegs(1)[0])
    archive.clock.now -= 10_000 * DAY
    after = archive.conclude(Event.SUCCEED, "after.jpg", jpegs(1, 1)[0])
    assert archive.look_after(31).removed == 1
    assert [archive.is_removed(job) for job in (ahead, after)] == [False, True]


# --- what the log keeps --------------------------------------------------------------------------------------------


def trimmer(archive: Archive, days: float | None, believed: Callable[[], float] | None = None) -> Trimmer:
    """Return what trims an archive's log."""
    time_of = BelievedTime(archive.log, clock=archive.clock, monotonic=archive.clock)
    time_of()
    return Trimmer(archive.log, Retention(log_days=days), believed=time_of, stopping=archive.stopping)


def test_digest_and_verdict_outlive_the_history(archive: Archive) -> None:
    """After log_days history, attempts and message go; the row stays, so that the receipt is known for ever."""
    job = archive.conclude(Event.FAIL)
    archive.log.jobs.add_attempt(job.job_id, archive.clock.now, Attempt(archive.clock.now, "accepted", counted=True))
    trim = trimmer(archive, 100)
    archive.look_after(31)
    archive.clock.advance(99 * DAY)
    assert trim.trim_due() == 0  # a hundred days since the removal, too
    archive.clock.advance(2 * DAY)
    before = archive.now(job)
    with capture_logs() as lines:
        assert trim.trim_due() == 1
    assert [(line["event"], line["jobs"]) for line in lines] == [("retention.trimmed", 1)]
    assert archive.now(job) == replace(before, message=None)
    assert (archive.log.histories.lines(job.job_id), archive.log.histories.attempts(job.job_id)) == ([], [])
    assert trim.trim_due() == 0
    assert archive.drop_in().job_id == job.job_id


def test_no_history_of_anything_open_is_trimmed(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open, to be filed, young, or retried at the last moment keeps its history."""
    old = archive.conclude(Event.FAIL, "old.jpg", jpegs(1)[0])
    retried = archive.conclude(Event.FAIL, "retried.jpg", jpegs(1, 1)[0])
    moved = archive.conclude(Event.FAIL, "moved.jpg", jpegs(1, 5)[0])
    waiting = archive.drop_in("open.jpg", jpegs(1, 2)[0])
    due = archive.tell(archive.drop_in("due.jpg", jpegs(1, 3)[0]), Event.SUCCEED)
    trim = trimmer(archive, 100)
    archive.clock.advance(101 * DAY)
    young = archive.conclude(Event.SUCCEED, "young.jpg", jpegs(1, 4)[0])
    archive.log.database.change("UPDATE job SET move_due = 1 WHERE job_id = ?", due.job_id)
    find = archive.log.files.old_histories

    def find_then_retry(*given: float) -> list[str]:
        found = find(*given)
        archive.tell(retried, Event.RETRY, next_attempt_at=0.0)
        archive.log.database.change("UPDATE job SET move_due = 1 WHERE job_id = ?", moved.job_id)
        return found

    monkeypatch.setattr(archive.log.files, "old_histories", find_then_retry)
    assert trim.trim_due() == 1
    assert archive.events(old) == []
    assert all(archive.events(job) for job in (retried, moved, waiting, due, young))


def test_trimming_stops_with_the_daemon(archive: Archive) -> None:
    """When the daemon stops, no further jobs are trimmed; without a setting none ever is."""
    job = archive.conclude(Event.SUCCEED)
    trim, off = trimmer(archive, 1), trimmer(archive, None)
    archive.clock.advance(10 * DAY)
    archive.stopping.set()
    assert (trim.trim_due(), off.trim_due(), trim.is_needed, off.is_needed) == (0, 0, True, False)
    assert archive.events(job)


# --- any files, rows and ages --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A receipt: how it ended, how many days then pass, and what somebody does to its file at last."""

    end: str
    days: int
    change: Callable[[Path], None] | None


ENDS = ("success", "failure", "cancelled", "copy", "open", "claimed", "not filed", "retried")
PLANS = st.builds(
    Plan,
    st.sampled_from(ENDS),
    st.integers(0, 50),
    st.sampled_from([None, None, None, other_bytes, more_bytes, a_link, a_folder, Path.unlink]),
)
DAYS = st.one_of(st.none(), st.integers(1, 60))


def carry_out(archive: Archive, number: int, plan: Plan) -> Job:
    """Let a receipt go as far as planned."""
    if plan.end == "copy":
        archive.conclude(Event.SUCCEED, f"original-{number}.jpg", jpegs(1, number)[0])
    job = archive.drop_in(f"{number}.jpg", jpegs(1, number)[0])
    match plan.end:
        case "success" | "not filed":
            archive.tell(job, Event.SUCCEED)
        case "failure" | "retried":
            archive.fail(job)
        case "cancelled":
            archive.tell(job, Event.CANCEL)
        case "claimed":
            assert archive.log.jobs.claim(["office"], archive.clock.now + 1e9)
    if plan.end != "not filed":
        archive.file()
    if plan.end == "retried":
        archive.tell(job, Event.RETRY, next_attempt_at=1e12)
    archive.clock.advance(plan.days * DAY)
    return job


@settings(max_examples=40)
@given(plans=st.lists(PLANS, max_size=6), done_days=DAYS, failed_days=DAYS, dead=st.booleans())
def test_nothing_else_is_ever_removed(
    plans: list[Plan], done_days: int | None, failed_days: int | None, dead: bool
) -> None:
    """Whatever there is: exactly what is concluded, filed, old enough and unchanged goes, and the log says so."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "inbox").mkdir()
        spool = Spool("office", SpoolFolders(root / "inbox", root / "processing", root / "done", root / "failed"))
        spool.open(INSTALLATION)
        log = open_log(root / "receipts.db")
        try:
            days = Retention(done_days=done_days, failed_days=failed_days)
            archive = Archive(log, route_on(spool), FakeClock(), days=days)
            assert_only_the_old_goes(archive, plans, dead=dead)
        finally:
            log.database.close()
            spool.close()


def assert_only_the_old_goes(archive: Archive, plans: list[Plan], *, dead: bool) -> None:
    """Carry plans out, look, and compare with what must have gone; `dead`: the first look ends before a removal."""
    jobs = [carry_out(archive, number, plan) for number, plan in enumerate(plans)]
    for job, plan in zip(jobs, plans, strict=True):
        if plan.change is not None:
            plan.change(archive.path(job))
    rows = {job.job_id: job for job in archive.recorded()}
    files = {job_id: archive.route.path_of(job) for job_id, job in rows.items()}
    there = {job_id for job_id, path in files.items() if os.path.lexists(path)}
    changed = {job.job_id for job, plan in zip(jobs, plans, strict=True) if plan.change is not None}
    keep = {Folder.DONE: archive.days.done_days, Folder.FAILED: archive.days.failed_days, Folder.PROCESSING: None}
    expected = {
        job_id
        for job_id, job in rows.items()
        if job.completed_at is not None
        and not job.move_due
        and (limit := keep[job.folder]) is not None
        and archive.clock.now - job.completed_at >= limit * DAY
        and job_id not in changed
    }
    if dead:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retention, "_unlink", crash)
            try:
                archive.remover.remove_due()
            except Crash:
                archive.remover = archive.new_remover()
    archive.remover.remove_due()
    assert there - {job_id for job_id, path in files.items() if os.path.lexists(path)} == expected
    assert {job.job_id for job in archive.recorded() if job.removed_at is not None} == expected
    archive.file()
    for job_id in rows.keys() - expected - changed:
        assert digest(archive.route.path_of(archive.now(rows[job_id])).read_bytes()) == rows[job_id].sha256


# --- configuration -------------------------------------------------------------------------------------------------


def configured(root: Path, text: str) -> Retention:
    """Return the section of a configuration file."""
    path = root / "watcher.yaml"
    path.write_text(f"inboxes: [{{path: {root}/inbox}}]\nn8n: {{webhook_url: http://127.0.0.1/w}}\n{text}")
    return load(path, {}).retention


def test_the_settings(tmp_path: Path) -> None:
    """Days are numbers, whole or not; what is left out, or empty, is kept for ever."""
    assert configured(tmp_path, "") == Retention()
    text = "retention: {done_days: 3650, failed_days: 1.5, log_days: null}"
    assert configured(tmp_path, text) == Retention(done_days=3650, failed_days=1.5)


@pytest.mark.parametrize("value", ["0", "0.0", "-0"])
def test_a_zero_is_a_mistake(tmp_path: Path, value: str) -> None:
    """A 0, which may mean «never» or «at once», is refused in words that say how to keep files for ever."""
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, f"retention: {{done_days: {value}}}")
    [problem] = caught.value.problems
    assert "keep for ever" in problem.wrong
    assert "leave the option out" in problem.right


@pytest.mark.parametrize("value", ["0.9", "-1", "36501", "yes", "true", "forever", '""', "[30]", "1h", ".inf", ".nan"])
def test_nonsense_is_a_mistake(tmp_path: Path, value: str) -> None:
    """Anything but a number of days from 1 on is refused, before a file is touched."""
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, f"retention: {{done_days: {value}}}")
    assert "a number of days from 1 to 36500" in caught.value.problems[0].right


# --- older logs ----------------------------------------------------------------------------------------------------

MIGRATIONS = Path(migrations.__file__).parent


def log_of_version(path: Path, version: int) -> None:
    """Write a job log as an earlier version made it, with a job, a copy of it, and a line of history."""
    known = path.with_suffix(".migrations")
    known.mkdir()
    for migration in sorted(MIGRATIONS.glob("[0-9]*.py"))[:version]:
        shutil.copy(migration, known)
    earlier = SqliteDatabase(str(path))
    Runner(earlier, directory=str(known)).up()
    earlier.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for job_id, state, original in (("a", "success", None), ("b", "duplicate", "a")):
            database.execute(
                "INSERT INTO job (job_id, state, inbox, filename, relative_path, folder, stored_path, size, sha256,"
                " target, notion_database_id, created_at, updated_at, completed_at, duplicate_of)"
                " VALUES (?, ?, 'office', 'scan.jpg', ?, 'done', ?, 3, 'abc', 'http://n8n 0f3c', '0f3c', 1, 2, 2, ?)",
                [job_id, state, b"caf\xe9.jpg", job_id.encode(), original],
            )
        database.execute("INSERT INTO history (job_id, at, event) VALUES ('a', 1, 'record')")


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_log_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """A log of an earlier version keeps all its rows, and has the same tables and indexes as a new one."""
    old, new = JobLog(tmp_path / "old.db"), JobLog(tmp_path / "new.db")
    log_of_version(old.database.path, version)
    new.database.open()
    old.database.open()
    jobs = old.lookups.listing()
    assert [(job.job_id, job.state, job.duplicate_of, job.removed_at) for job in jobs] == [
        ("b", State.DUPLICATE, "a", None),
        ("a", State.SUCCESS, None, None),
    ]
    assert jobs[1].branch == ("office" if version == 1 else "")
    assert os.fsencode(jobs[1].relative_path) == b"caf\xe9.jpg"
    assert [row["event"] for row in old.histories.lines("a")] == ["record"]
    [left, right] = [log.database.select("SELECT type, name FROM sqlite_master ORDER BY 1, 2") for log in (old, new)]
    [columns, others] = [log.database.select("SELECT name FROM pragma_table_info('job')") for log in (old, new)]
    assert (left, columns) == (right, others)
    assert [len(log.database.select("PRAGMA foreign_key_check")) for log in (old, new)] == [0, 0]
    old.database.close()
    new.database.close()


# --- as a whole ----------------------------------------------------------------------------------------------------

FAILING = Behaviour(verdict="failure", message="The supplier is unknown.")


def grow_old(daemon: RunningDaemon, days: float) -> None:
    """Let the jobs so far be recorded and concluded so many days ago."""
    with daemon.job_log() as log:
        log.database.change(
            "UPDATE job SET created_at = created_at - ?, completed_at = completed_at - ?", *[days * DAY] * 2
        )


def with_retention(daemon: RunningDaemon, **days: float) -> None:
    """Add the section to a daemon's configuration."""
    text = daemon.config_file.read_text()
    daemon.config_file.write_text(f"{text}\nretention: {days}\n")


def test_the_daemon_removes_what_is_old(tmp_path: Path, n8n: StandIn) -> None:
    """The real daemon removes old files at its start, says so in a line, stops at once, and still knows them."""
    good, bad, fresh = jpegs(3)
    n8n.behave = lambda job: FAILING if job.filename == "bad.jpg" else Behaviour()
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("good.jpg", good)
        daemon.drop("bad.jpg", bad)
        daemon.wait_quiet(2)
        daemon.kill()
        grow_old(daemon, 400)
        with_retention(daemon, done_days=365, failed_days=365, log_days=3650)
        found = daemon.run("check").stdout
        size = len(good)
        assert f"retention would remove 1 files ({size:,} bytes) from {daemon.done}" in found
        assert "the oldest is bad.jpg" in found
        assert daemon.files(daemon.done)
        daemon.start()
        wait_until(lambda: daemon.count("retention.removed"), "the old files are removed")
        [line] = daemon.events("retention.removed")
        assert (line["inbox"], line["files"], line["bytes"]) == ("office", 2, len(good) + len(bad))
        assert [list(folder.iterdir()) for folder in (daemon.done, daemon.failed)] == [[], []]
        removed = daemon.job("bad.jpg")
        assert_words_about(daemon, removed)
        daemon.drop("again.jpg", good)
        daemon.drop("fresh.jpg", fresh)
        daemon.wait_quiet(4)
        assert daemon.job("again.jpg").duplicate_of == daemon.job("good.jpg").job_id
        assert daemon.job("fresh.jpg").removed_at is None
        assert daemon.terminate() == 0
        assert daemon.count("daemon.cut_off") == 0


def assert_words_about(daemon: RunningDaemon, removed: Job) -> None:
    """Each command says that the file of a failed job was removed, and what to do."""
    shown = daemon.run("show", removed.job_id).stdout
    assert "removed_at:" in shown
    assert "path:" not in shown
    retried = daemon.run("retry", removed.job_id)
    assert retried.returncode == 1
    assert "its file was removed at" in retried.stdout
    assert "drop it into the inbox again" in retried.stdout
    assert "Nothing has failed." in daemon.run("retry", "--failed").stdout
    explained = daemon.run("explain", removed.job_id).stdout
    assert "Retention removed its file at" in explained
    assert "drop it into the inbox again" in explained
    assert daemon.run("explain", str(daemon.failed / "bad.jpg")).stdout == explained
    assert "Removed by retention: the files of 2 jobs" in daemon.run("status").stdout


def test_a_run_once_removes_nothing(tmp_path: Path, n8n: StandIn) -> None:
    """`run --once` lives too briefly to believe the clock, and removes nothing."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        assert daemon.terminate() == 0
        grow_old(daemon, 400)
        with_retention(daemon, done_days=1, log_days=1)
        assert daemon.run("run", "--once").returncode == 0
        assert len(daemon.files(daemon.done)) == 1
        job = daemon.job("scan.jpg")
        assert job.removed_at is None
        with daemon.job_log() as log:
            assert log.histories.lines(job.job_id)


_TIMES = st.integers(0, 9).map(float)
_NOW = 7.0  # what is later lies in the future


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_TIMES, _TIMES), max_size=6), st.integers(0, 7).map(float))
def test_what_is_old(log: JobLog, rows: list[tuple[float, float]], before: float) -> None:
    """A job is old by its own times, if no row up to its own was recorded since, but for those of the future."""
    for table in ("history", "job"):
        log.database.change(f"DELETE FROM {table}")
    ids = []
    for created_at, completed_at in rows:
        changes = {
            "state": State.FAILURE,
            "folder": Folder.FAILED,
            "completed_at": completed_at,
            "reason": Reason.EMPTY,
        }
        ids.append(log.jobs.insert(make_job(created_at, job_id=new_job_id(1_700_000_000.0), **changes)).job_id)
    old = [
        (completed_at, job_id)
        for number, (job_id, (created_at, completed_at)) in enumerate(zip(ids, rows, strict=True))
        if max(created_at, completed_at) <= before
        and not any(before < earlier <= _NOW for earlier, _ in rows[: number + 1])
    ]
    found = log.files.old("office", Folder.FAILED, before, _NOW, 9)
    assert [job.job_id for job in found] == [job_id for _, job_id in sorted(old)]
    assert log.files.sum_of_old("office", Folder.FAILED, before, _NOW) == (len(old), 3 * len(old))
    assert log.files.old_histories(before, _NOW) == sorted(job_id for _, job_id in old)
