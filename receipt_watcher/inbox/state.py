"""What the daemon knows of its inboxes, for the commands: how each is watched, and what waits in it since when.

What it promises: one small file for each inbox in the runtime folder, always whole, written when something changed and
not more often than every two seconds. When the inbox was scanned is told by a file beside it, and only where that
folder is in memory: an idle daemon writes nothing to a disk. It is a help, not a record: nothing depends on it, it is
not flushed, and one that is damaged or missing reads as None.

The inbox's thread and the supervision write it, any process reads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.json_view import iso_time

_SCAN_SUFFIX = ".scanned"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file in an inbox that is not taken yet. Unix seconds; the path is below the inbox."""

    path: str
    why: WaitReason
    detail: str
    size: int
    grown_bytes: int
    first_seen_at: float
    changed_at: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Closed:
    """A window that is closed: of an inbox or a subfolder of it (`branch`), until when (Unix seconds)."""

    branch: str
    text: str
    opens_at: float
    queued: int

    @property
    def words(self) -> str:
        """What is so, and until when."""
        return f"of {self.branch} wait for deliver_when ({self.text}), which opens at {iso_time(self.opens_at)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxState:
    """An inbox as its daemon sees it; `unavailable` is why nothing is taken now. Unix seconds."""

    name: str
    path: str
    failed_dir: str
    mode: str
    why_mode: str
    is_ready: bool
    unavailable: str | None
    unavailable_since: float | None
    waiting: tuple[Waiting, ...] = ()
    closed: tuple[Closed, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One inbox as its daemon sees it. Unix seconds; `unavailable` is why nothing is taken now.

    `scanned_at` is when the inbox was last read whole, told once a minute; None where that is told to nobody.
    """

    name: str
    mode: str
    why_mode: str
    writers: str
    unavailable: str | None
    unavailable_since: float | None
    waiting: tuple[Waiting, ...]
    scanned_at: float | None = None


def snapshot_file(runtime_folder: Path, name: str) -> Path:
    """Return where the snapshot of an inbox is kept."""
    return runtime_folder / "inboxes" / f"{name}.json"


def write(path: Path, snapshot: Snapshot) -> None:
    """Keep a snapshot, but for the time of the scan; a disk that is full costs the snapshot, nothing else."""
    text = json.dumps(dataclasses.asdict(dataclasses.replace(snapshot, scanned_at=None)))
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{threading.get_ident()}")
        temporary.write_text(text, "ascii")
        temporary.replace(path)


def note_scan(path: Path, scanned_at: float) -> None:
    """Tell when the inbox of this snapshot was scanned, as the time of a file beside it."""
    with contextlib.suppress(OSError):
        mark = path.with_suffix(_SCAN_SUFFIX)
        mark.touch()
        os.utime(mark, (scanned_at, scanned_at))


def read(path: Path) -> Snapshot | None:
    """Return the last snapshot that was kept; None where there is none that can be read."""
    try:
        fields = json.loads(path.read_text("ascii"))
        waiting = tuple(
            Waiting(**(each | {"why": WaitReason._value2member_map_[each["why"]]})) for each in fields["waiting"]
        )
        mark = path.with_suffix(_SCAN_SUFFIX)
        scanned_at = mark.stat().st_mtime if mark.exists() else None
        return Snapshot(**(fields | {"waiting": waiting, "scanned_at": scanned_at}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remove(path: Path) -> None:
    """Forget a snapshot: the daemon has stopped."""
    for each in (path, path.with_suffix(_SCAN_SUFFIX)):
        with contextlib.suppress(OSError):
            each.unlink()
