"""An office with one inbox, in universal time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.filing.office import Office


@pytest.fixture(autouse=True)
def universal_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock on the office's wall shows UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def office(log: JobLog, spool: Spool, clock: FakeClock) -> Office:
    """An office with one inbox."""
    return Office(log, route_on(spool), clock)
