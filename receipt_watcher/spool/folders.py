"""Every move of a receipt on disk: inbox → processing → done or failed, and back on a retry.

What it promises: a file is in exactly one folder of its spool; nothing is ever overwritten or deleted; a move is
either wholly done or is to be done again. Moves are durable once `flush` or `flush_moves` returns, so that many
receipts share the flush of a folder.

Called by the inbox threads (`take`) and the filing thread (`move`), never by two threads for one file. A crash
leaves the file under its old name, its new name, or (see `disk`) both, whole; `move` called again
with the same two paths finishes the move in each case.

No folder is made or written to in the place of one that is away: see `check_present`, and `bindings`.

The folder processing/ carries `.owner`: the installation it belongs to, and the daemon that has it open; see `owner`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.errors import FileVanishedError, SpoolError
from receipt_watcher.jobs.job import Folder, is_job_id
from receipt_watcher.spool.owner import Owner
from receipt_watcher.system import disk
from receipt_watcher.system.display import display_name, numbered_name
from receipt_watcher.system.folder_identity import invents_inodes
from receipt_watcher.system.mounts import mount_of
from receipt_watcher.system.permissions import refusal_and

#: So many folders of processing/ the job log is asked about at once.
_FOLDERS_AT_ONCE = 1000


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


class Spool:
    """The family of folders of one inbox; all its moves."""

    def __init__(self, name: str, folders: SpoolFolders, take_over: str = "") -> None:
        """Begin with a spool that is not open; `take_over` is the command that makes a foreign one ours."""
        self.name = name
        self.folders = folders
        self.take_over = take_over or f"receipt-watcher take-over {name}"
        self._owner = Owner(folders.processing / ".owner", self.take_over)
        self._opened: dict[Path, tuple[int, int]] = {}  # device and inode of each folder, as it was opened
        self.asked: Path | None = None  # the folder that is looked at now, and may not answer

    # --- opening -----------------------------------------------------------------------------------------------

    def open(self, installation_id: str, *, take_over: bool = False) -> bool:
        """Make the folders usable for this installation, or say why not.

        Return whether another daemon, which did not answer, may have been at work here until now.

        1. The inbox must be there: a share that is not mounted is no empty inbox.
        2. Missing siblings are created, but only inside folders that exist. One that was used before must not be
           missing: see `bindings`, which are asked first.
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
        was_asked = self._owner.take(installation_id, take_over=take_over)
        self._opened = {path: _device_and_inode(path) for path in self._all_folders()}
        return was_asked

    def _all_folders(self) -> list[Path]:
        return [self.folders.inbox, *map(self.folders.path_of, Folder)]

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

    def owner(self) -> str:
        """Return the installation that processing/.owner names; "" where it does not."""
        return self._owner.installation

    def counter(self) -> int:
        """Return the counter of the job log that was last in use here; 0 if none is known."""
        return self._owner.counter

    def keep_counter(self, counter: int) -> None:
        """Keep the counter of the job log in processing/.owner; see `owner`."""
        self._owner.keep_counter(counter)

    def check_owner(self) -> None:
        """See that no other daemon has taken the spool; see `owner`.

        Raises:
            OSError: processing/.owner cannot be read.
            ForeignSpoolError: one has.
        """
        self._owner.check()

    def close(self) -> None:
        """Give the spool back; harmless when called twice or before `open`.

        Another thread may still be at work: for it the folders stay those that were opened.
        """
        self._owner.release()

    # --- presence ----------------------------------------------------------------------------------------------

    def check_present(self) -> None:
        """See that processing/, done/ and failed/ are the folders that were opened: after an unmount they are not.

        Raises:
            SpoolError: one is away; the text names it. Nothing may be written there, and no receipt has failed.
        """
        for folder in map(self.folders.path_of, Folder):
            self.asked = folder
            self._check_folder(folder)
        self.asked = None
        if not os.path.isfile(self.folders.processing / ".owner"):  # noqa: PTH113 - false, too, for a dead mount
            raise SpoolError(
                f"{self.folders.processing} has no .owner any more: was it emptied, or its disk or share unmounted?",
                self.folders.processing,
            )

    def is_present(self) -> bool:
        """Whether `check_present` has nothing to say."""
        try:
            self.check_present()
        except SpoolError:
            return False
        return True

    def is_inbox_present(self) -> bool:
        """Whether nothing else is in the inbox's place: there nothing may be written.

        One that is gone, or that its disk does not give, refuses what is written itself, in words for the log.
        """
        path = self.folders.inbox
        try:
            self._check_same(path, _device_and_inode(path))
        except SpoolError:
            return False
        except OSError:
            return True
        return True

    def is_missing(self, path: Path) -> bool:
        """Whether a file is certainly not there: it is gone while its folder is present, before and after the look."""
        return self.is_present() and not disk.is_there(path) and self.is_present()

    def _check_folder(self, path: Path) -> None:
        try:
            found = _device_and_inode(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                why = f"the folder {path} is not there; create it, or mount the share"
            else:
                why = f"the folder {path} cannot be used: {error.strerror or error}"
            raise SpoolError(why, path) from error
        self._check_same(path, found)

    def _check_same(self, path: Path, found: tuple[int, int]) -> None:
        opened = self._opened.get(path, found)
        if found == opened:
            return
        mount = mount_of(path)
        if found[0] != opened[0] or not invents_inodes(mount.file_system):
            raise SpoolError(
                f"{path} is another folder now, on {mount}: was its disk or share unmounted, or something "
                "mounted over it?",
                path,
            )

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
        self.check_present()
        try:
            self._check_regular(source)
            target.parent.mkdir(parents=True)
            disk.move_file(source, target)
            self._check_taken(source, target)
        except FileNotFoundError as error:
            self.tidy(job_id)
            raise FileVanishedError(f"{display_name(source)} was taken away before it was moved") from error
        except (OSError, FileVanishedError):
            self.tidy(job_id)
            raise
        return target

    def receive(self, source: Path, relative: Path, job_id: str) -> None:
        """Move a file of ours from elsewhere to processing/<job_id>/; flush it later.

        Raises:
            OSError: it cannot be moved; it is still where it was.
            SpoolError: a folder is away; it is not made again in its place.
        """
        target = self.folders.processing / job_id / relative
        self.check_present()
        try:
            target.parent.mkdir(parents=True)
            disk.move_file(source, target)
        except (OSError, FileVanishedError):
            self.tidy(job_id)
            raise

    def has_orphan(self, job_id: str) -> bool:
        """Whether something lies in the folder of a job that is not recorded; an empty one is removed."""
        self.tidy(job_id)
        return disk.is_there(self.folders.processing / job_id)

    def give_back(self, relative: Path, job_id: str) -> bool:
        """Move a file that was taken too early back into the inbox; False where its name is taken meanwhile.

        Then it stays in processing/<job_id>/, as an orphan, and nothing is overwritten.
        """
        source = self.folders.inbox / relative
        if not self.folders.inbox.is_dir() or not self.is_inbox_present():
            return False
        try:
            if not source.parent.is_dir():
                disk.make_folders(source.parent)
            disk.move_file(self.folders.processing / job_id / relative, source)
        except OSError:
            return False
        self.tidy(job_id)
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

    def flush(self, paths: Iterable[Path]) -> None:
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

    def orphans(self, unrecorded: Callable[[Collection[str]], Collection[str]]) -> Iterator[tuple[str, Path]]:
        """Yield (job id, path below the inbox) of each file in a processing/<job_id>/ that is `unrecorded`.

        That is asked of some folders at a time, by their names, and returns those that no job has its file in.

        What a crash left unfinished is removed on the way, its original being still in the inbox: parts of copies,
        and the empty placeholders of file systems that know neither renameat2 nor link. The other folders are not
        looked into: their files are recorded, and there may be very many.
        """
        for name in self._unrecorded_folders(unrecorded):
            entry = self.folders.processing / name
            for root, _, names in os.walk(entry):
                for name_below in names:
                    path = Path(root, name_below)
                    if disk.is_partial(name_below) or self._is_placeholder(path, path.relative_to(entry)):
                        path.unlink()
                    else:
                        yield name, path.relative_to(entry)
            self.tidy(name)

    def _unrecorded_folders(self, unrecorded: Callable[[Collection[str]], Collection[str]]) -> list[str]:
        found: list[str] = []
        with os.scandir(self.folders.processing) as entries:
            names = (entry.name for entry in entries if is_job_id(entry.name) and entry.is_dir())
            while some := list(itertools.islice(names, _FOLDERS_AT_ONCE)):
                found += unrecorded(some)
        return sorted(found)

    def _is_placeholder(self, path: Path, relative: Path) -> bool:
        original = self.folders.inbox / relative
        return path.stat().st_size == 0 and disk.is_there(original) and not path.samefile(original)

    def strangers(self) -> list[Path]:
        """Return what lies in processing/ and is not ours: nothing will ever move it, so somebody must be told."""
        with os.scandir(self.folders.processing) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name != ".owner" and not (entry.is_dir() and is_job_id(entry.name))
            ]
        return [self.folders.processing / name for name in sorted(names)]

    def drop_copied_original(self, job_id: str, relative: Path) -> bool:
        """Remove the inbox's original of an orphan that was copied or linked, whole, before a crash.

        Only where name, size, modification time and content are the same: then the copy in processing/ is the
        receipt and the original the leftover of an unfinished move. Return whether one was removed.
        """
        original = self.folders.inbox / relative
        copy = self.folders.processing / job_id / relative
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
        self.check_present()
        if not disk.is_there(source):
            if disk.is_there(target):
                return
            self.check_present()
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

    def flush_moves(self, targets: Iterable[Path]) -> None:
        """Make the names that `move` gave durable, each folder once."""
        for folder in {target.parent for target in targets}:
            disk.flush_folder(folder)

    def tidy(self, job_id: str) -> None:
        """Remove the empty folders of processing/<job_id>; anything that holds a file stays."""
        top = self.folders.processing / job_id
        for root, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(root).rmdir()


def _device_and_inode(path: Path) -> tuple[int, int]:
    status = os.stat(f"{path}/.")  # noqa: PTH116 - with the dot an automount happens, and a file is none
    return status.st_dev, status.st_ino
