"""File away: move each file to where the log says that it belongs, with the note beside a failed one.

What it promises: where a file is about to go is committed before it is moved, and where it is now after the move
is durable; so after any crash the move is finished, not guessed. Nothing is overwritten: a name that is taken gets
a number. A verdict that comes in the middle makes the next move due.

One thread for each inbox, `file_away_due` being one round. It also brings files back to processing/ for a retry. A
spool that is away or answers nothing, or a disk that is full, delays its own files only.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from receipt_watcher.config.sections.inbox import Duplicates
from receipt_watcher.errors import ChangedOnDiskError, FileVanishedError, SpoolError
from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import OVERRULABLE, Reason
from receipt_watcher.jobs.states import ORIGINAL_STATES, Event, State
from receipt_watcher.spool.failure_notes import FailureNotes
from receipt_watcher.spool.route import InboxRoute, log_concluded
from receipt_watcher.system import disk
from receipt_watcher.system.permissions import folder_advice, refusal_and
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: Files that share the commits and flushes of one round. By taste.
BATCH_FILES = 64

#: The errors that end a round for the other files, too. A disk that fails at one file would be asked 64 times.
_TROUBLE_OF_ALL = disk.TROUBLE_OF_ALL | {errno.EIO}

Move = tuple[Job, Folder, Path]


class Filing:
    """The last stage."""

    def __init__(
        self,
        log: JobLog,
        routes: Sequence[InboxRoute],
        *,
        examine: Callable[[Path, FileLimits], Examination],
        deliveries: Bell,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._routes = routes
        self._examine = examine
        self._deliveries = deliveries
        self._notes = FailureNotes(log, clock)
        self._clock = clock
        self._locks = {route.name: threading.Lock() for route in routes}
        self.troubles: dict[str, str] = {}  # what keeps the files of an inbox where they are; told once
        self._troubled: set[str] = set()  # inboxes that had a trouble in the last round

    def file_away_due(self, *routes: InboxRoute) -> int:
        """Move what is not where it belongs; return how many files were moved (0: nothing more can be done now).

        Of all routes where none is named.
        """
        return sum(self._file_away_or_note_trouble(route) for route in routes or self._routes if route.is_ready)

    def _file_away_or_note_trouble(self, route: InboxRoute) -> int:
        """Keep the trouble of one spool, such as a flush that fails, from the others."""
        try:
            return self.file_away(route)
        except OSError as error:
            self._note_trouble(route, error)
            return 0

    def file_away(self, route: InboxRoute) -> int:
        """Do one round for one inbox: first what was begun, then what is due."""
        with self._locks[route.name]:  # a gate that opens again finishes moves in its own thread
            return self._file_away(route)

    def at_rest(self, route: InboxRoute) -> threading.Lock:
        """Return the lock under which no file of an inbox is moved: retention removes folders that became empty."""
        return self._locks[route.name]

    def _file_away(self, route: InboxRoute) -> int:
        self._troubled.discard(route.name)
        jobs = self._log.files.due_moves([route.name], BATCH_FILES)
        if not jobs:
            self._end_trouble(route)
            return 0
        try:
            route.spool.presence.check()
        except SpoolError as error:
            if error.path != route.spool.folders.processing:  # then nothing is taken either, and the gate says so
                self._note_trouble(route, error)
            return 0
        begun = [
            (job, job.moving_to_folder, job.moving_to_path)
            for job in jobs
            if job.moving_to_folder is not None and job.moving_to_path is not None
        ]
        planned = self._plan(route, [job for job in jobs if job.moving_to_folder is None], begun)
        return self._move_all(route, [*begun, *planned])

    # --- where to ----------------------------------------------------------------------------------------------

    def _plan(self, route: InboxRoute, jobs: Sequence[Job], begun: Sequence[Move]) -> list[Move]:
        """Choose a free name for each file, and commit the choice before anything is moved."""
        taken = {(folder, path) for _, folder, path in begun}
        moves: list[Move] = []
        for job in jobs:
            folder = self._log.files.home_of(job)
            if folder is job.folder:  # a copy whose original is open again, a verdict or a reason that changed
                self._notes.renew(route, job)
                self._log.moves.finish_moves([(job, job.folder, job.stored_path)], self._clock())
                continue
            wanted = self._wanted_path(route, job, folder)
            names = {path for place, path in taken if place is folder}
            try:
                path = route.spool.free_path(folder, wanted, names)
                while self._log.files.is_being_left(route.name, folder, path):  # a crash came before it was written
                    names.add(path)
                    path = route.spool.free_path(folder, wanted, names)
            except OSError as error:  # one name that the disk does not tell of must not stop the others
                self._note_trouble(route, _in_words(error, route.spool.folders.path_of(folder), job))
                if error.errno in _TROUBLE_OF_ALL:
                    break
                continue
            taken.add((folder, path))
            moves.append((job, folder, path))
        return self._log.moves.intend_moves(moves) if moves else []

    def _wanted_path(self, route: InboxRoute, job: Job, folder: Folder) -> Path:
        match folder:
            case Folder.PROCESSING:
                return Path(job.job_id) / job.relative_path
            case Folder.DONE:
                day = time.localtime(self._clock())
                return Path(time.strftime(route.branch_of(job).done_subfolder, day)) / job.relative_path
            case Folder.FAILED:
                return job.relative_path

    # --- the moves ---------------------------------------------------------------------------------------------

    def _move_all(self, route: InboxRoute, moves: Sequence[Move]) -> int:
        moved: list[Move] = []
        for move in moves:
            job, folder, path = move
            try:
                if not self._is_its_own(route, job):
                    continue
                route.spool.move(route.path_of(job), folder, path)
            except FileVanishedError as error:
                self._missing(route, job, str(error), Reason.FILE_MISSING)
            except ChangedOnDiskError as error:
                self._missing(route, job, str(error), Reason.CHANGED)
            except FileExistsError:
                # Somebody put a file there since the name was chosen. Choose another in the next round.
                self._log.moves.finish_moves([(job, job.folder, job.stored_path)], self._clock())
            except (OSError, SpoolError) as error:
                self._note_trouble(route, _in_words(error, route.spool.folders.path_of(folder), job))
                if isinstance(error, SpoolError) or error.errno in _TROUBLE_OF_ALL:
                    break
            else:
                moved.append(move)
        finished = self._finish(route, moved) if moved else 0
        if moved and finished == len(moved) and route.name not in self._troubled:
            self._end_trouble(route)
        return finished

    def _is_its_own(self, route: InboxRoute, job: Job) -> bool:
        """Check what is about to be moved; False where the disk does not give it, which must not stop the others."""
        try:
            route.check_is_its_own(job)
        except OSError as error:
            self._note_trouble(route, error)
            return False
        return True

    def _finish(self, route: InboxRoute, moved: Sequence[Move]) -> int:
        """Put the notes right, make moves and notes durable, then commit where the files are now."""
        folders = route.spool.folders
        notes = {
            job.job_id: self._notes.write(route, job, path) for job, folder, path in moved if folder is Folder.FAILED
        }
        route.spool.flush_moves([folders.path_of(folder) / path for _, folder, path in moved])
        for job, folder, _ in moved:
            self._notes.remove_older(route, job, folder, notes.get(job.job_id))
        examinations = self._examined(route, moved)  # before the transaction, which would keep callbacks waiting
        moved = [move for move in moved if move[1] is not Folder.PROCESSING or move[0].job_id in examinations]
        with self._log.database.transaction():
            now = self._clock()
            self._log.moves.finish_moves(moved, now)
            for job, folder, _ in moved:
                if job.note_path != notes.get(job.job_id):
                    self._log.moves.keep_note_path(job.job_id, notes.get(job.job_id))
                if folder is Folder.PROCESSING:
                    self._examine_again(job, examinations[job.job_id], route.branch_of(job).duplicates)
        for job, folder, path in moved:
            self._clean_up(route, job, folder, path)
        if any(folder is Folder.PROCESSING for _, folder, _ in moved):
            self._deliveries.ring()
        return len(moved)

    def _examined(self, route: InboxRoute, moved: Sequence[Move]) -> dict[str, Examination]:
        """Examine the files that came back to processing/; without those that the disk does not give."""
        examinations: dict[str, Examination] = {}
        for job, folder, path in moved:
            if folder is Folder.PROCESSING:
                try:
                    examinations[job.job_id] = self._examine(route.spool.folders.processing / path, route.limits)
                except OSError as error:  # one file that the disk does not give must not stop the others
                    self._note_trouble(route, error)
        return examinations

    def _clean_up(self, route: InboxRoute, job: Job, folder: Folder, path: Path) -> None:
        """Remove the empty folder that the file left; a crash before it leaves that to the next start."""
        if job.folder is Folder.PROCESSING:
            route.spool.processing.tidy(job.stored_path.parts[0])
        logger.debug("file.filed", job_id=job.job_id, inbox=job.inbox, folder=folder.value, path=str(path))

    def _missing(self, route: InboxRoute, job: Job, message: str, reason: Reason) -> None:
        """Stop trying to move a file that is gone, or whose place another one has taken."""
        now = self._clock()
        after = None
        with self._log.database.transaction():
            current = self._log.lookups.get(job.job_id)  # a retry may have come since the round began
            if current is None or (current.folder, current.stored_path) != (job.folder, job.stored_path):
                return  # or the file itself was dropped in again
            self._log.moves.abandon_move(job.job_id, now, message)
            if current.state is State.QUEUED:
                after = self._log.jobs.advance(job.job_id, Event.FAIL, now, reason=reason, message=message)
                self._log.moves.abandon_move(job.job_id, now, "nothing to file")
        if job.folder is Folder.PROCESSING:  # somebody took it from where a crash had left it, half-way out
            route.spool.processing.tidy(job.stored_path.parts[0])
        if after is not None:
            log_concluded(after, now)
        if job.note_path is not None:
            self._notes.put_right(route, job, after, job.note_path)
        logger.error("file.missing", job_id=job.job_id, inbox=job.inbox, filename=job.filename, message=message)

    def _note_trouble(self, route: InboxRoute, error: Exception) -> None:
        if route.name not in self.troubles:
            logger.error("file.not_filed", inbox=route.name, message=str(error), advice="fix it; it is tried again")
        self.troubles[route.name] = str(error)
        self._troubled.add(route.name)

    def _end_trouble(self, route: InboxRoute) -> None:
        if self.troubles.pop(route.name, None) is not None:
            logger.info("filing.resumed", inbox=route.name)

    # --- a file that came back for a retry ---------------------------------------------------------------------

    def _examine_again(self, job: Job, examination: Examination, duplicates: Duplicates) -> None:
        """A retry of what examination refused may succeed under new limits; anything else must still be itself."""
        current = self._log.lookups.get(job.job_id)
        if current is None or current.state is not State.QUEUED:
            return
        refused = self._refusal(job, examination, duplicates)
        if refused is None:
            mime_type = examination.mime_type or "application/octet-stream"  # of what was refused it may be unknown
            self._log.jobs.complete(job.job_id, examination.sha256, mime_type, examination.size)
            return
        after = self._log.jobs.advance(job.job_id, Event.FAIL, self._clock(), reason=refused[0], message=refused[1])
        if after is not None:
            log_concluded(after, self._clock())

    def _refusal(self, job: Job, examination: Examination, duplicates: Duplicates) -> tuple[Reason, str] | None:
        if None not in (job.sha256, examination.sha256) and examination.sha256 != job.sha256:
            return Reason.CHANGED, "The file in failed/ is not the one that was recorded."
        refusal, overruled = examination.refusal, self._log.facts.overruled.of(job.job_id)
        if refusal is not None and not (refusal.reason in OVERRULABLE and overruled.get()):
            return refusal.reason, refusal.detail
        if duplicates != "send" and examination.sha256 is not None:
            for other in self._log.lookups.same_receipts(examination.sha256, job.target, ORIGINAL_STATES):
                if other.job_id != job.job_id:
                    return Reason.ALREADY_SEEN, f"The same receipt is there as {other.filename} (job {other.job_id})."
        return None


def _in_words(error: OSError | SpoolError, folder: Path, job: Job) -> Exception:
    """Return an error that says what to do, if the folder has no room, or does not let us write in it."""
    if not isinstance(error, OSError):
        return error
    if error.errno in disk.NO_ROOM:
        return SpoolError(disk.no_room_text(folder, error, job.filename, job.size), folder)
    if error.errno in (errno.EACCES, errno.EPERM):
        place = Path(error.filename).parent if error.filename else folder
        return SpoolError(f"{job.filename}: {refusal_and(folder_advice(place), error, place)}", folder)
    return error
