"""Idempotency-Keys: which job each one is bound to.

What it promises: a key is given its job id, by a commit, before the file is moved; its answer is committed together
with the row. So whatever comes with it later, after a crash or while a move still hangs, is that job or none, never a
second one. `holding` runs in uvicorn's thread, the rest in worker threads. Keys are kept in the job log, for a day.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from starlette.requests import Request

from receipt_watcher.examine.result import Examination
from receipt_watcher.jobs.job import Job, new_job_id
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.web.access.authorization import Caller
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.uploads.placement import Placement

#: For how long a key is known.
_KEY_SECONDS = 86400.0
_KEY = re.compile("[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class KeyBinding:
    """The job that an Idempotency-Key is bound to; `status` is that of the answer, once there was one."""

    job_id: str
    status: int | None
    sha256: str | None
    inbox: str | None = None
    database: str | None = None

    def as_fact(self, now: float) -> str:
        """Return it as the log keeps it: by the time first, so that old ones are found."""
        return f"{iso_time(now)} {json.dumps([self.job_id, self.status, self.sha256, self.inbox, self.database])}"


class IdempotencyKeys:
    """The keys of all callers, as `key_of` makes them; None stands for a call without one."""

    def __init__(self, log: JobLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._under_way: set[str] = set()
        self._moving: set[str] = set()  # keys whose file is being moved, also once nobody waits for that any more

    @contextlib.contextmanager
    def holding(self, key: str | None) -> Iterator[str | None]:
        """Let one call with an Idempotency-Key be under way at a time."""
        if key in self._under_way or key in self._moving:
            raise still_under_way()
        if key is not None:
            self._under_way.add(key)
        try:
            yield key
        finally:
            self._under_way.discard(key or "")

    def begin_move(self, key: str | None) -> None:
        """Keep a key for as long as its file is being moved, even if nobody waits for that any more."""
        if key is not None:
            self._moving.add(key)

    def end_move(self, key: str | None) -> None:
        """Give the key back; harmless when it was given back."""
        self._moving.discard(key or "")

    def bind(self, key: str | None, placement: Placement, examination: Examination) -> KeyBinding:
        """Return what a key is bound to; a new one, or none, gets an id for a job of its own.

        Raises:
            RefusedError: it came with another file before, or for another inbox or database.
        """
        sha256, inbox, now = examination.sha256, placement.gate.route.name, self._clock()
        new = KeyBinding(new_job_id(now), None, sha256, inbox, placement.database)
        if key is None:
            return new
        with self._log.database.transaction():
            text = self._log.facts.upload.of(key).get()
            if text is None:
                self._log.facts.upload.of(key).put(new.as_fact(now))
                self._log.facts.upload.forget(iso_time(now - _KEY_SECONDS) or "")
                return new
        binding = KeyBinding(*json.loads(text.partition(" ")[2]))
        if binding.sha256 != sha256:
            raise RefusedError(422, "This Idempotency-Key came with another file before.")
        if binding.inbox != inbox:
            raise RefusedError(422, f"This Idempotency-Key came for the inbox {binding.inbox} before.")
        if binding.database != placement.database:
            raise RefusedError(422, "This Idempotency-Key came for another database before.")
        return binding

    def keep_answer(self, key: str | None, binding: KeyBinding, job: Job, status: int) -> None:
        """Keep how a key is answered; called inside the transaction of its job's row."""
        if key is not None:
            answered = replace(binding, job_id=job.job_id, status=status)
            self._log.facts.upload.of(key).put(answered.as_fact(self._clock()))


def key_of(request: Request, caller: Caller) -> str | None:
    """Return what stands for an Idempotency-Key of one caller."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise RefusedError(422, "An Idempotency-Key has 1 to 255 printable characters of ASCII, and comes once.")
    return hashlib.sha256(f"{caller.name}\0{given[0]}".encode()).hexdigest()


def still_under_way() -> RefusedError:
    """Return how a call is answered whose key another call has at the moment."""
    return RefusedError(409, "A call with this Idempotency-Key is still under way.", headers={"Retry-After": "10"})
