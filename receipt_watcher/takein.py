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
        self._left: dict[str, int] = {}

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
        found = [one for one in route.spool.orphans() if one[0] not in stored and self._log.get(one[0]) is None]
        orphans = list({job_id: (job_id, relative) for job_id, relative in reversed(found)}.values())[::-1]
        folder = route.spool.folders.processing
        for stranger in [*route.spool.strangers(), *(folder.joinpath(*one) for one in found if one not in orphans)]:
            logger.warning(
                "file.unknown", inbox=route.name, path=str(stranger), advice="not ours; move it into the inbox"
            )
        self._left[route.name] = 0
        for job_id, relative in orphans:
            copied = route.spool.drop_copied_original(job_id, relative)
            logger.info("job.adopted", job_id=job_id, inbox=route.name, filename=relative.name, original_removed=copied)
        return [
            job
            for start in range(0, len(orphans), BATCH_FILES)
            for job in self._record(route, orphans[start:][:BATCH_FILES])
        ]

    def left(self, route: Route) -> int:
        """Return how many files of processing/ could not be recorded; `recover` tries them again."""
        return self._left.get(route.name, 0)

    def _record(self, route: Route, taken: Sequence[tuple[str, Path]]) -> list[Job]:
        arrivals = [arrival for arrival in self._examined(route, taken) if arrival is not None]
        self._left[route.name] = self.left(route) + len(taken) - len(arrivals)
        if not arrivals:
            return []
        now = self._clock()
        jobs = Intake(self._log, self._is_in_failed).record(arrivals, now)
        self._deliveries.ring()
        if any(job.move_due for job in jobs):
            self._filings.ring()
        self._tell(jobs, now)
        return jobs

    def _examined(self, route: Route, taken: Sequence[tuple[str, Path]]) -> list[Arrival | None]:
        """Flush and examine; None in the place of a file that the disk does not give: it must not stop the others."""
        try:
            route.spool.flush(route.spool.folders.processing.joinpath(*one) for one in taken)
        except OSError:
            return [self._examined_alone(route, *one, flush=True) for one in taken]
        return [self._examined_alone(route, *one, flush=False) for one in taken]

    def _examined_alone(self, route: Route, job_id: str, relative: Path, *, flush: bool) -> Arrival | None:
        path = route.spool.folders.processing / job_id / relative
        try:
            if flush:
                route.spool.flush([path])
            return self._arrival(route, job_id, relative, path)
        except OSError as error:
            logger.error("file.stuck", inbox=route.name, path=str(path), why=str(error), advice="look at the disk")  # noqa: TRY400 - the text says it
            return None

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
