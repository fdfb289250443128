"""What `receipt-watcher status` says: from the job log and the folders, whether the daemon runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from receipt_watcher.config import Config, Inbox
from receipt_watcher.holds import Holds, Standing
from receipt_watcher.inbox import InboxWatch
from receipt_watcher.installation import Installation
from receipt_watcher.job import OPEN_STATES, Job, State
from receipt_watcher.joblog import JobLog
from receipt_watcher.view import iso_time

#: An open receipt that is older is shown by name.
_OLD_SECONDS = 600


@dataclass(frozen=True, slots=True)
class InboxStatus:
    """One inbox: how many files wait in it, or why it cannot be read."""

    name: str
    path: str
    waiting: int | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole picture; `troubles` is what somebody should look at."""

    is_running: bool
    inboxes: list[InboxStatus]
    counts: dict[State, int]
    held: list[Standing]
    old: list[Job]
    unrouted: int
    now: float

    @property
    def troubles(self) -> list[str]:
        """What is wrong, a line each."""
        found = [] if self.is_running else ["the daemon is not running; nothing is taken in"]
        found += [f"inbox {inbox.name}: {inbox.trouble}" for inbox in self.inboxes if inbox.trouble]
        found += [
            f"N8N is held since {iso_time(standing.held_since)}: {standing.hold_message}" for standing in self.held
        ]
        if self.unrouted:
            found.append(
                f"{self.unrouted} open jobs belong to inboxes that are no longer configured; configure them again"
            )
        return found

    def lines(self) -> Iterator[str]:
        """Yield it as text."""
        yield "The daemon is running." if self.is_running else "The daemon is not running."
        for inbox in self.inboxes:
            yield f"{inbox.name}: {inbox.trouble or f'{inbox.waiting} waiting'} ({inbox.path})"
        yield "Jobs: " + ", ".join(f"{number} {state.value}" for state, number in self.counts.items())
        for job in self.old:
            minutes = (self.now - job.created_at) / 60
            yield f"Open for {minutes:.0f} minutes: {job.filename} ({job.state.value}, {job.job_id})"
        for trouble in self.troubles:
            yield f"Look at this: {trouble}"

    def as_json(self) -> dict[str, Any]:
        """Return it for other programs."""
        return {
            "running": self.is_running,
            "inboxes": [
                {"name": inbox.name, "path": inbox.path, "waiting": inbox.waiting, "trouble": inbox.trouble}
                for inbox in self.inboxes
            ],
            "jobs": {state.value: number for state, number in self.counts.items()},
            "holds": [
                {
                    "kind": standing.hold_kind,
                    "since": iso_time(standing.held_since),
                    "message": standing.hold_message,
                    "next_probe_at": iso_time(standing.probe_at),
                }
                for standing in self.held
            ],
            "old": [{"job_id": job.job_id, "filename": job.filename, "status": job.state.value} for job in self.old],
            "troubles": self.troubles,
        }


def status_of(config: Config, log: JobLog, holds: Holds, installation: Installation, now: float) -> Status:
    """Collect the picture."""
    urls = {config.webhook_url_of(inbox) for inbox in config.inboxes}
    names = [inbox.name for inbox in config.inboxes]
    counts = log.counts()
    routed = log.count(names, *OPEN_STATES)
    return Status(
        is_running=installation.is_running(),
        inboxes=[_inbox_status(inbox) for inbox in config.inboxes],
        counts=counts,
        held=[standing for standing in holds.all() if standing.is_held and standing.url in urls],
        old=log.open_since(now - _OLD_SECONDS, limit=20),
        unrouted=sum(counts[state] for state in OPEN_STATES) - routed,
        now=now,
    )


def _inbox_status(inbox: Inbox) -> InboxStatus:
    watch = InboxWatch(inbox)
    try:
        waiting = sum(1 for _ in watch.files())
    except OSError as error:
        return InboxStatus(inbox.name, str(inbox.path), None, f"cannot be read: {error.strerror}")
    return InboxStatus(inbox.name, str(inbox.path), waiting, None)
