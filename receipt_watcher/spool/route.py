"""The route of one inbox: its spool, and where its receipts go.

A stage never calls the next one: it writes to the job log and rings. Every loop looks at the log at least once a
tick all the same, so a bell that is not heard costs seconds, never a receipt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from receipt_watcher.config.branches import Branch, branch_at, branch_named
from receipt_watcher.errors import ChangedOnDiskError
from receipt_watcher.examine.result import FileLimits
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system.disk import digest_of
from receipt_watcher.system.display import display_name

logger = structlog.get_logger()


@dataclass(slots=True)
class InboxRoute:
    """One inbox: its spool, where its receipts go, and whether its spool is open and recovered (`is_ready`).

    `branches` are the subfolders with settings of their own, the innermost first, and at last the inbox itself.
    """

    name: str
    spool: Spool
    branches: tuple[Branch, ...]
    limits: FileLimits
    takes_any_database: bool = False  # an upload may name one that is no branch's
    is_ready: bool = field(default=False)

    def branch_at(self, relative: Path) -> Branch:
        """Return where a file goes, by its path below the inbox."""
        return branch_at(self.branches, relative)

    def key_at(self, relative: Path) -> str:
        """Return the key of where a file goes, by its path below the inbox."""
        return self.branch_at(relative).key

    def branch_of(self, job: Job) -> Branch:
        """Return where a job goes; one whose subfolder is configured no more goes as the rest of its inbox."""
        return branch_named(self.branches, job.branch)

    def path_of(self, job: Job) -> Path:
        """Return where a job's file is now, by the log."""
        return self.spool.folders.file_of(job)

    def check_is_its_own(self, job: Job) -> None:
        """Check that what lies in failed/ where the log says is the job's file.

        People empty failed/, and the next receipt of that name that fails gets the place.

        Raises:
            ChangedOnDiskError: another file is there.
            OSError: it cannot be read.
        """
        path = self.path_of(job)
        if job.folder is not Folder.FAILED or job.sha256 is None or not path.is_file():
            return
        with contextlib.suppress(PermissionError):  # it may be moved all the same; examination will say so
            if digest_of(path) != job.sha256:
                raise ChangedOnDiskError(f"{display_name(path)} is another file now, not the one that was recorded")

    def is_in_failed(self, job: Job) -> bool:
        """Whether the file of a failed job lies where the log says, or where it is just being moved to.

        Raises:
            SpoolError: a folder of the spool is away.
        """
        self.spool.presence.check()
        with contextlib.suppress(ChangedOnDiskError, OSError):  # what cannot be read is no reason to refuse a good copy
            self.check_is_its_own(job)
            if self.path_of(job).is_file():
                return True
        file = self.spool.folders.next_file_of(job)
        return file is not None and file.is_file()


def route_of(routes: Iterable[InboxRoute], job: Job) -> InboxRoute | None:
    """Return the route of a job's inbox; None if that is configured no more."""
    return next((route for route in routes if route.name == job.inbox), None)


def path_of(routes: Iterable[InboxRoute], job: Job) -> Path | None:
    """Return where a job's file is now, by the log; None if its inbox is configured no more."""
    route = route_of(routes, job)
    return None if route is None else route.path_of(job)


def log_concluded(job: Job, now: float) -> None:
    """Write the one line that sums a job up."""
    level = logger.info if job.state in (State.SUCCESS, State.DUPLICATE) else logger.warning
    level(
        "job.concluded",
        job_id=job.job_id,
        inbox=job.inbox,
        filename=job.filename,
        status=job.state.value,
        reason=job.reason.value if job.reason else None,
        message=job.message,
        attempts=job.attempts,
        seconds=round(now - job.created_at, 3),
        duplicate_of=job.duplicate_of,
        notion_page_url=job.notion_page_url,
    )
