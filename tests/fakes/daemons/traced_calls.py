"""receipt-watcher that writes down which module calls which while a file says so.

`python -m tests.fakes.daemons.traced_calls run …` with TRACE_FILE naming a file: while it exists, calls between modules
of the program are collected; as soon as it is gone they are written beside it, as JSON, with the suffix `.calls`. The
caller of a call is the innermost function of the program, whatever library stands between. Rounds of the watchdog, of
periodic tasks, of reports and of retention are left out: they are on no receipt's way.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import receipt_watcher
from receipt_watcher.cli import main

_ROOT = Path(receipt_watcher.__file__).parent
_TRACE_FILE = Path(os.environ["TRACE_FILE"])

#: What comes round by itself, whatever becomes of a receipt.
_PERIODIC = {
    "Audit.run_once",
    "Heartbeat.run_once",
    "Textfile.run_once",
    "NoticeWatcher.run_once",
    "PeriodicTasks.round",
    "Remover.remove_due",
    "Trimmer.trim_due",
    "WorkWatchdog._run",
}


@cache
def _module_of(filename: str) -> str | None:
    path = Path(filename)
    if not path.is_relative_to(_ROOT):
        return None
    parts = path.relative_to(_ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _callers_of(frame: FrameType) -> Iterator[FrameType]:
    while (outer := frame.f_back) is not None:
        yield outer
        frame = outer


def _is_periodic(frame: FrameType) -> bool:
    return frame.f_code.co_qualname in _PERIODIC


class _Calls:
    """Pairs of modules, caller first, with one pair of functions as an example of each."""

    def __init__(self) -> None:
        self.is_on = False
        self.pairs: dict[tuple[str, str], tuple[str, str]] = {}

    def note(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Note a call of one module of the program by another."""
        if event != "call" or not self.is_on or (callee := _module_of(frame.f_code.co_filename)) is None:
            return
        outer = [each for each in _callers_of(frame) if _module_of(each.f_code.co_filename)]
        if not outer:
            return
        caller = _module_of(outer[0].f_code.co_filename) or ""
        if caller != callee and (caller, callee) not in self.pairs and not any(_is_periodic(each) for each in outer):
            self.pairs[caller, callee] = (outer[0].f_code.co_qualname, frame.f_code.co_qualname)

    def watch(self) -> None:
        """Collect while the file is there, and write when it is gone."""
        tick = threading.Event()
        while not tick.wait(0.02):
            is_wanted = _TRACE_FILE.exists()
            if self.is_on and not is_wanted:
                rows = [[*pair, *functions] for pair, functions in sorted(self.pairs.items())]
                written = _TRACE_FILE.with_suffix(".part")
                written.write_text(json.dumps(rows))
                written.rename(_TRACE_FILE.with_suffix(".calls"))
            self.is_on = is_wanted


if __name__ == "__main__":
    calls = _Calls()
    threading.Thread(target=calls.watch, name="calls", daemon=True).start()
    threading.setprofile(calls.note)
    sys.setprofile(calls.note)
    sys.argv[0] = "receipt-watcher"
    main.main()
