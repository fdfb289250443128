"""The stream of all jobs' events, as they happen: server-sent events, read from the histories in the job log.

What it promises: a listener who names the last event that they know gets all that came after it, in order, each once,
also what another process wrote, and also after a restart. A listener who may hear no more is let go within seconds, and
so is everybody when the daemon stops. A place is taken before anything is waited for, and given back when the answer
has ended, however it did: there are at most 32, of which one caller has at most 8. While the job log cannot be read
nothing is said, and nothing is missed. A listener costs one small question each half second, in one thread for all.

Runs in uvicorn's thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.histories import JobEvent
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.uploads.places import CallerPlaces

#: By taste: quick enough for a person who looks.
_LOOK_SECONDS = 0.5
_AT_ONCE = 200
_MOST_LISTENERS, _MOST_OF_CALLER = 32, 8
#: A line that says nothing, so that a proxy does not take the silence for an end; and the caller is judged again.
_SIGN_OF_LIFE_SECONDS = 10.0


class Feed:
    """All listeners."""

    def __init__(self, log: JobLog, is_stopping: Callable[[], bool]) -> None:
        self._log = log
        self._is_stopping = is_stopping
        self._looking = asyncio.Semaphore(1)
        self._places = CallerPlaces(_MOST_LISTENERS, _MOST_OF_CALLER)

    @property
    def listeners(self) -> int:
        """The number of listeners."""
        return len(self._places)

    async def listen(
        self, after: int | None, caller: str, is_welcome: Callable[[], Awaitable[bool]], media_type: str
    ) -> StreamingResponse:
        """Return what a caller hears, from an event on; None: from now on. It has to be sent.

        Raises:
            RefusedError: there are too many listeners.
            JobLogError: the log cannot be read.
        """
        if not self._places.take(caller):
            many = f"There are {_MOST_LISTENERS} listeners already, or {_MOST_OF_CALLER} of yours; come again later."
            raise RefusedError(503, many, headers={"Retry-After": "30"})
        try:
            if after is None:
                async with self._looking:
                    after = await run_in_threadpool(self._log.histories.last_event)
        except BaseException:
            self._places.give_back(caller)
            raise
        return _Stream(self._events(after, is_welcome), lambda: self._places.give_back(caller), media_type)

    async def _events(self, after: int, is_welcome: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        yield b"retry: 2000\n\n"
        silent_until = loop.time() + _SIGN_OF_LIFE_SECONDS
        while not self._is_stopping():
            rows = await self._rows_after(after)
            if rows:
                after = rows[-1].number
                yield b"".join(map(_event, rows))
            if loop.time() >= silent_until:
                if not await is_welcome():
                    return
                yield b": still here\n\n"
                silent_until = loop.time() + _SIGN_OF_LIFE_SECONDS
            if len(rows) < _AT_ONCE:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _rows_after(self, after: int) -> list[JobEvent]:
        """Return what came next; nothing while the log cannot be read, such as while another program locks it."""
        async with self._looking:
            try:
                return await run_in_threadpool(self._log.histories.events_after, after, _AT_ONCE)
            except JobLogError:
                return []


class _Stream(StreamingResponse):
    """An answer without end; `end` is called when it is over, also if its caller left before it began."""

    def __init__(self, events: AsyncIterator[bytes], end: Callable[[], None], media_type: str) -> None:
        # Not by `media_type`, to which Starlette would add a charset.
        super().__init__(events, headers={"Content-Type": media_type, "X-Accel-Buffering": "no"})
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


def _event(row: JobEvent) -> bytes:
    fields = {
        "job_id": row.job_id,
        "at": iso_time(row.at),
        "event": row.event,
        "from": row.from_state,
        "to": row.to_state,
        "inbox": row.inbox,
        "filename": row.filename,
        "detail": row.detail,
    }
    return f"id: {row.number}\nevent: {row.event}\ndata: {json.dumps(fields)}\n\n".encode("ascii")
