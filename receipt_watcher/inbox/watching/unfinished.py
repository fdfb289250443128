"""Files that are passed over because a program still writes them, by their names: since when they have not changed.

What it promises: one that has not changed for minutes is told of. Its program has ended, or it has another name for a
receipt that is whole; either way nothing would ever become of it.

The inbox's own thread calls it. Nothing is kept on disk: a start counts from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.settling import Seen, Signature

#: A file that has not changed for this time is told of. By taste: sync clients pause for less than a minute.
STALE_SECONDS = 120.0


class UnfinishedFiles:
    """The files of one inbox that bear such names. Monotonic seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}

    def scanned(self, present: Mapping[str, Signature], now: float) -> None:
        """Note what a scan saw: those that are gone are forgotten."""
        self._seen = {relative: self._after(relative, current, now) for relative, current in present.items()}

    def _after(self, relative: str, current: Signature, now: float) -> Seen:
        before = self._seen.get(relative)
        if before is None:
            return Seen(current, now, now, current.size, WaitReason.UNFINISHED)
        return before if before.signature == current else replace(before, signature=current, changed_at=now)

    def stale(self, now: float) -> Iterator[tuple[str, Seen]]:
        """Yield those that have not changed for long."""
        for relative, seen in tuple(self._seen.items()):
            if now - seen.changed_at >= STALE_SECONDS:
                yield relative, seen
