"""The counter of starts, by which a job log that was restored from a backup is told from the one that was in use.

What it promises: the counter grows with each start, and is written to the log first, then to the state folder, then to
processing/.owner of each spool. So a crash between two of them leaves the log ahead, never behind. A log whose counter
is smaller than one of the others was restored. A backup that we make is one behind from the beginning. `rebuild` finds
what a spool holds that such a log does not know; until that has ended nothing is taken in and nothing is sent.

`begin` and `expect` are called at start by the main thread, the rest by the inboxes' threads; any thread may ask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import structlog

from receipt_watcher.jobs.log.facts import Fact
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system.display import display_name
from receipt_watcher.system.state_dir import Installation

logger = structlog.get_logger()

#: Less than the counter of any spool, even of one that has none.
_NEVER_AGREED = -1


class Starts:
    """The counter of starts, as one daemon knows it."""

    def __init__(self, log: JobLog, installation: Installation) -> None:
        self._log = log
        self._installation = installation
        self._counter = 0
        self._due: set[str] = set()
        self._going_on: set[str] = set()
        self.has_claims = False  # that no worker holds: what may have been sent before the log was restored

    def begin(self) -> None:
        """Count this start, and notice whether the log is behind the state folder."""
        in_log, in_state = self._log.facts.starts.get() or 0, self._installation.counter()
        self._counter = max(in_log, in_state) + 1
        with self._log.database.transaction():
            self._log.facts.starts.put(self._counter)
            if in_log < in_state:
                self._log.facts.restored_at_start.put(self._counter)
        self._installation.keep_counter(self._counter)
        if in_log < in_state and self._log.facts.version.get() is not None:  # of a new log `rebuild` says enough
            self._log_behind("the state folder")

    def expect(self, spool: Spool) -> None:
        """Let everybody wait for a spool that the log is known to be behind of, before it is opened."""
        if self._counter and self._restored_at_start > self._known(spool):
            self._due.add(spool.name)
            self._going_on.add(spool.name)

    def is_behind(self, spool: Spool, installation_id: str, *, takes_over: bool = False) -> bool:
        """Whether the log was restored since this spool was in use last.

        Nobody knows what another installation did there since, whose spool we take over: its log may have been ours.
        """
        owner = spool.owner.installation
        if not self._counter or not owner or (owner != installation_id and not takes_over):
            return False
        if owner != installation_id:
            self._fact_of(spool).put(_NEVER_AGREED)  # also after a crash in the middle
            return True
        known, counter = self._known(spool), spool.owner.counter
        if counter > known and spool.name not in self._due:
            self._log_behind(f"{spool.folders.processing}/.owner")
        return counter > known or self._restored_at_start > known

    @contextlib.contextmanager
    def rebuilding(self, spool: Spool) -> Iterator[None]:
        """Let everybody wait while a spool is compared with the log."""
        self._due.add(spool.name)
        self._going_on.add(spool.name)
        self.has_claims = True
        try:
            yield
        finally:
            self._going_on.discard(spool.name)

    def put_off(self, spool: Spool) -> None:
        """Let nobody wait for a spool that is away; it is still to be compared."""
        self._going_on.discard(spool.name)

    def agree(self, spool: Spool) -> None:
        """Note that log and spool agree, as of this start: in the log first."""
        self._due.discard(spool.name)
        self._going_on.discard(spool.name)
        if not self._counter:
            return
        counter = max(self._counter, spool.owner.counter)
        if self._known(spool) != counter:
            with self._log.database.transaction():
                if counter > self._counter:  # the state folder had been restored, too
                    self._log.facts.starts.put(counter)
                self._fact_of(spool).put(counter)
        self._counter = counter
        spool.owner.keep_counter(counter)

    @property
    def is_rebuilding(self) -> bool:
        """Whether a spool that is there is still being compared: nothing is taken in or sent before that has ended."""
        return bool(self._going_on)

    @property
    def may_know_more(self) -> bool:
        """Whether a spool, be it away or not, may still hold receipts that the log does not know."""
        return bool(self._due)

    def _known(self, spool: Spool) -> int:
        return self._fact_of(spool).get() or 0

    @property
    def _restored_at_start(self) -> int:
        return self._log.facts.restored_at_start.get() or 0

    def _fact_of(self, spool: Spool) -> Fact[int]:
        return self._log.facts.starts_of_spool.of(display_name(spool.folders.processing))

    def _log_behind(self, where: str) -> None:
        logger.warning("job_log.behind", path=str(self._log.database.path), where=where)
