"""uvicorn in a thread of its own, on a socket that is bound before anything else starts.

So a port that is taken is an error at start, port 0 works, and callbacks that arrive while we start wait in the
socket's queue. `stop` lets requests that are being answered end.
"""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.applications import Starlette

from receipt_watcher.errors import ReceiptWatcherError

_BACKLOG = 1024


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


class Server:
    """The HTTP server's thread."""

    def __init__(self, app: Starlette, bound: socket.socket, stop_timeout_seconds: float) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            proxy_headers=False,  # else a caller could claim to be local
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=max(1, int(stop_timeout_seconds)),
        )
        self._server = uvicorn.Server(config)
        self._socket = bound
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def stop(self, timeout_seconds: float) -> None:
        """End; requests that are being answered have so long."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        self._socket.close()
