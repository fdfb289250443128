"""A receipt's file as an answer: whole, or a part of it for whoever is known.

What it promises: a file is streamed, never held, and its end comes only when it is proven; a part is read only once the
whole was. Any name is safe in the headers (RFC 6266, RFC 8187), and a browser saves it, never shows it. A file that
turns out to be another, or cannot be read on, gets no end: the connection is cut.

Runs in uvicorn's thread, what touches the disk in a few worker threads. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from receipt_watcher.errors import ChangedOnDiskError
from receipt_watcher.jobs.job import Job
from receipt_watcher.web.files.fetching import Absence, Fetching, OpenReceipt
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.connections import notify_connection

logger = structlog.get_logger()

_THREADS = 6

#: Written to a connection at a time: who reads slowly must have taken so much before `connections.WRITE_SECONDS` end.
_WRITTEN_BYTES = 64 * 1024

_RANGE = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})")


class Downloads:
    """Answers with files."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching
        self._reading = asyncio.Semaphore(_THREADS)

    async def answer(self, request: Request, job_id: str, sha256: str | None, *, has_parts: bool = False) -> Response:
        """Return the file of a job, of this digest where one is given; `has_parts` obeys Range (RFC 9110, 14).

        Raises:
            RefusedError: there is none, or no such part of it.
        """
        async with self._reading:
            opened = await run_in_threadpool(self._fetching.open, job_id, sha256)
        if isinstance(opened, Absence):
            logger.warning("file.refused", job_id=job_id, why=opened.words)
            later = {"Retry-After": "60"} if opened is Absence.AWAY else None
            raise RefusedError(opened.status, opened.words, headers=later)
        headers = headers_of(opened.job)
        part = None
        if has_parts and f'"{opened.job.sha256}"' in _tags_of(request):
            opened.close()
            return Response(status_code=304, headers={"ETag": f'"{opened.job.sha256}"', "Cache-Control": "private"})
        if has_parts:
            headers |= {"Accept-Ranges": "bytes", "ETag": f'"{opened.job.sha256}"'}
            try:
                part = _part_asked_for(request, opened.job)
            except RefusedError:
                opened.close()
                raise
        if part is not None:
            first, last = part
            headers |= {
                "Content-Length": str(last - first + 1),
                "Content-Range": f"bytes {first}-{last}/{opened.job.size}",
            }
        status = 200 if part is None else 206
        if request.method == "HEAD":
            opened.close()
            return Response(status_code=status, headers=headers)
        return StreamingResponse(self._pieces(request, opened, part), status, headers)

    async def _pieces(
        self, request: Request, receipt: OpenReceipt, part: tuple[int, int] | None
    ) -> AsyncIterator[bytes]:
        """Yield a file, or a part of it once the whole is proven; or cut the connection."""
        try:
            if part is not None:
                while await self._next_piece(receipt) is not None:
                    pass
                receipt.go_back(part[0], part[1] - part[0] + 1)
            while (piece := await self._next_piece(receipt)) is not None:
                for start in range(0, len(piece), _WRITTEN_BYTES):
                    yield piece[start : start + _WRITTEN_BYTES]
        except (OSError, ChangedOnDiskError) as error:
            logger.warning("file.cut_off", job_id=receipt.job.job_id, why=str(error))
            notify_connection(request, "abort")
            await asyncio.sleep(0)  # uvicorn learns of it in the next turn, and then expects no more of the answer
        finally:
            receipt.close()

    async def _next_piece(self, receipt: OpenReceipt) -> bytes | None:
        async with self._reading:
            return await run_in_threadpool(receipt.next_piece)


def _tags_of(request: Request) -> set[str]:
    """Return the entity tags that the caller has (If-None-Match; compared weakly, RFC 9110, 13.1.2)."""
    given = ",".join(request.headers.getlist("if-none-match"))
    return {tag.strip().removeprefix("W/") for tag in given.split(",")}


def _part_asked_for(request: Request, job: Job) -> tuple[int, int] | None:
    """Return the first and the last byte of the part that is asked for; None for the whole.

    What is no single range of bytes, or of another file than this (If-Range), is answered with the whole.

    Raises:
        RefusedError: the file has no such part.
    """
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    condition = request.headers.get("if-range")
    if asked is None or asked[0] == "bytes=-" or condition not in (None, f'"{job.sha256}"'):
        return None
    if asked[1]:
        first, last = int(asked[1]), min(int(asked[2] or job.size - 1), job.size - 1)
        is_backwards = bool(asked[2]) and int(asked[2]) < first
    else:
        first, last, is_backwards = max(0, job.size - int(asked[2])), job.size - 1, False
    if is_backwards:
        return None
    if first > last:
        whole = {"Content-Range": f"bytes */{job.size}"}
        raise RefusedError(416, f"The file has {job.size} bytes, and not this part.", headers=whole)
    return first, last


def headers_of(job: Job) -> dict[str, str]:
    """Return the headers of a job's file: for saving, never for showing; any name is safe in them (RFC 6266)."""
    name = job.filename.encode("utf-8", "backslashreplace")
    plain = re.sub(rb"[^A-Za-z0-9 ._()+-]", b"_", name).decode("ascii")
    return {
        "Content-Type": job.mime_type or "application/octet-stream",
        "Content-Length": str(job.size),
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "Cache-Control": "private, no-store",
        "Accept-Ranges": "none",
    }
