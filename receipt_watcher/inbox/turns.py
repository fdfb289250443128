"""Turns at the gate of one inbox: the folder's rounds and the uploads work there one at a time, and both come through.

What it promises: while both want a turn, they have it one after the other; so a round waits for one upload at most, and
each upload that ends lets the next one in after one round at most. A round never waits in here: it is told to come
again, and its place is kept until then, or until `end_rounds`.

Any thread may call it. Nothing is kept on disk.
"""

from __future__ import annotations

import threading


class Turns:
    """Who may work now."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_taken = False
        self._round_waits = False
        self._round_was_last = False
        self._has_rounds = True
        self.waiting = 0

    def take_round(self) -> bool:
        """Begin a round; where it is somebody else's turn, return False and keep the next one for a round."""
        with self._changed:
            self._round_waits = self._has_rounds and (self._is_taken or (self._round_was_last and self.waiting > 0))
            if self._round_waits or self._is_taken:
                return False
            self._is_taken = self._round_was_last = True
            return True

    def take(self, wait_seconds: float | None = None) -> bool:
        """Wait for a turn that is no round and begin it; False where none came within so many seconds."""
        with self._changed:
            self.waiting += 1
            try:
                if not self._changed.wait_for(self._is_free, wait_seconds):
                    return False
            finally:
                self.waiting -= 1
            self._is_taken, self._round_was_last = True, False
            return True

    def _is_free(self) -> bool:
        return not self._is_taken and (self._round_was_last or not self._round_waits)

    def take_if_free(self) -> bool:
        """Begin a turn where nobody has one; it counts for neither side."""
        with self._changed:
            is_ours = not self._is_taken
            self._is_taken = True
            return is_ours

    def give_back(self) -> None:
        """End the turn."""
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()

    def end_rounds(self) -> None:
        """Say that no more rounds come, so that nobody waits for one."""
        with self._changed:
            self._has_rounds = self._round_waits = False
            self._changed.notify_all()
