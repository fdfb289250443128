"""The application, as it is made with other options on the same log."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.fakes.api_client import ApiSite

Make = Callable[..., ApiSite]


@pytest.fixture
def make(log: JobLog, spool: Spool, clock: FakeClock) -> Make:
    """Make the application, on the same log each time, as after a restart with other options."""
    return functools.partial(ApiSite, log, clock, spool)


@pytest.fixture
def site(make: Make) -> ApiSite:
    """The application with tokens of each role."""
    return make()
