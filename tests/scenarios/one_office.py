"""A daemon with one inbox that sends to the stand-in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Folder
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, assert_consistent

API_KEY = "the-key-that-nobody-may-read"
ACCEPTED = Behaviour(verdict=None)
FAILING = Behaviour(verdict="failure", message="The supplier is unknown.")


def office(root: Path, n8n: StandIn, **options: Any) -> RunningDaemon:
    """Return a daemon with one inbox that sends to the stand-in."""
    return RunningDaemon(root, n8n.webhook_url, TOKEN, **options)


def assert_arrived(daemon: RunningDaemon, n8n: StandIn, contents: Sequence[bytes]) -> None:
    """Each arrived exactly once, byte for byte, and is in done/."""
    daemon.wait_quiet(len(contents))
    jobs = assert_consistent(daemon, n8n.deliveries, contents)
    assert Counter(delivery.content for delivery in n8n.deliveries) == Counter(contents)
    assert {job.folder for job in jobs.values()} == {Folder.DONE}
