"""The short form of `tests.any_order`: whatever writers do, each file that ends whole is taken once, as it ended."""

from __future__ import annotations

from hypothesis import settings

from tests.any_order import AnyOrder

AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
test_whatever_writers_do = AnyOrder.TestCase
