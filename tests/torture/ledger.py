"""Ledgers of acts and events for the audit: one JSON line each, on disk as soon as it is written.

Each process of a run keeps a ledger of its own and only appends to it, so that whoever is killed takes nothing along.
Times are Unix seconds. Any thread may write.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

#: The callback token of every torture.
TOKEN = "a-token-for-torture-only"


class Ledgers(NamedTuple):
    """The paths of one run's ledgers."""

    dropper: Path
    far_side: Path
    driver: Path
    flushes: Path

    @classmethod
    def below(cls, root: Path) -> Ledgers:
        """Name them below the folder of a run."""
        return cls(root / "dropper.jsonl", root / "far-side.jsonl", root / "driver.jsonl", root / "flushes")


class Ledger:
    """One file that only grows."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="ascii")
        self._lock = threading.Lock()

    def write(self, what: str, **fields: Any) -> None:
        """Append a line, with the time."""
        line = json.dumps({"what": what, "at": time.time(), **fields})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path, *whats: str) -> list[dict[str, Any]]:
    """Return the lines of some kinds, all of them where none is named, in the order in which they were written."""
    if not path.exists():
        return []
    whole = path.read_text("ascii").rpartition("\n")[0]  # the last line may be just being written
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if not whats or line["what"] in whats]
