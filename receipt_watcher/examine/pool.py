"""The pool of examiners: how many processes there are, which thread has one, and which are idle.

What it promises: never more than a processor each and one more, however many inboxes and callers ask; idle ones end
after a minute. Those who ask wait in `examinerqueue`. An examiner that waits for a disk gives its place up, so an inbox
whose file system hangs keeps nobody else waiting: such processes come on top, at most one for each thread that waits.

Any thread may call it. Processes are started by one thread that stays: the kernel ends an examiner when the thread
that started it ends (prctl(2), PR_SET_PDEATHSIG). Nothing is kept on disk.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from receipt_watcher.examine.process import Bounds, Examiner, not_started
from receipt_watcher.examine.queue import ExaminerQueue
from receipt_watcher.system.cpu import leave_core, processors

#: After this many files an examiner is replaced: what libraries leak, or a hostile file left in it, goes then.
FILES_EACH = 10_000

#: An idle examiner is kept for so long. Each takes some 40 MB, and a new one 0.2 s of computing.
IDLE_SECONDS = 60.0

#: After how many looks in a row at which it waits for a disk an examiner gives its place up: two seconds.
_HANGING_LOOKS = 8


@dataclass(frozen=True, slots=True)
class Recipe:
    """The work of an examiner, and its bounds: an idle one serves only callers that ask for the same."""

    module: str
    bounds: Bounds


@dataclass(slots=True)
class _Idle:
    recipe: Recipe
    examiner: Examiner
    since: float  # on the monotonic clock


class Loan:
    """An examiner that is lent, and the place that it has."""

    def __init__(self, pool: ExaminerPool, examiner: Examiner) -> None:
        self.examiner = examiner
        self.has_place = True
        self._pool = pool
        self._hanging_looks = 0

    def yield_if_hanging(self) -> None:
        """Give the place up if the examiner only waits for a disk; called a few times a second while it is silent."""
        if self.has_place:
            self._hanging_looks = self._hanging_looks + 1 if self.examiner.waits_for_disk() else 0
            if self._hanging_looks >= _HANGING_LOOKS:
                self.has_place = False
                self._pool.free_place()


class ExaminerPool:
    """The examiners of one daemon, until `stopping`; `while_waiting` is called by each thread that waits for one."""

    def __init__(
        self,
        stopping: threading.Event,
        *,
        most: int | None = None,
        while_waiting: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._stopping = stopping
        self._places = ExaminerQueue(processors() + 1 if most is None else most, stopping)
        self._while_waiting = while_waiting
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._busy = 0  # with a place
        self._idle: list[_Idle] = []
        self._ending: list[Examiner] = []
        self._starter: ThreadPoolExecutor | None = None
        self._is_closed = False

    @property
    def most(self) -> int:
        """The most processes that there may be."""
        return self._places.most

    def close(self) -> None:
        """End all examiners; harmless when called twice."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            starter, self._starter = self._starter, None
        for unused in idle:
            unused.examiner.end()
        if starter is not None:
            starter.shutdown()

    def end_idle(self) -> None:
        """End the examiners that have been idle for a minute."""
        now = self._monotonic()
        with self._lock:
            old = [unused for unused in self._idle if now - unused.since >= IDLE_SECONDS]
            self._idle = [unused for unused in self._idle if now - unused.since < IDLE_SECONDS]
        for unused in old:
            self._end(unused.examiner)

    @contextlib.contextmanager
    def lend(self, recipe: Recipe, *, is_caller: bool, is_fresh: bool, kept: int | None = None) -> Iterator[Loan]:
        """Lend an examiner: a fresh one has seen no other file. One with which anything went wrong is not used again.

        At most `kept` examiners stay idle afterwards; None for all that there may be.

        Raises:
            OSError: the daemon stops, or none can be started.
        """
        self._places.take(is_caller=is_caller, while_waiting=self._while_waiting)
        with self._lock:
            self._busy += 1
        loan: Loan | None = None
        is_kept = False
        try:
            examiner = None if is_fresh else self._idle_one(recipe)
            loan = Loan(self, examiner or self._started(recipe))
            try:
                yield loan
                is_kept = loan.has_place and loan.examiner.files < FILES_EACH and self._keep_idle(recipe, loan, kept)
            finally:
                if not is_kept:
                    self._end(loan.examiner)
        finally:
            if not is_kept and (loan is None or loan.has_place):
                self.free_place()

    def free_place(self) -> None:
        """Give the place to the next thread that waits."""
        with self._lock:
            self._busy -= 1
        self._places.give_back()

    def _keep_idle(self, recipe: Recipe, loan: Loan, kept: int | None) -> bool:
        """Keep an examiner for the next file, and let its place go; False if it is one too many."""
        with self._lock:
            if self._is_closed or (kept is not None and len(self._idle) >= kept):
                return False
            self._busy -= 1
            self._idle.append(_Idle(recipe, loan.examiner, self._monotonic()))
        self._places.give_back()
        return True

    def _idle_one(self, recipe: Recipe) -> Examiner | None:
        """Return the idle one that was used last; drop silently those that were ended from outside."""
        while True:
            with self._lock:
                idle = next((unused for unused in reversed(self._idle) if unused.recipe == recipe), None)
                if idle is None:
                    return None
                self._idle.remove(idle)
            if not idle.examiner.has_ended:
                return idle.examiner
            idle.examiner.end()

    def _started(self, recipe: Recipe) -> Examiner:
        """Start an examiner, in the place of an idle one if there are enough.

        Raises:
            OSError: that is not possible now.
        """
        with self._lock:
            if self._is_closed:
                raise OSError(errno.ECANCELED, "the daemon is stopping")
            excess = self._idle[: max(0, self._busy + len(self._idle) - self.most)]
            self._idle = self._idle[len(excess) :]
            starter = self._starter = self._starter or ThreadPoolExecutor(1, "examiners", initializer=leave_core)
        for unused in excess:
            self._end(unused.examiner)
        try:
            examiner = starter.submit(Examiner, recipe.module, recipe.bounds).result()
        except OSError as error:
            raise not_started(error) from error
        except RuntimeError as error:  # no thread can be started, and what was submitted would wait for one
            with self._lock:
                self._starter = None if self._starter is starter else self._starter
            starter.shutdown(wait=False, cancel_futures=True)
            raise not_started(error) from error
        try:
            examiner.await_start(self._stopping)
        except BaseException:
            self._end(examiner)
            raise
        return examiner

    def _end(self, examiner: Examiner) -> None:
        """End an examiner, and forget the earlier ones that have ended by now."""
        examiner.end()
        with self._lock:
            self._ending = [process for process in (*self._ending, examiner) if not process.has_ended]
