"""List an inbox: which files are to be taken, and why the others are not.

What it promises: links are never followed, nothing is opened but what is named like one of our notes. The daemon's
scan, `status`, `check` and `explain` all read an inbox through here, so that they agree.

Whoever calls it may hang as long as the file system does; see `timelimit`. Nothing is written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.ignored import Ignored, Rule
from receipt_watcher.inbox.watching.settling import Signature
from receipt_watcher.spool import reason_file

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def signature(status: os.stat_result) -> Signature:
    """Return what tells one content of a file from the next."""
    return Signature(
        status.st_size, status.st_mtime_ns, status.st_ino, status.st_size > 0 and getattr(status, "st_blocks", 1) == 0
    )


class Listing:
    """Reads one inbox, and its subfolders where it is recursive."""

    def __init__(self, path: Path, ignored: Ignored, *, recursive: bool) -> None:
        self.path = path
        self._root = str(path)
        self._ignored = ignored
        self._recursive = recursive
        self.shut: dict[str, OSError] = {}  # the subfolders that the last `files` could not read
        self.folders: list[str] = []  # those that it read
        self.unfinished: dict[str, Signature] = {}  # the files that it passed over, and that may yet become receipts

    def files(self) -> Iterator[tuple[str, Signature]]:
        """Yield each file that is to be taken, below the inbox, with its signature.

        Raises:
            OSError: the inbox itself cannot be read. A subfolder that cannot is noted in `shut`.
        """
        shut: dict[str, OSError] = {}
        read: list[str] = []
        unfinished: dict[str, Signature] = {}
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                entries = os.scandir(f"{self._root}/{folder}")
            except OSError as error:
                if not folder:
                    raise
                if not isinstance(error, FileNotFoundError):  # that one was removed meanwhile
                    shut[folder.rstrip("/")] = error
                continue
            if folder:
                read.append(folder.rstrip("/"))
            with entries:
                for entry in entries:
                    relative = f"{folder}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        folders += self._folder_to_read(relative)
                    elif self._ignored.ignores(relative):
                        unfinished |= self._unfinished_at(entry, relative)
                    elif current := self._signature_of_entry(entry, relative):
                        yield relative, current
        self.shut, self.folders, self.unfinished = shut, read, unfinished

    def _folder_to_read(self, relative: str) -> list[str]:
        is_read = self._recursive and not self._ignored.ignores_folder(relative)
        return [f"{relative}/"] if is_read else []

    def _unfinished_at(self, entry: os.DirEntry[str], relative: str) -> dict[str, Signature]:
        """Return a file that is passed over and may yet become a receipt, with its signature; else nothing."""
        if relative not in self.unfinished and not self._ignored.is_unfinished(relative):
            return {}
        current = self._signature_of_entry(entry, relative)
        return {} if current is None else {relative: current}

    def _signature_of_entry(self, entry: os.DirEntry[str], relative: str) -> Signature | None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            return None
        return self._signature(status, relative)

    def _signature(self, status: os.stat_result, relative: str) -> Signature | None:
        if not stat.S_ISREG(status.st_mode) or self._is_note(relative):
            return None
        return signature(status)

    def _is_note(self, relative: str) -> bool:
        return relative.endswith(reason_file.NOTE_SUFFIX) and reason_file.is_note(self.path / relative)

    def signature_of(self, relative: str) -> Signature | None:
        """Return a file's signature; None where it is gone, is no regular file, or a note of ours."""
        try:
            return self._signature(os.lstat(f"{self._root}/{relative}"), relative)
        except OSError:
            return None

    def reads_folder(self, relative: str) -> bool:
        """Whether `files` looks into a subfolder."""
        parts = relative.split("/")
        above = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
        return self._recursive and not any(map(self._ignored.ignores_folder, above))

    def is_ignored(self, relative: str) -> bool:
        """Whether its name says that it is no receipt."""
        return self._ignored.ignores(relative)

    def rule_for(self, relative: str) -> Rule | None:
        """Return the rule by which its name says that it is no receipt."""
        return self._ignored.rule_for(relative)

    def why_never(self, relative: str, status: os.stat_result) -> tuple[WaitReason, str] | None:
        """Return why something that lies in the inbox is never taken; None where it is to be taken."""
        rule = self._ignored.rule_for(relative)
        if rule is not None:
            return WaitReason.IGNORED, f"the pattern {rule.pattern} of {rule.pack}"
        if not stat.S_ISREG(status.st_mode):
            return WaitReason.NO_FILE, f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}"
        if "/" in relative and not self._recursive:
            return WaitReason.SUBFOLDER, f"it lies in {relative.rpartition('/')[0]}"
        if self._is_note(relative):
            return WaitReason.NOTE, ""
        return None

    def everything(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield all that lies in the inbox and below, but for folders: also what is never taken.

        Raises:
            OSError: the inbox itself cannot be read.
        """
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                entries = os.scandir(f"{self._root}/{folder}")
            except OSError:
                if not folder:
                    raise
                continue
            with entries:
                for entry in entries:
                    relative = f"{folder}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        if not self._ignored.ignores_folder(relative):
                            folders.append(f"{relative}/")
                        continue
                    try:
                        yield relative, entry.stat(follow_symlinks=False)
                    except OSError:
                        continue


def listing_of(settings: Inbox) -> Listing:
    """Return how to read an inbox, by its settings."""
    return Listing(settings.path, Ignored(settings.ignore_packs, settings.ignore), recursive=settings.recursive)
