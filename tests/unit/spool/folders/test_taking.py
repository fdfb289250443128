"""A file is taken into its job's folder whole and durably, or stays in the inbox."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from receipt_watcher.errors import FileVanishedError, SpoolError
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system import disk
from tests.unit.spool.folders.spool_files import CONTENT, JOB, OTHER_JOB, SCAN, drop, files
from tests.unit.system.disk_faults import AT_ONCE, crash, record_flushes, refusing


def test_a_taken_file_is_in_its_jobs_folder_only(spool: Spool) -> None:
    """A file is taken to processing/<job id>/ under its own name, and is not in the inbox any more."""
    drop(spool.folders)
    assert spool.take(SCAN, JOB) == spool.folders.processing / JOB / SCAN
    assert (spool.folders.processing / JOB / SCAN).read_bytes() == CONTENT
    assert files(spool.folders.inbox) == []


@pytest.mark.parametrize("name", ["sub/deeper/scan.pdf", "x" * 255, os.fsdecode(b"caf\xe9.pdf"), "a\nb.pdf"])
def test_any_name_can_be_taken(spool: Spool, name: str) -> None:
    """Subfolders of the inbox are kept below the job's folder; names may be 255 bytes long, and of any bytes."""
    drop(spool.folders, name)
    assert spool.take(Path(name), JOB) == spool.folders.processing / JOB / name
    assert (spool.folders.processing / JOB / name).read_bytes() == CONTENT


def test_the_same_name_twice_is_two_files(spool: Spool) -> None:
    """Scanners count from one again: the same name under way twice is kept apart by the jobs' folders."""
    for job_id, content in ((JOB, b"first"), (OTHER_JOB, b"second")):
        drop(spool.folders, SCAN, content)
        spool.take(SCAN, job_id)
    assert (spool.folders.processing / JOB / SCAN).read_bytes() == b"first"
    assert (spool.folders.processing / OTHER_JOB / SCAN).read_bytes() == b"second"


def test_a_file_that_vanished_leaves_nothing(spool: Spool) -> None:
    """Somebody took the file back: that is said, and the folder that was made for it goes."""
    with pytest.raises(FileVanishedError, match="taken away before it was moved"):
        spool.take(Path("sub/scan.pdf"), JOB)
    assert files(spool.folders.processing) == []


@AT_ONCE
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_only_a_file_is_taken(spool: Spool, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]) -> None:
    """A folder, a pipe or a link that took the file's place stays where it is, and is not even moved for a moment."""
    make(spool.folders.inbox / SCAN)
    monkeypatch.setattr(disk, "move_file", crash)
    with pytest.raises(FileVanishedError, match="no regular file any more"):
        spool.take(SCAN, JOB)
    assert os.path.lexists(spool.folders.inbox / SCAN)
    assert files(spool.folders.processing) == []


@AT_ONCE
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_what_takes_the_files_place_at_the_last_moment_is_given_back(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    """A link that is slipped in between the look and the move is not followed later: it goes back to the inbox."""
    move, path = disk.move_file, drop(spool.folders)

    def replace_and_move(source: Path, target: Path) -> None:
        monkeypatch.setattr(disk, "move_file", move)
        path.unlink()
        make(path)
        move(source, target)

    monkeypatch.setattr(disk, "move_file", replace_and_move)
    with pytest.raises(FileVanishedError, match="no regular file any more"):
        spool.take(SCAN, JOB)
    assert os.path.lexists(path)
    assert files(spool.folders.processing) == []


def test_a_file_that_cannot_be_moved_stays_in_the_inbox(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is passed on with its reason, and no empty folder is left."""
    drop(spool.folders)
    monkeypatch.setattr(disk, "_renameat2", refusing(errno.EACCES))
    with pytest.raises(PermissionError):
        spool.take(SCAN, JOB)
    assert files(spool.folders.inbox) == ["scan.pdf"]
    assert files(spool.folders.processing) == []


@pytest.mark.parametrize("unmounted", [False, True])
def test_processing_is_not_made_anew(spool: Spool, *, unmounted: bool) -> None:
    """Where processing/ is away nothing is taken: its folder is not made in its place, nor filled under a mount."""
    drop(spool.folders)
    shutil.rmtree(spool.folders.processing)
    if unmounted:
        spool.folders.processing.mkdir()
    why = "processing is another folder now" if unmounted else "processing is not there"
    with pytest.raises(SpoolError, match=why):
        spool.take(SCAN, JOB)
    assert files(spool.folders.inbox) == ["scan.pdf"]
    assert spool.folders.processing.exists() is unmounted
    assert not unmounted or files(spool.folders.processing) == []


def test_the_file_is_flushed_first_and_processing_last(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, then every folder that names it, the innermost first, are flushed, each once however many files."""
    for name in ("sub/deeper/a.pdf", "sub/b.pdf"):
        drop(spool.folders, name)
    first, second = spool.take(Path("sub/deeper/a.pdf"), JOB), spool.take(Path("sub/b.pdf"), OTHER_JOB)
    flushed = record_flushes(monkeypatch)
    spool.flush([first, second])
    processing = spool.folders.processing
    assert flushed[:2] == [first, second]
    assert flushed[-1] == processing
    one, two = processing / JOB, processing / OTHER_JOB
    assert sorted(flushed[2:]) == [processing, one, one / "sub", one / "sub/deeper", two, two / "sub"]
    places = {path: number for number, path in enumerate(flushed)}
    assert all(places[path] < places[path.parent] for path in flushed if path != processing)


def test_flushing_nothing_flushes_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty batch costs no flush."""
    flushed = record_flushes(monkeypatch)
    spool.flush([])
    assert flushed == []
