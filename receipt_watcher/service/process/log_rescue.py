"""The rescue of the job log: it is written anew if it was deleted under us, and opened again when that is possible.

What it promises: a log that was deleted loses nothing while the process lives. The periodic tasks call it, and the main
thread once more at stop. A crash before the log was written anew leaves none; the next start rebuilds it from the
folders.
"""

from __future__ import annotations

from receipt_watcher.service.daemon_parts import SharedParts
from receipt_watcher.service.process.deadline_clock import DeadlineClock
from receipt_watcher.service.process.progress import WorkProgress


class LogRescue:
    """Looks after one job log."""

    def __init__(self, shared: SharedParts, deadlines: DeadlineClock, progress: WorkProgress) -> None:
        self._log, self._last_closed = shared.log, shared.last_closed
        self._installation = shared.installation
        self._stopping = shared.wakeups.stopping
        self._deadlines = deadlines
        self._progress = progress

    def check(self) -> None:
        """Write the log anew if it was deleted under us; see whether it can be written again."""
        if self._log.database.trouble is not None and not self._log.database.is_open and not self._stopping.is_set():
            self._log.database.open()  # it was written anew, and could not be opened then
        if self._log.database.is_displaced():
            with self._progress.rewriting_log():
                self._log.backup.restore(self._installation.restore)
        if self._log.database.trouble is not None:
            self._deadlines.write_alive()
        if self._log.database.trouble is None:
            self._last_closed.note()
        # Also while nothing is to be written: a program that keeps it locked is told of.
        self._log.database.prove_writable()
