"""The queue of each destination, read from the job log when `claims` asks for it.

Read inside a transaction, it stays as it is until the claim is made. It is made anew for each decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from receipt_watcher.config.branches import Branch
from receipt_watcher.delivery.pace import Pace
from receipt_watcher.jobs.log.holds import DestinationState, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.route import InboxRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedQueue:
    """The queue of one destination at `now`, as the job log has it: the jobs of `branches`, whose spools are open."""

    log: JobLog
    holds: Holds
    url: str
    branches: Sequence[Branch]
    now: float
    pace: Pace | None
    served: str | None
    may_send_more: Callable[[], bool]

    @property
    def inboxes(self) -> dict[str, list[str]]:
        """The branches whose window is open, by inbox."""
        inboxes: dict[str, list[str]] = {}
        for branch in self.branches:
            if self._is_open(branch):
                inboxes.setdefault(branch.inbox, []).append(branch.key)
        return inboxes

    @property
    def due_at(self) -> float | None:
        """The time when the next job of those is due; None if none is queued."""
        return self.log.lookups.next_due(self._keys)

    @property
    def opens_at(self) -> float | None:
        """The time when the next job whose window is closed now may go out; None if none is queued."""
        closed = [branch for branch in self.branches if not self._is_open(branch)]
        times = [
            max(due_at, branch.opens_at(self.now))
            for branch in closed
            if (due_at := self.log.lookups.next_due([branch.key])) is not None
        ]
        return min(times, default=None)

    @property
    def is_due(self) -> bool:
        """Return whether a job is due whose window is open."""
        due_at = self.due_at
        return due_at is not None and due_at <= self.now

    @property
    def is_held_by_hand(self) -> bool:
        """Return whether an admin holds the destination."""
        return self.log.manual_holds.of_destination(self.url) is not None

    @property
    def state(self) -> DestinationState:
        """Return whether it is held, and what it last did."""
        return self.holds.of(self.url)

    @property
    def oldest_due_id(self) -> str | None:
        """The id of the due job that came first; None if none is due."""
        oldest = self.log.lookups.oldest_due(self._keys, self.now)
        return None if oldest is None else oldest.job_id

    @property
    def has_free_worker(self) -> bool:
        """Return whether fewer receipts are being sent than there may be."""
        return self.may_send_more()

    @property
    def is_sending(self) -> bool:
        """Return whether a job of this destination is being sent."""
        return self.log.statistics.count(self._keys, State.DELIVERING) > 0

    @property
    def is_unanswered(self) -> bool:
        """Return whether a job of this destination is being sent, or waits for its callback."""
        return self.log.statistics.count(self._keys, State.DELIVERING, State.PROCESSING) > 0

    @property
    def _keys(self) -> list[str]:
        return [branch.key for branch in self.branches if self._is_open(branch)]

    def _is_open(self, branch: Branch) -> bool:
        return branch.window is None or branch.window.is_open(self.now)


def branches_by_destination(routes: Iterable[InboxRoute]) -> dict[str, list[Branch]]:
    """Return the branches whose spools are open, by the URL of their destination."""
    branches: dict[str, list[Branch]] = {}
    for route in routes:
        if route.is_ready:
            for branch in route.branches:
                branches.setdefault(branch.webhook_url, []).append(branch)
    return branches
