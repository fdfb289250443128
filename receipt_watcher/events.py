"""The kernel's events about one folder: hints, never the truth.

What it promises: `hint` is called, from watchdog's thread, with the path of each file that something happened to;
`overflowed` when the kernel dropped events. Whether events come at all is proven, not believed (`hears`), and
whether the watch is still there is asked of it, for its threads stay alive when the folder is gone.

`start` and `stop` are called by the inbox's own thread. Nothing is kept on disk.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

from receipt_watcher.names import OWN_PREFIX

# watchdog holds each «moved away» event for half a second in case its other half follows, and everything behind it
# waits. Each receipt that we take is moved away, and we need no pairs.
InotifyMoveEventGrouper.delay = 0.0

#: What is asked of the kernel: all that begins, goes on with, or ends the writing of a file, and a change of its mode.
_EVENTS: tuple[type[FileSystemEvent], ...] = (
    FileCreatedEvent,
    FileModifiedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
)

#: Where watchdog says that the kernel dropped events, and nowhere else.
_OVERFLOW_LOGGER = "watchdog.observers.inotify_c"


class Events(FileSystemEventHandler):
    """Listens to one folder, and to its subfolders where it is recursive."""

    def __init__(self, path: Path, hint: Callable[[str], None], overflowed: Callable[[], None]) -> None:
        self._path = str(path)
        self._of_probes = f"{path}/{OWN_PREFIX}"
        self._pass_on = hint
        self._overflow_listener = _OverflowListener(overflowed)
        self._observer: BaseObserver | None = None
        self._probe: str | None = None
        self._heard = threading.Event()

    def start(self, *, recursive: bool) -> None:
        """Begin to listen.

        Raises:
            OSError: fs.inotify.max_user_watches or max_user_instances is used up, or the folder is gone.
        """
        # It says so of a new folder that it meets twice, by its event and by walking; nothing is wrong then.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        observer = Observer()
        try:
            observer.schedule(self, self._path, recursive=recursive, event_filter=list(_EVENTS))
            observer.start()
        except OSError:
            observer.stop()  # it has threads from its making on
            raise
        self._observer = observer
        logging.getLogger(_OVERFLOW_LOGGER).addHandler(self._overflow_listener)

    def stop(self) -> None:
        """Stop listening; harmless when called twice."""
        if self._observer is not None:
            logging.getLogger(_OVERFLOW_LOGGER).removeHandler(self._overflow_listener)
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
        for emitter in self._observer.emitters:
            group: Any = getattr(emitter, "_inotify", None)
            watched = getattr(group, "_active_callbacks_by_path", None)
            if watched is not None:
                return os.fsencode(self._path) in watched
            if not emitter.is_alive():
                return False
        return True

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass on the path of a file; runs in watchdog's thread."""
        if not event.is_directory:
            path = os.fsdecode(event.dest_path or event.src_path)
            if path == self._probe:
                self._heard.set()
            if not path.startswith(self._of_probes):
                self._pass_on(path)


class _OverflowListener(logging.Handler):
    """Hears watchdog say that the kernel dropped events; runs in watchdog's thread."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._tell()
