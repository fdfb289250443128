"""A balance names each receipt and file that is not as it should be, and what to do."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.report.balance.balance import Balance
from receipt_watcher.report.balance.findings import Finding
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.reason_file import note_path
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from tests.conftest import INSTALLATION, FakeClock
from tests.unit.inbox.test_take_in import route_on
from tests.unit.report.balance.balance_office import CONTENTS, EVERYTHING, inbox_of, named, one_of_each, path_of, proof
from tests.unit.spool.filing.office import Office


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
