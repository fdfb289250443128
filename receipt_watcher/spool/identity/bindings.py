"""Bindings: which place each folder of a spool is, as the job log remembers it.

Promise: once a folder of a spool has been used, another folder in its place is not taken for it: not the empty folder
under a mount point, not another disk, not a folder that somebody made after the first one was gone. Being away is a
state that ends by itself when the folder is back; it is never a verdict on a receipt.

1. Before the first receipt any place will do: a share may be mounted only after the first start.
2. The same folder through another mount is the same place. So is another folder of the same name on the same mount,
   which people make when they archive done/ or empty failed/; but processing/ must hold our .owner and its receipts.
3. Another file system of the same kind at the same mount point, or a spool that moved as a whole, is the same place if
   a file that the log says is there is found.
4. A job log of an older version knows no places. It binds done/ and failed/ when a file that it says is there is found.

Called by the thread of the inbox, which keeps what it finds, and by commands, which only look. A crash leaves the
place as it was known before.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from receipt_watcher.errors import SpoolError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.contents import difference, stat_of
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.display import display_name
from receipt_watcher.system.folder_identity import FolderPlace
from receipt_watcher.system.mounts import mount_of

#: So many of the newest files are looked for as proof. By taste: people archive the older ones first.
_SAMPLE_FILES = 50


@dataclass(frozen=True, slots=True)
class Binding:
    """The knowledge of one folder.

    `place` is None until a file has been found there. Only a file that was concluded before `unproven_since` proves
    that it is the folder of the log's receipts; None if that is proven, or the folder was new.
    """

    place: FolderPlace | None
    unproven_since: float | None
    is_used: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as the job log keeps it."""
        place = None if self.place is None else self.place.as_json()
        return {"place": place, "unproven_since": self.unproven_since, "is_used": self.is_used}


@dataclass(frozen=True, slots=True)
class InboxPlace:
    """The place of an inbox: its mount, its inode there, and whether the rest of its spool is on the same mount."""

    point: str
    file_system: str
    inode: int
    is_together: bool

    def is_same_folder(self, other: InboxPlace) -> bool:
        """Whether both are one folder, by its mount or, seen through another mount, by its inode."""
        return self.file_system == other.file_system and (self.point == other.point or self.inode == other.inode)


class Bindings:
    """The places of the folders of one inbox's spool."""

    def __init__(self, log: JobLog, inbox: str, folders: SpoolFolders) -> None:
        self._log = log
        self._inbox = inbox
        self._folders = folders
        self.asked: Path | None = None  # the folder that is looked at now, and may not answer

    def check(self, *, is_ours: bool, take_over: str) -> None:
        """See that all four folders are those that were used before; `take_over` is the command that accepts others.

        An inbox is the same place on the same kind of file system at the same mount point, even after a new
        mount: it holds nothing that the log knows of.

        Raises:
            OSError: a disk cannot tell.
            SpoolError: one is away.
        """
        before, now = self._known_inbox(), self._inbox_now()
        has_moved = False
        if before is not None and now is not None and now.point and not before.is_same_folder(now):
            has_moved = now.is_together and before.is_together and is_ours
            if not has_moved and self._log.lookups.has_jobs_of(self._inbox):
                raise SpoolError(
                    f"{self._folders.inbox} was on {before.file_system} at {before.point}, and what is there now is "
                    f"{mount_of(self._folders.inbox)}: is the share not mounted, or something mounted over it? If this "
                    f"is the inbox from now on, type: {take_over}",
                    self._folders.inbox,
                )
        for folder in Folder:
            self.asked = self._folders.path_of(folder)
            why = self.trouble(folder, is_ours=is_ours, has_moved=has_moved)
            if why is not None:
                accept = "" if "is not there;" in why else f" If it is the right folder from now on, type: {take_over}"
                raise SpoolError(why + accept, self._folders.path_of(folder))
        self.asked = None

    def _inbox_now(self) -> InboxPlace | None:
        inbox, processing = self._folders.inbox, self._folders.processing
        if not os.path.isdir(inbox):  # noqa: PTH112 - false, too, for a mount whose server is gone
            return None  # the spool says what to do
        mount = mount_of(inbox)
        above = next(folder for folder in (processing, *processing.parents) if folder.is_dir())
        return InboxPlace(mount.point, mount.file_system, inbox.stat().st_ino, mount == mount_of(above))

    def _known_inbox(self) -> InboxPlace | None:
        fact = self._log.facts.inbox_place.of(self._inbox).get()
        return None if fact is None else InboxPlace(**fact)

    def trouble(self, folder: Folder, *, is_ours: bool, has_moved: bool = False) -> str | None:
        """Return why a folder may not be used now, in words that name it, or None.

        `is_ours` says whether processing/.owner names this installation, `has_moved` whether the spool moved as a
        whole.

        Raises:
            OSError: its disk cannot tell.
        """
        before = self._known(self._folders.path_of(folder))
        if before is not None and before.place is not None:
            return self.trouble_of_bound(folder, is_ours=is_ours, has_moved=has_moved)
        if not self._is_used(folder, before):
            return None
        return self._trouble_of_unbound(folder, is_ours=is_ours)

    def trouble_of_bound(self, folder: Folder, *, is_ours: bool, has_moved: bool = False) -> str | None:
        """Return the same as `trouble`, but nothing of a folder whose place the log does not know."""
        path = self._folders.path_of(folder)
        before, now = self._known(path), FolderPlace.of(path)
        if before is None or before.place is None or not self._is_used(folder, before):
            return None
        if now is None:
            return _not_there(path)
        if self._is_accepted(folder, before, now, is_ours=is_ours, has_moved=has_moved):
            return None
        return (
            f"{path} was on {before.place}, and what is there now is another folder, on {now}: is its disk or share "
            "not mounted, or something mounted over it?"
        )

    def _trouble_of_unbound(self, folder: Folder, *, is_ours: bool) -> str | None:
        path = self._folders.path_of(folder)
        if FolderPlace.of(path) is None:
            return _not_there(path)
        if folder is not Folder.PROCESSING:
            return None
        if not is_ours and self._log.facts.spool_recovered.of(display_name(path)).get() is not None:
            return f"{path} has no .owner that names this installation: is its disk or share not mounted?"
        if self._proof(folder) is False:
            return f"none of the receipts that the job log has in {path} is there: is its disk or share not mounted?"
        return None

    def _is_accepted(
        self, folder: Folder, before: Binding, now: FolderPlace, *, is_ours: bool, has_moved: bool
    ) -> bool:
        place = before.place
        if place is None or place.is_same_folder(now):
            return True
        if folder is Folder.PROCESSING:
            may_be = is_ours and (has_moved or place.is_same_point(now))
            return may_be and self._proof(folder) is not False
        if place.is_same_mount(now):
            return True
        if before.unproven_since is not None and self._proof(folder, before.unproven_since):
            return True
        return (has_moved or place.is_same_point(now)) and bool(self._proof(folder))

    def store(self, now: float, *, is_taken_over: bool = False) -> None:
        """Remember where the folders are, once they have been checked and made; `now` in Unix seconds.

        Raises:
            OSError: a disk cannot tell.
        """
        inbox = self._inbox_now()
        if inbox is not None and inbox != self._known_inbox():
            self._log.facts.inbox_place.of(self._inbox).put(asdict(inbox))
        for folder in Folder:
            path = self._folders.path_of(folder)
            before = self._known(path)
            after = self._binding(folder, before, FolderPlace.of(path), now, is_taken_over=is_taken_over)
            if after != before:
                self._log.facts.folder_place.of(display_name(path)).put(after.as_json())

    def _binding(
        self, folder: Folder, before: Binding | None, place: FolderPlace | None, now: float, *, is_taken_over: bool
    ) -> Binding:
        is_used = self._is_used(folder, before)
        is_proven = before is not None and before.unproven_since is None
        if is_taken_over or not is_used or folder is Folder.PROCESSING or is_proven:
            return Binding(place, None, is_used)
        since = now if before is None else before.unproven_since
        if self._proof(folder, since):
            return Binding(place, None, is_used)
        return Binding(place if self._proof(folder) else None, since, is_used)

    def _is_used(self, folder: Folder, before: Binding | None) -> bool:
        if before is not None and before.is_used:
            return True
        if folder is Folder.PROCESSING:
            return self._log.lookups.has_jobs_of(self._inbox)
        return self._log.files.has_filed(self._inbox, folder)

    def _proof(self, folder: Folder, before: float | None = None) -> bool | None:
        """Whether one of the newest files that the log has in a folder is there; None if it has none.

        With `before`, in Unix seconds: of those that were concluded before that.
        """
        jobs = self._log.files.newest(self._inbox, folder, float("inf") if before is None else before, _SAMPLE_FILES)
        root = self._folders.path_of(folder)
        for job in jobs:
            status = stat_of(str(root / job.stored_path))
            if status is not None and (folder is Folder.PROCESSING or not difference(status, job)):
                return True  # in processing/ each name is given once, whatever became of the file
        return False if jobs else None

    def _known(self, path: Path) -> Binding | None:
        fields = self._log.facts.folder_place.of(display_name(path)).get()
        if fields is None:
            return None
        place = None if fields["place"] is None else FolderPlace.from_json(fields["place"])
        return Binding(place, fields["unproven_since"], fields["is_used"])


def _not_there(path: Path) -> str:
    return f"the folder {path} is not there; mount its disk or share, or create it if it was removed on purpose"
