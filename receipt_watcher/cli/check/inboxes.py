"""Each inbox with its spool: whether files can be read and go through, and how new ones are noticed."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from receipt_watcher.cli.check.findings import ANSWER_SECONDS, CheckFinding
from receipt_watcher.config.branches import near_miss
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.errors import JobLogError, SpoolError
from receipt_watcher.inbox.watching.ignored import OWN_PREFIX
from receipt_watcher.inbox.watching.listing import listing_of
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.identity.accepted_marks import MarkKind
from receipt_watcher.spool.identity.bindings import Bindings
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.display import display_name
from receipt_watcher.system.open_files import Writers
from receipt_watcher.system.permissions import file_advice, folder_advice, refusal, to_type
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.system.time_limit import within

#: So many waiting files are looked at one by one.
_LOOKED_AT_FILES = 1000


def check_inbox(config: Config, inbox: Inbox) -> list[CheckFinding]:
    """Look at one inbox; one whose file system answers nothing must not keep the others from being looked at."""
    try:
        return within(ANSWER_SECONDS, lambda: list(_look_at_inbox(config, inbox)), inbox.path)
    except OSError as error:  # whatever is asked of that folder now may hang as well
        return [CheckFinding("error", f"inbox {inbox.name}: {inbox.path} {error.strerror}", "mount the share again")]


def _look_at_inbox(config: Config, inbox: Inbox) -> Iterator[CheckFinding]:
    if not os.path.isdir(inbox.path):  # noqa: PTH112 - false, too, for a mount whose server is gone
        yield CheckFinding(
            "error", f"inbox {inbox.name}: {inbox.path} is not there", "create the folder, or mount the share"
        )
        return
    away = list(_check_places(config, inbox))
    yield from away
    if away:
        return  # what is there instead gets no probe file either
    for left, right in (
        (inbox.path, inbox.processing_dir),
        (inbox.processing_dir, inbox.done_dir),
        (inbox.processing_dir, inbox.failed_dir),
    ):
        yield from _check_move(inbox.name, left, right)
    yield from _check_watch(inbox)
    yield from _check_files(inbox)
    yield from _check_subfolders(config, inbox)
    yield from _check_backlog(config, inbox)


def _check_places(config: Config, inbox: Inbox) -> Iterator[CheckFinding]:
    """Find folders that are away, and a spool of another installation, as the daemon does."""
    spool = Spool(inbox.name, SpoolFolders.of(inbox))
    ours, owner = Installation(config.state_dir).known_id(), spool.owner.installation
    take_over = to_type(MarkKind.SPOOL, inbox.name)
    if owner and owner != ours:
        what = f"inbox {inbox.name}: {inbox.processing_dir} belongs to another installation ({owner})"
        yield CheckFinding("error", what, f"after a move, or a purge and a new installation, type: {take_over}")
        return
    if not config.database_path.exists():
        return
    log = JobLog(config.database_path, read_only=True)
    try:
        log.database.open()
        bindings = Bindings(log, inbox.name, spool.folders)
        bindings.check(is_ours=owner == ours, take_over=take_over)
    except SpoolError as error:
        yield CheckFinding(
            "error", f"inbox {inbox.name}: {error}", "mount what is away; the inbox opens again by itself"
        )
    except JobLogError:
        return  # the daemon says so at its start
    finally:
        log.database.close()


def _check_watch(inbox: Inbox) -> Iterator[CheckFinding]:
    """Prove how new files are noticed, by a hidden file, as the daemon does."""
    watch = InboxWatch(inbox)
    try:
        mount = watch.prove()
    except OSError:
        return  # that no file can be made there was said
    finally:
        watch.stop()
    yield CheckFinding("ok", f"inbox {inbox.name}: on {mount}; watched by {watch.source.mode}: {watch.source.why_mode}")
    level: Literal["ok", "warning"] = "ok" if watch.writers is Writers.NONE else "warning"
    advice = "" if level == "ok" else "choose settle_seconds longer than any pause of a scanner or a copy"
    yield CheckFinding(level, f"inbox {inbox.name}: {watch.writers.value}", advice)


def _check_subfolders(config: Config, inbox: Inbox) -> Iterator[CheckFinding]:
    """Find folders that differ by capitals only from a subfolder that has options of its own."""
    branches = config.branches(inbox)
    with contextlib.suppress(OSError):  # that it cannot be listed is said with the backlog
        folders = sorted(entry.name for entry in os.scandir(inbox.path) if entry.is_dir(follow_symlinks=False))
        for folder in folders:
            subfolder = near_miss(branches, Path(folder) / "file")
            if subfolder is not None:
                yield CheckFinding(
                    "warning",
                    f"inbox {inbox.name}: the folder {display_name(folder)} is not the configured {subfolder}: "
                    "capitals count, so its receipts go as those of the inbox itself",
                    "rename the folder, or name it so in routes",
                )


def _check_files(inbox: Inbox) -> Iterator[CheckFinding]:
    """Find files that we could not read or move, and subfolders that shut us out, before they are in the way."""
    listing = listing_of(inbox)
    told: set[str] = set()
    with contextlib.suppress(OSError):  # that it cannot be listed is said with the backlog
        for relative, _ in itertools.islice(listing.files(), _LOOKED_AT_FILES):
            for trouble in _troubles_of(inbox.path / relative):
                if trouble.advice not in told:
                    told.add(trouble.advice)
                    yield CheckFinding(trouble.level, f"inbox {inbox.name}: {trouble.what}", trouble.advice)
    for folder, error in listing.shut.items():
        path = inbox.path / folder
        yield CheckFinding("error", f"inbox {inbox.name}: {path}: {refusal(error, path)}", folder_advice(path))


def _troubles_of(path: Path) -> Iterator[CheckFinding]:
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not os.access(path, os.R_OK, effective_ids=True):
        yield CheckFinding("warning", f"{path} cannot be read: {refusal(denied, path)}", file_advice(path))
    advice = folder_advice(path.parent, path)
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        yield CheckFinding("error", f"{path} cannot be moved: {refusal(denied, path.parent)}", advice)
    elif "sticky" in advice:
        yield CheckFinding("error", f"{path} cannot be moved: its folder is sticky", advice)


def _check_move(name: str, left: Path, right: Path) -> Iterator[CheckFinding]:
    """Prove that files can go from one folder to the next, and whether by a rename alone."""
    if not right.is_dir():
        if os.access(right.parent, os.W_OK, effective_ids=True):
            yield CheckFinding("ok", f"inbox {name}: {right} will be made at start")
        else:
            yield CheckFinding("error", f"inbox {name}: {right} is not there", "create it, owned by the service's user")
        return
    try:
        prove_moves(left, right)
    except OSError as error:
        yield CheckFinding(
            "error",
            f"inbox {name}: a file cannot go from {left} to {right} ({_refusal_of_either(error, left, right)})",
            "the service's user must be able to create, rename and delete in both",
        )
        return
    yield CheckFinding("ok", f"inbox {name}: files can go from {left} to {right}")
    if left.stat().st_dev != right.stat().st_dev:
        yield CheckFinding(
            "warning",
            f"inbox {name}: {left} and {right} are on different file systems: each move is a copy",
            "put the four folders on one file system, and one mount, if speed matters",
        )


def _refusal_of_either(error: OSError, left: Path, right: Path) -> str:
    """Return what the system said, with the owner of the folder that it said it of."""
    return refusal(error, right if Path(str(error.filename)).parent == right else left)


def prove_moves(left: Path, right: Path) -> None:
    """Create a file in one folder, rename it there, make its like in the other, and remove both."""
    probe = left / f"{OWN_PREFIX}probe-{uuid.uuid4().hex}"
    moved = probe.with_suffix(".moved")
    other = right / f"{probe.name}.other"
    try:
        probe.touch(exist_ok=False)
        probe.rename(moved)
        other.touch(exist_ok=False)
    finally:
        for path in (probe, moved, other):
            path.unlink(missing_ok=True)


def _check_backlog(config: Config, inbox: Inbox) -> Iterator[CheckFinding]:
    try:
        waiting = sum(1 for _ in listing_of(inbox).files())
    except OSError as error:
        yield CheckFinding(
            "error", f"inbox {inbox.name}: cannot be read ({error.strerror})", "give the service's user r and x"
        )
        return
    if waiting > config.limits.backlog_files and not _has_started(config, inbox):
        yield CheckFinding(
            "warning",
            f"inbox {inbox.name}: {waiting} old files wait, more than limits.backlog_files",
            f"move away what is not to be booked, or type: {to_type(MarkKind.BACKLOG, inbox.name)}",
        )
    else:
        yield CheckFinding("ok", f"inbox {inbox.name}: {waiting} files wait")


def _has_started(config: Config, inbox: Inbox) -> bool:
    if not config.database_path.exists():
        return False
    log = JobLog(config.database_path)
    try:
        log.database.open()
        return log.facts.inbox_started.of(inbox.name).get() is not None
    except JobLogError:
        return False
    finally:
        log.database.close()
