"""The folder for files that a running daemon leaves to other processes: in memory, so that a disk may sleep.

What it promises: systemd's runtime folder, else the user's, else the state folder. The commands find the one that the
daemon chose by a note in the state folder, which is written only when it changes.

The main thread writes the note at start; any process reads it. After a crash the note leads to files of a daemon that
does not run any more; only the lock tells whether one runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

_NOTE = "runtime_folder"


def runtime_folder(state_dir: Path, environ: Mapping[str, str]) -> Path:
    """Return the folder for a daemon with this state folder; it may have to be made."""
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given.startswith("/") and os.access(given, os.W_OK):
        return Path(given)
    users = environ.get("XDG_RUNTIME_DIR", "")
    if users.startswith("/") and os.access(users, os.W_OK):
        name = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]  # the user may run several
        return Path(users, "receipt-watcher", name)
    return state_dir


def note_runtime_folder(state_dir: Path, folder: Path) -> None:
    """Tell the commands which folder is in use; a disk that is full costs what they would show, nothing else."""
    note = state_dir / _NOTE
    with contextlib.suppress(OSError):
        if not note.exists() or note.read_bytes() != os.fsencode(folder):
            temporary = note.with_name(f".{_NOTE}.{os.getpid()}")
            temporary.touch(mode=0o600)
            temporary.write_bytes(os.fsencode(folder))
            temporary.replace(note)


def noted_runtime_folder(state_dir: Path) -> Path:
    """Return the folder that the daemon chose at its last start."""
    with contextlib.suppress(OSError):
        noted = os.fsdecode((state_dir / _NOTE).read_bytes())
        if noted.startswith("/") and "\0" not in noted:
            return Path(noted)
    return state_dir
