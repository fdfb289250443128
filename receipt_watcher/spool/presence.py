"""Whether the folders of a spool are still those that were opened: after an unmount others are in their place.

What it promises: a folder that is away is never taken for an empty one, so no receipt fails for it, and nothing is
written in its place. A file is missing only if its folder is there.

Any thread may ask. Nothing is kept on disk: see `identity.bindings` for what a restart knows.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from receipt_watcher.errors import SpoolError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.spool.identity.owner import OWNER_NAME
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system import disk
from receipt_watcher.system.folder_identity import invents_inodes
from receipt_watcher.system.mounts import mount_of


class SpoolPresence:
    """The folders of one spool, as they were opened and as they are now."""

    def __init__(self, folders: SpoolFolders) -> None:
        self._folders = folders
        self._opened: dict[Path, tuple[int, int]] = {}  # device and inode of each folder, as it was opened
        self.asked: Path | None = None  # the folder that is looked at now, and may not answer

    def note_opened(self) -> None:
        """Remember which folders these are.

        Raises:
            OSError: one of them cannot be looked at.
        """
        self._opened = {path: _device_and_inode(path) for path in self._folders.all}

    def check(self) -> None:
        """See that processing/, done/ and failed/ are the folders that were opened: after an unmount they are not.

        Raises:
            SpoolError: one is away; the text names it. Nothing may be written there, and no receipt has failed.
        """
        for folder in map(self._folders.path_of, Folder):
            self.asked = folder
            self._check_folder(folder)
        self.asked = None
        processing = self._folders.processing
        if not os.path.isfile(processing / OWNER_NAME):  # noqa: PTH113 - false, too, for a dead mount
            raise SpoolError(
                f"{processing} has no {OWNER_NAME} any more: was it emptied, or its disk or share unmounted?",
                processing,
            )

    def is_complete(self) -> bool:
        """Return whether `check` has nothing to say."""
        try:
            self.check()
        except SpoolError:
            return False
        return True

    def is_inbox_there(self) -> bool:
        """Return whether nothing else is in the inbox's place: there nothing may be written.

        One that is gone, or that its disk does not give, refuses what is written itself, in words for the log.
        """
        path = self._folders.inbox
        try:
            self._check_same(path, _device_and_inode(path))
        except SpoolError:
            return False
        except OSError:
            return True
        return True

    def is_missing(self, path: Path) -> bool:
        """Return whether a file is certainly gone: its folder is present, before and after the look."""
        return self.is_complete() and not disk.is_there(path) and self.is_complete()

    def _check_folder(self, path: Path) -> None:
        try:
            current = _device_and_inode(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                why = f"the folder {path} is not there; create it, or mount the share"
            else:
                why = f"the folder {path} cannot be used: {error.strerror or error}"
            raise SpoolError(why, path) from error
        self._check_same(path, current)

    def _check_same(self, path: Path, current: tuple[int, int]) -> None:
        opened = self._opened.get(path, current)
        if current == opened:
            return
        mount = mount_of(path)
        if current[0] != opened[0] or not invents_inodes(mount.file_system):
            raise SpoolError(
                f"{path} is another folder now, on {mount}: was its disk or share unmounted, or something "
                "mounted over it?",
                path,
            )


def _device_and_inode(path: Path) -> tuple[int, int]:
    status = os.stat(f"{path}/.")  # noqa: PTH116 - with the dot an automount happens, and a file is none
    return status.st_dev, status.st_ino
