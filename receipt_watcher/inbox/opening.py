"""Open the spool of one inbox: prove whose it is and where, finish what a crash left, then watch.

What it promises: nothing is moved that cannot be written down. A share that was unmounted leaves an empty folder in its
place: that is another place, not an empty inbox. What a crash or an error left in processing/ is recorded before
anything new is taken. Old files at the very first start wait until an admin accepts them.

The thread that has the gate's turn runs it. The job log keeps which places the folders are (`bindings`), so that a
restart in the midst of an outage takes no other ones for them.
"""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.inbox.observer import InboxObserver
from receipt_watcher.inbox.status_file import StatusFile
from receipt_watcher.inbox.take_in import TakeIn
from receipt_watcher.inbox.turns import LOOK_LIMIT_SECONDS, MOVE_LIMIT_SECONDS, AnswerLimit
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.log.facts import Fact
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.identity.accepted_marks import MarkKind, Marks, sight_of
from receipt_watcher.spool.identity.bindings import Bindings
from receipt_watcher.spool.identity.owner import ANSWER_SECONDS
from receipt_watcher.spool.identity.start_counter import Starts
from receipt_watcher.spool.rebuild import await_open_jobs, rebuild
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.display import display_name
from receipt_watcher.system.permissions import folder_advice, refusal_and


@dataclass(frozen=True, slots=True)
class GateSettings:
    """The options of a gate, from the configuration and the command line.

    `take_over` accepts whatever is there at the start. Later, or by a command, that takes one of the `marks`.
    """

    installation_id: Callable[[], str]
    take_over: bool
    accept_backlog: bool
    backlog_files: int
    min_free_mb: float = 0.0
    snapshot_file: Path | None = None
    tells_scans: bool = False  # beside the snapshot, which is in memory then
    marks: Marks | None = None
    accept_command: str = "receipt-watcher accept-backlog"
    status_file: StatusFile | None = None


@dataclass(frozen=True, slots=True)
class GateStages:
    """The stages behind a gate; `ring` wakes those that wait for an inbox to be open."""

    take_in: TakeIn
    filing: Filing
    ring: Callable[[], None]


class SpoolOpening:
    """Opens the spool of one inbox, and recovers what lies in processing/ without a row."""

    def __init__(
        self,
        route: InboxRoute,
        watch: InboxWatch,
        settings: GateSettings,
        *,
        stages: GateStages,
        log: JobLog,
        starts: Starts,
        limit: AnswerLimit,
        observer: InboxObserver,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.may_take_over = settings.take_over
        self._route = route
        self._watch = watch
        self._settings = settings
        self._stages = stages
        self._log = log
        self._starts = starts
        self._limit = limit
        self._observer = observer
        self._clock = clock
        self._monotonic = monotonic
        self._bindings = Bindings(log, route.name, route.spool.folders)
        self._is_log_lost = False  # what is in processing/ may have been sent before, and no row tells
        self._recover_at: float | None = None  # when files that are left in processing/ are tried again

    def open(self) -> None:
        """Open the spool, finish what a crash left there, then watch the inbox and let the stages see it.

        Raises:
            OSError: a folder or its disk gives an error.
            SpoolError: a folder is away, or is another one.
            ForeignSpoolError: the spool belongs to another installation.
            LockedError: another daemon uses it.
            JobLogError: the job log cannot be written.
        """
        self._limit.expect()
        # Nothing is moved that cannot be written down, least of all on a damaged log.
        self._log.database.prove_writable()
        spool = self._route.spool
        is_marked = self._is_marked(MarkKind.SPOOL)
        takes_over = is_marked or self.may_take_over
        check = functools.partial(self._bindings.check, is_ours=self._owns_spool(), take_over=spool.take_over)
        if not takes_over:
            check()
        self._is_log_lost = is_lost = self._is_lost()
        ours = self._settings.installation_id()
        is_behind = not is_lost and self._starts.is_behind(spool, ours, takes_over=takes_over)
        self._limit.expect(LOOK_LIMIT_SECONDS + ANSWER_SECONDS)
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
        self._limit.expect()
        self._watch.start()
        self._route.is_ready = True
        self._observer.restore()
        self._stages.ring()

    @property
    def asked(self) -> Path:
        """The folder that is looked at now, and may not answer."""
        return self._bindings.asked or self._route.spool.presence.asked or self._watch.path

    def _rebuild(self, *, is_behind: bool) -> None:
        rebuild(self._route, self._log, self._clock(), self._limit.expect_move, reads_all=is_behind)
        if is_behind:
            await_open_jobs(self._route, self._log, self._clock())
        self._route.spool.presence.check()  # what went away in the middle was not read

    def _settle_spool(self, *, is_marked: bool, takes_over: bool) -> None:
        """Bind the folders to their places, then finish what a crash left in them."""
        self._bindings.store(self._clock(), is_taken_over=takes_over)
        if is_marked and self._settings.marks is not None:
            self._settings.marks.use(MarkKind.SPOOL)
        self._limit.expect_move()
        while self._stages.filing.file_away(self._route):
            self._limit.expect_move()
        self._recover()

    @property
    def _recovered(self) -> Fact[str]:
        return self._log.facts.spool_recovered.of(display_name(self._route.spool.folders.processing))

    def _is_lost(self) -> bool:
        """Return whether the job log knows nothing of a spool that was in use: it was lost, or left behind."""
        return self._recovered.get() is None and bool(self._route.spool.owner.installation)

    def _owns_spool(self) -> bool:
        return self._route.spool.owner.installation == self._settings.installation_id()

    def _is_marked(self, what: MarkKind) -> bool:
        """Return whether an admin has accepted, by a command, what is there now."""
        if self._settings.marks is None:
            return False
        return self._settings.marks.has(what, sight_of(what, self._route.spool), self._clock())

    # --- old files at the very first start -------------------------------------------------------------------------

    def waits_for_acceptance(self) -> bool:
        """Return whether old files wait at the very first start: nobody books ten years of scans by accident."""
        fact = self._log.facts.inbox_started.of(self._route.name)
        if self._watch.scanned_at is not None or fact.get() is not None:
            return False
        waiting = 0
        for _ in self._watch.listing.files():
            self._limit.expect()
            waiting += 1
        is_too_much = waiting > self._settings.backlog_files and not self._settings.accept_backlog
        is_marked = is_too_much and self._is_marked(MarkKind.BACKLOG)
        if is_too_much and not is_marked:
            self._starts.put_off(self._route.spool)
            self._observer.lose(
                f"{waiting} files were here before the first start, more than limits.backlog_files "
                f"({self._settings.backlog_files}); move away what is not to be booked, then type: "
                f"{self._settings.accept_command}"
            )
            return True
        fact.put(waiting)
        if is_marked and self._settings.marks is not None:
            self._settings.marks.use(MarkKind.BACKLOG)
        self._observer.restore()
        return False

    # --- what is left in processing/ -------------------------------------------------------------------------------

    def recover_if_due(self) -> None:
        """Record what was left in processing/, if it is time to look again."""
        if self._recover_at is not None and self._recover_at <= self._monotonic():
            self._recover()

    def _recover(self) -> None:
        self._limit.expect_move()
        self._stages.take_in.recovery.recover(self._route, may_have_been_sent=self._is_log_lost)
        self._route.spool.presence.check()  # else what lies there was not seen
        self._plan_recovery()
        if self._recover_at is not None:
            return
        if self._recovered.get() is None:
            self._recovered.put("yes")
        self._is_log_lost = False
        self._starts.agree(self._route.spool)

    @contextlib.contextmanager
    def leaving_no_orphan(self) -> Iterator[None]:
        """Have the next round recover, unless all goes well: an error in the middle leaves orphans.

        What was left before is still to be recovered, and when that was to be.
        """
        before = self._recover_at
        self._recover_at = self._monotonic()
        yield
        self._plan_recovery()
        self._recover_at = min((at for at in (before, self._recover_at) if at is not None), default=None)

    def _plan_recovery(self) -> None:
        pause = self._stages.take_in.recovery.recover_in_seconds(self._route)
        self._recover_at = None if pause is None else self._monotonic() + pause


def cause_of(error: Exception, path: Path) -> str:
    """Return what is wrong with an inbox, and what to do, for an admin."""
    if not isinstance(error, OSError):
        return str(error)
    if error.errno == errno.ENOENT:
        return f"{error.filename or path} is not there; create the folder, or mount the share"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return refusal_and(folder_advice(path), error, path)
    return f"{error.filename or path} {error.strerror or error}"
