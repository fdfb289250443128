"""Receipts that are handed in by HTTP: streamed to disk, examined, and taken in like those of the folder.

What it promises: 202 means durable and recorded, as for a file in processing/. An upload grows in state_dir/uploads/,
where nobody takes it for a receipt; only when it is whole, on disk and examined is it moved into processing/<job_id>/,
with the gate of its inbox held, and recorded by the same `TakeIn`. Before that move a crash leaves a file there that
nobody was told of, which the next start removes; after it, an orphan in processing/, which it records.

Runs in uvicorn's thread; what touches disks runs in a few worker threads, so that a share that hangs holds up no
callback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receipt_watcher.config.roles import Right
from receipt_watcher.config.secrets import without_paths
from receipt_watcher.errors import SpoolError
from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.take_in import Upload
from receipt_watcher.inbox.turns import MOVE_LIMIT_SECONDS
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import OPEN_STATES, State
from receipt_watcher.system.time_limit import within
from receipt_watcher.web.access.authorization import Access, Caller
from receipt_watcher.web.problem import NeverTakenError, RefusedError
from receipt_watcher.web.server.connections import notify_connection
from receipt_watcher.web.uploads.form import Form
from receipt_watcher.web.uploads.idempotency import IdempotencyKeys, KeyBinding, key_of, still_under_way
from receipt_watcher.web.uploads.placement import placement_of
from receipt_watcher.web.uploads.reception import TURN_SECONDS, UNFINISHED, UploadReception, announced_bytes

logger = structlog.get_logger()

#: Time limit for the gate, and the number of threads that take uploads in.
_TAKEN_SECONDS = TURN_SECONDS + MOVE_LIMIT_SECONDS
_TAKING_THREADS = 4


@dataclass(frozen=True, slots=True)
class TakenUpload:
    """A receipt that was taken, its job, and the first one of the same bytes where it is a copy.

    `status` is that of the answer: 202 for one that is on its way, 200 for one that came before.
    """

    job: Job
    first: Job
    status: int


class Uploads:
    """Receives receipts for all inboxes."""

    def __init__(
        self,
        state_dir: Path,
        gates: Sequence[Gate],
        log: JobLog,
        access: Access,
        *,
        examine: Callable[[Path, FileLimits], Examination],
        clock: Callable[[], float],
    ) -> None:
        self._gates = gates
        self._log = log
        self._access = access
        self._examine = examine
        self._clock = clock
        self._reception = UploadReception(state_dir)
        self._keys = IdempotencyKeys(log, clock)
        self._taking = asyncio.Semaphore(_TAKING_THREADS)

    async def answer(self, request: Request, caller: Caller) -> Response:
        """Take a receipt, and answer what became of it, as JSON.

        Raises:
            RefusedError: it is not taken.
        """
        taken = await self.take(request, caller)
        location = f"{request.scope.get('root_path', '')}/api/v1/jobs/{taken.first.job_id}"
        body = {"job_id": taken.first.job_id, "status": taken.first.state.value}
        return JSONResponse(body, taken.status, {"Location": location})

    async def take(self, request: Request, caller: Caller) -> TakenUpload:
        """Take a receipt that comes by a form.

        Raises:
            RefusedError: it is not taken.
        """
        max_bytes = max(gate.route.limits.max_file_bytes for gate in self._gates)
        size = announced_bytes(request, max_bytes) or max_bytes
        with self._keys.holding(key_of(request, caller)) as key:
            async with self._reception.turn(caller.name):
                notify_connection(request, "prefer")
                async with self._reception.folder(size) as folder:
                    form = await self._reception.receive(request, folder, max_bytes)
                    self._access.check_field(request, caller, form.fields.get("csrf"))
                    async with self._taking:
                        return await run_in_threadpool(self._take, caller, folder, form, key)

    def _take(self, caller: Caller, folder: Path, form: Form, key: str | None) -> TakenUpload:
        placement = placement_of(form, self._gates)
        gate = placement.gate
        rule = gate.watch.listing.rule_for(str(placement.relative))
        if rule is not None:
            why = f"By its name it is no receipt: {rule.pattern} of {rule.pack}."
            raise NeverTakenError(422, why)

        def job_of_key() -> tuple[Job, int] | None:
            return self._known(self._keys.bind(key, placement, examination))

        try:
            path = (folder / UNFINISHED).rename(folder / placement.relative.name)  # its name is examined, too
            examination = self._examine(path, gate.route.limits)
            binding = self._keys.bind(key, placement, examination)
            known = self._known(binding)
            if known is not None:
                return self._taken(*known)
            upload = Upload(
                binding.job_id,
                path,
                placement.relative,
                examination,
                is_known=lambda: key is not None and job_of_key() is not None,
                note=lambda job: self._note(job, caller, binding, key),
                database=placement.database,
            )
            job = self._moved(gate, upload, key)
        except (OSError, SpoolError) as error:
            why_not = str(getattr(error, "strerror", None) or error)
            folders = gate.route.spool.folders
            if not caller.has_right(Right.READ):
                why_not = without_paths(why_not, folders.inbox, folders.processing, folders.done, folders.failed)
            why = f"It cannot be taken in now ({why_not}); send it again in a moment."
            raise RefusedError(503, why, headers={"Retry-After": "10"}) from error
        if job is None:  # the first call with this key has just been here, or a crash left its file to be recorded
            known = job_of_key()
            if known is None:
                raise still_under_way()
            return self._taken(*known)
        logger.info("upload.taken", job_id=job.job_id, inbox=job.inbox, by=caller.name, status=job.state.value)
        return self._taken(job, _status_of(job))

    def _known(self, binding: KeyBinding) -> tuple[Job, int] | None:
        """Return the job of a key and how it is answered; None where it has none yet."""
        job = self._log.lookups.get(binding.job_id)
        return None if job is None else (job, binding.status or _status_of(job))

    def _moved(self, gate: Gate, upload: Upload, key: str | None) -> Job | None:
        """Have the gate take it in; what takes too long goes on, and keeps its key until it ends."""

        def move() -> Job | None:
            try:
                return gate.take_upload(upload, TURN_SECONDS)
            finally:
                self._keys.end_move(key)

        self._keys.begin_move(key)
        try:
            return within(_TAKEN_SECONDS, move, "the file system")
        except RuntimeError:  # no thread could be started
            self._keys.end_move(key)
            raise

    def _note(self, job: Job, caller: Caller, binding: KeyBinding, key: str | None) -> None:
        """Write down who brought it, and the answer to its key; called inside the transaction of its row."""
        where = "" if binding.database is None else f", for the database {binding.database}"
        self._log.histories.note(job.job_id, self._clock(), "upload", detail=f"by {caller.name}{where}")
        self._keys.keep_answer(key, binding, job, _status_of(job))

    def _taken(self, job: Job, status: int) -> TakenUpload:
        """Return what was taken.

        Raises:
            RefusedError: the examination refused it.
        """
        if status == 422:  # noqa: PLR2004 - RFC 9110
            reason = job.reason
            detail = f"{job.message or (reason.meaning if reason else '')} {reason.advice if reason else ''}".strip()
            code = reason.value if reason else None
            raise RefusedError(422, detail or "It was refused.", reason=code, job_id=job.job_id)
        first = self._log.lookups.get(job.duplicate_of or "") if job.state is State.DUPLICATE else None
        return TakenUpload(job, first or job, status)


def _status_of(job: Job) -> int:
    """Return how an upload is answered whose receipt belongs to this job."""
    if job.state is State.FAILURE:
        return 422
    return 202 if job.state in OPEN_STATES else 200
