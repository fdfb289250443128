"""News of what waits: files that need a person to be taken, and receipts that wait for too long.

What it promises: each is told once. What no longer waits, and waits again later, is told again.

The thread of notices calls it; what was told is kept in `Told`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from receipt_watcher.inbox.state import InboxState
from receipt_watcher.notify.notices import Kind, Notice, Wording
from receipt_watcher.notify.settings import NotificationSettings
from receipt_watcher.notify.told import Told
from receipt_watcher.report.health.stuck import StuckReceipts


class WaitNews:
    """Compares what waits with what was told."""

    def __init__(self, receipts: StuckReceipts, settings: NotificationSettings) -> None:
        self._receipts = receipts
        self._settings = settings

    def follow(self, told: Told, inboxes: Sequence[InboxState], now: float) -> None:
        """Take note of what no longer waits."""
        told.stuck = self._receipts.still_stuck(told.stuck, inboxes, now)

    def blocked(self, told: Told, inboxes: Sequence[InboxState], words: Wording, now: float) -> Notice | None:
        """Return a notice of files that need a person by their nature: they do not wait to be stuck."""
        if not self._may_tell(told, Kind.BLOCKED, now):
            return None
        known = set(told.stuck)
        new = {
            key: file
            for key, file in self._receipts.files(inboxes, now, self._settings.after_seconds)
            if file.needs_a_person and key not in known
        }
        if not new:
            return None
        told.stuck += new
        told.told_at[Kind.BLOCKED] = now
        return words.blocked(sorted(new.values(), key=lambda file: file.since))

    def stuck(
        self, told: Told, held: Collection[str], inboxes: Sequence[InboxState], words: Wording, now: float
    ) -> Notice | None:
        """Return a notice of what waits for too long."""
        if not self._may_tell(told, Kind.STUCK, now):
            return None
        known = set(told.stuck)
        new = dict(self._receipts.jobs(held, known, now))
        files = self._receipts.files(inboxes, now, self._settings.after_seconds)
        new |= {key: file for key, file in files if key not in known and not file.needs_a_person}
        if not new:
            return None
        told.stuck += new
        told.told_at[Kind.STUCK] = now
        oldest_first = sorted(new.values(), key=lambda receipt: receipt.since)
        return words.stuck(oldest_first, self._settings.stuck_after_seconds / 60)

    def _may_tell(self, told: Told, kind: Kind, now: float) -> bool:
        return "stuck" in self._settings.kinds and self._settings.may_tell(told.told_at, kind, now)
