"""An original whose copy is whole is a leftover, and nothing else is."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from receipt_watcher.system.disk import is_leftover, move_file
from tests.unit.system.disk_faults import AT_ONCE, CONTENT, Crash, another_file_system, behind_a_bind_mount, crash


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
