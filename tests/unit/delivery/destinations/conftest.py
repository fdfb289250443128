"""HTTP clients with time to spare, and tries without pauses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from receipt_watcher.delivery.destinations import http_client as module
from receipt_watcher.delivery.destinations.http_client import Outbound


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(module, "_TRY_PAUSE_SECONDS", 0.001)


@pytest.fixture
def near() -> Iterator[Outbound]:
    """A client with time to spare."""
    with Outbound(timeout_seconds=20, connections=4) as outbound:
        yield outbound


@pytest.fixture
def outbound() -> Iterator[Outbound]:
    """A real client."""
    with Outbound(timeout_seconds=10, connections=4) as client:
        yield client
