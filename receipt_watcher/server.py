"""uvicorn in a thread of its own, on a socket that is bound before anything else starts.

So a port that is taken is an error at start, port 0 works, and callbacks that arrive while we start wait in the
socket's queue. `stop` lets requests that are being answered end. What bounds connections is in `connections`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from receipt_watcher.connections import Crowd
from receipt_watcher.errors import ReceiptWatcherError

logger = structlog.get_logger()

_BACKLOG = 1024

#: A proxy in the socket's group may come in.
_SOCKET_MODE = 0o660

#: So many connections are taken in one turn of the event loop, before those that are too many can be closed.
_ACCEPT_AT_ONCE = 64

#: Longer than the 5 seconds after which the clients of Node, so n8n's, close a connection that they do not use: the
#: side that sends must be the one that closes, or a callback may run into the closing.
_KEEP_ALIVE_SECONDS = 15

#: Turns of the event loop from a connection that is accepted to its first bytes: four, and some more.
_LAST_TURNS = 10


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


@dataclass(frozen=True, slots=True)
class Certificate:
    """What TLS needs: the chain and its private key, in PEM."""

    chain: Path
    key: Path

    @property
    def changed_at(self) -> tuple[int, int] | None:
        """When the two files changed; None where they cannot be looked at."""
        try:
            return self.chain.stat().st_mtime_ns, self.key.stat().st_mtime_ns
        except OSError:
            return None


def certificate_of(chain: Path | None, key: Path | None) -> Certificate | None:
    """Return the certificate of these two files; None where there is no TLS."""
    return None if chain is None or key is None else Certificate(chain, key)


class Server:
    """The HTTP server's thread."""

    def __init__(
        self,
        app: ASGIApp,
        bound: socket.socket,
        stop_timeout_seconds: float,
        crowd: Crowd | None = None,
        *,
        certificate: Certificate | None = None,
    ) -> None:
        """Make ready.

        Raises:
            ReceiptWatcherError: the certificate or its key cannot be used.
        """
        crowd = crowd or Crowd()
        # It warns of each malformed request, so whoever sends those could fill the log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            http=crowd.connection,  # type: ignore[arg-type]  # uvicorn only calls it, as it calls a class
            ws="none",
            backlog=_ACCEPT_AT_ONCE,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # else a caller could claim to be local
            server_header=False,
            date_header=False,  # see `envelope`: uvicorn would have to look at the clock each second
            lifespan="off",
            timeout_graceful_shutdown=max(1, int(stop_timeout_seconds)),
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
            raise ReceiptWatcherError(_unusable(certificate, error)) from error
        self._context = config.ssl
        self._server = _Uvicorn(config, crowd)
        self._socket = bound
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def renew_certificate(self) -> None:
        """Read certificate and key anew where they changed; connections that are there go on with the old one."""
        certificate = self._certificate
        if certificate is None or self._context is None or certificate.changed_at in (None, self._certified_at):
            return
        changed_at = certificate.changed_at
        try:
            self._context.load_cert_chain(certificate.chain, certificate.key)
        except OSError as error:  # one of the two may be old yet: the next look tries again
            logger.warning("http.certificate_unread", why=_unusable(certificate, error))
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
        """Whether it still answers."""
        return self._thread.is_alive()

    def stop(self, timeout_seconds: float) -> None:
        """End; requests that are being answered have so long."""
        self._server.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        self._socket.close()


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

    def pause(self, timeout_seconds: float) -> bool:
        """Let requests wait from now on; return whether those that are being answered ended within the time."""
        with self._lock:
            self._app = None
            self._note_rest()
        return self._at_rest.wait(timeout_seconds)


def _let_go(turn: asyncio.Future[None]) -> None:
    if not turn.done():  # whose caller has left
        turn.set_result(None)


def _unusable(certificate: Certificate | None, error: OSError) -> str:
    where = f"{certificate.chain} with http.tls_key {certificate.key}" if certificate else ""
    return f"http.tls_certificate {where} cannot be used: {error}"


class _Uvicorn(uvicorn.Server):
    """uvicorn, with an eye on what happens outside of requests."""

    def __init__(self, config: uvicorn.Config, crowd: Crowd) -> None:
        super().__init__(config)
        self._crowd = crowd
        self.loop: asyncio.AbstractEventLoop | None = None
        self._stops = asyncio.Event()

    def ask_to_stop(self) -> None:
        """Let it end soon; any thread may ask."""
        self.should_exit = True
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self.loop.call_soon_threadsafe(self._stops.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._crowd.on_loop_error)
        await super().startup(sockets)
        for bound in sockets or []:
            bound.listen(_BACKLOG)  # uvicorn took what may be accepted at once for what may wait

    async def main_loop(self) -> None:
        """Wait to be stopped; uvicorn's own wakes up ten times a second to see whether it is, and what time it is."""
        if not await self.on_tick(0):
            await self._stops.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, and let requests that are being answered end.

        Who was accepted a moment ago is answered, too: it takes some turns of the loop until there is a connection,
        which asyncio fails to make, and leaves open for ever, where its server is closed meanwhile.
        """
        loop = asyncio.get_running_loop()
        for bound in (each for accepting in self.servers for each in accepting.sockets):
            loop.remove_reader(bound.fileno())
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)
        self._crowd.end_strangers()
        await super().shutdown(sockets)
