"""Watch one inbox: by events if they are proven to come, else by listing it; the scan is the truth.

What it promises: events are hints and may be lost (the kernel's queue holds 16,384); the scan finds what they missed,
and comes at once when the kernel says that it dropped some. What has settled is decided in `settling`. A folder that
is gone, was replaced, or is watched no more is an error, never an empty inbox.

watchdog's thread only puts names into a queue; everything else runs in the inbox's own thread, on a monotonic
clock that is given. Nothing is kept on disk: after a crash the first scan finds everything again. A probe file that a
crash left behind is removed by the next start.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable

import structlog

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.watching.event_source import EventSource
from receipt_watcher.inbox.watching.ignored import OWN_PREFIX
from receipt_watcher.inbox.watching.listing import listing_of
from receipt_watcher.inbox.watching.settling import Settled, Settler, Signature, times_of
from receipt_watcher.inbox.watching.unfinished import UnfinishedFiles
from receipt_watcher.system.mounts import Mount, mount_of
from receipt_watcher.system.open_files import Writers, writers_of

logger = structlog.get_logger()

#: The folder itself is looked at so often, however quiet it is: a share that is gone sends no event.
LOOK_SECONDS = 2.0


class InboxWatch:
    """Watches one inbox; `ring` is called, from watchdog's thread, when something was noticed."""

    def __init__(self, settings: Inbox, ring: Callable[[], None] = lambda: None) -> None:
        self.name = settings.name
        self.path = settings.path
        self.listing = listing_of(settings)
        self.settler = Settler(times_of(settings))
        self.unfinished = UnfinishedFiles()
        self.source = EventSource(settings, ring)
        self.writers = Writers.UNKNOWN
        self.scanned_at: float | None = None
        self._settings = settings
        self._identity: tuple[int, int] | None = None
        self._mount = Mount("", "")
        self._looked_at = 0.0
        self._shut: set[str] = set()
        self.progress: Callable[[], None] = lambda: None  # called while a scan goes on: the file system answers

    # --- how it is watched -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Prove that we may write here and how new files are noticed; the scan, which follows, finds the rest.

        Raises:
            OSError: the folder cannot be written to, so that nothing could ever be taken out of it.
        """
        mount = self.prove()
        if self.source.is_fallback:
            logger.warning("inbox.polled", inbox=self.name, why=self.source.why_mode)
        logger.info(
            "inbox.watched",
            inbox=self.name,
            path=str(self.path),
            mode=self.source.mode,
            why=self.source.why_mode,
            file_system=mount.file_system,
            writers=self.writers.value,
        )

    def prove(self) -> Mount:
        """Do what `start` does without a word, and return what the inbox is on.

        Raises:
            OSError: the folder cannot be written to.
        """
        self.stop()
        self._identity = self._identify()
        self.scanned_at = None
        self._mount = mount = mount_of(self.path)
        self._remove_old_probes()
        probe = self.path / f"{OWN_PREFIX}probe-{uuid.uuid4().hex}"
        try:
            self.source.start(mount, probe)
            probe.touch()
            self.writers = Writers.UNKNOWN if mount.is_polled else writers_of(probe)
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
        return mount

    def _remove_old_probes(self) -> None:
        for old in self.path.glob(f"{OWN_PREFIX}probe-*"):
            with contextlib.suppress(OSError):
                if old.stat().st_size == 0:
                    old.unlink()

    def stop(self) -> None:
        """Stop listening; harmless when called twice."""
        self.source.stop()

    # --- one round ---------------------------------------------------------------------------------------------

    def settled(self, now: float, limit: int) -> list[Settled]:
        """Look at what was hinted, scan if it is time, and return up to `limit` files that have settled.

        Raises:
            OSError: the inbox cannot be read; a share that is gone is no empty inbox.
        """
        self._looked_at = now
        self._check_is_there()
        self._follow_hints(now)
        if self.source.has_missed_events():
            logger.warning(
                "inbox.overflowed", inbox=self.name, why="more came at once than the kernel keeps events for"
            )
            self.scanned_at = None
        if self.source.is_retry_due(now):
            self._retry_watches()
        self.source.check_new_folders(self.listing.reads_folder)
        if self.scanned_at is None or now >= self.scanned_at + self._interval_seconds:
            self.scan(now)
        return self.settler.settled(now, self.listing.signature_of, limit)

    def _retry_watches(self) -> None:
        """Try again to have the watches that could not be had.

        Raises:
            OSError: the folder cannot be written to.
        """
        lacked_watch = self.source.lacks_watch
        self.prove()
        if lacked_watch and not self.source.lacks_watch:
            logger.info("inbox.watches_back", inbox=self.name)

    def _check_is_there(self) -> None:
        """Look whether the folder is the one that is watched, and can be used; no event would say so.

        Raises:
            OSError: it is not.
        """
        if self._identity is not None and self._identify() != self._identity:
            now = mount_of(self.path)
            if now != self._mount:
                raise OSError(
                    errno.ESTALE, f"was on {self._mount}, and is on {now}: unmounted, or mounted over", str(self.path)
                )
            raise OSError(errno.ESTALE, "was replaced by another folder", str(self.path))
        if self.source.is_lost:
            raise OSError(errno.ESTALE, "was removed and made anew, or unmounted and mounted again", str(self.path))
        if not os.access(self.path, os.W_OK | os.X_OK, effective_ids=True):
            is_read_only = os.statvfs(self.path).f_flag & os.ST_RDONLY
            number = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(number, os.strerror(number), str(self.path))

    def _identify(self) -> tuple[int, int]:
        """Return device and inode of the folder, by opening it: one that cannot be read raises."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return status.st_dev, status.st_ino

    @property
    def _interval_seconds(self) -> float:
        return self._settings.poll_seconds if self.source.is_listed else self._settings.scan_seconds

    def next_due(self) -> float:
        """Return when `settled` is to be called next, on the monotonic clock; a hint may make it sooner."""
        times = [(self.scanned_at or 0.0) + self._interval_seconds, self._looked_at + LOOK_SECONDS]
        settle_at = self.settler.next_due()
        return min(times if settle_at is None else [*times, settle_at])

    def _follow_hints(self, now: float) -> None:
        prefix = len(str(self.path)) + 1
        for relative in dict.fromkeys(path[prefix:] for path in self.source.hints()):
            if not relative or self.listing.is_ignored(relative):
                continue
            signature = self.listing.signature_of(relative)
            if signature is None:
                self.settler.gone(relative)
            else:
                self.settler.touched(relative, signature, now)

    def scan(self, now: float) -> None:
        """Read the whole inbox: the truth about what is in it."""
        present: set[str] = set()
        for relative, signature in self.listing.files():
            self.progress()
            present.add(relative)
            self.settler.seen(relative, signature, now)
        for relative in [name for name in self.settler.parked if name not in present]:
            self.settler.gone(relative)
        self.unfinished.scanned(self.listing.unfinished, now)
        self._log_shut_folders()
        self.source.look_for_unwatched(self.listing.folders)
        self.scanned_at = now

    def _log_shut_folders(self) -> None:
        for folder, error in self.listing.shut.items():
            if folder not in self._shut:
                path = self.path / folder
                logger.warning("folder.shut", inbox=self.name, path=str(path), why=error.strerror or str(error))
        self._shut = set(self.listing.shut)

    @property
    def files(self) -> int:
        """The number of files of the inbox that are known and not taken yet."""
        return len(self.settler) + len(self.settler.parked)

    def signature_of(self, relative: str) -> Signature | None:
        """Return a file's signature; None where it is no file that is to be taken."""
        return self.listing.signature_of(relative)
