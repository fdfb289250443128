"""What a crash left is found, finished or removed, and foreign files are left alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from tests.conftest import INSTALLATION
from tests.unit.spool.folders.spool_files import CONTENT, JOB, OTHER_JOB, SCAN, drop, files
from tests.unit.system.disk_faults import Crash, another_file_system, behind_a_bind_mount, crash, only_links


def test_orphans_are_found_with_their_subfolders(spool: Spool) -> None:
    """What lies in processing/<job id>/ is told with its job id and its path below the inbox."""
    for name, job_id in (("scan.pdf", OTHER_JOB), ("sub/deeper/scan.pdf", JOB)):
        drop(spool.folders, name)
        spool.take(Path(name), job_id)
    assert list(spool.processing.orphans(set)) == [(JOB, Path("sub/deeper/scan.pdf")), (OTHER_JOB, Path("scan.pdf"))]


def test_what_is_recorded_is_no_orphan(spool: Spool) -> None:
    """The folders of jobs that have their file there are not even looked into."""
    for job_id in (JOB, OTHER_JOB):
        drop(spool.folders)
        spool.take(SCAN, job_id)
    (spool.folders.processing / JOB / f".abc{PARTIAL_SUFFIX}").touch()
    assert list(spool.processing.orphans(lambda names: {*names} - {JOB})) == [(OTHER_JOB, SCAN)]
    assert files(spool.folders.processing / JOB) == [f".abc{PARTIAL_SUFFIX}", "scan.pdf"]


@pytest.mark.parametrize("name", [f"scan.pdf{PARTIAL_SUFFIX}", f".scan{PARTIAL_SUFFIX}", PARTIAL_SUFFIX])
def test_a_receipt_of_that_name_is_no_unfinished_copy(spool: Spool, name: str) -> None:
    """A receipt whose name only ends as those of our copies do was moved, and is the only one there is."""
    drop(spool.folders, name)
    spool.take(Path(name), JOB)
    assert list(spool.processing.orphans(set)) == [(JOB, Path(name))]
    assert (spool.folders.processing / JOB / name).read_bytes() == CONTENT


def test_unfinished_copies_and_empty_folders_are_removed(spool: Spool) -> None:
    """A copy that is not whole is no orphan: it goes, with its folder, since the original is still in the inbox."""
    torso = spool.folders.processing / JOB / "sub" / f".abc{PARTIAL_SUFFIX}"
    torso.parent.mkdir(parents=True)
    torso.write_bytes(CONTENT[:10])
    (spool.folders.processing / OTHER_JOB / "empty").mkdir(parents=True)
    assert list(spool.processing.orphans(set)) == []
    assert files(spool.folders.processing) == []


def test_strangers_are_told_and_left_alone(spool: Spool) -> None:
    """What people put into processing/ is not ours: it is told, and not taken for a receipt."""
    strange = ["letter.pdf", "folder", "0190ABCD-0000-7000-8000-000000000001", JOB.replace("-", "")]
    for name in strange[1:]:
        (spool.folders.processing / name).mkdir()
        (spool.folders.processing / name / "scan.pdf").touch()
    (spool.folders.processing / strange[0]).touch()
    (spool.folders.processing / OTHER_JOB).touch()  # a file under a job's name
    assert sorted(path.name for path in spool.processing.foreign_entries()) == sorted([*strange, OTHER_JOB])
    assert list(spool.processing.orphans(set)) == []
    assert len(list(spool.folders.processing.iterdir())) == len(strange) + 2


def _crash_while_removing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take a file, and end just before the original would have been removed; return the original."""
    original = drop(spool.folders)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(Crash):
            spool.take(SCAN, JOB)
    assert original.exists()
    assert list(spool.processing.orphans(set)) == [(JOB, SCAN)]
    return original


@pytest.fixture(params=["copied to another file system", "copied to a bind mount", "linked"])
def interrupted(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Spool, Path]]:
    """A spool whose taking ended just before the original was removed, and that original."""
    with contextlib.ExitStack() as stack:
        inbox = tmp_path / "inbox"
        if request.param == "copied to another file system":
            inbox = stack.enter_context(another_file_system(tmp_path, monkeypatch)) / "inbox"
        elif request.param == "copied to a bind mount":
            inbox = stack.enter_context(behind_a_bind_mount(tmp_path, monkeypatch)) / "inbox"
        else:
            only_links(monkeypatch)
        inbox.mkdir()
        spool = Spool("office", SpoolFolders(inbox, tmp_path / "processing", tmp_path / "done", tmp_path / "failed"))
        spool.open(INSTALLATION)
        stack.callback(spool.close)
        yield spool, _crash_while_removing(spool, monkeypatch)


def test_the_original_of_a_whole_copy_is_removed(interrupted: tuple[Spool, Path]) -> None:
    """A crash between the copy and the removal of its original leaves both: recovery removes the original, once."""
    spool, original = interrupted
    assert spool.processing.drop_copied_original(JOB, SCAN)
    assert not original.exists()
    assert (spool.folders.processing / JOB / SCAN).read_bytes() == CONTENT
    assert not spool.processing.drop_copied_original(JOB, SCAN)


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", CONTENT + b"more"])
def test_another_file_under_the_originals_name_stays(interrupted: tuple[Spool, Path], content: bytes) -> None:
    """Where the scanner wrote another file of that name since then, it stays, even with the same time."""
    spool, original = interrupted
    status = original.stat()
    original.unlink()
    original.write_bytes(content)
    os.utime(original, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not spool.processing.drop_copied_original(JOB, SCAN)
    assert original.read_bytes() == content


def test_the_same_bytes_of_another_time_stay(interrupted: tuple[Spool, Path]) -> None:
    """A second copy that somebody dropped in since then is a file of its own, and is not removed unseen."""
    spool, original = interrupted
    original.unlink()
    original.write_bytes(CONTENT)
    assert not spool.processing.drop_copied_original(JOB, SCAN)
    assert original.exists()


def test_a_link_to_the_copy_stays(interrupted: tuple[Spool, Path]) -> None:
    """A symbolic link in the original's place is not the original."""
    spool, original = interrupted
    original.unlink()
    original.symlink_to(spool.folders.processing / JOB / SCAN)
    assert not spool.processing.drop_copied_original(JOB, SCAN)
    assert original.is_symlink()
