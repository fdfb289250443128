"""Bound how many threads have an examiner, and queue the others.

What it promises: no more than `most` have a place, and each thread that waits gets one. Two queues take turns, so that
callers (uploads, previews) and the backlog of the inboxes both come through; each queue is served in order. A thread
waits for one place at a time, so no inbox crowds out another one. A thread that has a place never waits for a second,
so nothing waits in a circle.

Any thread may call it. Nothing is kept on disk.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable

#: A waiting thread notices a stop so soon.
_TICK_SECONDS = 0.25


class ExaminerQueue:
    """Places for `most` at a time, until `stopping`."""

    def __init__(self, most: int, stopping: threading.Event) -> None:
        self.most = most
        self._stopping = stopping
        self._lock = threading.Lock()
        self._free = most
        self._backlog = deque[threading.Event]()
        self._callers = deque[threading.Event]()
        self._caller_was_last = False

    def take(self, *, is_caller: bool, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Wait for a place; `while_waiting` is called a few times a second.

        Raises:
            OSError: the daemon stops.
        """
        granted = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            queue = self._callers if is_caller else self._backlog
            queue.append(granted)
        try:
            while not granted.wait(_TICK_SECONDS):
                if self._stopping.is_set():
                    raise OSError(errno.ECANCELED, "the daemon is stopping")
                while_waiting()
        except BaseException:
            with self._lock:
                was_granted = granted not in queue
                if not was_granted:
                    queue.remove(granted)
            if was_granted:
                self.give_back()
            raise

    def give_back(self) -> None:
        """Give a place to the next in the queues, or keep it free."""
        with self._lock:
            is_callers_turn = bool(self._callers) and not (self._backlog and self._caller_was_last)
            queue = self._callers if is_callers_turn else self._backlog
            if queue:
                self._caller_was_last = is_callers_turn
                queue.popleft().set()
            else:
                self._free += 1
