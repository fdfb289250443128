"""What happens to all jobs, as it happens: server-sent events, read from the histories in the job log.

What it promises: who names the last event that he knows gets all that came after it, in order, each once, also what
another process wrote, and also after a restart. Who may hear no more, and everybody when the daemon stops, is let go
within seconds. A listener costs one small question each half second, in one thread for all.

Runs in uvicorn's thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from receipt_watcher.joblog import JobLog
from receipt_watcher.problem import RefusedError
from receipt_watcher.records import Happening
from receipt_watcher.view import iso_time

#: By taste: quick enough for a person who looks.
_LOOK_SECONDS = 0.5
_AT_ONCE = 200
_MOST_LISTENERS = 32
#: A line that says nothing, so that a proxy does not take the silence for an end; and the caller is judged again.
_SIGN_OF_LIFE_SECONDS = 10.0


class Feed:
    """All listeners."""

    def __init__(self, log: JobLog, is_stopping: Callable[[], bool]) -> None:
        self._log = log
        self._is_stopping = is_stopping
        self._listeners = 0
        self._looking = asyncio.Semaphore(1)

    async def listen(self, after: int | None, is_welcome: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        """Return what a listener hears, from an event on; None: from now on.

        Raises:
            RefusedError: there are too many.
            JobLogError: the log cannot be read.
        """
        if self._listeners >= _MOST_LISTENERS:
            many = f"There are {_MOST_LISTENERS} listeners already; come again later."
            raise RefusedError(503, many, headers={"Retry-After": "30"})
        if after is None:
            async with self._looking:
                after = await run_in_threadpool(self._log.last_event)
        return self._events(after, is_welcome)

    async def _events(self, after: int, is_welcome: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        self._listeners += 1
        try:
            yield b"retry: 2000\n\n"
            silent_until = loop.time() + _SIGN_OF_LIFE_SECONDS
            while not self._is_stopping():
                async with self._looking:
                    rows = await run_in_threadpool(self._log.events_after, after, _AT_ONCE)
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
        finally:
            self._listeners -= 1


def _event(row: Happening) -> bytes:
    said = {
        "job_id": row.job_id,
        "at": iso_time(row.at),
        "event": row.event,
        "from": row.from_state,
        "to": row.to_state,
        "inbox": row.inbox,
        "filename": row.filename,
        "detail": row.detail,
    }
    return f"id: {row.number}\nevent: {row.event}\ndata: {json.dumps(said)}\n\n".encode("ascii")
