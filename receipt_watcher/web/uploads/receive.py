"""Receipts that are handed in by HTTP: streamed to disk, examined, and taken in like those of the folder.

What it promises: 202 means durable and recorded, as for a file in processing/. An upload grows in state_dir/uploads/,
where nobody takes it for a receipt; only when it is whole, on disk and examined is it moved into processing/<job_id>/,
with the gate of its inbox held, and recorded by the same `TakeIn`. Before that move a crash leaves a file there that
nobody was told of, which the next start removes; after it, an orphan in processing/, which it records.

An Idempotency-Key is given its job id, by a commit, before the file is moved; its answer is committed together with
the row. So whatever comes with it later, after a crash or while a move still hangs, is that job or none, never a
second one.

Runs in uvicorn's thread; what touches disks runs in a few worker threads, so that a share that hangs holds up no
callback.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import re
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from receipt_watcher.config.roles import Right
from receipt_watcher.config.secrets import without_paths
from receipt_watcher.errors import SpoolError
from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.inbox.duplicates import UPLOAD_FACT
from receipt_watcher.inbox.gate import MOVE_LIMIT_SECONDS, Gate
from receipt_watcher.inbox.take_in import Upload
from receipt_watcher.jobs.job import Job, new_job_id
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import OPEN_STATES, State
from receipt_watcher.system.time_limit import within
from receipt_watcher.web.access.callers import Access, Caller
from receipt_watcher.web.problem import NeverTakenError, RefusedError
from receipt_watcher.web.server.connections import tell_connection
from receipt_watcher.web.uploads.form import Form, file_at_end
from receipt_watcher.web.uploads.places import CallerPlaces

logger = structlog.get_logger()

FOLDER = "uploads"
_UNFINISHED = "receiving"

#: How long the sender may take for so much, and how long an upload waits for its turn.
_PART_SECONDS = 30.0
_PART_BYTES = 64 * 1024
_TURN_SECONDS = 20.0
_TAKEN_SECONDS = _TURN_SECONDS + MOVE_LIMIT_SECONDS
#: How many uploads are under way, in all and of one caller; and how many threads receive them, and take them in.
_AT_ONCE, _OF_CALLER = 16, 4
_RECEIVING_THREADS, _TAKING_THREADS = 2, 4
#: Handed to the disk at a time.
_PIECE_BYTES = 256 * 1024
#: What besides the file a form may hold.
_FORM_BYTES = 64 * 1024
#: So much stays free for the job log, whoever uploads.
_RESERVE_BYTES = 64 * 1024 * 1024
#: For how long an Idempotency-Key is known.
_KEY_SECONDS = 86400.0
_MOST_DATABASE_CHARACTERS = 200
_Result = TypeVar("_Result")
_KEY = re.compile("[!-~]{1,255}")
_FIELDS = {"inbox", "notion_database_id", "csrf"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a receipt goes; `database` is what it named, if that is not its branch's."""

    gate: Gate
    relative: Path
    database: str | None = None


@dataclass(frozen=True, slots=True)
class TakenUpload:
    """A receipt that was taken, its job, and the first one of the same bytes where it is a copy.

    `status` is that of the answer: 202 for one that is on its way, 200 for one that came before.
    """

    job: Job
    first: Job
    status: int


@dataclass(frozen=True, slots=True)
class _Binding:
    """The job that an Idempotency-Key is bound to; `status` is that of the answer, once there was one."""

    job_id: str
    status: int | None
    sha256: str | None
    inbox: str | None = None
    database: str | None = None

    def as_fact(self, now: float) -> str:
        """Return it as the log keeps it: by the time first, so that old ones are found."""
        return f"{iso_time(now)} {json.dumps([self.job_id, self.status, self.sha256, self.inbox, self.database])}"


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
        self._folder = state_dir / FOLDER
        self._gates = gates
        self._log = log
        self._access = access
        self._examine = examine
        self._clock = clock
        self._places = CallerPlaces(_AT_ONCE, _OF_CALLER)
        self._receiving = asyncio.Semaphore(_RECEIVING_THREADS)
        self._taking = asyncio.Semaphore(_TAKING_THREADS)
        self._expected: dict[Path, int] = {}  # the bytes of those that are under way, by folder
        self._keys: set[str] = set()
        self._moving: set[str] = set()  # keys whose file is being moved, also once nobody waits for that any more

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
        announced = _announced(request)
        if announced is not None and announced > max_bytes + _FORM_BYTES:
            raise RefusedError(413, f"A receipt may have {max_bytes:,} bytes (limits.max_file_mb).")
        with self._holding(_key_of(request, caller)) as key:
            async with self._turn(caller.name):
                tell_connection(request, "prefer")
                folder = self._folder / uuid.uuid4().hex
                try:
                    self._expected[folder] = announced or max_bytes
                    form = await self._receive(request, folder / _UNFINISHED, max_bytes)
                    self._access.check_field(request, caller, form.fields.get("csrf"))
                    async with self._taking:
                        return await run_in_threadpool(self._take, caller, folder, form, key)
                finally:
                    self._expected.pop(folder, None)
                    await self._on_disk(shutil.rmtree, folder, ignore_errors=True)

    @contextlib.asynccontextmanager
    async def _turn(self, caller: str) -> AsyncIterator[None]:
        if not await self._places.wait(caller, _TURN_SECONDS):
            busy = "Other uploads are under way; send it again in a moment."
            raise RefusedError(503, busy, headers={"Retry-After": "10"})
        try:
            yield
        finally:
            self._places.give_back(caller)

    async def _on_disk(self, do: Callable[..., _Result], *arguments: object, **options: object) -> _Result:
        """Do something with the disk of state_dir, in one of few threads."""
        async with self._receiving:
            return await run_in_threadpool(do, *arguments, **options)

    @contextlib.contextmanager
    def _holding(self, key: str | None) -> Iterator[str | None]:
        """Let one call with an Idempotency-Key be under way at a time."""
        if key in self._keys or key in self._moving:
            raise _under_way()
        if key is not None:
            self._keys.add(key)
        try:
            yield key
        finally:
            self._keys.discard(key or "")

    # --- the form --------------------------------------------------------------------------------------------------

    async def _receive(self, request: Request, path: Path, max_bytes: int) -> Form:
        """Stream a form's file to a path, and return the rest of it."""
        file = await self._on_disk(self._begin, path, sum(self._expected.values()))
        try:
            form = Form(request.headers.get("content-type", ""), file, max_bytes)
            waiting = bytearray()
            async for piece in _not_too_slowly(request.stream()):
                waiting += piece
                if len(waiting) >= _PIECE_BYTES:
                    await self._on_disk(form.feed, bytes(waiting))
                    waiting.clear()
            await self._on_disk(form.feed, bytes(waiting))
            await self._on_disk(file_at_end, file)
        except TimeoutError:
            slow = f"Less than {_PART_BYTES // 1024} KiB came in {_PART_SECONDS:g} seconds; nothing was kept."
            raise RefusedError(408, slow, headers={"Connection": "close"}) from None
        except ClientDisconnect:
            raise RefusedError(400, "The sender left; nothing was kept.") from None
        except OSError as error:
            raise _no_room(error) from error
        finally:
            file.close()
        _check_form(form)
        return form

    def _begin(self, path: Path, size: int) -> BinaryIO:
        """Open a file; `size` is what all uploads that are under way may come to."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir()
            if shutil.disk_usage(path.parent).free < size + _RESERVE_BYTES:
                raise OSError(errno.ENOSPC, "too little room is left for it")
            return path.open("xb")
        except OSError as error:
            raise _no_room(error) from error

    # --- the receipt -----------------------------------------------------------------------------------------------

    def _take(self, caller: Caller, folder: Path, form: Form, key: str | None) -> TakenUpload:
        place = self._place_of(form)
        gate = place.gate
        rule = gate.watch.listing.rule_for(str(place.relative))
        if rule is not None:
            why = f"By its name it is no receipt: {rule.pattern} of {rule.pack}."
            raise NeverTakenError(422, why)
        try:
            path = (folder / _UNFINISHED).rename(folder / place.relative.name)  # its name is examined, too
            examination = self._examine(path, gate.route.limits)
            binding = self._binding(key, place, examination)
            known = self._known(binding)
            if known is not None:
                return self._taken(*known)
            upload = Upload(
                binding.job_id,
                path,
                place.relative,
                examination,
                is_known=lambda: key is not None and self._known(self._binding(key, place, examination)) is not None,
                note=lambda job: self._note(job, caller, binding, key),
                database=place.database,
            )
            job = self._moved(gate, upload, key)
        except (OSError, SpoolError) as error:
            said = str(getattr(error, "strerror", None) or error)
            folders = gate.route.spool.folders
            if not caller.may(Right.READ):
                said = without_paths(said, folders.inbox, folders.processing, folders.done, folders.failed)
            why = f"It cannot be taken in now ({said}); send it again in a moment."
            raise RefusedError(503, why, headers={"Retry-After": "10"}) from error
        if job is None:  # the first call with this key has just been here, or a crash left its file to be recorded
            known = self._known(self._binding(key, place, examination))
            if known is None:
                raise _under_way()
            return self._taken(*known)
        logger.info("upload.taken", job_id=job.job_id, inbox=job.inbox, by=caller.name, status=job.state.value)
        return self._taken(job, _status_of(job))

    def _place_of(self, form: Form) -> _Place:
        """Return where a receipt goes: to the inbox that is named, to that of the database, or to the only one.

        Raises:
            RefusedError: there is none, there are several, or inbox and database contradict each other.
        """
        inbox, database = form.fields.get("inbox", ""), form.fields.get("notion_database_id", "")
        name = form.filename or ""
        gates = [gate for gate in self._gates if inbox in ("", gate.route.name)]
        if not gates:
            raise RefusedError(422, f"There is no inbox {inbox[:80]!r}.")
        if database:
            return _place_by_database(gates, database, name)
        return _Place(_only(gates, ""), Path(name))

    def _binding(self, key: str | None, place: _Place, examination: Examination) -> _Binding:
        """Return what a key is bound to; a new one, or none, gets an id for a job of its own.

        Raises:
            RefusedError: it came with another file before, or for another inbox or database.
        """
        sha256, inbox, now = examination.sha256, place.gate.route.name, self._clock()
        new = _Binding(new_job_id(now), None, sha256, inbox, place.database)
        if key is None:
            return new
        with self._log.database.transaction():
            fact = self._log.facts.get(UPLOAD_FACT + key)
            if fact is None:
                self._log.facts.keep(UPLOAD_FACT + key, new.as_fact(now))
                self._log.facts.forget(UPLOAD_FACT, iso_time(now - _KEY_SECONDS) or "")
                return new
        binding = _Binding(*json.loads(fact.partition(" ")[2]))
        if binding.sha256 != sha256:
            raise RefusedError(422, "This Idempotency-Key came with another file before.")
        if binding.inbox != inbox:
            raise RefusedError(422, f"This Idempotency-Key came for the inbox {binding.inbox} before.")
        if binding.database != place.database:
            raise RefusedError(422, "This Idempotency-Key came for another database before.")
        return binding

    def _known(self, binding: _Binding) -> tuple[Job, int] | None:
        """Return the job of a key and how it is answered; None where it has none yet."""
        job = self._log.lookups.get(binding.job_id)
        return None if job is None else (job, binding.status or _status_of(job))

    def _moved(self, gate: Gate, upload: Upload, key: str | None) -> Job | None:
        """Have the gate take it in; what takes too long goes on, and keeps its key until it ends."""

        def move() -> Job | None:
            try:
                return gate.take_upload(upload, _TURN_SECONDS)
            finally:
                self._moving.discard(key or "")

        if key is not None:
            self._moving.add(key)
        try:
            return within(_TAKEN_SECONDS, move, "the file system")
        except RuntimeError:  # no thread could be started
            self._moving.discard(key or "")
            raise

    def _note(self, job: Job, caller: Caller, binding: _Binding, key: str | None) -> None:
        """Write down who brought it, and the answer to its key; called inside the transaction of its row."""
        now = self._clock()
        where = "" if binding.database is None else f", for the database {binding.database}"
        self._log.histories.note(job.job_id, now, "upload", detail=f"by {caller.name}{where}")
        if key is not None:
            answered = replace(binding, job_id=job.job_id, status=_status_of(job))
            self._log.facts.keep(UPLOAD_FACT + key, answered.as_fact(now))

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


def _place_by_database(gates: Sequence[Gate], database: str, name: str) -> _Place:
    """Return where a receipt for a database goes: to a subfolder or inbox that has it, or to one that takes any."""
    found = {
        gate: branch
        for gate in gates
        for branch in gate.route.branches  # the outermost comes last
        if branch.notion_database_id == database
    }
    if found:
        # Inboxes that send to one workflow are as good as each other.
        is_one = len({branch.target for branch in found.values()}) == 1
        gate = next(iter(found)) if is_one else _only(list(found), f" with the database {database[:80]!r}")
        return _Place(gate, Path(found[gate].subfolder) / name)
    takers = [gate for gate in gates if gate.route.takes_any_database]
    if not takers:
        which = f"The inbox {gates[0].route.name} does not go" if len(gates) == 1 else "No inbox goes"
        raise RefusedError(
            422,
            f"{which} to the database {database[:80]!r}. Leave out notion_database_id or name another one; an admin "
            "can let uploads name any: upload_database: any.",
        )
    if len(database) > _MOST_DATABASE_CHARACTERS or not database.isprintable():
        raise RefusedError(422, f"A database has {_MOST_DATABASE_CHARACTERS} printable characters at the most.")
    return _Place(_only(takers, ""), Path(name), database)


def _only(gates: Sequence[Gate], which: str) -> Gate:
    """Return the one gate that is possible.

    Raises:
        RefusedError: there are several.
    """
    if len(gates) > 1:
        names = ", ".join(gate.route.name for gate in gates)
        raise RefusedError(422, f"Say which inbox{which} it is for (the field inbox): {names}.")
    return gates[0]


def clear(state_dir: Path) -> None:
    """Remove what a crash left of uploads that nobody was told of; called before any comes."""
    shutil.rmtree(state_dir / FOLDER, ignore_errors=True)


def _status_of(job: Job) -> int:
    """Return how an upload is answered whose receipt belongs to this job."""
    if job.state is State.FAILURE:
        return 422
    return 202 if job.state in OPEN_STATES else 200


def _check_form(form: Form) -> None:
    if not form.is_whole:
        raise RefusedError(422, "The form ends before its end; nothing was kept.")
    if form.filename is None:
        raise RefusedError(422, "The form has no part «file».")
    unknown = sorted(form.fields.keys() - _FIELDS)
    if unknown:
        raise RefusedError(422, f"The form has a field {unknown[0][:80]!r}, which is not known here.")


async def _not_too_slowly(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what comes; the time counts that we wait for it, not the time that we take.

    Raises:
        TimeoutError: less than _PART_BYTES came in _PART_SECONDS.
    """
    loop = asyncio.get_running_loop()
    left, came = _PART_SECONDS, 0
    while True:
        began = loop.time()
        async with asyncio.timeout(left):
            piece = await anext(pieces, None)
        if piece is None:
            return
        left, came = left - (loop.time() - began), came + len(piece)
        if came >= _PART_BYTES:
            left, came = _PART_SECONDS, 0
        yield piece


def _announced(request: Request) -> int | None:
    """Return the size of the body, where it is said before."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _key_of(request: Request, caller: Caller) -> str | None:
    """Return what stands for an Idempotency-Key of one caller."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise RefusedError(422, "An Idempotency-Key has 1 to 255 printable characters of ASCII, and comes once.")
    return hashlib.sha256(f"{caller.name}\0{given[0]}".encode()).hexdigest()


def _under_way() -> RefusedError:
    return RefusedError(409, "A call with this Idempotency-Key is still under way.", headers={"Retry-After": "10"})


def _no_room(error: OSError) -> RefusedError:
    return RefusedError(507, f"The disk of state_dir does not take it ({error.strerror or error}).")
