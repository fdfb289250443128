"""Identities of folders: whether a path still leads to the folder that it led to before.

Promise: a folder is recognised by what its file system says of it (inode, time of birth, identifier of the file
system), not by its path. So the empty folder under a mount point, a folder mounted over and another disk at the same
mount point are told apart from the folder that was there. File systems that invent inode numbers (FUSE and others) are
recognised by mount point and source instead.

Any thread may call it. Nothing is written. A folder on a file system that answers nothing makes the caller wait.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from receipt_watcher.system.mounts import Mount, mount_of

#: File systems whose inode numbers are made up, and differ after a remount.
_INVENTED_INODES = frozenset({"drvfs", "fuse", "prl_fs", "vboxsf"})

_STATX_BTIME = 0x800  # linux/stat.h
_STATX_BYTES = 256
_BIRTH_OFFSET = 80  # stx_btime: seconds (s64), nanoseconds (u32)
_AT_EMPTY_PATH = 0x1000  # linux/fcntl.h

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Identity:
    """A folder as its file system knows it; `born_at_ns` and `file_system_id` are 0 if they are not known."""

    inode: int
    born_at_ns: int
    file_system_id: int


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """The place of a folder: its mount point, the file system and source of the mount, its root, and the folder."""

    point: str
    file_system: str
    source: str
    root: Identity
    folder: Identity

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the place of a folder, or None if no folder is there.

        Raises:
            OSError: the disk cannot tell, or the folder may not be opened.
        """
        try:
            folder = _identity_of(path)  # first: an automount happens now, if one does
            mount = mount_of(path)
            root = _identity_of(Path(mount.point), os.O_PATH) if mount.point else folder
        except (FileNotFoundError, NotADirectoryError):
            return None
        return cls(mount.point, mount.file_system, mount.source, root, folder)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return the place that `as_json` made this of."""
        return cls(**{**fields, "root": Identity(**fields["root"]), "folder": Identity(**fields["folder"])})

    def as_json(self) -> dict[str, Any]:
        """Return it as the job log and the state folder keep it."""
        return asdict(self)

    def is_same_folder(self, other: FolderPlace) -> bool:
        """Return whether both are one folder, be it seen through different mounts."""
        if self.file_system != other.file_system:
            return False
        if invents_inodes(self.file_system):
            return (self.point, self.source) == (other.point, other.source)
        return self._is_same(self.folder, other.folder, other)

    def is_same_in_another_namespace(self, other: FolderPlace) -> bool:
        """Return whether both are one folder, seen by two processes with their own mount points (mount_namespaces(7)).

        systemd's ReadWritePaths= makes such mount points. If the inodes are invented, only the source can be compared.
        """
        if invents_inodes(self.file_system):
            return (self.file_system, self.source) == (other.file_system, other.source)
        return self.is_same_folder(other)

    def is_same_mount(self, other: FolderPlace) -> bool:
        """Return whether both are on one mount, whatever became of the folder there."""
        if not self.is_same_point(other):
            return False
        return invents_inodes(self.file_system) or self._is_same(self.root, other.root, other)

    def is_same_point(self, other: FolderPlace) -> bool:
        """Return whether both are on a file system of the same kind at the same mount point; it may be another disk."""
        return (self.point, self.file_system) == (other.point, other.file_system)

    def __str__(self) -> str:
        return str(Mount(self.point, self.file_system))

    def _is_same(self, mine: Identity, theirs: Identity, other: FolderPlace) -> bool:
        if mine.inode != theirs.inode:
            return False
        if mine.born_at_ns and theirs.born_at_ns:
            return mine.born_at_ns == theirs.born_at_ns
        if mine.file_system_id and theirs.file_system_id:
            return mine.file_system_id == theirs.file_system_id
        return self.source == other.source


def invents_inodes(file_system: str) -> bool:
    """Return whether folders of a kind of file system cannot be recognised by their inodes."""
    return file_system in _INVENTED_INODES or file_system.startswith("fuse.")


def _identity_of(path: Path, access: int = os.O_RDONLY) -> Identity:
    """Return the identity of a folder; with O_PATH its mode bits need not let us read it."""
    descriptor = os.open(path, access | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inode, born_at_ns = os.fstat(descriptor).st_ino, _born_at_ns(descriptor)
        return Identity(inode, born_at_ns, os.fstatvfs(descriptor).f_fsid)
    finally:
        os.close(descriptor)


def _born_at_ns(descriptor: int) -> int:
    """Return when an open folder was made, by statx(2); 0 if the file system or the C library cannot tell."""
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    try:
        failed = _libc.statx(descriptor, b"", _AT_EMPTY_PATH, _STATX_BTIME, answer)
    except AttributeError:
        return 0
    (known,) = struct.unpack_from("=I", answer)
    if failed or not known & _STATX_BTIME:
        return 0
    seconds, nanoseconds = struct.unpack_from("=qI", answer, _BIRTH_OFFSET)
    return int(seconds * 10**9 + nanoseconds)
