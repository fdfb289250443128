"""Moves, flushes and names on disk: the primitives under the spool, each safe against a crash in its middle.

What it promises: nothing is ever replaced; within one file system a move is one rename; across file systems it
is copy under a temporary name, flush, rename, flush the folder, and only then remove the original. A crash leaves
the file under its old name, its new name, or (across file systems, or where a link stands in for the rename) both,
whole; `is_leftover` recognises the latter. Where the name can only be reserved, it may leave an empty file there;
`is_reserved` recognises that.

Any thread may call it, but never two threads for one file. A rename is durable once `flush_folder` was called on
the target's folder; that is the caller's, so that many moves share one flush.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from receipt_watcher.errors import FileVanishedError
from receipt_watcher.system.display import MEBIBYTE, display_name

#: A copy that is not whole yet ends in this; it may be removed, since its original is still there.
PARTIAL_SUFFIX = ".receipt-watcher-partial"


#: Flags to open files of others with: follow no link, and do not wait for the writer of a pipe.
PLAINLY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

#: Errors on one file that concern its whole share. A call that FUSE's server left open when it ended is «aborted».
SHARE_IS_GONE = frozenset({errno.ENOTCONN, errno.ECONNABORTED, errno.ESTALE, errno.EHOSTDOWN, errno.ETIMEDOUT})

#: The disk, or what a quota grants of it, is full.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

#: Errors of one move that concern all moves of its spool: also a full disk, or a share that became read-only.
TROUBLE_OF_ALL = SHARE_IS_GONE | NO_ROOM | {errno.EROFS}

_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100  # linux/fcntl.h
_COPY_PIECE_BYTES = 1 << 20
_DIGEST_PIECE_BYTES = 256 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


def is_there(path: Path) -> bool:
    """Return whether something has this name; raise OSError if the disk cannot tell (`os.path.lexists` says no)."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def make_folders(path: Path) -> None:
    """Create a folder with its missing parents, each durable in the one above it."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)


def flush_folder(path: Path) -> None:
    """Make the names in a folder durable; file systems that cannot (EINVAL on some FUSE mounts) are let be."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def make_private_file(path: Path) -> None:
    """Make an empty file that only its owner may read, whatever the umask is.

    Raises:
        OSError: it is there already, or cannot be made.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def open_plainly(path: Path) -> BinaryIO:
    """Open a file to read it: no link is followed, and a pipe that took its place does not make us wait for ever.

    Raises:
        OSError: it is gone, is a link, or may not be read.
    """
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | PLAINLY))


def flush_file(path: Path) -> None:
    """Make a file's content durable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | PLAINLY)
    except PermissionError:
        return  # examination will say so; what we cannot read we cannot flush either
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_file(source: Path, target: Path) -> None:
    """Move a file to a name that is free, in a folder that exists; never replace anything.

    Raises:
        FileExistsError: the name is taken.
        FileVanishedError: the original changed while it was copied across file systems; it stays as it is. Or another
            program took it.
    """
    try:
        _rename_no_replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _move_across(source, target)


def _rename_no_replace(source: Path, target: Path) -> None:
    """Rename atomically and exclusively: renameat2(2), else link and unlink, else a reserved name.

    renameat2 gives EINVAL on 9p and FUSE; link gives EPERM on vfat, exfat and for other users' files.
    """
    if _renameat2(source, target):
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES):
            raise
    else:
        _remove_old_name(source, target)
        return
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        source.rename(target)
    except BaseException:
        # Our own placeholder is empty; a share may also report an error for a rename that it did.
        with contextlib.suppress(OSError):
            if os.lstat(target).st_size == 0:
                target.unlink()
        raise


def _remove_old_name(source: Path, target: Path) -> None:
    """Remove the name that the file had; where that is refused, take the new one back, or each try would add one.

    Raises:
        FileVanishedError: another program gave it a name by a link as well, and was faster: it is theirs.
    """
    try:
        source.unlink()
    except FileNotFoundError:
        if os.lstat(target).st_nlink > 1:
            target.unlink()
            raise FileVanishedError(f"{display_name(source)} was taken by another program") from None
        return  # somebody else removed it; the file is safe under its new name
    except OSError:
        if is_there(source):
            target.unlink()
        raise


def _renameat2(source: Path, target: Path) -> bool:
    """Try renameat2(2) with RENAME_NOREPLACE; return False where this system or file system has it not."""
    try:
        call = _libc.renameat2
    except AttributeError:
        return False
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))


def _move_across(source: Path, target: Path) -> None:
    """Copy, flush, rename, flush the folder; only then remove the original, if it is still what was copied."""
    with source.open("rb") as reader:
        _lock_out_others(reader, source)
        before = os.fstat(reader.fileno())  # of what is copied, whatever has its name by now
        remove_copy(source, target)
        partial = _partial_of(source, target)
        try:
            _copy(reader, source, partial)
            after = os.lstat(source)
            if _signature(before) != _signature(after):
                raise FileVanishedError(f"{display_name(source)} changed while it was copied")
            _rename_no_replace(partial, target)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
        flush_folder(target.parent)
        flush_folder(target.parent.parent)
        _remove_old_name(source, target)
    flush_folder(source.parent)


def _lock_out_others(reader: BinaryIO, source: Path) -> None:
    """Lock a file until it is closed: of two daemons that take from one inbox, only one may copy it.

    Raises:
        OSError: EBUSY; somebody has locked it.
    """
    try:
        fcntl.flock(reader, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(source)) from error
    except OSError:
        return  # this mount knows no locks, or wants to have the file open for writing


def is_partial(name: str) -> bool:
    """Return whether a name is one that we give to an unfinished copy; a receipt that only ends so is somebody's."""
    return re.fullmatch(rf"\.[0-9a-f]+{re.escape(PARTIAL_SUFFIX)}", name) is not None


def _partial_of(source: Path, target: Path) -> Path:
    """Return the name of an unfinished copy: one per move, so that the move that is done again replaces it."""
    move = hashlib.sha256(os.fsencode(source) + b"\0" + os.fsencode(target)).hexdigest()
    return target.with_name(f".{move[:32]}{PARTIAL_SUFFIX}")


def _copy(reader: BinaryIO, source: Path, target: Path) -> None:
    try:
        with target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_PIECE_BYTES)
            writer.flush()
            shutil.copystat(source, target)
            os.fsync(writer.fileno())
    except OSError as error:
        if error.errno in NO_ROOM and error.filename is None:  # write(2) and fsync(2) know no name
            error.filename = str(target)
        raise


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def is_leftover(source: Path, target: Path) -> bool:
    """Return whether both names are one interrupted move of ours: one inode, or a whole copy.

    A copy bears the original's time, by which it is told on one device: two bind mounts of it need copies as well.
    """
    left, right = os.lstat(source), os.lstat(target)
    if (left.st_dev, left.st_ino) == (right.st_dev, right.st_ino):
        return True
    return (
        (left.st_dev != right.st_dev or left.st_mtime_ns == right.st_mtime_ns)
        and stat.S_ISREG(left.st_mode)
        and stat.S_ISREG(right.st_mode)
        and left.st_size == right.st_size
        and digest_of(source) == digest_of(target)
    )


def is_reserved(source: Path, target: Path) -> bool:
    """Return whether a move of ours has only reserved its new name: an empty file is there, and the file is not."""
    status = os.lstat(target)
    return stat.S_ISREG(status.st_mode) and status.st_size == 0 < os.lstat(source).st_size


def remove_copy(source: Path, target: Path) -> None:
    """Remove what is left of an interrupted move's copy under its temporary name, if anything is."""
    partial = _partial_of(source, target)
    if is_there(partial):
        partial.unlink()


def free_bytes(folder: Path) -> int | None:
    """Return how many bytes are free for us on the disk of a folder, 0 if it can hold no more files.

    None: it does not say, as some network file systems do.

    Raises:
        OSError: the folder is away, or its disk gives an error.
    """
    status = os.statvfs(folder)
    if status.f_files and not status.f_favail:
        return 0
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def trouble_of_disk(folder: Path, min_free_mb: float) -> str | None:
    """Return what is wrong with the disk of a folder, or None, as for a folder that is missing."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    if status.f_flag & os.ST_RDONLY:
        return f"the disk of {folder} is read-only; see dmesg, and mount it for writing"
    free_mb = status.f_bavail * status.f_frsize / MEBIBYTE
    if status.f_blocks and free_mb < min_free_mb:  # some network file systems know no sizes, and say 0
        return f"{free_mb:.0f} MB are free for {folder}, less than limits.min_free_mb ({min_free_mb:g}); make room"
    return None


def no_room_text(folder: Path, error: OSError, name: str, size: int) -> str:
    """Return the text for a folder whose disk, or quota (EDQUOT), has no room for a file of `size` bytes."""
    needs = f"{folder}: {error.strerror}: {name} needs {size / 1e6:,.1f} MB"
    if error.errno == errno.EDQUOT:
        return f"{needs}; make room there, or raise the quota of the service's user"
    try:
        free = free_bytes(folder)
    except OSError:
        free = None
    return f"{needs}{'' if free is None else f', {free / 1e6:,.1f} MB are free'}; make room there"


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return digest_of_open(file)


def digest_of_open(file: BinaryIO) -> str:
    """Return the SHA-256 of an open file in hex."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a BinaryIO reads into, too


def read_digest(descriptor: int, most_bytes: int) -> tuple[int, str | None]:
    """Return an open file's size and its SHA-256 in hex, None where it is larger than `most_bytes`.

    Whoever shares the descriptor may read meanwhile: its position is neither used nor moved.

    Raises:
        OSError: the disk does not give it.
    """
    size = os.fstat(descriptor).st_size
    if size > most_bytes:
        return size, None
    digest, position = hashlib.sha256(), 0
    while piece := os.pread(descriptor, _DIGEST_PIECE_BYTES, position):
        digest.update(piece)
        position += len(piece)
    return position, digest.hexdigest()


def beginnings(path: Path, lengths: Iterable[int]) -> dict[int, str]:
    """Return the SHA-256 in hex of the first so many bytes of a file, for each length that it has.

    Raises:
        OSError: it cannot be read.
    """
    digest, position = hashlib.sha256(), 0
    digests: dict[int, str] = {}
    with open_plainly(path) as file:
        for length in sorted(set(lengths)):
            while position < length:
                piece = file.read(min(_DIGEST_PIECE_BYTES, length - position))
                if not piece:
                    return digests
                digest.update(piece)
                position += len(piece)
            digests[length] = digest.hexdigest()
    return digests
