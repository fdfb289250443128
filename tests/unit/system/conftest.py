"""A receipt, and a free name for each way in which a file can be moved."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.system.disk_faults import (
    CONTENT,
    another_file_system,
    behind_a_bind_mount,
    neither_renameat2_nor_links,
    only_links,
)


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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A receipt that was made on a day in the past."""
    path = tmp_path / "scan.pdf"
    path.write_bytes(CONTENT)
    path.chmod(0o640)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_700))
    return path
