"""Overview of a running daemon: what systemd, the status page, notices and `run --once` ask of it.

What it promises: it changes nothing and keeps nothing; each answer is put together from what the parts say of
themselves now. If the job log does not answer, a question to it raises a JobLogError.

Any thread may ask. A crash leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from receipt_watcher.config.options import Config
from receipt_watcher.delivery.naming import branch_keys_of, names_of
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.report import status_line
from receipt_watcher.report.closed_windows import closed_windows
from receipt_watcher.report.health.troubles import CHECKED, Trouble, TroubleKind, TroubleList


class DaemonOverview:
    """The state of one daemon; `gates` are those of the configured inboxes, in their order."""

    def __init__(
        self,
        config: Config,
        log: JobLog,
        holds: Holds,
        gates: Sequence[Gate],
        troubles: TroubleList,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._names = names_of(config)
        self._log = log
        self._holds = holds
        self._routes = [gate.route for gate in gates]
        self._gates = gates
        self._troubles = troubles
        self._clock = clock

    def in_one_line(self) -> str:
        """Return what is done now, for `systemctl status`."""
        keys = [branch.key for route in self._routes for branch in route.branches]
        held = {state.url: state.held_since for state in self._holds.all() if state.is_held}
        own_words = (TroubleKind.HOLD, TroubleKind.INBOX)
        return status_line.in_one_line(
            self._log.statistics.count(keys, State.QUEUED),
            self._log.statistics.count(keys, State.DELIVERING, State.PROCESSING),
            {name: held[url] for url, name in self._names.by_url.items() if url in held},
            [gate.route.name for gate in self._gates if gate.state.unavailable],
            lambda at: datetime.fromtimestamp(at).astimezone(self._config.notify.zone).strftime("%H:%M"),
            troubles=[trouble.short for trouble in self.troubles() if trouble.kind not in own_words],
        )

    def waiting(self) -> dict[str, str]:
        """Return what waits as it should, by name: for a delivery window, or because an admin holds it."""
        now, names = self._clock(), self._names
        held = {
            f"hold:{names.held(hold)}": f"{what} is held by hand since {iso_time(hold.since)}{hold.words}"
            for hold in self._log.manual_holds.all()
            if (what := names.held_in_words(hold))
        }
        closed = [
            window for inbox in self._config.inboxes for window in closed_windows(self._config, inbox, self._log, now)
        ]
        return held | {f"deliver_when:{window.branch}": f"{window.queued} receipts {window.words}" for window in closed}

    def troubles(self) -> list[Trouble]:
        """Return what is wrong, the worst first."""
        return self._troubles.all()

    def troubles_to_look_at(self) -> dict[str, str]:
        """Return what a person should look at, and no check of health tells of, by name."""
        return {trouble.key: trouble.text for trouble in self.troubles() if trouble.kind not in CHECKED}

    def inbox_states(self) -> list[InboxState]:
        """Return how the inboxes are, for notices and for the status page."""
        now = self._clock()
        return [
            replace(gate.state, closed=tuple(closed_windows(self._config, inbox, self._log, now)))
            for inbox, gate in zip(self._config.inboxes, self._gates, strict=True)
        ]

    def is_quiet(self) -> bool:
        """Whether nothing is left to settle, to take in, to deliver, to hear of, or to file."""
        if not all(gate.is_idle or gate.state.unavailable for gate in self._gates):
            return False
        names = [route.name for route in self._routes if route.is_ready]
        if self._log.statistics.open_jobs_of(names) > self._waiting_for_windows() or self._log.files.due_moves(
            names, 1
        ):
            return False
        return all(gate.is_idle or gate.state.unavailable for gate in self._gates)

    def _waiting_for_windows(self) -> int:
        """Return how many receipts nothing will be done for before a delivery window opens, or a hold by hand ends."""
        now = self._clock()
        ready = [route for route in self._routes if route.is_ready]
        names = {route.name for route in ready}
        queued = {
            closed.branch: closed.queued
            for inbox in self._config.inboxes
            for closed in closed_windows(self._config, inbox, self._log, now)
            if inbox.name in names
        }
        for hold in self._log.manual_holds.all():
            queued |= {
                branch: self._log.statistics.count([branch], State.QUEUED)
                for branch in branch_keys_of(ready, hold.name)
            }
        return sum(queued.values())
