"""The connections to the HTTP server, bounded in time and memory.

What it promises: a caller who is slow, silent, or talks nonsense gets a clear answer where one can be sent, and ends.
A request's head has at most 16 KiB, however it comes: in one piece, in many, or behind another request. No caller keeps
the event loop for longer than 16 KiB take. How many connections there are is bounded by `admission`.

uvicorn alone bounds neither the time of a request's head nor its size: h11 looks at the size only while the end is
missing. So `Connection` is uvicorn's protocol on h11 with limits. All of it runs in uvicorn's thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from http import HTTPStatus
from typing import Any

import h11
from starlette.requests import Request
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from receipt_watcher.web.problem import MEDIA_TYPE, problem
from receipt_watcher.web.server.admission import Admission

#: Time limit for a request's first line and headers, and for a new connection's first byte.
HEAD_SECONDS = 10.0

#: Limits for a caller who does not read: in each such time that many bytes of an answer must go.
WRITE_SECONDS = 10.0
_WRITE_BYTES = 16 * 1024

#: Most bytes of a file that the kernel may hold unsent (TCP_NOTSENT_LOWAT, tcp(7)).
_UNSENT_BYTES = 64 * 1024

#: Size limit for a request's first line and headers together, and the most headers.
HEAD_BYTES = 16 * 1024
_MOST_HEADERS = 100

#: Read at a time.
BUFFER_BYTES = 16 * 1024

#: During a stop: how long a body may still arrive that bears no right token, and how long a connection that was
#: answered before stays open for the next request. A caller who uses it within this time learns of its end from the
#: answer; otherwise a request could meet the closing.
UNKNOWN_CALLER_SECONDS = 1.0
REUSE_SECONDS = 1.0

#: A chunk costs the parser as much time as some hundred bytes: beyond the first ones they must not be tiny.
_FREE_CHUNKS = 256
_CHUNK_BYTES = 32


class _Parser(h11.Connection):
    """h11's parser, with a bound on what costs it time: headers and chunks."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._chunks = self._body_bytes = 0

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        """Return what comes next.

        Raises:
            h11.RemoteProtocolError: it is no HTTP/1.1, or too much of it.
        """
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._chunks += event.chunk_end
            self._body_bytes += len(event.data)
            if self._chunks > _FREE_CHUNKS + self._body_bytes // _CHUNK_BYTES:
                raise h11.RemoteProtocolError(f"the chunks have fewer than {_CHUNK_BYTES} bytes each")
        elif isinstance(event, h11.Request):
            self._chunks = self._body_bytes = 0
            if len(event.headers) > _MOST_HEADERS:
                raise h11.RemoteProtocolError(f"there are more than {_MOST_HEADERS} headers", error_status_hint=431)
        return event

    @property
    def waits_for_head(self) -> bool:
        """Return whether a request's head is what comes next."""
        return self.their_state is h11.IDLE

    @property
    def waits_for_answer(self) -> bool:
        """Return whether a request has come whole, so that what comes behind it has to wait for its answer."""
        return self.their_state not in (h11.IDLE, h11.SEND_BODY, h11.ERROR)


class Connection(H11Protocol, asyncio.BufferedProtocol):
    """One connection; it reads into `buffer`, which all connections may share."""

    def __init__(
        self,
        admission: Admission,
        buffer: memoryview,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        hooks = {"trust": self._trust, "prefer": self._prefer, "abort": self._abort, "stream": self._stream}
        super().__init__(config, server_state, {**app_state, **hooks})
        self.conn: _Parser = _Parser()
        #: Whether the request that is being answered, or an earlier one, bore a right token.
        self.is_trusted = self.was_trusted = False
        self.since = self.loop.time()
        #: The times when the head of the last request had come, and when the last answer had gone.
        self._asked_at = self.since
        self._answered_at: float | None = None
        self.host: str | None = None
        self._wire: socket.socket | None = None  # until there is a transport
        self._admission = admission
        self._buffer = buffer
        self._unread = bytearray()  # what the parser may not have yet
        self._has_begun = False
        self._ends_with_caller = False
        self._head_limit: asyncio.TimerHandle | None = None
        self._write_limit: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    def _trust(self) -> None:
        """Called by the application when it has seen a right token."""
        self.is_trusted = self.was_trusted = True

    def _prefer(self) -> None:
        """Called by the application for a caller who is known: closed after all unknown callers, but before a callback.

        Without a bound the kernel takes megabytes of the file, and then none until a third of them has gone: over a
        slow line that looks as if the caller did not read.
        """
        self.was_trusted = True
        wire = self.transport.get_extra_info("socket")
        if wire.family != socket.AF_UNIX and not self.transport.is_closing():  # else there is no socket any more
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)

    def _abort(self) -> None:
        """Called by the application when an answer that has begun cannot be ended."""
        self.transport.abort()

    def _stream(self) -> None:
        """Called by the application when an answer has no end: it ends as soon as the caller closes a half."""
        self._ends_with_caller = True

    def take(self, wire: socket.socket, host: str | None) -> None:
        """Know the socket that was accepted, and who is at its other end; a transport comes later."""
        self._wire, self.host = wire, host

    def end(self) -> None:
        """Close it now; a socket without a transport is left to asyncio, which reads its end."""
        if self._wire is None:
            self.transport.abort()
        else:
            with contextlib.suppress(OSError):  # the caller has closed it
                self._wire.shutdown(socket.SHUT_RDWR)

    @property
    def is_answering(self) -> bool:
        """Return whether the application has a request of it."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves the None out
        return cycle is not None and not cycle.response_complete

    @property
    def is_sending(self) -> bool:
        """Return whether the body of that request is still to come."""
        return self.is_answering and self.cycle.more_body

    def end_if_unused(self, stopping_at: float) -> None:
        """Close it if no answer is owed any more, or to no caller that we trust.

        One that has just been accepted, and has said nothing or half a head, has its HEAD_SECONDS as ever.
        """
        now = self.loop.time()
        if self.is_answering:
            is_unknown = self.is_sending and not self.is_trusted
            if is_unknown and now - max(self._asked_at, stopping_at) >= UNKNOWN_CALLER_SECONDS:
                self.transport.abort()
        elif self._answered_at is not None and not self._has_begun and now - self._answered_at >= REUSE_SECONDS:
            self.shutdown()

    # --- what asyncio calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin."""
        self._wire = None
        super().connection_made(transport)
        if self.scheme == "http":
            transport.set_write_buffer_limits(0)  # so that `pause_writing` tells of each byte that nobody reads
        self._expect_head()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it is always the same
        """Return what is read into; `buffer_updated` follows at once, so all connections may share it."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read on."""
        self.data_received(bytes(self._buffer[:nbytes]))

    def data_received(self, received: bytes) -> None:
        """Read on."""
        self._has_begun = True
        self._unread += received
        self._parse()
        self._time_head()

    def _parse(self) -> None:
        """Give the parser what has come: of a head no more than one may have, and of the next request nothing yet."""
        while self._unread and not self.transport.is_closing():
            if self.conn.waits_for_answer:
                self.flow.pause_reading()
                return
            room = len(self._unread)
            if self.conn.waits_for_head:
                room = HEAD_BYTES - len(self.conn.trailing_data[0])
            if room <= 0:
                self._refuse(431, f"The request's headers are larger than {HEAD_BYTES} bytes.")
                return
            piece = bytes(self._unread[:room])
            del self._unread[:room]
            super().data_received(piece)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn's never keeps it open
        """Answer a caller who has sent everything and closed a half; True keeps the other one open until then.

        TLS has no halves. A listener who closes one has left.
        """
        if self._ends_with_caller or not self.is_answering or self.is_sending or self.scheme == "https":
            return None
        self.cycle.keep_alive = False
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._admission.forget(self)
        _cancel(self._head_limit)
        self._head_limit = None
        _cancel(self._write_limit)
        self._write_limit = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a caller to read, but not for ever."""
        super().pause_writing()
        if self._write_limit is None:
            self._expect_reading()

    def _expect_reading(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._write_limit = self.loop.call_later(WRITE_SECONDS, self._look_at_reading)

    def _look_at_reading(self) -> None:
        """Close it, unless the caller has read on: a long answer takes its time over a slow line."""
        if self._unsent_bytes - self.transport.get_write_buffer_size() < _WRITE_BYTES:
            self.transport.abort()
        else:
            self._expect_reading()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        _cancel(self._write_limit)
        self._write_limit = None

    # --- what uvicorn calls ------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Be ready for the next request, which may have come already."""
        self.is_trusted = self._ends_with_caller = False
        self._answered_at = self.loop.time()
        super().on_response_complete()
        self._parse()
        self._has_begun = bool(self.conn.trailing_data[0])
        if self._has_begun:
            self._time_head()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it is always the same
        """Answer what is no HTTP; called while h11's error is being caught, which says what is wrong."""
        error = sys.exception()
        status = getattr(error, "error_status_hint", 400)
        self._refuse(status, f"This cannot be read as a request of HTTP/1.1: {error}"[:200])

    # --- refusing ----------------------------------------------------------------------------------------------

    def _time_head(self) -> None:
        """Give a head its time; once the application has the request there is no more to wait for."""
        if self.is_answering:
            if self._head_limit is not None:
                self._asked_at = self.loop.time()
            _cancel(self._head_limit)
            self._head_limit = None
        elif self._head_limit is None:
            self._expect_head()

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


def notify_connection(request: Request, what: str) -> None:
    """Tell the connection of a request, if it is a real one: `trust`, `prefer`, `stream` or `abort`.

    `trust` is for who hands over a callback with a right token, `prefer` for any other caller who is known, `stream`
    for an answer without end, and `abort` for one that cannot be ended.
    """
    hook = request.scope.get("state", {}).get(what)
    if hook is not None:
        hook()
