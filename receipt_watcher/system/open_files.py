"""Open files: whether a program writes to one, if the kernel can tell, and whether one has content on disk.

By a lease (fcntl(2), F_SETLEASE): a read lease is refused with EAGAIN while any descriptor may write. Measured: it
said so during every upload by smbd, vsftpd, proftpd, sftp and rsync. It needs the file's owner or CAP_LEASE, and knows
nothing of writers on another machine. The lease is given back at once: held, it makes whoever opens the file wait.

Any thread may call it; nothing is kept, so a crash leaves nothing behind.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from enum import Enum
from pathlib import Path

from receipt_watcher.system.disk import PLAINLY


class Writers(Enum):
    """Knowledge about the writers of a file; the value says what it means for an inbox."""

    NONE = "files that a program has open are noticed"
    SOME = "a file is open right now"
    NOT_OURS = "who has a file of another user open cannot be told (AmbientCapabilities=CAP_LEASE would)"
    UNKNOWN = "who has a file open cannot be told on this file system"


def writers_of(path: Path) -> Writers:
    """Return whether somebody on this machine has the file open for writing.

    Raises:
        OSError: it is gone, or may not be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | PLAINLY)
    try:
        # SIGIO, which tells a holder that its lease is in the way, would end the process; SIGURG is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return Writers.SOME
        return Writers.NOT_OURS if error.errno in (errno.EACCES, errno.EPERM) else Writers.UNKNOWN
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return Writers.NONE
    finally:
        os.close(descriptor)


def writers_or_not_ours(path: Path) -> Writers:
    """Return the same; `Writers.NOT_OURS` of a file that may not be opened.

    Raises:
        OSError: it is gone.
    """
    try:
        return writers_of(path)
    except PermissionError:
        return Writers.NOT_OURS


def is_all_hole(path: Path) -> bool:
    """Return whether a file has no content on this disk, whatever its size (lseek(2), SEEK_DATA).

    Raises:
        OSError: it is gone, or may not be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | PLAINLY)
    try:
        os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        return error.errno == errno.ENXIO
    else:
        return False
    finally:
        os.close(descriptor)


def programs_with(path: Path) -> list[str]:
    """Return the programs that have a file open for writing, each by name and process id, as far as we may know.

    By /proc/PID/fd and fdinfo (proc(5)): of other users' processes only root may look.
    """
    try:
        wanted = path.stat()
    except OSError:
        return []
    processes = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [name for process in processes if (name := _writer(process, (wanted.st_dev, wanted.st_ino))) is not None]


def _writer(process: int, wanted: tuple[int, int]) -> str | None:
    """Return the name of a process if it has this file open for writing; None also if we may not look."""
    root = Path("/proc") / str(process)
    try:
        names = [entry.name for entry in (root / "fd").iterdir()]
        program = (root / "comm").read_text("utf-8", "backslashreplace").strip()
    except OSError:
        return None
    return f"{program} (process {process})" if any(_writes(root, name, wanted) for name in names) else None


def _writes(root: Path, name: str, wanted: tuple[int, int]) -> bool:
    try:
        status = (root / "fd" / name).stat()
        if (status.st_dev, status.st_ino) != wanted:
            return False
        lines = (root / "fdinfo" / name).read_text("ascii").splitlines()
    except OSError:
        return False  # it was closed meanwhile
    flags = next((line.split()[1] for line in lines if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
