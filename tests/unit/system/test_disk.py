"""Moves, flushes and names: what holds on every file system, and whatever happens in the middle."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.errors import FileVanishedError
from receipt_watcher.system import disk
from receipt_watcher.system.disk import (
    PARTIAL_SUFFIX,
    flush_file,
    flush_folder,
    is_leftover,
    is_there,
    make_folders,
    move_file,
)
from receipt_watcher.system.display import NAME_MAX_BYTES, cut_name, display_name, numbered_name
from tests.fakes.unprivileged import ordinary_permissions

CONTENT = b"%PDF-1.7 a receipt" * 1000


class Crash(BaseException):
    """The process ends here."""


def crash(*_: object, **__: object) -> NoReturn:
    """End the process."""
    raise Crash


def refusing(number: int) -> Callable[..., NoReturn]:
    """Return a call that the system refuses with this error number."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


@contextlib.contextmanager
def another_file_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder to which no rename from `folder` leads: on another file system, or behind a bind mount's EXDEV."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and memory.stat().st_dev != folder.stat().st_dev:
        with tempfile.TemporaryDirectory(dir=memory) as name:
            yield Path(name)
    else:
        with behind_a_bind_mount(folder, monkeypatch) as other:
            yield other


@contextlib.contextmanager
def behind_a_bind_mount(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder of the same file system to which no rename leads: so it is with two bind mounts of one."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        monkeypatch.setattr(disk, "_renameat2", _with_a_border(Path(name), disk._renameat2))
        monkeypatch.setattr(os, "link", _with_a_border(Path(name), os.link))
        yield Path(name)


def _with_a_border(other: Path, call: Callable[..., Any]) -> Callable[..., Any]:
    def across(source: Path, target: Path, **options: Any) -> Any:
        if source.is_relative_to(other) != target.is_relative_to(other):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return call(source, target, **options)

    return across


def record_flushes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that each flushed file and folder is added to, in order."""
    flushed: list[Path] = []
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", flush)
    return flushed


#: A call that would never return is ended soon.
AT_ONCE = pytest.mark.timeout(10)


@pytest.fixture(params=["renameat2", "link", "reserved name", "other file system", "bind mount"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A free name in another folder, for each way in which a file can come to it."""
    with contextlib.ExitStack() as stack:
        folder = tmp_path / "target"
        match request.param:
            case "other file system":
                folder = stack.enter_context(another_file_system(tmp_path, monkeypatch)) / "target"
            case "bind mount":
                folder = stack.enter_context(behind_a_bind_mount(tmp_path, monkeypatch)) / "target"
            case "link":
                only_links(monkeypatch)
            case "reserved name":
                neither_renameat2_nor_links(monkeypatch)
        folder.mkdir()
        yield folder / "scan.pdf"


def only_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as sshfs does."""
    monkeypatch.setattr(disk, "_renameat2", lambda *_: False)


def neither_renameat2_nor_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as an rclone mount does."""
    only_links(monkeypatch)
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A receipt that was made on a day in the past."""
    path = tmp_path / "scan.pdf"
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_700))
    return path


# --- moves ---


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


# --- across file systems ---

ACROSS = pytest.mark.parametrize("target", ["other file system", "bind mount"], indirect=True)


@ACROSS
def test_a_file_that_changes_while_it_is_copied_stays(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late writer's bytes are not lost: the original stays with them, and the copy goes."""
    copy = shutil.copyfileobj

    def copy_beside_a_writer(reader: Any, writer: Any, piece_bytes: int) -> None:
        copy(reader, writer, piece_bytes)
        with source.open("ab") as file:
            file.write(b"late")

    monkeypatch.setattr(shutil, "copyfileobj", copy_beside_a_writer)
    with pytest.raises(FileVanishedError, match="changed while it was copied"):
        move_file(source, target)
    assert source.read_bytes() == CONTENT + b"late"
    assert list(target.parent.iterdir()) == []


@ACROSS
def test_a_file_that_is_replaced_while_it_is_copied_stays(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of the same size and time under the old name is another file."""
    copy, status = shutil.copyfileobj, source.stat()

    def copy_and_replace(reader: Any, writer: Any, piece_bytes: int) -> None:
        copy(reader, writer, piece_bytes)
        other = source.with_name("other.pdf")
        other.write_bytes(CONTENT[::-1])
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(source)

    monkeypatch.setattr(shutil, "copyfileobj", copy_and_replace)
    with pytest.raises(FileVanishedError):
        move_file(source, target)
    assert source.read_bytes() == CONTENT[::-1]
    assert list(target.parent.iterdir()) == []


@ACROSS
@pytest.mark.parametrize("end", [refusing(errno.ENOSPC), crash])
def test_an_interrupted_copy_leaves_the_original(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[..., NoReturn]
) -> None:
    """A disk that is full, or an end in the middle of the copy, leaves the original whole and no torso."""

    def copy_half(reader: Any, writer: Any, _: int) -> None:
        writer.write(reader.read(len(CONTENT) // 2))
        end()

    monkeypatch.setattr(shutil, "copyfileobj", copy_half)
    with pytest.raises((OSError, Crash)):
        move_file(source, target)
    assert source.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == []


@ACROSS
def test_a_copy_bears_another_name_until_it_is_whole(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is copied the file has a hidden name that says what it is: nobody takes it for the receipt."""
    copy = shutil.copyfileobj
    seen: list[str] = []

    def look(reader: Any, writer: Any, piece_bytes: int) -> None:
        copy(reader, writer, piece_bytes)
        seen.extend(path.name for path in target.parent.iterdir())

    monkeypatch.setattr(shutil, "copyfileobj", look)
    move_file(source, target)
    (name,) = seen
    assert name.startswith(".")
    assert name.endswith(PARTIAL_SUFFIX)


@ACROSS
def test_a_copy_is_durable_before_its_original_goes(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy and the folders that name it are flushed before the original is removed; the removal after it."""
    flushed = record_flushes(monkeypatch)
    unlink = Path.unlink
    before: list[Path] = []

    def remove(path: Path) -> None:
        if path == source:
            before.extend(flushed)
            assert target.read_bytes() == CONTENT
        unlink(path)

    monkeypatch.setattr(Path, "unlink", remove)
    move_file(source, target)
    partial, *folders = before
    assert partial.name.endswith(PARTIAL_SUFFIX)
    assert folders == [target.parent, target.parent.parent]
    assert flushed[len(before) :] == [source.parent]


# --- leftovers ---


def test_two_names_of_one_file_are_a_leftover(source: Path, tmp_path: Path) -> None:
    """A link that stood in for a rename leaves two names of one inode: one interrupted move."""
    (tmp_path / "new.pdf").hardlink_to(source)
    assert is_leftover(source, tmp_path / "new.pdf")


@pytest.mark.parametrize("place", [another_file_system, behind_a_bind_mount])
def test_a_whole_copy_elsewhere_is_a_leftover(
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: Callable[[Path, pytest.MonkeyPatch], contextlib.AbstractContextManager[Path]],
) -> None:
    """A copy that was finished before its original went is one interrupted move, behind a bind mount too."""
    with place(tmp_path, monkeypatch) as other:
        monkeypatch.setattr(Path, "unlink", crash)
        with pytest.raises(Crash):
            move_file(source, other / "new.pdf")
        monkeypatch.undo()
        assert is_leftover(source, other / "new.pdf")


@pytest.mark.parametrize("other", [CONTENT[:-1], CONTENT[:-1] + b"?", b""])
def test_other_bytes_are_no_leftover(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: bytes
) -> None:
    """A file of another size or with other bytes is somebody else's, wherever it lies."""
    with another_file_system(tmp_path, monkeypatch) as elsewhere:
        for folder in (elsewhere, tmp_path):
            path = folder / "other.pdf"
            path.write_bytes(other)
            shutil.copystat(source, path)
            assert not is_leftover(source, path)


def test_the_same_bytes_of_another_day_are_no_leftover_on_one_file_system(source: Path, tmp_path: Path) -> None:
    """Where no copy was needed, an equal file of another time is a second copy that somebody keeps there."""
    (tmp_path / "other.pdf").write_bytes(CONTENT)
    assert not is_leftover(source, tmp_path / "other.pdf")


@AT_ONCE
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("scan.pdf")])
def test_what_is_no_file_is_no_leftover(source: Path, tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A folder, a pipe or a symbolic link under the new name is no copy of ours, and is not read."""
    make(tmp_path / "new.pdf")
    assert not is_leftover(source, tmp_path / "new.pdf")


# --- names ---


@AT_ONCE
@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("scan.pdf", 1, "scan.pdf"),
        ("scan.pdf", 2, "scan (2).pdf"),
        ("scan.pdf", 11, "scan (11).pdf"),
        ("scan.tar.gz", 2, "scan.tar (2).gz"),
        ("scan", 2, "scan (2)"),
        ("scan.", 2, "scan (2)."),
        (".hidden", 2, ".hidden (2)"),
        (".hidden.pdf", 2, ".hidden (2).pdf"),
        ("Rechnung (2).pdf", 2, "Rechnung (2) (2).pdf"),
        ("x" * 251 + ".pdf", 1, "x" * 251 + ".pdf"),
        ("x" * 251 + ".pdf", 2, "x" * 247 + " (2).pdf"),
        ("x" * 255, 2, "x" * 251 + " (2)"),
        ("ü" * 125 + ".pdf", 2, "ü" * 123 + " (2).pdf"),
        ("a" + "ü" * 125 + ".pdf", 2, "a" + "ü" * 123 + " (2).pdf"),
        ("🧾" * 62 + ".pdf", 2, "🧾" * 61 + " (2).pdf"),
        ("1. " + "x" * 252, 2, "1. " + "x" * 248 + " (2)"),
        (".." + "x" * 253, 2, ".." + "x" * 249 + " (2)"),
    ],
)
def test_a_number_goes_before_the_suffix(name: str, number: int, expected: str) -> None:
    """A name that is taken gets a number before its suffix, and is cut where it would become too long."""
    assert numbered_name(name, number) == expected


def a_name() -> st.SearchStrategy[str]:
    """Names as file systems have them: any bytes but / and NUL, up to 255."""
    piece = st.binary(min_size=1, max_size=NAME_MAX_BYTES) | st.sampled_from([b"x", "ü".encode(), b"."]).flatmap(
        lambda one: st.integers(1, NAME_MAX_BYTES // len(one)).map(lambda times: one * times)
    )
    joined = st.lists(piece, min_size=1, max_size=4).map(b"".join)
    return (
        joined.map(lambda name: os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_")[:NAME_MAX_BYTES]))
        .filter(lambda name: name not in {".", ".."})
        .filter(lambda name: len(os.fsencode(name)) <= NAME_MAX_BYTES)
    )


@AT_ONCE
@given(a_name(), st.integers(1, 100_000))
def test_a_numbered_name_always_fits(name: str, number: int) -> None:
    """However long a name and whatever its bytes: numbered it fits, is a name, and differs from the next."""
    numbered, following = numbered_name(name, number), numbered_name(name, number + 1)
    assert 0 < len(os.fsencode(numbered)) <= NAME_MAX_BYTES
    assert numbered != following
    assert "/" not in numbered
    assert Path(numbered).name == numbered


@AT_ONCE
@pytest.mark.parametrize(
    ("name", "most_bytes", "expected"),
    [("abc", 3, "abc"), ("abc", 2, "ab"), ("aü", 2, "a"), ("🧾", 3, ""), ("a\udcff", 2, "a\udcff"), ("a", -3, "")],
)
def test_a_name_is_cut_between_characters(name: str, most_bytes: int, expected: str) -> None:
    """A name is cut to so many bytes, never through a character; where there is no room nothing is left of it."""
    assert cut_name(name, most_bytes) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scan.pdf", "scan.pdf"),
        ("Café.pdf", "Café.pdf"),
        (os.fsdecode(b"caf\xe9.pdf"), r"caf\xe9.pdf"),
        (Path(os.fsdecode(b"a/\xff")), r"a/\xff"),
    ],
)
def test_a_name_of_any_bytes_can_be_shown(name: Path | str, expected: str) -> None:
    """Bytes that are no UTF-8 are written out, so that a name can be logged and sent."""
    assert display_name(name) == expected
    display_name(name).encode("utf-8")


# --- folders and flushes ---


def test_made_folders_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each missing folder is made and flushed into the one above it, from the top; what is there is let be."""
    (tmp_path / "done").mkdir()
    flushed = record_flushes(monkeypatch)
    make_folders(tmp_path / "done/2026-11/office")
    assert (tmp_path / "done/2026-11/office").is_dir()
    assert flushed == [tmp_path / "done", tmp_path / "done/2026-11"]
    make_folders(tmp_path / "done/2026-11/office")
    assert len(flushed) == 2


def test_a_file_in_a_folders_place_stays(tmp_path: Path) -> None:
    """Where a file stands under a folder's name, no folder is made and the file stays."""
    (tmp_path / "done").write_text("a file")
    with pytest.raises(OSError, match=r"exists|directory"):
        make_folders(tmp_path / "done/2026-11")
    assert (tmp_path / "done").read_text() == "a file"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF])
def test_folders_that_cannot_be_flushed_are_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some FUSE mounts cannot flush a folder: that stops nothing."""
    monkeypatch.setattr(os, "fsync", refusing(number))
    flush_folder(tmp_path)


def test_a_failing_disk_is_told(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush that the disk could not do is an error, for a folder and for a file."""
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        flush_folder(source.parent)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        flush_file(source)


def test_a_flush_gives_its_descriptor_back(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush leaves no descriptor open, whether it succeeds or fails."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    flush_file(source)
    flush_folder(source.parent)
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    for flush, path in ((flush_file, source), (flush_folder, source.parent)):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            flush(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_that_we_may_not_read_is_not_flushed(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that shuts us out is no error here: examination gives it its reason."""
    monkeypatch.setattr(os, "open", refusing(errno.EACCES))
    flush_file(source)


@AT_ONCE
def test_a_flush_follows_no_link_and_waits_for_no_pipe(source: Path) -> None:
    """What took a file's place meanwhile is refused at once, a pipe without a writer too."""
    link, pipe = source.with_name("link"), source.with_name("pipe")
    link.symlink_to(source)
    os.mkfifo(pipe)
    for path in (link, pipe):
        with pytest.raises(OSError, match=r"symbolic links|Invalid argument"):
            flush_file(path)


# --- whether something is there ------------------------------------------------------------------------------------


def test_what_has_a_name_is_there(tmp_path: Path) -> None:
    """A file, a folder, and a link that leads nowhere are there; what is below nothing or below a file is not."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert [is_there(tmp_path / name) for name in (".", "file", "link")] == [True] * 3
    assert [is_there(tmp_path / name) for name in ("other", "other/below", "file/below")] == [False] * 3


@contextlib.contextmanager
def shut(folder: Path) -> Iterator[Path]:
    """A file in a folder that we may not search."""
    (folder / "shut").mkdir()
    (folder / "shut" / "file").touch()
    (folder / "shut").chmod(0)
    with ordinary_permissions():
        yield folder / "shut" / "file"
    (folder / "shut").chmod(0o700)


@contextlib.contextmanager
def endless(folder: Path) -> Iterator[Path]:
    """A file behind links that lead to each other."""
    (folder / "link").symlink_to("link")
    yield folder / "link" / "file"


@contextlib.contextmanager
def too_long(folder: Path) -> Iterator[Path]:
    """A name that no file system takes."""
    yield folder / ("x" * 300)


@contextlib.contextmanager
def broken(folder: Path) -> Iterator[Path]:
    """A file on a disk that answers with an I/O error."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(os, "lstat", refusing(errno.EIO))
        yield folder / "file"


#: Ways in which a disk does not tell whether a file is there, with the system's word for it.
UNTOLD = [(shut, errno.EACCES), (endless, errno.ELOOP), (too_long, errno.ENAMETOOLONG), (broken, errno.EIO)]


@pytest.mark.parametrize(("way", "number"), UNTOLD)
def test_what_cannot_be_told_is_not_said_to_be_missing(tmp_path: Path, way: Any, number: int) -> None:
    """A disk that does not tell is an error, not a no."""
    with way(tmp_path) as path, pytest.raises(OSError, match=os.strerror(number)) as caught:
        is_there(path)
    assert caught.value.errno == number
