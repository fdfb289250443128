"""The Retry-After header is read in each of its forms, in any time zone."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.delivery.destinations import Deferred
from receipt_watcher.delivery.destinations.http_client import Answer
from receipt_watcher.delivery.destinations.n8n.webhook import outcome_of
from tests.unit.delivery.destinations.receipts_to_send import NOW


@pytest.fixture(params=["UTC", "Pacific/Auckland"])
def somewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two time zones in turn."""
    with monkeypatch.context() as context:
        context.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("somewhere")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 59.5),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 59.5),
        ("Tue Nov 14 22:14:20 2023", 59.5),
        ("Tue, 14 Nov 2000 22:14:20 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("７", None),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    """Retry-After is read as seconds or as any of HTTP's three dates (RFC 9110, 5.6.7), wherever we are."""
    outcome = outcome_of(Answer(503, {"retry-after": value}, "", 0.1), NOW)
    assert isinstance(outcome, Deferred)
    assert outcome.retry_after_seconds == seconds


@given(st.one_of(st.text(), st.from_regex(r"\A[0-9]{1,400}\Z"), st.text("0123456789 :,-+GMTNovTue", max_size=40)))
def test_retry_after_breaks_nothing(value: str) -> None:
    """Whatever stands in Retry-After, it is a number of seconds or nothing."""
    outcome = outcome_of(Answer(429, {"retry-after": value}, "", 0.1), NOW)
    assert isinstance(outcome, Deferred)
    seconds = outcome.retry_after_seconds
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
