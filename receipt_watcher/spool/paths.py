"""The paths of the four folders of one inbox."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.jobs.job import Folder


@dataclass(frozen=True, slots=True)
class SpoolFolders:
    """The four folders that belong to one inbox."""

    inbox: Path
    processing: Path
    done: Path
    failed: Path

    def path_of(self, folder: Folder) -> Path:
        """Return the path of one of the three folders that hold jobs' files."""
        return {Folder.PROCESSING: self.processing, Folder.DONE: self.done, Folder.FAILED: self.failed}[folder]

    @property
    def all(self) -> list[Path]:
        """All four, the inbox first."""
        return [self.inbox, *map(self.path_of, Folder)]
