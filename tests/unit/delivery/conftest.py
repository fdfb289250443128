"""The worlds in which a worker delivers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from tests.conftest import INSTALLATION, FakeClock
from tests.unit.delivery.worker_world import (
    FakeDestination,
    World,
    route_to,
)


@pytest.fixture
def world(log: JobLog, spool: Spool, clock: FakeClock) -> World:
    """One inbox and its destination, which never called back yet."""
    return World(log, clock, route_to(FakeDestination(), spool))


@pytest.fixture
def known(world: World) -> World:
    """The same, with a destination that has called back before."""
    world.heard()
    return world


@pytest.fixture
def other_spool(tmp_path: Path) -> Iterator[Spool]:
    """The spool of a second inbox."""
    root = tmp_path / "other"
    (root / "inbox").mkdir(parents=True)
    spool = Spool("other", SpoolFolders(root / "inbox", root / "processing", root / "done", root / "failed"))
    spool.open(INSTALLATION)
    yield spool
    spool.close()
