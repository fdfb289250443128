"""The opening of all inboxes at start, each in a thread of its own, and the watch over file systems that hang.

What it promises: a file system that answers nothing delays no other inbox. The main thread calls it; `supervise` is
also a periodic task. A crash leaves what each gate leaves.
"""

from __future__ import annotations

import threading

import structlog

from receipt_watcher.inbox.gate import Gate
from receipt_watcher.service.daemon_parts import DaemonParts

logger = structlog.get_logger()

#: Longest wait of a start for inboxes to open. An inbox on a file system that hangs opens when that answers again.
OPEN_LIMIT_SECONDS = 6.0


class InboxOpenings:
    """The inboxes of one daemon, as they are opened at start."""

    def __init__(self, parts: DaemonParts) -> None:
        self._log, self._starts = parts.shared.log, parts.shared.starts
        self._gates = parts.stages.gates
        self._deliveries = parts.shared.wakeups.deliveries
        self._monotonic = parts.shared.monotonic
        self._threads: list[threading.Thread] = []

    @property
    def have_begun(self) -> bool:
        """Return whether the spools may be ours; before, they may be those of the daemon that kept us out."""
        return bool(self._threads)

    def open_all(self) -> None:
        """Open all inboxes, each in a thread of its own: a file system that answers nothing delays nobody else.

        Raises:
            ForeignSpoolError: a spool belongs to another installation.
            LockedError: another daemon is using it.
        """
        if self._log.database.trouble is None:
            for gate in self._gates:
                self._starts.expect(gate.route.spool)
        for gate in self._gates:
            opening = threading.Thread(target=self._open, args=[gate], name=gate.route.name, daemon=True)
            self._threads.append(opening)
            opening.start()
        self.wait(OPEN_LIMIT_SECONDS)
        self.supervise()
        for gate in self._gates:
            if gate.start_error is not None:
                raise gate.start_error

    def _open(self, gate: Gate) -> None:
        try:
            gate.open_first()
        except Exception:
            logger.exception("stage.failed", stage="open")  # its rounds try again

    def wait(self, seconds: float) -> bool:
        """Wait for so long at most; return whether every inbox has been opened, or is known to be unavailable."""
        ends_at = self._monotonic() + seconds
        for opening in self._threads:
            opening.join(max(0.0, ends_at - self._monotonic()))
        return not any(opening.is_alive() for opening in self._threads)

    def supervise(self) -> None:
        """Notice inboxes whose file system answers nothing, which they cannot say themselves."""
        for gate in self._gates:
            gate.supervise()
        if any(gate.limit.is_exceeded for gate in self._gates):
            self._deliveries.ring()  # its workers are replaced now
