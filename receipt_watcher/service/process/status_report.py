"""The line that `systemctl status` shows: what the daemon does now.

What it promises: a line is sent only when it differs from the last one. The periodic tasks call it. A crash leaves
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from receipt_watcher.report.overview import DaemonOverview
from receipt_watcher.service.process.progress import WorkProgress


class StatusReport:
    """Reports what one daemon does; `send` is None if nobody listens."""

    def __init__(self, overview: DaemonOverview, progress: WorkProgress, send: Callable[[str], None] | None) -> None:
        self._overview = overview
        self._progress = progress
        self._send = send
        self._sent = ""  # last

    def report(self) -> None:
        """Send the line if it is news; that it can be made shows that the log answers, be it with an error."""
        try:
            if self._send is not None and (words := self._overview.in_one_line()) != self._sent:
                self._send(words)
                self._sent = words
        finally:
            self._progress.note_log_answer()
