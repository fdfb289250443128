"""The files of jobs: what is found where the log says that each should be.

What it promises: nothing is changed. A file is sought in its old place first, then in the one that it is being moved
to; a folder that answers nothing is named, and left out from there on. Steps on disk run in a thread of their own, so
that a share which hangs keeps only that one waiting. A crash leaves nothing behind.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.report.balance.findings import Finding
from receipt_watcher.report.balance.folders import BalanceFolders
from receipt_watcher.spool.contents import difference, hashing, stat_of


@dataclass(frozen=True, slots=True)
class FileLook:
    """A look at the places of one job's file: the finding, and whether the file was hashed."""

    job: Job
    finding: Finding
    is_hashed: bool = False
    detail: str = ""


class FileLookup:
    """Looks for the files of jobs."""

    def __init__(self, folders: BalanceFolders) -> None:
        self._folders = folders

    def looks(self, jobs: Sequence[Job], *, is_hash_due: Callable[[Job, os.stat_result], bool]) -> list[FileLook]:
        """Look at the files of jobs, folder by folder, so that a folder that answers nothing is known by its name.

        `is_hash_due` tells which files are to be hashed.
        """
        looks: dict[str, FileLook] = {}
        for root, group in itertools.groupby(sorted(jobs, key=self._folders.root_of), key=self._folders.root_of):
            of_root = list(group)
            if root not in self._folders.away:
                try:
                    of_folder = filter(None, self._folders.answered(root, self._look_at(of_root, is_hash_due)))
                    looks |= {look.job.job_id: look for look in of_folder}
                    if any(looks[job.job_id].finding is Finding.MISSING for job in of_root if job.job_id in looks):
                        self._folders.look_again(of_root[0], root)
                except TimeoutError as error:
                    self._folders.lose(of_root[0].inbox, root, error.strerror or "")
            if root in self._folders.away:
                looks |= {job.job_id: FileLook(job, Finding.UNREACHABLE) for job in of_root}
        return [looks[job.job_id] for job in jobs if job.job_id in looks]  # all, unless it was stopped

    # --- on disk: what follows runs in a thread of its own, step by step ---------------------------------------

    def _look_at(
        self, jobs: Sequence[Job], is_hash_due: Callable[[Job, os.stat_result], bool]
    ) -> Iterator[FileLook | None]:
        """Look at the files of jobs; None after each piece of one that is read, as a sign of life."""
        for job in jobs:
            try:
                yield from self._look_at_one(job, is_hash_due)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise
                yield FileLook(job, Finding.UNREADABLE, detail=error.strerror or str(error))

    def _look_at_one(self, job: Job, is_hash_due: Callable[[Job, os.stat_result], bool]) -> Iterator[FileLook | None]:
        if job.removed_at is not None:
            yield FileLook(job, Finding.REMOVED)
            return
        detail, is_hashed = "", False
        for place in self._folders.places(job):
            status = stat_of(place)
            if status is None:
                continue
            detail = difference(status, job)
            if not detail and job.sha256 is not None and is_hash_due(job, status):
                is_hashed = True
                digest = yield from hashing(place)
                detail = "" if digest == job.sha256 else f"its digest is {digest}, not {job.sha256}"
            if not detail:
                yield FileLook(job, Finding.OK, is_hashed)
                return
        if job.folder is Folder.FAILED and (yield from self._is_in_inbox(job)):
            yield FileLook(job, Finding.RETURNED, is_hashed=True)
        elif job.inbox not in self._folders.spools:
            yield FileLook(job, Finding.UNCONFIGURED, is_hashed)
        else:
            yield FileLook(job, Finding.CHANGED if detail else Finding.MISSING, is_hashed, detail)

    def _is_in_inbox(self, job: Job) -> Generator[None, None, bool]:
        """Tell, by returning it, whether a failed job's file lies in the inbox again."""
        if job.inbox not in self._folders.inboxes:
            return False
        inbox = self._folders.inboxes[job.inbox].path
        for place in {inbox / job.relative_path, inbox / job.stored_path, inbox / job.stored_path.name}:
            status = stat_of(str(place))
            if status is not None and not difference(status, job) and job.sha256 == (yield from hashing(str(place))):
                return True
        return False
