"""The folders of a balance: where they really are, and which of them cannot be looked at.

What it promises: each folder that is not there, answers nothing, or is another one than was used is named, once, and
left out from there on. Nothing is changed. The balance's own thread calls it; a crash leaves nothing behind.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.files import FileClaim
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.report.balance.findings import BalanceSums, Disagreement, Finding
from receipt_watcher.spool.contents import is_there
from receipt_watcher.spool.identity.bindings import Bindings
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.display import display_name
from receipt_watcher.system.time_limit import answering

#: One answer of a file system may take so long: one stat(2), one piece of a file.
ANSWER_SECONDS = 20.0


class BalanceFolders:
    """The spools of all configured inboxes, as one balance sees them."""

    def __init__(self, log: JobLog, inboxes: Sequence[Inbox], sums: BalanceSums, stopping: threading.Event) -> None:
        self._log = log
        self._sums = sums
        self._stopping = stopping
        self.inboxes = {inbox.name: inbox for inbox in inboxes}
        self.spools: dict[str, dict[Folder, str]] = {}  # of every configured inbox: where its folders really are
        self.away: set[str] = set()  # folders that are not there, or that answer nothing

    def chosen(self, selection: Selection) -> list[str]:
        """Return the configured inboxes of a selection."""
        names = self.inboxes if selection.inbox is None else {selection.inbox} & self.inboxes.keys()
        return [name for name in names if name not in selection.but]

    def look_at_all(self, selection: Selection) -> None:
        """Find out where all folders are, and look at those of a selection."""
        for name, inbox in self.inboxes.items():
            paths = {folder: SpoolFolders.of(inbox).path_of(folder) for folder in Folder}
            self.spools[name] = {
                folder: str(path) if name in selection.but else self._real(path) for folder, path in paths.items()
            }
        looked_at = {root for name in self.inboxes if name not in selection.but for root in self._roots(name)}
        self.away = {root for name in selection.but & self.inboxes.keys() for root in self._roots(name)} - looked_at
        for name in self.chosen(selection):
            for folder, root in self.spools[name].items():
                if root in self.away:
                    continue
                self._look_at_folder(name, folder, root)

    def _look_at_folder(self, name: str, folder: Folder, root: str) -> None:
        """Name a folder that is not there, does not answer, or is another one than was used."""
        bindings = Bindings(self._log, name, SpoolFolders.of(self.inboxes[name]))

        def trouble() -> str:
            if not is_there(folder, root):
                return "it is not there, or not ours"
            return bindings.trouble_of_bound(folder, is_ours=True) or ""

        try:
            whys = self.answered(root, (ask() for ask in (trouble,)))
        except OSError as error:
            whys = [error.strerror or str(error)]
        for why in filter(None, whys):
            self.lose(name, root, why)

    def look_again(self, job: Job, root: str) -> None:
        """See whether a folder where a file is missing went away since the balance began."""
        if job.inbox in self.spools:
            self._look_at_folder(job.inbox, job.folder, root)

    def _real(self, path: Path) -> str:
        """Return where a folder really is; if it does not answer, return its name and report it."""
        try:
            return next(iter(self.answered(str(path), map(os.path.realpath, [path]))), str(path))
        except OSError:
            return os.path.normpath(path)

    def _roots(self, name: str) -> Iterable[str]:
        return self.spools[name].values()

    def lose(self, inbox: str, root: str, why: str) -> None:
        """Name a folder that cannot be looked at, once; of its receipts nothing more is said than that."""
        if root not in self.away:
            self.away.add(root)
            self._sums.findings[Finding.UNREACHABLE] += 1
            self._sums.name(Disagreement(Finding.UNREACHABLE, inbox, display_name(root), detail=why))

    def places(self, job: Job) -> list[str]:
        """Return where a job's file may be: where it is by the log, then where it is being moved to."""
        places = self._below(job.inbox, job.folder, job.stored_path)
        if job.moving_to_folder is not None and job.moving_to_path is not None:
            places += self._below(job.inbox, job.moving_to_folder, job.moving_to_path)
        return places

    def places_of(self, claim: FileClaim) -> list[str]:
        """Return where the file of a claim may be."""
        return self._below(claim.inbox, claim.folder, claim.path)

    def _below(self, inbox: str, folder: Folder, path: Path) -> list[str]:
        """Return a path below a folder of an inbox; of one that is no longer configured, in every spool."""
        if inbox in self.spools:
            return [f"{self.spools[inbox][folder]}/{path}"]
        roots = dict.fromkeys(spool[folder] for spool in self.spools.values())
        return [f"{root}/{path}" for root in roots if root not in self.away]

    def path_of(self, job: Job) -> str:
        """Return where a job's file is by the log, as text."""
        if job.inbox in self.spools:
            return display_name(self.places(job)[0])
        return display_name(Path(job.folder, job.stored_path))

    def root_of(self, job: Job) -> str:
        """Return the folder that a job's file is in by the log; of an inbox that is not configured, its name."""
        return self.spools[job.inbox][job.folder] if job.inbox in self.spools else f"inbox {job.inbox}"

    def answered(self, root: str, steps: Iterable[Any]) -> list[Any]:
        """Return what steps on a folder yield.

        Raises:
            TimeoutError: the folder answers nothing.
        """
        return answering(ANSWER_SECONDS, steps, root, self._stopping)
