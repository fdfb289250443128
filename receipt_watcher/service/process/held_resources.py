"""The resources that a process keeps over a reload: the state directory's lock, the port, HTTP's thread.

What it promises: from the first `take` until `release` no other daemon gets in. From `answer` until `hang_up` each
connection is accepted, and each request answered; between two daemons it waits, for as long as `pause` lasts. A
connection that was accepted before `hang_up` is served; with a listener that outlives us, one that was not yet accepted
is left to the next process. The main thread calls it. After a crash the kernel gives lock and port back.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from receipt_watcher.config.sections.http import Http
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.web.server import thread
from receipt_watcher.web.server.relay import Relay
from receipt_watcher.web.server.tls import Certificate


class HeldResources:
    """The state directory and the port of one process; `listener` is a socket that somebody else has bound."""

    def __init__(self, state_dir: Path, listener: socket.socket | None = None) -> None:
        self.installation = Installation(state_dir)
        self.port = 0  # once it is taken, the bound one
        self._listener = listener
        self._is_shared = listener is not None
        self._is_taken = False
        self._relay = Relay()
        self._server: thread.Server | None = None

    def take(self, http: Http) -> None:
        """Keep other daemons out, then have the port of these options. Harmless when called twice.

        Raises:
            LockedError: one is running.
            ReceiptWatcherError: the state directory cannot be used, or the address or port cannot be had.
        """
        if not self._is_taken:
            self.installation.make_folder()
            self.installation.lock()
            self._is_taken = True
        self.port = self.bind(http.host, http.port, http.uds)

    def bind(self, host: str, port: int, uds: Path | None = None) -> int:
        """Have the port, or a UNIX socket, so that connections wait in its queue; return the port's number.

        Raises:
            ReceiptWatcherError: the address or port cannot be had.
        """
        if self._listener is None:
            self._listener = thread.bind(host, port) if uds is None else thread.bind_unix(uds)
        if self._listener.family == socket.AF_UNIX:
            return port
        number: int = self._listener.getsockname()[1]
        return number

    def answer(
        self,
        app: thread.App,
        certificate: Certificate | None = None,
        is_proxy: Callable[[str | None], bool] = lambda host: host is None,
    ) -> None:
        """Have an application answer from now on; the port is bound. A certificate is that of the first one.

        `is_proxy` says which hosts bring many callers, and so have no bound of their own; None is our UNIX socket.

        Raises:
            ReceiptWatcherError: the certificate cannot be used.
        """
        self._relay.begin(app)
        if self._server is None and self._listener is not None:
            self._server = thread.Server(
                self._relay, self._listener, certificate=certificate, is_shared=self._is_shared
            )
            self._server.start()
        if self._server is not None:
            self._server.admission.is_proxy = is_proxy

    def ask(self, note: Callable[[], None]) -> None:
        """Have the event loop call `note` in its next turn; returns at once."""
        if self._server is not None:
            self._server.ask(note)

    def renew_certificate(self) -> None:
        """Read the certificate anew where it was renewed."""
        if self._server is not None:
            self._server.renew_certificate()

    def pause(self, timeout_seconds: float) -> None:
        """Let requests wait for the next `answer`; those that are being answered have so long to end."""
        self._relay.pause(timeout_seconds)

    def hang_up(self, timeout_seconds: float) -> None:
        """Accept nothing more; connections that were accepted have so long. Harmless when called twice."""
        if self._server is not None:
            self._relay.end()
            self._server.stop(timeout_seconds)
        elif self._listener is not None:
            self._listener.close()
        self._server = self._listener = None

    def release(self) -> None:
        """Let others in; harmless when called twice."""
        self.hang_up(1.0)
        self.installation.unlock()
        self._is_taken = False
