"""Puts a file that was uploaded into an inbox, as a careful program at the share does; from there it goes as any other.

What it promises: a file is in the inbox whole and durable, under a name that was free, or not at all; nothing there is
replaced. Until it is whole it has a name of ours, which no inbox takes. So nothing else has to be known of uploads: the
same examination, the same spool, the same crash table.

Runs in the worker threads of the HTTP side. A crash in the midst leaves a file under that name of ours, which the next
upload into this inbox removes after a day.
"""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from receipt_watcher.config import Inbox
from receipt_watcher.disk import NAME_MAX_BYTES, cut_name, display_name, flush_folder, move_file, numbered_name
from receipt_watcher.listing import listing_of
from receipt_watcher.names import OWN_PREFIX
from receipt_watcher.timelimit import within

_PREFIX = f"{OWN_PREFIX}upload-"
_PIECE_BYTES = 256 * 1024
_MOST_NAMES = 1000
_LEFT_OVER_SECONDS = 24 * 3600.0

#: How long a share may take for one file.
_DROP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Dropped:
    """It is in the inbox, under this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not; `status` is the one of an answer in HTTP."""

    status: int
    words: str


class Dropping:
    """Drops files into the inboxes. `is_ready` tells whether one can be used now, by its name."""

    def __init__(
        self, inboxes: Sequence[Inbox], max_bytes: int, *, is_ready: Callable[[str], bool], clock: Callable[[], float]
    ) -> None:
        self._inboxes = {inbox.name: inbox for inbox in inboxes}
        self._max_bytes = max_bytes
        self._is_ready = is_ready
        self._clock = clock

    def drop(self, inbox_name: str, filename: str, source: BinaryIO) -> Dropped | Refused:
        """Put a file into an inbox; never raises for what the file is called or holds."""
        inbox = self._inboxes.get(inbox_name)
        if inbox is None:
            return Refused(422, f"There is no inbox {inbox_name[:80]!r}.")
        name = _plain(filename)
        rule = listing_of(inbox).rule_for(name) if name else None
        if not name:
            return Refused(422, "It has no name.")
        if rule is not None:
            words = f"A file of this name is never taken (the pattern {rule.pattern} of {rule.pack}); rename it."
            return Refused(422, words)
        if not self._is_ready(inbox_name):
            return Refused(503, "The inbox is unavailable; try again in a minute.")
        try:
            return within(_DROP_SECONDS, lambda: self._drop(inbox.path, name, source), "the inbox")
        except OSError as error:
            return Refused(503, f"It cannot be written into the inbox ({error.strerror or error}); try again later.")

    def _drop(self, folder: Path, name: str, source: BinaryIO) -> Dropped | Refused:
        temporary = folder / f"{_PREFIX}{uuid.uuid4().hex}"
        _remove_left_over(folder, self._clock() - _LEFT_OVER_SECONDS)
        try:
            if not self._copy(source, temporary):
                return Refused(413, f"It is larger than {self._max_bytes:,} bytes (limits.max_file_mb).")
            for number in range(1, _MOST_NAMES):
                target = folder / numbered_name(name, number)
                with contextlib.suppress(FileExistsError):
                    move_file(temporary, target)
                    flush_folder(folder)
                    return Dropped(display_name(target.name))
            return Refused(503, "Too many files of this name wait in the inbox; rename it.")
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _copy(self, source: BinaryIO, target: Path) -> bool:
        """Copy a file, durably; return False where it is too large."""
        size = 0
        with target.open("xb") as file:
            while piece := source.read(_PIECE_BYTES):
                size += len(piece)
                if size > self._max_bytes:
                    return False
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return True


def _plain(filename: str) -> str:
    """Return a name that is one name, in any system: the last part of a path, without control characters."""
    name = re.split(r"[/\\]", unicodedata.normalize("NFC", filename))[-1]
    name = "".join(letter for letter in name if letter.isprintable()).strip()
    name = name.encode("utf-8", "replace").decode()
    return "" if name in (".", "..") else cut_name(name, NAME_MAX_BYTES)


def _remove_left_over(folder: Path, before: float) -> None:
    """Remove what crashes left, which nobody writes any more."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{_PREFIX}*"):
            if path.stat().st_mtime < before:
                path.unlink()
