"""A move that was interrupted at any step is finished by the next daemon."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.moves import Moves
from receipt_watcher.jobs.states import Event
from receipt_watcher.service.loops import Loops
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.processing import Processing
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from receipt_watcher.system import disk
from receipt_watcher.system.wakeup import Bell
from tests.conftest import INSTALLATION, FakeClock
from tests.fakes.daemons.process import jpegs
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.filing.office import MONTH, Office, dropped_back, to_failed
from tests.unit.system.disk_faults import Crash, another_file_system, behind_a_bind_mount, crash

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


# --- interruptions ---


def _to_done(office: Office) -> Job:
    return office.tell(office.drop_in("sub/scan.jpg"), Event.SUCCEED)


def _from_failed_to_done(office: Office) -> Job:
    job = to_failed(office)
    office.file()
    return office.tell(job, Event.SUCCEED)


def _back(office: Office) -> Job:
    job = to_failed(office)
    office.file()
    return office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)


JOURNEYS = {
    "to done": (_to_done, f"done/{MONTH}/sub/scan.jpg"),
    "to failed": (to_failed, "failed/sub/scan.jpg"),
    "from failed to done": (_from_failed_to_done, f"done/{MONTH}/sub/scan.jpg"),
    "back for a retry": (_back, "processing/{}/sub/scan.jpg"),
    "dropped back": (dropped_back, "processing/{}/sub/scan.jpg"),
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


def test_the_place_of_a_file_that_has_just_left_is_not_free(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two crashes in a row, each before it is written down where files are: none gets the name of another one."""
    first, second = (office.fail(office.drop_in("scan.jpg", content)) for content in jpegs(2))
    for job in (first, second):
        office.file()
        assert office.now(job).folder is Folder.FAILED
    office.tell(second, Event.RETRY, next_attempt_at=office.clock.now)
    office.file()
    monkeypatch.setattr(office.log.moves, "finish_moves", crash)
    office.tell(first, Event.RETRY, next_attempt_at=office.clock.now)
    with pytest.raises(Crash):
        office.file()  # its file has left failed/scan.jpg, and by the log is there
    office.fail(second)
    with pytest.raises(Crash):
        office.file()  # its file goes to failed/, where the first one's name is free
    monkeypatch.undo()
    office.restart()
    office.file()
    assert office.place(first) == f"processing/{first.job_id}/scan.jpg"
    assert office.place(second).startswith("failed/scan")
    assert "file.missing" not in [line["event"] for line in office.log.histories.lines(first.job_id)]
