"""What the job log says: every question that is asked of it, and nothing that changes it.

What it promises: an answer is of one moment, and waits for writers of this process only (SQLite's WAL). Each
method may raise JobLogError, when the disk or the file fails; see `logfile`.

Any thread may call it. Times are Unix seconds and always given by the caller. It writes nothing, so a crash leaves
nothing behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar, cast

from receipt_watcher.jobs.job import HOME_FOLDER, Folder, Job, job_id_prefix
from receipt_watcher.jobs.log.engine.sqlite import LogFile
from receipt_watcher.jobs.log.tables import JOB_COLUMNS, AttemptRow, FactRow, HistoryRow, JobRow, job_of
from receipt_watcher.jobs.states import OPEN_STATES, State

#: The beginning of a question whose rows `job_of` understands. What is asked several times for each receipt stands as
#: SQL: to put such a statement together costs Peewee five times what it costs SQLite to run it (measured: 0.3 ms
#: against 0.06 ms).
SELECT_JOB = f"SELECT {', '.join(JOB_COLUMNS)} FROM job"  # noqa: S608 - our own column names

# What was concluded and filed before a time. A clock that was behind dates a conclusion too early, but rows are
# numbered in their order: none was recorded before what an earlier one says, unless that lies in the future itself.
_FIRST_YOUNG = "SELECT MIN(rowid) FROM job WHERE created_at > ? AND created_at <= ?"
_OLD = (
    "move_due = 0 AND state IN ('success', 'failure', 'cancelled', 'duplicate')"
    " AND completed_at <= ? AND +created_at <= ? AND +job.rowid < ?"
)
_OPEN = "state NOT IN ('success', 'failure', 'cancelled', 'duplicate')"  # in the words of the partial indexes
_FAILED = "NOT (state <> 'failure')"

# What metrics ask for, at each scrape, so each must find its rows by an index; a test looks.
TURNS = (
    "SELECT history.id, inbox, event, to_state FROM history CROSS JOIN job ON job.job_id = history.job_id"
    " WHERE history.id > ? AND history.id <= ?"
    " AND (event = 'record' OR to_state IN ('success', 'failure', 'cancelled', 'duplicate'))"
    " ORDER BY history.id LIMIT ?"
)
DELIVERED = (
    "SELECT id, outcome, status_code, ended_at - started_at FROM attempt WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
)
WAITING = {
    State.QUEUED: "SELECT COUNT(*) FROM job WHERE branch = ? AND state = 'queued' AND move_due = 0",
    State.DELIVERING: "SELECT COUNT(*) FROM job WHERE branch = ? AND state = 'delivering'",
    State.PROCESSING: "SELECT COUNT(*) FROM job WHERE branch = ? AND state = 'processing'",
}
MOVES_DUE = "SELECT COUNT(*) FROM job WHERE inbox = ? AND move_due = 1"
OLDEST_OPEN = f"SELECT created_at FROM job WHERE {_OPEN} AND +inbox = ? ORDER BY created_at LIMIT 1"  # noqa: S608
_OLD_FILES = (
    f"{_OLD} AND inbox = ? AND folder = ? AND folder <> 'processing' AND sha256 IS NOT NULL AND removed_at IS NULL"
)
_ALL = 1 << 62  # beyond the number of any row


Answer = TypeVar("Answer")


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


@dataclass(frozen=True, slots=True)
class Turn:
    """A line of a history by which a job began (`event` is record), was concluded, or both; `state` is the new one."""

    number: int
    inbox: str
    event: str
    state: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """How one delivery ended, and how long it took."""

    number: int
    outcome: str
    status_code: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of a job's history, with whose it is; `number` grows with each. Unix seconds."""

    number: int
    at: float
    job_id: str
    inbox: str
    filename: str
    event: str
    from_state: str | None
    to_state: str | None
    detail: str | None


_HAPPENINGS = (
    "SELECT history.id, at, history.job_id, inbox, filename, event, from_state, to_state, detail"
    " FROM history JOIN job ON job.job_id = history.job_id"
)

# One step in the index for each inbox, not one for each job.
_INBOXES = (
    "WITH RECURSIVE seen(inbox) AS (SELECT MIN(inbox) FROM job"
    " UNION ALL SELECT (SELECT MIN(inbox) FROM job WHERE inbox > seen.inbox) FROM seen WHERE seen.inbox IS NOT NULL)"
    " SELECT inbox FROM seen WHERE inbox IS NOT NULL"
)


class Records(LogFile):
    """The job log, as far as it is read."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self._known: dict[Hashable, tuple[tuple[int, ...], Any]] = {}  # what was answered, by question and version

    def _unless_known(self, question: Hashable, ask: Callable[[], Answer]) -> Answer:
        """Return what was answered the last time, unless the log has changed since.

        Loops ask every few seconds what waits, and to count a hundred thousand takes milliseconds.
        """
        with self.reading():
            version = self._version()
            known = self._known.get(question)
            if known is not None and known[0] == version:
                found: Answer = known[1]
                return found
            found = ask()
            if version is not None:
                self._known[question] = version, found
            return found

    # --- one job, and jobs by what they are --------------------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        """Return one job, or None."""
        found = self._jobs(f"{SELECT_JOB} WHERE job_id = ?", job_id)
        return found[0] if found else None

    def _jobs(self, statement: str, *values: object) -> list[Job]:
        """Return the jobs of a query for all of their columns."""
        return self.select_as(job_of, statement, *values)

    def jobs(self, where: Any, *order: Any, limit: int | None = None) -> list[Job]:
        """Return the jobs that meet a condition."""
        query = JobRow.select(*(getattr(JobRow, name) for name in JOB_COLUMNS)).where(where)
        return self._jobs(*_as_sql(query.order_by(*order).limit(limit)))

    def has_jobs_of(self, inbox: str) -> bool:
        """Whether an inbox has ever given a receipt."""
        return bool(self.select("SELECT 1 FROM job WHERE inbox = ? LIMIT 1", inbox))

    def same_receipts(self, sha256: str, target: str, states: frozenset[State]) -> list[Job]:
        """Return the jobs in these states that the same bytes had before for the same target, the newest first."""
        statement = f"{SELECT_JOB} WHERE sha256 = ? AND target = ? AND state IN ({marks(states)}) ORDER BY rowid DESC"
        return self._jobs(statement, sha256, target, *states)

    def earlier_versions(self, inbox: str, path: Path, below_bytes: int) -> list[Job]:
        """Return the latest jobs of shorter files under the same name, the newest first; at most eight of a hundred.

        Some scanners give each file the same name.
        """
        same_name = "SELECT rowid FROM job WHERE inbox = ? AND relative_path = ? ORDER BY rowid DESC LIMIT 100"
        statement = (
            f"{SELECT_JOB} WHERE rowid IN ({same_name}) AND size > 0 AND size < ? AND sha256 IS NOT NULL"
            " ORDER BY rowid DESC LIMIT 8"
        )
        return self._jobs(statement, inbox, path, below_bytes)

    def latest_of(self, inbox: str, path: Path) -> Job | None:
        """Return the newest job of a file by its path below the inbox."""
        statement = f"{SELECT_JOB} WHERE inbox = ? AND relative_path = ? ORDER BY rowid DESC LIMIT 1"
        found = self._jobs(statement, inbox, path)
        return found[0] if found else None

    def with_bytes(self, sha256: str, limit: int) -> list[Job]:
        """Return the jobs of these bytes, whatever their target, the oldest first."""
        statement = f"{SELECT_JOB} WHERE sha256 = ? ORDER BY rowid LIMIT ?"
        return self._jobs(statement, sha256, limit)

    # --- deliveries and callbacks ------------------------------------------------------------------------------------

    def count(self, branches: Sequence[str], *states: State) -> int:
        """Return how many jobs of these branches are in these states."""
        statement = f"SELECT COUNT(*) FROM job WHERE branch IN ({marks(branches)}) AND state IN ({marks(states)})"  # noqa: S608
        question = ("count", *branches, *states)
        return self._unless_known(question, lambda: int(self.select(statement, *branches, *states)[0][0]))

    def open_jobs_of(self, inboxes: Sequence[str]) -> int:
        """Return how many jobs of these inboxes are open."""
        states = sorted(OPEN_STATES)
        statement = f"SELECT COUNT(*) FROM job WHERE inbox IN ({marks(inboxes)}) AND state IN ({marks(states)})"  # noqa: S608
        return int(self.select(statement, *inboxes, *states)[0][0])

    def overdue(self, branches: Sequence[str], now: float, resends_below: int | None = None) -> list[Job]:
        """Return the jobs of these branches whose callback has not come by its deadline, the oldest deadline first.

        A hundred at the most; with `resends_below` only those that were sent again fewer times.
        """
        most = -1 if resends_below is None else resends_below
        statement = (
            f"{SELECT_JOB} WHERE state = 'processing' AND branch IN ({marks(branches)}) AND deadline_at <= ?"
            " AND (? < 0 OR resends < ?) ORDER BY deadline_at LIMIT 100"
        )
        return self._jobs(statement, *branches, now, most, most)

    def next_deadline(self) -> float | None:
        """Return the earliest deadline of all callbacks that are awaited, in Unix seconds."""
        found: float | None = self.select("SELECT MIN(deadline_at) FROM job WHERE state = 'processing'")[0][0]
        return found

    def queued_of(self, inbox: str) -> list[Job]:
        """Return the jobs of an inbox that wait for their delivery, the oldest first."""
        return self._jobs(f"{SELECT_JOB} WHERE state = 'queued' AND inbox = ? ORDER BY job_id", inbox)

    # --- where the files are -----------------------------------------------------------------------------------------

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
        statement = f"{SELECT_JOB} WHERE move_due = 1 AND inbox = ? ORDER BY job_id LIMIT ?"
        with self.reading():  # one inbox at a time: for several together SQLite would look at all of their jobs
            found = [job for inbox in inboxes for job in self._jobs(statement, inbox, limit)]
        return sorted(found, key=lambda job: job.job_id)[:limit]

    def unrecorded_in_processing(self, inbox: str, names: Collection[str]) -> set[str]:
        """Return those of these folders of processing/ that no job of this inbox has its file in."""
        statement = (
            "SELECT value FROM json_each(?) WHERE NOT EXISTS"
            " (SELECT 1 FROM job WHERE inbox = ? AND folder = 'processing'"  # what follows / is 0
            " AND stored_path >= CAST(value || '/' AS BLOB) AND stored_path < CAST(value || '0' AS BLOB))"
        )
        return {str(name) for (name,) in self.select(statement, json.dumps(sorted(names)), inbox)}

    def stored_at(self, inbox: str, folder: Folder, path: Path) -> Job | None:
        """Return the job whose file is, or was, at `path`, relative to a folder of the inbox's spool."""
        statement = (
            f"{SELECT_JOB} WHERE inbox = ? AND folder = ? AND stored_path = ?"
            " ORDER BY removed_at IS NOT NULL, job_id DESC LIMIT 1"
        )
        found = self._jobs(statement, inbox, folder, path)
        return found[0] if found else None

    def claims_to(self, paths: Collection[Path]) -> list[Claim]:
        """Return which jobs have, or are being given, a file at these paths, each below some folder of some spool."""
        statement = (
            f"SELECT job_id, inbox, folder, stored_path, sha256 FROM job WHERE stored_path IN ({marks(paths)})"  # noqa: S608
            " UNION ALL SELECT job_id, inbox, moving_to_folder, moving_to_path, sha256 FROM job"
            f" WHERE move_due = 1 AND moving_to_path IN ({marks(paths)})"
        )
        return self.select_as(
            lambda row: Claim(row[0], row[1], Folder(row[2]), Path(os.fsdecode(row[3])), row[4]),
            statement,
            *paths,
            *paths,
        )

    def newest_files(self, inbox: str, folder: Folder, before: float, limit: int) -> list[Job]:
        """Return the last jobs of an inbox, concluded before a time, whose file lies in `folder` by the log.

        In processing/ those that are not being moved, whenever they came.
        """
        if folder is Folder.PROCESSING:
            statement = f"{SELECT_JOB} WHERE inbox = ? AND folder = 'processing' ORDER BY stored_path DESC LIMIT ?"
            found = [job_of(row) for row in self.select(statement, inbox, limit)]
            return [job for job in found if job.moving_to_folder is None]
        statement = (
            f"{SELECT_JOB} WHERE inbox = ? AND folder = ? AND folder <> 'processing' AND removed_at IS NULL"
            " AND completed_at < ? ORDER BY completed_at DESC LIMIT ?"
        )
        found = [job_of(row) for row in self.select(statement, inbox, folder, before, limit)]
        return [job for job in found if job.moving_to_folder is None]

    def has_filed(self, inbox: str, folder: Folder) -> bool:
        """Whether a file of an inbox was ever filed away to `folder`; it may have been removed since."""
        states = [state for state, home in HOME_FOLDER.items() if home is folder]
        statement = f"SELECT 1 FROM job WHERE inbox = ? AND state IN ({marks(states)}) AND folder = ? LIMIT 1"  # noqa: S608 - marks only
        return bool(self.select(statement, inbox, *states, folder))

    # --- what is old -------------------------------------------------------------------------------------------------

    def old_files(self, inbox: str, folder: Folder, before: float, now: float, limit: int) -> list[Job]:
        """Return jobs of an inbox that were concluded before a time and have their file in `folder`, the oldest first.

        Times after `now` are not believed. Without a digest a file cannot be told from another: it is never among them.
        """
        statement = f"{SELECT_JOB} WHERE {_OLD_FILES} ORDER BY completed_at, job_id LIMIT ?"
        with self.reading():
            young = self._first_young(before, now)
            return self._jobs(statement, before, before, young, inbox, folder, limit)

    def sum_of_old_files(self, inbox: str, folder: Folder, before: float, now: float) -> tuple[int, int]:
        """Return how many files those are, and how many bytes."""
        statement = f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM job WHERE {_OLD_FILES}"  # noqa: S608 - our own text
        with self.reading():
            [(files, size)] = self.select(statement, before, before, self._first_young(before, now), inbox, folder)
        return files, size

    def _first_young(self, before: float, now: float) -> int:
        """Return the number of the first row that was recorded after a time; beyond all where there is none."""
        found = self.select(_FIRST_YOUNG, before, now)[0][0]
        return _ALL if found is None else int(found)

    def is_named_by_another(self, job: Job, beside: Sequence[str]) -> bool:
        """Whether a younger job of these inboxes names the same file: people empty folders, and names come again."""
        statement = (
            "SELECT 1 FROM job WHERE stored_path = ? AND folder <> 'processing' AND folder = ? AND job_id <> ?"  # noqa: S608 - marks only
            " AND removed_at IS NULL AND (completed_at IS NULL OR completed_at >= ?)"
            f" AND +inbox IN ({marks(beside)}) LIMIT 1"  # the plus: few jobs had this path, many are of an inbox
        )
        return bool(self.select(statement, job.stored_path, job.folder, job.job_id, job.completed_at, *beside))

    def begun_removals(self, inbox: str) -> list[Job]:
        """Return the jobs whose file was about to be removed when nobody wrote down how that ended."""
        begun = [self.get(job_id) for job_id in (self.fact(f"removing:{inbox}") or "").split()]
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
        with self.reading():
            young = self._first_young(before, now)
            line = self.select(of_young, young)[0][0] or _ALL
            return [job_id for (job_id,) in self.select(statement, line, before, before, young)]

    # --- for notices -------------------------------------------------------------------------------------------------

    def last_event(self) -> int:
        """Return the number of the newest line of all histories; 0 where there is none."""
        return int(self.select("SELECT COALESCE(MAX(id), 0) FROM history")[0][0])

    def failures_after(self, event: int) -> list[tuple[int, float, str]]:
        """Return each failure since a line of the histories: its own line, when (Unix seconds), and the job's id."""
        statement = "SELECT id, at, job_id FROM history WHERE id > ? AND to_state = 'failure' ORDER BY id"
        return self.select_as(lambda row: (int(row[0]), float(row[1]), str(row[2])), statement, event)

    def failed_between(self, since: float, until: float, inbox: str | None = None) -> list[Job]:
        """Return the jobs that failed in a time and still are failed, the oldest first."""
        statement = f"{SELECT_JOB} WHERE {_FAILED} AND completed_at >= ? AND completed_at < ?"
        values: tuple[object, ...] = (since, until)
        if inbox is not None:
            statement, values = f"{statement} AND +inbox = ?", (*values, inbox)
        return self._jobs(f"{statement} ORDER BY completed_at, job_id", *values)

    def last_failures(self, limit: int) -> list[Job]:
        """Return the jobs that failed last and still are failed, the latest first."""
        statement = f"{SELECT_JOB} WHERE {_FAILED} AND completed_at > 0 ORDER BY completed_at DESC LIMIT ?"
        return self._jobs(statement, limit)

    def counts_between(self, since: float, until: float) -> dict[State, int]:
        """Return how many of the jobs that were recorded in a time are in each state."""
        # The plus: else SQLite goes through all jobs by their states.
        statement = "SELECT state, COUNT(*) FROM job WHERE created_at >= ? AND created_at < ? GROUP BY +state"
        return dict.fromkeys(State, 0) | dict(self.select_as(_counted, statement, since, until))

    def open_in(self, inbox: str, before: float) -> tuple[int, float | None]:
        """Return how many jobs of an inbox are open that were recorded before a time, and since when the oldest."""
        statement = f"SELECT COUNT(*), MIN(created_at) FROM job WHERE {_OPEN} AND created_at < ? AND +inbox = ?"  # noqa: S608

        def ask() -> tuple[int, float | None]:
            [(count, oldest)] = self.select(statement, before, inbox)
            return int(count), oldest

        return self._unless_known(("open in", inbox), ask) if self._are_all_open_since(before) else ask()

    def oldest_open(self, until: float, limit: int, except_branches: Collection[str] = ()) -> list[Job]:
        """Return the open jobs that were recorded until a time, the oldest first; without those of some branches."""
        others = f"branch NOT IN ({marks(except_branches)})"
        statement = f"{SELECT_JOB} WHERE {_OPEN} AND created_at <= ? AND {others} ORDER BY created_at LIMIT ?"

        def ask() -> list[Job]:
            return self._jobs(statement, until, *except_branches, limit)

        question = ("oldest open", *sorted(except_branches), limit)
        return self._unless_known(question, ask) if self._are_all_open_since(until) else ask()

    def _are_all_open_since(self, before: float) -> bool:
        """Whether no open job was recorded at that time or later: then who is open before it is who is open at all."""
        newest = self.select(f"SELECT MAX(created_at) FROM job WHERE {_OPEN}")[0][0]  # noqa: S608
        return newest is not None and newest < before

    def open_jobs(self) -> int:
        """Return how many jobs are open, be they of an inbox that is configured or not."""
        # With a time, else SQLite goes through all jobs by their states.
        return int(self.select(f"SELECT COUNT(*) FROM job WHERE {_OPEN} AND created_at > 0")[0][0])  # noqa: S608

    def open_among(self, job_ids: Collection[str]) -> set[str]:
        """Return which of these jobs are open."""
        statement = f"SELECT job_id FROM job WHERE job_id IN ({marks(job_ids)}) AND state IN ({marks(OPEN_STATES)})"  # noqa: S608
        return {str(job_id) for (job_id,) in self.select(statement, *job_ids, *sorted(OPEN_STATES))}

    def last_retry(self, job_id: str) -> float | None:
        """Return when a job was last retried, in Unix seconds; None where it never was."""
        statement = "SELECT MAX(at) FROM history WHERE job_id = ? AND event = 'retry'"
        found: float | None = self.select(statement, job_id)[0][0]
        return found

    # --- for metrics -------------------------------------------------------------------------------------------------

    def last_attempt(self) -> int:
        """Return the number of the newest delivery that has an outcome; 0 where there is none."""
        return int(self.select("SELECT COALESCE(MAX(id), 0) FROM attempt")[0][0])

    def beginnings_and_ends(self, after: int, until: int, limit: int) -> list[Turn]:
        """Return what was recorded or concluded between two lines of the histories, the oldest first."""
        return [Turn(*row) for row in self.select(TURNS, after, until, limit)]

    def deliveries(self, after: int, until: int, limit: int) -> list[Delivered]:
        """Return how deliveries ended, by their numbers, the oldest first."""
        return [Delivered(*row) for row in self.select(DELIVERED, after, until, limit)]

    def waiting_on(self, branch: str) -> dict[State, int]:
        """Return how many jobs of a branch are in each open state; the file of each lies in processing/."""
        return {state: int(self.select(statement, branch)[0][0]) for state, statement in WAITING.items()}

    def moves_due(self, inbox: str) -> int:
        """Return how many files of an inbox are not where they belong."""
        return int(self.select(MOVES_DUE, inbox)[0][0])

    def oldest_open_in(self, inbox: str) -> float | None:
        """Return when the oldest open job of an inbox was recorded, in Unix seconds; None where none is open."""
        found = self.select(OLDEST_OPEN, inbox)
        return float(found[0][0]) if found else None

    def removed_files(self) -> int:
        """Return how many files were removed in all."""
        return int(self.select("SELECT COUNT(*) FROM job WHERE removed_at IS NOT NULL")[0][0])

    def latest_change(self, now: float) -> float | None:
        """Return when a job changed last, in Unix seconds; times after `now` are not believed."""
        found: float | None = self.select("SELECT MAX(updated_at) FROM job WHERE updated_at <= ?", now)[0][0]
        return found

    # --- for people --------------------------------------------------------------------------------------------------

    def listing(
        self,
        *,
        states: Sequence[State] = (),
        inbox: str | None = None,
        since: float | None = None,
        name: str | None = None,
        older_than: str | None = None,
        limit: int | None = 50,
    ) -> list[Job]:
        """Return jobs, the newest first; `older_than` is the last job id of the page before.

        `since` is when they were recorded, in Unix seconds; `name` a pattern such as `*.pdf`, in either case.
        """
        conditions: dict[str, Sequence[object]] = {"job_id > ?": [job_id_prefix(since) if since is not None else ""]}
        if older_than:
            conditions["job_id < ?"] = [older_than]
        most = -1 if limit is None else limit
        with self.reading():
            if (states or inbox) and not name:
                ids = self._newest_of(
                    product([inbox] if inbox else self.inboxes(), dict.fromkeys(states or State)), conditions, most
                )
            else:
                if states:  # the plus: an index of the states alone would have to be sorted
                    conditions[f"+state IN ({marks(states)})"] = states
                if inbox:
                    conditions["+inbox = ?"] = [inbox]
                if name:
                    conditions["lower(filename) GLOB lower(?)"] = [name]
                ids = self._newest(conditions, most)
            statement = f"{SELECT_JOB} WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY job_id DESC"  # noqa: S608
            return self._jobs(statement, json.dumps(ids))

    def _newest_of(
        self, groups: Iterable[tuple[str, State]], conditions: Mapping[str, Sequence[object]], most: int
    ) -> list[str]:
        """Return the newest ids of these inboxes and states: each is asked alone, for that is how the index goes."""
        found = [
            job_id
            for inbox, state in groups
            for job_id in self._newest({"inbox = ?": [inbox], "state = ?": [state], **conditions}, most)
        ]
        found.sort(reverse=True)
        return found if most < 0 else found[:most]

    def _newest(self, conditions: Mapping[str, Sequence[object]], most: int) -> list[str]:
        values = [value for each in conditions.values() for value in each]
        statement = f"SELECT job_id FROM job WHERE {' AND '.join(conditions)} ORDER BY job_id DESC LIMIT ?"  # noqa: S608 - our own text
        return [str(job_id) for (job_id,) in self.select(statement, *values, most)]

    def inboxes(self) -> list[str]:
        """Return the names of all inboxes that ever gave a receipt, those that are configured no more too."""
        return [str(inbox) for (inbox,) in self.select(_INBOXES)]

    def attempts_after(self, job_id: str, row: int, limit: int) -> list[dict[str, Any]]:
        """Return a job's deliveries after a row of them, the first first."""
        return self._rows_after(AttemptRow, job_id, row, limit)

    def history_after(self, job_id: str, row: int, limit: int) -> list[dict[str, Any]]:
        """Return what happened to a job after a line of its history, the first first."""
        return self._rows_after(HistoryRow, job_id, row, limit)

    def _rows_after(self, table: Any, job_id: str, row: int, limit: int) -> list[dict[str, Any]]:
        with self.reading():
            query = table.select().where(table.job_id == job_id, table.id > row).order_by(table.id).limit(limit)
            return list(query.dicts())

    def page(self, selection: Selection, after: str, limit: int) -> list[Job]:
        """Return the next jobs of a selection by their ids; `after` is the last one of the page before."""
        conditions: dict[str, Sequence[object]] = {"job_id > ?": [after]}
        if selection.since is not None:
            conditions["+created_at >= ?"] = [selection.since]  # the plus: no index by which each page is sorted anew
        if selection.until is not None:
            conditions["+created_at < ?"] = [selection.until]
        if selection.inbox is not None:
            conditions["+inbox = ?"] = [selection.inbox]
        if selection.but:
            conditions[f"inbox NOT IN ({marks(selection.but)})"] = sorted(selection.but)
        values = [value for each in conditions.values() for value in each]
        statement = f"{SELECT_JOB} WHERE {' AND '.join(conditions)} ORDER BY job_id LIMIT ?"
        return self._jobs(statement, *values, limit)

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
        by_id = "SELECT job_id FROM job WHERE job_id >= ? AND job_id < ? ORDER BY job_id DESC LIMIT 10"
        by_name = "SELECT job_id FROM job WHERE job_id > '' AND filename = ? ORDER BY job_id DESC LIMIT 10"
        ids = f"SELECT * FROM ({by_id}) UNION SELECT * FROM ({by_name})"  # noqa: S608 - our own text
        statement = f"{SELECT_JOB} WHERE job_id IN ({ids}) ORDER BY job_id DESC LIMIT 10"
        lowered = prefix.lower()
        return self._jobs(statement, lowered, f"{lowered}\x7f", prefix)

    def events_after(self, number: int, limit: int) -> list[JobEvent]:
        """Return what happened to receipts after a line of the histories (0: from the first one on), in that order."""
        return [
            JobEvent(*row)
            for row in self.select(f"{_HAPPENINGS} WHERE history.id > ? ORDER BY history.id LIMIT ?", number, limit)
        ]

    def last_events(self, limit: int) -> list[JobEvent]:
        """Return what happened last, in its order."""
        rows = self.select(f"{_HAPPENINGS} ORDER BY history.id DESC LIMIT ?", limit)
        return [JobEvent(*row) for row in reversed(rows)]

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each state."""
        return dict.fromkeys(State, 0) | dict(
            self.select_as(_counted, "SELECT state, COUNT(*) FROM job GROUP BY state")
        )

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

    # --- facts about the installation --------------------------------------------------------------------------------

    def fact(self, name: str) -> str | None:
        """Return a fact that was kept, or None."""
        with self.reading():
            row = FactRow.get_or_none(FactRow.name == name)
            return None if row is None else str(row.value)


def _counted(row: tuple[Any, ...]) -> tuple[State, int]:
    return State(row[0]), int(row[1])


def marks(values: Sized) -> str:
    """Return as many question marks as there are values."""
    return ", ".join("?" * len(values))


def _as_sql(query: Any) -> tuple[Any, ...]:
    statement, values = query.sql()
    return statement, *values
