"""File systems that refuse, crash, cannot rename or do not tell, and a record of flushes."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from receipt_watcher.system import disk
from tests.fakes.unprivileged import ordinary_permissions

CONTENT = b"%PDF-1.7 a receipt" * 1000


class Crash(BaseException):
    """The process ends here."""


def crash(*_: object, **__: object) -> NoReturn:
    """End the process."""
    raise Crash


def refusing(number: int) -> Callable[..., NoReturn]:
    """Return a call that the system refuses with this error number."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return refuse


@contextlib.contextmanager
def another_file_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder to which no rename from `folder` leads: on another file system, or behind a bind mount's EXDEV."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and memory.stat().st_dev != folder.stat().st_dev:
        with tempfile.TemporaryDirectory(dir=memory) as name:
            yield Path(name)
    else:
        with behind_a_bind_mount(folder, monkeypatch) as other:
            yield other


@contextlib.contextmanager
def behind_a_bind_mount(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a folder of the same file system to which no rename leads: so it is with two bind mounts of one."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        monkeypatch.setattr(disk, "_renameat2", _with_a_border(Path(name), disk._renameat2))
        monkeypatch.setattr(os, "link", _with_a_border(Path(name), os.link))
        yield Path(name)


def _with_a_border(other: Path, call: Callable[..., Any]) -> Callable[..., Any]:
    def across(source: Path, target: Path, **options: Any) -> Any:
        if source.is_relative_to(other) != target.is_relative_to(other):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return call(source, target, **options)

    return across


def record_flushes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that each flushed file and folder is added to, in order."""
    flushed: list[Path] = []
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", flush)
    return flushed


#: A call that would never return is ended soon.
AT_ONCE = pytest.mark.timeout(10)


def only_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as sshfs does."""
    monkeypatch.setattr(disk, "_renameat2", lambda *_: False)


def neither_renameat2_nor_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as an rclone mount does."""
    only_links(monkeypatch)
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))


@contextlib.contextmanager
def shut(folder: Path) -> Iterator[Path]:
    """A file in a folder that we may not search."""
    (folder / "shut").mkdir()
    (folder / "shut" / "file").touch()
    (folder / "shut").chmod(0)
    with ordinary_permissions():
        yield folder / "shut" / "file"
    (folder / "shut").chmod(0o700)


@contextlib.contextmanager
def endless(folder: Path) -> Iterator[Path]:
    """A file behind links that lead to each other."""
    (folder / "link").symlink_to("link")
    yield folder / "link" / "file"


@contextlib.contextmanager
def too_long(folder: Path) -> Iterator[Path]:
    """A name that no file system takes."""
    yield folder / ("x" * 300)


@contextlib.contextmanager
def broken(folder: Path) -> Iterator[Path]:
    """A file on a disk that answers with an I/O error."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(os, "lstat", refusing(errno.EIO))
        yield folder / "file"


#: Ways in which a disk does not tell whether a file is there, with the system's word for it.
UNTOLD = [(shut, errno.EACCES), (endless, errno.ELOOP), (too_long, errno.ENAMETOOLONG), (broken, errno.EIO)]
