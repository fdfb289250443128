"""When a file in an inbox has settled: pure, on a monotonic clock that is given.

What it promises: a file is given out only after its size, modification time, inode and allocation stayed the same
for the settle time since the last change that was *observed*, by an event or by a scan; so a file found at start waits
as long as any other, and no step of the wall clock, no time stamp of 1970 or of the future matters. What is visibly
not whole is parked, and given out as it is only when the patience with it is over.

The inbox's own thread calls it. Nothing is kept on disk: after a crash the first scan finds everything again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from receipt_watcher.config.branches import branch_at, branches_of
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.wait_reasons import WAITS_FOR_PATIENCE, WaitReason

#: A parked file is left alone for so long before it is looked at again: first pause, longest pause; it doubles.
#: By taste: a writer closes within seconds, people fix permissions. Any event ends a pause at once.
PAUSES_SECONDS: dict[WaitReason, tuple[float, float]] = {
    WaitReason.OPEN: (0.5, 15.0),
    WaitReason.PLACEHOLDER: (5.0, 60.0),
    WaitReason.UNREADABLE: (1.0, 60.0),
    WaitReason.UNEXAMINED: (1.0, 60.0),
    WaitReason.IMMOVABLE: (1.0, 300.0),
}

#: The reasons in spite of which a file is given out when it has not changed for the patience.
BOUNDED_BY_PATIENCE = WAITS_FOR_PATIENCE | {WaitReason.UNREADABLE}


class Signature(NamedTuple):
    """The marks that tell one content of a file from the next without reading it."""

    size: int
    mtime_ns: int
    inode: int
    is_unallocated: bool = False  # a size, but no block on disk: not downloaded yet, or only reserved

    @property
    def is_undated(self) -> bool:
        """Whether the modification time is second 0; rsync 3.5 leaves any nanoseconds beside it (measured)."""
        return self.mtime_ns // 1_000_000_000 == 0

    def is_same_content(self, other: Signature) -> bool:
        """Whether a file that was moved, perhaps to another file system, is still what it was."""
        return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file in the inbox, as it was seen. Monotonic seconds.

    `first_size` and `first_seen_at` tell by how much it grew and since when; `looks` how often it was parked for
    `why` without having changed.
    """

    signature: Signature
    changed_at: float
    first_seen_at: float
    first_size: int
    why: WaitReason = WaitReason.GROWING
    detail: str = ""
    looks: int = 0
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Settled:
    """A file that has settled. `is_overdue`: it is to be taken as it is, for the patience with it is over."""

    relative: str
    seen: Seen
    is_overdue: bool


@dataclass(frozen=True, slots=True)
class Times:
    """The settle time of one subfolder, and the patience with files that are not whole, in seconds."""

    settle_seconds: float
    patience_seconds: float


def times_of(settings: Inbox) -> Callable[[str], Times]:
    """Return the function that says how long a file settles, by its path: the innermost configured subfolder counts."""
    branches = branches_of(settings)
    times = {branch.key: Times(branch.settle_seconds, branch.patience_seconds) for branch in branches}
    usual = times[branches[-1].key]
    if all(own == usual for own in times.values()):
        return lambda _: usual
    return lambda relative: times[branch_at(branches, Path(relative)).key]


class Settler:
    """Decides when files have settled. It is told what was seen, and when."""

    def __init__(self, times_of: Callable[[str], Times]) -> None:
        self._times_of = times_of
        # One queue for each settle time, the longest unchanged first: what is due is then always at a front.
        self._pending: dict[float, OrderedDict[str, Seen]] = {}
        self.parked: dict[str, Seen] = {}
        self._newly_parked: list[tuple[str, Seen]] = []

    def __len__(self) -> int:
        return sum(len(queue) for queue in tuple(self._pending.values()))  # metrics ask from another thread

    def waiting(self) -> Iterator[tuple[str, Seen]]:
        """Yield every file that is known and not given out."""
        for queue in self._pending.values():
            yield from queue.items()
        yield from self.parked.items()

    def _queue_of(self, relative: str) -> OrderedDict[str, Seen]:
        return self._pending.setdefault(self._times_of(relative).settle_seconds, OrderedDict())

    def touched(self, relative: str, signature: Signature, now: float) -> None:
        """An event said that the file changed."""
        queue = self._queue_of(relative)
        before = queue.pop(relative, None) or self.parked.pop(relative, None)
        first = (before.first_seen_at, before.first_size) if before else (now, signature.size)
        queue[relative] = Seen(signature, now, *first)

    def seen(self, relative: str, signature: Signature, now: float) -> None:
        """A scan saw the file; whether that is a change is decided here."""
        known = self._queue_of(relative).get(relative) or self.parked.get(relative)
        if known is None or known.signature != signature:
            self.touched(relative, signature, now)

    def gone(self, relative: str) -> None:
        """The file is not there any more."""
        self._queue_of(relative).pop(relative, None)
        self.parked.pop(relative, None)

    def park(self, settled: Settled, why: WaitReason, detail: str, now: float) -> None:
        """Take back a file that was given out and cannot be taken yet."""
        before = settled.seen
        looks = before.looks + 1 if before.why is why else 1
        overdue_at = before.changed_at + self._times_of(settled.relative).patience_seconds
        until = overdue_at
        if why in PAUSES_SECONDS:
            first, longest = PAUSES_SECONDS[why]
            until = now + min(longest, first * 2.0 ** min(looks - 1, 30))
            if why in BOUNDED_BY_PATIENCE and overdue_at > now:
                until = min(until, overdue_at)
        parked = replace(before, why=why, detail=detail, looks=looks, until=until)
        self.parked[settled.relative] = parked
        if looks == 1:
            self._newly_parked.append((settled.relative, parked))

    def give_again(self, settled: Sequence[Settled]) -> None:
        """Take back files that were given out and could not be tried: they are given out again first of all."""
        for file in reversed(settled):
            queue = self._queue_of(file.relative)
            queue[file.relative] = file.seen
            queue.move_to_end(file.relative, last=False)

    def newly_parked(self) -> list[tuple[str, Seen]]:
        """Return what was parked for another reason than before since the last time this was asked."""
        newly_parked, self._newly_parked = self._newly_parked, []
        return newly_parked

    def next_due(self) -> float | None:
        """Return when there is something to decide next, on the monotonic clock."""
        times = [parked.until for parked in self.parked.values()]
        for settle_seconds, queue in self._pending.items():
            if queue:
                times.append(next(iter(queue.values())).changed_at + settle_seconds)
        return min(times, default=None)

    def settled(self, now: float, look: Callable[[str], Signature | None], limit: int) -> list[Settled]:
        """Return up to `limit` files that have settled by `now`; they are forgotten here.

        `look` reads a file's signature afresh, None where it is gone: a change that no event told is found so.
        """
        for relative in [name for name, parked in self.parked.items() if parked.until <= now]:
            queue = self._queue_of(relative)
            queue[relative] = self.parked.pop(relative)
            queue.move_to_end(relative, last=False)
        ready: list[Settled] = []
        for settle_seconds, queue in self._pending.items():
            while queue and len(ready) < limit:
                relative, seen = next(iter(queue.items()))
                if seen.changed_at + settle_seconds > now:
                    break
                signature = look(relative)
                if signature is None:
                    self.gone(relative)
                elif signature != seen.signature:
                    self.touched(relative, signature, now)
                else:
                    del queue[relative]
                    self._give_out(relative, seen, now, ready)
        return ready

    def _give_out(self, relative: str, seen: Seen, now: float, ready: list[Settled]) -> None:
        is_overdue = seen.changed_at + self._times_of(relative).patience_seconds <= now
        settled = Settled(relative, seen, is_overdue)
        if seen.signature.size == 0 and not is_overdue:
            self.park(settled, WaitReason.EMPTY, "0 bytes", now)
        elif seen.signature.is_undated and not is_overdue:
            self.park(settled, WaitReason.UNDATED, "modified at 1970-01-01T00:00:00Z", now)
        else:
            ready.append(settled)
