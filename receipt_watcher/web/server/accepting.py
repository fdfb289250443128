"""Accepts connections at the listening socket, and has each one counted from the first moment.

asyncio's own server forgets a connection whose TLS handshake is under way when the server is closed. Here a stop waits
for all that were accepted. When the socket outlives this process (socket activation), the connections that still wait
in its queue are left to the next process; otherwise all of them are accepted, since closing the socket resets them.

Runs in the event loop's thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from typing import Protocol

from receipt_watcher.web.server.admission import Admission
from receipt_watcher.web.server.connections import Connection

#: Accepted in one turn of the event loop. A callback's token is read some turns after it was accepted, and until then
#: others may displace it: so not too many.
_ACCEPT_AT_ONCE = 8

#: Time limits for a TLS handshake, and for a caller's consent to the end of TLS.
HANDSHAKE_SECONDS = 10.0
_FAREWELL_SECONDS = 5.0

#: Pause before the next accept after files were used up: the connections closed for it are gone by then.
_RETRY_SECONDS = 0.05
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: Troubles of one connection that accept(2) passes on; the next one may be well. EPERM is a firewall's.
_OF_ONE_CALLER = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
    }
)


class ConnectionFactory(Protocol):
    """Makes the protocol of a connection, before anything is read of it."""

    def __call__(self) -> Connection:
        """Return a new connection."""


class Acceptor:
    """Accepts at one socket; `is_shared` says that another process keeps it open after us."""

    def __init__(
        self,
        listener: socket.socket,
        make_connection: ConnectionFactory,
        admission: Admission,
        *,
        tls: ssl.SSLContext | None,
        is_shared: bool = False,
    ) -> None:
        self._listener = listener
        self._make_connection = make_connection
        self._admission = admission
        self._tls = tls
        self._is_shared = is_shared
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._beginning: set[asyncio.Task[None]] = set()
        listener.settimeout(0)

    @property
    def beginning(self) -> int:
        """The number of accepted connections that have no protocol yet or are in their TLS handshake."""
        return len(self._beginning)

    def start(self) -> None:
        """Accept from now on."""
        self._retry = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    async def stop(self) -> None:
        """Accept nothing more, and close our side of the socket."""
        self._loop.remove_reader(self._listener.fileno())
        may_wait = not self._is_shared
        while may_wait:
            may_wait = self._accept()
            await asyncio.sleep(0)  # those that are too many are closed meanwhile
        if self._retry is not None:
            self._retry.cancel()
        self._listener.close()

    def _accept(self) -> bool:
        """Accept some of those that wait; return whether more may wait."""
        for number in range(_ACCEPT_AT_ONCE):
            try:
                wire, place = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in _OF_ONE_CALLER:
                    continue
                if error.errno not in _OUT_OF_FILES:
                    raise
                if number == 0:  # the kernel says so before it looks whether anybody waits
                    self._pause(error)
                return False
            wire.settimeout(0)
            connection = self._make_connection()
            connection.take(wire, place[0] if wire.family != socket.AF_UNIX else None)
            self._admission.admit(connection, wire.fileno())
            task = self._loop.create_task(self._begin(connection, wire))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)
        return True

    def _pause(self, error: OSError) -> None:
        """Look away for a moment: the socket stays readable, so the loop would turn without a rest."""
        self._loop.remove_reader(self._listener.fileno())
        self._retry = self._loop.call_later(_RETRY_SECONDS, self.start)
        self._admission.on_no_files(str(error))

    async def _begin(self, connection: Connection, wire: socket.socket) -> None:
        has_begun = False
        limit, farewell = (None, None) if self._tls is None else (HANDSHAKE_SECONDS, _FAREWELL_SECONDS)
        with contextlib.suppress(OSError):  # the caller left, or speaks no TLS: asyncio has closed it
            await self._loop.connect_accepted_socket(
                lambda: connection,
                wire,
                ssl=self._tls,
                ssl_handshake_timeout=limit,
                ssl_shutdown_timeout=farewell,
            )
            has_begun = True
        if not has_begun:
            self._admission.forget(connection)
