"""The costs of a scan of an inbox in which very many files wait: the first look at them and each later one."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.watching.watch import InboxWatch
from tests.benchmarks.report import Table

_LOOKS = 5


def scan(root: Path, *, files: int) -> Table:
    """Scan an inbox of so many files, and list it barely in the same run; seconds of CPU."""
    inbox = root / "inbox"
    inbox.mkdir()
    for number in range(files):
        (inbox / f"scan_{number:07}.pdf").write_bytes(b"x")
    watch = InboxWatch(Inbox(path=inbox))
    first = _cpu_seconds(lambda: watch.scan(0.0))
    later = statistics.median(_cpu_seconds(lambda: watch.scan(0.0)) for _ in range(_LOOKS))
    bare = statistics.median(_cpu_seconds(lambda: _list_barely(inbox)) for _ in range(_LOOKS))
    known = len(watch.settler)
    rows = {
        "first scan": [first, first / bare],
        "later scan": [later, later / bare],
        "bare listing": [bare, 1.0],
    }
    problems = [] if known == files else [f"{known} of {files} files are known"]
    return Table("scan", f"{files:,} files wait; seconds of CPU", ["CPU", "ratio"], rows, problems)


def _cpu_seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _list_barely(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
