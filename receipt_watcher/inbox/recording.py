"""Record files that lie in processing/: flush and examine them, tell which job each belongs to, commit their rows.

What it promises, in this order: the bytes and the folders that name them are flushed; what was not examined yet is;
the rows of all files that were given together are committed at once; only then a bell wakes who sends them. A file
that the disk does not give is left out and counted, and the others are recorded.

Runs in the thread that has the gate's turn. A crash before the commit leaves orphans, which `recovery` records.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.inbox.duplicates import Arrival, DuplicateCheck
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.ignored import original_of
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.route import InboxRoute, log_concluded
from receipt_watcher.system.disk import beginnings
from receipt_watcher.system.display import display_name
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: Files that share one commit. By taste: the gain is spent by then, and the first of them waits for the last.
BATCH_FILES = 16

#: The log's words for a claim that nobody holds.
LOST_LOG = "the job log had been lost: it may have been sent before"


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file in processing/<job_id>/; `examination` is None where that is still to be done."""

    job_id: str
    relative: Path
    examination: Examination | None = None
    database: str | None = None  # that an upload named, if it is not its branch's


class Recording:
    """Gives files in processing/ their rows."""

    def __init__(
        self,
        log: JobLog,
        routes: Sequence[InboxRoute],
        *,
        examine: Callable[[Path, FileLimits], Examination],
        deliveries: Bell,
        filings: Bell,
        clock: Callable[[], float],
    ) -> None:
        self.stuck: dict[str, int] = {}  # how many files of each inbox the disk did not give since the last recovery
        self._log = log
        self._routes = routes
        self._examine = examine
        self._deliveries = deliveries
        self._filings = filings
        self._clock = clock

    def record(
        self,
        route: InboxRoute,
        taken: Sequence[TakenFile],
        *,
        may_have_been_sent: bool = False,
        note: Callable[[Arrival, Job], None] = lambda _arrival, _job: None,
    ) -> list[Job]:
        """Record files, and return their jobs; `note` is told each inside the transaction of the rows.

        Those that `may_have_been_sent` begin as claims that nobody holds.
        """
        examined = [arrival for arrival in self._arrivals(route, taken) if arrival is not None]
        arrivals = [arrival for arrival in self._with_revisions(route, examined) if arrival is not None]
        self.stuck[route.name] = self.stuck.get(route.name, 0) + len(taken) - len(arrivals)
        if not arrivals:
            return []
        with self._log.database.transaction():
            now = self._clock()  # here, so that no jump of the clock comes between it and the time when they are due
            jobs = DuplicateCheck(self._log, self._is_in_failed).record(arrivals, now)
            if may_have_been_sent:
                jobs = [self.claimed(job, now) for job in jobs]
            for arrival, job in zip(arrivals, jobs, strict=True):
                if arrival.examination.doubt:
                    self._log.histories.note(job.job_id, now, "file.doubtful", detail=arrival.examination.doubt)
                note(arrival, job)
        self._deliveries.ring(len(jobs))
        if any(job.move_due for job in jobs):
            self._filings.ring()
        self._log_recorded(jobs, now)
        return jobs

    def claimed(self, job: Job, now: float) -> Job:
        """Let a job begin as a claim that nobody holds, so that its callback is awaited first."""
        return self._log.jobs.advance(job.job_id, Event.CLAIM, now, detail=LOST_LOG, attempts=job.attempts + 1) or job

    def _arrivals(self, route: InboxRoute, taken: Sequence[TakenFile]) -> list[Arrival | None]:
        """Flush, and examine what was not; None in the place of a file that the disk does not give: others go on."""
        try:
            route.spool.flush([route.spool.folders.processing / file.job_id / file.relative for file in taken])
        except OSError:
            return [self._arrival_or_none(route, file, flush=True) for file in taken]
        return [self._arrival_or_none(route, file, flush=False) for file in taken]

    def _arrival_or_none(self, route: InboxRoute, taken: TakenFile, *, flush: bool) -> Arrival | None:
        path = route.spool.folders.processing / taken.job_id / taken.relative
        try:
            if flush:
                route.spool.flush([path])
            return self._arrival(route, taken, path)
        except OSError as error:
            _log_stuck(route, path, error)
            return None

    def _is_in_failed(self, job: Job) -> bool:
        """Whether a failed job's file still lies in the failed/ of its own inbox.

        An inbox that is configured no more, or was renamed, keeps no file from going on under the new file.
        """
        return any(route.is_in_failed(job) for route in self._routes if route.name == job.inbox)

    def _arrival(self, route: InboxRoute, taken: TakenFile, path: Path) -> Arrival:
        branch = route.branch_at(taken.relative)
        examination = taken.examination or self._examine(path, route.limits)
        return Arrival(
            job_id=taken.job_id,
            inbox=route.name,
            filename=display_name(taken.relative.name),
            relative_path=taken.relative,
            target=branch.target if taken.database is None else branch.target_in(taken.database),
            notion_database_id=branch.notion_database_id if taken.database is None else taken.database,
            has_own_database=taken.database is not None,
            duplicates=branch.duplicates,
            examination=examination,
            branch=branch.key,
            original_path=original_of(taken.relative),
        )

    def _with_revisions(self, route: InboxRoute, arrivals: Sequence[Arrival]) -> list[Arrival | None]:
        """Say which are revisions, asking the log about all at once; None in the place of a file as in `_arrivals`."""
        with self._log.database.reading():
            earlier = [
                self._log.lookups.earlier_versions(route.name, arrival.relative_path, arrival.examination.size)
                if arrival.examination.sha256 is not None
                else []
                for arrival in arrivals
            ]
        return [
            self._revision_or_none(route, arrival, jobs) if jobs else arrival
            for arrival, jobs in zip(arrivals, earlier, strict=True)
        ]

    def _revision_or_none(self, route: InboxRoute, arrival: Arrival, earlier: Sequence[Job]) -> Arrival | None:
        """Name the job of an earlier file of this name whose bytes are the beginning of this one: late pages."""
        path = route.spool.folders.processing / arrival.job_id / arrival.relative_path
        try:
            digests = beginnings(path, [job.size for job in earlier])
        except OSError as error:
            _log_stuck(route, path, error)
            return None
        return replace(
            arrival, revision_of=next((job.job_id for job in earlier if digests.get(job.size) == job.sha256), None)
        )

    def _log_recorded(self, jobs: Iterable[Job], now: float) -> None:
        for job in jobs:
            links = {"revision_of": job.revision_of, "conflict_of": job.conflict_of}
            logger.info(
                "job.recorded",
                job_id=job.job_id,
                inbox=job.inbox,
                filename=job.filename,
                status=job.state.value,
                mime_type=job.mime_type,
                size=job.size,
                **{name: value for name, value in links.items() if value},
            )
            if job.state in (State.FAILURE, State.DUPLICATE):
                log_concluded(job, now)


def _log_stuck(route: InboxRoute, path: Path, error: OSError) -> None:
    advice = WaitReason.UNEXAMINED.advice if error.errno == errno.ECHILD else "look at the disk"
    logger.error("file.stuck", inbox=route.name, path=str(path), why=str(error), advice=advice)
