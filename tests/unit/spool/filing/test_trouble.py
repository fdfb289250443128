"""Trouble with a file or a folder delays only what it concerns, and is logged once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo import samples
from receipt_watcher.examine.judge import FileLimits, examine
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.moves import Moves
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool import route
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system import disk
from receipt_watcher.system.wakeup import Bell
from tests.conftest import INSTALLATION, FakeClock
from tests.fakes.daemons.process import jpegs
from tests.fakes.unprivileged import ordinary_permissions
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.filing.office import MONTH, Office, claimed_ids, failed_folder
from tests.unit.system.disk_faults import refusing


def _done(office: Office) -> Path:
    return office.route.spool.folders.done


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
    assert claimed_ids(office) == [good.job_id]
    assert office.file() == 1
    assert office.place(bad) == f"processing/{bad.job_id}/0.jpg"
    assert claimed_ids(office) == [bad.job_id]


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
    failed_folder(office).rename(failed_folder(office).with_name("elsewhere"))
    office.tell(job, event, **({"next_attempt_at": office.clock.now} if event is Event.RETRY else {}))
    with capture_logs() as lines:
        assert office.file() == 0
    assert [line["event"] for line in lines] == ["file.not_filed"]
    assert office.now(job).state is (State.SUCCESS if event is Event.SUCCEED else State.QUEUED)
    failed_folder(office).with_name("elsewhere").rename(failed_folder(office))
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
    assert f"{shut} is d---------" in office.filing.troubles["office"]
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
