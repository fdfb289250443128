"""The mount table: on what kind of file system a path is, and whether events can be expected there."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: File systems where the other side's writes cause no event here (measured, or by their nature).
_POLLED = frozenset(
    {"9p", "afs", "ceph", "cifs", "drvfs", "fuse", "glusterfs", "lustre", "nfs", "nfs4", "prl_fs", "smb3", "smbfs"}
    | {"vboxsf", "virtiofs"}
)


def file_system_of(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the type of the file system that a path is on (proc_pid_mountinfo(5)); "" where that cannot be told."""
    try:
        lines = mountinfo.read_text("utf-8", "surrogateescape").split("\n")[:-1]
    except OSError:
        return ""
    real = f"{os.path.realpath(path)}/"
    best, found = -1, ""
    for line in lines:
        mounted, _, kind = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mounted.split(" ")[4])
        if real.startswith(point.rstrip("/") + "/") and len(point) >= best:  # the last of equals is on top
            best, found = len(point), kind.split(" ")[0]
    return found


def is_polled(file_system: str) -> bool:
    """Whether an inbox on this kind of file system has to be listed, since events tell nothing there."""
    return file_system in _POLLED or file_system.startswith("fuse.")
