"""Folders and files are durable once they are flushed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from receipt_watcher.system.disk import flush_file, flush_folder, make_folders
from tests.unit.system.disk_faults import AT_ONCE, record_flushes, refusing


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
