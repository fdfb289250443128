"""The note beside a failed file: ours is told from everything else, and only ours is replaced or removed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from receipt_watcher.spool.reason_file import NOTE_SUFFIX, is_note, note_path, remove_note, write_note
from receipt_watcher.system.display import NAME_MAX_BYTES
from tests.unit.system.disk_faults import Crash, crash, record_flushes, refusing

JOB = "01900000-0000-7000-8000-000000000001"
OTHER_JOB = "01900000-0000-7000-8000-000000000002"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the note about a failed scan."""
    return note_path(tmp_path / "scan.pdf")


def test_a_note_stands_beside_its_file(tmp_path: Path) -> None:
    """The note has the file's whole name and a suffix, so that both sort together in any file manager."""
    assert note_path(tmp_path / "sub/scan.pdf") == tmp_path / "sub/scan.pdf.reason.txt"


@pytest.mark.parametrize("name", ["x" * NAME_MAX_BYTES, "ü" * 127, "x" * 251 + ".pdf"])
def test_a_note_about_the_longest_name_can_be_written(tmp_path: Path, name: str) -> None:
    """A name of 255 bytes leaves no room for the suffix: it is cut, never through a character."""
    (tmp_path / name).touch()
    path = note_path(tmp_path / name)
    assert write_note(path, JOB, "text")
    assert path.name.endswith(NOTE_SUFFIX)
    assert len(os.fsencode(path.name)) <= NAME_MAX_BYTES
    assert is_note(path)


def test_a_note_says_what_it_is_and_of_which_job(path: Path) -> None:
    """A note is plain text: what it is, what is to be said, and the job to ask for."""
    assert write_note(path, JOB, "Café.pdf\n\nIt has no end.")
    assert path.read_text("utf-8") == (
        f"receipt-watcher wrote this note about the file beside it.\n\nCafé.pdf\n\nIt has no end.\n\nJob: {JOB}\n"
    )


def test_a_note_is_told_by_name_and_first_line(path: Path) -> None:
    """Only both together make a note: a receipt of such a name is none, nor is a copy of a note under another name."""
    write_note(path, JOB, "text")
    assert is_note(path)
    copy = path.with_name("copy.txt")
    copy.write_bytes(path.read_bytes())
    assert not is_note(copy)
    receipt = path.with_name("x.reason.txt")
    receipt.write_text("Receipt of the Reason Ltd")
    assert not is_note(receipt)
    receipt.write_text("")
    assert not is_note(receipt)
    assert not is_note(path.with_name("gone.reason.txt"))


def test_an_older_note_of_ours_is_replaced(path: Path) -> None:
    """A receipt that fails again has the newest reason beside it, and only that."""
    write_note(path, OTHER_JOB, "first")
    assert write_note(path, JOB, "second")
    assert "second" in path.read_text()
    assert "first" not in path.read_text()
    assert list(path.parent.iterdir()) == [path]


def test_nobody_elses_file_is_replaced_or_removed(path: Path) -> None:
    """A file that merely has a note's name is somebody's receipt: it stays as it is."""
    path.write_text("somebody's receipt")
    assert not write_note(path, JOB, "text")
    remove_note(path, JOB)
    assert path.read_text() == "somebody's receipt"
    assert list(path.parent.iterdir()) == [path]


def test_a_note_is_removed_for_its_own_job_only(path: Path) -> None:
    """What another job left beside a file of the same name is not removed in its stead."""
    write_note(path, OTHER_JOB, "text")
    remove_note(path, JOB)
    assert path.exists()
    remove_note(path, OTHER_JOB)
    assert not path.exists()


def test_a_note_that_is_gone_is_no_trouble(path: Path) -> None:
    """People throw notes away; removing one that is not there does nothing."""
    remove_note(path, JOB)
    assert list(path.parent.iterdir()) == []


def test_a_note_with_bytes_that_are_no_text_can_be_removed(path: Path) -> None:
    """A note that somebody edited in another encoding is still a note of ours."""
    write_note(path, JOB, "text")
    path.write_bytes(path.read_bytes().replace(b"text", b"\xff\xfe"))
    remove_note(path, JOB)
    assert not path.exists()


def test_a_note_is_durable_and_never_half(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note is flushed under a hidden name before it gets its own: a crash leaves the old one or the new one."""
    write_note(path, JOB, "old")
    flushed = record_flushes(monkeypatch)
    write_note(path, JOB, "new")
    (temporary,) = flushed
    assert temporary.parent == path.parent
    assert temporary.name.startswith(".")
    assert "new" in path.read_text()


@pytest.mark.parametrize("end", [refusing(errno.ENOSPC), crash])
def test_an_interrupted_note_leaves_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch, end: object) -> None:
    """A disk that is full while a note is written costs the new note, not the old one; and leaves no torso for long."""
    write_note(path, JOB, "old")
    monkeypatch.setattr(os, "fsync", end)
    with pytest.raises((OSError, Crash)):
        write_note(path, JOB, "new")
    assert "old" in path.read_text()
    monkeypatch.undo()
    write_note(path, JOB, "newest")
    assert "newest" in path.read_text()
    assert list(path.parent.iterdir()) == [path]
