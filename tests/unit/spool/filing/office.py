"""A desk with the filing behind it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from receipt_watcher.cli.demo import samples
from receipt_watcher.examine.judge import examine
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.wakeup import Bell
from tests.fakes.daemons.process import digest
from tests.unit.inbox.test_take_in import Desk

MONTH = "2023-11"


class Office(Desk):
    """A desk with the filing behind it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rings = Bell()
        self.filing = self.new_filing()

    def new_filing(self) -> Filing:
        """Return the filing of a process that has just started."""
        return Filing(self.log, [self.route], examine=examine, deliveries=self.rings, clock=self.clock)

    def drop_in(self, name: str = "scan.jpg", content: bytes | None = None) -> Job:
        """Drop a receipt into the inbox and take it in."""
        (job,) = self.take(self.drop(name, samples.jpeg(1) if content is None else content))
        return job

    def tell(self, job: Job, event: Event, **changes: Any) -> Job:
        """Let something happen to a job."""
        after = self.log.jobs.advance(job.job_id, event, self.clock.advance(60), **changes)
        assert after is not None
        return after

    def fail(self, job: Job, message: str | None = "The supplier is unknown.") -> Job:
        """Let N8N fail a job."""
        return self.tell(job, Event.FAIL, reason=Reason.N8N_FAILURE, message=message)

    def file(self) -> int:
        """File until nothing more can be done, and return how many moves it took."""
        moves = 0
        while moved := self.filing.file_away_due():
            moves += moved
        return moves

    def restart(self) -> None:
        """Do what the daemon does at its start."""
        self.filing = self.new_filing()
        while self.filing.file_away(self.route):
            pass
        self.recover()

    def now(self, job: Job) -> Job:
        """Return a job as the log has it now."""
        found = self.log.lookups.get(job.job_id)
        assert found is not None
        return found

    def place(self, job: Job) -> str:
        """Return where the log says that a file is; it must be there, and nowhere else."""
        found = self.now(job)
        assert (found.move_due, found.moving_to_folder, found.moving_to_path) == (False, None, None)
        path = self.route.path_of(found)
        assert digest(path.read_bytes()) == found.sha256
        return str(path.relative_to(path.parents[len(found.stored_path.parts)]))

    def all_files(self) -> list[str]:
        """Return every file and every empty folder of the spool, but not the owner's mark."""
        folders = self.route.spool.folders
        return sorted(
            str(Path(root.name) / path.relative_to(root))
            for root in (folders.inbox, folders.processing, folders.done, folders.failed)
            for path in root.rglob("*")
            if path.name != ".owner" and not (path.is_dir() and any(path.iterdir()))
        )

    def note(self, name: str = "scan.jpg") -> str:
        """Return the text of a note in failed/."""
        return (self.route.spool.folders.failed / f"{name}{NOTE_SUFFIX}").read_text("utf-8")


def failed_folder(office: Office) -> Path:
    """Return the folder that failures are filed in."""
    return office.route.spool.folders.failed


def with_branch(route: InboxRoute, **changes: Any) -> InboxRoute:
    """Return a route whose only branch is another one."""
    [branch] = route.branches
    return replace(route, branches=(replace(branch, **changes),))


def claimed_ids(office: Office) -> list[str]:
    """Return the ids of all jobs that workers may send now."""
    claims = iter(lambda: office.log.jobs.claim(["office"], office.clock.now), None)
    return [job.job_id for job in claims]


def to_failed(office: Office) -> Job:
    """Let a receipt fail; it is due to move to failed/."""
    return office.fail(office.drop_in("sub/scan.jpg"))


def dropped_back(office: Office) -> Job:
    """Drop a failure back into the inbox, and take it in again."""
    job = to_failed(office)
    office.file()
    (office.inbox / "sub").mkdir(exist_ok=True)
    (failed_folder(office) / "sub/scan.jpg").rename(office.inbox / "sub/scan.jpg")
    (again,) = office.take(Path("sub/scan.jpg"))
    assert again.job_id == job.job_id
    return again
