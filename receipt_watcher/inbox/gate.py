"""The gate of one inbox: open while its folders are there, and then everything that has settled comes in.

What it promises: a folder that is away closes this gate only, is logged once, and opens it again by itself. The
folder's rounds and the uploads have the gate in turns, one at a time.

`round` is called by the inbox's own thread, `take_upload` by those that bring uploads; `open_first` by a thread of its
own before all of them, `supervise` by a periodic task: it alone reports a file system that answers nothing at all.
A crash leaves a file in inbox/ or in processing/: `opening` records it at the next start.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from receipt_watcher.errors import ForeignSpoolError, JobLogError, LockedError, ReceiptWatcherError, SpoolError
from receipt_watcher.inbox.observer import InboxObserver, StateSources
from receipt_watcher.inbox.opening import GateSettings, GateStages, SpoolOpening, cause_of
from receipt_watcher.inbox.recording import BATCH_FILES, TakenFile
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.inbox.take_in import RoomWait, Upload
from receipt_watcher.inbox.turns import AnswerLimit, Turns
from receipt_watcher.inbox.watching.settling import Settled
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import ManualHold
from receipt_watcher.spool.identity.start_counter import Starts
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.system.wakeup import Bell

#: A folder that is away is looked for again so soon.
RETRY_SECONDS = 2.0


class Gate:
    """One inbox, its spool, and the thread that takes in."""

    def __init__(
        self,
        route: InboxRoute,
        watch: InboxWatch,
        bell: Bell,
        settings: GateSettings,
        *,
        stages: GateStages,
        log: JobLog,
        stopping: threading.Event,
        monotonic: Callable[[], float],
        clock: Callable[[], float],
        starts: Starts | None = None,
    ) -> None:
        self.route = route
        self.watch = watch
        self.bell = bell
        self.is_idle = False  # the last round left nothing to settle or to take
        self.start_error: ReceiptWatcherError | None = None  # what must be fixed before the daemon can start
        self.limit = AnswerLimit(monotonic, lambda: log.database.locked.last_at)
        self.observer = InboxObserver(
            route,
            watch,
            StateSources(
                writers=stages.take_in.writers,
                filing=stages.filing,
                log=log,
                min_free_mb=settings.min_free_mb,
                status_file=settings.status_file,
                snapshot_file=settings.snapshot_file,
                tells_scans=settings.tells_scans,
            ),
            clock=clock,
            monotonic=monotonic,
        )
        self._manual_holds = log.manual_holds
        self._manual_hold: ManualHold | None = None  # as of the last round
        self._take_in = stages.take_in
        self._stopping = stopping
        self._monotonic = monotonic
        self._clock = clock
        self._starts = starts or Starts(log, Installation(Path()))
        self._opening = SpoolOpening(
            route,
            watch,
            settings,
            stages=stages,
            log=log,
            starts=self._starts,
            limit=self.limit,
            observer=self.observer,
            clock=clock,
            monotonic=monotonic,
        )
        self._room = RoomWait(route.spool.folders.processing, self.observer, monotonic)
        self._is_left = False  # nothing begins here any more
        self._turns = Turns()  # one thread works on this gate at a time
        watch.progress = self.limit.expect

    @property
    def state(self) -> InboxState:
        """The inbox as it is now, for every screen."""
        return self.observer.state

    def open_first(self) -> None:
        """Open at start; what is away is waited for, what is somebody else's is an error of the start."""
        self._turns.take()
        try:
            self._opening.open()
        except (ForeignSpoolError, LockedError) as error:
            if isinstance(error, LockedError) and error.is_ours:  # the daemon before a reload: see `leave`
                self._shut(error)
            else:
                self.start_error = error
        except (OSError, SpoolError, JobLogError) as error:
            self._shut(error)
        finally:
            self._opening.may_take_over = False
            self._give_back()

    def round(self) -> float:
        """Open if need be, take in what has settled, and return how long to wait for the bell, in seconds."""
        if not self._turns.take_round():
            return RETRY_SECONDS  # it is still being opened, or an upload's turn, which rings when it ends
        try:
            pause = self._round()
            self.limit.expect()
            self.observer.look_around()
            return pause
        finally:
            self.limit.note_work()
            self._give_back()
            if not self._is_left:
                self.observer.refresh()

    def _round(self) -> float:
        self.is_idle = False
        try:
            if not self.route.is_ready:
                self._opening.open()
            self.limit.expect()
            self.route.spool.presence.check()
            self.route.spool.owner.check()
            self._opening.recover_if_due()
            if self._starts.is_rebuilding or self._opening.waits_for_acceptance():
                return RETRY_SECONDS
            self.limit.expect()
            self._look_for_manual_hold()
            may_take = self._manual_hold is None and self._room.is_due()
            settled = self.watch.settled(self._monotonic(), BATCH_FILES if may_take else 0)
            if settled and not self._stopping.is_set():
                self._take(settled)
            elif may_take and not self.watch.settler:
                self._room.end()  # what needed the room is gone
            no_room = self._room.report()
        except (OSError, SpoolError, ForeignSpoolError, LockedError) as error:
            self._shut(error)
            return RETRY_SECONDS
        finally:
            self.observer.log_parked()
        if self._manual_hold is not None or no_room is not None:
            self.is_idle = self._manual_hold is not None  # what lies there is nobody's to take
            return RETRY_SECONDS
        self.is_idle = len(self.watch.settler) == 0  # what was taken is in the log by now
        return self.watch.next_due() - self._monotonic()

    def _look_for_manual_hold(self) -> None:
        with contextlib.suppress(JobLogError):  # then it is as it was: nothing can be taken without the log anyway
            self._manual_hold = self._manual_holds.of_inbox(self.route.name)
            self.observer.is_held = self._manual_hold is not None

    def take_leave(self, *, is_stop: bool = True) -> None:
        """End the rounds, and at a stop write into the status file that nothing is taken any more.

        The inbox's own thread does so last of all.
        """
        self._turns.end_rounds()
        if is_stop and self._turns.take_if_free():
            try:
                self.limit.expect()
                self.observer.write_stop()
            finally:
                self._give_back()

    def leave(self) -> None:
        """Close for good: now, or, while a thread waits in here for the file system, as soon as that has answered.

        So nobody else has the spool while a receipt is still being moved, and a file that hangs is not closed by a
        thread that must not wait for it.
        """
        self.route.is_ready = False
        self._is_left = True
        self._close_if_left()

    def _give_back(self) -> None:
        """End one thread's turn."""
        self.limit.end()
        self._turns.give_back()
        self._close_if_left()

    def _close_if_left(self) -> None:
        if self._is_left and self._turns.take_if_free():
            try:
                self.close()
            finally:
                self._turns.give_back()

    def close(self) -> None:
        """Stop watching and give the spool back; harmless when called twice."""
        self.route.is_ready = False
        self.watch.stop()
        self.route.spool.close()

    def _shut(self, error: Exception) -> None:
        self._room.forget()
        self._lose(cause_of(error, self.watch.path))  # first: else it would seem not to be open yet
        self.close()

    def _lose(self, why: str) -> None:
        self._starts.put_off(self.route.spool)
        self.observer.lose(why)

    def supervise(self) -> None:
        """Report a round that hangs: its own thread cannot."""
        if self.limit.is_exceeded:
            self.route.is_ready = False  # the next round opens everything again, if there is one
            self._lose(f"{self._opening.asked} does not answer: its server, or the way to it, is gone")
            self.observer.refresh()

    # --- taking in ---------------------------------------------------------------------------------------------

    def _take(self, settled: list[Settled]) -> None:
        with self._opening.leaving_no_orphan():
            taken: list[TakenFile] = []
            for number, file in enumerate(settled):
                self.limit.expect_move()  # for each file again: across file systems each move is a copy
                self.route.spool.owner.check()  # another daemon that asks waits for seconds only
                try:
                    outcome = self._take_in.take(self.route, file)
                except OSError as error:
                    if not self._room.begin(error, file.relative, file.seen.signature.size):
                        raise
                    self.watch.settler.give_again(settled[number:])
                    break
                if isinstance(outcome, TakenFile):
                    taken.append(outcome)
                    self._room.end()
                elif outcome is not None:
                    self.watch.settler.park(outcome.settled, outcome.why, outcome.detail, self._monotonic())
            self._take_in.recording.record(self.route, taken)

    def take_upload(self, upload: Upload, wait_seconds: float) -> Job | None:
        """Take in a file that came by HTTP, between two rounds; called by the worker thread that brings it.

        None if it was taken before: see `TakeIn.take_upload`.

        Raises:
            OSError: the disk does not take it.
            SpoolError: the inbox cannot be used now, or is busy for longer than `wait_seconds`.
        """
        folder = self.route.spool.folders.processing
        if not self._turns.take(wait_seconds):
            raise SpoolError("the inbox is busy", folder)
        try:
            why = self.observer.state.unavailable
            if self._stopping.is_set() or not self.route.is_ready or why is not None:
                raise SpoolError(why or "the inbox is not open", folder)
            if self._starts.is_rebuilding:
                raise SpoolError("the folders are being compared with a job log that was restored", folder)
            hold = self._manual_holds.of_inbox(self.route.name)
            if hold is not None:
                raise SpoolError(f"the inbox is held by hand{hold.words}", folder)
            self.limit.expect_move()
            self.route.spool.owner.check()
            with self._opening.leaving_no_orphan():
                job = self._take_in.take_upload(self.route, upload)
        except ForeignSpoolError as error:
            raise SpoolError(str(error), folder) from error
        except OSError as error:
            if not self._room.begin(error, upload.relative, upload.examination.size):
                raise
            raise SpoolError(self._room.report() or str(error), folder) from error
        else:
            return job
        finally:
            self._give_back()
            self.bell.ring()  # a round that came meanwhile went away, and has the next turn
