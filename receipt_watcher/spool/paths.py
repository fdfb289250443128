"""The paths of the four folders of one inbox, and of the jobs' files in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.jobs.job import Folder, Job


@dataclass(frozen=True, slots=True)
class SpoolFolders:
    """The four folders that belong to one inbox."""

    inbox: Path
    processing: Path
    done: Path
    failed: Path

    @classmethod
    def of(cls, inbox: Inbox) -> SpoolFolders:
        """Return the folders of an inbox by its options."""
        return cls(inbox.path, inbox.processing_dir, inbox.done_dir, inbox.failed_dir)

    def path_of(self, folder: Folder) -> Path:
        """Return the path of one of the three folders that hold jobs' files."""
        return {Folder.PROCESSING: self.processing, Folder.DONE: self.done, Folder.FAILED: self.failed}[folder]

    def file_of(self, job: Job) -> Path:
        """Return where a job's file is now, by the log."""
        return self.path_of(job.folder) / job.stored_path

    def next_file_of(self, job: Job) -> Path | None:
        """Return where a job's file is just being moved to, by the log; None if it is not."""
        if job.moving_to_folder is None or job.moving_to_path is None:
            return None
        return self.path_of(job.moving_to_folder) / job.moving_to_path

    @property
    def all(self) -> list[Path]:
        """All four, the inbox first."""
        return [self.inbox, *map(self.path_of, Folder)]
