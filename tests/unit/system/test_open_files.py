"""Which programs have a file open for writing."""

from __future__ import annotations

import os
from pathlib import Path

from receipt_watcher.system.open_files import programs_with


def test_a_writer_is_named(tmp_path: Path) -> None:
    """A program that has the file open for writing is named with its process id; one that reads it is not."""
    path = tmp_path / "scan.pdf"
    path.write_text("x")
    me = f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"
    with path.open("rb"):
        assert programs_with(path) == []
    with path.open("ab"):
        assert programs_with(path) == [me]
    assert programs_with(path) == []


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """Nobody has a file open that is not there."""
    assert programs_with(tmp_path / "gone.pdf") == []
