"""The parts of a daemon that is built as the program builds it, and not started."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from receipt_watcher.config.sources.load import load
from receipt_watcher.service import wiring
from receipt_watcher.service.daemon_parts import DaemonParts
from receipt_watcher.service.process.daemon import Daemon
from receipt_watcher.service.process.held_resources import HeldResources
from tests.conftest import FakeClock


@contextlib.contextmanager
def unstarted_parts(config_file: Path, clock: FakeClock) -> Iterator[DaemonParts]:
    """Lend the parts, with the state folder locked and the port bound, and close them at the end."""
    config = load(config_file, {})
    resources = HeldResources(config.state_dir)
    try:
        resources.take(config.http)
        parts = wiring.build(config, resources, wall=clock, monotonic=clock)
        try:
            yield parts
        finally:
            Daemon(parts, resources).stop()
    finally:
        resources.release()
