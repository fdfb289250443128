"""Taking in: settled files become jobs, in an order that a crash cannot turn into a loss."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo import samples
from receipt_watcher.config.branches import Branch
from receipt_watcher.errors import SpoolError
from receipt_watcher.examine.judge import FileLimits, examine
from receipt_watcher.inbox.duplicates import DuplicateCheck
from receipt_watcher.inbox.recording import BATCH_FILES, TakenFile
from receipt_watcher.inbox.recovery import STUCK_PAUSE_SECONDS
from receipt_watcher.inbox.take_in import ParkedFile, TakeIn
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.listing import signature
from receipt_watcher.inbox.watching.settling import Seen, Settled, Signature
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.transitions import Jobs
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system import disk
from receipt_watcher.system.wakeup import Bell
from tests.conftest import INSTALLATION, FakeClock, make_branch
from tests.fakes.daemons.process import digest, jpegs
from tests.fakes.receipt_variants import content_of
from tests.unit.system.disk_faults import Crash, another_file_system, crash, record_flushes, refusing

LIMITS = FileLimits(max_file_bytes=1_000_000, max_pixels=1_000_000)


URL = "http://127.0.0.1/webhook/receipts"


def route_on(spool: Spool, **changes: Any) -> InboxRoute:
    """Return the route of one inbox."""
    names = {field.name for field in fields(Branch)}
    own = {name: changes.pop(name) for name in tuple(changes) if name in names}
    branches = (*changes.pop("subfolders", ()), make_branch(spool.name, **own))
    route = InboxRoute(spool.name, spool, branches, LIMITS, is_ready=True)
    return replace(route, **changes)


def settled(folder: Path, relative: Path, *, is_overdue: bool = True) -> Settled:
    """Return a file as the settler gives it out; by default the patience with it is over."""
    path = folder / relative
    now = signature(os.lstat(path)) if os.path.lexists(path) else Signature(1, 1, 1)
    return Settled(str(relative), Seen(now, 0.0, 0.0, now.size), is_overdue)


def take_in(
    stage: TakeIn, route: InboxRoute, files: Iterable[Settled], park: Callable[[ParkedFile], None]
) -> list[Job]:
    """Do what a gate does with files that have settled: take each, park what has to wait, record the others."""
    taken = []
    for one in files:
        outcome = stage.take(route, one)
        if isinstance(outcome, TakenFile):
            taken.append(outcome)
        elif outcome is not None:
            park(outcome)
    return stage.recording.record(route, taken)


@dataclass
class Desk:
    """A take-in for one inbox, with its bells and the files that stayed."""

    log: JobLog
    route: InboxRoute
    clock: FakeClock

    def __post_init__(self) -> None:
        self.deliveries, self.filings = Bell(), Bell()
        self.parked: list[tuple[Path, WaitReason, str]] = []
        self.take_in = TakeIn(
            self.log,
            [self.route],
            examine=examine,
            deliveries=self.deliveries,
            filings=self.filings,
            clock=self.clock,
            monotonic=self.clock,
        )

    @property
    def inbox(self) -> Path:
        """The folder that files are dropped into."""
        return self.route.spool.folders.inbox

    @property
    def processing(self) -> Path:
        """The folder that they are moved to."""
        return self.route.spool.folders.processing

    def drop(self, name: str, content: bytes) -> Path:
        """Put a file into the inbox, and return its path below it."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Path(name)

    def take(self, *relatives: Path, is_overdue: bool = True) -> list[Job]:
        """Take these files in, a second after whatever was before: ids of one millisecond have no order."""
        self.clock.advance(1)
        files = [settled(self.inbox, relative, is_overdue=is_overdue) for relative in relatives]
        return take_in(self.take_in, self.route, files, self.park)

    def park(self, one: ParkedFile) -> None:
        """Note what stays in the inbox."""
        self.parked.append((Path(one.settled.relative), one.why, one.detail))

    def recover(self) -> list[Job]:
        """Do what the daemon does at its start."""
        return self.take_in.recovery.recover(self.route)

    def recorded(self) -> list[Job]:
        """Return all jobs, the oldest first."""
        return self.log.lookups.listing(limit=None)[::-1]

    def taken(self) -> list[str]:
        """Return the files in processing/, below their jobs' folders."""
        return sorted(
            str(path.relative_to(self.processing).relative_to(path.relative_to(self.processing).parts[0]))
            for path in self.processing.rglob("*")
            if path.is_file() and path.name != ".owner"
        )


@pytest.fixture
def desk(log: JobLog, spool: Spool, clock: FakeClock) -> Desk:
    """An office with one inbox."""
    return Desk(log, route_on(spool), clock)


# --- one and several ---


def test_a_receipt_becomes_a_queued_job(desk: Desk) -> None:
    """A whole receipt is in processing/ under its job's id, and its row says all that was found."""
    content = samples.jpeg(1)
    (job,) = desk.take(desk.drop("sub/scan.jpg", content))
    assert desk.log.lookups.get(job.job_id) == job
    assert job == Job(
        job_id=job.job_id,
        state=State.QUEUED,
        inbox="office",
        filename="scan.jpg",
        relative_path=Path("sub/scan.jpg"),
        folder=Folder.PROCESSING,
        stored_path=Path(job.job_id, "sub/scan.jpg"),
        mime_type="image/jpeg",
        size=len(content),
        sha256=digest(content),
        target="http://127.0.0.1/webhook/receipts 0f3c",
        notion_database_id="0f3c",
        created_at=desk.clock.now,
        updated_at=desk.clock.now,
        next_attempt_at=desk.clock.now,
        branch="office",
    )
    assert desk.route.path_of(job).read_bytes() == content
    assert list(desk.inbox.rglob("*.jpg")) == []
    assert (desk.deliveries.count, desk.filings.count) == (1, 0)


def test_several_become_several(desk: Desk) -> None:
    """A batch gives each file its own job, in the order of the files."""
    contents = jpegs(5)
    jobs = desk.take(*(desk.drop(f"{number}.jpg", content) for number, content in enumerate(contents)))
    assert [job.sha256 for job in jobs] == [digest(content) for content in contents]
    assert desk.recorded() == sorted(jobs, key=lambda job: job.job_id)
    assert len({job.job_id for job in jobs}) == len(jobs)


def test_nothing_is_nothing(desk: Desk) -> None:
    """An empty batch writes nothing and wakes nobody."""
    assert desk.take() == []
    assert (desk.deliveries.count, desk.filings.count) == (0, 0)


def test_a_name_of_any_bytes_can_be_shown(desk: Desk) -> None:
    """A name that is no UTF-8 is shown with its bytes written out, and kept on disk as it is."""
    name = os.fsdecode(b"caf\xe9.jpg")
    (job,) = desk.take(desk.drop(name, samples.jpeg(1)))
    assert job.filename == r"caf\xe9.jpg"
    assert job.relative_path == Path(name)
    assert desk.route.path_of(job).name == name


def test_what_is_no_receipt_is_failed_with_a_reason(desk: Desk) -> None:
    """A refused file has a row too, with its reason, and is due to be filed; the line that sums it up is written."""
    with capture_logs() as lines:
        (job,) = desk.take(desk.drop("scan.jpg", b"These are only words."))
    assert (job.state, job.reason, job.move_due) == (State.FAILURE, Reason.UNSUPPORTED_TYPE, True)
    assert job.message == "It is plain text (text/plain), although its name ends in .jpg."
    assert desk.log.lookups.get(job.job_id) == job
    assert desk.filings.count == 1
    assert [(line["event"], line["status"]) for line in lines] == [
        ("job.recorded", "failure"),
        ("job.concluded", "failure"),
    ]
    assert (lines[1]["reason"], lines[1]["message"], lines[1]["log_level"]) == (job.reason, job.message, "warning")


def test_two_copies_at_once_are_one_receipt(desk: Desk) -> None:
    """Of two copies in one batch one is sent; the other names it, and stays in processing/ until that one ends."""
    content = samples.jpeg(1)
    with capture_logs() as lines:
        first, second = desk.take(desk.drop("a.jpg", content), desk.drop("b.jpg", content))
    assert (first.state, second.state, second.duplicate_of) == (State.QUEUED, State.DUPLICATE, first.job_id)
    assert not second.move_due
    assert [line["event"] for line in lines] == ["job.recorded", "job.recorded", "job.concluded"]
    assert lines[-1]["duplicate_of"] == first.job_id


def test_a_failed_file_that_is_dropped_in_again_goes_on_under_its_id(desk: Desk) -> None:
    """The same bytes after a failure, the file in failed/ being gone, continue the old job: one receipt, one id."""
    content = samples.jpeg(1)
    (failed,) = desk.take(desk.drop("scan.jpg", content))
    desk.log.jobs.advance(failed.job_id, Event.FAIL, desk.clock.now, reason=Reason.N8N_FAILURE, message="no supplier")
    desk.drop("again.jpg", content)
    shutil.rmtree(desk.processing / failed.job_id)
    (job,) = desk.take(Path("again.jpg"))
    assert (job.job_id, job.state, job.filename) == (failed.job_id, State.QUEUED, "again.jpg")
    assert job.move_due
    assert job.moving_to_path == Path(failed.job_id, "again.jpg")
    assert desk.route.path_of(job).read_bytes() == content
    assert desk.filings.count == 1
    assert desk.recorded() == [job]


def test_another_file_under_its_name_in_failed_is_not_the_failed_one(desk: Desk) -> None:
    """A failed file that is dropped in again goes on under its id, though another receipt got its name in failed/."""
    mine, others = jpegs(2)
    (failed,) = desk.take(desk.drop("scan.jpg", mine))
    desk.log.jobs.advance(failed.job_id, Event.FAIL, desk.clock.now, reason=Reason.N8N_FAILURE, message="no supplier")
    shutil.rmtree(desk.processing / failed.job_id)
    desk.log.moves.finish_moves([(failed, Folder.FAILED, Path("scan.jpg"))], desk.clock.now)
    taken_place = desk.route.spool.folders.failed / "scan.jpg"
    taken_place.write_bytes(others)
    (job,) = desk.take(desk.drop("scan.jpg", mine))
    assert (job.job_id, job.state) == (failed.job_id, State.QUEUED)
    assert desk.route.path_of(job).read_bytes() == mine
    assert desk.recorded() == [job]
    assert taken_place.read_bytes() == others


def test_each_recorded_job_has_its_line(desk: Desk) -> None:
    """One line tells of each job that was recorded, with its id."""
    with capture_logs() as lines:
        (job,) = desk.take(desk.drop("scan.jpg", samples.jpeg(1)))
    assert lines == [
        {
            "event": "job.recorded",
            "log_level": "info",
            "job_id": job.job_id,
            "inbox": "office",
            "filename": "scan.jpg",
            "status": "queued",
            "mime_type": "image/jpeg",
            "size": job.size,
        }
    ]


# --- what stays ---


def test_a_file_that_vanished_stops_nobody(desk: Desk) -> None:
    """A file that somebody took back is no job; the others of the batch are."""
    one, two = jpegs(2)
    batch = [desk.drop("1.jpg", one), Path("gone.jpg"), desk.drop("2.jpg", two)]
    with capture_logs() as lines:
        jobs = desk.take(*batch)
    assert [job.filename for job in jobs] == ["1.jpg", "2.jpg"]
    assert desk.parked == []
    assert lines[0] == {"event": "file.vanished", "log_level": "debug", "inbox": "office", "filename": "gone.jpg"}
    assert len(list(desk.processing.iterdir())) == 3  # two jobs' folders, and the owner's mark


def test_a_file_that_cannot_be_moved_is_told_and_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be moved stays where it is, with the reason; the others of the batch are taken."""
    move = disk.move_file

    def refuse_one(source: Path, target: Path) -> None:
        if source.name == "2.jpg":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(source))
        move(source, target)

    monkeypatch.setattr(disk, "move_file", refuse_one)
    batch = [desk.drop(f"{number}.jpg", content) for number, content in enumerate(jpegs(4))]
    assert [job.filename for job in desk.take(*batch)] == ["0.jpg", "1.jpg", "3.jpg"]
    [(relative, why, detail)] = desk.parked
    assert (relative, why) == (Path("2.jpg"), WaitReason.IMMOVABLE)
    assert detail.startswith("Permission denied: ")
    assert str(desk.inbox) in detail
    assert [path.name for path in desk.inbox.iterdir()] == ["2.jpg"]
    assert desk.taken() == ["0.jpg", "1.jpg", "3.jpg"]


def test_an_error_without_a_number_is_told_in_its_words(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever kind of error it was, there is a text."""
    monkeypatch.setattr(disk, "move_file", _failing(OSError("the share hiccuped")))
    assert desk.take(desk.drop("scan.jpg", samples.jpeg(1))) == []
    [(relative, why, detail)] = desk.parked
    assert (relative, why) == (Path("scan.jpg"), WaitReason.IMMOVABLE)
    assert detail.startswith("the share hiccuped; ")


def _failing(error: Exception) -> Any:
    def fail(*_: object) -> NoReturn:
        raise error

    return fail


def test_without_processing_nothing_is_taken(desk: Desk) -> None:
    """Where processing/ is away the inbox is left alone, and that is an error of the spool, not of a file."""
    relative = desk.drop("scan.jpg", samples.jpeg(1))
    (desk.processing / ".owner").unlink()
    with pytest.raises(SpoolError):
        desk.take(relative)
    assert (desk.inbox / relative).exists()
    assert desk.parked == []
    assert desk.recorded() == []


# --- the order ---


def test_examine_move_flush_record_wake(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is examined and moved, then all are flushed, and recorded in one commit; only then is anybody woken."""
    steps: list[str] = []

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            assert desk.deliveries.count == 0
            assert desk.recorded() == []
            steps.append(name)
            return call(*arguments)

        return step

    monkeypatch.setattr(disk, "move_file", noted("move", disk.move_file))
    monkeypatch.setattr(os, "fsync", noted("flush", os.fsync))
    monkeypatch.setattr(desk.take_in, "_examine", noted("examine", examine))
    monkeypatch.setattr(DuplicateCheck, "record", noted("record", DuplicateCheck.record))
    desk.take(*(desk.drop(f"{number}.jpg", content) for number, content in enumerate(jpegs(3))))
    assert steps == [*["examine", "move"] * 3, *["flush"] * 7, "record"]  # 3 files, 3 folders, processing/
    assert desk.deliveries.count == 1


def test_the_flushes_are_of_the_files_and_of_every_folder_above(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded is durable first: each file, its folders, and processing/ last."""
    relative = desk.drop("sub/scan.jpg", samples.jpeg(1))
    flushed = record_flushes(monkeypatch)
    (job,) = desk.take(relative)
    folder = desk.processing / job.job_id
    assert flushed == [folder / "sub/scan.jpg", folder / "sub", folder, desk.processing]


# --- recovery ---


@pytest.fixture(params=["flush", "record", "record, disk full"])
def torn(request: pytest.FixtureRequest, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Files that were moved when an error ended the taking in, by the ids of their folders."""
    contents = jpegs(3)
    batch = [desk.drop(f"sub/{number}.jpg", content) for number, content in enumerate(contents)]
    with monkeypatch.context() as patch:
        match request.param:
            case "flush":
                patch.setattr(os, "fsync", refusing(errno.EIO))
            case "record":
                patch.setattr(DuplicateCheck, "record", crash)
            case "record, disk full":
                patch.setattr(Jobs, "insert", refusing(errno.ENOSPC))
        if request.param == "flush":
            assert desk.take(*batch) == []
            assert desk.take_in.recovery.recover_in_seconds(desk.route) == STUCK_PAUSE_SECONDS
        else:
            with pytest.raises((OSError, Crash)):
                desk.take(*batch)
    assert desk.recorded() == []
    assert desk.deliveries.count == 0
    yield {path.parts[-3]: path.read_bytes() for path in desk.processing.rglob("*.jpg")}
    assert list(desk.inbox.rglob("*.jpg")) == []


def test_what_was_moved_and_not_recorded_is_recorded_at_the_next_start(desk: Desk, torn: dict[str, bytes]) -> None:
    """An orphan gets its row under the id that its folder bears; a second look finds nothing more to do."""
    assert len(torn) == 3
    with capture_logs() as lines:
        jobs = desk.recover()
    assert {job.job_id: desk.route.path_of(job).read_bytes() for job in jobs} == torn
    assert {job.relative_path.parent for job in jobs} == {Path("sub")}
    assert all(job.state is State.QUEUED for job in jobs)
    assert desk.recorded() == sorted(jobs, key=lambda job: job.job_id)
    adopted = [line for line in lines if line["event"] == "job.adopted"]
    assert {(line["job_id"], line["inbox"], line["original_removed"]) for line in adopted} == {
        (job_id, "office", False) for job_id in torn
    }
    assert desk.deliveries.count == 1
    assert desk.recover() == []


def test_one_file_that_the_disk_does_not_give_stops_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be read is told with its reason and stays; the rest goes on, and it follows when mended."""
    good, bad = jpegs(2)
    batch = [desk.drop("bad.jpg", bad), desk.drop("good.jpg", good)]
    refuse = refusing(errno.EIO)
    with monkeypatch.context() as patch:
        patch.setattr(
            desk.take_in, "_examine", lambda path, limits: refuse() if path.name == "bad.jpg" else examine(path, limits)
        )
        assert [job.filename for job in desk.take(*batch)] == ["good.jpg"]
    assert desk.parked == [(Path("bad.jpg"), WaitReason.UNREADABLE, os.strerror(errno.EIO))]
    assert [job.filename for job in desk.take(batch[0])] == ["bad.jpg"]


def test_one_orphan_that_the_disk_does_not_give_stops_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in processing/ that cannot be read back is told with its path and kept; the rest goes on."""
    for name, content in zip(("bad.jpg", "good.jpg"), jpegs(2), strict=True):
        folder = desk.processing / new_job_id(desk.clock.advance(1))
        folder.mkdir()
        (folder / name).write_bytes(content)
    refuse = refusing(errno.EIO)
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(
            desk.take_in.recording,
            "_examine",
            lambda path, limits: refuse() if path.name == "bad.jpg" else examine(path, limits),
        )
        assert [job.filename for job in desk.recover()] == ["good.jpg"]
        assert desk.recover() == []
    stuck = [line for line in lines if line["event"] == "file.stuck"]
    assert {line["path"].rpartition("/")[2] for line in stuck} == {"bad.jpg"}
    assert desk.take_in.recovery.recover_in_seconds(desk.route) == STUCK_PAUSE_SECONDS
    assert [job.filename for job in desk.recover()] == ["bad.jpg"]
    assert desk.take_in.recovery.recover_in_seconds(desk.route) is None


@pytest.mark.parametrize("errno_", [errno.ESTALE, errno.ENOTCONN])
def test_a_share_that_goes_in_the_middle_is_no_fault_of_a_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, errno_: int
) -> None:
    """Where the whole share is gone nothing is parked: the error is the inbox's, and what was moved is recovered."""
    batch = [desk.drop(f"{number}.jpg", content) for number, content in enumerate(jpegs(3))]
    refuse = refusing(errno_)
    with monkeypatch.context() as patch:
        patch.setattr(
            desk.take_in, "_examine", lambda path, limits: refuse() if path.name == "1.jpg" else examine(path, limits)
        )
        with pytest.raises(OSError, match=os.strerror(errno_)):
            desk.take(*batch)
    assert desk.parked == []
    assert [job.filename for job in desk.recover()] == ["0.jpg"]


def test_two_files_in_one_job_folder(desk: Desk) -> None:
    """Only one of two files under one id can be that receipt; the other is told, and nothing is lost or blocked."""
    job_id = new_job_id(1_700_000_000.0)
    (desk.processing / job_id).mkdir()
    for name, content in zip(("a.jpg", "b.jpg"), jpegs(2), strict=True):
        (desk.processing / job_id / name).write_bytes(content)
    with capture_logs() as lines:
        (job,) = desk.recover()
    assert job.job_id == job_id
    told = [line["path"] for line in lines if line["event"] == "file.unknown"]
    assert len(told) == 1
    assert {path.name for path in (desk.processing / job_id).iterdir()} == {"a.jpg", "b.jpg"}


def test_orphans_beyond_a_batch_are_all_recorded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files a crash left: each gets its row, and is durable first."""
    contents = jpegs(2 * BATCH_FILES + 1)
    batch = [desk.drop(f"{number}.jpg", content) for number, content in enumerate(contents)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(errno.EIO))
        assert desk.take(*batch) == []
    flushed = record_flushes(monkeypatch)
    assert {job.sha256 for job in desk.recover()} == {digest(content) for content in contents}
    assert len([path for path in flushed if path.suffix == ".jpg"]) == len(contents)


def test_a_job_that_is_known_is_left_alone(desk: Desk) -> None:
    """A restart gives no second row to what has one, whatever its state, its name or its folder's id."""
    first, second = jpegs(2)
    (queued,) = desk.take(desk.drop("scan.jpg", first))
    (failed,) = desk.take(desk.drop("again.jpg", second))
    desk.log.jobs.advance(failed.job_id, Event.FAIL, desk.clock.now, reason=Reason.N8N_FAILURE)
    # dropped in again: the old job's file lies in a folder that bears the new id
    desk.drop("again.jpg", second)
    shutil.rmtree(desk.processing / failed.job_id)
    (again,) = desk.take(Path("again.jpg"))
    before = desk.recorded()
    assert desk.recover() == []
    assert desk.recorded() == before == [queued, again]
    assert desk.taken() == ["again.jpg", "scan.jpg"]


def test_what_lies_in_the_folder_of_a_job_that_was_filed_is_no_receipt(desk: Desk) -> None:
    """A file that somebody left in a job's folder gets no second row under that job's id."""
    job = desk.take(desk.drop("scan.jpg", samples.jpeg(1)))[0]
    desk.log.jobs.advance(job.job_id, Event.SUCCEED, desk.clock.now)
    desk.log.moves.finish_moves([(job, Folder.DONE, Path("scan.jpg"))], desk.clock.now)
    assert desk.recover() == []
    assert len(desk.recorded()) == 1


def test_strangers_are_told_and_left_alone(desk: Desk) -> None:
    """What somebody put into processing/ is told, with what to do, and gets no row."""
    (desk.processing / "letter.pdf").write_bytes(b"%PDF")
    (desk.processing / "folder").mkdir()
    with capture_logs() as lines:
        assert desk.recover() == []
    assert [(line["event"], line["log_level"], line["path"]) for line in lines] == [
        ("file.unknown", "warning", str(desk.processing / "folder")),
        ("file.unknown", "warning", str(desk.processing / "letter.pdf")),
    ]
    assert {line["advice"] for line in lines} == {"not ours; move it into the inbox"}
    assert (desk.processing / "letter.pdf").exists()


def test_an_orphan_whose_original_was_not_removed_is_one_receipt(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the copy and the removal of its original: one job, and nothing is left to be taken again."""
    content = samples.jpeg(1)
    with another_file_system(tmp_path, monkeypatch) as other:
        spool = Spool("scans", replace(desk.route.spool.folders, inbox=other, processing=tmp_path / "scans"))
        spool.open(INSTALLATION)
        scans = Desk(desk.log, route_on(spool), desk.clock)
        relative = scans.drop("scan.jpg", content)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", crash)
            with pytest.raises(Crash):
                scans.take(relative)
        assert (other / "scan.jpg").exists()
        with capture_logs() as lines:
            (job,) = scans.recover()
        assert list(other.iterdir()) == []
        assert scans.route.path_of(job).read_bytes() == content
        assert [line["original_removed"] for line in lines if line["event"] == "job.adopted"] == [True]
        spool.close()


def test_an_orphan_that_is_a_copy_is_no_second_receipt(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan with the bytes of a job that is open is recorded as its copy: it is not sent twice."""
    content = samples.jpeg(1)
    (first,) = desk.take(desk.drop("scan.jpg", content))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(errno.EIO))
        assert desk.take(desk.drop("copy.jpg", content)) == []
    (copy,) = desk.recover()
    assert (copy.state, copy.duplicate_of) == (State.DUPLICATE, first.job_id)


def test_a_doubtful_file_is_taken_after_the_patience(desk: Desk) -> None:
    """What strict parsers refuse and nothing is missing of waits as long as a torso, and is then taken with a note."""
    content = content_of("pdf pages")
    name = desk.drop("scan.pdf", content[: content.rindex(b"%%EOF")])
    assert desk.take(name, is_overdue=False) == []
    [(path, why, detail)] = desk.parked
    assert (path, why) == (name, WaitReason.DOUBTFUL)
    assert detail.startswith("It is a PDF without its end marker.")
    [job] = desk.take(name)
    assert (job.state, job.mime_type) == (State.QUEUED, "application/pdf")
    notes = [(line["event"], line["detail"]) for line in desk.log.histories.lines(job.job_id)]
    assert notes == [("record", None), ("file.doubtful", detail)]
