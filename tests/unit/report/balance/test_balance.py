"""The balance: it names exactly what log and folders disagree about, and the accountant's export says what was so."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.report.balance import balance, daily, folders, lookup
from receipt_watcher.report.balance.balance import Balance
from receipt_watcher.report.balance.csv_export import COLUMNS, exporting, guarded, row_of, unguarded
from receipt_watcher.report.balance.daily import Audit
from receipt_watcher.report.balance.findings import BalanceSums, Finding, selection_of
from receipt_watcher.report.balance.last_result import last_balance
from receipt_watcher.spool import contents
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.reason_file import note_path
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from receipt_watcher.system.display import display_name
from receipt_watcher.system.time_limit import answering
from tests.conftest import INSTALLATION, TOKEN, FakeClock, make_job, open_log
from tests.fakes.daemons.process import RunningDaemon, digest, jpegs, wait_until
from tests.unit.cli import conftest as cli
from tests.unit.cli.typed_commands import Command
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool import test_filing
from tests.unit.spool.test_filing import Office

#: Fixtures of others.
command, config_file, job_log = cli.command, cli.config_file, cli.job_log
office, universal_time = test_filing.office, test_filing.universal_time

EVERYTHING = Selection()
CONTENTS = jpegs(12)


def inbox_of(folders: SpoolFolders, name: str = "office", **options: Any) -> Inbox:
    """Return the configuration of an inbox with its usual folders."""
    return Inbox.model_validate({"path": str(folders.inbox), "name": name, **options})


def proof(office: Office, selection: Selection = EVERYTHING, **options: Any) -> BalanceSums:
    """Make a balance of an office; a moment takes no time."""
    options = {"wait": lambda _seconds: None} | options
    return Balance(office.log, [inbox_of(office.route.spool.folders)], **options).run(selection)


def named(sums: BalanceSums) -> list[tuple[str, str]]:
    """Return what was named: the finding, and the receipt's name, or else the last part of the path."""
    return sorted((each.finding.value, each.filename or Path(each.path).name) for each in sums.named)


def path_of(office: Office, job: Job) -> Path:
    """Return where the log says that a job's file is now."""
    return office.route.path_of(office.now(job))


def one_of_each(office: Office) -> dict[str, Job]:
    """Return a receipt for each way that one can end, filed; and one that is open."""
    jobs = {name: office.drop_in(f"{name}.jpg", content) for name, content in zip("abcd", CONTENTS, strict=False)}
    office.tell(jobs["a"], Event.SUCCEED)
    office.fail(jobs["b"])
    office.tell(jobs["c"], Event.CANCEL)
    jobs["copy"] = office.drop_in("copy.jpg", CONTENTS[0])
    jobs["refused"] = office.drop_in("refused.jpg", b"no picture")
    office.file()
    return jobs


# --- the sums ------------------------------------------------------------------------------------------------------


def test_all_agrees(office: Office) -> None:
    """Received is the sum of what became of the receipts; each file was read, and nothing is named."""
    one_of_each(office)
    sums = proof(office)
    assert sums.received == 6
    assert sums.summands() == {"succeeded": 1, "failed": 2, "cancelled": 1, "duplicates": 1, "open": 1}
    assert (sums.findings, sums.hashed, named(sums)) == (Counter({Finding.OK: 6}), 6, [])
    assert next(sums.lines()) == "6 received = 1 succeeded + 2 failed + 1 cancelled + 1 duplicates + 1 open"
    assert sums.as_json()["agrees"] is True


def test_nothing_was_received(office: Office) -> None:
    """An empty log and empty folders agree."""
    assert (proof(office).received, proof(office).findings) == (0, Counter())


def test_more_than_a_page(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages leave nothing out, neither of the log nor of the folders, and progress is told after each."""
    monkeypatch.setattr(balance, "_PAGE", 2)
    one_of_each(office)
    path_of(office, office.recorded()[0]).unlink()
    (office.processing.parent / "done" / "foreign.txt").write_text("foreign")
    told: list[int] = []
    sums = proof(office, tell_progress=told.append)
    assert (sums.received, told) == (6, [2, 4, 6])
    assert named(sums) == [("archived", "a.jpg"), ("unknown", "foreign.txt")]


def test_a_selection(office: Office) -> None:
    """Only what was recorded in the range, from its first moment to before its last, is counted; or of one inbox."""
    first, second, third = (office.drop_in(f"{number}.jpg", CONTENTS[number]) for number in range(3))
    rows: list[str] = []
    selection = Selection(since=second.created_at, until=third.created_at)
    sums = proof(office, selection, tell_row=lambda job, _path, _finding: rows.append(job.job_id))
    assert (sums.received, rows) == (1, [second.job_id])
    assert first.created_at < second.created_at < third.created_at
    assert proof(office, Selection(inbox="office")).received == 3
    assert proof(office, Selection(inbox="elsewhere")).received == 0
    assert proof(office, Selection(but=frozenset({"office"}))).received == 0


# --- what is named -------------------------------------------------------------------------------------------------


def test_missing(office: Office) -> None:
    """A file that is gone is named by its receipt; from done/ after success it may have been archived."""
    jobs = one_of_each(office)
    for job in jobs.values():
        path_of(office, job).unlink()
    sums = proof(office)
    assert named(sums) == [
        ("archived", "a.jpg"),
        ("archived", "copy.jpg"),
        *[("missing", f"{name}.jpg") for name in ("b", "c", "d", "refused")],
    ]
    assert (sums.wrong, sums.absent, sums.received) == (4, 2, 6)
    (found,) = [each for each in sums.named if each.filename == "b.jpg"]
    assert (found.job_id, found.path) == (jobs["b"].job_id, str(path_of(office, jobs["b"])))


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what puts something else in a file's place."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x"), "its digest is"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes, not"),
        (replace_by(lambda path: path.symlink_to("/dev/zero")), "no ordinary file"),
        (replace_by(os.mkfifo), "no ordinary file"),
        (replace_by(Path.mkdir), "no ordinary file"),
    ],
    ids=["a byte", "longer", "link", "pipe", "folder"],
)
def test_changed(office: Office, change: Callable[[Path], object], said: str) -> None:
    """Other bytes, or no ordinary file at all, are named, with what is different."""
    job = one_of_each(office)["b"]
    change(path_of(office, job))
    sums = proof(office)
    assert named(sums) == [("changed", "b.jpg")]
    assert said in sums.named[0].detail


def test_elsewhere(office: Office) -> None:
    """A file that was renamed, or moved into another folder, is named with where it is now."""
    jobs = one_of_each(office)
    renamed = path_of(office, jobs["a"]).rename(office.processing.parent / "done" / "renamed.jpg")
    moved = path_of(office, jobs["b"]).rename(office.processing.parent / "done" / "b.jpg")
    sums = proof(office)
    assert named(sums) == [("elsewhere", "a.jpg"), ("elsewhere", "b.jpg")]
    assert [each.detail for each in sums.named] == [f"found at {renamed}", f"found at {moved}"]


def test_two_places(office: Office) -> None:
    """A second copy that lies in a spool is named by its receipt, once, whatever else has the same bytes."""
    jobs = one_of_each(office)
    shutil.copy(path_of(office, jobs["a"]), office.processing.parent / "failed" / "again.jpg")
    assert named(proof(office)) == [("two_places", "a.jpg")]
    path_of(office, jobs["copy"]).unlink()
    assert named(proof(office)) == [("elsewhere", "copy.jpg")]


def test_unknown(office: Office) -> None:
    """Files that people put into done/ or failed/ are named; so is what lies in processing/ without a row."""
    one_of_each(office)
    root = office.processing.parent
    (root / "done" / "deep").mkdir()
    (root / "done" / "deep" / "taxes.xlsx").write_text("sums")
    (root / "failed" / "to do.reason.txt").write_text("not our first line")
    (office.processing / "stray").write_text("stray")
    (root / "done" / "shortcut").symlink_to("/etc")
    assert named(proof(office)) == [
        ("unknown", "shortcut"),
        ("unknown", "stray"),
        ("unknown", "taxes.xlsx"),
        ("unknown", "to do.reason.txt"),
    ]


def test_what_is_no_receipt(office: Office) -> None:
    """Notes of ours, unfinished copies, our mark, and what the configured packs ignore are not asked about."""
    job = one_of_each(office)["b"]
    assert note_path(path_of(office, job)).exists()
    for folder in ("done", "failed"):
        for name in (".DS_Store", "Thumbs.db", f".x{PARTIAL_SUFFIX}"):
            (office.processing.parent / folder / name).write_text("not a receipt")
    assert named(proof(office)) == []


def test_dropped_back(office: Office) -> None:
    """A failed file that somebody has just put back into the inbox is on its way, not missing; another one is."""
    job = one_of_each(office)["b"]
    path_of(office, job).rename(office.inbox / "b.jpg")
    sums = proof(office)
    assert (sums.findings[Finding.RETURNED], named(sums)) == (1, [])
    (office.inbox / "b.jpg").write_bytes(CONTENTS[7])
    assert named(proof(office)) == [("missing", "b.jpg")]


def test_the_log_says_so_itself(office: Office) -> None:
    """A receipt that failed because its file was gone, or changed, is no disagreement."""
    gone, changed = office.drop_in("gone.jpg", CONTENTS[0]), office.drop_in("changed.jpg", CONTENTS[1])
    path_of(office, changed).write_bytes(CONTENTS[2])
    path_of(office, gone).unlink()
    office.tell(gone, Event.FAIL, reason=Reason.FILE_MISSING)
    office.tell(changed, Event.FAIL, reason=Reason.CHANGED)
    office.file()
    sums = proof(office)
    assert (sums.findings, named(sums)) == (Counter({Finding.KNOWN: 2}), [])


def test_the_next_of_that_name(office: Office) -> None:
    """Where another receipt got the place of one that was taken away, only the one that is gone is named."""
    first = office.drop_in("scan.jpg", CONTENTS[0])
    office.tell(first, Event.SUCCEED)
    office.file()
    path_of(office, first).unlink()
    second = office.drop_in("scan.jpg", CONTENTS[1])
    office.tell(second, Event.SUCCEED)
    office.file()
    assert path_of(office, first) == path_of(office, second)
    sums = proof(office)
    assert [(each.finding, each.job_id) for each in sums.named] == [(Finding.ARCHIVED, first.job_id)]
    path_of(office, second).write_bytes(CONTENTS[0])
    assert [(each.finding, each.job_id) for each in proof(office).named] == [(Finding.CHANGED, second.job_id)]


def test_one_file_does_not_count_twice(office: Office) -> None:
    """Two receipts of the same bytes whose log names one place need two files."""
    first = office.drop_in("scan.jpg", CONTENTS[0])
    office.tell(first, Event.SUCCEED)
    office.file()
    path_of(office, first).unlink()
    office.drop_in("scan.jpg", CONTENTS[0])
    office.file()
    assert [(each.finding, each.job_id) for each in proof(office).named] == [(Finding.ARCHIVED, first.job_id)]


def test_put_back_too_late(office: Office) -> None:
    """A file that was missing when it was to be filed, and is back, is where nothing will move it any more."""
    job = office.drop_in("scan.jpg", CONTENTS[0])
    path = path_of(office, job)
    content = path.read_bytes()
    path.unlink()
    office.tell(job, Event.SUCCEED)
    office.file()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert named(proof(office)) == [("wrong_folder", "scan.jpg")]


def test_an_inbox_that_is_configured_no_more(office: Office, tmp_path: Path) -> None:
    """Its receipts are sought in the folders that are configured now: a renamed inbox agrees, a lost one is named."""
    jobs = one_of_each(office)
    renamed = inbox_of(office.route.spool.folders, "renamed")
    assert Balance(office.log, [renamed], wait=lambda _: None).run(EVERYTHING).findings == Counter({Finding.OK: 6})
    other = SpoolFolders(*(tmp_path / "other" / name for name in ("inbox", "processing", "done", "failed")))
    other.inbox.mkdir(parents=True)
    spool = Spool("other", other)
    spool.open(INSTALLATION)
    sums = Balance(office.log, [inbox_of(other, "other")], wait=lambda _: None).run(EVERYTHING)
    spool.close()
    assert sums.findings == Counter({Finding.UNCONFIGURED: 6})
    assert {each.job_id for each in sums.named} == {job.job_id for job in jobs.values()}


def test_removed_on_purpose(office: Office) -> None:
    """What the retention removed is accounted for."""
    job = one_of_each(office)["a"]
    path_of(office, job).unlink()
    office.log.database.change("UPDATE job SET removed_at = 1.0 WHERE job_id = ?", job.job_id)
    sums = proof(office)
    assert (sums.findings[Finding.REMOVED], sums.findings[Finding.OK], named(sums)) == (1, 5, [])


def test_two_inboxes_that_share_done(log: JobLog, tmp_path: Path, clock: FakeClock) -> None:
    """Folders for filed receipts may be shared, even one in the other: each file is found once, by its own inbox."""
    inboxes, offices = [], []
    for name, done in (("left", "done"), ("right", "done/right")):
        folders = SpoolFolders(tmp_path / name / "inbox", tmp_path / name / "p", tmp_path / done, tmp_path / name / "f")
        folders.inbox.mkdir(parents=True)
        spool = Spool(name, folders)
        spool.open(INSTALLATION)
        offices.append(Office(log, route_on(spool), clock))
        places = {"processing_dir": folders.processing, "done_dir": folders.done, "failed_dir": folders.failed}
        inboxes.append(inbox_of(folders, name, **places))
    for number, one in enumerate(offices):
        one.tell(one.drop_in("scan.jpg", CONTENTS[number]), Event.SUCCEED)
        one.file()
    assert Balance(log, inboxes, wait=lambda _: None).run(EVERYTHING).findings == Counter({Finding.OK: 2})
    (tmp_path / "done" / "right" / "foreign.txt").write_text("foreign")
    for selection in (EVERYTHING, Selection(inbox="right"), Selection(inbox="left")):
        assert named(Balance(log, inboxes, wait=lambda _: None).run(selection)) == [("unknown", "foreign.txt")]
    for one in offices:
        one.route.spool.close()


# --- what moves on meanwhile, and what does not answer -------------------------------------------------------------


def test_the_daemon_files_away_meanwhile(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts that are filed after their row was read, and before their file is looked for, are no disagreement."""
    jobs = [office.drop_in(f"{number}.jpg", CONTENTS[number]) for number in range(4)]
    page = office.log.lookups.page

    def then_filed(selection: Selection, after: str, limit: int) -> list[Job]:
        found = page(selection, after, limit)
        for job in found:
            office.tell(job, Event.SUCCEED)
        assert office.file() == len(found)
        return found

    monkeypatch.setattr(office.log.lookups, "page", then_filed)
    sums = proof(office)
    assert (sums.states, named(sums)) == (Counter({State.SUCCESS: 4}), [])
    assert {path_of(office, job).parent.parent.name for job in jobs} == {"done"}


def test_a_move_that_was_begun(office: Office) -> None:
    """While a file is being moved it may be in either place, or, copied across file systems, in both."""
    job = office.drop_in("scan.jpg", CONTENTS[0])
    office.tell(job, Event.SUCCEED)
    target = office.processing.parent / "done" / "scan.jpg"
    assert office.log.moves.intend_moves([(office.now(job), Folder.DONE, Path("scan.jpg"))])
    source = path_of(office, job)
    assert named(proof(office)) == []
    shutil.copy(source, target)
    assert named(proof(office)) == []
    source.unlink()
    assert named(proof(office)) == []
    target.unlink()
    assert named(proof(office)) == [("missing", "scan.jpg")]


def test_a_file_that_is_just_recorded(office: Office) -> None:
    """What lies in processing/ without a row is looked at again, after a moment, before it is named."""
    place = office.processing / make_job().job_id / "scan.jpg"
    place.parent.mkdir()
    place.write_bytes(CONTENTS[0])
    assert named(proof(office)) == [("unknown", "scan.jpg")]
    waited: list[float] = []

    def recover_meanwhile(seconds: float) -> None:
        waited.append(seconds)
        office.recover()

    sums = proof(office, wait=recover_meanwhile)
    assert (sums.received, named(sums), len(waited)) == (1, [], 1)


def test_moments_have_an_end(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is amiss, a balance does not wait for ever."""
    monkeypatch.setattr(balance, "_PAGE", 1)
    for number in range(8):
        path_of(office, office.drop_in(f"{number}.jpg", CONTENTS[number])).unlink()
    waited: list[float] = []
    assert proof(office, wait=waited.append).findings == Counter({Finding.MISSING: 8})
    assert len(waited) == 5


@pytest.mark.parametrize("folder", list(Folder))
def test_a_folder_that_is_away(office: Office, folder: Folder) -> None:
    """Of a folder that is not there, or that is not ours, that is named, and not each receipt in it."""
    one_of_each(office)
    root = office.route.spool.folders.path_of(folder)
    root.rename(root.with_name("unmounted"))
    if folder is Folder.PROCESSING:
        root.mkdir()  # the empty folder under a mount
    sums = proof(office)
    in_folder = sum(job.folder is folder for job in office.recorded())
    assert in_folder > 0
    assert named(sums) == [("unreachable", folder.value)]
    assert sums.findings == Counter({Finding.UNREACHABLE: in_folder + 1, Finding.OK: 6 - in_folder})


def test_a_share_that_does_not_answer(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that falls silent costs its own receipts their proof, once the time is over, and nobody else's."""
    jobs = one_of_each(office)
    monkeypatch.setattr(folders, "ANSWER_SECONDS", 0.3)
    speaks = threading.Event()
    status_of = contents.status_of

    def silent_in_done(path: str) -> os.stat_result | None:
        if "/done/" in path:
            speaks.wait(60)
        return status_of(path)

    monkeypatch.setattr(lookup, "status_of", silent_in_done)
    sums = proof(office)
    speaks.set()
    assert sums.findings == Counter({Finding.UNREACHABLE: 3, Finding.OK: 4})
    (found,) = sums.named
    assert (Path(found.path).name, "did not answer" in found.detail) == ("done", True)
    assert sums.received == len(jobs)


def test_what_cannot_be_read(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not give a file is said of that file; the others are proven all the same."""
    jobs = one_of_each(office)
    bad = str(path_of(office, jobs["b"]))
    hashing = contents.hashing

    def failing(path: str) -> Any:
        if path == bad:
            raise OSError(5, "Input/output error")
        return hashing(path)

    monkeypatch.setattr(lookup, "hashing", failing)
    sums = proof(office)
    assert named(sums) == [("unreadable", "b.jpg")]
    assert sums.named[0].detail == "Input/output error"


def test_steps_that_answer() -> None:
    """Many steps may take long together; one that does not end is given up, and so is everything after a stop."""
    assert answering(5, iter(range(1000)), "it") == list(range(1000))
    speaks = threading.Event()

    def silent() -> Iterator[int]:
        yield 1
        speaks.wait(60)

    with pytest.raises(TimeoutError, match="did not answer within"):
        answering(0.2, silent(), "it")
    stopping = threading.Event()
    stopping.set()
    assert answering(60, silent(), "it", stopping) in ([], [1])
    speaks.set()

    def broken() -> Iterator[int]:
        yield 1
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        answering(5, broken(), "it")


# --- any tampering -------------------------------------------------------------------------------------------------

ENDS = ("succeed", "fail", "cancel", "open", "refused")
TAMPERINGS = ("delete", "change", "rename", "copy", "move", "put back", "foreign", "drop back")


class Tampered:
    """An office whose folders somebody goes through; what is on disk is the only thing that it remembers."""

    def __init__(self, root: Path, ends: list[tuple[str, int]]) -> None:
        self.log = open_log(root / "receipts.db")
        (root / "inbox").mkdir()
        self.folders = SpoolFolders(*(root / name for name in ("inbox", "processing", "done", "failed")))
        self.spool = Spool("office", self.folders)
        self.spool.open(INSTALLATION)
        self.office = Office(self.log, route_on(self.spool), FakeClock())
        for number, (end, picture) in enumerate(ends):
            content = b"no picture %d" % picture if end == "refused" else CONTENTS[picture]
            job = self.office.drop_in(f"{number}.jpg", content)
            if job.state is State.QUEUED and end != "open":
                event = {"succeed": Event.SUCCEED, "fail": Event.FAIL, "cancel": Event.CANCEL}[end]
                self.office.tell(job, event, **({"reason": Reason.N8N_FAILURE} if end == "fail" else {}))
            self.office.file()
        self.jobs = self.office.recorded()
        self.places = [self.office.route.path_of(job) for job in self.jobs]
        self.originals = [path.read_bytes() for path in self.places]

    def close(self) -> None:
        """End it."""
        self.spool.close()
        self.log.database.close()

    def tamper(self, how: str, which: int, number: int) -> None:
        """Do one thing by hand; what is not possible any more is left undone."""
        path, original = self.places[which % len(self.places)], self.originals[which % len(self.places)]
        folder = (self.folders.done, self.folders.failed)[number % 2]
        if how == "foreign":
            (folder / f"foreign {number}").write_bytes(b"foreign %d" % number)
        elif how == "put back":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(original)
        elif not path.exists():
            return
        elif how == "delete":
            path.unlink()
        elif how == "change":
            path.write_bytes(b"%06d" % number + path.read_bytes()[6:])
        elif how == "rename":
            path.rename(path.with_name(f"renamed {number}"))
        elif how == "copy":
            shutil.copy(path, folder / f"copied {number}")
        elif how == "move":
            path.rename(folder / f"moved {number}")
        elif how == "drop back":
            path.rename(self.folders.inbox / path.name)

    def expected(self) -> tuple[set[str], set[str], Counter[str]]:
        """Return by what is on disk: the jobs whose file is not there, foreign files, and spare copies by digest."""
        back = {path.name: digest(path.read_bytes()) for path in self.folders.inbox.iterdir()}
        lacking = {
            job.job_id
            for job, path in zip(self.jobs, self.places, strict=True)
            if (not path.exists() or digest(path.read_bytes()) != job.sha256)
        }
        returned = {
            job.job_id
            for job in self.jobs
            if job.folder is Folder.FAILED and back.get(job.stored_path.name) == job.sha256
        }
        known = {job.sha256 for job in self.jobs}
        foreign: set[str] = set()
        spare: Counter[str] = Counter()
        for path in {path for folder in Folder for path in RunningDaemon.files(self.folders.path_of(folder))}:
            if path not in self.places:
                sha256 = digest(path.read_bytes())
                if sha256 in known:
                    spare[sha256] += 1
                else:
                    foreign.add(str(path))
        return lacking - returned, foreign, spare

    def kind(self, job: Job) -> Finding:
        """Return what is wrong with a job whose file is not there, and nowhere else."""
        if self.office.route.path_of(job).exists():
            return Finding.CHANGED
        return Finding.ARCHIVED if job.folder is Folder.DONE else Finding.MISSING


@settings(max_examples=40)
@given(
    ends=st.lists(st.tuples(st.sampled_from(ENDS), st.integers(0, 5)), min_size=1, max_size=6),
    steps=st.lists(st.tuples(st.sampled_from(TAMPERINGS), st.integers(0, 5)), max_size=6),
)
def test_it_names_what_was_tampered_with(ends: list[tuple[str, int]], steps: list[tuple[str, int]]) -> None:
    """After any jobs and any changes by hand it names exactly the receipts and files that are not as they were."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Tampered(Path(folder), ends)
        try:
            for number, (how, which) in enumerate(steps):
                scene.tamper(how, which, number)
            sums = proof(scene.office)
            lacking, foreign, spare = scene.expected()
            found = {each.job_id: each.finding for each in sums.named if each.job_id}
            assert {each.path for each in sums.named if each.finding is Finding.UNKNOWN} == foreign
            assert lacking <= found.keys()
            for sha256 in {job.sha256 or "" for job in scene.jobs}:
                of_bytes = [job for job in scene.jobs if job.sha256 == sha256]
                missing = [job for job in of_bytes if job.job_id in lacking]
                elsewhere = [job for job in missing if found[job.job_id] is Finding.ELSEWHERE]
                assert len(elsewhere) == min(spare[sha256], len(missing))
                assert all(found[job.job_id] is scene.kind(job) for job in missing if job not in elsewhere)
                copied = [job for job in of_bytes if job not in missing and job.job_id in found]
                assert len(copied) == (spare[sha256] > len(missing) and len(missing) < len(of_bytes))
                assert all(found[job.job_id] is Finding.TWO_PLACES for job in copied)
            assert sums.received == len(scene.jobs) == sum(sums.summands().values())
        finally:
            scene.close()


# --- the accountant's export ---------------------------------------------------------------------------------------


def read_back(path: Path) -> list[dict[str, str]]:
    """Read an export as Python's csv does, without the guards."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [{name: unguarded(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


WILD = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="=+-@\t\r\n'\",;＝ a", max_size=8),
    st.binary(max_size=12).map(lambda name: display_name(os.fsdecode(name))),
)


@given(filename=WILD, message=st.none() | WILD, page_url=st.none() | WILD)
def test_any_text_comes_back(filename: str, message: str | None, page_url: str | None) -> None:
    """Whatever a name or a message is, the row comes back by Python's csv, and no cell begins a formula."""
    job = make_job(filename=filename, message=message, notion_page_url=page_url, execution_id="1042")
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\r\n").writerow(row_of(job, f"/srv/{filename}", Finding.OK))
    (cells,) = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert all(cell[:1] not in set("=+-@\t\r\n＝＋－＠") for cell in cells)
    row = dict(zip(COLUMNS, map(unguarded, cells), strict=True))
    assert (row["filename"], row["path"]) == (filename, f"/srv/{filename}")
    assert (row["message"], row["notion_page_url"]) == (message or "", page_url or "")
    assert row["execution_id"] == "1042"


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=1+1", "'=1+1"), ("'=1+1", "''=1+1"), ("-5.jpg", "'-5.jpg"), ("'tis.jpg", "'tis.jpg"), ("a=b", "a=b")],
)
def test_guards(text: str, cell: str) -> None:
    """Only what begins as a formula gets an apostrophe, and which one is ours can always be told."""
    assert guarded(text) == cell
    assert unguarded(cell) == text


def test_an_export(office: Office, tmp_path: Path) -> None:
    """One row per receipt in the order of their arrival, with times in UTC and local, and what was found."""
    jobs = one_of_each(office)
    path_of(office, jobs["b"]).unlink()
    target = tmp_path / "out" / "november.csv"
    target.parent.mkdir()
    with exporting(target) as tell_row:
        proof(office, tell_row=tell_row)
    raw = target.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfjob_id,status,reason,inbox,subfolder,filename,received_utc,received_local,")
    assert raw.count(b"\r\n") == raw.count(b"\n") == 7
    rows = read_back(target)
    assert [row["filename"] for row in rows] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "copy.jpg", "refused.jpg"]
    assert [row["finding"] for row in rows] == ["ok", "missing", "ok", "ok", "ok", "ok"]
    first, copy = rows[0], rows[4]
    assert first["path"] == str(path_of(office, jobs["a"]))
    assert (first["received_utc"], first["received_local"]) == ("2023-11-14T22:13:21.000Z", "2023-11-14 22:13:21")
    assert (copy["status"], copy["duplicate_of"]) == ("duplicate", jobs["a"].job_id)
    assert rows[3]["completed_local"] == ""
    assert list(target.parent.iterdir()) == [target]


def test_an_export_that_breaks_off(tmp_path: Path) -> None:
    """What is not whole never gets its name, and nothing is left lying about."""

    def interrupted() -> None:
        with exporting(tmp_path / "november.csv") as tell_row:
            tell_row(make_job(), "", Finding.OK)
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


# --- which receipts ------------------------------------------------------------------------------------------------


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The office's clock shows the time of Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOW = datetime(2026, 11, 21, 8, 30)  # noqa: DTZ001 - what the office's clock shows


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ("2026-11-01", "2026-11-30", "2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00"),
        ("2026-11-01T12:00", "2026-11-01T12:30", "2026-11-01T12:00+01:00", "2026-11-01T12:30+01:00"),
        ("2026-11-01T12:00Z", None, "2026-11-01T13:00+01:00", None),
        ("yesterday", "Today", "2026-11-20T00:00+01:00", "2026-11-22T00:00+01:00"),
        ("2026-10-25", "2026-10-25", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        (None, None, None, None),
    ],
)
def test_dates(since: str | None, until: str | None, first: str | None, last: str | None) -> None:
    """Days are those of the office, however long they are, and the last one counts whole."""
    found = selection_of(since, until, None, NOW)
    expected = [None if at is None else datetime.fromisoformat(at).timestamp() for at in (first, last)]
    assert [found.since, found.until] == expected


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("tomorrow", None),
        ("1.11.2026", None),
        (None, ""),
        ("2026-13-01", None),
        (None, "9999-12-31"),
        ("today", "2026"),
    ],
)
def test_no_dates(since: str | None, until: str | None) -> None:
    """What is no date is refused with the forms that are."""
    with pytest.raises(ValueError, match="write 2026-11-01"):
        selection_of(since, until, None, NOW)


def test_an_empty_range() -> None:
    """A range that ends before it begins is a mistake, not an empty balance."""
    with pytest.raises(ValueError, match="before the beginning"):
        selection_of("today", "yesterday", None, NOW)


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command(command: Command, job_log: JobLog, config_file: Path) -> None:
    """It exits with 0 where all agrees, with 1 where a receipt is to be named, and says so as text and as JSON."""
    spool = Spool("office", SpoolFolders(*(config_file.parent / name for name in ("inbox", *Folder))))
    spool.open(INSTALLATION)
    office = Office(job_log, route_on(spool), FakeClock(time.time()))
    jobs = one_of_each(office)
    fine = command("balance")
    assert (fine.code, "\n6 received = 1 succeeded + 2 failed" in fine.out) == (0, True)
    assert fine.err == ""  # no terminal, no progress
    assert command("balance", "--until", "yesterday", "--json").json["received"] == 0
    path_of(office, jobs["a"]).unlink()
    said = command("balance", "--json")
    (found,) = said.json["disagreements"]
    assert (said.code, said.json["agrees"], found["job_id"]) == (1, False, jobs["a"].job_id)
    assert (found["finding"], found["advice"]) == ("archived", Finding.ARCHIVED.advice)
    assert command("balance", "--allow-absent").code == 0
    path_of(office, jobs["b"]).unlink()
    said = command("balance", "--allow-absent", "--inbox", "office")
    assert (said.code, f"b.jpg (job {jobs['b'].job_id})" in said.out) == (1, True)
    spool.close()


def test_the_command_exports(command: Command, job_log: JobLog, config_file: Path, tmp_path: Path) -> None:
    """--csv never replaces a file unless told; on standard output the sums go to standard error."""
    spool = Spool("office", SpoolFolders(*(config_file.parent / name for name in ("inbox", *Folder))))
    spool.open(INSTALLATION)
    one_of_each(Office(job_log, route_on(spool), FakeClock(time.time())))
    spool.close()
    target = tmp_path / "november.csv"
    target.write_text("precious")
    refused = command("balance", "--csv", str(target))
    assert (refused.code, "give --force" in refused.err, target.read_text()) == (1, True, "precious")
    assert command("balance", "--csv", str(target), "--force").code == 0
    assert len(read_back(target)) == 6
    nowhere = command("balance", "--csv", str(tmp_path / "no" / "such.csv"))
    assert (nowhere.code, "cannot be written" in nowhere.err) == (1, True)


@pytest.mark.usefixtures("job_log")
@pytest.mark.parametrize(
    "words",
    [
        ["--since", "soon"],
        ["--inbox", "nobody"],
        ["--csv", "-", "--json"],
        ["--since", "today", "--until", "yesterday"],
    ],
)
def test_usage(command: Command, words: list[str]) -> None:
    """What is asked wrongly is exit code 2."""
    assert command("balance", *words).code == 2


# --- the daemon ----------------------------------------------------------------------------------------------------


class Watchman:
    """The daemon's balance of an office, at a time when no file has changed for long."""

    def __init__(self, office: Office) -> None:
        self.clock = FakeClock(time.time() + 10_000_000)
        self.ready = {"office"}
        self.audit = Audit(
            office.log,
            [inbox_of(office.route.spool.folders)],
            ready=lambda: set(self.ready),
            stopping=threading.Event(),
            clock=self.clock,
            monotonic=self.clock,
        )

    def after(self, seconds: float) -> list[dict[str, Any]]:
        """Return what a round says after so many seconds."""
        self.clock.advance(seconds)
        with capture_logs() as lines:
            assert self.audit.run_once() == daily.LOOK_SECONDS
        return [dict(line) for line in lines]


@pytest.fixture(autouse=True)
def same_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that runs the tests keeps its priority, and nobody pauses."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.setattr(daily, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(balance, "_MOMENT_SECONDS", 0)


def test_the_daily_balance(office: Office) -> None:
    """One line a day: at first all is hashed, then only what changed or disagreed; the result is kept."""
    jobs = one_of_each(office)
    watchman = Watchman(office)
    (first,) = watchman.after(0)
    assert (first["event"], first["log_level"], first["hashed"], first["received"]) == ("balance.checked", "info", 6, 6)
    assert watchman.after(daily.DAY_SECONDS / 2) == []
    (second,) = watchman.after(daily.DAY_SECONDS / 2)
    assert (second["event"], second["hashed"], second["ok"]) == ("balance.checked", 0, 6)
    path_of(office, jobs["d"]).write_bytes(CONTENTS[0] + b"x")
    (third,) = watchman.after(daily.DAY_SECONDS)
    assert (third["event"], third["log_level"], third["changed"]) == ("balance.disagrees", "warning", 1)
    assert f"changed: d.jpg (job {jobs['d'].job_id})" in third["names"]
    path_of(office, jobs["d"]).write_bytes(CONTENTS[3][:-1] + b"x")  # of the right size: by its size all is well
    (fourth,) = watchman.after(daily.DAY_SECONDS)
    assert fourth["changed"] == 1
    last = last_balance(office.log)
    assert last is not None
    assert (last.received, last.wrong, last.absent) == (6, 1, 0)


def test_what_changed_is_hashed(office: Office) -> None:
    """A receipt that went on since, by the log, or whose file was written since, is hashed again."""
    jobs = one_of_each(office)
    watchman = Watchman(office)
    watchman.after(0)
    office.clock.now = watchman.clock.now + 10
    office.tell(jobs["d"], Event.SUCCEED)
    office.file()
    (line,) = watchman.after(daily.DAY_SECONDS)
    assert (line["event"], line["hashed"]) == ("balance.checked", 1)
    last = last_balance(office.log)
    assert last is not None
    office.log.facts.table.keep("balance", json.dumps(asdict(replace(last, hashed_at=time.time()))))
    path_of(office, jobs["a"]).write_bytes(CONTENTS[0][:-1] + b"x")
    (line,) = Watchman(office).after(0)
    assert (line["event"], line["changed"]) == ("balance.disagrees", 1)


def test_archiving_is_told_once(office: Office) -> None:
    """What somebody took out of done/ is warned of when it is noticed, and then only counted."""
    jobs = one_of_each(office)
    watchman = Watchman(office)
    watchman.after(0)
    path_of(office, jobs["a"]).unlink()
    (line,) = watchman.after(daily.DAY_SECONDS)
    assert (line["event"], line["archived"]) == ("balance.disagrees", 1)
    (line,) = watchman.after(daily.DAY_SECONDS)
    assert (line["event"], line["archived"]) == ("balance.checked", 1)


def test_an_inbox_that_is_away(office: Office) -> None:
    """Nothing is asked of an inbox that is away; when it opens it is proven without waiting for the next day."""
    path_of(office, one_of_each(office)["b"]).unlink()
    watchman = Watchman(office)
    watchman.ready = set()
    assert watchman.after(0) == []
    watchman.ready = {"office"}
    (line,) = watchman.after(60)
    assert (line["event"], line["missing"]) == ("balance.disagrees", 1)


def test_a_stop_in_the_middle(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A balance that is stopped says nothing and keeps nothing."""
    monkeypatch.setattr(balance, "_PAGE", 1)
    one_of_each(office)
    stopping = threading.Event()
    looked = Audit(
        office.log,
        [inbox_of(office.route.spool.folders)],
        ready=lambda: {"office"},
        stopping=stopping,
        clock=office.clock,
        monotonic=office.clock,
    )
    monkeypatch.setattr(Audit, "_pause", lambda *_: stopping.set())
    with capture_logs() as lines:
        looked.run_once()
    assert (lines, last_balance(office.log)) == ([], None)


def test_with_the_real_daemon(tmp_path: Path, n8n: StandIn) -> None:
    """It makes a balance at its start; the command proves the same while it runs; status shows the last one."""
    n8n.behave = lambda delivery: Behaviour(verdict="failure" if "bad" in delivery.filename else "success")
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        wait_until(lambda: daemon.count("balance.checked"), "the empty office is proven")
        for number, content in enumerate(CONTENTS[:3]):
            daemon.drop(f"{'bad' if number == 2 else 'good'}-{number}.jpg", content)
        daemon.wait_quiet(3)
        said = daemon.run("balance", "--csv", "-")
        assert (said.returncode, len(list(csv.DictReader(io.StringIO(said.stdout))))) == (0, 3)
        assert "3 received = 2 succeeded + 1 failed" in said.stderr
        assert daemon.terminate() == 0
        job = daemon.job("bad-2.jpg")
        (daemon.failed / job.stored_path).unlink()
        daemon.start()
        wait_until(lambda: daemon.count("balance.disagrees"), "the loss is noticed")
        (line,) = daemon.events("balance.disagrees")
        assert (line["missing"], job.job_id in line["names"]) == (1, True)
        status = json.loads(daemon.run("status", "--json").stdout)
        assert (status["balance"]["disagreements"], status["balance"]["received"]) == (1, 3)
        assert any("receipt-watcher balance" in trouble for trouble in status["troubles"])
        assert daemon.run("balance").returncode == 1
        assert daemon.count("stage.failed") == 0
