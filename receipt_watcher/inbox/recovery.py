"""Recover what a start or a crash left in processing/: files that were moved there and have no row yet.

What it promises: each such orphan gets a row, under the id that its folder bears, as soon as nobody writes it any
more. Where the whole job log was lost, what lies there may have been sent, and its callback is awaited first.

Runs in the thread that has the gate's turn. A crash leaves orphans again, for the next start.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from receipt_watcher.inbox.duplicates import Arrival
from receipt_watcher.inbox.recording import BATCH_FILES, LOST_LOG, Recording, TakenFile
from receipt_watcher.inbox.watching.listing import signature
from receipt_watcher.inbox.watching.settling import Signature
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.open_files import Writers, writers_or_not_ours

logger = structlog.get_logger()

#: An orphan whose writers cannot be told is recorded when it did not change for so long. By taste, as settle_seconds.
ORPHAN_QUIET_SECONDS = 2.0

#: Files that the disk does not give are left alone for so long.
STUCK_PAUSE_SECONDS = 30.0


class Recovery:
    """Gives orphans their rows."""

    def __init__(
        self,
        log: JobLog,
        recording: Recording,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._log = log
        self._recording = recording
        self._clock = clock
        self._monotonic = monotonic
        self._unsettled: dict[str, dict[str, tuple[Signature, float]]] = {}

    def recover(self, route: InboxRoute, *, may_have_been_sent: bool = False) -> list[Job]:
        """Record the orphans in processing/: files that a crash caught between the move and the row.

        Those that somebody still writes wait: who had a file open when it was moved goes on writing it there. Where
        the whole log was lost, they may have been sent: they begin as claims that nobody holds, so that their
        callbacks are awaited first.
        """
        unrecorded = functools.partial(self._log.files.unrecorded_in_processing, route.name)
        unknown = []
        for job_id, relative in route.spool.processing.orphans(unrecorded):
            job = self._log.lookups.get(job_id)
            if job is None:
                unknown.append((job_id, relative))
            elif may_have_been_sent:
                self._take_up(route, job, relative)
        orphans = list({job_id: (job_id, relative) for job_id, relative in reversed(unknown)}.values())[::-1]
        folder = route.spool.folders.processing
        doubled = [folder.joinpath(*orphan) for orphan in unknown if orphan not in orphans]
        for path in [*route.spool.processing.foreign_entries(), *doubled]:
            logger.warning("file.unknown", inbox=route.name, path=str(path), advice="not ours; move it into the inbox")
        self._recording.stuck[route.name] = 0
        quiet = self._quiet(route, orphans)
        for job_id, relative in quiet:
            copied = route.spool.processing.drop_copied_original(job_id, relative)
            logger.info("job.adopted", job_id=job_id, inbox=route.name, filename=relative.name, original_removed=copied)
        return [
            job
            for start in range(0, len(quiet), BATCH_FILES)
            for job in self._recording.record(
                route,
                [
                    TakenFile(job_id, relative, database=self._log.facts.upload_database.of(job_id).get())
                    for job_id, relative in quiet[start:][:BATCH_FILES]
                ],
                may_have_been_sent=may_have_been_sent,
                note=self._pass_key_on,
            )
        ]

    def _take_up(self, route: InboxRoute, job: Job, relative: Path) -> None:
        """Let a job go on with its file that lies in processing/: it was retried since the log that was restored.

        It is claimed by nobody, as what may have been sent is.
        """
        if job.state not in (State.FAILURE, State.CANCELLED):
            return
        path = Path(job.job_id) / relative
        with self._log.database.transaction():
            now = self._clock()
            again = self._log.moves.find_again(job, Folder.PROCESSING, path, now, "found in processing/: " + LOST_LOG)
            after = self._log.jobs.advance(
                again.job_id, Event.RETRY, now, detail=LOST_LOG, next_attempt_at=now, folder=Folder.PROCESSING
            )
            if after is not None:
                self._recording.claimed(after, now)
        logger.info("job.adopted", job_id=job.job_id, inbox=route.name, filename=job.filename, original_removed=False)

    def _pass_key_on(self, arrival: Arrival, job: Job) -> None:
        """Let an upload's Idempotency-Key stand for the earlier job of the same bytes, if it goes on as that one."""
        if job.job_id != arrival.job_id:
            self._log.facts.upload.replace(arrival.job_id, job.job_id)

    def _quiet(self, route: InboxRoute, orphans: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
        """Return those that nobody writes any more; remember how the others were when they were last looked at."""
        before = self._unsettled.get(route.name, {})
        unsettled: dict[str, tuple[Signature, float]] = {}
        quiet = []
        for job_id, relative in orphans:
            path = route.spool.folders.processing / job_id / relative
            try:
                now, writers = signature(os.lstat(path)), writers_or_not_ours(path)
            except OSError:
                quiet.append((job_id, relative))  # what is wrong with it is said when it is recorded
                continue
            known, since = before.get(job_id, (now, self._monotonic()))
            if known != now:
                since = self._monotonic()
            is_quiet = self._monotonic() - since >= ORPHAN_QUIET_SECONDS
            if writers is Writers.NONE or (writers is not Writers.SOME and is_quiet):
                quiet.append((job_id, relative))
            else:
                unsettled[job_id] = (now, since)
        self._unsettled[route.name] = unsettled
        return quiet

    def recover_in_seconds(self, route: InboxRoute) -> float | None:
        """Return when `recover` has something to do again; None where nothing is left in processing/ without a row."""
        if self._unsettled.get(route.name):
            return ORPHAN_QUIET_SECONDS
        return STUCK_PAUSE_SECONDS if self._recording.stuck.get(route.name) else None

    def await_quiet(self, route: InboxRoute, job_id: str) -> None:
        """Let a file that could not be given back settle in processing/; its signature is not known yet."""
        self._unsettled.setdefault(route.name, {})[job_id] = (Signature(-1, 0, 0), self._monotonic())
