"""uvicorn in a thread of its own, on a socket that is bound before anything else starts.

So a port that is taken is an error at start, port 0 works, and callbacks that arrive while we start wait in the
socket's queue. `stop` lets requests that are being answered end. `admission` and `connections` bound connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp

from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.web.server.accepting import Acceptor
from receipt_watcher.web.server.admission import Admission
from receipt_watcher.web.server.connections import BUFFER_BYTES, Connection
from receipt_watcher.web.server.tls import Certificate, unusable_words

#: The application that answers requests, in the words of ASGI.
App = ASGIApp

logger = structlog.get_logger()

_BACKLOG = 1024

#: A proxy in the socket's group may come in.
_SOCKET_MODE = 0o660

#: Longer than the 5 seconds after which the clients of Node, so n8n's, close a connection that they do not use: the
#: side that sends must be the one that closes, or a callback may run into the closing.
_KEEP_ALIVE_SECONDS = 15

#: Seconds between two looks of a stop whether all connections have ended.
_LOOK_SECONDS = 0.02
#: Time that the thread needs after the time of its stop is over.
_ENDING_SECONDS = 1.0

_CLOSE = (b"connection", b"close")


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ReceiptWatcherError: the address or port cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio switches Nagle's algorithm off only where the protocol is named; else each answer takes 40 ms more.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            bound.listen(_BACKLOG)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise ReceiptWatcherError(
            f"http.host {host} with http.port {port} cannot be listened on ({error.strerror or error}); "
            "is another program, or another receipt-watcher, using it?"
        ) from error
    return bound


def bind_unix(path: Path) -> socket.socket:
    """Return a socket that listens at a path, for our group; one that nobody listens at any more is replaced.

    Raises:
        ReceiptWatcherError: the path cannot be had.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket() and not _is_listened_at(path):
            path.unlink()
        bound.bind(str(path))
        path.chmod(_SOCKET_MODE)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise ReceiptWatcherError(
            f"http.uds {path} cannot be listened at ({error.strerror or error}); may we write to its folder, and is "
            "another receipt-watcher using it?"
        ) from error
    return bound


def _is_listened_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        try:
            caller.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


class Server:
    """The HTTP server's thread."""

    def __init__(
        self,
        app: ASGIApp,
        bound: socket.socket,
        admission: Admission | None = None,
        *,
        certificate: Certificate | None = None,
        is_shared: bool = False,
    ) -> None:
        """Make ready; `is_shared` says that another process keeps the socket open after us.

        Raises:
            ReceiptWatcherError: the certificate or its key cannot be used.
        """
        #: The open connections; it may be told which hosts are proxies.
        self.admission = Admission() if admission is None else admission
        # It warns of each malformed request, so whoever sends those could fill the log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            ws="none",
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # else a caller could claim to be local
            server_header=False,
            date_header=False,  # see `headers`: uvicorn would have to look at the clock each second
            lifespan="off",
            ssl_certfile=certificate.chain if certificate else None,
            ssl_keyfile=certificate.key if certificate else None,
        )
        self._context: ssl.SSLContext | None = None
        self._certificate = certificate
        self._certified_at = certificate.changed_at if certificate else None
        try:
            config.load()
        except OSError as error:  # of which ssl.SSLError is one
            bound.close()
            raise ReceiptWatcherError(unusable_words(certificate, error)) from error
        self._context = config.ssl
        self._server = _Uvicorn(config, self.admission, bound, is_shared=is_shared)
        self._socket = bound
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def _run(self) -> None:
        self._server.run()

    def renew_certificate(self) -> None:
        """Read certificate and key anew where they changed; connections that are there go on with the old one."""
        certificate = self._certificate
        if certificate is None or self._context is None or certificate.changed_at in (None, self._certified_at):
            return
        changed_at = certificate.changed_at
        try:
            self._context.load_cert_chain(certificate.chain, certificate.key)
        except OSError as error:  # one of the two may be old yet: the next look tries again
            logger.warning("http.certificate_unread", why=unusable_words(certificate, error))
            return
        self._certified_at = changed_at
        logger.info("http.certificate_renewed", path=str(certificate.chain))

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def ask(self, note: Callable[[], None]) -> None:
        """Have the event loop call `note` in its next turn; returns at once."""
        loop = self._server.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(note)

    def is_alive(self) -> bool:
        """Return whether it still answers."""
        return self._thread.is_alive()

    def stop(self, timeout_seconds: float) -> None:
        """End; requests that are being answered, or that were accepted and are still to come, have so long."""
        self._server.ask_to_stop(timeout_seconds)
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds + _ENDING_SECONDS)
        self._socket.close()


class _Uvicorn(uvicorn.Server):
    """uvicorn with an acceptor and a stop of our own."""

    def __init__(self, config: uvicorn.Config, admission: Admission, bound: socket.socket, *, is_shared: bool) -> None:
        super().__init__(config)
        self._admission = admission
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._socket = bound
        self._is_shared = is_shared
        self.loop: asyncio.AbstractEventLoop | None = None
        self._acceptor: Acceptor | None = None
        self._stops = asyncio.Event()
        self._stop_seconds = 0.0

    def ask_to_stop(self, timeout_seconds: float) -> None:
        """Let it end within this time; any thread may ask."""
        self._stop_seconds = timeout_seconds
        self.should_exit = True
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self.loop.call_soon_threadsafe(self._stops.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - ours is known
        """Begin to accept."""
        self.loop = asyncio.get_running_loop()
        await super().startup([])
        self._acceptor = Acceptor(
            self._socket, self._connection, self._admission, tls=self.config.ssl, is_shared=self._is_shared
        )
        self._acceptor.start()

    def _connection(self) -> Connection:
        return Connection(self._admission, self._buffer, self.config, self.server_state, self.lifespan.state)

    def _connections(self) -> list[Connection]:
        """Return all that have begun, those that are just closing too."""
        return [each for each in self.server_state.connections if isinstance(each, Connection)]

    async def main_loop(self) -> None:
        """Wait to be stopped; uvicorn's own wakes up ten times a second to see whether it is, and what time it is."""
        if not await self.on_tick(0):
            await self._stops.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - ours is known
        """Accept no more, and answer what was accepted.

        uvicorn's own closes each connection that has no request at this moment. That resets a caller who has connected
        and is about to send, or who sends its next request by a connection that it used before.
        """
        loop = asyncio.get_running_loop()
        stopping_at = loop.time()
        self.server_state.default_headers.append(_CLOSE)  # the list that running answers have, too
        if self._acceptor is not None:
            await self._acceptor.stop()
        while loop.time() < stopping_at + self._stop_seconds:
            for connection in self._connections():
                connection.end_if_unused(stopping_at)
            has_ended = not self.server_state.connections and not self.server_state.tasks
            if has_ended and (self._acceptor is None or not self._acceptor.beginning):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        for connection in self._connections():
            connection.end()
        for task in self.server_state.tasks:
            task.cancel("the time of the stop is over")
