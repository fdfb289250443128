"""Take in: move settled files from the inbox to processing, examine them, record them.

What it promises, in this order for each file: it is moved; its bytes and the folders that name it are flushed; it
is examined; its row is committed. Several files share the flushes and the commit. Only then may a worker send it.

Runs in the inbox's own thread. A crash after the move leaves a file in processing/<job_id>/ without a row, an
orphan: `recover` gives it one, under the id that its folder bears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from receipt_watcher.disk import display_name
from receipt_watcher.errors import FileVanishedError
from receipt_watcher.intake import Arrival, Intake
from receipt_watcher.job import Job, State, new_job_id
from receipt_watcher.joblog import JobLog
from receipt_watcher.receipt import examine
from receipt_watcher.route import Bell, Route, tell_concluded

logger = structlog.get_logger()

#: Files that share one commit. By taste: the gain is spent by then, and the first of them waits for the last.
BATCH_FILES = 16


class TakeIn:
    """The first stage."""

    def __init__(
        self, log: JobLog, routes: Sequence[Route], *, deliveries: Bell, filings: Bell, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._routes = routes
        self._deliveries = deliveries
        self._filings = filings
        self._clock = clock

    def take_in(self, route: Route, relatives: Sequence[Path], blocked: Callable[[Path, str], None]) -> list[Job]:
        """Take in settled files, and return their jobs.

        `blocked` is told which file could not be moved, and why; it is still in the inbox. Any error after the
        moves leaves orphans, which `recover` records.
        """
        taken: list[tuple[str, Path]] = []
        for relative in relatives:
            job_id = new_job_id(self._clock())
            try:
                route.spool.take(relative, job_id)
            except FileVanishedError:
                logger.debug("file.vanished", inbox=route.name, filename=display_name(relative))
            except OSError as error:
                blocked(relative, f"{error.strerror or error}")
            else:
                taken.append((job_id, relative))
        return self._record(route, taken)

    def recover(self, route: Route) -> list[Job]:
        """Record the orphans in processing/: files that a crash caught between the move and the row."""
        stored = self._log.stored_in_processing(route.name)
        orphans = [
            (job_id, relative)
            for job_id, relative in route.spool.orphans()
            if job_id not in stored and self._log.get(job_id) is None
        ]
        for stranger in route.spool.strangers():
            logger.warning(
                "file.unknown", inbox=route.name, path=str(stranger), advice="not ours; move it into the inbox"
            )
        for job_id, relative in orphans:
            copied = route.spool.drop_copied_original(job_id, relative)
            logger.info("job.adopted", job_id=job_id, inbox=route.name, filename=relative.name, original_removed=copied)
        return [
            job
            for start in range(0, len(orphans), BATCH_FILES)
            for job in self._record(route, orphans[start:][:BATCH_FILES])
        ]

    def _record(self, route: Route, taken: Sequence[tuple[str, Path]]) -> list[Job]:
        if not taken:
            return []
        paths = [route.spool.folders.processing / job_id / relative for job_id, relative in taken]
        route.spool.flush(paths)
        arrivals = [
            self._arrival(route, job_id, relative, path) for (job_id, relative), path in zip(taken, paths, strict=True)
        ]
        now = self._clock()
        jobs = Intake(self._log, self._is_in_failed).record(arrivals, now)
        self._deliveries.ring()
        if any(job.move_due for job in jobs):
            self._filings.ring()
        self._tell(jobs, now)
        return jobs

    def _is_in_failed(self, job: Job) -> bool:
        """Whether a failed job's file still lies in the failed/ of its own inbox.

        An inbox that is configured no more, or was renamed, keeps no file from going on under the new one.
        """
        return any(route.is_in_failed(job) for route in self._routes if route.name == job.inbox)

    def _arrival(self, route: Route, job_id: str, relative: Path, path: Path) -> Arrival:
        return Arrival(
            job_id=job_id,
            inbox=route.name,
            filename=display_name(relative.name),
            relative_path=relative,
            target=route.target,
            notion_database_id=route.notion_database_id,
            duplicates=route.duplicates,
            examination=examine(path, route.limits),
        )

    def _tell(self, jobs: Iterable[Job], now: float) -> None:
        for job in jobs:
            logger.info(
                "job.recorded",
                job_id=job.job_id,
                inbox=job.inbox,
                filename=job.filename,
                status=job.state.value,
                mime_type=job.mime_type,
                size=job.size,
            )
            if job.state in (State.FAILURE, State.DUPLICATE):
                tell_concluded(job, now)
