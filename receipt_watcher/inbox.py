"""Notice files in an inbox and decide when they have settled.

What it promises: a file is reported only after its size, modification time and inode stayed the same for the
settle time since the last change that was *observed*, by an event or by a scan; so a file found at start waits as
long as any other. Events are hints and may be lost (the kernel's queue holds 16,384); the scan is the truth.
An empty file is not complete, however quiet: it waits for `patience_seconds` and is then reported as it is.

watchdog's thread only puts names into a queue; everything else runs in the inbox's own thread, on a monotonic
clock that is given. Nothing is kept on disk: after a crash the first scan finds everything again.
"""

from __future__ import annotations

import errno
import fnmatch
import logging
import os
import re
import stat
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from receipt_watcher import note
from receipt_watcher.config import Inbox
from receipt_watcher.mounts import file_system_of, is_polled

logger = structlog.get_logger()

# watchdog holds each «moved away» event for half a second in case its other half follows, and everything behind it
# waits. Each receipt that we take is moved away, and we need no pairs.
InotifyMoveEventGrouper.delay = 0.0

#: Names that no person calls a receipt: unfinished downloads and copies, locks, litter of systems and sync clients.
IGNORED_NAMES = (
    *(".*", "*.part", "*.partial", "*.filepart", "*.tmp", "*.crdownload", "*.download", "*.opdownload", "*.aria2"),
    *("*.!sync", "*.bts", "*.swp", "*.icloud", "*.nextcloud", "*.owncloud", "~$*", "~*.tmp", "*~", "#*#"),
    *("Thumbs.db", "desktop.ini", "Icon\r", "*:Zone.Identifier", "~syncthing~*"),
)
IGNORED_FOLDERS = (".*", "@eaDir", ".@__thumb", "#recycle", ".stfolder", ".stversions")

#: How long a file that could not be taken is left alone. By taste: permissions are mended by people.
BLOCKED_PAUSE_SECONDS = 30.0

Signature = tuple[int, int, int]  # size, mtime_ns, inode


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns), re.IGNORECASE).match


_is_ignored_name = _matcher(IGNORED_NAMES)
_is_ignored_folder = _matcher(IGNORED_FOLDERS)


def is_ignored(relative: str) -> bool:
    """Whether a path below an inbox is none that we take, by its name or a folder's on the way."""
    *folders, name = relative.split("/")
    return bool(_is_ignored_name(name)) or any(_is_ignored_folder(folder) for folder in folders)


@dataclass(slots=True)
class _Pending:
    signature: Signature
    changed_at: float


@dataclass(frozen=True, slots=True)
class Parked:
    """A quiet file that is not taken yet, and why; looked at again when it changes or at `until` (monotonic)."""

    signature: Signature
    changed_at: float
    until: float
    why: str


class Settler:
    """Decides when files have settled. Pure: it is told what was seen, and when."""

    def __init__(self, settle_seconds: float, patience_seconds: float) -> None:
        self._settle_seconds = settle_seconds
        self._patience_seconds = patience_seconds
        self._pending: OrderedDict[str, _Pending] = OrderedDict()  # the longest unchanged first
        self.parked: dict[str, Parked] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def touched(self, relative: str, signature: Signature, now: float) -> None:
        """An event said that the file changed."""
        self.parked.pop(relative, None)
        self._pending[relative] = _Pending(signature, now)
        self._pending.move_to_end(relative)

    def seen(self, relative: str, signature: Signature, now: float) -> None:
        """A scan saw the file; whether that is a change is decided here."""
        known: _Pending | Parked | None = self._pending.get(relative) or self.parked.get(relative)
        if known is None or known.signature != signature:
            self.touched(relative, signature, now)

    def gone(self, relative: str) -> None:
        """The file is not there any more."""
        self._pending.pop(relative, None)
        self.parked.pop(relative, None)

    def blocked(self, relative: str, signature: Signature, why: str, now: float) -> None:
        """The file could not be taken; leave it alone for a while."""
        self.parked[relative] = Parked(signature, now, now + BLOCKED_PAUSE_SECONDS, why)

    def next_due(self) -> float | None:
        """Return when there is something to decide next, on the monotonic clock."""
        times = [parked.until for parked in self.parked.values()]
        for pending in self._pending.values():
            times.append(pending.changed_at + self._settle_seconds)
            break
        return min(times, default=None)

    def settled(self, now: float, look: Callable[[str], Signature | None], limit: int) -> list[str]:
        """Return up to `limit` files that have settled by `now`; they are forgotten here.

        `look` reads a file's signature afresh, None where it is gone: a change that no event told is found so.
        """
        for relative in [name for name, parked in self.parked.items() if parked.until <= now]:
            parked = self.parked.pop(relative)
            self._pending[relative] = _Pending(parked.signature, parked.changed_at)
            self._pending.move_to_end(relative, last=False)
        ready: list[str] = []
        while self._pending and len(ready) < limit:
            relative, pending = next(iter(self._pending.items()))
            if pending.changed_at + self._settle_seconds > now:
                break
            signature = look(relative)
            if signature is None:
                self.gone(relative)
            elif signature != pending.signature:
                self.touched(relative, signature, now)
            elif self._waits_for_content(relative, pending, now):
                pass
            else:
                del self._pending[relative]
                ready.append(relative)
        return ready

    def _waits_for_content(self, relative: str, pending: _Pending, now: float) -> bool:
        """Park an empty file until the patience with it is over: some writers create it seconds before they fill it."""
        if pending.signature[0] > 0 or pending.changed_at + self._patience_seconds <= now:
            return False
        del self._pending[relative]
        until = pending.changed_at + self._patience_seconds
        self.parked[relative] = Parked(pending.signature, pending.changed_at, until, "empty")
        return True


class InboxWatch:
    """Watches one inbox; `ring` is called, from watchdog's thread, when something was noticed."""

    def __init__(self, settings: Inbox, ring: Callable[[], None] = lambda: None) -> None:
        self.name = settings.name
        self.path = settings.path
        self.settler = Settler(settings.settle_seconds, settings.patience_seconds)
        self.mode = "polling"
        self.scanned_at: float | None = None
        self._settings = settings
        self._ring = ring
        self._hints: deque[str] = deque()
        self._observer: BaseObserver | None = None
        self._identity: tuple[int, int] | None = None
        self._has_missed_events = False
        self._overflow_listener = _OverflowListener(self._on_overflow)

    def start(self) -> None:
        """Begin to listen for events, where they can be expected; the scan, which follows, finds the rest."""
        self.mode = "polling"
        self._identity = self._identify()
        self.scanned_at = None
        wanted = self._settings.observer
        file_system = file_system_of(self.path)
        polled = is_polled(file_system)
        if wanted == "polling" or (wanted == "auto" and polled):
            reason = "configured" if wanted == "polling" else f"events do not cross {file_system}"
            logger.info("inbox.watched", inbox=self.name, path=str(self.path), mode="polling", why=reason)
            return
        observer: BaseObserver | None = None
        try:
            observer = Observer()
            observer.schedule(
                _Hints(self._hint), str(self.path), recursive=self._settings.recursive, event_filter=list(_EVENTS)
            )
            observer.start()
        except OSError as error:
            # fs.inotify.max_user_watches or max_user_instances is used up, as a rule
            if observer is not None:
                observer.stop()  # it has threads from its making on
            logger.warning("inbox.polled", inbox=self.name, why=f"no events ({error}); scanning instead")
            return
        self._observer = observer
        logging.getLogger(_OVERFLOW_LOGGER).addHandler(self._overflow_listener)
        self.mode = "native"
        logger.info("inbox.watched", inbox=self.name, path=str(self.path), mode="native", file_system=file_system)

    def stop(self) -> None:
        """Stop listening; harmless when called twice."""
        if self._observer is not None:
            logging.getLogger(_OVERFLOW_LOGGER).removeHandler(self._overflow_listener)
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _on_overflow(self) -> None:
        self._has_missed_events = True
        self._ring()

    def _hint(self, path: str) -> None:
        self._hints.append(path)
        self._ring()

    def settled(self, now: float, limit: int) -> list[Path]:
        """Look at what was hinted, scan if it is time, and return up to `limit` files that have settled.

        Raises:
            OSError: the inbox cannot be read; a share that is gone is no empty inbox.
        """
        if self._identity is not None and self._identify() != self._identity:
            # Deleted and made anew, or mounted over: the watch is on the old one, and nothing would say so.
            raise OSError(errno.ESTALE, "the folder is another one now", str(self.path))
        self._follow_hints(now)
        if self._has_missed_events:
            logger.warning(
                "inbox.overflowed", inbox=self.name, why="more came at once than the kernel keeps events for"
            )
            self._has_missed_events, self.scanned_at = False, None  # in this order: the next overflow is another one
        if self.scanned_at is None or now >= self.scanned_at + self._interval_seconds:
            self.scan(now)
        return [Path(relative) for relative in self.settler.settled(now, self.signature_of, limit)]

    def _identify(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_dev, status.st_ino

    @property
    def _interval_seconds(self) -> float:
        return self._settings.poll_seconds if self.mode == "polling" else self._settings.scan_seconds

    def next_due(self) -> float:
        """Return when `settled` is to be called next, on the monotonic clock; a hint may make it sooner."""
        scan_at = (self.scanned_at or 0.0) + self._interval_seconds
        settle_at = self.settler.next_due()
        return scan_at if settle_at is None else min(scan_at, settle_at)

    def _follow_hints(self, now: float) -> None:
        prefix = len(str(self.path)) + 1
        for relative in dict.fromkeys(path[prefix:] for path in _drain(self._hints)):
            if not relative or is_ignored(relative):
                continue
            signature = self.signature_of(relative)
            if signature is None:
                self.settler.gone(relative)
            else:
                self.settler.touched(relative, signature, now)

    def scan(self, now: float) -> None:
        """Read the whole inbox: the truth about what is in it."""
        found: set[str] = set()
        for relative, signature in self.files():
            found.add(relative)
            self.settler.seen(relative, signature, now)
        for relative in [name for name in self.settler.parked if name not in found]:
            self.settler.gone(relative)
        self.scanned_at = now

    def files(self) -> Iterator[tuple[str, Signature]]:
        """Yield each file that is to be taken, below the inbox, with its signature; links are never followed."""
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                entries = os.scandir(self.path / folder)
            except OSError:
                if not folder:
                    raise
                continue  # a subfolder that was removed meanwhile, or that we may not read
            with entries:
                for entry in entries:
                    relative = f"{folder}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        if self._settings.recursive and not _is_ignored_folder(entry.name):
                            folders.append(f"{relative}/")
                    elif not is_ignored(relative) and (signature := self.signature_of(relative)):
                        yield relative, signature

    def signature_of(self, relative: str) -> Signature | None:
        """Return size, modification time and inode; None where it is no regular file, or a note of ours."""
        path = self.path / relative
        try:
            status = os.lstat(path)
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode) or (relative.endswith(note.NOTE_SUFFIX) and note.is_note(path)):
            return None
        return status.st_size, status.st_mtime_ns, status.st_ino


#: What is asked of the kernel: all that begins, goes on with, or ends the writing of a file.
_EVENTS: tuple[type[FileSystemEvent], ...] = (
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
)


class _Hints(FileSystemEventHandler):
    """Passes on the paths that events name; runs in watchdog's thread."""

    def __init__(self, hint: Callable[[str], None]) -> None:
        self._pass_on = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        if not event.is_directory:
            self._pass_on(os.fsdecode(event.dest_path or event.src_path))


#: Where watchdog says that the kernel dropped events, and nowhere else.
_OVERFLOW_LOGGER = "watchdog.observers.inotify_c"


class _OverflowListener(logging.Handler):
    """Hears watchdog say that the kernel dropped events; runs in watchdog's thread."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._tell()


def _drain(queue: deque[str]) -> Iterator[str]:
    while queue:
        yield queue.popleft()
