"""Questions to the job log about its jobs. Nothing here changes it.

What it promises: an answer is of one moment, and waits for writers of this process only (SQLite's WAL). Each
method may raise JobLogError, when the disk or the file fails; see `engine`.

Any thread may call it. Times are Unix seconds and always given by the caller. It writes nothing, so a crash leaves
nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from receipt_watcher.jobs.job import Job, job_id_prefix
from receipt_watcher.jobs.log.engine.sqlite import Database, marks
from receipt_watcher.jobs.log.queries.file_names import fits_glob, forms_of, like_of_glob
from receipt_watcher.jobs.log.queries.known_answers import KnownAnswers
from receipt_watcher.jobs.log.tables import IS_FAILED, IS_OPEN, IS_WAITING, SELECT_JOB, job_of
from receipt_watcher.jobs.states import OPEN_STATES, State


@dataclass(frozen=True, slots=True)
class Selection:
    """The jobs of a balance: recorded from `since` to before `until` (Unix seconds), in `inbox`, not in `but`."""

    since: float | None = None
    until: float | None = None
    inbox: str | None = None
    but: frozenset[str] = frozenset()


# One step in the index for each inbox, not one for each job.
_INBOXES = (
    "WITH RECURSIVE seen(inbox) AS (SELECT MIN(inbox) FROM job"
    " UNION ALL SELECT (SELECT MIN(inbox) FROM job WHERE inbox > seen.inbox) FROM seen WHERE seen.inbox IS NOT NULL)"
    " SELECT inbox FROM seen WHERE inbox IS NOT NULL"
)

#: So many rows that may fit a name are looked at with one question.
_NAMED_AT_ONCE = 1000

_IN_OPEN_STATES = f"state IN ({marks(OPEN_STATES)})"
_NEXT_DUE = f"SELECT MIN(next_attempt_at) FROM job WHERE {IS_WAITING} AND branch = ?"  # noqa: S608
# The plus keeps SQLite from finding all that is due first, and sorting it.
_OLDEST_DUE = f"{SELECT_JOB} WHERE {IS_WAITING} AND branch = ? AND +next_attempt_at <= ? ORDER BY job_id LIMIT 1"
# So the probes of a hold find theirs at once, however many wait.
_OLDEST_NEVER_FAILED = _OLDEST_DUE.replace(" ORDER", " AND destination_failed_at IS NULL ORDER")


class Lookups:
    """Jobs, by what they are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = KnownAnswers(database)

    def get(self, job_id: str) -> Job | None:
        """Return one job, or None."""
        jobs = self._database.select_as(job_of, f"{SELECT_JOB} WHERE job_id = ?", job_id)
        return jobs[0] if jobs else None

    def has_jobs_of(self, inbox: str) -> bool:
        """Whether an inbox has ever given a receipt."""
        return bool(self._database.select("SELECT 1 FROM job WHERE inbox = ? LIMIT 1", inbox))

    def same_receipts(self, sha256: str, target: str, states: frozenset[State]) -> list[Job]:
        """Return the jobs in these states that the same bytes had before for the same target, the newest first."""
        statement = f"{SELECT_JOB} WHERE sha256 = ? AND target = ? AND state IN ({marks(states)}) ORDER BY rowid DESC"
        return self._database.select_as(job_of, statement, sha256, target, *states)

    def earlier_versions(self, inbox: str, path: Path, below_bytes: int) -> list[Job]:
        """Return the latest jobs of shorter files under the same name, the newest first; at most eight of a hundred.

        Some scanners give each file the same name.
        """
        same_name = "SELECT rowid FROM job WHERE inbox = ? AND relative_path = ? ORDER BY rowid DESC LIMIT 100"
        statement = (
            f"{SELECT_JOB} WHERE rowid IN ({same_name}) AND size > 0 AND size < ? AND sha256 IS NOT NULL"
            " ORDER BY rowid DESC LIMIT 8"
        )
        return self._database.select_as(job_of, statement, inbox, path, below_bytes)

    def latest_of(self, inbox: str, path: Path) -> Job | None:
        """Return the newest job of a file by its path below the inbox."""
        statement = f"{SELECT_JOB} WHERE inbox = ? AND relative_path = ? ORDER BY rowid DESC LIMIT 1"
        jobs = self._database.select_as(job_of, statement, inbox, path)
        return jobs[0] if jobs else None

    def with_bytes(self, sha256: str, limit: int) -> list[Job]:
        """Return the jobs of these bytes, whatever their target, the oldest first."""
        statement = f"{SELECT_JOB} WHERE sha256 = ? ORDER BY rowid LIMIT ?"
        return self._database.select_as(job_of, statement, sha256, limit)

    def overdue(self, branches: Sequence[str], now: float, resends_below: int | None = None) -> list[Job]:
        """Return the jobs of these branches whose callback has not come by its deadline, the oldest deadline first.

        A hundred at the most; with `resends_below` only those that were sent again fewer times.
        """
        most = -1 if resends_below is None else resends_below
        statement = (
            f"{SELECT_JOB} WHERE state = 'processing' AND branch IN ({marks(branches)}) AND deadline_at <= ?"
            " AND (? < 0 OR resends < ?) ORDER BY deadline_at LIMIT 100"
        )
        return self._database.select_as(job_of, statement, *branches, now, most, most)

    def next_deadline(self) -> float | None:
        """Return the earliest deadline of all callbacks that are awaited, in Unix seconds."""
        deadline_at: float | None = self._database.select(
            "SELECT MIN(deadline_at) FROM job WHERE state = 'processing'"
        )[0][0]
        return deadline_at

    def queued_of(self, inbox: str) -> list[Job]:
        """Return the jobs of an inbox that wait for their delivery, the oldest first."""
        return self._database.select_as(
            job_of, f"{SELECT_JOB} WHERE state = 'queued' AND inbox = ? ORDER BY job_id", inbox
        )

    def oldest_due(self, branches: Iterable[str], now: float) -> Job | None:
        """Return the due job that came first: ids grow with the time when they were given."""
        # One branch at a time: for several together SQLite would sort all that is due.
        due = [job for branch in branches for job in self._database.select_as(job_of, _OLDEST_DUE, branch, now)]
        return min(due, key=lambda job: job.job_id, default=None)

    def least_failed_due(self, branches: Sequence[str], now: float) -> Job | None:
        """Return the due job at which the destination failed the longest ago, or never, which is most of them."""
        waiting = [
            job for branch in branches for job in self._database.select_as(job_of, _OLDEST_NEVER_FAILED, branch, now)
        ]
        if waiting:
            return min(waiting, key=lambda job: job.job_id)
        statement = f"{SELECT_JOB} WHERE {_queued(branches)} AND next_attempt_at <= ?"
        order = "ORDER BY COALESCE(destination_failed_at, 0), job_id LIMIT 1"
        jobs = self._database.select_as(job_of, f"{statement} {order}", *branches, now)
        return jobs[0] if jobs else None

    def next_due(self, branches: Sequence[str]) -> float | None:
        """Return when the next queued job of these branches is due, in Unix seconds; None where none is queued."""
        times = [self._database.select(_NEXT_DUE, branch)[0][0] for branch in branches]
        return min((at for at in times if at is not None), default=None)

    def failed_between(self, since: float, until: float, inbox: str | None = None) -> list[Job]:
        """Return the jobs that failed in a time and still are failed, the oldest first."""
        statement = f"{SELECT_JOB} WHERE {IS_FAILED} AND completed_at >= ? AND completed_at < ?"
        values: tuple[object, ...] = (since, until)
        if inbox is not None:
            statement, values = f"{statement} AND +inbox = ?", (*values, inbox)
        return self._database.select_as(job_of, f"{statement} ORDER BY completed_at, job_id", *values)

    def last_failures(self, limit: int) -> list[Job]:
        """Return the jobs that failed last and still are failed, the latest first."""
        statement = f"{SELECT_JOB} WHERE {IS_FAILED} AND completed_at > 0 ORDER BY completed_at DESC LIMIT ?"
        return self._database.select_as(job_of, statement, limit)

    def oldest_open(self, until: float, limit: int, except_branches: Collection[str] = ()) -> list[Job]:
        """Return the open jobs that were recorded until a time, the oldest first; without those of some branches."""
        others = f"branch NOT IN ({marks(except_branches)})"
        statement = f"{SELECT_JOB} WHERE {IS_OPEN} AND created_at <= ? AND {others} ORDER BY created_at LIMIT ?"

        def ask() -> list[Job]:
            return self._database.select_as(job_of, statement, until, *except_branches, limit)

        question = ("oldest open", *sorted(except_branches), limit)
        return self._known.answer(question, ask) if self.are_all_open_since(until) else ask()

    def are_all_open_since(self, before: float) -> bool:
        """Whether no open job was recorded at that time or later: then who is open before it is who is open at all."""
        newest = self._database.select(f"SELECT MAX(created_at) FROM job WHERE {IS_OPEN}")[0][0]  # noqa: S608
        return newest is not None and newest < before

    def open_among(self, job_ids: Collection[str]) -> set[str]:
        """Return which of these jobs are open."""
        statement = f"SELECT job_id FROM job WHERE job_id IN ({marks(job_ids)}) AND state IN ({marks(OPEN_STATES)})"  # noqa: S608
        return {str(job_id) for (job_id,) in self._database.select(statement, *job_ids, *sorted(OPEN_STATES))}

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
        with self._database.reading():
            if (states or inbox) and not name:
                ids = self._newest_of(
                    product([inbox] if inbox else self.inboxes(), dict.fromkeys(states or State)), conditions, most
                )
            else:
                if states:  # the plus: an index of the states alone would have to be sorted
                    conditions[f"+state IN ({marks(states)})"] = states
                if inbox:
                    conditions["+inbox = ?"] = [inbox]
                ids = self._newest_named(conditions, name, most) if name else self._newest(conditions, most)
            statement = f"{SELECT_JOB} WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY job_id DESC"  # noqa: S608
            return self._database.select_as(job_of, statement, json.dumps(ids))

    def _newest_of(
        self, groups: Iterable[tuple[str, State]], conditions: Mapping[str, Sequence[object]], most: int
    ) -> list[str]:
        """Return the newest ids of these inboxes and states: each is asked alone, for that is how the index goes."""
        versions = [
            job_id
            for inbox, state in groups
            for job_id in self._newest({"inbox = ?": [inbox], "state = ?": [state], **conditions}, most)
        ]
        versions.sort(reverse=True)
        return versions if most < 0 else versions[:most]

    def _newest(self, conditions: Mapping[str, Sequence[object]], most: int) -> list[str]:
        values = [value for those in conditions.values() for value in those]
        statement = f"SELECT job_id FROM job WHERE {' AND '.join(conditions)} ORDER BY job_id DESC LIMIT ?"  # noqa: S608 - our own text
        return [str(job_id) for (job_id,) in self._database.select(statement, *values, most)]

    def _newest_named(self, conditions: Mapping[str, Sequence[object]], glob: str, most: int) -> list[str]:
        """Return the newest ids whose file is named so: the log tells what may fit, in pages, for it is asked again."""
        ids: list[str] = []
        below = "g"  # behind the last hexadecimal digit
        while True:
            values = [value for those in conditions.values() for value in those]
            where = " AND ".join([*conditions, "filename LIKE ? ESCAPE '\\'", "job_id < ?"])
            statement = f"SELECT filename, job_id FROM job WHERE {where} ORDER BY job_id DESC LIMIT ?"  # noqa: S608
            rows = self._database.select(statement, *values, like_of_glob(glob), below, _NAMED_AT_ONCE)
            ids += [str(job_id) for filename, job_id in rows if fits_glob(str(filename), glob)]
            if len(rows) < _NAMED_AT_ONCE or 0 <= most <= len(ids):
                return ids if most < 0 else ids[:most]
            below = str(rows[-1][1])

    def inboxes(self) -> list[str]:
        """Return the names of all inboxes that ever gave a receipt, those that are configured no more too."""
        return [str(inbox) for (inbox,) in self._database.select(_INBOXES)]

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
        values = [value for those in conditions.values() for value in those]
        statement = f"{SELECT_JOB} WHERE {' AND '.join(conditions)} ORDER BY job_id LIMIT ?"
        return self._database.select_as(job_of, statement, *values, limit)

    def changed_since(self, at: float) -> list[Job]:
        """Return the jobs that changed since then and those that are still open, the oldest first."""
        statement = f"{SELECT_JOB} WHERE updated_at >= ? OR {_IN_OPEN_STATES} ORDER BY job_id"
        return self._database.select_as(job_of, statement, at, *OPEN_STATES)

    def find(self, prefix: str) -> list[Job]:
        """Return the jobs whose id begins so, or whose file is named so: what an admin may call a job. At most ten."""
        by_id = "SELECT job_id FROM job WHERE job_id >= ? AND job_id < ? ORDER BY job_id DESC LIMIT 10"
        forms = forms_of(prefix)
        by_name = (
            f"SELECT job_id FROM job WHERE job_id > '' AND filename IN ({marks(forms)})"  # noqa: S608 - marks only
            " ORDER BY job_id DESC LIMIT 10"
        )
        ids = f"SELECT * FROM ({by_id}) UNION SELECT * FROM ({by_name})"  # noqa: S608 - our own text
        statement = f"{SELECT_JOB} WHERE job_id IN ({ids}) ORDER BY job_id DESC LIMIT 10"
        lowered = prefix.lower()
        return self._database.select_as(job_of, statement, lowered, f"{lowered}\x7f", *forms)

    def delivering(self) -> list[Job]:
        """Return the jobs that a worker has claimed."""
        return self._database.select_as(job_of, f"{SELECT_JOB} WHERE state = ?", State.DELIVERING)


def _queued(branches: Sized) -> str:
    return f"{IS_WAITING} AND branch IN ({marks(branches)})"
