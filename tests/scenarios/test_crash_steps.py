"""Each move of a file, ended before each of its steps, in each way in which a file can come from folder to folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from receipt_watcher.cli.demo import samples
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.states import CLOSED_STATES, OPEN_STATES, Event, State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from receipt_watcher.system import disk
from tests.conftest import INSTALLATION, FakeClock, open_log
from tests.fakes.daemons.killed_at_step import DIED, steps_until
from tests.fakes.daemons.process import digest
from tests.properties.interleavings import be_quiet
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.filing.office import MONTH, Office
from tests.unit.system.disk_faults import (
    another_file_system,
    behind_a_bind_mount,
    neither_renameat2_nor_links,
    only_links,
)

CONTENT = samples.jpeg(1)
NAME = Path("sub/scan.jpg")


@pytest.fixture(autouse=True)
def no_log_lines() -> Iterator[None]:
    """Say nothing of what is found after each end."""
    be_quiet()
    yield
    structlog.reset_defaults()


# --- in which way --------------------------------------------------------------------------------------------------

Border = Callable[[Path, pytest.MonkeyPatch], contextlib.AbstractContextManager[Path]]
Lack = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Way:
    """The way from processing/ to the other three folders, and the calls on it; `steps` must be seen."""

    border: Border
    lack: Lack
    steps: frozenset[str]


def _nothing(folder: Path, _: pytest.MonkeyPatch) -> contextlib.AbstractContextManager[Path]:
    return contextlib.nullcontext(folder)


_COPIED = {"open", "second half of the copy", "utime", "fsync", "remove"}

WAYS: dict[str, Way] = {
    "rename": Way(_nothing, lambda _: None, frozenset({"renameat2"})),
    "link": Way(_nothing, only_links, frozenset({"link", "remove"})),
    "reserved name": Way(_nothing, neither_renameat2_nor_links, frozenset({"open", "rename"})),
    "copy": Way(another_file_system, lambda _: None, frozenset({*_COPIED, "renameat2"})),
    "copy and link": Way(another_file_system, only_links, frozenset({*_COPIED, "link"})),
    "copy and reserved name": Way(another_file_system, neither_renameat2_nor_links, frozenset({*_COPIED, "rename"})),
    "copy over a bind mount": Way(behind_a_bind_mount, lambda _: None, frozenset({*_COPIED, "renameat2"})),
}


# --- in which place ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def office_at(root: Path, away: Path) -> Iterator[Office]:
    """An office as a process has it that has just started: its job log and its spool are open."""
    spool = Spool("office", SpoolFolders(away / "inbox", root / "processing", away / "done", away / "failed"))
    log = open_log(root / "receipts.db")
    spool.open(INSTALLATION)
    try:
        yield Office(log, route_on(spool), FakeClock())
    finally:
        spool.close()
        log.database.close()


def _take_all(office: Office) -> None:
    office.take(*(path.relative_to(office.inbox) for path in office.inbox.rglob("*") if path.is_file()))


def _dropped(office: Office) -> None:
    office.drop(str(NAME), CONTENT)


def _succeeded(office: Office) -> None:
    office.tell(office.drop_in(str(NAME), CONTENT), Event.SUCCEED)


def _failed(office: Office) -> None:
    office.fail(office.drop_in(str(NAME), CONTENT))


def _retried(office: Office) -> None:
    _failed(office)
    office.file()
    office.tell(office.recorded()[0], Event.RETRY, next_attempt_at=0.0)


def _dropped_back(office: Office) -> None:
    _failed(office)
    office.file()
    (office.route.spool.folders.failed / NAME).rename(office.inbox / NAME)


def _dropped_back_and_taken(office: Office) -> None:
    _dropped_back(office)
    _take_all(office)


@dataclass(frozen=True)
class Place:
    """A place to end at: the events before, the work under way, and the end that it leads to."""

    before: Callable[[Office], None]
    work: Callable[[Office], object]
    state: State
    folder: Folder


PLACES: dict[str, Place] = {
    "taken in": Place(_dropped, _take_all, State.QUEUED, Folder.PROCESSING),
    "filed in done": Place(_succeeded, Office.file, State.SUCCESS, Folder.DONE),
    "filed in failed": Place(_failed, Office.file, State.FAILURE, Folder.FAILED),
    "brought back from failed": Place(_retried, Office.file, State.QUEUED, Folder.PROCESSING),
    "dropped back": Place(_dropped_back, _take_all, State.QUEUED, Folder.PROCESSING),
    "moved to its old id": Place(_dropped_back_and_taken, Office.file, State.QUEUED, Folder.PROCESSING),
}

#: Each way into processing/ and out of it; of the others those whose steps are not the same again.
_CASES = [
    *((place, way) for place in ("taken in", "filed in done") for way in WAYS),
    *(("filed in failed", way) for way in ("rename", "copy and reserved name")),
    *(("brought back from failed", way) for way in ("copy", "copy and link", "reserved name")),
    ("dropped back", "copy"),
    *(("moved to its old id", way) for way in ("rename", "link", "reserved name")),
]


@dataclass(frozen=True)
class Case:
    """One way and one place: it can be played again from its beginning."""

    place: Place
    root: Path
    away: Path

    def ended_before(self, last: int | None) -> tuple[list[str], int]:
        """Prepare all of it, and let a process begin its work that ends instead of this step."""
        for folder in (self.root, self.away / "inbox/sub"):
            folder.mkdir(parents=True, exist_ok=True)
        with office_at(self.root, self.away) as office:
            self.place.before(office)
        return steps_until(last, self._work)

    def _work(self) -> None:
        with office_at(self.root, self.away) as office:
            self.place.work(office)

    def whole(self) -> list[Path]:
        """Return every whole copy of the receipt under a name of its own."""
        folders = [self.away / "inbox", self.root / "processing", self.away / "done", self.away / "failed"]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        named = [path for path in files if not path.name.endswith((disk.PARTIAL_SUFFIX, NOTE_SUFFIX, ".owner"))]
        return [path for path in named if digest(path.read_bytes()) == digest(CONTENT)]

    def assert_recovered(self) -> None:
        """Start again: one job, one whole file where it belongs, and nothing else in any folder."""
        with office_at(self.root, self.away) as office:
            office.restart()
            _take_all(office)
            office.file()
            (job,) = office.recorded()
            assert (job.state, job.folder) == (self.place.state, self.place.folder)
            note = [] if job.state in OPEN_STATES | {State.SUCCESS} else [f"failed/{NAME}{NOTE_SUFFIX}"]
            expected = {
                Folder.PROCESSING: f"processing/{job.job_id}/{NAME}",
                Folder.DONE: f"done/{MONTH}/{NAME}",
                Folder.FAILED: f"failed/{NAME}",
            }
            office.place(job)
            assert _receipts(office) == sorted([expected[job.folder], *note])
            if job.state not in CLOSED_STATES:
                office.tell(job, Event.SUCCEED)
                office.file()
                assert _receipts(office) == [expected[Folder.DONE]]


def _receipts(office: Office) -> list[str]:
    """Return every file of the spool; empty folders, such as the inbox's and failed/'s own, may stay."""
    return [name for name in office.all_files() if not name.endswith("/sub")]


@pytest.fixture(params=_CASES, ids=", ".join)
def case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Way, Callable[[int], Case]]]:
    """Return the maker of a fresh case with this way and place, by number."""
    place, way = PLACES[request.param[0]], WAYS[request.param[1]]
    with way.border(tmp_path, monkeypatch) as away:
        way.lack(monkeypatch)
        yield way, lambda number: Case(place, tmp_path / f"here-{number}", away / f"there-{number}")


def test_whatever_the_step_before_which_it_ends(case: tuple[Way, Callable[[int], Case]]) -> None:
    """The receipt is there, whole, at each moment; and after a start it is in one place, with nothing beside it."""
    way, fresh = case
    steps, code = fresh(-1).ended_before(None)
    assert code == 0
    assert way.steps <= {*steps}
    for number in range(len(steps)):
        one = fresh(number)
        done, code = one.ended_before(number)
        assert (done, code) == (steps[:number], DIED)
        at = f"before {steps[number]} after {done}"
        assert 1 <= len(one.whole()) <= 2, at
        try:
            one.assert_recovered()
        except Exception as error:
            raise AssertionError(at) from error
