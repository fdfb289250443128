"""The durable job log: all the SQL that changes it, and the only place where a job's state is written.

What it promises: `advance` is one guarded UPDATE (it names the states that it may leave) with its history row in
one transaction; losing a race is a normal return value, None. When a method that writes has returned, its rows
survive a power loss. Each method may raise JobLogError, when the disk or the file fails; see `logfile`.

Any thread may call it. Times are Unix seconds and always given by the caller. A crash leaves whole transactions or
none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from receipt_watcher.jobs.job import Folder, Job, may_be_booked, unknown_outcome
from receipt_watcher.jobs.log.queries.lookups import SELECT_JOB, Records, marks
from receipt_watcher.jobs.log.tables import JOB_COLUMNS, FactRow, JobRow
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, Reason
from receipt_watcher.jobs.states import CLOSED_STATES, OPEN_STATES, TRANSITIONS, Event, State
from receipt_watcher.system.display import display_name

# SQL, and not Peewee's queries, for the same reason as in `records`.
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
_OLDEST_DUE = f"{SELECT_JOB} WHERE {_QUEUED} AND branch = ? AND +next_attempt_at <= ? ORDER BY job_id LIMIT 1"
# So the probes of a hold find theirs at once, however many wait.
_OLDEST_NEVER_FAILED = _OLDEST_DUE.replace(" ORDER", " AND destination_failed_at IS NULL ORDER")
_INTEND = (
    "UPDATE job SET moving_to_folder = ?, moving_to_path = ?"
    " WHERE job_id = ? AND folder = ? AND stored_path = ? AND move_due = 1 AND moving_to_path IS NULL"
)
# The plus keeps SQLite from going through all copies that there ever were.
_FOLLOW = "UPDATE job SET move_due = 1 WHERE duplicate_of = ? AND +state = 'duplicate' AND removed_at IS NULL"
_REMOVE = (
    "UPDATE job SET removed_at = ?, updated_at = ? WHERE job_id = ? AND state = ? AND folder = ? AND stored_path = ?"
    " AND completed_at = ? AND sha256 = ? AND removed_at IS NULL AND move_due = 0 AND moving_to_path IS NULL"
)
_LINKS_OF_OPEN = " UNION ALL ".join(  # each in the words of a partial index
    f"SELECT duplicate_of, revision_of, conflict_of FROM job WHERE {which}"  # noqa: S608 - our own text
    " AND (duplicate_of IS NOT NULL OR revision_of IS NOT NULL OR conflict_of IS NOT NULL)"
    for which in ("state NOT IN ('success', 'failure', 'cancelled', 'duplicate')", "move_due = 1")
)

#: By which name the log knows the version of the program that was started on it last.
VERSION_FACT = "version"

_NO_CHANGE: dict[str, Any] = {}

#: What an event sets besides the state.
_CLOSING = {"next_attempt_at": None, "deadline_at": None}
_CHANGES_OF: dict[Event, dict[str, Any]] = {
    Event.ACCEPT: {"next_attempt_at": None},
    Event.LOSE: {"next_attempt_at": None},
    Event.SUCCEED: _CLOSING | {"reason": None},
    Event.FAIL: _CLOSING,
    Event.EXPIRE: _CLOSING,
    Event.GIVE_UP: _CLOSING,
    Event.SETTLE_DELIVERED: _CLOSING | {"reason": None},
    Event.SETTLE_NOT_DELIVERED: _CLOSING,
    Event.CANCEL: _CLOSING | {"reason": Reason.CANCELLED},
    Event.RETRY: {
        "reason": None,
        "message": None,
        "failures": 0,
        "resends": 0,
        "completed_at": None,
        "destination_failed_at": None,
        "execution_id": None,
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


class JobLog(Records):
    """The job log on a SQLite file."""

    def _update(self, job_id: str, values: Mapping[str, object], *states: State) -> int:
        """Change columns of one job, where it is in one of `states` (none: in any); return how many rows that was."""
        columns = ", ".join(f"{name} = ?" for name in values)
        guard = f" AND state IN ({marks(states)})" if states else ""
        return self.change(f"UPDATE job SET {columns} WHERE job_id = ?{guard}", *values.values(), job_id, *states)  # noqa: S608

    def extend_deadlines(self, branches: Sequence[str], until: float) -> None:
        """Wait until then at least for the callbacks of what was sent from these branches, in Unix seconds."""
        self.change(
            "UPDATE job SET deadline_at = MAX(deadline_at, ?)"  # noqa: S608 - marks only
            f" WHERE state = 'processing' AND branch IN ({marks(branches)})",
            until,
            *branches,
        )

    # --- the state machine -------------------------------------------------------------------------------------

    def insert(self, job: Job) -> Job:
        """Add a new job, which begins in one of `INITIAL_STATES`, and return it as it stands in the log."""
        job = replace(job, branch=job.branch or job.inbox, move_due=self.home_of(job) is not job.folder)
        with self.transaction():
            self.change(_INSERT_JOB, *(getattr(job, name) for name in JOB_COLUMNS))
            self.note(job.job_id, job.created_at, "record", to_state=job.state, detail=job.message)
        return job

    def advance(
        self, job: str | Job, event: Event, now: float, *, detail: str | None = None, **changes: Any
    ) -> Job | None:
        """Let `event` happen to a job, with `changes` to other columns; return the job, or None where it lost a race.

        The one place that writes `state`. A closed job's file is due to be moved, and so are its copies'. The job is
        named by its id; one that was read in the same transaction may be given as it was read.
        """
        with self.transaction():
            before = self.get(job) if isinstance(job, str) else job
            return None if before is None else self._advance(before, event, now, detail, changes)

    def retry(self, job_id: str, now: float, detail: str, *, is_forced: bool = False) -> Job | None:
        """Send a failed or cancelled job again; one that may have been booked only if that is forced."""
        with self.transaction():
            before = self.get(job_id)
            if before is None or (may_be_booked(before) and not is_forced):
                return None
            return self.advance(before, Event.RETRY, now, detail=detail, next_attempt_at=now)

    def settle(self, job_id: str, now: float, by: str, *, is_delivered: bool) -> Job | None:
        """Write down what a person found out about a job that may have been booked; None if it is no such job."""
        with self.transaction():
            before = self.get(job_id)
            if before is None or not may_be_booked(before):
                return None
            if is_delivered:
                return self.advance(
                    before, Event.SETTLE_DELIVERED, now, detail=by, message=f"Marked as delivered {by}."
                )
            message = f"Marked as not delivered {by}."
            reason = Reason.NOT_DELIVERED
            return self.advance(before, Event.SETTLE_NOT_DELIVERED, now, detail=by, reason=reason, message=message)

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
        # A failure that is another one now stays where it is, but the note beside its file is written again.
        values["move_due"] = self._is_move_due(job) or (event is Event.SETTLE_NOT_DELIVERED and job.removed_at is None)
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
            job = self._least_failed(branches, now) if least_failed_first else self.oldest_due(branches, now)
            if job is None:
                return None
            return self._advance(job, Event.CLAIM, now, None, {"attempts": job.attempts + 1})

    def oldest_due(self, branches: Iterable[str], now: float) -> Job | None:
        """Return the due job that came first: ids grow with the time when they were given."""
        # One branch at a time: for several together SQLite would sort all that is due.
        found = [job for branch in branches for job in self._jobs(_OLDEST_DUE, branch, now)]
        return min(found, key=lambda job: job.job_id, default=None)

    def _least_failed(self, branches: Sequence[str], now: float) -> Job | None:
        """Return the due job at which the destination failed the longest ago, or never, which is most of them."""
        found = [job for branch in branches for job in self._jobs(_OLDEST_NEVER_FAILED, branch, now)]
        if found:
            return min(found, key=lambda job: job.job_id)
        statement = f"{SELECT_JOB} WHERE {_queued(branches)} AND next_attempt_at <= ?"
        order = "ORDER BY COALESCE(destination_failed_at, 0), job_id LIMIT 1"
        found = self._jobs(f"{statement} {order}", *branches, now)
        return found[0] if found else None

    def next_due(self, branches: Sequence[str]) -> float | None:
        """Return when the next queued job of these branches is due, in Unix seconds; None where none is queued."""
        found = [self.select(_NEXT_DUE, branch)[0][0] for branch in branches]
        return min((at for at in found if at is not None), default=None)

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

    def keep_execution(self, job_id: str, execution_id: str) -> None:
        """Keep which execution of N8N has a job."""
        with self.transaction():
            self._update(job_id, {"execution_id": execution_id})

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

    def lose_claims(
        self,
        now: float,
        deadline_at: float,
        detail: str,
        *,
        but: AbstractSet[str],
        sent_once: AbstractSet[str] = frozenset(),
    ) -> list[Job]:
        """Turn every claim, `but` those, into a lost answer: whoever held it may have sent the receipt.

        Its callback is awaited, or it is given up if it is of a branch that is `sent_once`.
        """
        with self.transaction():
            claimed = [job for job in self.jobs(JobRow.state == State.DELIVERING) if job.job_id not in but]
            lost = [
                self.give_up(job, now, detail)
                if job.branch in sent_once
                else self.advance(job.job_id, Event.LOSE, now, detail=detail, deadline_at=deadline_at)
                for job in claimed
            ]
            return [job for job in lost if job is not None]

    def give_up(self, job: Job, now: float, why: str) -> Job | None:
        """Fail a job that may have been booked: no callback can tell, and sending it again could book it twice."""
        message = unknown_outcome(job, why)
        return self.advance(job, Event.GIVE_UP, now, reason=Reason.OUTCOME_UNKNOWN, message=message)

    def forget_resends(self, branches: Sequence[str]) -> None:
        """Give every open job of these branches its resends back: that no callback came was not its fault."""
        where = f"state IN ('queued', 'processing') AND branch IN ({marks(branches)}) AND resends <> 0"
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

    def bring(self, job: Job, now: float, detail: str, place: Mapping[str, object]) -> Job:
        """Give a job its file in another place than the log knew; return the job. Only inside a transaction."""
        self._update(job.job_id, {**place, "move_due": True, "updated_at": now}, job.state)
        self.note(job.job_id, now, "file.brought", detail=detail)
        return self.get(job.job_id) or job

    def find_again(self, job: Job, folder: Folder, path: Path, now: float, detail: str) -> Job:
        """Write down where a job's file was found, whatever the log knew of it. Only inside a transaction."""
        place: dict[str, Any] = {
            "folder": folder,
            "stored_path": path,
            "moving_to_folder": None,
            "moving_to_path": None,
        }
        found = replace(job, **place, removed_at=None)
        move_due = self.home_of(found) is not folder
        self._update(job.job_id, {**place, "removed_at": None, "move_due": move_due, "updated_at": now})
        self.note(job.job_id, now, "file.found", detail=detail)
        return replace(found, move_due=move_due, updated_at=now)

    def abandon_move(self, job_id: str, now: float, detail: str) -> None:
        """Stop trying to move a file that is not there any more."""
        with self.transaction():
            self._update(
                job_id, {"moving_to_folder": None, "moving_to_path": None, "move_due": False, "updated_at": now}
            )
            self.note(job_id, now, "file.missing", detail=detail)

    # --- retention ---------------------------------------------------------------------------------------------

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

    def trim(self, job_ids: Sequence[str], before: float) -> int:
        """Remove the history, the attempts and the message of jobs that are still concluded so long; return how many.

        The row itself stays, and with it the digest and the verdict. SQLite uses the room that becomes free for what
        comes next; the file does not shrink.
        """
        states = sorted(CLOSED_STATES)
        with self.transaction():
            statement = (
                f"SELECT job_id FROM job WHERE job_id IN ({marks(job_ids)}) AND completed_at <= ? AND updated_at <= ?"  # noqa: S608
                f" AND move_due = 0 AND state IN ({marks(states)})"
            )
            old = [job_id for (job_id,) in self.select(statement, *job_ids, before, before, *states)]
            for table in ("history", "attempt"):
                self.change(f"DELETE FROM {table} WHERE job_id IN ({marks(old)})", *old)  # noqa: S608
            self.change(f"UPDATE job SET message = NULL WHERE job_id IN ({marks(old)})", *old)  # noqa: S608
            return len(old)

    # --- subfolders and conflict copies ------------------------------------------------------------------------

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
        statement = f"SELECT job_id, relative_path, branch FROM job WHERE inbox = ? AND state IN ({marks(states)})"  # noqa: S608
        known: dict[bytes, str] = {}
        others: list[tuple[str, str]] = []
        with self.transaction():
            # Row by row: there may be very many.
            for job_id, path, branch in self._execute(statement, [inbox, *states]):
                folder = path.rpartition(b"/")[0]
                if folder not in known:
                    known[folder] = branch_of(Path(os.fsdecode(path)))
                if known[folder] != branch:
                    others.append((job_id, known[folder]))
            for job_id, branch in others:
                self._update(job_id, {"branch": branch})

    # --- facts about the installation --------------------------------------------------------------------------

    def keep_fact(self, name: str, value: str) -> None:
        """Keep a fact under a name."""
        with self.transaction():
            FactRow.insert(name=name, value=value).on_conflict(
                conflict_target=[FactRow.name], update={FactRow.value: value}
            ).execute()

    def replace_in_facts(self, prefix: str, old: str, new: str) -> None:
        """Put one id for another in the facts whose names begin so."""
        statement = "UPDATE fact SET value = replace(value, ?, ?) WHERE name >= ? AND name < ? AND instr(value, ?) > 0"
        self.change(statement, old, new, prefix, f"{prefix}~", old)

    def forget_facts(self, prefix: str, below: str) -> None:
        """Remove the facts whose names begin so and whose values are smaller."""
        self.change("DELETE FROM fact WHERE name >= ? AND name < ? AND value < ?", prefix, f"{prefix}~", below)


def _is_refused_and_not_filed(job: Job) -> bool:
    return job.folder is Folder.PROCESSING and job.reason in EXAMINATION_REASONS | {Reason.ALREADY_SEEN}


def _queued(branches: Sized) -> str:
    return f"{_QUEUED} AND branch IN ({marks(branches)})"
