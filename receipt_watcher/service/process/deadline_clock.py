"""The time that deadlines and pauses wait: right also when the clock jumps, the machine sleeps or the daemon is away.

What it promises: nothing expires by time in which no callback could have been heard. What is still to come moves with
the clock. The job log keeps when the daemon was last alive, so a crash costs what has passed since then.

The periodic tasks call it, and the main thread at start and at stop.
"""

from __future__ import annotations

import structlog

from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.service.daemon_parts import SharedParts
from receipt_watcher.system.clock import SteadyClock

logger = structlog.get_logger()


class DeadlineClock:
    """Moves the times in one job log."""

    def __init__(self, shared: SharedParts) -> None:
        self._log: JobLog = shared.log
        self._holds: Holds = shared.holds
        self._clock: SteadyClock = shared.clock
        self._ring_stages = shared.wakeups.ring_stages

    def resume(self, longest_pause_seconds: float) -> None:
        """Let deadlines stand still for the time that we were away; no pause may be longer than it can have been."""
        now = self._clock()
        alive_at = self._log.facts.alive_at.get() or now
        with self._log.database.transaction():
            if alive_at > now:  # the clock was set back meanwhile
                self._shift_times(now - alive_at, now)
            self._log.jobs.postpone_deadlines(alive_at, now)
            self._log.jobs.bring_forward(now + longest_pause_seconds)
            self._log.facts.alive_at.put(now)

    def follow_clock(self) -> None:
        """Move all that is still to come by the jump of the system's clock, so that it comes when it should."""
        jump = self._clock.jump_seconds()
        if not jump:
            return
        asleep = self._clock.asleep_seconds()
        with self._log.database.reading():  # who reads the clock in a transaction gets a time that fits the log's
            now = self._clock() + jump
            with self._log.database.transaction():
                self._shift_times(jump, now)
                self._log.facts.alive_at.put(now)
            self._clock.follow(jump)
        logger.warning("clock.jumped", seconds=round(jump, 1), asleep_seconds=round(asleep, 1))
        self._ring_stages()

    def note_alive(self) -> None:
        """Remember that deadlines are running; while none does, nothing is written and a disk may sleep."""
        if self._log.lookups.next_deadline() is not None:
            self.write_alive()

    def write_alive(self) -> None:
        """Write down that we are alive; what writes shows whether the job log can be written."""
        self._log.facts.alive_at.put(self._clock())

    def prove_log(self) -> None:
        """See that the job log can be written: who takes our place begins with that, and has no other one.

        Raises:
            JobLogError: it cannot, or was deleted and not written anew yet.
        """
        self.write_alive()
        if self._log.database.trouble is not None:
            raise JobLogError(self._log.database.trouble)

    def _shift_times(self, seconds: float, now: float) -> None:
        self._log.jobs.shift_times(seconds, now)
        self._holds.shift_times(seconds)
