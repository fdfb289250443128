"""Knowledge of one inbox: its state for all screens, and the log lines about its files and about itself.

What it promises: an inbox that cannot be used is logged once when that begins, and once when it ends. A file that
waits is logged when it is parked, and once more when it has waited for long. The state is made again at most every two
seconds, and at once if the inbox became usable or unusable.

The thread that has the gate's turn calls it, and the supervision while that thread hangs; any thread reads `state`.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from receipt_watcher.inbox import state
from receipt_watcher.inbox.state import InboxState, Waiting
from receipt_watcher.inbox.status_file import StatusFile
from receipt_watcher.inbox.wait_reasons import LONG_SECONDS, NEEDS_A_PERSON, WaitReason
from receipt_watcher.inbox.watching.settling import Seen
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.disk import trouble_of_disk
from receipt_watcher.system.display import display_name
from receipt_watcher.system.open_files import Writers

logger = structlog.get_logger()

#: A file is shown when it has waited for this time, and the state is made again after this pause. By taste.
_SHOWN_AFTER_SECONDS = 5.0
_REFRESH_SECONDS = 2.0

#: At most this number of files are shown, the oldest.
_SHOWN_FILES = 1000

#: The time of the last scan is told so often.
_SCAN_TOLD_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSources:
    """The sources of an inbox's state, and where it is written.

    `writers` says of each inbox whether the last file's writers could be told. The state is written to `snapshot_file`;
    with `tells_scans`, when it was scanned is told beside that file. `status_file` is for people at the share.
    """

    writers: Mapping[str, Writers]
    filing: Filing
    log: JobLog
    min_free_mb: float
    status_file: StatusFile | None = None
    snapshot_file: Path | None = None
    tells_scans: bool = False  # beside the snapshot, which is in memory then


class InboxObserver:
    """Makes the state of one inbox."""

    def __init__(
        self,
        route: InboxRoute,
        watch: InboxWatch,
        sources: StateSources,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """Begin with an inbox that is not open."""
        self.is_held = False  # by hand, as of the last round
        self._route = route
        self._watch = watch
        self._sources = sources
        self._clock = clock
        self._monotonic = monotonic
        self._state = InboxState(
            name=route.name,
            path=display_name(watch.path),
            failed_dir=str(route.spool.folders.failed),
            mode=watch.source.mode,
            why_mode=watch.source.why_mode,
            is_ready=False,
            unavailable=None,
            unavailable_since=None,
        )
        self._lock = threading.Lock()
        self._written: InboxState | None = None
        self._refreshed_at = 0.0
        self._looked_around_at = 0.0
        self._long_waiting: set[str] = set()

    @property
    def state(self) -> InboxState:
        """The inbox as it is now; what waits in it as of the last look."""
        return replace(self._state, is_ready=self._route.is_ready)

    # --- the inbox itself ------------------------------------------------------------------------------------------

    def lose(self, why: str) -> None:
        """Note why nothing can be taken now, and log it if it could be until now."""
        since = self._state.unavailable_since
        if self._state.unavailable is None:
            logger.error("inbox.unavailable", inbox=self._route.name, why=why)
            since = self._clock()
        self._change(unavailable=why, unavailable_since=since)

    def restore(self) -> None:
        """Note that files can be taken, and log it if they could not until now."""
        if self._state.unavailable is not None:
            since = self._state.unavailable_since or self._clock()
            logger.info("inbox.available", inbox=self._route.name, seconds=round(self._clock() - since, 1))
            self._change(unavailable=None, unavailable_since=None)

    def _change(self, **fields: Any) -> None:
        with self._lock:  # the supervision may say that the inbox hangs while its own thread goes on
            self._state = replace(self._state, **fields)

    def look_around(self) -> None:
        """Look at the disks of the spool, at filing and at the job log, and bring the status file up to date.

        The disks may not answer.

        Raises:
            JobLogError: the log cannot be asked.
        """
        now = self._monotonic()
        if now >= self._looked_around_at + _REFRESH_SECONDS:
            self._looked_around_at = now
            self._look_at_disks()
        if self._sources.status_file is not None and self._route.is_ready:
            self._sources.status_file.update(self.state, self._clock())

    def write_stop(self) -> None:
        """Write into the status file that nothing is taken any more."""
        if self._sources.status_file is not None and self._route.is_ready:
            self._sources.status_file.stopped(self._clock())

    def _look_at_disks(self) -> None:
        folders = self._route.spool.folders
        of_disks = (
            trouble_of_disk(folder, self._sources.min_free_mb)
            for folder in (folders.processing, folders.done, folders.failed)
        )
        is_usable = self._state.unavailable is None  # else that is the trouble
        self._change(
            filing=self._sources.filing.troubles.get(self._route.name),
            disk=next((trouble for trouble in of_disks if trouble is not None), None) if is_usable else None,
            job_log=self._sources.log.database.trouble,
        )

    # --- its files -------------------------------------------------------------------------------------------------

    def log_parked(self) -> None:
        """Log the files that were parked for another reason than before, since the last time."""
        for relative, seen in self._watch.settler.newly_parked():
            name, reason = display_name(relative), seen.why.value
            words = {"why": seen.detail or seen.why.meaning, "advice": seen.why.advice}
            if seen.why in NEEDS_A_PERSON:
                logger.warning("file.blocked", inbox=self._route.name, filename=name, reason=reason, **words)
            else:
                logger.info("file.waiting", inbox=self._route.name, filename=name, reason=reason, **words)

    def refresh(self) -> None:
        """Make the state again if it is time, write it if it changed, and warn of what has waited for long."""
        now = self._monotonic()
        before = self._written
        now_usable = (self._state.unavailable, self._route.is_ready)
        is_other = before is None or (before.unavailable, before.is_ready) != now_usable
        if now < self._refreshed_at + _REFRESH_SECONDS and not is_other:
            return
        self._refreshed_at = now
        files = (
            (relative, seen)
            for relative, seen in itertools.chain(self._watch.settler.waiting(), self._watch.unfinished.stale(now))
            if now - seen.first_seen_at >= _SHOWN_AFTER_SECONDS
        )
        oldest = heapq.nsmallest(_SHOWN_FILES, files, key=lambda file: file[1].first_seen_at)
        waiting = tuple(self._waiting(relative, seen, now) for relative, seen in oldest)
        self._warn_of_long(waiting)
        self._change(
            mode=self._watch.source.mode,
            why_mode=self._watch.source.why_mode,
            writers=self._writers.value,
            events=self._watch.source.degraded if self._route.is_ready else None,
            waiting=waiting,
            scanned_at=self._scan_to_tell(now),
        )
        self._write()

    def _write(self) -> None:
        before, self._written = self._written, self.state
        file = self._sources.snapshot_file
        if file is None:
            return
        scanned_at = self._written.scanned_at
        if before is None or self._written != replace(before, scanned_at=scanned_at):
            state.write(file, self._written)
        if self._sources.tells_scans and scanned_at is not None and (before is None or scanned_at != before.scanned_at):
            state.note_scan(file, scanned_at)

    def _scan_to_tell(self, now: float) -> float | None:
        """Return when the inbox was last scanned, in Unix seconds; another time once a minute only."""
        if self._watch.scanned_at is None:
            return None
        scanned_at = round(self._clock() - (now - self._watch.scanned_at))
        told_at = self._state.scanned_at
        return told_at if told_at is not None and 0 <= scanned_at - told_at < _SCAN_TOLD_SECONDS else scanned_at

    @property
    def _writers(self) -> Writers:
        """Whether it can be told who has a file open: on this file system, and of the last file that came."""
        by_file = self._sources.writers.get(self._route.name, Writers.NONE)
        on_disk = self._watch.writers
        return on_disk if on_disk is not Writers.NONE or by_file is Writers.SOME else by_file

    def _waiting(self, relative: str, seen: Seen, now: float) -> Waiting:
        def wall(at: float) -> float:
            return round(self._clock() - (now - at))  # whole seconds: else it would be another one each time

        return Waiting(
            relative,
            WaitReason.HELD if self.is_held and seen.why is WaitReason.GROWING else seen.why,
            seen.detail,
            seen.signature.size,
            seen.signature.size - seen.first_size,
            wall(seen.first_seen_at),
            wall(seen.changed_at),
            None if seen.why in (WaitReason.GROWING, WaitReason.UNFINISHED) else wall(seen.until),
        )

    def _warn_of_long(self, waiting: tuple[Waiting, ...]) -> None:
        now = self._clock()
        long = {
            file.path: file
            for file in waiting
            if file.why is WaitReason.UNFINISHED
            or (now - file.first_seen_at >= LONG_SECONDS and file.why is not WaitReason.HELD)  # the admin knows
        }
        for path, file in long.items():
            if path not in self._long_waiting:
                logger.warning(
                    "file.waiting",
                    inbox=self._route.name,
                    filename=display_name(path),
                    reason=file.why.value,
                    why=file.detail or file.why.meaning,
                    advice=file.why.advice,
                    minutes=round((now - file.first_seen_at) / 60),
                )
        self._long_waiting = set(long)
