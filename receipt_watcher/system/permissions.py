"""Why the system refuses us a file or a folder, and what to change: for people, in the terms of ls -l.

What it promises: whatever is asked, a sentence comes back and nothing is raised or changed. Any thread may call it.
"""

from __future__ import annotations

import errno
import grp
import itertools
import os
import pwd
import shlex
import stat
import sys
from pathlib import Path

_CAP_FOWNER = 3  # linux/capability.h

_READ_ONLY = frozenset({errno.EROFS})
_REFUSALS = frozenset({errno.EACCES, errno.EPERM})


def refusal(error: OSError, path: Path) -> str:
    """Return what the system said about `path`, who owns it, who we are, and what to change."""
    words = error.strerror or str(error)
    if error.errno in _READ_ONLY:
        return f"{words}: the file system of {path} is mounted read-only; mount it with rw"
    if error.errno not in _REFUSALS:
        return words
    return f"{words}: {_owned(path)}; we are {_ourselves()}"


def refusal_and(advice: str, error: OSError, path: Path) -> str:
    """Return the refusal with advice for whoever owns `path`, which is no use where everything is read-only."""
    words = refusal(error, path)
    return words if error.errno in _READ_ONLY else f"{words}; {advice}"


def folder_advice(folder: Path, path: Path | None = None) -> str:
    """Return what to change so that we may move `path` out of `folder`."""
    try:
        status = folder.stat()
        is_sticky = bool(status.st_mode & stat.S_ISVTX) and os.geteuid() != status.st_uid and not _stands_above_owners()
        if is_sticky and path is not None and os.lstat(path).st_uid != os.geteuid():
            owners = " and ".join(dict.fromkeys((user_name(os.lstat(path).st_uid), user_name(status.st_uid))))
            return (
                f"{folder} is sticky (chmod +t), so only {owners} may "
                f"move the file: chmod -t {folder}, or make {user_name(os.geteuid())} the folder's owner"
            )
    except OSError:
        pass
    return (
        f"the service's user must be able to write in {folder}: for example chgrp {_group(os.getegid())} {folder} "
        f"and chmod g+rwx {folder}"
    )


def file_advice(path: Path) -> str:
    """Return what to change so that we may read `path` and those that come after it."""
    return (
        f"let whoever writes there make files that the group {_group(os.getegid())} can read (umask 027, chmod g+s "
        f"{path.parent}; Samba: force group, create mask = 0660), and mend this one by chmod g+r"
    )


def owner_of(status: os.stat_result) -> str:
    """Return mode, owner and group as ls -l shows them."""
    return f"{stat.filemode(status.st_mode)} {user_name(status.st_uid)}:{_group(status.st_gid)}"


def owner_name(path: Path) -> str:
    """Return who owns a file or folder, or the first folder above it that can be looked at; root where none can."""
    for place in (path, *path.parents):
        try:
            return user_name(place.stat().st_uid)
        except OSError:
            continue
    return "root"


def _stands_above_owners() -> bool:
    """Return whether we have CAP_FOWNER (capabilities(7)): root has, but not in each container."""
    try:
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return os.geteuid() == 0
    return bool(effective & 1 << _CAP_FOWNER)


def _owned(path: Path) -> str:
    try:
        return f"{path} is {owner_of(os.lstat(path))}"
    except OSError:
        return f"{path} cannot even be looked at"


def _ourselves() -> str:
    groups = ", ".join(sorted({_group(number) for number in (os.getegid(), *os.getgroups())}))
    return f"{user_name(os.geteuid())}, in {groups}"


def user_name(number: int) -> str:
    """Return the name of a user, or the number in words if it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return f"group {number}"


def give_away(*paths: Path) -> None:
    """As root, let the owner of a folder own what was made in it, too; the outer ones first."""
    if os.geteuid() != 0:
        return
    for path in paths:
        status = _nearest(path.absolute().parent)
        if status is not None and status.st_uid != 0:
            os.chown(path, status.st_uid, status.st_gid, follow_symlinks=False)


def _nearest(folder: Path) -> os.stat_result | None:
    """Return the status of a folder, or of the first one above it that is there; None if the system does not say."""
    for each in (folder, *folder.parents):
        try:
            return each.stat()
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def to_type(*words: str) -> str:
    """Return the line to type for a command on the configuration that this process was started with.

    As a service it begins with sudo: the command then continues with the rights of the service's user.
    """
    given = [argument.partition("=") for argument in sys.argv]
    names = [value for name, is_there, value in given if name == "--config" and is_there]
    names += [after for before, after in itertools.pairwise(sys.argv) if before == "--config"]
    names += filter(None, [os.environ.get("RECEIPT_WATCHER_CONFIG")])
    config = ["--config", str(Path.cwd() / names[0])] if names else []
    sudo = ["sudo"] if "INVOCATION_ID" in os.environ else []
    return shlex.join([*sudo, "receipt-watcher", *words, *config])
