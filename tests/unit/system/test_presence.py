"""A file that the system cannot tell of is not said to be missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.system.disk import is_there
from tests.unit.system.disk_faults import UNTOLD


def test_what_has_a_name_is_there(tmp_path: Path) -> None:
    """A file, a folder, and a link that leads nowhere are there; what is below nothing or below a file is not."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert [is_there(tmp_path / name) for name in (".", "file", "link")] == [True] * 3
    assert [is_there(tmp_path / name) for name in ("other", "other/below", "file/below")] == [False] * 3


@pytest.mark.parametrize(("way", "number"), UNTOLD)
def test_what_cannot_be_told_is_not_said_to_be_missing(tmp_path: Path, way: Any, number: int) -> None:
    """A disk that does not tell is an error, not a no."""
    with way(tmp_path) as path, pytest.raises(OSError, match=os.strerror(number)) as caught:
        is_there(path)
    assert caught.value.errno == number
