"""What became of a reload, for the command that asked for it: `systemctl reload` ends in an error when it was refused.

What it promises: the daemon leaves a number and what it refused in the runtime folder, whole, after each reload; who
asks sends SIGHUP and returns when that number has changed, or the daemon has ended.

The daemon's main thread tells, another process asks. A crash leaves the last outcome, which the next start removes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

_LOOK_SECONDS = 0.1
_GONE = ("the daemon ended while it reloaded; its log says why",)


class Outcomes:
    """The outcomes that one process leaves."""

    def __init__(self, runtime_folder: Path) -> None:
        self._file = _file_in(runtime_folder)
        self._number = 0
        with contextlib.suppress(OSError):
            self._file.unlink()  # of the process before, which counted from 1, too

    def tell(self, refusals: Sequence[str]) -> None:
        """Leave what was refused, or nothing where the reload is done; without a folder to write to nobody hears it."""
        self._number += 1
        temporary = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps([self._number, *refusals]), "utf-8")
            temporary.replace(self._file)


def ask_for_reload(pid: int, runtime_folder: Path | None) -> Sequence[str]:
    """Have the daemon with this process id reload, and return what it refused, once that is known.

    Without a runtime folder nothing is waited for.
    """
    file = None if runtime_folder is None else _file_in(runtime_folder)
    before = _read(file)
    try:
        os.kill(pid, signal.SIGHUP)
        pause = threading.Event()
        while file is not None and _read(file)[:1] == before[:1]:
            pause.wait(_LOOK_SECONDS)
            os.kill(pid, 0)
    except ProcessLookupError:
        return _GONE
    return [str(each) for each in _read(file)[1:]]


def _file_in(runtime_folder: Path) -> Path:
    return runtime_folder / "reload.json"


def _read(file: Path | None) -> list[object]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text("utf-8")) if file is not None else []
        return found if isinstance(found, list) else []
    return []
