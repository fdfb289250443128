"""The connections to the HTTP server, bounded in number, time and memory, whoever is at the other end.

What it promises: a caller who is slow, silent, or talks nonsense gets a clear answer where one can be sent, and ends;
how many there are never keeps out the next one. When there are too many, the oldest is closed that is not just
handing over a callback with a right token. When no connection can be taken since files are used up, one line a
minute says so, and room is made likewise.

uvicorn alone bounds neither the time of a request's head nor the number of silent connections, and asyncio writes
a traceback for each of some thousand vain tries a second. So `Connection` is uvicorn's protocol on h11 with limits.
All of it runs in uvicorn's thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

import h11
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from receipt_watcher.problem import MEDIA_TYPE, problem

logger = structlog.get_logger()

#: How long the first line and the headers of a request may take, and a connection may say nothing at first.
HEAD_SECONDS = 10.0

#: How long an answer may wait for a caller who does not read.
WRITE_SECONDS = 10.0

#: How much of a file the kernel may hold that is not sent yet (TCP_NOTSENT_LOWAT, tcp(7)).
_UNSENT_BYTES = 64 * 1024

#: Given to the parser at a time, so that its own limit for a head (16 KiB) holds also for what comes at once.
_PIECE_BYTES = 16 * 1024

_MOST_CONNECTIONS = 256
_TELL_SECONDS = 60.0

#: During a stop: how long a body may still arrive that bears no right token, and how long a connection that was
#: answered before stays open for the next request. A caller who uses it within this time learns of its end from the
#: answer; otherwise a request could meet the closing.
STRANGER_SECONDS = 1.0
REUSE_SECONDS = 1.0


class Crowd:
    """All connections of one server.

    At most `most` of them, by default 256 or a quarter of the files that the process may open (ulimit -n), the rest
    being for receipts and the job log.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most or min(_MOST_CONNECTIONS, max(1, _allowed_files() // 4))
        self._open: set[Connection] = set()
        self._told_at: dict[str, float] = {}
        self._closed = 0

    def connection(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Protocol:
        """Return the protocol for a new connection, as uvicorn asks for it."""
        # All connections, those that are just closing too; uvicorn keeps it.
        self._open = cast("set[Connection]", server_state.connections)
        return Connection(self, config, server_state, app_state, _loop)

    def make_room(self) -> None:
        """Close the oldest connections until there is room for one more."""
        while len(self._open) >= self._most and self._close_oldest():
            if self._is_news("crowded"):
                logger.warning("http.crowded", most=self._most, closed=self._closed, advice="who opens so many?")

    def end_unused(self, stopping_at: float) -> bool:
        """Close what no answer is owed to, once a stop has begun at `stopping_at`; return whether all have ended."""
        for connection in list(self._open):
            connection.end_if_unused(stopping_at)
        return not self._open

    def abort_all(self) -> None:
        """Close what is left when the time of a stop is over."""
        for connection in list(self._open):
            connection.transport.abort()

    def on_no_files(self, error: OSError) -> None:
        """Make room when no connection can be accepted, since files are used up."""
        self._close_oldest()
        if self._is_news("no_files"):
            logger.warning("http.no_files", error=str(error), advice="raise LimitNOFILE of the service (ulimit -n)")

    def _close_oldest(self) -> bool:
        closable: Iterable[Connection] = (each for each in self._open if not each.is_trusted)
        oldest = min(closable, key=lambda each: (each.was_trusted, each.since), default=None)
        if oldest is None:
            return False
        self._open.discard(oldest)  # now: its end comes with the next turn of the loop, others may come before
        oldest.transport.abort()
        self._closed += 1
        return True

    def _is_news(self, what: str) -> bool:
        """Whether this was not told within the last minute."""
        now = asyncio.get_running_loop().time()
        if now - self._told_at.get(what, -_TELL_SECONDS) < _TELL_SECONDS:
            return False
        self._told_at[what] = now
        return True


class Connection(H11Protocol):
    """One connection."""

    def __init__(
        self,
        crowd: Crowd,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        hooks = {"trust": self._trust, "prefer": self._prefer, "abort": self._abort}
        super().__init__(config, server_state, {**app_state, **hooks}, _loop)
        #: Whether the request that is being answered, or an earlier one, bore a right token.
        self.is_trusted = self.was_trusted = False
        self.since = self.loop.time()
        #: When the head of the last request had come, and when the last answer had gone.
        self._asked_at = self.since
        self._answered_at: float | None = None
        self._crowd = crowd
        self._has_begun = False
        self._head_limit: asyncio.TimerHandle | None = None
        self._write_limit: asyncio.TimerHandle | None = None

    def _trust(self) -> None:
        """Called by the application when it has seen a right token."""
        self.is_trusted = self.was_trusted = True

    def _prefer(self) -> None:
        """Called by the application for who may fetch a file: closed after all strangers, but before a callback.

        Without a bound the kernel takes megabytes of the file, and then none until a third of them has gone: over a
        slow line that looks as if the caller did not read.
        """
        self.was_trusted = True
        wire = self.transport.get_extra_info("socket")
        if wire.family != socket.AF_UNIX:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)

    def _abort(self) -> None:
        """Called by the application when an answer that has begun cannot be ended."""
        self.transport.abort()

    @property
    def is_answering(self) -> bool:
        """Whether the application has a request of it."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves the None out
        return cycle is not None and not cycle.response_complete

    @property
    def is_sending(self) -> bool:
        """Whether the body of that request is still to come."""
        return self.is_answering and self.cycle.more_body

    def end_if_unused(self, stopping_at: float) -> None:
        """Close it if no answer is owed any more, or to no caller that we trust.

        One that has just been accepted, and has said nothing or half a head, has its HEAD_SECONDS as ever.
        """
        now = self.loop.time()
        if self.is_answering:
            is_strange = self.is_sending and not self.is_trusted
            if is_strange and now - max(self._asked_at, stopping_at) >= STRANGER_SECONDS:
                self.transport.abort()
        elif self._answered_at is not None and not self._has_begun and now - self._answered_at >= REUSE_SECONDS:
            self.shutdown()

    # --- what asyncio calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin, once there is room."""
        self._crowd.make_room()
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, received: bytes) -> None:
        """Read on."""
        self._has_begun = True
        for start in range(0, len(received), _PIECE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(received[start : start + _PIECE_BYTES])
        if self.is_answering:
            if self._head_limit is not None:
                self._asked_at = self.loop.time()
            _cancel(self._head_limit)
            self._head_limit = None
        elif self._head_limit is None:
            self._expect_head()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn's never keeps it open
        """Answer a caller who has said everything and closed his half; True keeps ours open until then."""
        if not self.is_answering or self.is_sending:
            return None
        self.cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        _cancel(self._head_limit)
        self._head_limit = None
        _cancel(self._write_limit)
        self._write_limit = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a caller to read, but not for ever."""
        super().pause_writing()
        if self._write_limit is None:
            self._write_limit = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        _cancel(self._write_limit)
        self._write_limit = None

    # --- what uvicorn calls ------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Be ready for the next request, which may have come already."""
        self.is_trusted = self._has_begun = False
        self._answered_at = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it is always the same
        """Answer what is no HTTP; called while h11's error is being caught, which says what is wrong."""
        error = sys.exception()
        status = getattr(error, "error_status_hint", 400)
        self._refuse(status, f"This cannot be read as a request of HTTP/1.1: {error}"[:200])

    # --- refusing ----------------------------------------------------------------------------------------------

    def _expect_head(self) -> None:
        self._head_limit = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_limit = None
        if self._has_begun:
            self._refuse(408, f"The request's headers did not arrive within {HEAD_SECONDS:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answer with a problem where an answer can begin, and close; the application hears that the caller left."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps(problem(status, detail)).encode("ascii")
            headers = [
                (b"content-type", MEDIA_TYPE.encode("ascii")),
                (b"content-length", str(len(body)).encode("ascii")),
                (b"connection", b"close"),
            ]
            reason = HTTPStatus(status).phrase.encode("ascii")
            self._send(h11.Response(status_code=status, headers=headers, reason=reason))
            self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _send(self, event: h11.Event) -> None:
        self.transport.write(self.conn.send(event) or b"")


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _allowed_files() -> int:
    """Return how many files the process may have open (getrlimit(2))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 4 * _MOST_CONNECTIONS
