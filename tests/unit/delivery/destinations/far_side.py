"""A server on loopback that answers, stalls and breaks off as its script says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from receipt_watcher.delivery.destinations.http_client import Answer, Outbound
from tests.fakes.daemons.process import wait_until

PIECE = b"x" * 64 * 1024
BODY = [PIECE] * 8
BODY_BYTES = len(PIECE) * len(BODY)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


@dataclass
class Arrived:
    """A request as far as it came."""

    head: str
    body_bytes: int = 0
    is_whole: bool = False


class Line:
    """One connection, seen from the far side."""

    def __init__(self, wire: socket.socket, arrived: list[Arrived]) -> None:
        self.wire = wire
        self._arrived = arrived

    def read_head(self) -> tuple[Arrived, int] | None:
        """Read a request's head; return it with the bytes of body still to come, or None where none comes."""
        seen = b""
        while b"\r\n\r\n" not in seen:
            piece = self.wire.recv(65536)
            if not piece:
                return None
            seen += piece
        head, _, body = seen.partition(b"\r\n\r\n")
        request = Arrived(head.decode(), len(body))
        self._arrived.append(request)
        lengths = [line for line in request.head.lower().split("\r\n") if line.startswith("content-length:")]
        length = int(lengths[0].partition(":")[2]) if lengths else 0
        request.is_whole = len(body) == length
        return request, length - len(body)

    def read(self) -> Arrived | None:
        """Read a request to its end, or to the end of the connection."""
        begun = self.read_head()
        if begun is None:
            return None
        request, missing = begun
        while missing and (piece := self.wire.recv(min(missing, 65536))):
            request.body_bytes += len(piece)
            missing -= len(piece)
        request.is_whole = not missing
        return request if request.is_whole else None

    def answer(self, status: str = "200 OK", body: bytes = b"{}", *lines: str) -> None:
        """Answer with a length."""
        head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "\r\n"])
        self.wire.sendall(head.encode() + body)

    def reset(self) -> None:
        """Break the connection off."""
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.wire.close()


Serve = Callable[[Line], None]


def serve_all(line: Line) -> None:
    """Answer each request, as long as the connection stays."""
    while line.read():
        line.answer()


class FarSide:
    """A server on loopback that does what the script says, connection by connection; the last one is repeated."""

    def __init__(self, *scripts: Serve, tls: ssl.SSLContext | None = None) -> None:
        self.arrived: list[Arrived] = []
        self.connections = 0
        self._scripts = scripts or (serve_all,)
        self._tls = tls
        self._wires: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/webhook/receipts"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for wire in self._wires:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                wire, _ = self._listener.accept()
                script = self._scripts[min(self.connections, len(self._scripts) - 1)]
                self.connections += 1
                self._wires.append(wire)
                thread = threading.Thread(target=self._serve, args=[wire, script])
                self._threads.append(thread)
                thread.start()

    def _serve(self, wire: socket.socket, script: Serve) -> None:
        with wire, contextlib.suppress(OSError):  # the near side left, or refused our certificate
            if self._tls:
                with self._tls.wrap_socket(wire, server_side=True) as secure:
                    script(Line(secure, self.arrived))
            else:
                script(Line(wire, self.arrived))


def post(near: Outbound, url: str, body: Callable[[], Iterator[bytes]] = lambda: iter(BODY)) -> Answer:
    """Post a body of the usual length."""
    return near.post(url, {"Content-Type": "text/plain"}, body, BODY_BYTES)


class HeldBack:
    """Bodies that keep all but their first piece back until the far side has done with their connection."""

    def __init__(self) -> None:
        self.made = 0
        self.done_with = 0

    def __call__(self) -> Iterator[bytes]:
        """Make one."""
        self.made += 1
        number = self.made
        yield BODY[0]
        wait_until(lambda: self.done_with >= number, "the far side has done with the connection")
        yield from BODY[1:]

    def before(self, script: Serve) -> Serve:
        """Return the script that reads the head, then does this, and only then is sent the rest."""

        def serve(line: Line) -> None:
            line.read_head()
            script(line)
            self.done_with += 1

        return serve


def leave_by_reset(line: Line) -> None:
    """Read the whole request, then break off."""
    line.read()
    line.reset()


def leave_politely(line: Line) -> None:
    """Read the whole request, then close."""
    line.read()
