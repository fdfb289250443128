"""Streams the form of an upload to the disk of state_dir, within bounds of time, size and number.

What it promises: an upload grows in a folder of its own in state_dir/uploads/, where nobody takes it for a receipt.
What does not come whole is removed. So much of the disk stays free as the job log needs, whoever uploads.

Runs in uvicorn's thread; the disk is written to in a few worker threads. A crash leaves a folder there, which the next
start removes (`clear`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.uploads.form import Form, file_at_end
from receipt_watcher.web.uploads.places import CallerPlaces

_FOLDER = "uploads"
UNFINISHED = "receiving"

#: Time limit for each part of this size, and the longest wait of an upload for its turn.
_PART_SECONDS = 30.0
_PART_BYTES = 64 * 1024
TURN_SECONDS = 20.0
#: Most uploads under way, in all and of one caller; and the number of threads that receive them.
_AT_ONCE, _OF_CALLER = 16, 4
_RECEIVING_THREADS = 2
#: Handed to the disk at a time.
_PIECE_BYTES = 256 * 1024
#: Most bytes of a form besides its file.
_FORM_BYTES = 64 * 1024
#: So much stays free for the job log, whoever uploads.
_RESERVE_BYTES = 64 * 1024 * 1024
_FIELDS = {"inbox", "notion_database_id", "csrf"}

_Result = TypeVar("_Result")


class UploadReception:
    """Receives forms into folders of state_dir."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / _FOLDER
        self._places = CallerPlaces(_AT_ONCE, _OF_CALLER)
        self._receiving = asyncio.Semaphore(_RECEIVING_THREADS)
        self._expected: dict[Path, int] = {}  # the bytes of those that are under way, by folder

    @contextlib.asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a place, and keep it.

        Raises:
            RefusedError: there was none in time.
        """
        if not await self._places.wait(caller, TURN_SECONDS):
            busy = "Other uploads are under way; send it again in a moment."
            raise RefusedError(503, busy, headers={"Retry-After": "10"})
        try:
            yield
        finally:
            self._places.give_back(caller)

    @contextlib.asynccontextmanager
    async def folder(self, size: int) -> AsyncIterator[Path]:
        """Give an upload of at most this size a folder of its own, which is removed at the end."""
        folder = self._folder / uuid.uuid4().hex
        try:
            self._expected[folder] = size
            yield folder
        finally:
            self._expected.pop(folder, None)
            await self._on_disk(shutil.rmtree, folder, ignore_errors=True)

    async def receive(self, request: Request, folder: Path, max_bytes: int) -> Form:
        """Stream a form's file to `UNFINISHED` in a folder of its own, and return the rest of it.

        Raises:
            RefusedError: it is no form, it does not come whole, or the disk does not take it.
        """
        file = await self._on_disk(self._begin, folder / UNFINISHED, sum(self._expected.values()))
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

    async def _on_disk(self, do: Callable[..., _Result], *arguments: object, **options: object) -> _Result:
        """Do something with the disk of state_dir, in one of few threads."""
        async with self._receiving:
            return await run_in_threadpool(do, *arguments, **options)

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


def announced_bytes(request: Request, max_bytes: int) -> int | None:
    """Return the size of the body, if it is said before.

    Raises:
        RefusedError: it is more than a form with a file of `max_bytes` may have.
    """
    text = request.headers.get("content-length", "")
    announced = int(text) if text.isascii() and text.isdecimal() else None
    if announced is not None and announced > max_bytes + _FORM_BYTES:
        raise RefusedError(413, f"A receipt may have {max_bytes:,} bytes (limits.max_file_mb).")
    return announced


def clear(state_dir: Path) -> None:
    """Remove what a crash left of uploads that nobody was told of; called before any comes."""
    shutil.rmtree(state_dir / _FOLDER, ignore_errors=True)


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


def _no_room(error: OSError) -> RefusedError:
    return RefusedError(507, f"The disk of state_dir does not take it ({error.strerror or error}).")
