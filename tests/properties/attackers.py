"""The attackers of `tests.properties.attacks`.

`python -m tests.properties.attackers NAME PORT TOKEN` is one of them, until it is killed.

Each is a process of its own, so it takes no time from the caller who is measured. The first connections are told of
by a line each. Nothing but the standard library is needed, so that it begins at once.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

Port = int
_pause = threading.Event()
#: After this many connections the attack has begun; a line tells of each of them.
FIRST = 12
_told: list[None] = []


def _tell() -> None:
    if len(_told) < FIRST:
        _told.append(None)
        sys.stdout.write("connected\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _line(port: Port, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(source, 0)) as wire,
    ):
        yield wire


def _again(port: Port, text: bytes, a_second: float) -> None:
    """Send a request again and again, each by a connection of its own, and read what comes."""
    while not _pause.wait(1 / a_second):
        with _line(port) as wire:
            _tell()
            wire.sendall(text)
            while wire.recv(65536):
                pass


def _held(port: Port, most: int, a_second: float, text: bytes = b"", source: str = "127.0.0.1") -> None:
    """Hold connections that send this and no more; open each again when it is older than those that may be held."""
    held: list[socket.socket] = []
    while not _pause.wait(1 / a_second):
        with contextlib.suppress(OSError):
            wire = socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(source, 0))
            held.append(wire)
            _tell()
            wire.sendall(text)
        if len(held) > most:
            held.pop(0).close()


def _head(method: str, path: str, *lines: str, token: str = "") -> bytes:
    known = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *known, *lines, "\r\n"]).encode()


def query_parameters(port: Port, _token: str) -> None:
    """Send 16 kB of query parameters each tenth of a second: 2.7 s of the event loop each, once."""
    query = "&".join(f"{number:x}" for number in range(3900))[:16_000]
    _again(port, _head("GET", f"/openapi.json?{query}", "Connection: close"), 10)


def cookies_of_backslashes(port: Port, _token: str) -> None:
    """Send a cookie of 16 kB of backslashes: 1.3 s of the event loop each, once."""
    _again(port, _head("GET", "/", 'Cookie: a="' + "\\a" * 7_900 + '"', "Connection: close"), 10)


def tiny_chunks(port: Port, _token: str) -> None:
    """Send a body in chunks of a byte, without a token."""
    head = _head("POST", "/api/v1/jobs/a/callback", "Transfer-Encoding: chunked")
    _again(port, head + b"1\r\nx\r\n" * 10_000, 20)


def openapi(port: Port, _token: str) -> None:
    """Ask for what takes long to make, without a token."""
    _again(port, _head("GET", "/openapi.json", "Connection: close"), 20)


def silent_tls(port: Port, _token: str) -> None:
    """Hold 1,200 connections whose TLS handshake never begins."""
    _held(port, 1200, 400)


def trickling_uploads(port: Port, token: str) -> None:
    """Hold uploads of one token that send a byte now and then."""
    lines = ("Content-Type: multipart/form-data; boundary=x", "Content-Length: 5000")
    text = _head("POST", "/api/v1/receipts/upload", *lines, token=token) + b"--x\r\n"
    wires = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(12)]
    for wire in wires:
        wire.sendall(text)
        _tell()
    while not _pause.wait(0.5):
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.sendall(b"C")


def event_streams(port: Port, token: str) -> None:
    """Open a hundred streams of one token at once, and others as fast as they are refused."""
    text = _head("GET", "/api/v1/events", token=token)
    for _ in range(100):
        threading.Thread(target=_held, args=[port, 2, 1, text], daemon=True).start()
    _pause.wait()


def head_on_events(port: Port, token: str) -> None:
    """Ask for the headers of the stream, which once never ended."""
    _held(port, 200, 50, _head("HEAD", "/api/v1/events", token=token))


def many_connections(port: Port, _token: str) -> None:
    """Hold silent connections of N8N's own address, each opened again soon."""
    _held(port, 400, 200)


def many_connections_elsewhere(port: Port, _token: str) -> None:
    """Hold connections of another address, with half a head each."""
    _held(port, 400, 200, b"GET / HTTP/1.1\r\n", source="127.0.0.2")


def wrong_tokens(port: Port, _token: str) -> None:
    """Try tokens with callbacks and with calls of the API."""
    lines = ("X-Callback-Token: wrong", "Authorization: Bearer wrong", "Content-Length: 2", "Connection: close")
    texts = [_head("POST", "/api/v1/jobs/a/callback", *lines) + b"{}", _head("GET", "/api/v1/jobs", *lines) + b"{}"]
    for text in texts * 8:
        threading.Thread(target=_again, args=[port, text, 20], daemon=True).start()
    _pause.wait()


#: Is given the port, and a token of an operator.
Attack = Callable[[Port, str], None]
ATTACKS: Mapping[str, Attack] = {
    attack.__name__: attack
    for attack in (
        query_parameters,
        cookies_of_backslashes,
        tiny_chunks,
        openapi,
        trickling_uploads,
        event_streams,
        head_on_events,
        many_connections,
        many_connections_elsewhere,
        wrong_tokens,
    )
}
#: Against a daemon with TLS.
TLS_ATTACKS: Mapping[str, Attack] = {"silent_tls": silent_tls}


def main() -> None:
    """Be one of them."""
    name, port, token = sys.argv[1:]
    {**ATTACKS, **TLS_ATTACKS}[name](int(port), token)


if __name__ == "__main__":
    main()
