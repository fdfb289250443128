"""The status page, and examiners that draw its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from receipt_watcher.examine.examiners import Bounds, Examiners
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.web.pages.page_site import Office


@pytest.fixture
def examiners() -> Iterator[Examiners]:
    """Yield examiners that draw pictures."""
    with Examiners(Bounds(cpu_seconds=20, memory_bytes=1024**3), kept=0) as found:
        yield found


@pytest.fixture
def office(log: JobLog, clock: FakeClock, spool: Spool, tmp_path: Path, examiners: Examiners) -> Office:
    """The pages; nothing has come yet."""
    office = Office(log, clock, spool, tmp_path, examiners)
    office.heard()
    return office
