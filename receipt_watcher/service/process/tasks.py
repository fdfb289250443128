"""The periodic tasks: what is done every so many seconds, in which order, and by which part.

What it promises: one thread does them, one after the other, by the monotonic clock (see `loops`): nothing expires by a
clock that has jumped. A crash in one is a restart: each begins anew.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from receipt_watcher.service.daemon_parts import DaemonParts
from receipt_watcher.service.process.deadline_clock import DeadlineClock
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.service.process.log_rescue import LogRescue
from receipt_watcher.service.process.openings import InboxOpenings
from receipt_watcher.service.process.progress import StatusReport
from receipt_watcher.web.access.wrong_tokens import LOG_SECONDS

#: Name, and every how many seconds. The README's table is compared with this one.
PERIODIC_TASKS = {
    "follow_clock": 2.0,
    "check_log": 5.0,
    "expire": 2.0,
    "settle_claims": 30.0,
    "supervise": 2.0,
    "note_alive": 15.0,
    "log_wrong_tokens": LOG_SECONDS,
    "report_status": 2.0,
    "renew_certificate": 60.0,
    "trim_pictures": 600.0,
    "end_idle_examiners": 10.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Objects that do periodic tasks, besides the parts of the daemon."""

    deadlines: DeadlineClock
    rescue: LogRescue
    openings: InboxOpenings
    status: StatusReport
    resources: HeldResources


class Tasks:
    """The work of one daemon's periodic tasks."""

    def __init__(self, parts: DaemonParts) -> None:
        self._stages = parts.stages
        self._starts = parts.shared.starts
        self._http = parts.http

    def table(self, workers: Workers) -> dict[str, Callable[[], object]]:
        """Return what does each task, by its name."""
        return {
            "follow_clock": workers.deadlines.follow_clock,
            "check_log": functools.partial(self._check_log, workers.rescue),
            "expire": self._expire,
            "settle_claims": self._settle_claims,
            "supervise": workers.openings.supervise,
            "note_alive": workers.deadlines.note_alive,
            "log_wrong_tokens": self._log_wrong_tokens,
            "report_status": workers.status.report,
            "renew_certificate": workers.resources.renew_certificate,
            "trim_pictures": self._http.pictures.trim,
            "end_idle_examiners": self._stages.pool.end_idle,
        }

    def _check_log(self, rescue: LogRescue) -> None:
        rescue.check()
        self._stages.kept_callbacks.apply(self._stages.conclude_kept)

    def _expire(self) -> None:
        """Apply what was kept, then expire what is overdue: no receipt goes out again while its callback lies here."""
        kept, conclude = self._stages.kept_callbacks, self._stages.conclude_kept
        kept.apply(conclude)
        kept.apply_to_new_jobs(conclude, may_still_come=self._starts.may_know_more)
        if self._starts.is_rebuilding:
            return
        if self._starts.has_claims:
            self._starts.has_claims = False
            self._stages.deliveries.recover("the job log had been lost or restored")
        self._stages.deadlines.expire_due()

    def _settle_claims(self) -> None:
        """Settle claims whose outcome could not be written down, as when the disk was full."""
        self._stages.deliveries.recover("its outcome could not be written down")

    def _log_wrong_tokens(self) -> None:
        self._http.wrong_callback_tokens.log_due()
        self._http.wrong_api_tokens.log_due()
