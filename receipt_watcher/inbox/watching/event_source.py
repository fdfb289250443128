"""Notice new files of one inbox: by the kernel's events if they are proven to come, else by listing it.

What it promises: no part of the decision looks at the path's text. The mount table says which file systems send no
events, and a probe file proves that they come. Subfolders that the kernel does not watch are found, and named once.

watchdog's thread puts names into a queue and rings; everything else runs in the inbox's own thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import structlog

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.watching.kernel_events import Events
from receipt_watcher.system.display import display_name
from receipt_watcher.system.mounts import Mount

logger = structlog.get_logger()

#: Watches that could not be had are tried again so often.
RETRY_WATCHES_SECONDS = 60.0

#: The event of the probe file may take so long. By taste: it comes in milliseconds, or never.
PROOF_SECONDS = 2.0


class EventSource:
    """The source of events of one inbox; watchdog's thread calls `ring` when it has noticed something."""

    def __init__(self, settings: Inbox, ring: Callable[[], None]) -> None:
        self.mode = "polling"
        self.why_mode = "not opened yet"
        self.is_fallback = False
        self.lacks_watch = False  # the fallback is for want of a watch, which may be had later
        self._settings = settings
        self._ring = ring
        self._events: Events | None = None
        self._hints: deque[str] = deque()
        self._new_folders: deque[str] = deque()
        self._has_missed_events = False
        self._suspects: set[str] = set()  # subfolders that were not watched when they were last looked at
        self._unwatched: set[str] = set()  # those that were not the time before, either
        self._retry_at: float | None = None

    def start(self, mount: Mount, probe: Path) -> None:
        """Decide by the mount table and by proof; `probe` is a file that may be made, and is removed by the caller."""
        wanted = self._settings.observer
        self.mode = "polling"
        self.is_fallback = self.lacks_watch = False
        if wanted == "polling":
            self.why_mode = "configured"
        elif wanted == "auto" and mount.is_polled:
            self.why_mode = f"events do not cross {mount.file_system}"
        else:
            self._listen(mount, probe)

    def _listen(self, mount: Mount, probe: Path) -> None:
        events = Events(self._settings.path, self)
        try:
            events.start(recursive=self._settings.recursive)
        except OSError as error:
            self.why_mode = f"no events ({error}); listing the folder instead"
            self.is_fallback = self.lacks_watch = True
            return
        self._events = events
        if self._settings.observer == "native":
            self.why_mode = "configured"
        elif events.hears(probe, probe.touch, PROOF_SECONDS):
            self.why_mode = f"a probe file was heard of on {mount.file_system or 'this file system'}"
        else:
            self.stop()
            self.why_mode = f"a probe file on {mount.file_system or 'this file system'} caused no event"
            self.is_fallback = True
            return
        self.mode = "native"

    def stop(self) -> None:
        """Stop listening; harmless when called twice."""
        if self._events is not None:
            self._events.stop()
            self._events = None

    @property
    def is_lost(self) -> bool:
        """Whether the folder that is listened to was removed, or unmounted."""
        return self._events is not None and not self._events.is_watching()

    # --- what was noticed ----------------------------------------------------------------------------------------

    def on_overflow(self) -> None:
        """Have the next round scan: the kernel has dropped events."""
        self._has_missed_events = True
        self._ring()

    def on_file(self, path: str) -> None:
        """Have the next round look at a file."""
        self._hints.append(path)
        self._ring()

    def on_folder(self, path: str) -> None:
        """Have the next round see whether the kernel watches a new subfolder."""
        self._new_folders.append(path)
        self._ring()

    def hints(self) -> Iterator[str]:
        """Yield the full path of each file that something happened to since the last time."""
        return _drain(self._hints)

    def has_missed_events(self) -> bool:
        """Return whether the kernel has dropped events since the last time this was asked."""
        # Taken back before the scan that answers it: the next overflow is another one.
        has_missed, self._has_missed_events = self._has_missed_events, False
        return has_missed

    # --- what is not watched -------------------------------------------------------------------------------------

    @property
    def degraded(self) -> str | None:
        """Why new files are noticed later than they should be, in words that anybody may read; None if they are not."""
        if self._unwatched:
            return f"{_are_unwatched(len(self._unwatched))}; the inbox is listed instead, and status says more"
        return "no events can be had; the inbox is listed instead, and status says more" if self.lacks_watch else None

    @property
    def is_listed(self) -> bool:
        """Whether the inbox must be listed often, since events tell nothing or not everything."""
        return self.mode == "polling" or bool(self._unwatched)

    def check_new_folders(self, is_read: Callable[[str], bool]) -> None:
        """Look at the subfolders that are new, or seemed unwatched; `is_read` says of which files are taken."""
        if self._suspects or self._new_folders:
            new = {path[len(str(self._settings.path)) + 1 :] for path in _drain(self._new_folders)}
            self.look_for_unwatched(self._suspects | set(filter(is_read, new)))

    def look_for_unwatched(self, subfolders: Iterable[str]) -> None:
        """Find subfolders that the kernel does not watch, each seen twice: a new one is watched in a moment."""
        if self._events is None:
            return
        missing = set(self._events.unwatched(subfolders))
        before, self._unwatched, self._suspects = self._unwatched, missing & self._suspects, missing
        if not self._unwatched:
            if before:
                self.why_mode = "all subfolders are watched again"
                logger.info("inbox.watches_back", inbox=self._settings.name)
            return
        self.why_mode = (
            f"{_are_unwatched(len(self._unwatched))}, such as {display_name(min(self._unwatched))}: raise "
            f"fs.inotify.max_user_watches; until then the inbox is listed every {self._settings.poll_seconds:g} s"
        )
        if not before:
            logger.warning("inbox.watches_lacking", inbox=self._settings.name, why=self.why_mode)

    def is_retry_due(self, now: float) -> bool:
        """Return whether watches that could not be had are to be tried again: once a minute; monotonic seconds."""
        if self.degraded is None:
            self._retry_at = None
        elif self._retry_at is None:
            self._retry_at = now + RETRY_WATCHES_SECONDS
        elif now >= self._retry_at:
            self._retry_at = None
            return True
        return False


def _are_unwatched(number: int) -> str:
    return "1 subfolder is not watched" if number == 1 else f"{number} subfolders are not watched"


def _drain(queue: deque[str]) -> Iterator[str]:
    while queue:
        yield queue.popleft()
