"""An office that keeps what is concluded for thirty days."""

from __future__ import annotations

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.retention.archive import Archive


@pytest.fixture
def archive(log: JobLog, spool: Spool, clock: FakeClock) -> Archive:
    """An office that keeps what is concluded for thirty days."""
    return Archive(log, route_on(spool), clock)
