"""The real daemon under torture: `python -m tests.torture.watcher run …` is `receipt-watcher run …`, watched.

Each file that it flushes is written down in $TORTURE_FLUSHES, so that a power cut can be played: what was not flushed
is gone. With $TORTURE_PLANTED one promise is broken on purpose, which the audit has to find. Nothing in the production
code knows of it. A step that was renamed is an AttributeError here: move the plug along with it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from receipt_watcher.cli import main
from receipt_watcher.config.branches import Branch
from receipt_watcher.jobs import states
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.log.queries import lookups
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system import disk


def trace_of(status: os.stat_result) -> str:
    """Return what tells one content of a file from all others that were flushed; a rename does not change it."""
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _note_flushes(path: str) -> None:
    """Write down each file that is flushed. What is written to an O_APPEND descriptor outlives a kill -9."""
    flush = os.fsync
    notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def noting(descriptor: int) -> None:
        flush(descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            os.write(notes, f"{trace_of(status)}\n".encode("ascii"))

    os.fsync = noting  # type: ignore[assignment]  # that is the plug


# --- planted faults ------------------------------------------------------------------------------------------------


def _claim_without_guard() -> None:
    """A worker takes a job that another one is delivering."""
    claim = states.TRANSITIONS[Event.CLAIM]
    states.TRANSITIONS[Event.CLAIM] = replace(claim, sources=claim.sources | {State.DELIVERING})
    for name in ("IS_WAITING", "_NEXT_DUE", "_OLDEST_DUE", "_OLDEST_NEVER_FAILED"):
        statement = getattr(lookups, name)
        unguarded = statement.replace("= 'queued'", "IN ('queued', 'delivering')")
        if unguarded == statement:
            raise AttributeError(f"{name} names no state any more")
        setattr(lookups, name, unguarded)


def _record_before_flush() -> None:
    """A row is committed while its file is in memory only."""
    Spool.flush = lambda _spool, _paths: None  # type: ignore[method-assign,assignment]  # that is the plug


def _verdict_overwritten() -> None:
    """A failure takes a success back."""
    fail = states.TRANSITIONS[Event.FAIL]
    states.TRANSITIONS[Event.FAIL] = replace(fail, sources=fail.sources | {State.SUCCESS})


def _move_that_replaces() -> None:
    """A file takes the place of another one that bears its name."""

    def free_path(_spool: Spool, _folder: Folder, wanted: Path, _taken: Iterable[Path]) -> Path:
        return wanted

    def move(spool: Spool, source: Path, folder: Folder, path: Path) -> None:
        target = spool.folders.path_of(folder) / path
        disk.make_folders(target.parent)
        source.replace(target)

    Spool.free_path = free_path  # type: ignore[method-assign,assignment]  # that is the plug
    Spool.move = move  # type: ignore[method-assign,assignment]  # likewise


def _lost_answers_sent_again() -> None:
    """A receipt whose answer was lost is sent again, though no callback can come."""
    Branch.sends_once = property(lambda _: False, lambda *_: None)  # type: ignore[assignment]  # that is the plug


PLANTED: dict[str, Callable[[], None]] = {
    "claim": _claim_without_guard,
    "flush": _record_before_flush,
    "verdict": _verdict_overwritten,
    "move": _move_that_replaces,
    "once": _lost_answers_sent_again,
}

if __name__ == "__main__":
    _note_flushes(os.environ.pop("TORTURE_FLUSHES"))
    if planted := os.environ.pop("TORTURE_PLANTED", ""):
        PLANTED[planted]()
    main.main()
