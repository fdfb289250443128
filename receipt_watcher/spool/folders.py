"""Every move of a receipt on disk: inbox → processing → done or failed, and back on a retry.

What it promises: a file is in exactly one folder of its spool; nothing is ever overwritten or deleted; a move is
either wholly done or is to be done again. Moves are durable once `flush` or `flush_moves` returns, so that many
receipts share the flush of a folder.

Called by the inbox threads (`take`) and the filing thread (`move`), never by two threads for one file. A crash
leaves the file under its old name, its new name, or (see `disk`) both, whole; `move` called again
with the same two paths finishes the move in each case.

No folder is made or written to in the place of one that is away: see `presence`, and `identity.bindings`.

The folder processing/ carries `.owner`: the installation it belongs to, and the daemon that has it open; see `owner`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from receipt_watcher.errors import FileVanishedError, SpoolError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.spool.identity.owner import OWNER_NAME, Owner
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.presence import SpoolPresence
from receipt_watcher.spool.processing import Processing
from receipt_watcher.system import disk
from receipt_watcher.system.display import display_name, numbered_name
from receipt_watcher.system.permissions import refusal_and


class Spool:
    """The family of folders of one inbox; all its moves."""

    def __init__(self, name: str, folders: SpoolFolders, take_over: str = "") -> None:
        """Begin with a spool that is not open; `take_over` is the command that makes a foreign one ours."""
        self.name = name
        self.folders = folders
        self.take_over = take_over or f"receipt-watcher take-over {name}"
        self.owner = Owner(folders.processing / OWNER_NAME, self.take_over)
        self.presence = SpoolPresence(folders)
        self.processing = Processing(folders)

    # --- opening -----------------------------------------------------------------------------------------------

    def open(self, installation_id: str, *, take_over: bool = False) -> bool:
        """Make the folders usable for this installation, or say why not.

        Return whether another daemon, which did not answer, may have been at work here until now.

        1. The inbox must be there: a share that is not mounted is no empty inbox.
        2. Missing siblings are created, but only inside folders that exist. One that was used before must not be
           missing: see `identity.bindings`, which are asked first.
        3. processing/.owner is written, or must name us; `take_over` replaces a foreign name.
        4. It names our process, and stays locked (flock), until `close`.

        Raises:
            SpoolError: a folder is not there or cannot be made.
            ForeignSpoolError: the spool belongs to another installation.
            LockedError: another daemon is using it right now.
        """
        self.close()  # a round that failed half-way may have left it open, and our own lock would keep us out
        self._check_inbox()
        for folder in Folder:
            self._make_folder(self.folders.path_of(folder))
        was_asked = self.owner.take(installation_id, take_over=take_over)
        self.presence.note_opened()
        return was_asked

    def _check_inbox(self) -> None:
        path = self.folders.inbox
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            if error.errno == errno.EIO:
                raise  # its disk fails: there is nothing to create, or to mount
            is_folder = False  # so it is, too, for a mount whose server is gone
        if not is_folder:
            raise SpoolError(f"the inbox {path} is not there; create the folder, or mount the share", path)

    def _make_folder(self, path: Path) -> None:
        try:
            if not path.is_dir():
                path.mkdir(exist_ok=True)
                disk.flush_folder(path.parent)
        except OSError as error:
            raise SpoolError(
                f"the folder {path} cannot be made: "
                + refusal_and("create it, owned by the service's user", error, path.parent),
                path,
            ) from error

    def close(self) -> None:
        """Give the spool back; harmless when called twice or before `open`.

        Another thread may still be at work: for it the folders stay those that were opened.
        """
        self.owner.release()

    # --- in ----------------------------------------------------------------------------------------------------

    def take(self, relative: Path, job_id: str) -> Path:
        """Move `relative` from the inbox to processing/<job_id>/ and return its path there; flush it later.

        Raises:
            FileVanishedError: it is gone, is no regular file, or was still changing.
            OSError: it cannot be moved; it is still in the inbox.
            SpoolError: a folder is away; it is not made again in its place.
        """
        source = self.folders.inbox / relative
        target = self.folders.processing / job_id / relative
        self.presence.check()
        try:
            self._check_regular(source)
            target.parent.mkdir(parents=True)
            disk.move_file(source, target)
            self._check_taken(source, target)
        except FileNotFoundError as error:
            self.processing.tidy(job_id)
            raise FileVanishedError(f"{display_name(source)} was taken away before it was moved") from error
        except (OSError, FileVanishedError):
            self.processing.tidy(job_id)
            raise
        return target

    def receive(self, source: Path, relative: Path, job_id: str) -> None:
        """Move a file of ours from elsewhere to processing/<job_id>/; flush it later.

        Raises:
            OSError: it cannot be moved; it is still where it was.
            SpoolError: a folder is away; it is not made again in its place.
        """
        target = self.folders.processing / job_id / relative
        self.presence.check()
        try:
            target.parent.mkdir(parents=True)
            disk.move_file(source, target)
        except (OSError, FileVanishedError):
            self.processing.tidy(job_id)
            raise

    def give_back(self, relative: Path, job_id: str) -> bool:
        """Move a file that was taken too early back into the inbox; False where its name is taken meanwhile.

        Then it stays in processing/<job_id>/, as an orphan, and nothing is overwritten.
        """
        source = self.folders.inbox / relative
        if not self.folders.inbox.is_dir() or not self.presence.is_inbox_there():
            return False
        try:
            if not source.parent.is_dir():
                disk.make_folders(source.parent)
            disk.move_file(self.folders.processing / job_id / relative, source)
        except OSError:
            return False
        self.processing.tidy(job_id)
        return True

    def _check_taken(self, source: Path, target: Path) -> None:
        """Give back what took the file's place just before it was moved: a link would lead out of the spool."""
        try:
            self._check_regular(target)
        except FileVanishedError:
            disk.move_file(target, source)
            raise

    def _check_regular(self, path: Path) -> None:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise FileVanishedError(f"{display_name(path)} is no regular file any more")

    def flush(self, paths: Collection[Path]) -> None:
        """Make files in processing/, and every folder that names them, durable (fsync, see fsync(2), NOTES)."""
        folders: set[Path] = set()
        for path in paths:
            disk.flush_file(path)
            folders.update(self._folders_naming(path))
        for folder in sorted(folders, reverse=True):  # the innermost first; processing/ itself last
            disk.flush_folder(folder)

    def _folders_naming(self, path: Path) -> Iterator[Path]:
        for parent in path.parents:
            yield parent
            if parent == self.folders.processing:
                return

    # --- out ---------------------------------------------------------------------------------------------------

    def free_path(self, folder: Folder, wanted: Path, taken: set[Path]) -> Path:
        """Return `wanted`, or `<stem> (2)<suffix>` and so on, that is free in `folder` and not in `taken`.

        Paths are relative to the folder.
        """
        root = self.folders.path_of(folder)
        wanted = self._free_folder(root, wanted.parent) / wanted.name
        number = 1
        while True:
            candidate = wanted.with_name(numbered_name(wanted.name, number))
            if candidate not in taken and not disk.is_there(root / candidate):
                return candidate
            number += 1

    def _free_folder(self, root: Path, wanted: Path) -> Path:
        """Return `wanted`, each folder numbered in whose place a file stands."""
        free = Path()
        for name in wanted.parts:
            number = 1
            while disk.is_there(place := root / free / numbered_name(name, number)) and not place.is_dir():
                number += 1
            free /= place.name
        return free

    def move(self, source: Path, folder: Folder, path: Path) -> None:
        """Move `source` to `path` below a folder, or finish such a move that a crash interrupted.

        Raises:
            FileVanishedError: it is in neither place.
            FileExistsError: the name is somebody else's file; choose another.
            SpoolError: a folder is away; its subfolders are not made again in its place.
            OSError: the disk does not give or take it; where the file is, it is whole.
        """
        root = self.folders.path_of(folder)
        target = root / path
        if source == target:
            return  # else it would be taken for the leftover of a move, and removed
        self.presence.check()
        if not disk.is_there(source):
            if disk.is_there(target):
                return
            self.presence.check()
            raise FileVanishedError(f"{display_name(source)} is not there any more")
        if disk.is_there(target):
            if not disk.is_reserved(source, target):
                self._finish_move(source, target)
                return
            target.unlink()  # where the log says that the file is being moved to, nobody else keeps an empty one
        disk.make_folders(target.parent)
        disk.move_file(source, target)

    def _finish_move(self, source: Path, target: Path) -> None:
        if not disk.is_leftover(source, target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        disk.remove_copy(source, target)  # where it was linked to its new name
        disk.flush_folder(target.parent)
        source.unlink()

    def flush_moves(self, targets: Collection[Path]) -> None:
        """Make the names that `move` gave durable, each folder once."""
        for folder in {target.parent for target in targets}:
            disk.flush_folder(folder)
