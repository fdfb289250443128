"""The durable job log: all the SQL, and the only place where a job's state is written.

What it promises: `advance` is one guarded UPDATE (it names the states that it may leave) with its history row in
one transaction; losing a race is a normal return value, None. When a method that writes has returned, its rows
survive a power loss. Each method may raise JobLogError, when the disk or the file fails; see `logfile`.

Any thread may call it. Times are Unix seconds and always given by the caller. A crash leaves whole transactions or
none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from peewee import fn

from receipt_watcher.disk import display_name
from receipt_watcher.job import (
    CLOSED_STATES,
    EXAMINATION_REASONS,
    HOME_FOLDER,
    OPEN_STATES,
    TRANSITIONS,
    Event,
    Folder,
    Job,
    Reason,
    State,
)
from receipt_watcher.logfile import LogFile
from receipt_watcher.tables import JOB_COLUMNS, AttemptRow, FactRow, HistoryRow, JobRow, job_of

# What is asked several times for each receipt stands here as SQL: to put such a statement together costs Peewee
# five times what it costs SQLite to run it (measured: 0.3 ms against 0.06 ms).
_SELECT_JOB = f"SELECT {', '.join(JOB_COLUMNS)} FROM job"  # noqa: S608 - our own column names
_INSERT_JOB = f"INSERT INTO job ({', '.join(JOB_COLUMNS)}) VALUES ({', '.join('?' * len(JOB_COLUMNS))})"  # noqa: S608
_INSERT_HISTORY = "INSERT INTO history (job_id, at, event, from_state, to_state, detail) VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_ATTEMPT = (
    "INSERT INTO attempt (job_id, started_at, ended_at, outcome, counted, status_code, message)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_POSTPONE = (
    "UPDATE job SET deadline_at = deadline_at + ? - CASE WHEN updated_at > ? THEN updated_at ELSE ? END"
    " WHERE state = 'processing' AND updated_at <= ?"
)
_SHIFT_DEADLINES = (
    "UPDATE job SET deadline_at = deadline_at + ?, updated_at = MIN(updated_at, ?) WHERE state = 'processing'"
)
_SHIFT_ATTEMPTS = (
    "UPDATE job SET next_attempt_at ="
    " CASE WHEN next_attempt_at > ? THEN next_attempt_at + ? ELSE MIN(next_attempt_at, ?) END,"
    " updated_at = MIN(updated_at, ?) WHERE state = 'queued' AND updated_at <= ?"
)
_SHIFT_FAILURES = (
    "UPDATE job SET destination_failed_at = destination_failed_at + ?"
    " WHERE state IN ('queued', 'delivering', 'processing') AND destination_failed_at IS NOT NULL"
)
_QUEUED = "state = 'queued' AND move_due = 0"  # in the words of the partial indexes, or they are not used
_NEXT_DUE = f"SELECT MIN(next_attempt_at) FROM job WHERE {_QUEUED} AND branch = ?"  # noqa: S608
# The plus keeps SQLite from finding all that is due first, and sorting it.
_OLDEST_DUE = f"SELECT job_id FROM job WHERE {_QUEUED} AND branch = ? AND +next_attempt_at <= ? ORDER BY job_id LIMIT 1"  # noqa: S608
_INTEND = (
    "UPDATE job SET moving_to_folder = ?, moving_to_path = ?"
    " WHERE job_id = ? AND folder = ? AND stored_path = ? AND move_due = 1 AND moving_to_path IS NULL"
)
_FOLLOW = "UPDATE job SET move_due = 1 WHERE duplicate_of = ? AND state = 'duplicate' AND removed_at IS NULL"
# Ids of what was concluded and filed before a time. A clock that was behind dates a conclusion too early, but rows are
# numbered in their order: none was recorded before what an earlier one says, unless that lies in the future itself.
_OLD = (
    "SELECT job_id FROM (SELECT job_id, inbox, folder, state, move_due, sha256, removed_at, created_at, completed_at,"
    " MAX(CASE WHEN created_at <= ? THEN created_at END) OVER (ORDER BY rowid) AS seen_at FROM job) AS old"
    " WHERE move_due = 0 AND state IN ('success', 'failure', 'cancelled', 'duplicate')"
    " AND MAX(completed_at, created_at, seen_at) <= ?"
)
_OLD_FILES = f"{_OLD} AND inbox = ? AND folder = ? AND sha256 IS NOT NULL AND removed_at IS NULL"
_REMOVE = (
    "UPDATE job SET removed_at = ?, updated_at = ? WHERE job_id = ? AND state = ? AND folder = ? AND stored_path = ?"
    " AND completed_at = ? AND sha256 = ? AND removed_at IS NULL AND move_due = 0 AND moving_to_path IS NULL"
)
_LINKS_OF_OPEN = (
    "SELECT duplicate_of, revision_of, conflict_of FROM job"
    " WHERE (state IN ('queued', 'delivering', 'processing') OR move_due = 1)"
    " AND (duplicate_of IS NOT NULL OR revision_of IS NOT NULL OR conflict_of IS NOT NULL)"
)

_NO_CHANGE: dict[str, Any] = {}

#: What an event sets besides the state.
_CLOSING = {"next_attempt_at": None, "deadline_at": None}
_CHANGES_OF: dict[Event, dict[str, Any]] = {
    Event.ACCEPT: {"next_attempt_at": None},
    Event.LOSE: {"next_attempt_at": None},
    Event.SUCCEED: _CLOSING | {"reason": None},
    Event.FAIL: _CLOSING,
    Event.EXPIRE: _CLOSING,
    Event.CANCEL: _CLOSING | {"reason": Reason.CANCELLED},
    Event.RETRY: {
        "reason": None,
        "message": None,
        "failures": 0,
        "resends": 0,
        "completed_at": None,
        "destination_failed_at": None,
    },
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one delivery ended; `counted` tells whether it used up one of the receipt's attempts."""

    started_at: float
    outcome: str
    counted: bool
    status_code: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which jobs a balance is of: recorded from `since` to before `until` (Unix seconds), in `inbox`, not in `but`."""

    since: float | None = None
    until: float | None = None
    inbox: str | None = None
    but: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Claim:
    """A job says that its file is there, or is just being moved there; `path` is relative to the folder."""

    job_id: str
    inbox: str
    folder: Folder
    path: Path
    sha256: str | None


class JobLog(LogFile):
    """The job log on a SQLite file."""

    def _update(self, job_id: str, values: Mapping[str, object], *states: State) -> int:
        """Change columns of one job, where it is in one of `states` (none: in any); return how many rows that was."""
        columns = ", ".join(f"{name} = ?" for name in values)
        guard = f" AND state IN ({_marks(states)})" if states else ""
        return self.change(f"UPDATE job SET {columns} WHERE job_id = ?{guard}", *values.values(), job_id, *states)  # noqa: S608

    # --- the state machine -------------------------------------------------------------------------------------

    def insert(self, job: Job) -> Job:
        """Add a new job, which begins in one of `job.INITIAL_STATES`, and return it as it stands in the log."""
        job = replace(job, branch=job.branch or job.inbox, move_due=self.home_of(job) is not job.folder)
        with self.transaction():
            self.change(_INSERT_JOB, *(getattr(job, name) for name in JOB_COLUMNS))
            self.note(job.job_id, job.created_at, "record", to_state=job.state, detail=job.message)
        return job

    def advance(
        self, job_id: str, event: Event, now: float, *, detail: str | None = None, **changes: Any
    ) -> Job | None:
        """Let `event` happen to a job, with `changes` to other columns; return the job, or None where it lost a race.

        The one place that writes `state`. A closed job's file is due to be moved, and so are its copies'.
        """
        with self.transaction():
            before = self.get(job_id)
            return None if before is None else self._advance(before, event, now, detail, changes)

    def _advance(
        self, before: Job, event: Event, now: float, detail: str | None, changes: Mapping[str, Any]
    ) -> Job | None:
        transition = TRANSITIONS[event]
        if before.state not in transition.sources:
            return None
        if event is Event.RETRY and _is_refused_and_not_filed(before) and "folder" not in changes:
            return None  # the examination is done again when the file comes back from failed/, and not without it
        if event is Event.RETRY and before.removed_at is not None and "folder" not in changes:
            return None  # its file was removed; dropped in again, it brings another one
        values = {**_CHANGES_OF.get(event, _NO_CHANGE), **changes, "state": transition.target, "updated_at": now}
        if transition.target in CLOSED_STATES:
            values["completed_at"] = now
        job = replace(before, **values)
        values["move_due"] = self._is_move_due(job)
        if self._update(job.job_id, values, *transition.sources) != 1:
            return None
        self.note(job.job_id, now, event, from_state=before.state, to_state=job.state, detail=detail or job.message)
        if job.state in CLOSED_STATES:
            self.change(_FOLLOW, job.job_id)
        return replace(job, move_due=values["move_due"])

    def _is_move_due(self, job: Job) -> bool:
        """Whether a job has a file that is not where it belongs, or not known to be there yet."""
        return job.removed_at is None and (job.moving_to_folder is not None or self.home_of(job) is not job.folder)

    def claim(self, branches: Sequence[str], now: float, *, least_failed_first: bool = False) -> Job | None:
        """Claim the due job of these branches that came first; None where there is none.

        `least_failed_first` takes the one whose destination has not failed it, or longest ago: a probe of a held
        destination is to be a different receipt each time.
        """
        with self.transaction():
            job_id = self._least_failed(branches, now) if least_failed_first else self._oldest_due(branches, now)
            job = None if job_id is None else self.get(job_id)
            if job is None:
                return None
            return self._advance(job, Event.CLAIM, now, None, {"attempts": job.attempts + 1})

    def _oldest_due(self, branches: Iterable[str], now: float) -> str | None:
        """Return the id of the due job that came first: ids grow with the time when they were given."""
        # One branch at a time: for several together SQLite would sort all that is due.
        found = [row[0] for branch in branches for row in self.select(_OLDEST_DUE, branch, now)]
        return min(found, default=None)

    def _least_failed(self, branches: Sequence[str], now: float) -> str | None:
        statement = f"SELECT job_id FROM job WHERE {_queued(branches)} AND next_attempt_at <= ?"  # noqa: S608 - marks only
        order = "ORDER BY COALESCE(destination_failed_at, 0), job_id LIMIT 1"
        found = self.select(f"{statement} {order}", *branches, now)
        return found[0][0] if found else None

    def next_due(self, branches: Sequence[str]) -> float | None:
        """Return when the next queued job of these branches is due, in Unix seconds; None where none is queued."""
        found = [self.select(_NEXT_DUE, branch)[0][0] for branch in branches]
        return min((at for at in found if at is not None), default=None)

    def count(self, branches: Sequence[str], *states: State) -> int:
        """Return how many jobs of these branches are in these states."""
        statement = f"SELECT COUNT(*) FROM job WHERE branch IN ({_marks(branches)}) AND state IN ({_marks(states)})"  # noqa: S608
        return int(self.select(statement, *branches, *states)[0][0])

    def open_jobs_of(self, inboxes: Sequence[str]) -> int:
        """Return how many jobs of these inboxes are open."""
        states = sorted(OPEN_STATES)
        statement = f"SELECT COUNT(*) FROM job WHERE inbox IN ({_marks(inboxes)}) AND state IN ({_marks(states)})"  # noqa: S608
        return int(self.select(statement, *inboxes, *states)[0][0])

    def overdue(self, branches: Sequence[str], now: float, resends_below: int | None = None) -> list[Job]:
        """Return the jobs of these branches whose callback has not come by its deadline, the oldest deadline first.

        A hundred at the most; with `resends_below` only those that were sent again fewer times.
        """
        has_resends = True if resends_below is None else JobRow.resends < resends_below
        return self.jobs(
            (JobRow.state == State.PROCESSING)
            & JobRow.branch.in_(list(branches))
            & (JobRow.deadline_at <= now)
            & has_resends,
            JobRow.deadline_at,
            limit=100,
        )

    def next_deadline(self) -> float | None:
        """Return the earliest deadline of all callbacks that are awaited, in Unix seconds."""
        with self.reading():
            found: float | None = (
                JobRow.select(fn.MIN(JobRow.deadline_at)).where(JobRow.state == State.PROCESSING).scalar()
            )
            return found

    def add_attempt(self, job_id: str, now: float, attempt: Attempt) -> None:
        """Keep how a delivery ended."""
        self.change(
            _INSERT_ATTEMPT,
            job_id,
            attempt.started_at,
            now,
            attempt.outcome,
            attempt.counted,
            attempt.status_code,
            attempt.message,
        )

    def note(
        self,
        job_id: str,
        now: float,
        event: str,
        *,
        from_state: State | None = None,
        to_state: State | None = None,
        detail: str | None = None,
    ) -> None:
        """Add a line to a job's history."""
        self.change(_INSERT_HISTORY, job_id, now, event, from_state, to_state, detail)

    def lose_claims(self, now: float, deadline_at: float, detail: str, *, but: AbstractSet[str]) -> list[Job]:
        """Turn every claim, `but` those, into an awaited callback: whoever held it may have sent the receipt."""
        with self.transaction():
            claimed = [job for job in self.jobs(JobRow.state == State.DELIVERING) if job.job_id not in but]
            lost = [
                self.advance(job.job_id, Event.LOSE, now, detail=detail, deadline_at=deadline_at) for job in claimed
            ]
            return [job for job in lost if job is not None]

    def forget_resends(self, branches: Sequence[str]) -> None:
        """Give every open job of these branches its resends back: that no callback came was not its fault."""
        where = f"state IN ('queued', 'processing') AND branch IN ({_marks(branches)}) AND resends <> 0"
        self.change(f"UPDATE job SET resends = 0 WHERE {where}", *branches)  # noqa: S608

    def postpone_deadlines(self, away_since: float, now: float) -> None:
        """Move every deadline by the time when nobody was there to hear a callback.

        That began when we were last alive, or when the job was accepted, if that was later: the former is noted only
        now and then.
        """
        if now > away_since:
            self.change(_POSTPONE, now, away_since, away_since, now)

    def shift_times(self, seconds: float, now: float) -> None:
        """Move all that is still to come by a jump of the clock, which says `now` after it.

        What another process wrote since the jump, such as a retry, has the right time already.
        """
        before = now - seconds
        with self.transaction():
            self.change(_SHIFT_DEADLINES, seconds, now)
            self.change(_SHIFT_ATTEMPTS, before, seconds, now, now, before)
            self.change(_SHIFT_FAILURES, seconds)

    def bring_forward(self, latest: float) -> None:
        """Let no job wait for longer than any rule says: its time was set by a clock that was wrong."""
        self.change("UPDATE job SET next_attempt_at = ? WHERE state = 'queued' AND next_attempt_at > ?", latest, latest)
        self.change("UPDATE destination SET probe_at = ? WHERE probe_at > ?", latest, latest)

    # --- where the files are -----------------------------------------------------------------------------------

    def home_of(self, job: Job) -> Folder:
        """Return the folder where the job's file belongs now; a copy stays where it is until its original ends."""
        if job.state is not State.DUPLICATE:
            return HOME_FOLDER[job.state]
        original = self.get(job.duplicate_of or "")
        if original is None or original.state in OPEN_STATES:
            return job.folder
        return HOME_FOLDER[original.state]

    def due_moves(self, inboxes: Sequence[str], limit: int) -> list[Job]:
        """Return jobs of these inboxes whose file is not where it belongs, the oldest first."""
        statement = f"{_SELECT_JOB} WHERE move_due = 1 AND inbox IN ({_marks(inboxes)}) ORDER BY job_id LIMIT ?"
        return [job_of(row) for row in self.select(statement, *inboxes, limit)]

    def intend_moves(self, moves: Iterable[tuple[Job, Folder, Path]]) -> list[tuple[Job, Folder, Path]]:
        """Write down where files are about to be moved, so that a crash in between is finished, not guessed.

        Return those that are still due: a retry may have come meanwhile, and a worker be reading the file.
        """
        with self.transaction():
            return [
                (job, folder, path)
                for job, folder, path in moves
                if self.change(_INTEND, folder, path, job.job_id, job.folder, job.stored_path) == 1
            ]

    def complete(self, job_id: str, sha256: str | None, mime_type: str | None, size: int) -> None:
        """Fill in what an examination found that could not be read before."""
        with self.transaction():
            self._update(job_id, {"sha256": sha256, "mime_type": mime_type, "size": size})

    def keep_note_path(self, job_id: str, path: Path | None) -> None:
        """Keep where the note about a failed file stands, relative to failed/; None: there is none."""
        with self.transaction():
            self._update(job_id, {"note_path": path})

    def finish_moves(self, moves: Iterable[tuple[Job, Folder, Path]], now: float) -> None:
        """Write down where files are now. A verdict may have come meanwhile: then the next move is due at once."""
        arrived = {"moving_to_folder": None, "moving_to_path": None}
        with self.transaction():
            for job, folder, path in moves:
                values: dict[str, Any] = {"folder": folder, "stored_path": path, **arrived}
                before = self.get(job.job_id) or job
                known = (before.moving_to_folder, before.moving_to_path), (before.folder, before.stored_path)
                if before.moving_to_path is not None and (folder, path) not in known:
                    continue  # dropped in again meanwhile: the log knows of a newer move
                current = replace(before, **values)
                values["move_due"] = self.home_of(current) is not folder
                self._update(job.job_id, {**values, "updated_at": now})

    def abandon_move(self, job_id: str, now: float, detail: str) -> None:
        """Stop trying to move a file that is not there any more."""
        with self.transaction():
            self._update(
                job_id, {"moving_to_folder": None, "moving_to_path": None, "move_due": False, "updated_at": now}
            )
            self.note(job_id, now, "file.missing", detail=detail)

    def stored_in_processing(self, inbox: str) -> set[str]:
        """Return the folders of processing/ that jobs of this inbox have their file in."""
        statement = "SELECT stored_path FROM job WHERE inbox = ? AND folder = 'processing'"
        return {os.fsdecode(path.partition(b"/")[0]) for (path,) in self.select(statement, inbox)}

    # --- retention ---------------------------------------------------------------------------------------------

    def old_files(self, inbox: str, folder: Folder, before: float, now: float, limit: int) -> list[Job]:
        """Return jobs of an inbox that were concluded before a time and have their file in `folder`, the oldest first.

        Times after `now` are not believed. Without a digest a file cannot be told from another: it is never among them.
        """
        statement = f"{_SELECT_JOB} WHERE job_id IN ({_OLD_FILES}) ORDER BY completed_at, job_id LIMIT ?"
        return [job_of(row) for row in self.select(statement, now, before, inbox, folder, limit)]

    def sum_of_old_files(self, inbox: str, folder: Folder, before: float, now: float) -> tuple[int, int]:
        """Return how many files those are, and how many bytes."""
        statement = f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM job WHERE job_id IN ({_OLD_FILES})"  # noqa: S608 - our own text
        [(files, size)] = self.select(statement, now, before, inbox, folder)
        return files, size

    def intend_removals(self, inbox: str, jobs: Sequence[Job], beside: Sequence[str], now: float) -> list[Job]:
        """Write down whose files are about to be removed, and return those: whatever happened to the others meanwhile.

        1. A job must stand as it was read, filed where it belongs; so a retry either comes first, or is refused.
        2. No open job, and none whose file is under way, is its copy, its revision or its conflict copy.
        3. No younger job of the inboxes `beside`, which share the folder, names the same file.
        4. What is intended is kept until `finish_removals`, for `begun_removals` after a crash.
        """
        with self.transaction():
            needed = {link for links in self.select(_LINKS_OF_OPEN) for link in links if link is not None}
            intended = [
                job
                for job in jobs
                if job.job_id not in needed
                and self._is_at_home(job)
                and not self.is_named_by_another(job, beside)
                and self.change(
                    _REMOVE, now, now, job.job_id, job.state, job.folder, job.stored_path, job.completed_at, job.sha256
                )
            ]
            for job in intended:
                where = display_name(job.folder.value / job.stored_path)
                self.note(job.job_id, now, "file.removed", detail=f"{where}, by retention")
            self.keep_fact(f"removing:{inbox}", " ".join(job.job_id for job in intended))
            return intended

    def _is_at_home(self, job: Job) -> bool:
        """Whether a concluded job's file is where it belongs; that of a copy only once its original has ended."""
        original = self.get(job.duplicate_of or "")
        if job.state is State.DUPLICATE and (original is None or original.state in OPEN_STATES):
            return False
        return job.state in CLOSED_STATES and self.home_of(job) is job.folder

    def is_named_by_another(self, job: Job, beside: Sequence[str]) -> bool:
        """Whether a younger job of these inboxes names the same file: people empty folders, and names come again."""
        statement = (
            "SELECT 1 FROM job WHERE stored_path = ? AND folder <> 'processing' AND folder = ? AND job_id <> ?"  # noqa: S608 - marks only
            " AND removed_at IS NULL AND (completed_at IS NULL OR completed_at >= ?)"
            f" AND inbox IN ({_marks(beside)}) LIMIT 1"
        )
        return bool(self.select(statement, job.stored_path, job.folder, job.job_id, job.completed_at, *beside))

    def begun_removals(self, inbox: str) -> list[Job]:
        """Return the jobs whose file was about to be removed when nobody wrote down how that ended."""
        begun = [self.get(job_id) for job_id in (self.fact(f"removing:{inbox}") or "").split()]
        return [job for job in begun if job is not None and job.removed_at is not None]

    def finish_removals(self, inbox: str, gone: Iterable[Job], kept: Mapping[str, str], now: float) -> None:
        """Write down which files are gone, and which were kept after all: job ids, with why."""
        with self.transaction():
            for job in gone:
                self._update(job.job_id, {"note_path": None})
            for job_id, why in kept.items():
                current = self.get(job_id)
                if current is not None and current.removed_at is not None:
                    move_due = self._is_move_due(replace(current, removed_at=None))
                    self._update(job_id, {"removed_at": None, "move_due": move_due, "updated_at": now})
                    self.note(job_id, now, "file.kept", detail=why)
            self.keep_fact(f"removing:{inbox}", "")

    def old_histories(self, before: float, now: float) -> list[str]:
        """Return the ids of jobs that were concluded before a time and still have their history."""
        statement = f"{_OLD} AND EXISTS (SELECT 1 FROM history WHERE history.job_id = old.job_id)"  # noqa: S608 - our own text
        return [job_id for (job_id,) in self.select(statement, now, before)]

    def trim(self, job_ids: Sequence[str], before: float) -> int:
        """Remove the history, the attempts and the message of jobs that are still concluded so long; return how many.

        The row itself stays, and with it the digest and the verdict. SQLite uses the room that becomes free for what
        comes next; the file does not shrink.
        """
        marks, states = _marks(job_ids), sorted(CLOSED_STATES)
        with self.transaction():
            statement = (
                f"SELECT job_id FROM job WHERE job_id IN ({marks}) AND completed_at <= ? AND updated_at <= ?"  # noqa: S608
                f" AND move_due = 0 AND state IN ({_marks(states)})"
            )
            old = [job_id for (job_id,) in self.select(statement, *job_ids, before, before, *states)]
            for table in ("history", "attempt"):
                self.change(f"DELETE FROM {table} WHERE job_id IN ({_marks(old)})", *old)  # noqa: S608
            self.change(f"UPDATE job SET message = NULL WHERE job_id IN ({_marks(old)})", *old)  # noqa: S608
            return len(old)

    def removed_files(self) -> int:
        """Return how many files were removed in all."""
        return int(self.select("SELECT COUNT(*) FROM job WHERE removed_at IS NOT NULL")[0][0])

    def latest_change(self, now: float) -> float | None:
        """Return when a job changed last, in Unix seconds; times after `now` are not believed."""
        found: float | None = self.select("SELECT MAX(updated_at) FROM job WHERE updated_at <= ?", now)[0][0]
        return found

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        """Return one job, or None."""
        found = self.select(f"{_SELECT_JOB} WHERE job_id = ?", job_id)
        return job_of(found[0]) if found else None

    def jobs(self, where: Any, *order: Any, limit: int | None = None) -> list[Job]:
        """Return the jobs that meet a condition."""
        query = JobRow.select(*(getattr(JobRow, name) for name in JOB_COLUMNS)).where(where)
        return [job_of(row) for row in self.select(*_as_sql(query.order_by(*order).limit(limit)))]

    def same_receipts(self, sha256: str, target: str, states: frozenset[State]) -> list[Job]:
        """Return the jobs in these states that the same bytes had before for the same target, the newest first."""
        statement = (
            f"{_SELECT_JOB} WHERE sha256 = ? AND target = ? AND state IN ({_marks(states)}) ORDER BY job_id DESC"
        )
        return [job_of(row) for row in self.select(statement, sha256, target, *states)]

    def earlier_versions(self, inbox: str, path: Path, below_bytes: int) -> list[Job]:
        """Return the latest jobs of shorter files under the same name, the newest first; at most eight."""
        statement = (
            f"{_SELECT_JOB} WHERE inbox = ? AND relative_path = ? AND size > 0 AND size < ? AND sha256 IS NOT NULL"
            " ORDER BY job_id DESC LIMIT 8"
        )
        return [job_of(row) for row in self.select(statement, inbox, path, below_bytes)]

    def latest_of(self, inbox: str, path: Path) -> Job | None:
        """Return the newest job of a file by its path below the inbox."""
        statement = f"{_SELECT_JOB} WHERE inbox = ? AND relative_path = ? ORDER BY job_id DESC LIMIT 1"
        found = self.select(statement, inbox, path)
        return job_of(found[0]) if found else None

    def stored_at(self, inbox: str, folder: Folder, path: Path) -> Job | None:
        """Return the job whose file is, or was, at `path`, relative to a folder of the inbox's spool."""
        statement = (
            f"{_SELECT_JOB} WHERE inbox = ? AND folder = ? AND stored_path = ?"
            " ORDER BY removed_at IS NOT NULL, job_id DESC LIMIT 1"
        )
        found = self.select(statement, inbox, folder, path)
        return job_of(found[0]) if found else None

    def claims_to(self, paths: Collection[Path]) -> list[Claim]:
        """Return which jobs have, or are being given, a file at these paths, each below some folder of some spool."""
        statement = (
            f"SELECT job_id, inbox, folder, stored_path, sha256 FROM job WHERE stored_path IN ({_marks(paths)})"  # noqa: S608
            " UNION ALL SELECT job_id, inbox, moving_to_folder, moving_to_path, sha256 FROM job"
            f" WHERE move_due = 1 AND moving_to_path IN ({_marks(paths)})"
        )
        return [
            Claim(job_id, inbox, Folder(folder), Path(os.fsdecode(path)), sha256)
            for job_id, inbox, folder, path, sha256 in self.select(statement, *paths, *paths)
        ]

    def with_bytes(self, sha256: str, limit: int) -> list[Job]:
        """Return the jobs of these bytes, whatever their target, the oldest first."""
        statement = f"{_SELECT_JOB} WHERE sha256 = ? ORDER BY job_id LIMIT ?"
        return [job_of(row) for row in self.select(statement, sha256, limit)]

    def page(self, selection: Selection, after: str, limit: int) -> list[Job]:
        """Return the next jobs of a selection by their ids; `after` is the last one of the page before."""
        conditions: dict[str, Sequence[object]] = {"job_id > ?": [after]}
        if selection.since is not None:
            conditions["created_at >= ?"] = [selection.since]
        if selection.until is not None:
            conditions["created_at < ?"] = [selection.until]
        if selection.inbox is not None:
            conditions["+inbox = ?"] = [selection.inbox]  # the plus: no index by which each page is sorted anew
        if selection.but:
            conditions[f"inbox NOT IN ({_marks(selection.but)})"] = sorted(selection.but)
        values = [value for each in conditions.values() for value in each]
        statement = f"{_SELECT_JOB} WHERE {' AND '.join(conditions)} ORDER BY job_id LIMIT ?"
        return [job_of(row) for row in self.select(statement, *values, limit)]

    def has_jobs_of(self, inbox: str) -> bool:
        """Whether an inbox has ever given a receipt."""
        return bool(self.select("SELECT 1 FROM job WHERE inbox = ? LIMIT 1", inbox))

    def link_conflicts(self, original: Job) -> None:
        """Let conflict copies that came before their original name its job."""
        self.change(
            "UPDATE job SET conflict_of = ? WHERE inbox = ? AND original_path = ? AND conflict_of IS NULL",
            original.job_id,
            original.inbox,
            original.relative_path,
        )

    def assign_branches(self, inbox: str, branch_of: Callable[[Path], str]) -> None:
        """Put every job of an inbox that may be sent again where the configuration has its subfolder now.

        `branch_of` is asked once for each folder: it tells files of one folder not apart.
        """
        states = [state for state in State if state not in (State.SUCCESS, State.DUPLICATE)]
        statement = f"SELECT job_id, relative_path, branch FROM job WHERE inbox = ? AND state IN ({_marks(states)})"  # noqa: S608
        known: dict[bytes, str] = {}
        with self.transaction():
            for job_id, path, branch in self.select(statement, inbox, *states):
                folder = path.rpartition(b"/")[0]
                if folder not in known:
                    known[folder] = branch_of(Path(os.fsdecode(path)))
                if known[folder] != branch:
                    self._update(job_id, {"branch": known[folder]})

    def listing(
        self,
        *,
        states: Sequence[State] = (),
        inbox: str | None = None,
        older_than: str | None = None,
        limit: int | None = 50,
    ) -> list[Job]:
        """Return jobs, the newest first; `older_than` is the last job id of the page before."""
        where: Any = JobRow.job_id < older_than if older_than else JobRow.job_id != ""
        if states:
            where &= JobRow.state.in_(list(states))
        if inbox:
            where &= JobRow.inbox == inbox
        return self.jobs(where, JobRow.job_id.desc(), limit=limit)

    def open_since(self, at: float, limit: int) -> list[Job]:
        """Return open jobs that were recorded before `at`, the oldest first."""
        return self.jobs(
            JobRow.state.in_(list(OPEN_STATES)) & (JobRow.created_at <= at), JobRow.created_at, limit=limit
        )

    def changed_since(self, at: float) -> list[Job]:
        """Return the jobs that changed since then and those that are still open, the oldest first."""
        return self.jobs((JobRow.updated_at >= at) | JobRow.state.in_(list(OPEN_STATES)), JobRow.job_id)

    def find(self, prefix: str) -> list[Job]:
        """Return the jobs whose id begins so, or whose file is named so: what an admin may call a job. At most ten."""
        return self.jobs(JobRow.job_id.startswith(prefix) | (JobRow.filename == prefix), JobRow.job_id.desc(), limit=10)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each state."""
        with self.reading():
            rows = self.select("SELECT state, COUNT(*) FROM job GROUP BY state")
            return dict.fromkeys(State, 0) | dict(cast("Iterable[tuple[State, int]]", rows))

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """Return a job's deliveries, the first first."""
        with self.reading():
            return cast(
                "list[dict[str, Any]]",
                list(AttemptRow.select().where(AttemptRow.job_id == job_id).order_by(AttemptRow.id).dicts()),
            )

    def history(self, job_id: str) -> list[dict[str, Any]]:
        """Return what happened to a job, the first first."""
        with self.reading():
            return cast(
                "list[dict[str, Any]]",
                list(HistoryRow.select().where(HistoryRow.job_id == job_id).order_by(HistoryRow.id).dicts()),
            )

    # --- facts about the installation --------------------------------------------------------------------------

    def fact(self, name: str) -> str | None:
        """Return a fact that was kept, or None."""
        with self.reading():
            row = FactRow.get_or_none(FactRow.name == name)
            return None if row is None else str(row.value)

    def keep_fact(self, name: str, value: str) -> None:
        """Keep a fact under a name."""
        with self.transaction():
            FactRow.insert(name=name, value=value).on_conflict(
                conflict_target=[FactRow.name], update={FactRow.value: value}
            ).execute()


def _is_refused_and_not_filed(job: Job) -> bool:
    return job.folder is Folder.PROCESSING and job.reason in EXAMINATION_REASONS | {Reason.ALREADY_SEEN}


def _marks(values: Sized) -> str:
    return ", ".join("?" * len(values))


def _queued(branches: Sized) -> str:
    return f"{_QUEUED} AND branch IN ({_marks(branches)})"


def _as_sql(query: Any) -> tuple[Any, ...]:
    statement, values = query.sql()
    return statement, *values
