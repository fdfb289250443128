"""The state of an inbox, as its daemon knows it: how it is watched, whether it can be used, and what waits in it.

What it promises: one frozen value, which the gate makes again after each round and which status, page, API, health and
notices read. It is also written as a small file for each inbox in the runtime folder, for the commands: always whole,
when something changed and not more often than every two seconds. When the inbox was scanned is told by a file beside
it, and only if that folder is in memory: an idle daemon writes nothing to a disk. The file is a help, not a record:
nothing depends on it, it is not flushed, and one that is damaged or missing reads as None.

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
from receipt_watcher.system.open_files import Writers

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
        """The state in words, and until when it lasts."""
        return f"of {self.branch} wait for deliver_when ({self.text}), which opens at {iso_time(self.opens_at)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxState:
    """An inbox as its daemon sees it; `unavailable` is why nothing is taken now. Unix seconds.

    `filing`, `disk`, `job_log` and `events` say what is wrong with filing its files away, with the disks of its spool,
    with the job log that they are recorded in, and with the events by which it is watched. None: nothing.
    `scanned_at` is when the inbox was last read whole, told once a minute; None if that is told to nobody. `writers`
    says whether it can be told who has a file open. `closed` is known to the job log only, and not in the file.
    """

    name: str
    path: str
    failed_dir: str
    mode: str
    why_mode: str
    is_ready: bool
    unavailable: str | None
    unavailable_since: float | None
    writers: str = Writers.UNKNOWN.value
    waiting: tuple[Waiting, ...] = ()
    filing: str | None = None
    disk: str | None = None
    job_log: str | None = None
    events: str | None = None
    closed: tuple[Closed, ...] = ()
    scanned_at: float | None = None


def snapshot_file(runtime_folder: Path, name: str) -> Path:
    """Return where the state of an inbox is written."""
    return runtime_folder / "inboxes" / f"{name}.json"


def write(path: Path, state: InboxState) -> None:
    """Write a state, but for the time of the scan; a disk that is full costs the file, nothing else."""
    text = json.dumps(dataclasses.asdict(dataclasses.replace(state, closed=(), scanned_at=None)))
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{threading.get_ident()}")
        temporary.write_text(text, "ascii")
        temporary.replace(path)


def note_scan(path: Path, scanned_at: float) -> None:
    """Tell when the inbox of this state was scanned, as the time of a file beside it."""
    with contextlib.suppress(OSError):
        mark = path.with_suffix(_SCAN_SUFFIX)
        mark.touch()
        os.utime(mark, (scanned_at, scanned_at))


def read(path: Path) -> InboxState | None:
    """Return the last state that was written; None if there is none that can be read."""
    try:
        fields = json.loads(path.read_text("ascii"))
        waiting = tuple(
            Waiting(**(file | {"why": WaitReason._value2member_map_[file["why"]]})) for file in fields["waiting"]
        )
        mark = path.with_suffix(_SCAN_SUFFIX)
        scanned_at = mark.stat().st_mtime if mark.exists() else None
        return InboxState(**(fields | {"waiting": waiting, "closed": (), "scanned_at": scanned_at}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remove(path: Path) -> None:
    """Remove a state that was written: the daemon has stopped."""
    for file in (path, path.with_suffix(_SCAN_SUFFIX)):
        with contextlib.suppress(OSError):
            file.unlink()
