"""The pace at which a queue drains."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.delivery.pace import Pace


def test_one_goes_in_each_interval() -> None:
    """The first goes at once, each further one an interval later."""
    pace = Pace(30)
    assert pace.wait_seconds(100) == 0
    pace.take(100)
    assert [pace.wait_seconds(now) for now in (100, 101, 101.5, 102, 200)] == [2, 1, 0.5, 0, 0]


def test_a_late_one_costs_the_pace_nothing() -> None:
    """Who comes a little late does not make the next one late, too; who comes much later begins anew."""
    pace = Pace(60)
    for now, wait in ((100.0, 1.0), (101.25, 0.75), (150.0, 1.0)):
        pace.take(now)
        assert pace.wait_seconds(now) == wait


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    """No wait is longer than the interval, wherever the clock goes."""
    pace = Pace(60)
    pace.take(10_000)
    assert pace.wait_seconds(5_000) == 0


def test_one_that_goes_an_interval_early_is_made_up_for() -> None:
    """Of two at once, the second is an interval early, so the third waits two intervals, less what has passed."""
    pace = Pace(60)
    pace.take(100)
    pace.take(100)
    assert pace.wait_seconds(100.5) == 1.5


def test_a_wait_is_always_shorter_than_two_intervals() -> None:
    """A wait of two intervals or more can come only from a clock that was set back: nobody waits."""
    pace = Pace(60)
    pace.take(100)
    assert pace.wait_seconds(98.5) == 0
    assert pace.wait_seconds(99) == 0
    assert pace.wait_seconds(99.5) == 1.5


@given(st.lists(st.floats(0, 10), max_size=60), st.sampled_from([1.0, 7.5, 60.0, 1000.0]))
def test_never_more_than_the_pace(pauses: list[float], per_minute: float) -> None:
    """However often it is asked, in no span of time do more go than it has intervals, and two."""
    pace, now, gone = Pace(per_minute), 1_700_000_000.0, list[float]()
    for pause in pauses:
        now += pause
        if pace.wait_seconds(now) == 0:
            pace.take(now)
            gone.append(now)
    for first in range(len(gone)):
        for last in range(first, len(gone)):
            assert last - first + 1 <= (gone[last] - gone[first]) * per_minute / 60 + 2.000001


@given(st.floats(0.1, 1000), st.integers(1, 30))
def test_who_waits_as_told_may_go(per_minute: float, count: int) -> None:
    """After the wait that it names one may go: nobody waits for ever, whatever the rounding."""
    pace, now = Pace(per_minute), 1_700_000_000.0
    for _ in range(count):
        now += pace.wait_seconds(now) + 1e-6
        assert pace.wait_seconds(now) == 0
        pace.take(now)
