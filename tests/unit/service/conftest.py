"""Systemd's side of the notify socket."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import pytest

from tests.unit.service.systemd_service import FakeSystemd


@pytest.fixture
def systemd() -> Iterator[FakeSystemd]:
    """Somebody who listens, on an abstract socket."""
    with contextlib.closing(FakeSystemd(f"@receipt-watcher-{uuid.uuid4().hex}")) as fake:
        yield fake
