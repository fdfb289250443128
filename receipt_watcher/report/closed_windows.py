"""Which delivery windows are closed now, and how many receipts wait for them: for `status`, health and `run --once`.

What it promises: the same words wherever it is told. Nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from receipt_watcher.config.options import Config, Inbox
from receipt_watcher.jobs.job import State
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.transitions import JobLog


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


def closed_windows(config: Config, inbox: Inbox, log: JobLog, now: float) -> list[Closed]:
    """Return the windows of an inbox that are closed, the innermost subfolder's first, and at last its own."""
    found = []
    for name, own in (*inbox.subfolders, ("", None)):
        window = config.window_of(inbox, own)
        if window is not None and not window.is_open(now):
            branch = f"{inbox.name}/{name}" if name else inbox.name
            queued = log.count([branch], State.QUEUED)
            found.append(Closed(branch, window.text, window.opens_at(now), queued))
    return found
