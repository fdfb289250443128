"""Dates select the receipts of a balance in the office's time zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from receipt_watcher.report.balance.findings import selection_of


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The office's clock shows the time of Berlin."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOW = datetime(2026, 11, 21, 8, 30)  # noqa: DTZ001 - what the office's clock shows


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ("2026-11-01", "2026-11-30", "2026-11-01T00:00+01:00", "2026-12-01T00:00+01:00"),
        ("2026-11-01T12:00", "2026-11-01T12:30", "2026-11-01T12:00+01:00", "2026-11-01T12:30+01:00"),
        ("2026-11-01T12:00Z", None, "2026-11-01T13:00+01:00", None),
        ("yesterday", "Today", "2026-11-20T00:00+01:00", "2026-11-22T00:00+01:00"),
        ("2026-10-25", "2026-10-25", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        (None, None, None, None),
    ],
)
def test_dates(since: str | None, until: str | None, first: str | None, last: str | None) -> None:
    """Days are those of the office, however long they are, and the last one counts whole."""
    found = selection_of(since, until, None, NOW)
    expected = [None if at is None else datetime.fromisoformat(at).timestamp() for at in (first, last)]
    assert [found.since, found.until] == expected


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("tomorrow", None),
        ("1.11.2026", None),
        (None, ""),
        ("2026-13-01", None),
        (None, "9999-12-31"),
        ("today", "2026"),
    ],
)
def test_no_dates(since: str | None, until: str | None) -> None:
    """What is no date is refused with the forms that are."""
    with pytest.raises(ValueError, match="write 2026-11-01"):
        selection_of(since, until, None, NOW)


def test_an_empty_range() -> None:
    """A range that ends before it begins is a mistake, not an empty balance."""
    with pytest.raises(ValueError, match="before the beginning"):
        selection_of("today", "yesterday", None, NOW)
