"""The mount table: what a path is on, whether events can be expected there, and whether it is still the same place.

What it promises: nothing is judged by the text of a path. Read anew on each call (proc_pid_mountinfo(5)), which costs
some 30 µs and never touches the file systems themselves, but for following links in the path.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

#: File systems where the other side's writes cause no event here (measured, or by their nature).
_POLLED = frozenset(
    {"9p", "afs", "ceph", "cifs", "drvfs", "fuse", "glusterfs", "lustre", "nfs", "nfs4", "prl_fs", "smb3", "smbfs"}
    | {"vboxsf", "virtiofs"}
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: its mount point, its type and its source; each "" if it is not known."""

    point: str
    file_system: str
    source: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.file_system or 'unknown'} at {self.point or '?'}"

    @property
    def is_polled(self) -> bool:
        """Return whether a folder here has to be listed, since events tell nothing of what the far side does."""
        return self.file_system in _POLLED or self.file_system.startswith("fuse.")


def mount_of(path: Path, mountinfo: Path = MOUNTINFO) -> Mount:
    """Return the mount that a path is on."""
    try:
        lines = mountinfo.read_text("utf-8", "surrogateescape").split("\n")[:-1]
    except OSError:
        return Mount("", "")
    real = f"{os.path.realpath(path)}/"
    best, mount = -1, Mount("", "")
    for line in lines:
        mounted, _, kind = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mounted.split(" ")[4])
        if real.startswith(point.rstrip("/") + "/") and len(point) >= best:  # the last of equals is on top
            best, mount = len(point), Mount(point, *kind.split(" ")[:2])
    return mount
