"""Keep requests waiting while one application takes over from another, as in a reload.

What it promises: no connection is closed for it, and no request is turned away but after the last application. The
applications' threads call `begin`, `pause` and `end`; the rest runs in uvicorn's thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import threading

from starlette.types import ASGIApp, Receive, Scope, Send

from receipt_watcher.web.problem import problem_response


class Relay:
    """An application that others take turns to be; between two of them requests wait, and none is turned away.

    So no connection is closed for it: one that was accepted and not read yet may carry a callback, which comes once.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._active = 0
        self._at_rest = threading.Event()
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application of the moment answer, or the next one."""
        app = await self._begun()
        try:
            await app(scope, receive, send)
        finally:
            with self._lock:
                self._active -= 1
                self._note_rest()

    async def _begun(self) -> ASGIApp:
        while True:
            with self._lock:
                if self._app is not None:
                    self._active += 1
                    return self._app
                turn = asyncio.get_running_loop().create_future()
                self._waiting.append(turn)
            await turn

    def _note_rest(self) -> None:
        if self._app is None and self._active == 0:
            self._at_rest.set()

    def begin(self, app: ASGIApp) -> None:
        """Let an application answer from now on, also what has waited."""
        with self._lock:
            self._app = app
            self._at_rest.clear()
            waiting, self._waiting = self._waiting, []
        for turn in waiting:
            turn.get_loop().call_soon_threadsafe(_let_go, turn)

    def end(self) -> None:
        """Have those that still wait answered with 503, since no application comes after the last one."""
        with self._lock:
            is_paused = self._app is None
        if is_paused:
            self.begin(_answer_stopped)

    def pause(self, timeout_seconds: float) -> bool:
        """Let requests wait from now on; return whether those that are being answered ended within the time."""
        with self._lock:
            self._app = None
            self._note_rest()
        return self._at_rest.wait(timeout_seconds)


async def _answer_stopped(scope: Scope, receive: Receive, send: Send) -> None:
    why = "receipt-watcher has stopped. Nothing was written down, so send it again in a minute."
    await problem_response(503, why, headers={"Retry-After": "60"})(scope, receive, send)


def _let_go(turn: asyncio.Future[None]) -> None:
    if not turn.done():  # whose caller has left
        turn.set_result(None)
