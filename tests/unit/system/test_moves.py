"""A moved file is under its new name only, and no file is ever replaced."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from receipt_watcher.errors import FileVanishedError
from receipt_watcher.system import disk
from receipt_watcher.system.disk import move_file
from tests.unit.system.disk_faults import (
    CONTENT,
    another_file_system,
    neither_renameat2_nor_links,
    only_links,
    refusing,
)


def test_a_moved_file_is_the_same_under_its_new_name_only(source: Path, target: Path) -> None:
    """A move keeps content, time and mode, and leaves nothing else in either folder."""
    before = source.stat()
    move_file(source, target)
    after = target.stat()
    assert target.read_bytes() == CONTENT
    assert (after.st_mtime_ns, after.st_mode) == (before.st_mtime_ns, before.st_mode)
    assert list(target.parent.iterdir()) == [target]
    assert not source.exists()


@pytest.mark.parametrize("way", ["renameat2", "link", "reserved name"])
def test_within_a_file_system_nothing_is_copied(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Within one file system a move is a new name for the same inode, in each of the three ways."""
    if way == "link":
        only_links(monkeypatch)
    elif way == "reserved name":
        neither_renameat2_nor_links(monkeypatch)
    inode = source.stat().st_ino
    move_file(source, tmp_path / "new.pdf")
    assert (tmp_path / "new.pdf").stat().st_ino == inode


def test_of_two_who_move_one_file_one_has_it(tmp_path: Path, target: Path) -> None:
    """Two daemons that take from one inbox at the same moment: one has the file, whole, the other an error."""
    targets = [target.with_name(name) for name in ("one.pdf", "two.pdf")]
    for number in range(30):
        source = tmp_path / f"scan-{number}.pdf"
        source.write_bytes(CONTENT)
        errors = at_once([functools.partial(move_file, source, one) for one in targets])
        there = [one for one in targets if one.exists()]
        assert [error is None for error in errors] == [one in there for one in targets]
        assert len(there) == 1, errors
        assert there[0].read_bytes() == CONTENT
        assert list(target.parent.iterdir()) == there
        assert not source.exists()
        there[0].unlink()


def at_once(calls: Sequence[Callable[[], None]]) -> list[Exception | None]:
    """Make all calls at the same moment, each in a thread, and return what each raised."""
    start, errors = threading.Barrier(len(calls)), list[Exception | None]([None] * len(calls))

    def run(number: int) -> None:
        start.wait()
        try:
            calls[number]()
        except (OSError, FileVanishedError) as error:
            errors[number] = error

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_two_links_are_told_from_one(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who linked a file as well, but finds that its old name was removed by another, leaves it to that one."""
    only_links(monkeypatch)
    link, theirs, ours = os.link, tmp_path / "theirs.pdf", tmp_path / "ours.pdf"

    def link_after_them(old: Path, new: Path, **options: Any) -> None:
        link(old, theirs)
        link(old, new, **options)
        old.unlink()

    monkeypatch.setattr(os, "link", link_after_them)
    with pytest.raises(FileVanishedError, match="taken by another program"):
        move_file(source, ours)
    assert theirs.read_bytes() == CONTENT
    assert not ours.exists()


def test_a_locked_file_is_not_copied(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another program has locked the file it stays, and no part of it is left elsewhere."""
    with another_file_system(tmp_path, monkeypatch) as folder, source.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
            move_file(source, folder / "scan.pdf")
        assert list(folder.iterdir()) == []
        assert source.read_bytes() == CONTENT
        fcntl.flock(theirs, fcntl.LOCK_UN)
        move_file(source, folder / "scan.pdf")
        assert (folder / "scan.pdf").read_bytes() == CONTENT


def test_a_mount_without_locks_is_copied_from(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS gives EBADF for a lock on what is open for reading: the file is moved all the same."""
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EBADF))
    with another_file_system(tmp_path, monkeypatch) as folder:
        move_file(source, folder / "scan.pdf")
        assert (folder / "scan.pdf").read_bytes() == CONTENT


def test_a_name_that_is_taken_is_never_replaced(source: Path, target: Path) -> None:
    """A file that stands under the new name stays, and so does the one that was to be moved."""
    target.write_bytes(b"somebody else's")
    with pytest.raises(FileExistsError):
        move_file(source, target)
    assert target.read_bytes() == b"somebody else's"
    assert source.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_a_dangling_link_is_a_name_that_is_taken(source: Path, target: Path) -> None:
    """A symbolic link to nowhere under the new name is neither replaced nor written through."""
    target.symlink_to(target.with_name("nowhere"))
    with pytest.raises(FileExistsError):
        move_file(source, target)
    assert target.is_symlink()
    assert list(target.parent.iterdir()) == [target]
    assert source.read_bytes() == CONTENT


def test_a_file_that_is_not_there_leaves_no_placeholder(source: Path, target: Path) -> None:
    """Moving a file that was taken away says so, and occupies no name."""
    source.unlink()
    with pytest.raises(FileNotFoundError):
        move_file(source, target)
    assert list(target.parent.iterdir()) == []


def test_of_eight_that_want_one_name_one_gets_it(target: Path, tmp_path: Path) -> None:
    """Files that are moved to one name at the same moment: one gets it, the others stay whole where they are."""
    sources = [tmp_path / f"{number}.pdf" for number in range(8)]
    for path in sources:
        path.write_text(path.name)
    start = threading.Barrier(len(sources))
    refused: list[Path] = []

    def move(path: Path) -> None:
        start.wait()
        try:
            move_file(path, target)
        except FileExistsError:
            refused.append(path)

    threads = [threading.Thread(target=move, args=[path]) for path in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(sources) - 1
    assert all(path.read_text() == path.name for path in refused)
    (moved,) = set(sources) - set(refused)
    assert target.read_text() == moved.name
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_a_file_system_without_renameat2_is_no_hindrance(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """9p and FUSE answer renameat2 with EINVAL, old kernels with ENOSYS: the next way is taken."""
    monkeypatch.setattr(disk, "_libc", _Libc(number))
    move_file(source, tmp_path / "new.pdf")
    assert (tmp_path / "new.pdf").read_bytes() == CONTENT


def test_a_libc_without_renameat2_is_no_hindrance(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A C library that lacks the call altogether costs nothing but the call."""
    monkeypatch.setattr(disk, "_libc", object())
    move_file(source, tmp_path / "new.pdf")
    assert (tmp_path / "new.pdf").read_bytes() == CONTENT


def test_what_renameat2_refuses_is_not_tried_otherwise(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal by permission is told with both names, and no other way is tried behind its back."""
    monkeypatch.setattr(disk, "_libc", _Libc(errno.EACCES))
    with pytest.raises(PermissionError) as caught:
        move_file(source, tmp_path / "new.pdf")
    assert (caught.value.filename, caught.value.filename2) == (str(source), str(tmp_path / "new.pdf"))
    assert source.read_bytes() == CONTENT
    assert not (tmp_path / "new.pdf").exists()


class _Libc:
    """A C library whose renameat2 fails."""

    def __init__(self, number: int) -> None:
        self._number = number

    def renameat2(self, *_: object) -> int:
        ctypes.set_errno(self._number)
        return -1


def test_a_full_disk_is_no_reason_to_reserve_a_name(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a link fails for a reason of its own, that reason is told and nothing is left behind."""
    only_links(monkeypatch)
    monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        move_file(source, tmp_path / "new.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.pdf"]


def test_a_reserved_name_is_given_back_when_the_rename_fails(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The empty placeholder goes again where the rename onto it is refused."""
    neither_renameat2_nor_links(monkeypatch)
    monkeypatch.setattr(Path, "rename", refusing(errno.EBUSY))
    with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
        move_file(source, tmp_path / "new.pdf")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.pdf"]


def test_a_rename_that_fails_after_the_fact_costs_no_receipt(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that reports an error for a rename that it did is believed, but the receipt is not removed."""
    neither_renameat2_nor_links(monkeypatch)
    rename = Path.rename

    def rename_and_fail(path: Path, to: Path) -> NoReturn:
        rename(path, to)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "rename", rename_and_fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        move_file(source, tmp_path / "new.pdf")
    assert (tmp_path / "new.pdf").read_bytes() == CONTENT


@pytest.mark.parametrize("target", ["link", "other file system", "bind mount"], indirect=True)
def test_an_original_that_cannot_be_removed_leaves_no_second_copy(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the old name may not be removed the new one goes again: no copy more at every further try."""
    monkeypatch.setattr(Path, "unlink", _refusing_for(source, PermissionError(errno.EPERM, "not yours")))
    with pytest.raises(PermissionError):
        move_file(source, target)
    assert source.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("target", ["link", "other file system", "bind mount"], indirect=True)
def test_an_original_that_goes_by_itself_is_moved_all_the_same(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removes the old name just before we do leaves us with the new one, not with nothing."""
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path: [unlink(path), unlink(path)] if path == source else unlink(path))
    move_file(source, target)
    assert target.read_bytes() == CONTENT
    assert not source.exists()


def _refusing_for(refused: Path, error: OSError) -> Callable[[Path], None]:
    unlink = Path.unlink

    def remove(path: Path) -> None:
        if path == refused:
            raise error
        unlink(path)

    return remove
