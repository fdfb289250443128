"""A pool of examiners as the daemon has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from receipt_watcher.examine.examiners import Bounds, Examiners


@pytest.fixture
def genuine() -> Iterator[Examiners]:
    """Examiners as the daemon has them."""
    with Examiners(Bounds(cpu_seconds=20, memory_bytes=1024**3)) as found:
        yield found
