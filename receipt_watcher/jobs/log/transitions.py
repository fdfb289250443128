"""The durable job log: all the SQL that changes it, and the only place where a job's state is written.

What it promises: `advance` is one guarded UPDATE (it names the states that it may leave) with its history row in
one transaction; losing a race is a normal return value, None. When a method that writes has returned, its rows
survive a power loss. Each method may raise JobLogError, when the disk or the file fails; see `engine`.

Any thread may call it. Times are Unix seconds and always given by the caller. A crash leaves whole transactions or
none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from receipt_watcher.jobs.job import Folder, Job, is_overdue, may_be_booked, unknown_outcome
from receipt_watcher.jobs.log.columns import change_columns
from receipt_watcher.jobs.log.engine.sqlite import Database, marks
from receipt_watcher.jobs.log.facts import Facts
from receipt_watcher.jobs.log.histories import Histories
from receipt_watcher.jobs.log.queries.files import Files
from receipt_watcher.jobs.log.queries.lookups import Lookups
from receipt_watcher.jobs.log.tables import JOB_COLUMNS
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, OVERRULABLE, Reason
from receipt_watcher.jobs.states import CLOSED_STATES, TRANSITIONS, Event, State

# SQL, and not Peewee's queries, for the same reason as in `tables`.
_INSERT_JOB = f"INSERT INTO job ({', '.join(JOB_COLUMNS)}) VALUES ({', '.join('?' * len(JOB_COLUMNS))})"  # noqa: S608
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
# The plus keeps SQLite from going through all copies that there ever were.
_FOLLOW = "UPDATE job SET move_due = 1 WHERE duplicate_of = ? AND +state = 'duplicate' AND removed_at IS NULL"
_NO_CHANGE: dict[str, Any] = {}
#: The columns that an event sets besides the state.
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
    """The end of one delivery; `counted` tells whether it used up one of the receipt's attempts."""

    started_at: float
    outcome: str
    counted: bool
    status_code: int | None = None
    message: str | None = None


class Jobs:
    """The jobs in the log, as far as they change."""

    def __init__(self, database: Database, lookups: Lookups, files: Files, histories: Histories, facts: Facts) -> None:
        self._database = database
        self._lookups = lookups
        self._files = files
        self._histories = histories
        self._facts = facts

    def insert(self, job: Job) -> Job:
        """Add a new job, which begins in one of `INITIAL_STATES`, and return it as it stands in the log."""
        job = replace(job, branch=job.branch or job.inbox, move_due=self._files.home_of(job) is not job.folder)
        with self._database.transaction():
            self._database.change(_INSERT_JOB, *(getattr(job, name) for name in JOB_COLUMNS))
            self._histories.note(job.job_id, job.created_at, "record", to_state=job.state, detail=job.message)
        return job

    def advance(
        self, job: str | Job, event: Event, now: float, *, detail: str | None = None, **changes: Any
    ) -> Job | None:
        """Let `event` happen to a job, with `changes` to other columns; return the job, or None where it lost a race.

        The one place that writes `state`. A closed job's file is due to be moved, and so are its copies'. The job is
        named by its id; one that was read in the same transaction may be given as it was read.
        """
        with self._database.transaction():
            before = self._lookups.get(job) if isinstance(job, str) else job
            return None if before is None else self._advance(before, event, now, detail, changes)

    def retry(self, job_id: str, now: float, detail: str, *, is_forced: bool = False) -> Job | None:
        """Send a failed or cancelled job again; one that may have been booked only if that is forced.

        If the examination refused its file and that is overrulable, force has it sent all the same; `detail` says who.
        One whose callback is overdue may have been booked, too.
        """
        with self._database.transaction():
            before = self._lookups.get(job_id)
            if before is None or ((may_be_booked(before) or is_overdue(before, now)) and not is_forced):
                return None
            if is_overdue(before, now):
                return self.advance(before, Event.RESEND, now, detail=detail, next_attempt_at=now, resends=0)
            overrules = is_forced and before.reason in OVERRULABLE
            if overrules:
                detail = f"{detail}, although it was refused as {before.reason}"
            after = self.advance(before, Event.RETRY, now, detail=detail, next_attempt_at=now)
            overruled = self._facts.overruled.of(job_id)
            if after is not None and (overrules or overruled.get()):
                overruled.put(detail if overrules else "")
            return after

    def settle(self, job_id: str, now: float, by: str, *, is_delivered: bool) -> Job | None:
        """Write down what a person found out about a job that may have been booked; None if it is no such job."""
        with self._database.transaction():
            before = self._lookups.get(job_id)
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
        values["move_due"] = self._files.is_move_due(job) or (
            event is Event.SETTLE_NOT_DELIVERED and job.removed_at is None
        )
        if change_columns(self._database, job.job_id, values, *transition.sources) != 1:
            return None
        self._histories.note(
            job.job_id, now, event, from_state=before.state, to_state=job.state, detail=detail or job.message
        )
        if job.state in CLOSED_STATES:
            self._database.change(_FOLLOW, job.job_id)
        return replace(job, move_due=values["move_due"])

    def claim(self, branches: Sequence[str], now: float, *, least_failed_first: bool = False) -> Job | None:
        """Claim the due job of these branches that came first; None where there is none.

        `least_failed_first` takes the one whose destination has not failed it, or longest ago: a probe of a held
        destination is to be a different receipt each time.
        """
        with self._database.transaction():
            job = (
                self._lookups.least_failed_due(branches, now)
                if least_failed_first
                else self._lookups.oldest_due(branches, now)
            )
            if job is None:
                return None
            return self._advance(job, Event.CLAIM, now, None, {"attempts": job.attempts + 1})

    def add_attempt(self, job_id: str, now: float, attempt: Attempt) -> None:
        """Keep how a delivery ended."""
        self._database.change(
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
        with self._database.transaction():
            change_columns(self._database, job_id, {"execution_id": execution_id})

    def complete(self, job_id: str, sha256: str | None, mime_type: str | None, size: int) -> None:
        """Fill in what an examination found that could not be read before."""
        with self._database.transaction():
            change_columns(self._database, job_id, {"sha256": sha256, "mime_type": mime_type, "size": size})

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
        with self._database.transaction():
            claimed = [job for job in self._lookups.delivering() if job.job_id not in but]
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

    def extend_deadlines(self, branches: Sequence[str], until: float) -> None:
        """Wait until then at least for the callbacks of what was sent from these branches, in Unix seconds."""
        self._database.change(
            "UPDATE job SET deadline_at = MAX(deadline_at, ?)"  # noqa: S608 - marks only
            f" WHERE state = 'processing' AND branch IN ({marks(branches)})",
            until,
            *branches,
        )

    def forget_resends(self, branches: Sequence[str]) -> None:
        """Give every open job of these branches its resends back: that no callback came was not its fault."""
        where = f"state IN ('queued', 'processing') AND branch IN ({marks(branches)}) AND resends <> 0"
        self._database.change(f"UPDATE job SET resends = 0 WHERE {where}", *branches)  # noqa: S608

    def postpone_deadlines(self, away_since: float, now: float) -> None:
        """Move every deadline by the time when nobody was there to hear a callback.

        That began when we were last alive, or when the job was accepted, if that was later: the former is noted only
        now and then.
        """
        if now > away_since:
            self._database.change(_POSTPONE, now, away_since, away_since, now)

    def shift_times(self, seconds: float, now: float) -> None:
        """Move all that is still to come by a jump of the clock, which says `now` after it.

        What another process wrote since the jump, such as a retry, has the right time already.
        """
        before = now - seconds
        with self._database.transaction():
            self._database.change(_SHIFT_DEADLINES, seconds, now)
            self._database.change(_SHIFT_ATTEMPTS, before, seconds, now, now, before)
            self._database.change(_SHIFT_FAILURES, seconds)

    def bring_forward(self, latest: float) -> None:
        """Let no job wait for longer than any rule says: its time was set by a clock that was wrong."""
        self._database.change(
            "UPDATE job SET next_attempt_at = ? WHERE state = 'queued' AND next_attempt_at > ?", latest, latest
        )
        self._database.change("UPDATE destination SET probe_at = ? WHERE probe_at > ?", latest, latest)

    def assign_branches(self, inbox: str, branch_of: Callable[[Path], str]) -> None:
        """Put every job of an inbox that may be sent again where the configuration has its subfolder now.

        `branch_of` is asked once for each folder: it tells files of one folder not apart.
        """
        states = [state for state in State if state not in (State.SUCCESS, State.DUPLICATE)]
        statement = f"SELECT job_id, relative_path, branch FROM job WHERE inbox = ? AND state IN ({marks(states)})"  # noqa: S608
        known: dict[bytes, str] = {}
        others: list[tuple[str, str]] = []
        with self._database.transaction():
            # Row by row: there may be very many.
            for job_id, path, branch in self._database.execute(statement, [inbox, *states]):
                folder = path.rpartition(b"/")[0]
                if folder not in known:
                    known[folder] = branch_of(Path(os.fsdecode(path)))
                if known[folder] != branch:
                    others.append((job_id, known[folder]))
            for job_id, branch in others:
                change_columns(self._database, job_id, {"branch": branch})

    def link_conflicts(self, original: Job) -> None:
        """Let conflict copies that came before their original name its job."""
        self._database.change(
            "UPDATE job SET conflict_of = ? WHERE inbox = ? AND original_path = ? AND conflict_of IS NULL",
            original.job_id,
            original.inbox,
            original.relative_path,
        )

    def trim(self, job_ids: Sequence[str], before: float) -> int:
        """Remove the history, the attempts and the message of jobs that are still concluded so long; return how many.

        The row itself stays, and with it the digest and the verdict. SQLite uses the room that becomes free for what
        comes next; the file does not shrink.
        """
        states = sorted(CLOSED_STATES)
        with self._database.transaction():
            statement = (
                f"SELECT job_id FROM job WHERE job_id IN ({marks(job_ids)}) AND completed_at <= ? AND updated_at <= ?"  # noqa: S608
                f" AND move_due = 0 AND state IN ({marks(states)})"
            )
            old = [job_id for (job_id,) in self._database.select(statement, *job_ids, before, before, *states)]
            for table in ("history", "attempt"):
                self._database.change(f"DELETE FROM {table} WHERE job_id IN ({marks(old)})", *old)  # noqa: S608
            self._database.change(f"UPDATE job SET message = NULL WHERE job_id IN ({marks(old)})", *old)  # noqa: S608
            return len(old)


def _is_refused_and_not_filed(job: Job) -> bool:
    return job.folder is Folder.PROCESSING and job.reason in EXAMINATION_REASONS | {Reason.ALREADY_SEEN}
