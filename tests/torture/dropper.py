"""The process that drops receipts, in every manner, and keeps a ledger of its drops.

`python -m tests.torture.dropper LEDGER FOLDERS` reads one JSON line for each round from its standard input, a list of
`plan.Drop`, and answers with a line when it has dropped them all. FOLDERS are JSON: by inbox, where the inbox is, where
its failed/ is, and a folder outside on the same file system. Its ledger has one line for each receipt that is now the
daemon's to keep: where it was put, what it is, its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from receipt_watcher.cli.demo import samples
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from receipt_watcher.system import disk
from tests.fakes.daemons.process import files_below, jpegs
from tests.torture.ledger import Ledger
from tests.torture.plan import Drop, Manner

#: Longest wait for a name to become free, before the receipt gets a name of its own.
_NAME_SECONDS = 5.0
_LOOK_SECONDS = 0.02
_THREADS = 12


def content_of(kind: str, number: int) -> bytes:
    """Return the bytes of a drop; the same two words, the same bytes."""
    drawn: bytes = _DRAWN[kind](number) if kind in _DRAWN else getattr(samples, kind)(number)
    return drawn


def _jpeg(number: int) -> bytes:
    return jpegs(1, number)[0]


def _zipped(number: int) -> bytes:
    written = BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(zipfile.ZipInfo("receipt.txt"), f"receipt {number}")
    return written.getvalue()


_DRAWN: dict[str, Callable[[int], bytes]] = {
    "jpeg": _jpeg,
    "big": lambda number: samples.jpeg(number, 1_000_000 + number % 7 * 500_000),
    "words": lambda number: f"These are only words, whatever the name says: {number}.\n".encode(),
    "nothing": lambda _: b"",
    "torso": lambda number: _jpeg(number)[:-2000],
    "zeros": lambda number: samples.png(number)[:500] + bytes(3000),
    "archive": _zipped,
}


class Dropper:
    """Drops what it is told to."""

    def __init__(self, ledger: Ledger, folders: dict[str, dict[str, str]]) -> None:
        self._ledger = ledger
        self._inboxes = {name: Path(places["inbox"]) for name, places in folders.items()}
        self._failed = {name: Path(places["failed"]) for name, places in folders.items()}
        self._outside = {name: Path(places["outside"]) for name, places in folders.items()}
        self._clock = threading.Event()  # is never set: waiting for it lets time pass
        self._dropped: Counter[str] = Counter()
        self._lock = threading.Lock()

    def drop_all(self, drops: Iterable[Drop]) -> None:
        """Drop them at their times, and return when all are dropped."""
        began = time.monotonic()
        in_order = sorted(drops, key=lambda drop: drop.at_seconds)
        with ThreadPoolExecutor(_THREADS) as pool:
            for ended in [pool.submit(self._drop, drop, began) for drop in in_order]:
                ended.result()

    def _drop(self, drop: Drop, began: float) -> None:
        self._clock.wait(max(0.0, began + drop.at_seconds - time.monotonic()))
        if drop.manner is Manner.AGAIN:
            self._drop_again(drop)
            return
        content = content_of(drop.kind, drop.number)
        target = self._inboxes[drop.inbox] / drop.path
        target.parent.mkdir(parents=True, exist_ok=True)
        match drop.manner:
            case Manner.RENAME:
                self._outside_of(drop, content).rename(target)
            case Manner.COPY:
                target.write_bytes(content)
            case Manner.TEMPORARY_NAME:
                temporary = target.with_name(f"t{os.urandom(6).hex()}.part")
                temporary.write_bytes(content)
                temporary.rename(target)
            case Manner.SLOW:
                self._write_slowly(target, content, drop.pause_seconds / 3)
            case Manner.LINK:
                os.link(self._outside_of(drop, content), target)
            case Manner.TORSO:
                self._complete_later(drop, target, content, len(content) // 2)
                return
            case Manner.TOUCH:
                self._complete_later(drop, target, content, 0)
                return
            case Manner.SAME_NAME:
                target = self._link_when_free(self._outside_of(drop, content), target)
        self._note(drop, target, content)

    def _note(self, drop: Drop, target: Path, content: bytes) -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        with self._lock:
            self._dropped[sha256] += 1
        self._ledger.write(
            "dropped",
            inbox=drop.inbox,
            path=str(target.relative_to(self._inboxes[drop.inbox])),
            sha256=sha256,
            kind=drop.kind,
            manner=drop.manner,
        )

    def _outside_of(self, drop: Drop, content: bytes) -> Path:
        path = self._outside[drop.inbox] / os.urandom(8).hex()
        path.write_bytes(content)
        return path

    def _write_slowly(self, target: Path, content: bytes, pause_seconds: float) -> None:
        with target.open("xb", buffering=0) as file:
            for start in range(0, len(content), len(content) // 4 + 1):
                file.write(content[start:][: len(content) // 4 + 1])
                self._clock.wait(pause_seconds)

    def _complete_later(self, drop: Drop, target: Path, content: bytes, cut: int) -> None:
        """Write a part and close it, then open it again and write the rest, as reopening clients do.

        If the part was taken meanwhile, it had not changed for the daemon's patience: it was a receipt of its own.
        """
        target.write_bytes(content[:cut])
        self._clock.wait(drop.pause_seconds)
        try:
            with target.open("r+b") as file:
                file.seek(cut)
                file.write(content[cut:])
        except FileNotFoundError:
            self._note(replace(drop, kind="torso"), target, content[:cut])
        else:
            self._note(drop, target, content)

    def _link_when_free(self, source: Path, target: Path) -> Path:
        """Put a file under a name that others have borne, when it is free; nobody drops by overwriting."""
        for _ in range(int(_NAME_SECONDS / _LOOK_SECONDS)):
            try:
                os.link(source, target)
            except FileExistsError:
                self._clock.wait(_LOOK_SECONDS)
            else:
                source.unlink()
                return target
        own = target.with_name(f"late-{source.name}{target.suffix}")
        return source.rename(own)

    def _drop_again(self, drop: Drop) -> None:
        """Move a failed file back into its inbox, as people do; one of which there is no copy, so that it is clear."""
        failed = self._failed[drop.inbox]
        found = [path for path in files_below(failed) if not path.name.endswith((NOTE_SUFFIX, disk.PARTIAL_SUFFIX))]
        for path in found[drop.number % (len(found) or 1) :][:1]:
            with contextlib.suppress(OSError):  # the daemon was faster, the name is taken, or it would be a copy
                self._move_back(drop, path, path.relative_to(failed))

    def _move_back(self, drop: Drop, path: Path, relative: Path) -> None:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        target = self._inboxes[drop.inbox] / relative
        if self._dropped[sha256] == 1:
            target.parent.mkdir(parents=True, exist_ok=True)
            disk._renameat2(path, target)
            self._ledger.write("again", inbox=drop.inbox, path=str(relative), sha256=sha256)


def main() -> None:
    """Drop until the standard input ends."""
    ledger = Ledger(Path(sys.argv[1]))
    dropper = Dropper(ledger, json.loads(sys.argv[2]))
    for line in sys.stdin:
        dropper.drop_all(Drop(**{**fields, "manner": Manner(fields["manner"])}) for fields in json.loads(line))
        sys.stdout.write("dropped\n")
        sys.stdout.flush()
    ledger.close()


if __name__ == "__main__":
    main()
