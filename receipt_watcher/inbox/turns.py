"""Turns at the gate of one inbox: the folder's rounds and the uploads work there one at a time, and both come through.

The one that has the turn asks the file system, which must answer in time: `AnswerLimit` says by when.

What it promises: while both want a turn, they have it one after the other; so a round waits for one upload at most, and
each upload that ends lets the next one in after one round at most. A round never waits in here: it is told to come
again, and its place is kept until then, or until `end_rounds`.

Any thread may call it. Nothing is kept on disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

#: The file system may answer nothing for so long: while a folder is read, and while a receipt is moved. By taste:
#: a share that is slow answers each call within a second, but a copy across file systems is one long call.
LOOK_LIMIT_SECONDS = 5.0
MOVE_LIMIT_SECONDS = 60.0


class Turns:
    """The turn of one thread, and those that wait for it."""

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


class AnswerLimit:
    """By when the file system must have answered the thread that has the turn.

    `locked_at` returns when another program last kept the job log locked. Both are on the monotonic clock.
    """

    def __init__(self, monotonic: Callable[[], float], locked_at: Callable[[], float]) -> None:
        self.worked_at = monotonic()  # when the gate last went on
        self._monotonic = monotonic
        self._locked_at = locked_at
        self._answers_by: float | None = None
        self._worker: int | None = None  # the thread that asks

    def expect(self, seconds: float = LOOK_LIMIT_SECONDS) -> None:
        """Note that the calling thread asks the file system now, which must have answered after so many seconds."""
        self._worker = threading.get_ident()
        self.worked_at = self._monotonic()
        self._answers_by = self.worked_at + seconds

    def expect_move(self) -> None:
        """Note the same of a receipt that is read or moved, which may be one long call."""
        self.expect(MOVE_LIMIT_SECONDS)

    def end(self) -> None:
        """Note that nothing is asked any more."""
        self._answers_by = None

    def note_work(self) -> None:
        """Note that the gate goes on."""
        self.worked_at = self._monotonic()

    def restart_for_examiner(self) -> None:
        """Give the file system its whole time again, if it is the calling thread that asks, and waits for another."""
        if self._answers_by is not None and self._worker == threading.get_ident():
            self.expect_move()

    @property
    def is_exceeded(self) -> bool:
        """Whether the file system has not answered in time, and still has not."""
        answers_by = self._answers_by
        if answers_by is None:
            return False
        # While another program keeps the log locked, it is the log that we wait for.
        return self._monotonic() > max(answers_by, self._locked_at() + LOOK_LIMIT_SECONDS)
