"""Delivery windows that are closed now, and how many receipts wait for them: for `status`, health and `run --once`.

What it promises: the same words on every screen. Nothing is written.
"""

from __future__ import annotations

from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.state import Closed
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State


def closed_windows(config: Config, inbox: Inbox, log: JobLog, now: float) -> list[Closed]:
    """Return the windows of an inbox that are closed, the innermost subfolder's first, and at last its own."""
    closed = []
    for branch in config.branches(inbox):
        window = branch.window
        if window is not None and not window.is_open(now):
            queued = log.statistics.count([branch.key], State.QUEUED)
            closed.append(Closed(branch.key, window.text, window.opens_at(now), queued))
    return closed
