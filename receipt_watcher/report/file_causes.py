"""Why a file that lies in an inbox has not been taken: what `explain` and `status` answer.

What it promises: the same words as the daemon's own log. If the daemon runs, its findings count; if not, the file is
examined afresh by the same rules. Nothing is moved or written. A file system that does not answer makes the caller
wait; see `system.time_limit`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.config.branches import branch_at
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.examine.process import file_limits_of
from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.inbox.state import InboxState, Waiting
from receipt_watcher.inbox.wait_reasons import LONG_SECONDS, NEEDS_A_PERSON, WaitReason
from receipt_watcher.inbox.watching.ignored import UNFINISHED
from receipt_watcher.inbox.watching.listing import listing_of, signature
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import ORIGINAL_STATES
from receipt_watcher.system.display import printable
from receipt_watcher.system.open_files import Writers, is_all_hole, programs_with, writers_of
from receipt_watcher.system.permissions import file_advice, folder_advice, refusal


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that keeps a file from being taken; `until` in Unix seconds, if it is known."""

    why: WaitReason
    detail: str = ""
    advice: str = ""
    until: float | None = None

    @property
    def what_to_do(self) -> str:
        """The advice for this file, or the general one."""
        return self.advice or self.why.advice


@dataclass(frozen=True, slots=True)
class FileFindings:
    """The causes for which a file in an inbox waits, the most important first; none: it is about to be taken."""

    causes: tuple[Cause, ...]
    examination: Examination | None = None
    seen: Waiting | None = None


@dataclass(frozen=True, slots=True)
class InboxContext:
    """One inbox and what is known around it; `snapshot` is the running daemon's, None if it does not run."""

    config: Config
    inbox: Inbox
    snapshot: InboxState | None
    log: JobLog | None
    examine: Callable[[Path, FileLimits], Examination]


def look_at(context: InboxContext, relative: str, status: os.stat_result) -> FileFindings:
    """Look at one file of an inbox."""
    inbox, snapshot = context.inbox, context.snapshot
    seen = next((file for file in snapshot.waiting if file.path == relative), None) if snapshot else None
    never = listing_of(inbox).why_never(relative, status)
    if never is not None:
        if seen is not None and seen.why is WaitReason.UNFINISHED:
            return FileFindings((Cause(seen.why, seen.detail),), seen=seen)
        return FileFindings((Cause(*never),))
    around = tuple(_causes_around(context))
    if seen is not None and seen.why not in (WaitReason.GROWING, WaitReason.HELD):
        detail = seen.detail or (_open_by(inbox.path / relative) if seen.why is WaitReason.OPEN else "")
        return FileFindings((*around, Cause(seen.why, detail, until=seen.until)), seen=seen)
    causes, examination = _look_inside(context, inbox.path / relative, status)
    if seen is not None and seen.why is WaitReason.GROWING:
        grown = f"{seen.grown_bytes:+,} bytes since it was first seen" if seen.grown_bytes else ""
        causes = [Cause(WaitReason.GROWING, grown), *causes]
    return FileFindings((*around, *causes), examination, seen)


def _causes_around(context: InboxContext) -> Iterator[Cause]:
    """Yield what keeps every file of the inbox waiting."""
    snapshot = context.snapshot
    hold = context.log.manual_holds.of_inbox(context.inbox.name) if context.log else None
    if hold is not None:
        yield Cause(WaitReason.HELD, f"since {iso_time(hold.since)}{hold.words}")
    if snapshot is None:
        yield Cause(WaitReason.NOT_RUNNING)
        if context.log is None or context.log.facts.inbox_started.of(context.inbox.name).get() is None:
            waiting = sum(1 for _ in listing_of(context.inbox).files())
            if waiting > context.config.limits.backlog_files:
                yield Cause(WaitReason.BACKLOG, f"{waiting} files wait")
    elif snapshot.unavailable:
        is_backlog = "limits.backlog_files" in snapshot.unavailable
        yield Cause(WaitReason.BACKLOG if is_backlog else WaitReason.UNAVAILABLE, snapshot.unavailable)


def _open_by(path: Path) -> str:
    programs = programs_with(path)
    return f"{', '.join(printable(name) for name in programs)} has it open for writing" if programs else ""


def _causes_inside(examination: Examination) -> Iterator[Cause]:
    refused = examination.refusal
    if refused is not None and refused.reason is Reason.INCOMPLETE:
        yield Cause(WaitReason.INCOMPLETE, refused.detail)
    elif examination.doubt:
        yield Cause(WaitReason.DOUBTFUL, examination.doubt)


def _look_inside(context: InboxContext, path: Path, status: os.stat_result) -> tuple[list[Cause], Examination | None]:
    """Judge a file by the rules of the take-in."""
    current = signature(status)
    if current.size == 0:
        return [Cause(WaitReason.EMPTY, "0 bytes")], None
    causes = []
    if current.is_undated:
        causes.append(Cause(WaitReason.UNDATED))
    examination = None
    try:
        if current.is_unallocated and is_all_hole(path):
            return [*causes, Cause(WaitReason.PLACEHOLDER, f"{current.size:,} bytes, none of them on disk")], None
        if writers_of(path) is Writers.SOME:
            causes.append(Cause(WaitReason.OPEN, _open_by(path)))
        examination = context.examine(path, file_limits_of(context.config))
        causes += _causes_inside(examination)
    except PermissionError as error:
        causes.append(Cause(WaitReason.UNREADABLE, refusal(error, path), file_advice(path)))
    except OSError as error:
        why = WaitReason.UNEXAMINED if error.errno == errno.ECHILD else WaitReason.UNREADABLE
        causes.append(Cause(why, error.strerror or str(error)))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        causes.append(Cause(WaitReason.IMMOVABLE, refusal(PermissionError(13, "Permission denied"), path.parent)))
    elif "sticky" in (advice := folder_advice(path.parent, path)):
        causes.append(Cause(WaitReason.IMMOVABLE, advice, advice))
    return causes, examination


def duplicate_of(context: InboxContext, relative: str, examination: Examination) -> str | None:
    """Return the job that already has these bytes for the same target; None if there is none."""
    if examination.sha256 is None or context.log is None:
        return None
    target = branch_at(context.config.branches(context.inbox), Path(relative)).target
    earlier = context.log.lookups.same_receipts(examination.sha256, target, ORIGINAL_STATES)
    return earlier[0].job_id if earlier else None


@dataclass(frozen=True, slots=True)
class LongWait:
    """A file that has waited for long, since when (Unix seconds), and why."""

    path: str
    since: float
    cause: Cause


def long_waits(context: InboxContext, now: float, limit: int) -> list[LongWait]:
    """Return up to `limit` files that lie in an inbox for longer than ten minutes, the longest first.

    A file that needs a person, as the daemon has found, is among them at once. Without the daemon's own knowledge a
    file is as old as its last change of any kind (st_ctime): that is when it came.
    Litter, and what the admin has ignored, is left out; an unfinished transfer is not.

    Raises:
        OSError: the inbox cannot be read.
    """
    listing = listing_of(context.inbox)
    known = context.snapshot.waiting if context.snapshot else ()
    first_seen = {file.path: file.first_seen_at for file in known}
    blocked = {file.path for file in known if file.why in NEEDS_A_PERSON}
    old: list[tuple[float, str, os.stat_result]] = []
    for relative, status in listing.everything():
        since = min(first_seen.get(relative, status.st_ctime), status.st_ctime)
        rule = listing.rule_for(relative) if listing.is_ignored(relative) else None
        if (relative in blocked or now - since >= LONG_SECONDS) and (rule is None or rule.pack in UNFINISHED):
            old.append((since, relative, status))
    waits = []
    for since, relative, status in sorted(old, key=lambda wait: wait[:2])[:limit]:
        looked = look_at(context, relative, status)
        cause = looked.causes[0] if looked.causes else Cause(WaitReason.GROWING)
        if cause.why is not WaitReason.NOTE:
            waits.append(LongWait(relative, since, cause))
    return waits
