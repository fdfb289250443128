"""The bell by which one stage wakes another."""

from __future__ import annotations

import threading


class Bell:
    """Wakes loops. A loop notes `count` before it looks for work, so that no ring in between is missed."""

    def __init__(self) -> None:
        self.count = 0
        self._condition = threading.Condition()

    def ring(self, most: int | None = None) -> None:
        """Wake whoever waits; `most` of them, where there is not more to do: each goes on until nothing is left."""
        with self._condition:
            self.count += 1
            if most is None:
                self._condition.notify_all()
            else:
                self._condition.notify(most)

    def wait(self, heard: int, timeout_seconds: float) -> None:
        """Return when the bell was rung after `heard` was noted, or when the time is over."""
        with self._condition:
            if self.count == heard and timeout_seconds > 0:
                self._condition.wait(timeout_seconds)
