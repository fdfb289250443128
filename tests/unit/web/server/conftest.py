"""The application with two callback tokens, and real servers before it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.server.admission import Admission
from tests.conftest import TOKEN, FakeClock
from tests.unit.web.callback_site import Site
from tests.unit.web.server.hostile_site import OLD_TOKEN, Listening, Open


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> Site:
    """The application, whose destination has called back before; nobody waits for a delayed answer."""

    async def at_once(_: float) -> None:
        """Do not wait."""

    site = Site(log, clock, spool, CallbackTokens(TOKEN, OLD_TOKEN), at_once)
    site.heard()
    return site


@pytest.fixture
def listen(site: Site, caplog: pytest.LogCaptureFixture) -> Iterator[Open]:
    """Start servers; in the end nothing was logged by uvicorn or asyncio, where tracebacks would be."""
    opened: list[Listening] = []

    def open_one(admission: Admission | None = None) -> Listening:
        opened.append(Listening(site, admission))
        return opened[-1]

    with caplog.at_level(logging.WARNING):
        yield open_one
        for each in opened:
            each.server.stop(5)
            assert not each.server.is_alive()
    assert [record.getMessage() for record in caplog.records] == []
