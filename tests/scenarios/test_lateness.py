"""Files that are not whole yet, and writers that go on while a file is taken: nothing is lost, nothing is half."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo import samples
from receipt_watcher.inbox import recovery, take_in
from receipt_watcher.inbox.recovery import ORPHAN_QUIET_SECONDS
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system import disk
from receipt_watcher.system.open_files import Writers, is_all_hole, writers_of
from tests.conftest import FakeClock
from tests.fakes.daemons.process import digest
from tests.unit.inbox.test_take_in import Desk, route_on
from tests.unit.system.disk_faults import refusing

JPEG = samples.jpeg(1)


@pytest.fixture
def desk(log: JobLog, spool: Spool, clock: FakeClock) -> Desk:
    """An office with one inbox."""
    return Desk(log, route_on(spool), clock)


@pytest.fixture
def leases(tmp_path: Path) -> None:
    """Skip where nobody can tell who has a file open."""
    probe = tmp_path / "probe"
    probe.touch()
    if writers_of(probe) is not Writers.NONE:
        pytest.skip("this file system knows no leases")


# --- what is not whole ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why", "reason"),
    [
        (JPEG[:-100], WaitReason.INCOMPLETE, Reason.INCOMPLETE),
        (JPEG[:3], WaitReason.INCOMPLETE, Reason.INCOMPLETE),
        (b"%PDF-", WaitReason.INCOMPLETE, Reason.INCOMPLETE),
        (bytes(5000), WaitReason.INCOMPLETE, Reason.INCOMPLETE),
    ],
    ids=["a torso", "a first piece", "a first word", "room that was set aside"],
)
def test_what_is_not_whole_stays_until_it_is_overdue(
    desk: Desk, content: bytes, why: WaitReason, reason: Reason
) -> None:
    """A file that is visibly not whole stays in the inbox with its reason, and is failed when the patience is over."""
    relative = desk.drop("scan.jpg", content)
    assert desk.take(relative, is_overdue=False) == []
    [(name, found, detail)] = desk.parked
    assert (name, found) == (relative, why)
    assert detail
    assert (desk.inbox / relative).read_bytes() == content
    assert desk.recorded() == []
    (job,) = desk.take(relative)
    assert (job.state, job.reason) == (State.FAILURE, reason)


def test_what_is_broken_does_not_wait(desk: Desk) -> None:
    """What no more bytes can mend is failed at once: whoever scanned it is still there."""
    relative = desk.drop("scan.jpg", b"Only words.\n")
    (job,) = desk.take(relative, is_overdue=False)
    assert job.reason is Reason.UNSUPPORTED_TYPE


def test_a_placeholder_waits_without_end(desk: Desk) -> None:
    """A file of which nothing is on disk is not moved, overdue or not: its sync client would take that for a wish."""
    path = desk.inbox / "scan.jpg"
    with path.open("wb") as file:
        file.truncate(200_000)
    if path.stat().st_blocks:
        pytest.skip("this file system fills holes")
    assert is_all_hole(path)
    for is_overdue in (False, True):
        assert desk.take(Path("scan.jpg"), is_overdue=is_overdue) == []
    assert {why for _, why, _ in desk.parked} == {WaitReason.PLACEHOLDER}
    path.write_bytes(JPEG)
    assert not is_all_hole(path)
    (job,) = desk.take(Path("scan.jpg"), is_overdue=False)
    assert job.sha256 == digest(JPEG)


@pytest.mark.usefixtures("leases")
def test_a_file_that_is_open_waits_without_end(desk: Desk) -> None:
    """While somebody has a whole file open for writing it stays, overdue or not; reading keeps nobody waiting."""
    relative = desk.drop("scan.jpg", JPEG)
    with (desk.inbox / relative).open("ab"):
        for is_overdue in (False, True):
            assert desk.take(relative, is_overdue=is_overdue) == []
    assert {why for _, why, _ in desk.parked} == {WaitReason.OPEN}
    with (desk.inbox / relative).open("rb"):
        (job,) = desk.take(relative)
    assert job.sha256 == digest(JPEG)


def test_a_file_that_we_may_not_read_waits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that shuts us out stays, with its owner and what to change; when it is overdue it is failed for that."""
    relative = desk.drop("scan.jpg", JPEG)
    read = os.open

    def refuse(path: Any, *rest: Any, **options: Any) -> int:
        if str(path).endswith("scan.jpg"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert desk.take(relative, is_overdue=False) == []
        [(_, why, detail)] = desk.parked
        assert why is WaitReason.UNREADABLE
        assert "-rw" in detail
        assert "umask" in detail
        (job,) = desk.take(relative)
    assert job.reason is Reason.UNREADABLE


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ETXTBSY])
def test_a_server_that_says_busy_means_that_it_is_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Over SMB a rename is refused while another client has the file open: it waits as any file that is open."""
    relative = desk.drop("scan.jpg", JPEG)
    with monkeypatch.context() as patch:
        patch.setattr(disk, "move_file", refusing(number))
        assert desk.take(relative) == []
    [(_, why, _)] = desk.parked
    assert why is WaitReason.OPEN
    assert [job.filename for job in desk.take(relative)] == ["scan.jpg"]


# --- who writes on -------------------------------------------------------------------------------------------------


def _around_the_move(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[Path], object], after: Callable[[Path, Path], object]
) -> None:
    take = Spool.take

    def interfered(spool: Spool, relative: Path, job_id: str) -> Path:
        before(spool.folders.inbox / relative)
        target = take(spool, relative, job_id)
        after(spool.folders.inbox / relative, target)
        return target

    monkeypatch.setattr(Spool, "take", interfered)


def _seen_after_the_move(path: Path) -> Writers:
    return writers_of(path) if "processing" in path.parts else Writers.NONE


def _append(path: Path, more: bytes) -> None:
    with path.open("ab") as file:
        file.write(more)


def test_a_file_that_changed_before_the_move_is_given_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that comes between the examination and the move: the file is in the inbox again, with all its bytes."""
    relative = desk.drop("sub/scan.jpg", JPEG)
    with monkeypatch.context() as patch, capture_logs() as lines:
        _around_the_move(patch, lambda path: _append(path, b"page 2"), lambda *_: None)
        assert desk.take(relative) == []
    assert (desk.inbox / relative).read_bytes() == JPEG + b"page 2"
    assert desk.taken() == []
    assert [(line["event"], line["where"]) for line in lines] == [("file.given_back", "inbox")]
    assert desk.take_in.recovery.recover_in_seconds(desk.route) is None
    (job,) = desk.take(relative)
    assert job.sha256 == digest(JPEG + b"page 2")


@pytest.mark.usefixtures("leases")
def test_a_file_that_is_still_written_after_the_move_is_given_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opened the file just before the move goes on writing it, wherever it is: it is given back."""
    relative = desk.drop("scan.jpg", JPEG)
    writer = (desk.inbox / relative).open("ab")
    with monkeypatch.context() as patch:
        patch.setattr(take_in, "writers_or_not_ours", _seen_after_the_move)
        assert desk.take(relative) == []
    assert (desk.inbox / relative).exists()
    writer.write(b"late page")
    writer.close()
    (job,) = desk.take(relative)
    assert job.sha256 == digest(JPEG + b"late page")


@pytest.mark.usefixtures("leases")
def test_where_its_name_is_taken_meanwhile_it_settles_in_processing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a new file under its old name it is not given back: it is recorded once its writer has closed it."""
    relative = desk.drop("scan.jpg", JPEG)
    other = samples.jpeg(2)
    writer = (desk.inbox / relative).open("ab")
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(take_in, "writers_or_not_ours", _seen_after_the_move)
        _around_the_move(patch, lambda _: None, lambda source, _: source.write_bytes(other))
        assert desk.take(relative) == []
    assert [(line["event"], line["where"]) for line in lines] == [("file.given_back", "processing")]
    assert (desk.inbox / relative).read_bytes() == other
    assert desk.taken() == ["scan.jpg"]
    assert desk.take_in.recovery.recover_in_seconds(desk.route) == ORPHAN_QUIET_SECONDS
    desk.clock.advance(100)
    assert desk.recover() == []
    writer.write(b"late page")
    writer.close()
    (job,) = desk.recover()
    assert (job.state, job.sha256) == (State.QUEUED, digest(JPEG + b"late page"))
    (second,) = desk.take(relative)
    assert second.sha256 == digest(other)
    assert desk.take_in.recovery.recover_in_seconds(desk.route) is None


def test_where_writers_cannot_be_told_it_has_to_be_quiet(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan whose writers nobody can tell is recorded when it has not changed for a while, and not before."""
    job_id = "01900000-0000-7000-8000-000000000001"
    path = desk.processing / job_id / "scan.jpg"
    path.parent.mkdir()
    path.write_bytes(JPEG)
    monkeypatch.setattr(recovery, "writers_or_not_ours", lambda _: Writers.UNKNOWN)
    assert desk.recover() == []
    desk.clock.advance(ORPHAN_QUIET_SECONDS)
    _append(path, b"late page")
    assert desk.recover() == []
    desk.clock.advance(ORPHAN_QUIET_SECONDS - 0.1)
    assert desk.recover() == []
    desk.clock.advance(0.1)
    (job,) = desk.recover()
    assert (job.job_id, job.sha256) == (job_id, digest(JPEG + b"late page"))


# --- revisions and conflict copies ---------------------------------------------------------------------------------


def test_late_pages_are_a_revision(desk: Desk) -> None:
    """A later file of the same name that begins with the old bytes names the job of the latest such version."""
    pages = [JPEG, JPEG + b"page 2", JPEG + b"page 2, page 3"]
    jobs = [desk.take(desk.drop("scan.jpg", content))[0] for content in pages]
    assert [job.revision_of for job in jobs] == [None, jobs[0].job_id, jobs[1].job_id]
    (other,) = desk.take(desk.drop("scan.jpg", samples.jpeg(2, 90_000)))
    (elsewhere,) = desk.take(desk.drop("sub/scan.jpg", JPEG + b"else"))
    (shorter,) = desk.take(desk.drop("scan.jpg", JPEG + b"p"))
    assert (other.revision_of, elsewhere.revision_of) == (None, None)
    assert shorter.revision_of == jobs[0].job_id
    assert desk.log.lookups.get(jobs[2].job_id) == jobs[2]


@pytest.mark.parametrize("order", ["original first", "copy first", "together"])
def test_a_conflict_copy_names_the_job_of_its_original(desk: Desk, order: str) -> None:
    """Whichever comes first, the conflict copy of a sync client leads to the job of the file that it is a copy of."""
    original = desk.drop("sub/scan.jpg", JPEG)
    copy = desk.drop("sub/scan.sync-conflict-20260101-120000-ABCDEFG.jpg", samples.jpeg(2))
    both = [[original], [copy]]
    for batch in {"original first": both, "copy first": both[::-1], "together": [[copy, original]]}[order]:
        desk.take(*batch)
    found = {job.filename: job for job in desk.recorded()}
    first = found["scan.jpg"]
    second = found[copy.name]
    assert (second.conflict_of, second.original_path, second.state) == (first.job_id, original, State.QUEUED)
    assert (first.conflict_of, first.original_path) == (None, None)
    (alone,) = desk.take(desk.drop("other (conflicted copy 2026-01-01 120000).jpg", samples.jpeg(3)))
    assert alone.conflict_of is None
