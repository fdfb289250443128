"""The folders of a torture, and what lies in them while a daemon moves it about."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.torture.plan import INBOXES

_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Folders:
    """The spool of one inbox, and a folder beside the inbox that receipts come from."""

    inbox: Path
    processing: Path
    done: Path
    failed: Path

    @property
    def outside(self) -> Path:
        """The folder in which files are prepared, on the inbox's file system."""
        return self.inbox.parent / "outside"

    def each(self) -> tuple[tuple[str, Path], ...]:
        """Return the four of the spool with their names."""
        return ("inbox", self.inbox), ("processing", self.processing), ("done", self.done), ("failed", self.failed)


def spools_in(root: Path, memory: Path) -> dict[str, Folders]:
    """Return the spools of all inboxes; inbox and done/ of the second are in memory, so that its moves are copies."""
    own, other, sink = (root / name for name in INBOXES)
    return {
        INBOXES[0]: Folders(own / "inbox", own / "processing", own / "done", own / "failed"),
        INBOXES[2]: Folders(sink / "inbox", sink / "processing", sink / "done", sink / "failed"),
        INBOXES[1]: Folders(memory / "inbox", other / "processing", memory / "done", other / "failed"),
    }


def make_folders(spools: Iterable[Folders]) -> None:
    """Make them, and the folders outside."""
    for folders in spools:
        for folder in (folders.outside, *(path for _, path in folders.each())):
            folder.mkdir(parents=True)


@contextlib.contextmanager
def temporary_folders() -> Iterator[tuple[Path, Path]]:
    """Make a folder on $TMPDIR and one in memory; they stay after an error, and where a file `keep` is in the first."""
    root = Path(tempfile.mkdtemp(prefix="receipt-watcher-torture-"))
    memory = Path(tempfile.mkdtemp(prefix=f"{root.name}-", dir=_MEMORY if _MEMORY.is_dir() else root))
    yield root, memory
    if not (root / "keep").exists():
        shutil.rmtree(memory, ignore_errors=True)
        shutil.rmtree(root, ignore_errors=True)
