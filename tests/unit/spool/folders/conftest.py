"""A file that was taken into its job's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from receipt_watcher.spool.folders import Spool
from tests.unit.spool.folders.spool_files import JOB, SCAN, drop


@pytest.fixture
def taken(spool: Spool) -> Path:
    """A file in processing/."""
    drop(spool.folders)
    return spool.take(SCAN, JOB)
