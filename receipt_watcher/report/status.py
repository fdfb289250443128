"""Status for `receipt-watcher status`: from the job log and the folders, whether the daemon runs or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import Any

from receipt_watcher import __version__
from receipt_watcher.config.options import Config
from receipt_watcher.config.schedule import clock_text, duration_text
from receipt_watcher.config.secrets import masked
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.delivery.naming import DestinationNames, names_of
from receipt_watcher.examine.examiners import Examiners, bounds_of
from receipt_watcher.inbox import state as snapshots
from receipt_watcher.inbox.state import Closed, InboxState
from receipt_watcher.inbox.wait_reasons import LONG_SECONDS
from receipt_watcher.inbox.watching.listing import listing_of
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.engine.sqlite import SQLITE_VERSION
from receipt_watcher.jobs.log.holds import DestinationState, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import ManualHold
from receipt_watcher.jobs.states import State
from receipt_watcher.report.balance.last_result import LastBalance, last_balance
from receipt_watcher.report.closed_windows import closed_windows
from receipt_watcher.report.file_causes import InboxContext, LongWait, long_waits
from receipt_watcher.report.health.held import Held, held_destination
from receipt_watcher.report.health.troubles import (
    LogTroubles,
    Trouble,
    TroubleKind,
    WaitingFile,
    in_order,
    troubles_of_files,
    troubles_of_inbox,
    troubles_of_state,
)
from receipt_watcher.system.display import display_name
from receipt_watcher.system.runtime_dir import noted_runtime_folder
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.system.time_limit import within

#: An inbox may answer nothing for so long: a person waits.
ANSWER_SECONDS = 5.0

#: So many files that wait for long are named.
_LONG_WAITS = 50

#: So many of each are shown as text: it is to fit a screen.
_NAMED = 5
_NAMED_FILES = 10

#: So many open receipts are looked at, those that were recorded first.
_LOOKED_AT = 1000

#: An open receipt that is older is shown by name.
_OLD_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk by a folder on it; bytes that are free for the one who asks, and in all."""

    path: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class InboxStatus:
    """One inbox: how it is watched, how many files wait in it, which for long, or why it cannot be read."""

    name: str
    path: str
    waiting: int | None
    trouble: str | None
    since: float | None
    snapshot: InboxState | None
    long_waits: list[LongWait]
    closed: list[Closed] = field(default_factory=list)

    def troubles(self, now: float) -> Iterator[Trouble]:
        """Yield what is wrong with the inbox: by its daemon, and by what is seen from here."""
        if self.snapshot is not None:
            yield from troubles_of_inbox(replace(self.snapshot, waiting=()), now)
        if self.trouble is not None:
            yield Trouble(TroubleKind.INBOX, f"inbox {self.name}: {self.trouble}", self.name)
        files = [
            WaitingFile(wait.path, wait.since, wait.cause.why, wait.cause.detail or wait.cause.why.meaning)
            for wait in self.long_waits
        ]
        yield from troubles_of_files(self.name, files, now)

    def lines(self, now: float, zone: tzinfo | None) -> Iterator[str]:
        """Yield the state of the inbox in lines."""
        yield f"{self.name}: {self.trouble or f'{self.waiting} waiting'} ({self.path})"
        if self.snapshot is not None:
            yield f"  watched by {self.snapshot.mode}: {self.snapshot.why_mode}; {self.snapshot.writers}"
        if self.snapshot is not None and self.snapshot.scanned_at is not None:
            yield f"  last scan: {clock_text(self.snapshot.scanned_at, now, zone)}"
        for closed in self.closed:
            yield f"  {closed.queued} receipts {closed.words}"
        for wait in self.long_waits[:_NAMED_FILES]:
            cause, seconds = wait.cause, now - wait.since
            waited = f"{seconds / 60:.0f} minutes" if seconds >= LONG_SECONDS else duration_text(seconds)
            yield f"  waits for {waited}: {display_name(wait.path)}"
            yield f"    {cause.why.value}: {cause.detail or cause.why.meaning}"
            yield f"    → {cause.what_to_do}"
        if len(self.long_waits) > _NAMED_FILES:
            yield f"  … and {len(self.long_waits) - _NAMED_FILES} more; --json names them, explain says why"

    def as_json(self) -> dict[str, Any]:
        """Return the state of the inbox as JSON takes it."""
        snapshot = self.snapshot
        return {
            "name": self.name,
            "path": self.path,
            "waiting": self.waiting,
            "trouble": self.trouble,
            "unavailable_since": iso_time(self.since),
            "mode": snapshot.mode if snapshot else None,
            "why_mode": snapshot.why_mode if snapshot else None,
            "writers": snapshot.writers if snapshot else None,
            "scanned_at": iso_time(snapshot.scanned_at) if snapshot else None,
            "closed": [
                {
                    "branch": closed.branch,
                    "deliver_when": closed.text,
                    "opens_at": iso_time(closed.opens_at),
                    "queued": closed.queued,
                }
                for closed in self.closed
            ],
            "long_waits": [
                {
                    "path": display_name(wait.path),
                    "since": iso_time(wait.since),
                    "code": wait.cause.why.value,
                    "meaning": wait.cause.why.meaning,
                    "detail": wait.cause.detail,
                    "advice": wait.cause.what_to_do,
                }
                for wait in self.long_waits
            ],
        }


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A receipt that is not concluded, and since when (Unix seconds): it was recorded, or retried, then."""

    job: Job
    since: float


@dataclass(frozen=True, slots=True)
class Status:
    """The status of the whole installation; `listed` is what an admin should look at.

    `failing` destinations answered wrongly the last time, and are not held yet.
    """

    is_running: bool
    inboxes: list[InboxStatus]
    counts: dict[State, int]
    names: DestinationNames
    held: list[Held]
    failing: list[DestinationState]
    old: list[OpenJob]
    removed: int
    now: float
    balance: LastBalance | None = None
    by_hand: Sequence[ManualHold] = ()
    failed: Sequence[Job] = ()
    oldest: OpenJob | None = None
    listed: Sequence[Trouble] = ()
    disks: Sequence[Disk] = ()
    versions: Mapping[str, str | None] = field(default_factory=dict)
    zone: tzinfo | None = None

    @property
    def troubles(self) -> list[str]:
        """The texts of what an admin should look at."""
        return [trouble.text for trouble in self.listed]

    def _at(self, at: float | None) -> str:
        return clock_text(at, self.now, self.zone) if at is not None else "?"

    def lines(self) -> Iterator[str]:
        """Yield the whole status in lines."""
        yield "The daemon is running." if self.is_running else "The daemon is not running."
        for inbox in self.inboxes:
            yield from inbox.lines(self.now, self.zone)
        for hold in self.by_hand:
            yield f"Held by hand since {self._at(hold.since)}: {self.names.held_in_words(hold)}{hold.words}"
            yield f"  → receipt-watcher resume {self.names.held(hold)}"
        yield "Jobs: " + ", ".join(f"{number} {state.value}" for state, number in self.counts.items())
        if self.removed:
            yield f"Removed by retention: the files of {self.removed} jobs"
        if self.balance is not None:
            absent = f", {self.balance.absent} absent" if self.balance.absent else ""
            yield f"Balance of {self._at(self.balance.at)}: {self.balance.wrong or 'no'} disagreements{absent}"
        if self.oldest is not None and not self.old:
            since = duration_text(self.now - self.oldest.since)
            yield f"Oldest waiting: {self.oldest.job.filename} ({self.oldest.job.state.value}), for {since}"
        yield from self._lines_of_jobs()
        for standing in self.failing:
            yield f"N8N {standing.trouble}"
        for disk in self.disks:
            yield f"Disk of {disk.path}: {disk.free_bytes / 1e9:,.1f} GB of {disk.total_bytes / 1e9:,.1f} GB free"
        if self.versions:
            yield "Versions: " + ", ".join(f"{name} {version}" for name, version in self.versions.items() if version)
        for trouble in self.troubles:
            yield f"Look at this: {trouble}"

    def _lines_of_jobs(self) -> Iterator[str]:
        for job, since in ((waiting.job, waiting.since) for waiting in self.old[:_NAMED]):
            minutes = (self.now - since) / 60
            yield f"Open for {minutes:.0f} minutes: {job.filename} ({job.state.value}, {job.job_id})"
        if len(self.old) > _NAMED:
            yield "  … and more; receipt-watcher jobs --status queued --status processing names them"
        for job in self.failed:
            reason = job.reason.value if job.reason else ""
            yield f"Failed at {self._at(job.completed_at)}: {job.filename} ({reason}, {job.job_id})"

    def as_json(self) -> dict[str, Any]:
        """Return the whole status as JSON takes it."""
        return {
            "running": self.is_running,
            "inboxes": [inbox.as_json() for inbox in self.inboxes],
            "jobs": {state.value: number for state, number in self.counts.items()},
            "removed": self.removed,
            "holds": [
                {
                    "destination": held.name,
                    "url": masked(held.standing.url),
                    "inboxes": held.inboxes,
                    "waiting": held.waiting,
                    "kind": held.standing.hold_kind,
                    "since": iso_time(held.standing.held_since),
                    "message": held.standing.hold_message,
                    "next_probe_at": iso_time(held.standing.next_probe_at(self.now)),
                }
                for held in self.held
            ],
            "failing": [{"times": standing.misses, "message": standing.hold_message} for standing in self.failing],
            "balance": self.balance
            and {
                "at": iso_time(self.balance.at),
                "received": self.balance.received,
                "disagreements": self.balance.wrong,
                "absent": self.balance.absent,
            },
            "old": [
                {"job_id": job.job_id, "filename": job.filename, "status": job.state.value}
                for job in (waiting.job for waiting in self.old)
            ],
            "held_by_hand": [
                {
                    "kind": hold.kind.value,
                    "name": self.names.held(hold),
                    "since": iso_time(hold.since),
                    "why": hold.why,
                }
                for hold in self.by_hand
            ],
            "failed": [
                {
                    "job_id": job.job_id,
                    "filename": job.filename,
                    "reason": job.reason.value if job.reason else None,
                    "failed_at": iso_time(job.completed_at),
                }
                for job in self.failed
            ],
            "disks": [
                {"path": disk.path, "free_bytes": disk.free_bytes, "total_bytes": disk.total_bytes}
                for disk in self.disks
            ],
            "versions": dict(self.versions),
            "troubles": self.troubles,
        }


def collect_status(config: Config, log: JobLog, holds: Holds, installation: Installation, now: float) -> Status:
    """Collect the status of all inboxes, jobs, destinations and disks."""
    destinations = names_of(config)
    standings = [standing for standing in holds.all() if standing.url in destinations.by_url]
    is_running = installation.is_running()
    inboxes = [_inbox_status(config, inbox, log, now, is_running=is_running) for inbox in config.inboxes]
    daemon_version = log.facts.version.get() if is_running else None
    oldest_first = [_open_job(log, job) for job in log.lookups.oldest_open(now, _LOOKED_AT)]
    waiting = sorted(oldest_first, key=lambda job: job.since)
    log_troubles = LogTroubles(config, log, holds, destinations, started_at=now)
    return Status(
        is_running=is_running,
        inboxes=inboxes,
        counts=log.statistics.counts(),
        names=destinations,
        held=[held_destination(config, log, destinations, standing, now) for standing in standings if standing.is_held],
        failing=[standing for standing in standings if standing.trouble and not standing.is_held],
        old=[job for job in waiting if now - job.since >= _OLD_SECONDS][:20],
        removed=log.statistics.removed_files(),
        oldest=next(iter(waiting), None),
        now=now,
        zone=config.notify.zone,
        balance=last_balance(log),
        by_hand=log.manual_holds.all(),
        failed=log.lookups.last_failures(_NAMED),
        listed=in_order(
            [
                *_troubles_of_daemon(daemon_version, is_running=is_running),
                *troubles_of_state([config.state_dir, config.database_path.parent], config.limits.min_free_mb),
                *(trouble for inbox in inboxes for trouble in inbox.troubles(now)),
                *log_troubles.all(now),
            ]
        ),
        disks=list(_disks(config)),
        versions={
            "receipt-watcher": __version__,
            "daemon": daemon_version,
            "schema": log.database.schema(),
            "Python": ".".join(map(str, sys.version_info[:3])),
            "SQLite": SQLITE_VERSION,
        },
    )


def _open_job(log: JobLog, job: Job) -> OpenJob:
    return OpenJob(job, max(job.created_at, log.histories.last_retry(job.job_id) or 0.0))


def _troubles_of_daemon(version: str | None, *, is_running: bool) -> Iterator[Trouble]:
    if not is_running:
        yield Trouble(TroubleKind.NOT_RUNNING, "the daemon is not running; nothing is taken in")
    elif version not in (None, __version__):
        text = f"the daemon was started as version {version}, and this is {__version__}: restart it"
        yield Trouble(TroubleKind.VERSION, text)


def _disks(config: Config) -> Iterator[Disk]:
    """Yield each disk that receipts or the log are on, once; one that does not answer is reported with its inbox."""
    known = set()
    for folder in (config.state_dir, *(folder for inbox in config.inboxes for folder in (inbox.path, inbox.done_dir))):
        try:
            device, usage = within(ANSWER_SECONDS, partial(_usage_of, folder), folder)
        except OSError:
            continue
        if device not in known:
            known.add(device)
            yield Disk(str(folder), usage.free, usage.total)


def _usage_of(folder: Path) -> tuple[int, Any]:
    return folder.stat().st_dev, disk_usage(folder)


def _inbox_status(config: Config, inbox: Inbox, log: JobLog, now: float, *, is_running: bool) -> InboxStatus:
    folder = noted_runtime_folder(config.state_dir)
    snapshot = snapshots.read(snapshots.snapshot_file(folder, inbox.name)) if is_running else None
    waiting, trouble = None, None
    waits: list[LongWait] = []
    try:
        with Examiners(bounds_of(config).brief(), is_logged=False) as examiners:
            context = InboxContext(config, inbox, snapshot, log, examiners.examine)
            waiting, waits = within(ANSWER_SECONDS, lambda: _waiting(context, now), inbox.path)
    except OSError as error:
        trouble = f"cannot be read: {error.strerror}"
    since = None
    if snapshot is not None and snapshot.unavailable:
        trouble, since = f"unavailable: {snapshot.unavailable}", snapshot.unavailable_since
    closed = closed_windows(config, inbox, log, now)
    return InboxStatus(inbox.name, str(inbox.path), waiting, trouble, since, snapshot, waits, closed)


def _waiting(context: InboxContext, now: float) -> tuple[int, list[LongWait]]:
    """Return how many files wait, and those that wait for long."""
    waiting = sum(1 for _ in listing_of(context.inbox).files())
    return waiting, long_waits(context, now, _LONG_WAITS)
