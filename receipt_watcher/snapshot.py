"""What the daemon knows of its inboxes, for the commands: how each is watched, and what waits in it since when.

What it promises: one small file for each inbox in the state folder, always whole, written when something changed and
not more often than every two seconds; while receipts just flow, only once a minute. It is a help, not a record:
nothing depends on it, it is not flushed, and one that is damaged or missing reads as None.

The inbox's thread and the supervision write it, any process reads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.waiting import Wait


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file in an inbox that is not taken yet. Unix seconds; the path is below the inbox."""

    path: str
    why: Wait
    detail: str
    size: int
    grown_bytes: int
    first_seen_at: float
    changed_at: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One inbox as its daemon sees it. Unix seconds; `unavailable` is why nothing is taken now.

    `scanned_at` is when the inbox was last read whole, told once a minute.
    """

    name: str
    mode: str
    why_mode: str
    writers: str
    unavailable: str | None
    unavailable_since: float | None
    waiting: tuple[Waiting, ...]
    scanned_at: float | None = None


def snapshot_file(state_dir: Path, name: str) -> Path:
    """Return where the snapshot of an inbox is kept."""
    return state_dir / "inboxes" / f"{name}.json"


def write(path: Path, snapshot: Snapshot) -> None:
    """Keep a snapshot; a disk that is full costs the snapshot, nothing else."""
    text = json.dumps(dataclasses.asdict(snapshot))
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_suffix(f".{threading.get_ident()}")
        temporary.write_text(text, "ascii")
        temporary.replace(path)


def read(path: Path) -> Snapshot | None:
    """Return the last snapshot that was kept; None where there is none that can be read."""
    try:
        fields = json.loads(path.read_text("ascii"))
        waiting = tuple(Waiting(**(each | {"why": Wait._value2member_map_[each["why"]]})) for each in fields["waiting"])
        return Snapshot(**(fields | {"waiting": waiting}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remove(path: Path) -> None:
    """Forget a snapshot: the daemon has stopped."""
    with contextlib.suppress(OSError):
        path.unlink()
