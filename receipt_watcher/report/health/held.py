"""Destinations that are held: whose receipts wait, how many, and all that in words.

Any thread may call it; it writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from receipt_watcher.config.options import Config
from receipt_watcher.config.schedule import clock_text
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.jobs.log.holds import DestinationState, HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State


@dataclass(frozen=True, slots=True)
class Held:
    """A destination that is held: whose receipts wait for it, how many, and all that in words."""

    name: str
    standing: DestinationState
    inboxes: list[str]
    waiting: int
    words: str


def held_destination(
    config: Config, log: JobLog, names: DestinationNames, standing: DestinationState, now: float
) -> Held:
    """Return what there is to say of a destination that is held.

    Raises:
        JobLogError: the log cannot be asked.
    """
    name = names.name_of(standing.url)
    branches = config.branches_to(standing.url)
    since = clock_text(standing.held_since or now, now, config.notify.zone)
    inboxes = list(dict.fromkeys(branch.partition("/")[0] for branch in branches))
    waiting = log.statistics.count(branches, State.QUEUED, State.DELIVERING)
    overdue = len(log.lookups.overdue(branches, now)) if standing.hold_kind is HoldKind.SILENCE else 0
    probe_at = standing.probe_at or now
    next_try = clock_text(probe_at, now, config.notify.zone) if probe_at > now else "now"
    if not waiting:
        next_try = "with the next receipt"
    counts = f"{waiting} waiting" + (f", {overdue} without a callback" if overdue else "")
    words = f"N8N at {name} is on hold since {since} ({', '.join(inboxes)}: {counts}; next try {next_try})"
    return Held(name, standing, inboxes, waiting, words)
