"""List the folders of a spool: everything below them, and what tells one file from another.

What it promises: no link is followed, nothing is opened but ordinary files, nothing is written. Whatever is asked may
hang as long as the file system does, so the balance asks step by step, in a thread of its own (see `timelimit`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.spool.reason_file import NOTE_SUFFIX, is_note
from receipt_watcher.system.disk import PARTIAL_SUFFIX, open_plainly

_PIECE_BYTES = 1 << 20


def is_there(folder: Folder, root: str) -> bool:
    """Whether a folder is there; processing/ only with our mark in it: after an unmount an empty one remains."""
    return Path(root, ".owner").is_file() if folder is Folder.PROCESSING else Path(root).is_dir()


def stat_of(path: str) -> os.stat_result | None:
    """Return what the system knows of a file; None where it is not there."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def difference(status: os.stat_result, job: Job) -> str:
    """Return what is other than recorded, as far as can be told without reading; "" for nothing."""
    if not stat.S_ISREG(status.st_mode):
        return "it is no ordinary file any more"
    return "" if status.st_size == job.size else f"it has {status.st_size} bytes, not {job.size}"


def hashing(path: str) -> Generator[None, None, str]:
    """Return the SHA-256 of a file in hex, yielding None after each piece."""
    digest = hashlib.sha256()
    with open_plainly(Path(path)) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            yield None
    return digest.hexdigest()


def digests(paths: Iterable[str]) -> Iterator[tuple[str, tuple[str, str]] | None]:
    """Yield each file that is still there, with its digest ("" where there is none) and what kept it from being read.

    None after each piece of one that is read, as a sign of life.
    """
    for path in paths:
        status = stat_of(path)
        if status is None:
            continue
        if not stat.S_ISREG(status.st_mode):
            yield path, ("", "it is no ordinary file")
            continue
        try:
            yield path, ((yield from hashing(path)), "")
        except FileNotFoundError:
            continue
        except OSError as error:
            yield path, ("", error.strerror or str(error))


def files_below(root: str, folder: Folder, shut: list[OSError]) -> Iterator[str]:
    """Yield everything below a folder that is no folder and not ours; put what cannot be read of it into `shut`.

    Raises:
        OSError: the folder itself cannot be read.
    """
    try:
        entries = os.scandir(root)
    except (FileNotFoundError, NotADirectoryError):
        return  # removed meanwhile
    with entries:
        for entry in entries:  # one by one: in processing/ there is a folder for each receipt that waits
            if entry.is_dir(follow_symlinks=False):
                yield from _files_in([entry.path], folder, shut)
            elif not _is_ours(entry, folder):
                yield entry.path


def _files_in(folders: list[str], folder: Folder, shut: list[OSError]) -> Iterator[str]:
    while folders:
        try:
            entries = os.scandir(folders.pop())
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed meanwhile
        except OSError as error:
            shut.append(error)
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not _is_ours(entry, folder):
                    yield entry.path


def _is_ours(entry: os.DirEntry[str], folder: Folder) -> bool:
    """Whether it is a note, an unfinished copy, or our mark in processing/."""
    if entry.name.endswith(NOTE_SUFFIX):
        return entry.is_file(follow_symlinks=False) and is_note(Path(entry.path))
    return entry.name.endswith(PARTIAL_SUFFIX) or (folder is Folder.PROCESSING and entry.name == ".owner")
