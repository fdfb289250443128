"""Remember which file the job log was when it was known to be whole: only another one is read through at a start.

What it promises: a log that was replaced, restored or changed while no daemon ran is another. So is one beside which
SQLite's -wal is another than before: SQLite plays a -wal that was left there into any backup that is put in its place,
and that log is damaged. To read a log through takes some seconds for a million receipts; one that is as we left it is
not read.

Called by the main thread at start and stop, and by the periodic task. The file is a help: one that is missing or
damaged costs a reading. A crash leaves the one before, which mostly still is the right one.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path


class LastClosed:
    """The record in the state folder about one job log."""

    def __init__(self, state_dir: Path, log: Path) -> None:
        self._path = state_dir / "log.json"
        self._log = log
        self._kept: object = None

    def is_same(self) -> bool:
        """Whether the log is the file that was noted last."""
        try:
            kept = json.loads(self._path.read_text("ascii"))
        except (OSError, ValueError):
            return False
        return bool(kept == self._now())

    def note(self) -> None:
        """Note the log as it is now; it is known to be whole."""
        now = self._now()
        if now is None or now == self._kept:
            return
        temporary = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(now), "ascii")
            temporary.replace(self._path)
            self._kept = now

    def _now(self) -> dict[str, list[int] | None] | None:
        """Return what tells the log from another: SQLite writes to the file itself only when it empties the -wal."""
        try:
            log = self._log.stat()
        except OSError:
            return None
        try:
            wal = [self._log.with_name(self._log.name + "-wal").stat().st_ino]
        except OSError:
            wal = None
        return {"log": [log.st_ino, log.st_size, log.st_mtime_ns], "wal": wal}
