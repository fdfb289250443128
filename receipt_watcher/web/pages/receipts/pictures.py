"""Pictures of receipts' first pages for the status page: made on demand, kept for a day.

What it promises: each is drawn in a process of its own that ends with it (`Examiners`), so that a hostile file spoils
neither the daemon nor another receipt's picture. They are kept in the state folder, at most 64 MB of them and for a
day: a picture is gone a day after retention removed its receipt. A file that cannot be drawn is not tried again soon.

Runs in the worker threads of the HTTP side; `trim` is a periodic task. A crash leaves pictures, perhaps half of one
under a temporary name; `trim` removes both.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from receipt_watcher.examine.examiners import Examiners
from receipt_watcher.examine.result import ACCEPTED_MIME_TYPES
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS
from receipt_watcher.web.files.fetching import Absence, Fetching

KEPT_BYTES = 64 * 1024 * 1024
KEPT_SECONDS = 24 * 3600.0

#: So many files are remembered that cannot be drawn.
_UNDRAWN = 1000


class Pictures:
    """The pictures of one installation. `max_pixels` is how many a receipt may have."""

    def __init__(
        self, folder: Path, fetching: Fetching, examiners: Examiners, *, max_pixels: int, clock: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._fetching = fetching
        self._examiners = examiners
        self._max_pixels = max_pixels
        self._clock = clock
        self._drawing = threading.Lock()  # one at a time: it is nobody's work but a viewer's
        self._undrawn: dict[str, None] = {}

    def close(self) -> None:
        """End what is being drawn."""
        self._examiners.close()

    def picture_of(self, job: Job) -> bytes | None:
        """Return a picture (JPEG) of a receipt's first page; None where there is none. This may take seconds.

        Raises:
            OSError: it cannot be drawn now, but perhaps later.
            JobLogError: the log cannot be asked where the file is.
        """
        if job.sha256 is None or job.mime_type is None or not is_drawable(job):
            return None
        kept = self._folder / f"{job.sha256}.jpg"
        with self._drawing:
            with contextlib.suppress(OSError):
                return kept.read_bytes()
            if job.sha256 in self._undrawn:
                return None
            picture = self._drawn(job, job.sha256, job.mime_type)
            if picture is None:
                self._remember_undrawn(job.sha256)
            else:
                self._store(kept, picture)
            return picture

    def _drawn(self, job: Job, sha256: str, mime_type: str) -> bytes | None:
        opened = self._fetching.open(job.job_id, sha256)
        if isinstance(opened, Absence):
            raise FileNotFoundError(opened.words)
        try:
            return self._examiners.draw(opened.fileno(), mime_type, self._max_pixels)
        finally:
            opened.close()

    def _remember_undrawn(self, sha256: str) -> None:
        self._undrawn[sha256] = None
        if len(self._undrawn) > _UNDRAWN:
            del self._undrawn[next(iter(self._undrawn))]

    def _store(self, path: Path, picture: bytes) -> None:
        """Keep a picture; a disk that is full costs the picture, nothing else."""
        temporary = path.with_suffix(".part")
        now = self._clock()
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            temporary.write_bytes(picture)
            os.utime(temporary, (now, now))
            temporary.replace(path)

    def trim(self) -> None:
        """Remove what is older than a day, and the oldest of what is too much."""
        now = self._clock()
        kept_bytes = 0
        for path, status in sorted(self._all(), key=lambda each: each[1].st_mtime, reverse=True):
            kept_bytes += status.st_size
            if kept_bytes > KEPT_BYTES or not 0 <= now - status.st_mtime < KEPT_SECONDS:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _all(self) -> list[tuple[Path, os.stat_result]]:
        pictures = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._folder):
                with contextlib.suppress(OSError):
                    pictures.append((Path(entry.path), entry.stat(follow_symlinks=False)))
        return pictures


def is_drawable(job: Job) -> bool:
    """Return whether there may be a picture of a receipt: its file is there, and passed its examination."""
    is_sound = job.mime_type in ACCEPTED_MIME_TYPES and job.reason not in EXAMINATION_REASONS
    return is_sound and job.sha256 is not None and job.removed_at is None
