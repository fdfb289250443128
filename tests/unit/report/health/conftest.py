"""The parts of a daemon, for what reports on its health."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from receipt_watcher.service.daemon_parts import DaemonParts
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import RunningDaemon
from tests.fakes.daemons.unstarted import unstarted_parts

URL = "http://n8n.office.lan/webhook/secret"


@pytest.fixture
def parts(tmp_path: Path, clock: FakeClock) -> Iterator[DaemonParts]:
    """The parts of a daemon that does nothing, its log and its inbox being open."""
    config_file = RunningDaemon(tmp_path, URL, TOKEN).config_file
    for folder in ("processing", "done", "failed"):
        (tmp_path / folder).mkdir()
    with unstarted_parts(config_file, clock) as parts:
        parts.shared.log.database.open()
        parts.stages.routes[0].is_ready = True
        yield parts
