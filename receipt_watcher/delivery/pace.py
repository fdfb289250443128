"""A token bucket that holds one token, and is asked with the time. Pure; one thread at a time.

At most one missed interval is made up: two go at once at the most, and in any time span one for each interval in it,
and two more.
"""

from __future__ import annotations


class Pace:
    """So many a minute."""

    def __init__(self, per_minute: float) -> None:
        self._interval_seconds = 60 / per_minute
        self._next_at: float | None = None

    def wait_seconds(self, now: float) -> float:
        """Return how long the next one has to wait; 0 where it may go. A clock that was set back makes none wait."""
        ahead = 0.0 if self._next_at is None else self._next_at - now
        return ahead if 0 < ahead < 2 * self._interval_seconds else 0.0

    def take(self, now: float) -> None:
        """Note that one has gone."""
        due_at = now if self._next_at is None else self._next_at
        is_near = abs(due_at - now) <= self._interval_seconds
        self._next_at = (due_at if is_near else now) + self._interval_seconds
