"""A file moves out of processing/ under a free name, once, across file systems as well."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.errors import FileVanishedError, SpoolError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from tests.conftest import INSTALLATION
from tests.unit.spool.folders.spool_files import CONTENT, JOB, SCAN, drop, files
from tests.unit.system.disk_faults import (
    AT_ONCE,
    UNTOLD,
    Crash,
    another_file_system,
    behind_a_bind_mount,
    crash,
    neither_renameat2_nor_links,
    only_links,
    record_flushes,
)

# --- names that are free ---


def test_a_free_name_is_neither_there_nor_chosen(spool: Spool) -> None:
    """A name is free when no file has it, not even a dangling link, and no other file of the round is to get it."""
    month = spool.folders.done / "2026-11"
    month.mkdir()
    assert spool.free_path(Folder.DONE, Path("2026-11/scan.pdf"), set()) == Path("2026-11/scan.pdf")
    (month / "scan.pdf").touch()
    (month / "scan (2).pdf").symlink_to("nowhere")
    chosen = {Path("2026-11/scan (3).pdf")}
    assert spool.free_path(Folder.DONE, Path("2026-11/scan.pdf"), chosen) == Path("2026-11/scan (4).pdf")


@AT_ONCE
def test_a_free_name_can_be_found_for_the_longest_name(spool: Spool) -> None:
    """A name of 255 bytes that is taken gets its number too, with and without a suffix."""
    for name in ("x" * 251 + ".pdf", "x" * 255, "1. " + "x" * 252):
        (spool.folders.failed / name).touch()
        free = spool.free_path(Folder.FAILED, Path(name), set())
        (spool.folders.failed / free).touch(exist_ok=False)


def test_a_file_in_a_folders_place_is_gone_around(spool: Spool) -> None:
    """Where a file has the name of the subfolder that is needed, the subfolder gets a number: nobody is stuck."""
    (spool.folders.failed / "office").write_text("a file")
    free = spool.free_path(Folder.FAILED, Path("office/new/scan.pdf"), set())
    assert free == Path("office (2)/new/scan.pdf")
    source = drop(spool.folders)
    spool.move(source, Folder.FAILED, free)
    assert (spool.folders.failed / free).read_bytes() == CONTENT
    assert (spool.folders.failed / "office").read_text() == "a file"


# --- moving out ---


FILED = Path("2026-11/scan.pdf")


def test_a_moved_file_is_under_its_new_name_only(spool: Spool, taken: Path) -> None:
    """A file is moved below a folder, whose subfolders are made as needed."""
    spool.move(taken, Folder.DONE, FILED)
    assert (spool.folders.done / FILED).read_bytes() == CONTENT
    assert not taken.exists()


def test_a_name_that_is_taken_is_said_to_be(spool: Spool, taken: Path) -> None:
    """A different file under the new name stays, and so does ours: the caller chooses another name."""
    other = spool.folders.done / FILED
    other.parent.mkdir()
    other.write_bytes(b"another receipt")
    with pytest.raises(FileExistsError):
        spool.move(taken, Folder.DONE, FILED)
    assert other.read_bytes() == b"another receipt"
    assert taken.read_bytes() == CONTENT


def test_a_move_that_is_done_is_not_done_again(spool: Spool, taken: Path) -> None:
    """A move that a crash caught after the rename is found finished, however often it is asked for."""
    for _ in range(3):
        spool.move(taken, Folder.DONE, FILED)
    assert (spool.folders.done / FILED).read_bytes() == CONTENT
    assert files(spool.folders.done) == ["2026-11", "2026-11/scan.pdf"]


def test_a_move_onto_itself_leaves_the_file(spool: Spool, taken: Path) -> None:
    """A file that is already where it is to go is no leftover of its own move."""
    spool.move(taken, Folder.PROCESSING, Path(JOB) / SCAN)
    assert taken.read_bytes() == CONTENT


def test_a_file_that_is_in_neither_place_has_vanished(spool: Spool, taken: Path) -> None:
    """A file that somebody removed is said to be gone, and nothing is made in its place."""
    taken.unlink()
    with pytest.raises(FileVanishedError, match="not there any more"):
        spool.move(taken, Folder.DONE, FILED)
    assert files(spool.folders.done) == []


def test_two_names_of_one_file_become_one(spool: Spool, taken: Path) -> None:
    """A crash between link and unlink is finished: the old name goes."""
    target = spool.folders.done / FILED
    target.parent.mkdir()
    target.hardlink_to(taken)
    spool.move(taken, Folder.DONE, FILED)
    assert target.read_bytes() == CONTENT
    assert not taken.exists()


@pytest.fixture(params=[another_file_system, behind_a_bind_mount])
def divided(
    request: pytest.FixtureRequest, folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Spool, Path]]:
    """A spool whose done/ no rename reaches, and a file in its processing/."""
    with request.param(folders.inbox.parent, monkeypatch) as other:
        spool = Spool("office", SpoolFolders(folders.inbox, folders.processing, other / "done", folders.failed))
        spool.open(INSTALLATION)
        drop(spool.folders)
        yield spool, spool.take(SCAN, JOB)
        spool.close()


def test_a_file_is_moved_across(divided: tuple[Spool, Path]) -> None:
    """done/ may be on another file system than processing/."""
    spool, taken = divided
    spool.move(taken, Folder.DONE, FILED)
    assert files(spool.folders.done) == ["2026-11", "2026-11/scan.pdf"]
    assert (spool.folders.done / FILED).read_bytes() == CONTENT
    assert not taken.exists()


def test_a_copy_that_was_finished_is_not_copied_again(
    divided: tuple[Spool, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the copy and the removal of its original is finished: the copy is durable, the original goes."""
    spool, taken = divided
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(Crash):
            spool.move(taken, Folder.DONE, FILED)
    assert taken.exists()
    flushed = record_flushes(monkeypatch)
    spool.move(taken, Folder.DONE, FILED)
    assert flushed == [(spool.folders.done / FILED).parent]
    assert files(spool.folders.done) == ["2026-11", "2026-11/scan.pdf"]
    assert not taken.exists()


def test_a_copy_that_was_interrupted_is_made_again(
    divided: tuple[Spool, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the middle of the copy leaves the original; the next time the file comes over whole."""
    spool, taken = divided
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", crash)
        with pytest.raises(Crash):
            spool.move(taken, Folder.DONE, FILED)
    assert taken.read_bytes() == CONTENT
    spool.move(taken, Folder.DONE, FILED)
    assert (spool.folders.done / FILED).read_bytes() == CONTENT


def test_a_different_file_across_is_not_taken_for_a_copy(divided: tuple[Spool, Path]) -> None:
    """A file of the same size and time with other bytes is another receipt, on another file system too."""
    spool, taken = divided
    other = spool.folders.done / FILED
    other.parent.mkdir()
    other.write_bytes(CONTENT[::-1])
    shutil.copystat(taken, other)
    with pytest.raises(FileExistsError):
        spool.move(taken, Folder.DONE, FILED)
    assert other.read_bytes() == CONTENT[::-1]
    assert taken.read_bytes() == CONTENT


def test_a_folder_that_is_away_is_not_made_in_its_place(spool: Spool, taken: Path) -> None:
    """A done/ that is not mounted is told; the file waits in processing/, and nothing is written beside the mount."""
    spool.folders.done.rmdir()
    with pytest.raises(SpoolError, match=f"the folder {spool.folders.done} is not there") as caught:
        spool.move(taken, Folder.DONE, FILED)
    assert caught.value.path == spool.folders.done
    assert not spool.folders.done.exists()
    assert taken.read_bytes() == CONTENT


def test_a_file_on_a_folder_that_is_away_has_not_vanished(spool: Spool, taken: Path) -> None:
    """A file cannot be said to be gone while the folder that it lies in is away: a retry must not fail by that."""
    spool.move(taken, Folder.FAILED, SCAN)
    spool.folders.failed.rename(spool.folders.failed.with_name("elsewhere"))
    for folder in (Folder.PROCESSING, Folder.DONE):
        with pytest.raises(SpoolError, match=f"the folder {spool.folders.failed} is not there"):
            spool.move(spool.folders.failed / SCAN, folder, Path(JOB) / SCAN)


@pytest.mark.parametrize(("way", "number"), UNTOLD)
def test_a_file_that_the_disk_does_not_tell_of_has_not_vanished(spool: Spool, way: Any, number: int) -> None:
    """Where the disk does not say whether the file is there, the error is the disk's, and nothing is made."""
    with way(spool.folders.failed) as path, pytest.raises(OSError, match=os.strerror(number)) as caught:
        spool.move(path, Folder.DONE, FILED)
    assert caught.value.errno == number
    assert files(spool.folders.done) == []


@pytest.mark.parametrize(("way", "number"), [one for one in UNTOLD if one[1] != errno.ELOOP])  # a link is a name
def test_a_name_that_the_disk_does_not_tell_of_is_not_free(spool: Spool, way: Any, number: int) -> None:
    """A name is only free when the disk says so: a file there might be overwritten by those without renameat2."""
    with way(spool.folders.done) as path, pytest.raises(OSError, match=os.strerror(number)):
        spool.free_path(Folder.DONE, path.relative_to(spool.folders.done), set())


def test_moves_share_their_flushes(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that many moves gave are flushed once for each folder."""
    flushed = record_flushes(monkeypatch)
    for name in ("a", "b"):
        (spool.folders.done / name).mkdir()
    spool.flush_moves([spool.folders.done / name for name in ("a/1.pdf", "a/2.pdf", "b/3.pdf")])
    assert sorted(flushed) == [spool.folders.done / "a", spool.folders.done / "b"]


@pytest.mark.parametrize("way", [only_links, neither_renameat2_nor_links])
def test_an_interrupted_take_loses_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, way: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Wherever the system refuses in the middle of a move, the file is in the inbox, whole, and nowhere else."""
    drop(spool.folders)
    way(monkeypatch)
    monkeypatch.setattr(Path, "unlink", _refusing_in(spool.folders.inbox, Path.unlink))
    monkeypatch.setattr(Path, "rename", _refusing_in(spool.folders.inbox, Path.rename))
    with pytest.raises(PermissionError):
        spool.take(SCAN, JOB)
    assert (spool.folders.inbox / SCAN).read_bytes() == CONTENT
    assert files(spool.folders.processing) == []


def _refusing_in(folder: Path, call: Callable[..., object]) -> Callable[..., object]:
    def refuse(path: Path, *more: object) -> object:
        if path.parent == folder:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return call(path, *more)

    return refuse


def test_tidying_removes_only_what_is_empty(spool: Spool, taken: Path) -> None:
    """A job's empty folders go, also below each other; whatever holds a file stays; a job without folders is fine."""
    (taken.parent / "a/b").mkdir(parents=True)
    spool.processing.tidy(JOB)
    assert files(spool.folders.processing) == [JOB, f"{JOB}/scan.pdf"]
    taken.unlink()
    spool.processing.tidy(JOB)
    spool.processing.tidy(JOB)
    assert files(spool.folders.processing) == []
