"""A second connection to the job log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from receipt_watcher.jobs.log.job_log import JobLog


@pytest.fixture
def other(log: JobLog) -> Iterator[sqlite3.Connection]:
    """Another process's connection to the same file, which never waits."""
    with closing(sqlite3.connect(log.database.path, timeout=0, isolation_level=None)) as connection:
        yield connection
