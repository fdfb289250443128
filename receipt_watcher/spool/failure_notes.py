"""The note beside a failed file: what it says, and when it is written, renewed and removed.

What it promises: a failed file has one note, about its own job; a note goes when its receipt succeeds. A note that
cannot be written delays no file.

The filing thread calls it, before the commit that says where the file is. A crash before that has it done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from receipt_watcher.jobs.job import Folder, Job, may_be_booked
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, OVERRULABLE, Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.spool import reason_file
from receipt_watcher.spool.route import InboxRoute

logger = structlog.get_logger()

#: The reasons for which the same file would fail once more.
_NOT_BY_THE_SAME_FILE = EXAMINATION_REASONS | {Reason.ALREADY_SEEN, Reason.CHANGED}


class FailureNotes:
    """Writes and removes the notes of failed files."""

    def __init__(self, log: JobLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock

    def write(self, route: InboxRoute, job: Job, path: Path) -> Path | None:
        """Write the note beside a failed file, and return where it stands, relative to failed/."""
        root = route.spool.folders.failed
        beside = reason_file.note_path(root / path)
        if not route.spool.presence.is_complete():
            return None  # the next opening of the inbox finds the file without a note, which is less
        try:
            written = reason_file.write_note(beside, job.job_id, self._text(job))
        except OSError as error:
            logger.error("note.not_written", job_id=job.job_id, path=str(beside), message=str(error))  # noqa: TRY400 - the text says it
            return None
        return beside.relative_to(root) if written else None

    def renew(self, route: InboxRoute, job: Job) -> None:
        """Write the note beside a failed file again if it stands there: what it says may have changed."""
        if job.folder is Folder.FAILED and job.note_path is not None and job.removed_at is None:
            place = route.spool.folders.failed / job.note_path
            if reason_file.is_about(place, job.job_id):
                self.write(route, job, job.stored_path)

    def remove_older(self, route: InboxRoute, job: Job, folder: Folder, written: Path | None) -> None:
        """Remove older notes about a file; before the commit, after which nobody would come back for them."""
        if job.note_path is not None and job.note_path != written:
            reason_file.remove_note(route.spool.folders.failed / job.note_path, job.job_id)
        if folder is Folder.DONE:  # people move the note back into the inbox together with the file
            reason_file.remove_note(reason_file.note_path(route.spool.folders.inbox / job.relative_path), job.job_id)

    def put_right(self, route: InboxRoute, job: Job, after: Job | None, path: Path) -> None:
        """Keep the note of a job that failed again where it stands; with the file gone for good it goes as well."""
        place = route.spool.folders.failed / path
        if after is not None and after.reason is Reason.CHANGED and reason_file.is_about(place, job.job_id):
            self.write(route, after, job.stored_path)
        else:
            reason_file.remove_note(place, job.job_id)

    def _text(self, job: Job) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.completed_at or self._clock()))
        if job.state is State.DUPLICATE:
            original = self._log.lookups.get(job.duplicate_of or "")
            return (
                f"{job.filename}\n\nWhat happened ({when}):\nThis is a copy of a receipt that did not get through"
                f"{f': {original.filename}' if original else ''} (job {job.duplicate_of}).\n\n"
                "What to do:\nSee the note beside the original."
            )
        reason = job.reason or Reason.N8N_FAILURE
        message = f"\n{job.message}" if job.message else ""
        again = "" if reason in _NOT_BY_THE_SAME_FILE else "\nTo try again: move the file back into the inbox."
        if reason in OVERRULABLE:
            again = (
                "\nIf a viewer opens the file and shows all of it: ask an admin to have it sent all the same:"
                f"\nreceipt-watcher retry --force {job.job_id}"
            )
        if may_be_booked(job):
            again = (
                "\nIf it was not booked: move the file back into the inbox, and it is sent again."
                "\nIf it was booked: leave the file here, or it is booked twice. Ask an admin to mark it delivered:"
                f"\nreceipt-watcher settle {job.job_id} --delivered"
            )
        return (
            f"{job.filename}\n\nWhat happened ({when}):\n{reason.meaning}{message}"
            f"\n\nWhat to do:\n{reason.advice}{again}"
        )
