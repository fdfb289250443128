"""Offices in an outage, and mounts that are torn away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.fakes.mounts import Mounts
from tests.scenarios.outage_office import DEFAULTS, Office
from tests.unit.delivery.conftest import other_spool
from tests.unit.delivery.worker_world import FakeDestination, route_to

__all__ = ["other_spool"]  # a fixture


@pytest.fixture
def office(log: JobLog, spool: Spool, clock: FakeClock) -> Office:
    """One inbox with the default settings, whose N8N has called back before."""
    world = Office(log, clock, route_to(FakeDestination(), spool), settings=DEFAULTS)
    world.heard()
    return world


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """A mount namespace of its own."""
    try:
        namespace = Mounts()
    except OSError as error:
        pytest.skip(str(error.strerror))
    with namespace:
        yield namespace
