"""An office whose filed receipts grow old, and changes of its files by others."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.retention import BelievedTime, Remover, Tally
from receipt_watcher.spool.route import InboxRoute
from tests.unit.spool.filing.office import Office

DAY = 86400.0
BOTH = Retention(done_days=30, failed_days=30)


@dataclass
class Archive(Office):
    """An office whose filed receipts grow old."""

    days: Retention = BOTH

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stopping = threading.Event()
        self.remover = self.new_remover()

    def new_remover(self, *others: InboxRoute) -> Remover:
        """Return the retention of a process that has just started, and believes the clock."""
        believed = BelievedTime(self.log, clock=self.clock, monotonic=self.clock)
        believed()
        return Remover(
            self.log,
            self.route,
            [self.route, *others],
            self.days,
            at_rest=self.filing.at_rest(self.route),
            believed=believed,
            stopping=self.stopping,
            clock=self.clock,
            monotonic=self.clock,
        )

    def conclude(self, event: Event, name: str = "scan.jpg", content: bytes | None = None) -> Job:
        """Let a receipt go all the way to its folder."""
        job = self.drop_in(name, content)
        reason = {"reason": Reason.N8N_FAILURE, "message": "no"} if event is Event.FAIL else {}
        self.tell(job, event, **reason)
        self.file()
        return self.now(job)

    def look_after(self, days: float) -> Tally:
        """Let days pass, then look."""
        self.clock.advance(days * DAY)
        return self.remover.remove_due()

    def path(self, job: Job) -> Path:
        """Return where a job's file is, or was."""
        return self.route.path_of(self.now(job))

    def is_removed(self, job: Job) -> bool:
        """Return whether a job's file is gone, and the log says so; the two must agree."""
        is_gone = self.now(job).removed_at is not None
        assert is_gone is not self.path(job).exists()
        return is_gone

    def events(self, job: Job) -> list[str]:
        """Return what happened to a job."""
        return [row["event"] for row in self.log.histories.lines(job.job_id)]


def with_days(archive: Archive, **days: float) -> None:
    """Restart with other settings."""
    archive.days = Retention(**days)
    archive.remover = archive.new_remover()


def other_bytes(path: Path) -> None:
    """Write other bytes of the same length, at the same time of modification."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def more_bytes(path: Path) -> None:
    """Append something."""
    with path.open("ab") as file:
        file.write(b"late page")


def a_link(path: Path) -> None:
    """Put a link to the file in its place."""
    elsewhere = path.parents[2] / "moved.jpg"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def a_folder(path: Path) -> None:
    """Put a folder in the file's place."""
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    """Put a pipe in the file's place."""
    path.unlink()
    os.mkfifo(path)


CHANGES = [other_bytes, more_bytes, a_link, a_folder, a_pipe]
