"""The kernel's events about one folder: hints, never the truth.

What it promises: `hint` is called, from watchdog's thread, with the path of each file that something happened to,
`tell_folder` with each subfolder that came, `overflowed` when the kernel dropped events. Whether events come at all is
proven, not believed (`hears`), and whether a watch is still there is asked of it, for its threads stay alive when the
folder is gone, and say nothing when no watch is left for a subfolder.

`start` and `stop` are called by the inbox's own thread. Nothing is kept on disk.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import warnings
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Any, Protocol

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileAttribEvent,
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

from receipt_watcher.inbox.watching.ignored import OWN_PREFIX

# watchdog holds each «moved away» event for half a second in case its other half follows, and everything behind it
# waits. Each receipt that we take is moved away, and we need no pairs.
InotifyMoveEventGrouper.delay = 0.0

#: The events asked of the kernel: all that begins, continues or ends the writing of a file, and a change of its mode.
_EVENTS: tuple[type[FileSystemEvent], ...] = (
    FileCreatedEvent,
    FileModifiedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
)

#: The only place at which watchdog says that the kernel dropped events.
_OVERFLOW_LOGGER = "watchdog.observers.inotify_c"


class EventListener(Protocol):
    """The part that is told what the kernel says; all three are called by watchdog's thread."""

    def on_file(self, path: str) -> None:
        """Note that something happened to a file, by its full path."""

    def on_folder(self, path: str) -> None:
        """Note that something happened to a subfolder, by its full path."""

    def on_overflow(self) -> None:
        """Note that the kernel has dropped events."""


class Events(FileSystemEventHandler):
    """Listens to one folder, and to its subfolders if it is recursive."""

    def __init__(self, path: Path, listener: EventListener) -> None:
        self._path = str(path)
        self._of_probes = f"{path}/{OWN_PREFIX}"
        self._listener = listener
        self._overflow_detector = _OverflowDetector(listener)
        self._observer: BaseObserver | None = None
        self._probe: str | None = None
        self._heard = threading.Event()

    def start(self, *, recursive: bool) -> None:
        """Begin to listen.

        Raises:
            OSError: the folder is gone, no thread can be started, or fs.inotify.max_user_watches or max_user_instances
                is used up.
        """
        # It says so of a new folder that it meets twice, by its event and by walking; nothing is wrong then.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        observer: BaseObserver | None = None
        try:
            observer = Observer()
            observer.schedule(self, self._path, recursive=recursive, event_filter=list(_EVENTS))
            observer.start()
        except (OSError, RuntimeError) as error:
            if observer is not None:
                with contextlib.suppress(RuntimeError):
                    observer.stop()  # it has threads from its making on
            if isinstance(error, RuntimeError):
                raise OSError(errno.EAGAIN, f"no thread can be started: {error}") from error
            raise
        self._observer = observer
        logging.getLogger(_OVERFLOW_LOGGER).addHandler(self._overflow_detector)

    def stop(self) -> None:
        """Stop listening; harmless when called twice."""
        if self._observer is not None:
            logging.getLogger(_OVERFLOW_LOGGER).removeHandler(self._overflow_detector)
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def hears(self, probe: Path, make: Callable[[], object], seconds: float) -> bool:
        """Whether an event about `probe` comes within so many seconds of `make`, which writes it."""
        self._heard.clear()
        self._probe = str(probe)
        try:
            make()
            return self._heard.wait(seconds)
        finally:
            self._probe = None

    def is_watching(self) -> bool:
        """Whether the kernel still watches the folder: it ends that when the folder is removed or unmounted."""
        if self._observer is None:
            return False
        # watchdog drops the path from this table on IN_IGNORED, and tells nobody. Where a later version has no such
        # table the answer is yes, and the comparison of device and inode is all that is left.
        if any(reader is not None and not reader.is_alive() for reader in map(_reader_of, self._observer.emitters)):
            return False
        watched = self._watched()
        if watched is not None:
            return os.fsencode(self._path) in watched
        return all(emitter.is_alive() for emitter in self._observer.emitters)

    def unwatched(self, subfolders: Iterable[str]) -> list[str]:
        """Return the subfolders that are there and that the kernel does not watch: watchdog says nothing of them."""
        watched = self._watched()
        if watched is None:
            return []
        missing = [folder for folder in subfolders if os.fsencode(f"{self._path}/{folder}") not in watched]
        return [folder for folder in missing if os.path.isdir(f"{self._path}/{folder}")]  # noqa: PTH112 - a plain text

    def _watched(self) -> Container[bytes] | None:
        """Return the paths that the kernel watches for us; None if watchdog has no such table."""
        for emitter in self._observer.emitters if self._observer is not None else ():
            watched: Container[bytes] | None = getattr(
                getattr(emitter, "_inotify", None), "_active_callbacks_by_path", None
            )
            if watched is not None:
                return watched
        return None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass on the path of a file, and that there is a new subfolder; runs in watchdog's thread."""
        if event.is_directory:
            self._listener.on_folder(os.fsdecode(event.dest_path or event.src_path))
        else:
            path = os.fsdecode(event.dest_path or event.src_path)
            if path == self._probe:
                self._heard.set()
            if not path.startswith(self._of_probes):
                self._listener.on_file(path)


def _reader_of(emitter: Any) -> threading.Thread | None:
    """Return the thread that reads the kernel's events; None if watchdog has none."""
    reader = getattr(getattr(emitter, "_inotify", None), "_inotify_fd", None)
    return reader if isinstance(reader, threading.Thread) else None


class _OverflowDetector(logging.Handler):
    """Hears watchdog say that the kernel dropped events; runs in watchdog's thread."""

    def __init__(self, listener: EventListener) -> None:
        super().__init__(logging.WARNING)
        self._listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._listener.on_overflow()
