"""Callbacks that the job log could not take, kept in the state folder until it can.

What it promises: N8N posts a callback once. One that is kept is durable (file and folder are flushed) before it is
answered. Only the service's user may read it. The oldest is applied first, before anything is claimed or expired, also
after a restart. So the receipt is not sent again for it. At most `MOST_CALLBACKS` and `MOST_BYTES` are kept; what
comes then is not kept, and N8N is asked to post it again.

Without the log nobody can tell whether a job exists, so a right token and a well-formed id are enough to be kept. If
there is no such job when the callback is applied, it stays for `UNKNOWN_SECONDS`: a file in processing/ may still get
its row, and then it is applied at once. After that time it is removed. Both are logged. The latest `MOST_UNKNOWN` stay.
While a folder is still to be compared with a log that was lost or restored, `MOST_CALLBACKS` stay, of any age.

Any thread may call it. A crash leaves a whole file, or a part under a name that the next start removes. One that was
applied and not removed yet is applied again, which changes nothing.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from receipt_watcher.delivery.callbacks import Callbacks, Reception
from receipt_watcher.jobs.job import is_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.verdict import parse_verdict
from receipt_watcher.system.disk import flush_folder

logger = structlog.get_logger()

MOST_CALLBACKS = 10_000
MOST_BYTES = 128 * 1024 * 1024
MOST_UNKNOWN = 1000

#: Time for which a callback for an unknown job is kept.
UNKNOWN_SECONDS = 24 * 3600.0

#: Errors that keep a file from being read for a while: it is neither damaged nor gone.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT})

_SUFFIX = ".json"
_PARTIAL_SUFFIX = ".partial"


@dataclass(frozen=True, slots=True)
class KeptCallback:
    """A callback with a right token, as it came at `at` (Unix seconds); `why` it is no verdict, if it is none."""

    job_id: str
    body: bytes
    why: str | None
    at: float


#: Writes one down in the job log.
Take = Callable[[KeptCallback], Reception]


def conclude_kept(callbacks: Callbacks, kept: KeptCallback) -> Reception:
    """Write down a callback that was kept while the log could not be written."""
    why = kept.why
    try:
        verdict = None if why is not None else parse_verdict(kept.body)
    except ValueError as error:  # another version kept it
        verdict, why = None, str(error)
    if verdict is not None:
        return callbacks.conclude(kept.job_id, verdict)
    is_known = callbacks.keep_unreadable(kept.job_id, kept.body, why or "")
    return Reception.RECEIVED if is_known else Reception.UNKNOWN


class KeptCallbacks:
    """All callbacks that are kept in `folder`, until `apply` has them written down in the job log."""

    def __init__(self, folder: Path, log: JobLog, *, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._log = log
        self._clock = clock
        self._changing = threading.Lock()
        self._applying = threading.Lock()
        self._being_written = 0
        self._waiting: dict[Path, int] = {}  # with their sizes in bytes, the oldest first
        self._unknown: dict[Path, str] = {}  # those whose job was not there when they were applied, with its id

    def load(self) -> None:
        """Find what an earlier process kept."""
        for path in sorted(self._folder.glob(f"*{_PARTIAL_SUFFIX}")):
            path.unlink(missing_ok=True)
        paths = sorted(self._folder.glob(f"[0-9]*-*{_SUFFIX}"))
        with self._changing:
            self._waiting = {path: path.stat().st_size for path in paths}

    @property
    def are_due(self) -> bool:
        """Return whether any is to be applied before anything else happens to a job."""
        return bool(self._waiting or self._being_written)

    def store(self, job_id: str, body: bytes, why: str | None) -> bool:
        """Keep a callback durably; return False if it cannot be: then nobody may be told that it was received."""
        if not is_job_id(job_id):
            return False
        at = self._clock()
        content = json.dumps(
            {"job_id": job_id, "at": at, "why": why, "body": base64.b64encode(body).decode("ascii")}
        ).encode("ascii")
        path = self._folder / f"{round(at * 1000):015}-{uuid.uuid4().hex}{_SUFFIX}"
        with self._changing:
            self._being_written += 1  # from here on nothing is claimed or expired until it is applied
            is_full = len(self._waiting) >= MOST_CALLBACKS or sum(self._waiting.values()) + len(content) > MOST_BYTES
        why_not = "too many are kept already" if is_full else None
        try:
            if not is_full:
                self._write(path, content)
        except OSError as error:
            why_not = error.strerror or str(error)
        with self._changing:
            if why_not is None:
                self._waiting[path] = len(content)
            self._being_written -= 1
        if why_not is None:
            logger.warning("callback.kept", job_id=job_id)
        else:
            logger.error("callback.not_kept", job_id=job_id, path=str(self._folder), why=why_not)
        return why_not is None

    def _write(self, path: Path, content: bytes) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            flush_folder(self._folder.parent)
        partial = path.with_suffix(_PARTIAL_SUFFIX)
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor, for its mode
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
            flush_folder(self._folder)
        except OSError:
            partial.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise

    def apply(self, take: Take) -> None:
        """Write down what is kept.

        Raises:
            JobLogError: the log still does not take them; they stay.
            OSError: one cannot be read for a while, as when too many files are open; it stays.
        """
        with self._applying:
            for path in tuple(self._waiting):
                self._apply(path, take)

    def apply_to_new_jobs(self, take: Take, *, may_still_come: bool = False) -> None:
        """Write down what came for jobs that were not there, and are now; remove what is too old for that.

        None is too old while jobs may still come from a folder that has not been compared with the log.

        Raises:
            JobLogError: the log does not take them; they stay.
        """
        with self._applying:
            for path, job_id in tuple(self._unknown.items()):
                if self._log.lookups.get(job_id) is not None:
                    self._apply(path, take)
                elif not may_still_come and self._clock() - _kept_at(path) >= UNKNOWN_SECONDS:
                    self._drop(path)
            while len(self._unknown) > (MOST_CALLBACKS if may_still_come else MOST_UNKNOWN):
                self._drop(next(iter(self._unknown)))

    def _apply(self, path: Path, take: Take) -> None:
        try:
            callback = _read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, OSError) and error.errno in _PASSING:
                raise  # it was answered: nothing is sent again before it has been applied
            self._forget(path)
            logger.warning("callback.dropped", path=str(path), why=f"its file cannot be read ({error})")
            return
        if take(callback) is not Reception.UNKNOWN:
            self._forget(path)
            path.unlink(missing_ok=True)
            logger.info("callback.applied", job_id=callback.job_id)
            return
        self._forget(path)
        self._unknown[path] = callback.job_id
        logger.warning("callback.unknown_job", job_id=callback.job_id, path=str(path))

    def _drop(self, path: Path) -> None:
        logger.warning("callback.dropped", job_id=self._unknown[path], why="there is no such job")
        self._forget(path)
        path.unlink(missing_ok=True)

    def _forget(self, path: Path) -> None:
        with self._changing:
            self._waiting.pop(path, None)
            self._unknown.pop(path, None)


def _kept_at(path: Path) -> float:
    """Return when a callback was kept, in Unix seconds, as its name says."""
    return int(path.name.partition("-")[0]) / 1000


def _read(path: Path) -> KeptCallback:
    fields = json.loads(path.read_bytes())
    return KeptCallback(
        fields["job_id"], base64.b64decode(fields["body"], validate=True), fields["why"], float(fields["at"])
    )
