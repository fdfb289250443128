"""The user whose rights a command works with, and the default places of a service's files.

What it promises: a command that an admin types as root works with the rights of the one who owns the state folder,
which is the service's user: so it sees what the service sees, and leaves no file behind that the service cannot use.
Whoever is neither gets a sentence with the line to type.

Called once by a command, before it opens anything, in its only thread. Nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from receipt_watcher.system.permissions import _nearest, owner_name

SYSTEM_CONFIG_FOLDER = Path("/etc/receipt-watcher")
_STATE_FOLDER = Path("/var/lib/receipt-watcher")
_CREDENTIALS_FOLDER = Path("/run/credentials")


def as_service(config_file: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with what systemd gives only to the service: its state folder and its credentials.

    So for a configuration in /etc/receipt-watcher alone, where what is so found is there: watcher.yaml is that of
    receipt-watcher.service, NAME.yaml that of receipt-watcher@NAME.service.
    """
    completed = dict(environ)
    if config_file is None or config_file.parent != SYSTEM_CONFIG_FOLDER:
        return completed
    name = config_file.stem
    instance = "" if name == "watcher" else name
    unit = f"receipt-watcher@{instance}.service" if instance else "receipt-watcher.service"
    state = _STATE_FOLDER.with_name(f"{_STATE_FOLDER.name}-{instance}") if instance else _STATE_FOLDER
    places = {"STATE_DIRECTORY": state, "CREDENTIALS_DIRECTORY": _CREDENTIALS_FOLDER / unit}
    for variable, folder in places.items():
        if variable not in completed and folder.is_dir():
            completed[variable] = str(folder)
    return completed


def become_owner(folder: Path) -> None:
    """As root, continue as the one who owns a folder, or would own it: the owner of the folder that it is to be in.

    If that is root, continue as root.
    """
    if os.geteuid() != 0:
        return
    status = _nearest(folder)
    if status is None or status.st_uid == 0:
        return
    with contextlib.suppress(OSError):  # root without that right, in a container: it reads and writes what it may
        try:
            os.initgroups(pwd.getpwuid(status.st_uid).pw_name, status.st_gid)
        except KeyError:  # a number without a name
            os.setgroups([])
        os.setresgid(status.st_gid, status.st_gid, status.st_gid)
        os.setresuid(status.st_uid, status.st_uid, status.st_uid)


def try_as(path: Path) -> str:
    """Return the line to type for whoever may not use `path`: the same command as the one who owns that."""
    words = shlex.join(["receipt-watcher", *sys.argv[1:]])
    owner = owner_name(path)
    return f"sudo {words}" if owner == "root" else f"sudo -u {owner} {words}"
