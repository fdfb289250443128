"""Files of jobs by the job log: where they are, which are to be moved, and which are old. Nothing here changes it.

Any thread may call it. Times are Unix seconds and always given by the caller. Each method may raise JobLogError.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.jobs.job import HOME_FOLDER, Folder, Job
from receipt_watcher.jobs.log.engine.sqlite import Database, marks
from receipt_watcher.jobs.log.facts import Facts
from receipt_watcher.jobs.log.queries.lookups import Lookups
from receipt_watcher.jobs.log.tables import SELECT_JOB, job_of
from receipt_watcher.jobs.states import OPEN_STATES, State

# What was concluded and filed before a time. A clock that was behind dates a conclusion too early, but rows are
# numbered in their order: none was recorded before what an earlier one says, unless that lies in the future itself.
_FIRST_YOUNG = "SELECT MIN(rowid) FROM job WHERE created_at > ? AND created_at <= ?"
_OLD = (
    "move_due = 0 AND state IN ('success', 'failure', 'cancelled', 'duplicate')"
    " AND completed_at <= ? AND +created_at <= ? AND +job.rowid < ?"
)
_OLD_FILES = (
    f"{_OLD} AND inbox = ? AND folder = ? AND folder <> 'processing' AND sha256 IS NOT NULL AND removed_at IS NULL"
)
_ALL = 1 << 62  # beyond the number of any row


@dataclass(frozen=True, slots=True)
class FileClaim:
    """A job says that its file is there, or is just being moved there; `path` is relative to the folder."""

    job_id: str
    inbox: str
    folder: Folder
    path: Path
    sha256: str | None


class Files:
    """The files of jobs, as the log knows them."""

    def __init__(self, database: Database, lookups: Lookups, facts: Facts) -> None:
        self._database = database
        self._lookups = lookups
        self._facts = facts

    def home_of(self, job: Job) -> Folder:
        """Return the folder where the job's file belongs now; a copy stays where it is until its original ends."""
        if job.state is not State.DUPLICATE:
            return HOME_FOLDER[job.state]
        original = self._lookups.get(job.duplicate_of or "")
        if original is None or original.state in OPEN_STATES:
            return job.folder
        return HOME_FOLDER[original.state]

    def is_move_due(self, job: Job) -> bool:
        """Whether a job has a file that is not where it belongs, or not known to be there yet."""
        return job.removed_at is None and (job.moving_to_folder is not None or self.home_of(job) is not job.folder)

    def due_moves(self, inboxes: Sequence[str], limit: int) -> list[Job]:
        """Return jobs of these inboxes whose file is not where it belongs, the oldest first."""
        statement = f"{SELECT_JOB} WHERE move_due = 1 AND inbox = ? ORDER BY job_id LIMIT ?"
        # One inbox at a time: for several together SQLite would look at all of their jobs.
        with self._database.reading():
            jobs = [job for inbox in inboxes for job in self._database.select_as(job_of, statement, inbox, limit)]
        return sorted(jobs, key=lambda job: job.job_id)[:limit]

    def unrecorded_in_processing(self, inbox: str, names: Collection[str]) -> set[str]:
        """Return those of these folders of processing/ that no job of this inbox has its file in."""
        statement = (
            "SELECT value FROM json_each(?) WHERE NOT EXISTS"
            " (SELECT 1 FROM job WHERE inbox = ? AND folder = 'processing'"  # what follows / is 0
            " AND stored_path >= CAST(value || '/' AS BLOB) AND stored_path < CAST(value || '0' AS BLOB))"
        )
        return {str(name) for (name,) in self._database.select(statement, json.dumps(sorted(names)), inbox)}

    def stored_at(self, inbox: str, folder: Folder, path: Path) -> Job | None:
        """Return the job whose file is, or was, at `path`, relative to a folder of the inbox's spool."""
        statement = (
            f"{SELECT_JOB} WHERE inbox = ? AND folder = ? AND stored_path = ?"
            " ORDER BY removed_at IS NOT NULL, job_id DESC LIMIT 1"
        )
        jobs = self._database.select_as(job_of, statement, inbox, folder, path)
        return jobs[0] if jobs else None

    def claims_to(self, paths: Collection[Path]) -> list[FileClaim]:
        """Return which jobs have, or are being given, a file at these paths, each below some folder of some spool."""
        statement = (
            f"SELECT job_id, inbox, folder, stored_path, sha256 FROM job WHERE stored_path IN ({marks(paths)})"  # noqa: S608
            " UNION ALL SELECT job_id, inbox, moving_to_folder, moving_to_path, sha256 FROM job"
            f" WHERE move_due = 1 AND moving_to_path IN ({marks(paths)})"
        )
        return self._database.select_as(
            lambda row: FileClaim(row[0], row[1], Folder(row[2]), Path(os.fsdecode(row[3])), row[4]),
            statement,
            *paths,
            *paths,
        )

    def is_being_left(self, inbox: str, folder: Folder, path: Path) -> bool:
        """Return whether a file is on its way out of this place: by the log it still lies there, whatever is there now.

        Its move may be done, and not be written down yet. Another file that gets its name would be taken for it.
        """
        where = "stored_path = ? AND folder = ? AND inbox = ? AND moving_to_path IS NOT NULL"
        statement = f"SELECT 1 FROM job WHERE {where} LIMIT 1"  # noqa: S608 - our own words
        return bool(self._database.select(statement, path, folder, inbox))

    def newest(self, inbox: str, folder: Folder, before: float, limit: int) -> list[Job]:
        """Return the last jobs of an inbox, concluded before a time, whose file lies in `folder` by the log.

        In processing/ those that are not being moved, whenever they came.
        """
        if folder is Folder.PROCESSING:
            statement = f"{SELECT_JOB} WHERE inbox = ? AND folder = 'processing' ORDER BY stored_path DESC LIMIT ?"
            jobs = [job_of(row) for row in self._database.select(statement, inbox, limit)]
            return [job for job in jobs if job.moving_to_folder is None]
        statement = (
            f"{SELECT_JOB} WHERE inbox = ? AND folder = ? AND folder <> 'processing' AND removed_at IS NULL"
            " AND completed_at < ? ORDER BY completed_at DESC LIMIT ?"
        )
        jobs = [job_of(row) for row in self._database.select(statement, inbox, folder, before, limit)]
        return [job for job in jobs if job.moving_to_folder is None]

    def has_filed(self, inbox: str, folder: Folder) -> bool:
        """Whether a file of an inbox was ever filed away to `folder`; it may have been removed since."""
        states = [state for state, home in HOME_FOLDER.items() if home is folder]
        statement = f"SELECT 1 FROM job WHERE inbox = ? AND state IN ({marks(states)}) AND folder = ? LIMIT 1"  # noqa: S608 - marks only
        return bool(self._database.select(statement, inbox, *states, folder))

    def old(self, inbox: str, folder: Folder, before: float, now: float, limit: int) -> list[Job]:
        """Return jobs of an inbox that were concluded before a time and have their file in `folder`, the oldest first.

        Times after `now` are not believed. Without a digest a file cannot be told from another: it is never among them.
        """
        statement = f"{SELECT_JOB} WHERE {_OLD_FILES} ORDER BY completed_at, job_id LIMIT ?"
        with self._database.reading():
            young = self._first_young(before, now)
            return self._database.select_as(job_of, statement, before, before, young, inbox, folder, limit)

    def sum_of_old(self, inbox: str, folder: Folder, before: float, now: float) -> tuple[int, int]:
        """Return how many files those are, and how many bytes."""
        statement = f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM job WHERE {_OLD_FILES}"  # noqa: S608 - our own text
        with self._database.reading():
            [(files, size)] = self._database.select(
                statement, before, before, self._first_young(before, now), inbox, folder
            )
        return files, size

    def _first_young(self, before: float, now: float) -> int:
        """Return the number of the first row that was recorded after a time; beyond all where there is none."""
        first_young = self._database.select(_FIRST_YOUNG, before, now)[0][0]
        return _ALL if first_young is None else int(first_young)

    def is_named_by_another(self, job: Job, beside: Sequence[str]) -> bool:
        """Whether a younger job of these inboxes names the same file: people empty folders, and names come again."""
        statement = (
            "SELECT 1 FROM job WHERE stored_path = ? AND folder <> 'processing' AND folder = ? AND job_id <> ?"  # noqa: S608 - marks only
            " AND removed_at IS NULL AND (completed_at IS NULL OR completed_at >= ?)"
            f" AND +inbox IN ({marks(beside)}) LIMIT 1"  # the plus: few jobs had this path, many are of an inbox
        )
        return bool(
            self._database.select(statement, job.stored_path, job.folder, job.job_id, job.completed_at, *beside)
        )

    def begun_removals(self, inbox: str) -> list[Job]:
        """Return the jobs whose file was about to be removed when nobody wrote down how that ended."""
        begun = [self._lookups.get(job_id) for job_id in self._facts.removing.of(inbox).get() or []]
        return [job for job in begun if job is not None and job.removed_at is not None]

    def old_histories(self, before: float, now: float) -> list[str]:
        """Return the ids of jobs that were concluded before a time and still have a history of before that.

        The histories of old jobs begin before those of young ones: what was trimmed long ago is not looked at.
        """
        of_young = "SELECT MIN(id) FROM history WHERE job_id = (SELECT job_id FROM job WHERE rowid = ?)"
        statement = (
            "SELECT job_id FROM job WHERE job_id IN (SELECT job_id FROM history WHERE id < ?)"  # noqa: S608 - our own text
            f" AND {_OLD} ORDER BY job_id"
        )
        with self._database.reading():
            young = self._first_young(before, now)
            line = self._database.select(of_young, young)[0][0] or _ALL
            return [job_id for (job_id,) in self._database.select(statement, line, before, before, young)]
