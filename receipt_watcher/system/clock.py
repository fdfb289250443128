"""The time of day for the job log, without the jumps of the system's clock.

Deadlines and pauses are kept as times of day, so that they outlive a restart, but must last as long as they say: an
admin who sets the clock, a Raspberry Pi that learns the time a minute after it was started, or a machine that slept
must neither expire a receipt early nor forget one. So the time of day runs on the monotonic clock from where it
stood: that is never set, and stands still while the machine sleeps (clock_gettime(2), CLOCK_MONOTONIC).

`SteadyClock` is called by any thread. The daemon looks for a jump every two seconds, moves every time that is still
to come by it, and then lets the clock follow, so that the log's times are those on the wall again. After a crash the
next start begins with the system's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: A smaller difference is nobody's concern; network time slews the clock, and monotonic time with it. By taste.
JUMP_SECONDS = 1.0


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class SteadyClock:
    """Returns Unix seconds when called."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        boot_time: Callable[[], float] = _boot_time,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._boot_time = boot_time
        self._offset = wall() - monotonic()
        self._asleep = boot_time() - monotonic()

    def __call__(self) -> float:
        """Return the time of day, in Unix seconds."""
        return self._monotonic() + self._offset

    def jump_seconds(self) -> float:
        """Return by how much the system's clock was set, forward or back, or the machine slept; 0 for neither."""
        jump = self._wall() - self()
        return jump if abs(jump) >= JUMP_SECONDS else 0.0

    def asleep_seconds(self) -> float:
        """Return how long the machine has slept since `follow` was last called (clock_gettime(2), CLOCK_BOOTTIME)."""
        return max(0.0, self._boot_time() - self._monotonic() - self._asleep)

    def follow(self, jump_seconds: float) -> None:
        """Stand where the system's clock stands, which has jumped so far."""
        self._offset += jump_seconds
        self._asleep = self._boot_time() - self._monotonic()
