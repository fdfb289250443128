"""Moves of files: where they are about to go, where they are, and which are to be removed, before and after.

What it promises: what a crash interrupts is finished by what stands here, and not guessed.

Any thread may call it. Times are Unix seconds and always given by the caller. A crash leaves whole transactions or
none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.columns import change_columns
from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.jobs.log.facts import Facts
from receipt_watcher.jobs.log.histories import Histories
from receipt_watcher.jobs.log.queries.files import Files
from receipt_watcher.jobs.log.queries.lookups import Lookups
from receipt_watcher.jobs.states import CLOSED_STATES, OPEN_STATES, State
from receipt_watcher.system.display import display_name

_INTEND = (
    "UPDATE job SET moving_to_folder = ?, moving_to_path = ?"
    " WHERE job_id = ? AND folder = ? AND stored_path = ? AND move_due = 1 AND moving_to_path IS NULL"
)
_REMOVE = (
    "UPDATE job SET removed_at = ?, updated_at = ? WHERE job_id = ? AND state = ? AND folder = ? AND stored_path = ?"
    " AND completed_at = ? AND sha256 = ? AND removed_at IS NULL AND move_due = 0 AND moving_to_path IS NULL"
)
_LINKS_OF_OPEN = " UNION ALL ".join(  # each in the words of a partial index
    f"SELECT duplicate_of, revision_of, conflict_of FROM job WHERE {which}"  # noqa: S608 - our own text
    " AND (duplicate_of IS NOT NULL OR revision_of IS NOT NULL OR conflict_of IS NOT NULL)"
    for which in ("state NOT IN ('success', 'failure', 'cancelled', 'duplicate')", "move_due = 1")
)


class Moves:
    """The moves of files, and their removal."""

    def __init__(self, database: Database, lookups: Lookups, files: Files, histories: Histories, facts: Facts) -> None:
        self._database = database
        self._lookups = lookups
        self._files = files
        self._histories = histories
        self._facts = facts

    def intend_moves(self, moves: Iterable[tuple[Job, Folder, Path]]) -> list[tuple[Job, Folder, Path]]:
        """Write down where files are about to be moved, so that a crash in between is finished, not guessed.

        Return those that are still due: a retry may have come meanwhile, and a worker be reading the file.
        """
        with self._database.transaction():
            return [
                (job, folder, path)
                for job, folder, path in moves
                if self._database.change(_INTEND, folder, path, job.job_id, job.folder, job.stored_path) == 1
            ]

    def finish_moves(self, moves: Iterable[tuple[Job, Folder, Path]], now: float) -> None:
        """Write down where files are now. A verdict may have come meanwhile: then the next move is due at once."""
        arrived = {"moving_to_folder": None, "moving_to_path": None}
        with self._database.transaction():
            for job, folder, path in moves:
                values: dict[str, Any] = {"folder": folder, "stored_path": path, **arrived}
                before = self._lookups.get(job.job_id) or job
                known = (before.moving_to_folder, before.moving_to_path), (before.folder, before.stored_path)
                if before.moving_to_path is not None and (folder, path) not in known:
                    continue  # dropped in again meanwhile: the log knows of a newer move
                current = replace(before, **values)
                values["move_due"] = self._files.home_of(current) is not folder
                change_columns(self._database, job.job_id, {**values, "updated_at": now})

    def keep_note_path(self, job_id: str, path: Path | None) -> None:
        """Keep where the note about a failed file stands, relative to failed/; None: there is none."""
        with self._database.transaction():
            change_columns(self._database, job_id, {"note_path": path})

    def relocate(self, job: Job, now: float, detail: str, place: Mapping[str, object]) -> Job:
        """Give a job its file in another place than the log knew; return the job. Only inside a transaction."""
        change_columns(self._database, job.job_id, {**place, "move_due": True, "updated_at": now}, job.state)
        self._histories.note(job.job_id, now, "file.brought", detail=detail)
        return self._lookups.get(job.job_id) or job

    def find_again(self, job: Job, folder: Folder, path: Path, now: float, detail: str) -> Job:
        """Write down where a job's file was found, whatever the log knew of it. Only inside a transaction."""
        place: dict[str, Any] = {
            "folder": folder,
            "stored_path": path,
            "moving_to_folder": None,
            "moving_to_path": None,
        }
        moved = replace(job, **place, removed_at=None)
        move_due = self._files.home_of(moved) is not folder
        change_columns(
            self._database, job.job_id, {**place, "removed_at": None, "move_due": move_due, "updated_at": now}
        )
        self._histories.note(job.job_id, now, "file.found", detail=detail)
        return replace(moved, move_due=move_due, updated_at=now)

    def abandon_move(self, job_id: str, now: float, detail: str) -> None:
        """Stop trying to move a file that is not there any more."""
        with self._database.transaction():
            change_columns(
                self._database,
                job_id,
                {"moving_to_folder": None, "moving_to_path": None, "move_due": False, "updated_at": now},
            )
            self._histories.note(job_id, now, "file.missing", detail=detail)

    def intend_removals(self, inbox: str, jobs: Sequence[Job], beside: Sequence[str], now: float) -> list[Job]:
        """Write down whose files are about to be removed, and return those: whatever happened to the others meanwhile.

        1. A job must stand as it was read, filed where it belongs; so a retry either comes first, or is refused.
        2. No open job, and none whose file is under way, is its copy, its revision or its conflict copy.
        3. No younger job of the inboxes `beside`, which share the folder, names the same file.
        4. What is intended is kept until `finish_removals`, for `begun_removals` after a crash.
        """
        with self._database.transaction():
            needed = {link for links in self._database.select(_LINKS_OF_OPEN) for link in links if link is not None}
            intended = [
                job
                for job in jobs
                if job.job_id not in needed
                and self._is_at_home(job)
                and not self._files.is_named_by_another(job, beside)
                and self._database.change(
                    _REMOVE, now, now, job.job_id, job.state, job.folder, job.stored_path, job.completed_at, job.sha256
                )
            ]
            for job in intended:
                where = display_name(job.folder.value / job.stored_path)
                self._histories.note(job.job_id, now, "file.removed", detail=f"{where}, by retention")
            self._facts.removing.of(inbox).put([job.job_id for job in intended])
            return intended

    def _is_at_home(self, job: Job) -> bool:
        """Whether a concluded job's file is where it belongs; that of a copy only once its original has ended."""
        original = self._lookups.get(job.duplicate_of or "")
        if job.state is State.DUPLICATE and (original is None or original.state in OPEN_STATES):
            return False
        return job.state in CLOSED_STATES and self._files.home_of(job) is job.folder

    def finish_removals(self, inbox: str, gone: Iterable[Job], kept: Mapping[str, str], now: float) -> None:
        """Write down which files are gone, and which were kept after all: job ids, with why."""
        with self._database.transaction():
            for job in gone:
                change_columns(self._database, job.job_id, {"note_path": None})
            for job_id, why in kept.items():
                current = self._lookups.get(job_id)
                if current is not None and current.removed_at is not None:
                    move_due = self._files.is_move_due(replace(current, removed_at=None))
                    change_columns(
                        self._database, job_id, {"removed_at": None, "move_due": move_due, "updated_at": now}
                    )
                    self._histories.note(job_id, now, "file.kept", detail=why)
            self._facts.removing.of(inbox).put([])
