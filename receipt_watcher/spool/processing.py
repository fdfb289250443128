"""The content of processing/: a folder for each job, orphans that no row tells of, and what is not ours.

What it promises: only what a crash left unfinished is removed, while its original is still in the inbox. A file is
removed from the inbox only if its copy in processing/ is the same.

The thread that has the gate's turn calls it. A crash leaves an orphan, which the next look yields again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from receipt_watcher.jobs.job import is_job_id
from receipt_watcher.spool.identity.owner import OWNER_NAME
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system import disk

#: So many folders of processing/ the job log is asked about at once.
_FOLDERS_AT_ONCE = 1000


class Processing:
    """The folder processing/ of one spool."""

    def __init__(self, folders: SpoolFolders) -> None:
        self._folders = folders

    def orphans(self, unrecorded: Callable[[Collection[str]], Collection[str]]) -> Iterator[tuple[str, Path]]:
        """Yield (job id, path below the inbox) of each file in a processing/<job_id>/ that is `unrecorded`.

        That is asked of some folders at a time, by their names, and returns those that no job has its file in.

        What a crash left unfinished is removed on the way, its original being still in the inbox: parts of copies,
        and the empty placeholders of file systems that know neither renameat2 nor link. The other folders are not
        looked into: their files are recorded, and there may be very many.
        """
        for name in self._unrecorded_folders(unrecorded):
            entry = self._folders.processing / name
            for root, _, names in os.walk(entry):
                for name_below in names:
                    path = Path(root, name_below)
                    if disk.is_partial(name_below) or self._is_placeholder(path, path.relative_to(entry)):
                        path.unlink()
                    else:
                        yield name, path.relative_to(entry)
            self.tidy(name)

    def _unrecorded_folders(self, unrecorded: Callable[[Collection[str]], Collection[str]]) -> list[str]:
        job_ids: list[str] = []
        with os.scandir(self._folders.processing) as entries:
            names = (entry.name for entry in entries if is_job_id(entry.name) and entry.is_dir())
            while some := list(itertools.islice(names, _FOLDERS_AT_ONCE)):
                job_ids += unrecorded(some)
        return sorted(job_ids)

    def _is_placeholder(self, path: Path, relative: Path) -> bool:
        original = self._folders.inbox / relative
        return path.stat().st_size == 0 and disk.is_there(original) and not path.samefile(original)

    def foreign_entries(self) -> list[Path]:
        """Return what lies in processing/ and is not ours: nothing will ever move it, so an admin must know."""
        with os.scandir(self._folders.processing) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name != OWNER_NAME and not (entry.is_dir() and is_job_id(entry.name))
            ]
        return [self._folders.processing / name for name in sorted(names)]

    def has_orphan(self, job_id: str) -> bool:
        """Return whether something lies in the folder of a job that is not recorded; an empty one is removed."""
        self.tidy(job_id)
        return disk.is_there(self._folders.processing / job_id)

    def drop_copied_original(self, job_id: str, relative: Path) -> bool:
        """Remove the inbox's original of an orphan that was copied or linked, whole, before a crash.

        Only if name, size, modification time and content are the same: then the copy in processing/ is the
        receipt and the original the leftover of an unfinished move. Return whether one was removed.
        """
        original = self._folders.inbox / relative
        copy = self._folders.processing / job_id / relative
        with contextlib.suppress(OSError):
            left, right = os.lstat(original), os.lstat(copy)
            if (
                stat.S_ISREG(left.st_mode)
                and (left.st_size, left.st_mtime_ns) == (right.st_size, right.st_mtime_ns)
                and disk.digest_of(original) == disk.digest_of(copy)
            ):
                original.unlink()
                disk.flush_folder(original.parent)
                return True
        return False

    def tidy(self, job_id: str) -> None:
        """Remove the empty folders of processing/<job_id>; anything that holds a file stays."""
        top = self._folders.processing / job_id
        for root, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(root).rmdir()
