"""Take in: examine settled files, move them from the inbox to processing, record them.

What it promises, in this order for each file: nobody writes it, where that can be told; it is examined; one that is
visibly not whole stays in the inbox until the patience with it is over; it is moved; it is still what was examined, or
it is given back; its bytes and the folders that name it are flushed; its row is committed. Several files share the
flushes and the commit. Only then may a worker send it.

Runs in the inbox's own thread; an upload in the one that brings it, with the gate held. A crash after the move leaves a
file in processing/<job_id>/ without a row, an orphan: `recover` gives it one, under the id that its folder bears, as
soon as nobody writes it any more.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from receipt_watcher.errors import FileVanishedError
from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.inbox.duplicates import DATABASE_FACT, Arrival, DuplicateCheck
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.ignored import original_of
from receipt_watcher.inbox.watching.listing import signature
from receipt_watcher.inbox.watching.settling import Settled, Signature
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.transitions import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.route import InboxRoute, log_concluded
from receipt_watcher.system.disk import SHARE_IS_GONE, TROUBLE_OF_ALL, beginnings
from receipt_watcher.system.display import display_name
from receipt_watcher.system.open_files import Writers, is_all_hole, writers_of
from receipt_watcher.system.permissions import file_advice, folder_advice, refusal
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: Files that share one commit. By taste: the gain is spent by then, and the first of them waits for the last.
BATCH_FILES = 16

#: An orphan whose writers cannot be told is recorded when it did not change for so long. By taste, as settle_seconds.
ORPHAN_QUIET_SECONDS = 2.0

#: How long files that the disk does not give are left alone.
STUCK_PAUSE_SECONDS = 30.0

_LOST = "the job log had been lost: it may have been sent before"

#: What the examination says of files that may yet become whole, or readable.
_MAY_CHANGE = {
    Reason.INCOMPLETE: WaitReason.INCOMPLETE,
    Reason.EMPTY: WaitReason.EMPTY,
    Reason.UNREADABLE: WaitReason.UNREADABLE,
}

#: The far side has the file open: a rename over SMB says so.
_BUSY = frozenset({errno.EBUSY, errno.ETXTBSY})

#: The file went, or a link took its place: the next scan sees that.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

Park = Callable[[Settled, WaitReason, str], None]


@dataclass(frozen=True, slots=True)
class _Taken:
    """A file in processing/<job_id>/; `examination` is None where that is still to be done."""

    job_id: str
    relative: Path
    examination: Examination | None = None
    database: str | None = None  # that an upload named, if it is not its branch's


#: How the names of facts begin that keep which job an Idempotency-Key stands for.
UPLOAD_FACT = "upload:"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came by HTTP, whole and examined, for a job of this id; `database` is None for its branch's.

    `is_known` is asked with the gate held, whether it was taken before; `note` is told its job, inside the transaction
    of the row.
    """

    job_id: str
    path: Path
    relative: Path
    examination: Examination
    is_known: Callable[[], bool]
    note: Callable[[Job], None]
    database: str | None = None


class TakeIn:
    """The first stage."""

    def __init__(
        self,
        log: JobLog,
        routes: Sequence[InboxRoute],
        *,
        examine: Callable[[Path, FileLimits], Examination],
        deliveries: Bell,
        filings: Bell,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._log = log
        self._routes = routes
        self._examine = examine
        self._deliveries = deliveries
        self._filings = filings
        self._clock = clock
        self._monotonic = monotonic
        self._stuck: dict[str, int] = {}
        self._unsettled: dict[str, dict[str, tuple[Signature, float]]] = {}
        self.writers: dict[str, Writers] = {}  # whether writers could be told of the last file of each inbox

    def take_in(self, route: InboxRoute, settled: Iterable[Settled], park: Park) -> list[Job]:
        """Take in settled files, and return their jobs.

        `park` is told which file stays in the inbox for now, and why. Any error after the moves leaves orphans, which
        `recover` records.

        Raises:
            OSError: the share is gone, or the disk is full.
            SpoolError: processing/ is away.
        """
        taken = [found for one in settled if (found := self._take(route, one, park)) is not None]
        return self._record(route, taken)

    def take_upload(self, route: InboxRoute, upload: Upload) -> Job | None:
        """Take in a file that was uploaded, and return its job; only with the inbox's gate held.

        None where it was taken before, and is recorded, or will be by `recover`.

        Raises:
            OSError: the disk does not take it; where it was moved already, it is an orphan, which `recover` records.
            SpoolError: processing/ is away.
        """
        if upload.is_known() or route.spool.has_orphan(upload.job_id):
            return None
        if upload.database is not None:
            self._log.keep_fact(DATABASE_FACT + upload.job_id, upload.database)
        route.spool.receive(upload.path, upload.relative, upload.job_id)
        taken = _Taken(upload.job_id, upload.relative, upload.examination, upload.database)
        jobs = self._record(route, [taken], note=lambda _arrival, job: upload.note(job))
        if not jobs:
            raise OSError(errno.EIO, "the disk does not give it back", str(upload.relative))
        return jobs[0]

    # --- one file ----------------------------------------------------------------------------------------------

    def _take(self, route: InboxRoute, settled: Settled, park: Park) -> _Taken | None:
        relative = Path(settled.relative)
        source = route.spool.folders.inbox / relative
        try:
            found = self._judge(source, settled, route)
        except OSError as error:
            if error.errno in SHARE_IS_GONE:
                raise
            if error.errno in _GONE:
                logger.debug("file.vanished", inbox=route.name, filename=display_name(relative))
            elif error.errno != errno.ECANCELED:  # we are stopping, and the next start takes it
                why = WaitReason.UNEXAMINED if error.errno == errno.ECHILD else WaitReason.UNREADABLE
                park(settled, why, error.strerror or str(error))
            return None
        if not isinstance(found, Examination):
            park(settled, *found)
            return None
        job_id = new_job_id(self._clock())
        if not self._move(route, settled, job_id, park):
            return None
        if _is_still(route.spool.folders.processing / job_id / relative, settled.seen.signature):
            return _Taken(job_id, relative, found)
        self._give_back(route, relative, job_id)
        return None

    def _judge(self, source: Path, settled: Settled, route: InboxRoute) -> Examination | tuple[WaitReason, str]:
        """Return what the examination found, or why the file has to stay in the inbox for now.

        Raises:
            OSError: it is gone, or the disk does not give it.
        """
        if settled.seen.signature.is_unallocated and is_all_hole(source):
            return WaitReason.PLACEHOLDER, f"{settled.seen.signature.size:,} bytes, none of them on disk"
        self.writers[route.name] = _writers_of(source)
        if self.writers[route.name] is Writers.SOME:
            return WaitReason.OPEN, ""
        examination = self._examine(source, route.limits)
        if examination.refusal is None or examination.refusal.reason not in _MAY_CHANGE or settled.is_overdue:
            return examination
        wait, detail = _MAY_CHANGE[examination.refusal.reason], examination.refusal.detail
        if wait is WaitReason.UNREADABLE:
            error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            detail = f"{refusal(error, source)}; {file_advice(source)}"
        return wait, detail

    def _move(self, route: InboxRoute, settled: Settled, job_id: str, park: Park) -> bool:
        """Move a file into processing/; return whether it is there now."""
        relative = Path(settled.relative)
        source = route.spool.folders.inbox / relative
        try:
            route.spool.take(relative, job_id)
        except FileVanishedError:
            logger.debug("file.vanished", inbox=route.name, filename=display_name(relative))
        except OSError as error:
            if error.errno in TROUBLE_OF_ALL:
                raise
            if error.errno in _BUSY:
                park(settled, WaitReason.OPEN, "the server says that it is in use")
            else:
                park(settled, WaitReason.IMMOVABLE, f"{refusal(error, source)}; {folder_advice(source.parent, source)}")
        else:
            return True
        return False

    def _give_back(self, route: InboxRoute, relative: Path, job_id: str) -> None:
        """Undo a move that came too early: somebody went on writing while we examined or moved the file."""
        is_back = route.spool.give_back(relative, job_id)
        if not is_back:  # its name is taken meanwhile: it settles in processing/
            self._unsettled.setdefault(route.name, {})[job_id] = (Signature(-1, 0, 0), self._monotonic())
        logger.info(
            "file.given_back",
            inbox=route.name,
            filename=display_name(relative),
            where="inbox" if is_back else "processing",
            why="it changed while it was taken in",
        )

    # --- recovery ----------------------------------------------------------------------------------------------

    def recover(self, route: InboxRoute, *, may_have_been_sent: bool = False) -> list[Job]:
        """Record the orphans in processing/: files that a crash caught between the move and the row.

        Those that somebody still writes wait: who had a file open when it was moved goes on writing it there. Where
        the whole log was lost, they may have been sent: they begin as claims that nobody holds, so that their
        callbacks are awaited first.
        """
        unrecorded = functools.partial(self._log.unrecorded_in_processing, route.name)
        found = []
        for job_id, relative in route.spool.orphans(unrecorded):
            job = self._log.get(job_id)
            if job is None:
                found.append((job_id, relative))
            elif may_have_been_sent:
                self._take_up(route, job, relative)
        orphans = list({job_id: (job_id, relative) for job_id, relative in reversed(found)}.values())[::-1]
        folder = route.spool.folders.processing
        for stranger in [*route.spool.strangers(), *(folder.joinpath(*one) for one in found if one not in orphans)]:
            logger.warning(
                "file.unknown", inbox=route.name, path=str(stranger), advice="not ours; move it into the inbox"
            )
        self._stuck[route.name] = 0
        quiet = self._quiet(route, orphans)
        for job_id, relative in quiet:
            copied = route.spool.drop_copied_original(job_id, relative)
            logger.info("job.adopted", job_id=job_id, inbox=route.name, filename=relative.name, original_removed=copied)
        return [
            job
            for start in range(0, len(quiet), BATCH_FILES)
            for job in self._record(
                route,
                [
                    _Taken(job_id, relative, database=self._log.fact(DATABASE_FACT + job_id))
                    for job_id, relative in quiet[start:][:BATCH_FILES]
                ],
                may_have_been_sent=may_have_been_sent,
                note=self._pass_key_on,
            )
        ]

    def _take_up(self, route: InboxRoute, job: Job, relative: Path) -> None:
        """Let a job go on with its file that lies in processing/: it was retried since the log that was restored.

        It is claimed by nobody, as what may have been sent is.
        """
        if job.state not in (State.FAILURE, State.CANCELLED):
            return
        path = Path(job.job_id) / relative
        with self._log.transaction():
            now = self._clock()
            found = self._log.find_again(job, Folder.PROCESSING, path, now, "found in processing/: " + _LOST)
            after = self._log.advance(
                found.job_id, Event.RETRY, now, detail=_LOST, next_attempt_at=now, folder=Folder.PROCESSING
            )
            if after is not None:
                self._claimed(after, now)
        logger.info("job.adopted", job_id=job.job_id, inbox=route.name, filename=job.filename, original_removed=False)

    def _pass_key_on(self, arrival: Arrival, job: Job) -> None:
        """Where an upload goes on as an earlier job of its bytes, let its Idempotency-Key stand for that one."""
        if job.job_id != arrival.job_id:
            self._log.replace_in_facts(UPLOAD_FACT, arrival.job_id, job.job_id)

    def _quiet(self, route: InboxRoute, orphans: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
        """Return those that nobody writes any more; remember how the others were when they were last looked at."""
        before = self._unsettled.get(route.name, {})
        unsettled: dict[str, tuple[Signature, float]] = {}
        quiet = []
        for job_id, relative in orphans:
            path = route.spool.folders.processing / job_id / relative
            try:
                now, writers = signature(os.lstat(path)), _writers_of(path)
            except OSError:
                quiet.append((job_id, relative))  # what is wrong with it is said when it is recorded
                continue
            known, since = before.get(job_id, (now, self._monotonic()))
            if known != now:
                since = self._monotonic()
            is_quiet = self._monotonic() - since >= ORPHAN_QUIET_SECONDS
            if writers is Writers.NONE or (writers is not Writers.SOME and is_quiet):
                quiet.append((job_id, relative))
            else:
                unsettled[job_id] = (now, since)
        self._unsettled[route.name] = unsettled
        return quiet

    def recover_in_seconds(self, route: InboxRoute) -> float | None:
        """Return when `recover` has something to do again; None where nothing is left in processing/ without a row."""
        if self._unsettled.get(route.name):
            return ORPHAN_QUIET_SECONDS
        return STUCK_PAUSE_SECONDS if self._stuck.get(route.name) else None

    # --- recording ---------------------------------------------------------------------------------------------

    def _record(
        self,
        route: InboxRoute,
        taken: Sequence[_Taken],
        *,
        may_have_been_sent: bool = False,
        note: Callable[[Arrival, Job], None] = lambda _arrival, _job: None,
    ) -> list[Job]:
        found = [arrival for arrival in self._arrivals(route, taken) if arrival is not None]
        arrivals = [arrival for arrival in self._with_revisions(route, found) if arrival is not None]
        self._stuck[route.name] = self._stuck.get(route.name, 0) + len(taken) - len(arrivals)
        if not arrivals:
            return []
        with self._log.transaction():
            now = self._clock()  # here, so that no jump of the clock comes between it and the time when they are due
            jobs = DuplicateCheck(self._log, self._is_in_failed).record(arrivals, now)
            if may_have_been_sent:
                jobs = [self._claimed(job, now) for job in jobs]
            for arrival, job in zip(arrivals, jobs, strict=True):
                note(arrival, job)
        self._deliveries.ring(len(jobs))
        if any(job.move_due for job in jobs):
            self._filings.ring()
        self._tell(jobs, now)
        return jobs

    def _claimed(self, job: Job, now: float) -> Job:
        return self._log.advance(job.job_id, Event.CLAIM, now, detail=_LOST, attempts=job.attempts + 1) or job

    def _arrivals(self, route: InboxRoute, taken: Sequence[_Taken]) -> list[Arrival | None]:
        """Flush, and examine what was not; None in the place of a file that the disk does not give: others go on."""
        try:
            route.spool.flush(route.spool.folders.processing / one.job_id / one.relative for one in taken)
        except OSError:
            return [self._arrival_or_none(route, one, flush=True) for one in taken]
        return [self._arrival_or_none(route, one, flush=False) for one in taken]

    def _arrival_or_none(self, route: InboxRoute, taken: _Taken, *, flush: bool) -> Arrival | None:
        path = route.spool.folders.processing / taken.job_id / taken.relative
        try:
            if flush:
                route.spool.flush([path])
            return self._arrival(route, taken, path)
        except OSError as error:
            _tell_stuck(route, path, error)
            return None

    def _is_in_failed(self, job: Job) -> bool:
        """Whether a failed job's file still lies in the failed/ of its own inbox.

        An inbox that is configured no more, or was renamed, keeps no file from going on under the new one.
        """
        return any(route.is_in_failed(job) for route in self._routes if route.name == job.inbox)

    def _arrival(self, route: InboxRoute, taken: _Taken, path: Path) -> Arrival:
        branch = route.branch_at(taken.relative)
        examination = taken.examination or self._examine(path, route.limits)
        return Arrival(
            job_id=taken.job_id,
            inbox=route.name,
            filename=display_name(taken.relative.name),
            relative_path=taken.relative,
            target=branch.target if taken.database is None else branch.target_in(taken.database),
            notion_database_id=branch.notion_database_id if taken.database is None else taken.database,
            has_own_database=taken.database is not None,
            duplicates=branch.duplicates,
            examination=examination,
            branch=branch.key,
            original_path=original_of(taken.relative),
        )

    def _with_revisions(self, route: InboxRoute, arrivals: Sequence[Arrival]) -> list[Arrival | None]:
        """Say which are revisions, asking the log about all at once; None in the place of a file as in `_arrivals`."""
        with self._log.reading():
            earlier = [
                self._log.earlier_versions(route.name, arrival.relative_path, arrival.examination.size)
                if arrival.examination.sha256 is not None
                else []
                for arrival in arrivals
            ]
        return [
            self._revision_or_none(route, arrival, jobs) if jobs else arrival
            for arrival, jobs in zip(arrivals, earlier, strict=True)
        ]

    def _revision_or_none(self, route: InboxRoute, arrival: Arrival, earlier: Sequence[Job]) -> Arrival | None:
        """Name the job of an earlier file of this name whose bytes are the beginning of this one: late pages."""
        path = route.spool.folders.processing / arrival.job_id / arrival.relative_path
        try:
            found = beginnings(path, [job.size for job in earlier])
        except OSError as error:
            _tell_stuck(route, path, error)
            return None
        return replace(
            arrival, revision_of=next((job.job_id for job in earlier if found.get(job.size) == job.sha256), None)
        )

    def _tell(self, jobs: Iterable[Job], now: float) -> None:
        for job in jobs:
            links = {"revision_of": job.revision_of, "conflict_of": job.conflict_of}
            logger.info(
                "job.recorded",
                job_id=job.job_id,
                inbox=job.inbox,
                filename=job.filename,
                status=job.state.value,
                mime_type=job.mime_type,
                size=job.size,
                **{name: value for name, value in links.items() if value},
            )
            if job.state in (State.FAILURE, State.DUPLICATE):
                log_concluded(job, now)


def _tell_stuck(route: InboxRoute, path: Path, error: OSError) -> None:
    advice = WaitReason.UNEXAMINED.advice if error.errno == errno.ECHILD else "look at the disk"
    logger.error("file.stuck", inbox=route.name, path=str(path), why=str(error), advice=advice)


def _is_still(path: Path, before: Signature) -> bool:
    """Whether a file that was moved is what it was before, and nobody is writing it."""
    try:
        return signature(os.lstat(path)).is_same_content(before) and _writers_of(path) is not Writers.SOME
    except OSError:
        return False


def _writers_of(path: Path) -> Writers:
    try:
        return writers_of(path)
    except PermissionError:
        return Writers.NOT_OURS
