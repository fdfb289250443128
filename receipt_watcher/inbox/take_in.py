"""Take in: examine settled files, move them from the inbox to processing.

What it promises, in this order for each file: nobody writes it, where that can be told; it is examined; one that is
visibly not whole stays in the inbox until the patience with it is over; it is moved; it is still what was examined, or
it is given back. Then `recording` flushes its bytes and the folders that name it, and commits its row. Several files
share the flushes and the commit. Only then may a worker send it.

Runs in the inbox's own thread; an upload in the one that brings it, with the gate held. A crash after the move leaves a
file in processing/<job_id>/ without a row, an orphan: `recovery` gives it one, under the id that its folder bears, as
soon as nobody writes it any more.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from receipt_watcher.errors import FileVanishedError
from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.inbox.observer import InboxObserver
from receipt_watcher.inbox.recording import Recording, TakenFile
from receipt_watcher.inbox.recovery import Recovery
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.listing import signature
from receipt_watcher.inbox.watching.settling import Settled, Signature
from receipt_watcher.jobs.job import Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system import disk
from receipt_watcher.system.disk import NO_ROOM, SHARE_IS_GONE, TROUBLE_OF_ALL
from receipt_watcher.system.display import display_name
from receipt_watcher.system.open_files import Writers, is_all_hole, writers_or_not_ours
from receipt_watcher.system.permissions import file_advice, folder_advice, refusal
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: The findings of files that may yet become whole, or readable.
_MAY_CHANGE = {
    Reason.INCOMPLETE: WaitReason.INCOMPLETE,
    Reason.EMPTY: WaitReason.EMPTY,
    Reason.UNREADABLE: WaitReason.UNREADABLE,
}

#: The pauses between two tries to find room: the first, and the longest; they double. By taste.
ROOM_PAUSES_SECONDS = (2.0, 60.0)

#: The far side has the file open: a rename over SMB says so.
_BUSY = frozenset({errno.EBUSY, errno.ETXTBSY})

#: The file went, or a link took its place: the next scan sees that.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True, slots=True)
class ParkedFile:
    """A file that has settled and stays in the inbox for now, and why; `detail` may be ""."""

    settled: Settled
    why: WaitReason
    detail: str


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
        self.recording = Recording(log, routes, examine=examine, deliveries=deliveries, filings=filings, clock=clock)
        self.recovery = Recovery(log, self.recording, clock=clock, monotonic=monotonic)
        self.writers: dict[str, Writers] = {}  # whether writers could be told of the last file of each inbox
        self._log = log
        self._examine = examine
        self._clock = clock

    def take_upload(self, route: InboxRoute, upload: Upload) -> Job | None:
        """Take in a file that was uploaded, and return its job; only with the inbox's gate held.

        None where it was taken before, and is recorded, or will be by `recovery`.

        Raises:
            OSError: the disk does not take it; where it was moved already, it is an orphan, which `recovery` records.
            SpoolError: processing/ is away.
        """
        if upload.is_known() or route.spool.processing.has_orphan(upload.job_id):
            return None
        if upload.database is not None:
            # Before the file is moved, so that a crash in between does not book it in the inbox's database.
            self._log.facts.upload_database.of(upload.job_id).put(upload.database)
        route.spool.receive(upload.path, upload.relative, upload.job_id)
        taken = TakenFile(upload.job_id, upload.relative, upload.examination, upload.database)
        jobs = self.recording.record(route, [taken], note=lambda _arrival, job: upload.note(job))
        if not jobs:
            raise OSError(errno.EIO, "the disk does not give it back", str(upload.relative))
        return jobs[0]

    def take(self, route: InboxRoute, settled: Settled) -> TakenFile | ParkedFile | None:
        """Move a settled file to processing/, to be recorded, or say why it stays in the inbox for now.

        None where it is gone, was given back, or is left to the next start. Any error after the move leaves an orphan,
        which `recovery` records.

        Raises:
            OSError: the share is gone, or the disk is full.
            SpoolError: processing/ is away.
        """
        relative = Path(settled.relative)
        source = route.spool.folders.inbox / relative
        try:
            judged = self._judge(source, settled, route)
        except OSError as error:
            if error.errno in SHARE_IS_GONE:
                raise
            return _unexamined(route, settled, error)
        if isinstance(judged, ParkedFile):
            return judged
        job_id = new_job_id(self._clock())
        try:
            route.spool.take(relative, job_id)
        except FileVanishedError:
            logger.debug("file.vanished", inbox=route.name, filename=display_name(relative))
            return None
        except OSError as error:
            if error.errno in TROUBLE_OF_ALL:
                raise
            return _immovable(source, settled, error)
        if _is_still(route.spool.folders.processing / job_id / relative, settled.seen.signature):
            return TakenFile(job_id, relative, judged)
        self._give_back(route, relative, job_id)
        return None

    def _judge(self, source: Path, settled: Settled, route: InboxRoute) -> Examination | ParkedFile:
        """Return what the examination found, or why the file has to stay in the inbox for now.

        Raises:
            OSError: it is gone, or the disk does not give it.
        """
        if settled.seen.signature.is_unallocated and is_all_hole(source):
            detail = f"{settled.seen.signature.size:,} bytes, none of them on disk"
            return ParkedFile(settled, WaitReason.PLACEHOLDER, detail)
        self.writers[route.name] = writers_or_not_ours(source)
        if self.writers[route.name] is Writers.SOME:
            return ParkedFile(settled, WaitReason.OPEN, "")
        examination = self._examine(source, route.limits)
        if examination.doubt and not settled.is_overdue:
            return ParkedFile(settled, WaitReason.DOUBTFUL, examination.doubt)
        if examination.refusal is None or examination.refusal.reason not in _MAY_CHANGE or settled.is_overdue:
            return examination
        wait, detail = _MAY_CHANGE[examination.refusal.reason], examination.refusal.detail
        if wait is WaitReason.UNREADABLE:
            error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            detail = f"{refusal(error, source)}; {file_advice(source)}"
        return ParkedFile(settled, wait, detail)

    def _give_back(self, route: InboxRoute, relative: Path, job_id: str) -> None:
        """Undo a move that came too early: somebody went on writing while we examined or moved the file."""
        is_back = route.spool.give_back(relative, job_id)
        if not is_back:  # its name is taken meanwhile: it settles in processing/
            self.recovery.await_quiet(route, job_id)
        logger.info(
            "file.given_back",
            inbox=route.name,
            filename=display_name(relative),
            where="inbox" if is_back else "processing",
            why="it changed while it was taken in",
        )


class RoomWait:
    """The wait of one inbox for room in processing/, after a move that found none.

    What it promises: it is tried again when the disk says that there is room, at first after seconds, and after a
    minute at the most: a quota, or a disk that miscounts, says that there is room when there is none.
    """

    def __init__(self, folder: Path, observer: InboxObserver, monotonic: Callable[[], float]) -> None:
        self._folder = folder
        self._observer = observer
        self._monotonic = monotonic
        self._was_told = False
        self._refused: tuple[OSError, str, int] | None = None  # the error, and name and size of the file that met it
        self._try_at = 0.0
        self._pause_seconds = 0.0

    @property
    def why(self) -> str | None:
        """The text for an admin while a file waits for room, else None."""
        return None if self._refused is None else disk.no_room_text(self._folder, *self._refused)

    def begin(self, error: OSError, path: Path | str, size: int) -> bool:
        """Begin or continue to wait if a file of `size` bytes found no room; return whether that is the error."""
        if error.errno not in NO_ROOM:
            return False
        first, longest = ROOM_PAUSES_SECONDS
        self._pause_seconds = first if self._refused is None else min(self._pause_seconds * 2, longest)
        self._try_at = self._monotonic() + self._pause_seconds
        self._refused = (error, display_name(path), size)
        return True

    def is_due(self) -> bool:
        """Return whether to try now: nothing waits, or it is time and the disk does not say that it is full.

        Raises:
            OSError: the folder is away, or its disk gives an error.
        """
        if self._refused is None:
            return True
        if self._monotonic() < self._try_at:
            return False
        free = disk.free_bytes(self._folder)
        return free is None or free > self._refused[2]

    def end(self) -> None:
        """End the wait: a file found room, or none is left that needs it."""
        self._refused = None

    def forget(self) -> None:
        """Forget it all: the inbox is away, which is told instead, and to open it again finds out."""
        self._refused, self._was_told = None, False

    def report(self) -> str | None:
        """Report that there is no room, and how much there is by now, or that there is some again; return `why`."""
        why = self.why
        if why is not None:
            self._observer.lose(why)
        elif self._was_told:
            self._observer.restore()
        self._was_told = why is not None
        return why


def _unexamined(route: InboxRoute, settled: Settled, error: OSError) -> ParkedFile | None:
    if error.errno in _GONE:
        logger.debug("file.vanished", inbox=route.name, filename=display_name(Path(settled.relative)))
        return None
    if error.errno == errno.ECANCELED:
        return None  # we are stopping, and the next start takes it
    why = WaitReason.UNEXAMINED if error.errno == errno.ECHILD else WaitReason.UNREADABLE
    return ParkedFile(settled, why, error.strerror or str(error))


def _immovable(source: Path, settled: Settled, error: OSError) -> ParkedFile:
    if error.errno in _BUSY:
        return ParkedFile(settled, WaitReason.OPEN, "the server says that it is in use")
    advice = folder_advice(source.parent, source)
    return ParkedFile(settled, WaitReason.IMMOVABLE, f"{refusal(error, source)}; {advice}")


def _is_still(path: Path, before: Signature) -> bool:
    """Whether a file that was moved is what it was before, and nobody is writing it."""
    try:
        return signature(os.lstat(path)).is_same_content(before) and writers_or_not_ours(path) is not Writers.SOME
    except OSError:
        return False
