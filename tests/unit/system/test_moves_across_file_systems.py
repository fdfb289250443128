"""A copy to another file system is whole and durable before its original goes."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from receipt_watcher.errors import FileVanishedError
from receipt_watcher.system.disk import PARTIAL_SUFFIX, move_file
from tests.unit.system.disk_faults import CONTENT, Crash, crash, record_flushes, refusing

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
