"""The gate of one inbox: open while its folders are there, and then everything that has settled comes in.

What it promises: a folder that is away closes this gate only, is said once, and opens it again by itself; what a
crash or an error left in processing/ is recorded before anything new is taken. A share that was unmounted leaves an
empty folder in its place: that is another place, not an empty inbox. Old files at the very first start wait until
somebody accepts them.

`round` is called by the inbox's own thread, `take_upload` by those that bring uploads, one at a time and in turns
(`turns`); `open_first` by a thread of its own before all of them, `supervise` by a periodic task: it alone says so when
the file system answers nothing at all.
The job log keeps which places the folders are (`bindings`), so that a restart in the midst of an outage takes no other
ones for them.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import heapq
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from receipt_watcher.errors import ForeignSpoolError, JobLogError, LockedError, ReceiptWatcherError, SpoolError
from receipt_watcher.inbox import state
from receipt_watcher.inbox.recording import BATCH_FILES, TakenFile
from receipt_watcher.inbox.state import Snapshot, Waiting
from receipt_watcher.inbox.status_file import StatusFile
from receipt_watcher.inbox.take_in import ParkedFile, TakeIn, Upload
from receipt_watcher.inbox.turns import Turns
from receipt_watcher.inbox.wait_reasons import LONG_SECONDS, WaitReason
from receipt_watcher.inbox.watching.settling import Seen, Settled
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import ManualHold
from receipt_watcher.spool.accepted_marks import MarkKind, Marks, sight_of
from receipt_watcher.spool.bindings import Bindings, recovered_fact
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.owner import ANSWER_SECONDS
from receipt_watcher.spool.rebuild import await_open_jobs, rebuild
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.spool.start_counter import Starts
from receipt_watcher.system.display import display_name
from receipt_watcher.system.open_files import Writers
from receipt_watcher.system.permissions import folder_advice, refusal_and
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: How soon a folder that is away is looked for again.
RETRY_SECONDS = 2.0

#: How long the file system may answer nothing: while the folder is looked at, and while a receipt is moved. By taste:
#: a share that is slow answers each call within a second, but a copy across file systems is one long call.
LOOK_LIMIT_SECONDS = 5.0
MOVE_LIMIT_SECONDS = 60.0

#: A file that waits for less is nobody's concern, and at most so many are named.
_SNAPSHOT_AFTER_SECONDS = 5.0
_SNAPSHOT_PAUSE_SECONDS = 2.0
_SNAPSHOT_FILES = 1000

#: How often it is told when the inbox was scanned.
_SCAN_TOLD_SECONDS = 60.0

_NEEDS_A_PERSON = frozenset({WaitReason.UNREADABLE, WaitReason.UNEXAMINED, WaitReason.IMMOVABLE})


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a gate needs of the configuration and the command line.

    `take_over` accepts whatever is there at the start. Later, or by a command, that takes one of the `marks`.
    """

    installation_id: Callable[[], str]
    take_over: bool
    accept_backlog: bool
    backlog_files: int
    snapshot_file: Path | None = None
    tells_scans: bool = False  # beside the snapshot, which is in memory then
    marks: Marks | None = None
    accept_command: str = "receipt-watcher accept-backlog"


class Gate:
    """One inbox, its spool, and the thread that takes in."""

    def __init__(
        self,
        route: InboxRoute,
        watch: InboxWatch,
        bell: Bell,
        settings: GateSettings,
        *,
        log: JobLog,
        take_in: TakeIn,
        filing: Filing,
        ring: Callable[[], None],
        stopping: threading.Event,
        monotonic: Callable[[], float],
        clock: Callable[[], float],
        starts: Starts | None = None,
        status_file: StatusFile | None = None,
    ) -> None:
        self.route = route
        self.watch = watch
        self.bell = bell
        self.unavailable: str | None = None  # why nothing is taken now: for the log, health and status
        self.is_idle = False  # the last round left nothing to settle or to take
        self.worked_at = monotonic()  # when this gate last went on, by the monotonic clock
        self.start_error: ReceiptWatcherError | None = None  # what must be mended before the daemon can start
        self._settings = settings
        self._log = log
        self._hand_holds = log.manual_holds
        self._hand_hold: ManualHold | None = None  # as of the last round
        self._bindings = Bindings(log, route.name, route.spool.folders)
        self._may_take_over = settings.take_over
        self._take_in = take_in
        self._filing = filing
        self._ring = ring
        self._stopping = stopping
        self._monotonic = monotonic
        self._clock = clock
        self._starts = starts or Starts(log, Installation(Path()))
        self._is_left = False  # nothing begins here any more
        self._is_log_lost = False  # what is in processing/ may have been sent before, and no row tells
        self._recover_at: float | None = None  # when files that are left in processing/ are tried again
        self._turns = Turns()  # one thread works on this gate at a time
        self._answers_by: float | None = None  # when the file system must have answered
        self._worker: int | None = None  # the thread that said so
        self._unavailable_since: float | None = None
        self._snapshot: Snapshot | None = None
        self._status_file = status_file
        self._snapshot_at = 0.0
        self._told_long: set[str] = set()
        watch.settler.tell = self._tell_parked
        watch.progress = self._expect_answer

    def open_first(self) -> None:
        """Open at start; what is away is waited for, what is somebody else's is an error of the start."""
        self._turns.take()
        try:
            self._open()
        except (ForeignSpoolError, LockedError) as error:
            if isinstance(error, LockedError) and error.is_ours:  # the daemon before a reload: see `leave`
                self._shut(error)
            else:
                self.start_error = error
        except (OSError, SpoolError, JobLogError) as error:
            self._shut(error)
        finally:
            self._may_take_over = False
            self._give_back()

    def round(self) -> float:
        """Open if need be, take in what has settled, and return how long to wait for the bell, in seconds."""
        if not self._turns.take_round():
            return RETRY_SECONDS  # it is still being opened, or an upload's turn, which rings when it ends
        try:
            pause = self._round()
            self._keep_status_file()
            return pause
        finally:
            self.worked_at = self._monotonic()
            self._give_back()
            if not self._is_left:
                self._keep_snapshot()

    def _round(self) -> float:
        self.is_idle = False
        try:
            if not self.route.is_ready:
                self._open()
            self._expect_answer()
            self.route.spool.check_present()
            self.route.spool.check_owner()
            self._recover_if_due()
            if self._starts.is_rebuilding or self._waits_for_acceptance():
                return RETRY_SECONDS
            self._expect_answer()
            self._look_for_hand_hold()
            settled = self.watch.settled(self._monotonic(), 0 if self._hand_hold else BATCH_FILES)
            if settled and not self._stopping.is_set():
                self._take(settled)
        except (OSError, SpoolError, ForeignSpoolError, LockedError) as error:
            self._shut(error)
            return RETRY_SECONDS
        if self._hand_hold is not None:
            self.is_idle = True  # what lies there is nobody's to take
            return RETRY_SECONDS
        self.is_idle = len(self.watch.settler) == 0  # what was taken is in the log by now
        return self.watch.next_due() - self._monotonic()

    def _look_for_hand_hold(self) -> None:
        with contextlib.suppress(JobLogError):  # then it is as it was: nothing can be taken without the log anyway
            self._hand_hold = self._hand_holds.of_inbox(self.route.name)

    def take_leave(self, *, is_stop: bool = True) -> None:
        """End the rounds, and at a stop say in the status file that nothing is taken any more.

        The inbox's own thread does so last of all.
        """
        self._turns.end_rounds()
        if self._status_file is None or not is_stop or not self._turns.take_if_free():
            return
        try:
            if self.route.is_ready:
                self._expect_answer()
                self._status_file.stopped(self._clock())
        finally:
            self._give_back()

    def leave(self) -> None:
        """Close for good: now, or, while a thread waits in here for the file system, as soon as that has answered.

        So nobody else has the spool while a receipt is still being moved, and a file that hangs is not closed by who
        must not wait for it.
        """
        self.route.is_ready = False
        self._is_left = True
        self._close_if_left()

    def _give_back(self) -> None:
        """End one thread's turn."""
        self._answers_by = None
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

    # --- a file system that answers nothing ------------------------------------------------------------------------

    def _expect_answer(self, seconds: float = LOOK_LIMIT_SECONDS) -> None:
        """Say that the file system is asked something, and by when it must have answered."""
        self._worker = threading.get_ident()
        self.worked_at = self._monotonic()
        self._answers_by = self.worked_at + seconds

    def wait_for_examiner(self) -> None:
        """Give the file system its whole time again, if the calling thread has the turn here and waits for another."""
        if self._answers_by is not None and self._worker == threading.get_ident():
            self._expect_answer(MOVE_LIMIT_SECONDS)

    @property
    def is_hanging(self) -> bool:
        """Whether the file system has not answered in time, and still has not."""
        answers_by = self._answers_by
        if answers_by is None:
            return False
        # While another program keeps the log locked, it is the log that we wait for.
        return self._monotonic() > max(answers_by, self._log.database.locked.last_at + LOOK_LIMIT_SECONDS)

    def supervise(self) -> None:
        """Say so when a round hangs: its own thread cannot."""
        if self.is_hanging:
            self.route.is_ready = False  # the next round, when there is one, opens everything anew
            folder = self._bindings.asked or self.route.spool.asked or self.watch.path
            self._tell_unavailable(f"{folder} does not answer: its server, or the way to it, is gone")
            self._keep_snapshot()

    # --- opening and shutting ----------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the spool, finish what a crash left there, then watch the inbox and let the stages see it."""
        self._expect_answer()
        # Nothing is moved that cannot be written down, least of all on a damaged log.
        self._log.database.prove_writable()
        spool = self.route.spool
        is_marked = self._is_marked(MarkKind.SPOOL)
        takes_over = is_marked or self._may_take_over
        check = functools.partial(self._bindings.check, is_ours=self._owns_spool(), take_over=spool.take_over)
        if not takes_over:
            check()
        self._is_log_lost = is_lost = self._is_lost()
        ours = self._settings.installation_id()
        is_behind = not is_lost and self._starts.is_behind(spool, ours, takes_over=takes_over)
        self._expect_answer(LOOK_LIMIT_SECONDS + ANSWER_SECONDS)
        was_asked = spool.open(ours, take_over=takes_over)
        if not takes_over:
            check()  # again: what went away meanwhile, as while another daemon was asked, must not be bound
        if is_lost or is_behind:
            self._is_log_lost = True
            with self._starts.rebuilding(spool):
                self._rebuild(is_behind=is_behind)
                self._settle_spool(is_marked=is_marked, takes_over=takes_over)
        else:
            self._settle_spool(is_marked=is_marked, takes_over=takes_over)
            self._starts.put_off(spool)
        if was_asked:  # what the other one took in until it looked is an orphan of ours
            self._recover_at = self._monotonic() + MOVE_LIMIT_SECONDS
        self._expect_answer()
        self.watch.start()
        self.route.is_ready = True
        self._tell_available()
        self._ring()

    def _rebuild(self, *, is_behind: bool) -> None:
        def progress() -> None:
            self._expect_answer(MOVE_LIMIT_SECONDS)

        rebuild(self.route, self._log, self._clock(), progress, reads_all=is_behind)
        if is_behind:
            await_open_jobs(self.route, self._log, self._clock())
        self.route.spool.check_present()  # what went away in the middle was not read

    def _settle_spool(self, *, is_marked: bool, takes_over: bool) -> None:
        """Bind the folders to their places, then finish what a crash left in them."""
        self._bindings.keep(self._clock(), is_taken_over=takes_over)
        if is_marked and self._settings.marks is not None:
            self._settings.marks.use(MarkKind.SPOOL)
        self._expect_answer(MOVE_LIMIT_SECONDS)
        while self._filing.file_away(self.route):
            self._expect_answer(MOVE_LIMIT_SECONDS)
        self._recover()

    @property
    def _known_fact(self) -> str:
        return recovered_fact(self.route.spool.folders.processing)

    def _is_lost(self) -> bool:
        """Whether the job log knows nothing of a spool that was in use before: the log was lost, or left behind."""
        return self._log.facts.get(self._known_fact) is None and bool(self.route.spool.owner())

    def _owns_spool(self) -> bool:
        return self.route.spool.owner() == self._settings.installation_id()

    def _is_marked(self, what: MarkKind) -> bool:
        """Whether an admin has accepted, by a command, what is there now."""
        if self._settings.marks is None:
            return False
        return self._settings.marks.has(what, sight_of(what, self.route.spool), self._clock())

    def _shut(self, error: Exception) -> None:
        self.close()
        self._tell_unavailable(self._in_words(error))

    def _in_words(self, error: Exception) -> str:
        """Return what is wrong with the inbox, for an admin."""
        path = self.watch.path
        if not isinstance(error, OSError):
            return str(error)
        if error.errno == errno.ENOENT:
            return f"{error.filename or path} is not there; create the folder, or mount the share"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return refusal_and(folder_advice(path), error, path)
        return f"{error.filename or path} {error.strerror or error}"

    def _tell_unavailable(self, why: str) -> None:
        self._starts.put_off(self.route.spool)
        if self.unavailable is None:
            logger.error("inbox.unavailable", inbox=self.route.name, why=why)
            self._unavailable_since = self._clock()
        self.unavailable = why

    def _tell_available(self) -> None:
        if self.unavailable is not None:
            since = self._unavailable_since or self._clock()
            logger.info("inbox.available", inbox=self.route.name, seconds=round(self._clock() - since, 1))
            self.unavailable = self._unavailable_since = None

    def _waits_for_acceptance(self) -> bool:
        """Whether old files wait at the very first start, so that nobody books ten years of scans by accident."""
        fact = f"inbox_started:{self.route.name}"
        if self.watch.scanned_at is not None or self._log.facts.get(fact) is not None:
            return False
        waiting = 0
        for _ in self.watch.listing.files():
            self._expect_answer()
            waiting += 1
        is_too_much = waiting > self._settings.backlog_files and not self._settings.accept_backlog
        is_marked = is_too_much and self._is_marked(MarkKind.BACKLOG)
        if is_too_much and not is_marked:
            self._tell_unavailable(
                f"{waiting} files were here before the first start, more than limits.backlog_files "
                f"({self._settings.backlog_files}); move away what is not to be booked, then type: "
                f"{self._settings.accept_command}"
            )
            return True
        self._log.facts.keep(fact, str(waiting))
        if is_marked and self._settings.marks is not None:
            self._settings.marks.use(MarkKind.BACKLOG)
        self._tell_available()
        return False

    # --- taking in ---------------------------------------------------------------------------------------------

    def _take(self, settled: list[Settled]) -> None:
        with self._leaving_no_orphan():
            taken = []
            for one in settled:
                self._expect_answer(MOVE_LIMIT_SECONDS)  # for each anew: across file systems each move is a copy
                self.route.spool.check_owner()  # who asks waits for seconds only
                outcome = self._take_in.take(self.route, one)
                if isinstance(outcome, TakenFile):
                    taken.append(outcome)
                elif outcome is not None:
                    self._park(outcome)
            self._take_in.recording.record(self.route, taken)

    def take_upload(self, upload: Upload, wait_seconds: float) -> Job | None:
        """Take in a file that came by HTTP, between two rounds; called by the worker thread that brings it.

        None where it was taken before: see `TakeIn.take_upload`.

        Raises:
            OSError: the disk does not take it.
            SpoolError: the inbox cannot be used now, or is busy for longer than `wait_seconds`.
        """
        folder = self.route.spool.folders.processing
        if not self._turns.take(wait_seconds):
            raise SpoolError("the inbox is busy", folder)
        try:
            if self._stopping.is_set() or not self.route.is_ready or self.unavailable is not None:
                raise SpoolError(self.unavailable or "the inbox is not open", folder)
            if self._starts.is_rebuilding:
                raise SpoolError("the folders are being compared with a job log that was restored", folder)
            hold = self._hand_holds.of_inbox(self.route.name)
            if hold is not None:
                raise SpoolError(f"the inbox is held by hand{hold.words}", folder)
            self._expect_answer(MOVE_LIMIT_SECONDS)
            self.route.spool.check_owner()
            with self._leaving_no_orphan():
                job = self._take_in.take_upload(self.route, upload)
        except ForeignSpoolError as error:
            raise SpoolError(str(error), folder) from error
        else:
            return job
        finally:
            self._give_back()
            self.bell.ring()  # a round that came meanwhile went away, and has the next turn

    def _recover_if_due(self) -> None:
        if self._recover_at is not None and self._recover_at <= self._monotonic():
            self._recover()

    def _recover(self) -> None:
        self._expect_answer(MOVE_LIMIT_SECONDS)
        self._take_in.recovery.recover(self.route, may_have_been_sent=self._is_log_lost)
        self.route.spool.check_present()  # else what lies there was not seen
        self._plan_recovery()
        if self._recover_at is not None:
            return
        if self._log.facts.get(self._known_fact) is None:
            self._log.facts.keep(self._known_fact, "yes")
        self._is_log_lost = False
        self._starts.agree(self.route.spool)

    @contextlib.contextmanager
    def _leaving_no_orphan(self) -> Iterator[None]:
        """Have the next round recover, unless all goes well: an error in the middle leaves orphans.

        What was left before is still to be recovered, and when that was to be.
        """
        before = self._recover_at
        self._recover_at = self._monotonic()
        yield
        self._plan_recovery()
        self._recover_at = min((at for at in (before, self._recover_at) if at is not None), default=None)

    def _plan_recovery(self) -> None:
        pause = self._take_in.recovery.recover_in_seconds(self.route)
        self._recover_at = None if pause is None else self._monotonic() + pause

    # --- what is shown ---------------------------------------------------------------------------------------------

    @property
    def unavailable_since(self) -> float | None:
        """Since when nothing can be taken, in Unix seconds; None where it can."""
        return self._unavailable_since

    @property
    def files(self) -> int:
        """How many files of the inbox are known and not taken yet."""
        settler = self.watch.settler
        return len(settler) + len(settler.parked)

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """What waits in the inbox, as of the last look."""
        found = self._snapshot
        return found.waiting if found is not None else ()

    def _keep_status_file(self) -> None:
        if self._status_file is not None and self.route.is_ready:
            self._expect_answer()
            self._status_file.keep(self.unavailable, self.waiting, self._clock())

    # --- what waits --------------------------------------------------------------------------------------------

    def _park(self, parked: ParkedFile) -> None:
        self.watch.settler.park(parked.settled, parked.why, parked.detail, self._monotonic())

    def _tell_parked(self, relative: str, seen: Seen) -> None:
        if seen.looks > 1:
            return
        said = {"why": seen.detail or seen.why.meaning, "advice": seen.why.advice}
        name = display_name(relative)
        if seen.why in _NEEDS_A_PERSON:
            logger.warning("file.blocked", inbox=self.route.name, filename=name, reason=seen.why.value, **said)
        else:
            logger.info("file.waiting", inbox=self.route.name, filename=name, reason=seen.why.value, **said)

    def _keep_snapshot(self) -> None:
        """Keep what `status` and `explain` show, and warn of what has waited for long."""
        now = self._monotonic()
        is_new = self._snapshot is None or self._snapshot.unavailable != self.unavailable
        if now < self._snapshot_at + _SNAPSHOT_PAUSE_SECONDS and not is_new:
            return
        self._snapshot_at = now
        old = (one for one in self.watch.settler.waiting() if now - one[1].first_seen_at >= _SNAPSHOT_AFTER_SECONDS)
        oldest = heapq.nsmallest(_SNAPSHOT_FILES, old, key=lambda one: one[1].first_seen_at)
        waiting = [self._waiting(relative, seen, now) for relative, seen in oldest]
        self._warn_of_long(waiting)
        found = Snapshot(
            self.route.name,
            self.watch.mode,
            self.watch.why_mode,
            self._writers.value,
            self.unavailable,
            self._unavailable_since,
            tuple(waiting),
            self._told_scan(now),
        )
        before, self._snapshot = self._snapshot, found
        told = before.scanned_at if before is not None else None
        file = self._settings.snapshot_file
        if file is None:
            return
        if before is None or found != replace(before, scanned_at=found.scanned_at):
            state.write(file, found)
        if self._settings.tells_scans and found.scanned_at is not None and found.scanned_at != told:
            state.note_scan(file, found.scanned_at)

    def _told_scan(self, now: float) -> float | None:
        """Return when the inbox was last scanned, in Unix seconds; another time once a minute only."""
        if self.watch.scanned_at is None:
            return None
        scanned_at = round(self._clock() - (now - self.watch.scanned_at))
        told = self._snapshot.scanned_at if self._snapshot is not None else None
        return told if told is not None and 0 <= scanned_at - told < _SCAN_TOLD_SECONDS else scanned_at

    @property
    def _writers(self) -> Writers:
        """Whether it can be told who has a file open: on this file system, and of the last file that came."""
        by_file = self._take_in.writers.get(self.route.name, Writers.NONE)
        on_disk = self.watch.writers
        return on_disk if on_disk is not Writers.NONE or by_file is Writers.SOME else by_file

    def _waiting(self, relative: str, seen: Seen, now: float) -> Waiting:
        def wall(at: float) -> float:
            return round(self._clock() - (now - at))  # whole seconds: else it would be another one each time

        why = WaitReason.HELD if self._hand_hold is not None and seen.why is WaitReason.GROWING else seen.why
        until = None if seen.why is WaitReason.GROWING else wall(seen.until)
        grown = seen.signature.size - seen.first_size
        return Waiting(
            relative,
            why,
            seen.detail,
            seen.signature.size,
            grown,
            wall(seen.first_seen_at),
            wall(seen.changed_at),
            until,
        )

    def _warn_of_long(self, waiting: list[Waiting]) -> None:
        told = [each for each in waiting if each.why is not WaitReason.HELD]  # whoever holds it knows
        long = {each.path: each for each in told if self._clock() - each.first_seen_at >= LONG_SECONDS}
        for path, each in long.items():
            if path not in self._told_long:
                logger.warning(
                    "file.waiting",
                    inbox=self.route.name,
                    filename=display_name(path),
                    reason=each.why.value,
                    why=each.detail or each.why.meaning,
                    advice=each.why.advice,
                    minutes=round((self._clock() - each.first_seen_at) / 60),
                )
        self._told_long = set(long)
