"""The queue for examiners: bounded, fair between the backlog and callers, and free of circles."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from receipt_watcher.examine.queue import ExaminerQueue
from tests.fakes.daemons.process import wait_until


class Counter:
    """Threads that take a place each, and the order in which they got it."""

    def __init__(self, places: ExaminerQueue) -> None:
        self.places = places
        self.order: list[str] = []
        self.waiting = 0
        self._lock = threading.Lock()

    def work(self, name: str, *, is_caller: bool) -> None:
        """Take a place, note it, and give it back."""
        with self._lock:
            self.waiting += 1
        self.places.take(is_caller=is_caller)
        self.order.append(name)
        self.places.give_back()


def test_callers_and_backlog_take_turns() -> None:
    """With one place, an upload waits for one receipt of the backlog at most, and the backlog for one upload."""
    places = ExaminerQueue(1, threading.Event())
    counter = Counter(places)
    places.take(is_caller=False)
    names = [f"inbox {number}" for number in range(5)] + [f"upload {number}" for number in range(3)]
    with ThreadPoolExecutor(len(names)) as pool:
        for number, name in enumerate(names):
            pool.submit(counter.work, name, is_caller=name.startswith("upload"))
            wait_until(
                lambda number=number: len(places._callers) + len(places._backlog) == number + 1,  # type: ignore[misc]
                "it waits",
            )
        places.give_back()
    assert counter.order == [
        *("upload 0", "inbox 0", "upload 1", "inbox 1", "upload 2"),
        *("inbox 2", "inbox 3", "inbox 4"),
    ]


def test_no_more_than_allowed_have_a_place() -> None:
    """However many threads ask, never more than the bound have a place, and all get one."""
    places = ExaminerQueue(3, threading.Event())
    lock = threading.Lock()
    now = most = done = 0

    def work(number: int) -> None:
        nonlocal now, most, done
        for _ in range(50):
            places.take(is_caller=number % 4 == 0)
            with lock:
                now += 1
                most = max(most, now)
            with lock:
                now -= 1
                done += 1
            places.give_back()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))
    assert (now, done) == (0, 1000)
    assert most <= 3
    assert places._free == 3


def test_a_stop_ends_the_waiting() -> None:
    """A thread that waits when the daemon stops hears so, and keeps no place."""
    stopping = threading.Event()
    places = ExaminerQueue(1, stopping)
    places.take(is_caller=False)
    looks: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(places.take, is_caller=is_caller, while_waiting=lambda: looks.append(1))
            for is_caller in (False, True)
        ]
        wait_until(lambda: len(looks) >= 2, "both were asked while they wait")
        stopping.set()
        for each in waiting:
            with pytest.raises(OSError, match="stopping") as caught:
                each.result()
            assert caught.value.errno == errno.ECANCELED
    places.give_back()
    assert places._free == 1
