"""An office where nothing is wrong."""

from __future__ import annotations

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.notify.notice_office import Office, moment


@pytest.fixture
def office(log: JobLog, clock: FakeClock, spool: Spool) -> Office:
    """An office where nothing is wrong; it is 08:13 in Berlin."""
    clock.now = moment("2026-11-20T07:13")
    office = Office(log, clock, spool)
    assert office.after(0) == []
    return office
