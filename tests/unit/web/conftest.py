"""The application, a receipt that N8N has accepted, and the address of a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.web.callback_site import Site, served


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> Site:
    """The application, whose destination has called back before."""
    site = Site(log, clock, spool)
    site.heard()
    return site


@pytest.fixture
def job(site: Site) -> Job:
    """A receipt that N8N has accepted."""
    return site.accepted()[0]


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    """The address of the real server before the application."""
    with served(site) as address:
        yield address
