"""The daemon's own balance: after each recovery and once a day, in the background, reported in one log line.

What it promises: it delays no receipt (the least priority, a pause after each page), ends within a moment when the
daemon stops, and asks nothing of an inbox that is away; that one is proven when it has opened again. What changed
since the last balance is hashed (by the log, and by the file's own change time), and what disagreed then; of
everything else existence and size are looked at, so that no start reads a whole archive. The command `balance` hashes
all. What somebody took out of done/ is warned of once, when it is noticed: archiving is no mistake.

Called in a loop of its own, by its own thread. A crash leaves the last result; the next start begins anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Sequence

import structlog

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.report.balance.balance import Balance
from receipt_watcher.report.balance.findings import ABSENT, BalanceSums, Finding
from receipt_watcher.report.balance.last_result import LastBalance, keep_balance, last_balance

logger = structlog.get_logger()

DAY_SECONDS = 86400.0

#: It is looked so often whether a balance is due.
LOOK_SECONDS = 60.0

#: The clock of a file server may be off by so much: change times are its own.
_SKEW_SECONDS = 3600.0

#: After each page, so that others get the job log and the disk.
_PAUSE_SECONDS = 0.02

#: So many disagreements are remembered, to be hashed again; with more of them nothing counts as hashed.
_REMEMBERED = 1000

#: So many are named in the log line.
_NAMED = 5


class Audit:
    """Makes a balance when one is due; `run_once` is called again and again."""

    def __init__(
        self,
        log: JobLog,
        inboxes: Sequence[Inbox],
        *,
        ready: Callable[[], set[str]],
        stopping: threading.Event,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._log = log
        self._inboxes = inboxes
        self._ready = ready
        self._stopping = stopping
        self._clock = clock
        self._monotonic = monotonic
        self._checked_at: float | None = None
        self._proven: set[str] = set()  # inboxes that were open in a balance of this day

    def run_once(self) -> float:
        """Make a balance if a day has passed or an inbox has opened since; return how long to wait, in seconds."""
        ready = self._ready()
        if self._checked_at is not None and self._monotonic() - self._checked_at >= DAY_SECONDS:
            self._proven = set()
        if ready - self._proven:
            self._checked_at = self._monotonic()
            self._proven |= ready
            self._check(ready)
        return LOOK_SECONDS

    def _check(self, ready: set[str]) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # of this thread, and of those it starts
        before, began_at = last_balance(self._log), self._clock()
        away = frozenset(inbox.name for inbox in self._inboxes) - ready
        sums = Balance(
            self._log,
            self._inboxes,
            wait=self._stopping.wait,
            stopping=self._stopping,
            is_hash_due=_due_since(before),
            show_progress=self._pause,
        ).run(Selection(but=away))
        if self._stopping.is_set():
            return
        self._store_result(sums, before, began_at, is_whole=not away)
        _give_memory_back()
        self._log_result(sums, before, away, self._clock() - began_at)

    def _pause(self, _count: int) -> None:
        self._stopping.wait(_PAUSE_SECONDS)

    def _store_result(self, sums: BalanceSums, before: LastBalance | None, began_at: float, *, is_whole: bool) -> None:
        known = before.hashed_at if before else None
        again = [receipt.job_id for receipt in sums.named if receipt.job_id and receipt.finding not in ABSENT]
        is_all_known = is_whole and not sums.findings[Finding.UNREACHABLE] and len(again) <= _REMEMBERED
        last = LastBalance(
            at=began_at,
            received=sums.received,
            wrong=sums.wrong,
            absent=sums.absent,
            hashed_at=began_at if is_all_known else known,
            again=again[:_REMEMBERED],
            names=_names(sums),
        )
        keep_balance(self._log, last)

    def _log_result(self, sums: BalanceSums, before: LastBalance | None, away: frozenset[str], seconds: float) -> None:
        newly_absent = max(0, sums.absent - (before.absent if before else 0))
        fields: dict[str, object] = {
            "received": sums.received,
            **sums.summands(),
            **{finding.value: number for finding, number in sums.findings.items()},
            "hashed": sums.hashed,
            "seconds": round(seconds, 1),
        }
        if away:
            fields["left_out"] = ", ".join(sorted(away))
        if not sums.wrong and not newly_absent:
            logger.info("balance.checked", **fields)
            return
        logger.warning(
            "balance.disagrees", **fields, names="; ".join(_names(sums)), advice="receipt-watcher balance names all"
        )


def _names(sums: BalanceSums) -> list[str]:
    named = [receipt for receipt in sums.named if sums.wrong == 0 or receipt.finding not in ABSENT]
    return [f"{receipt.finding.value}: {receipt.line()}" for receipt in named[:_NAMED]]


def _due_since(before: LastBalance | None) -> Callable[[Job, os.stat_result], bool]:
    """Return what tells whether a file is to be hashed: it changed since then, or it disagreed then."""
    if before is None or before.hashed_at is None:
        return lambda _job, _status: True
    since, again = before.hashed_at, frozenset(before.again)

    def is_due(job: Job, status: os.stat_result) -> bool:
        return job.updated_at >= since or status.st_ctime >= since - _SKEW_SECONDS or job.job_id in again

    return is_due


def _give_memory_back() -> None:
    """Let the system have what a balance took: the C library keeps it, for each of its threads, as long as we live."""
    with contextlib.suppress(AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)
