"""Which delivery windows are closed now, and how many receipts wait for them: for `status`, health and `run --once`.

What it promises: the same words wherever it is told. Nothing is written.
"""

from __future__ import annotations

from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.state import Closed
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State


def closed_windows(config: Config, inbox: Inbox, log: JobLog, now: float) -> list[Closed]:
    """Return the windows of an inbox that are closed, the innermost subfolder's first, and at last its own."""
    found = []
    for name, own in (*inbox.subfolders, ("", None)):
        window = config.window_of(inbox, own)
        if window is not None and not window.is_open(now):
            branch = f"{inbox.name}/{name}" if name else inbox.name
            queued = log.statistics.count([branch], State.QUEUED)
            found.append(Closed(branch, window.text, window.opens_at(now), queued))
    return found
