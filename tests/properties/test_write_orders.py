"""The short form of `tests.properties.write_orders`: each file that ends whole is taken once, as it ended."""

from __future__ import annotations

from hypothesis import settings

from tests.properties.write_orders import AnyOrder

AnyOrder.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
test_whatever_writers_do = AnyOrder.TestCase
