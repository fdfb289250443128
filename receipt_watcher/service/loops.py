"""Loops: who does each stage's rounds, and until when; and the periodic tasks, by the monotonic clock.

What it promises: each loop has a thread of its own in a pool of APScheduler, so that none ever waits for another. A
loop waits for its bell, or for the next thing that is due, at most for a tick; whatever a round raises is logged, and
the loop goes on. Nothing in a pool talks to the scheduler, whose shutdown would wait for it for ever.

What is due after so many seconds is due by the monotonic clock: APScheduler's intervals are times of day, and after
the clock was set back by an hour none of them comes for an hour.

`Loops` belongs to the main thread, the rounds to the pools. A crash leaves nothing behind.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from receipt_watcher.errors import JobLogError
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: Longest sleep of any loop: the safety net if a bell is missed, and the delay until another process's work is seen.
TICK_SECONDS = 5.0

_HAND_OVER_SECONDS = 0.001

#: One round: does what is due, and returns how long to wait for the bell, in seconds.
Round = Callable[[], float]


class Loops:
    """The loops of one daemon; `stopping` ends them, once their bells are rung."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._added: list[tuple[str, Callable[[], None]]] = []
        self._scheduler: BackgroundScheduler | None = None
        self._waiter: threading.Thread | None = None

    def add(self, pool: str, bell: Bell, run_once: Round, *, at_end: Callable[[], None] = lambda: None) -> None:
        """Have rounds done by a thread of the pool of that name; `at_end` is called when the loop has ended."""

        def loop() -> None:
            self._loop(pool, bell, run_once)
            at_end()

        self._added.append((pool, loop))

    def start(self) -> None:
        """Start the loops that were added; return when each of them has its thread."""
        threads = Counter(pool for pool, _ in self._added)
        executors = {pool: ThreadPoolExecutor(number) for pool, number in threads.items()}
        # Without misfire_grace_time=None a late entry is dropped with a log line.
        defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        self._scheduler = BackgroundScheduler(executors=executors, job_defaults=defaults, timezone="UTC")
        for pool, loop in self._added:
            self._scheduler.add_job(loop, executor=pool)
        self._scheduler.start()
        # APScheduler takes its list of jobs away at a shutdown, whatever its thread is just doing with it, and prints a
        # traceback: no stop comes before each loop has been handed to its own thread.
        handed_over = threading.Event()
        while self._scheduler.get_jobs():
            handed_over.wait(_HAND_OVER_SECONDS)

    @property
    def are_started(self) -> bool:
        """Return whether they ever ran."""
        return self._scheduler is not None

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for the loops to end, so long at most; return whether they have."""
        if self._scheduler is None:
            return True
        if self._waiter is None:
            self._waiter = threading.Thread(target=self._scheduler.shutdown, name="shutdown", daemon=True)
            self._waiter.start()
        self._waiter.join(max(0.1, timeout_seconds))
        return not self._waiter.is_alive()

    def _loop(self, stage: str, bell: Bell, run_once: Round) -> None:
        """Do rounds until the daemon stops."""
        while not self._stopping.is_set():
            heard = bell.count
            try:
                pause = run_once()
            except JobLogError:  # told when it began, and by health; or we hung until our daemon had ended
                pause = TICK_SECONDS
            except Exception:
                logger.exception("stage.failed", stage=stage)
                pause = TICK_SECONDS
            bell.wait(heard, pause)


class PeriodicTasks:
    """Tasks that one loop does in the order given, each at its own interval in seconds."""

    def __init__(
        self, tasks: Mapping[str, Callable[[], object]], every: Mapping[str, float], monotonic: Callable[[], float]
    ) -> None:
        self._tasks = tasks
        self._every = every
        self._monotonic = monotonic
        self._due_at = {name: monotonic() + every[name] for name in tasks}

    def round(self) -> float:
        """Do the tasks that are due, and return how long to wait for the next one, in seconds."""
        for name in self._tasks:
            if self._due_at[name] <= self._monotonic():
                self.do(name)
                self._due_at[name] = self._monotonic() + self._every[name]
        return max(0.0, min(self._due_at.values()) - self._monotonic())

    def do(self, name: str) -> None:
        """Do one now; what it raises is logged."""
        try:
            self._tasks[name]()
        except JobLogError:  # as in `Loops._loop`
            pass
        except Exception:
            logger.exception("task.failed", task=name)
