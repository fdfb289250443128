"""The file of the job log and those that SQLite keeps beside it: which they are, and who may read them.

What it promises: a file that was deleted or replaced while it was open is told from the one that was opened.

Called by whoever has the log's connection to itself. Nothing is kept on disk.
"""

from __future__ import annotations

import contextlib
import stat
from enum import Enum
from pathlib import Path

from receipt_watcher.system.disk import make_private_file

_PRIVATE_MODE = 0o600


class Presence(Enum):
    """The files that were opened, and what became of them."""

    THERE = "there"
    GONE = "gone"
    REPLACED = "replaced"
    UNKNOWN = "unknown"  # the disk does not tell


class LogFiles:
    """The files of one job log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
        self._identity: dict[Path, tuple[int, int]] = {}

    def forget(self) -> None:
        """Take note of what is there anew, with the next look."""
        self._identity = {}

    def presence(self) -> Presence:
        """Return whether the files are those that were there at the first look; a new one is noted."""
        try:
            now = {path: _identity_of(path) for path in (self.path, *self.beside)}
        except OSError:
            return Presence.UNKNOWN
        for path, identity in now.items():
            if identity is not None:
                self._identity.setdefault(path, identity)
        gone = [path for path, identity in self._identity.items() if now[path] != identity]
        if self.path in gone and now[self.path] is not None:
            return Presence.REPLACED
        return Presence.GONE if gone else Presence.THERE

    def give_way(self) -> None:
        """Remove what is ours beside a file that is not: SQLite would play our -wal back into it.

        See sqlite.org/howtocorrupt.html.
        """
        for path in self.beside:
            with contextlib.suppress(OSError):
                identity = _identity_of(path)
                if identity is not None and identity == self._identity.get(path):
                    path.unlink()

    def make_private(self) -> None:
        """Let nobody else read it: SQLite gives -wal and -shm the mode of the file.

        A file that all may read was made so by an older version. Another mode, such as one for a group, is an admin's.
        """
        with contextlib.suppress(OSError):  # what opens it next says why it cannot be used
            if not self.path.exists():
                make_private_file(self.path)
            for path in (self.path, *self.beside):
                if path.exists() and path.stat().st_mode & stat.S_IRWXO:
                    path.chmod(_PRIVATE_MODE)


def _identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name; None where there is none.

    Raises:
        OSError: the disk does not tell.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
