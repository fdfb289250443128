"""Open connections: counted from accept on, bounded per address, and closed in a just order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from receipt_watcher.web.server import accepting, admission
from receipt_watcher.web.server.admission import Admission
from receipt_watcher.web.server.connections import Connection
from receipt_watcher.web.server.thread import Server, bind
from tests.fakes.daemons.process import wait_until
from tests.unit.web.server.test_thread import certificate_for

ROUTER, OFFICE, PROXY = "192.0.2.1", "198.51.100.1", "203.0.113.1"


@dataclass(eq=False)
class Caller:
    """A connection that notes whether it was closed."""

    host: str | None
    since: float
    is_trusted: bool = False
    was_trusted: bool = False
    is_answering: bool = False
    has_ended: bool = False

    def end(self) -> None:
        """Note it."""
        self.has_ended = True


class Door:
    """An `Admission`, and what came in by it, one after the other."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self.admission = Admission(most, most_per_address)
        self.admission.is_proxy = lambda host: host in (None, PROXY)
        self._moment = asyncio.get_running_loop().time() - 1000

    def come(self, host: str | None, *, known: bool = False, trusted: bool = False, number: int = 5) -> Caller:
        """Let somebody in."""
        self._moment += 1
        caller = Caller(host, self._moment, is_trusted=trusted, was_trusted=known or trusted)
        self.admission.admit(caller, number)
        return caller


def in_loop(play: Callable[[], object]) -> list[str]:
    """Play in an event loop, whose clock admission reads; return the events that were logged."""

    async def inside() -> None:
        play()

    with capture_logs() as lines:
        asyncio.run(inside())
    return [line["event"] for line in lines]


def test_one_address_displaces_only_itself() -> None:
    """However many connections one address opens, those of others stay, and the newest of its own do."""

    def play() -> None:
        door = Door(100, 4)
        office = [door.come(OFFICE) for _ in range(4)]
        router = [door.come(ROUTER) for _ in range(50)]
        assert [caller.has_ended for caller in office] == [False] * 4
        assert [caller.has_ended for caller in router] == [True] * 46 + [False] * 4
        assert len(door.admission) == 8

    assert in_loop(play) == ["http.address_crowded"]


def test_an_address_of_ipv6_is_a_network() -> None:
    """A caller with one address of IPv6 has a whole /64, so the /64 is counted."""

    def play() -> None:
        door = Door(100, 4)
        first = door.come("2001:db8::1")
        for number in range(2, 6):
            door.come(f"2001:db8::{number}")
        assert first.has_ended
        assert not door.come("2001:db8:0:1::1").has_ended

    in_loop(play)


def test_a_proxy_has_no_bound_of_its_own() -> None:
    """A trusted proxy, or a UNIX socket, brings many callers: only the bound of all holds for it."""

    def play() -> None:
        door = Door(100, 4)
        many = [door.come(host) for host in (PROXY, None) for _ in range(40)]
        assert not any(caller.has_ended for caller in many)

    assert in_loop(play) == []


def test_when_all_places_are_taken_the_fullest_address_gives_one() -> None:
    """A caller alone at its address stays when another address has most of the places."""

    def play() -> None:
        door = Door(10, 8)
        alone, proxied = door.come(OFFICE), door.come(PROXY)
        many = [door.come(ROUTER) for _ in range(8)]
        door.come("203.0.113.9")
        assert not alone.has_ended
        assert not proxied.has_ended
        assert [caller.has_ended for caller in many] == [True] + [False] * 7

    assert in_loop(play) == ["http.crowded"]


def test_known_callers_stay_longer_and_callbacks_always() -> None:
    """A stranger goes before a caller with a token or a session; a callback being handed over never goes."""

    def play() -> None:
        door = Door(100, 4)
        callback, known = door.come(ROUTER, trusted=True), door.come(ROUTER, known=True)
        strangers = [door.come(ROUTER) for _ in range(20)]
        assert (callback.has_ended, known.has_ended) == (False, False)
        assert [caller.has_ended for caller in strangers] == [True] * 17 + [False] * 3
        for _ in range(20):
            door.come(ROUTER, known=True)
        assert (callback.has_ended, known.has_ended) == (False, True)

    in_loop(play)


def test_an_upload_stays_longer_than_connections_without_a_request() -> None:
    """Where many people share one address, a slow upload outlives their browsers' idle connections."""

    def play() -> None:
        door = Door(100, 4)
        upload = door.come(OFFICE, known=True)
        upload.is_answering = True
        idle = [door.come(OFFICE, known=True) for _ in range(3)]
        last = door.come(OFFICE, known=True)
        assert (upload.has_ended, [caller.has_ended for caller in idle]) == (False, [True, False, False])
        for caller in (*idle, last):
            caller.is_answering = True
        door.come(OFFICE, known=True)
        assert upload.has_ended  # all are under way: the oldest, as ever

    in_loop(play)


def test_many_at_once_are_not_closed_for_each_other() -> None:
    """A burst of callers of one address, such as N8N with many callbacks, displaces none in its first second."""

    def play() -> None:
        door = Door(100, 4)
        now = asyncio.get_running_loop().time()
        burst = [Caller(ROUTER, now) for _ in range(50)]
        for caller in burst:
            door.admission.admit(caller, 5)
        assert not any(caller.has_ended for caller in burst)

    assert in_loop(play) == []


def test_callbacks_under_way_take_no_places() -> None:
    """However many callbacks of one address are being handed over, the next connection costs no other one."""

    def play() -> None:
        door = Door(8, 4)
        waiting = door.come(ROUTER)
        many = [door.come(ROUTER, trusted=True) for _ in range(50)]
        assert not any(caller.has_ended for caller in [waiting, *many])

    assert in_loop(play) == []


def test_a_connection_that_ended_takes_no_place() -> None:
    """A connection that has ended is counted no more, and may be forgotten twice."""

    def play() -> None:
        door = Door(4, 2)
        for _ in range(20):
            caller = door.come(ROUTER)
            door.admission.forget(caller)
            door.admission.forget(caller)
            assert not caller.has_ended
        assert len(door.admission) == 0

    assert in_loop(play) == []


def test_a_quarter_of_the_files_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """When three quarters of what may be opened is open, whatever it is, each newcomer costs two others."""
    monkeypatch.setattr(admission, "_allowed_files", lambda: 400)

    def play() -> None:
        door = Door(100, 100)
        callers = [door.come(ROUTER, number=number) for number in range(280, 300)]
        assert not any(caller.has_ended for caller in callers)
        door.come(ROUTER, number=300)
        assert [caller.has_ended for caller in callers] == [True] * 2 + [False] * 18

    assert in_loop(play) == ["http.no_files"]


def test_few_connections_are_not_closed_for_files_that_others_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """When hundreds of inboxes have the files open, closing the few connections that there are would not help."""
    monkeypatch.setattr(admission, "_allowed_files", lambda: 400)

    def play() -> None:
        door = Door(100, 100)
        callers = [door.come(ROUTER, number=350 + number) for number in range(16)]
        assert not any(caller.has_ended for caller in callers)

    assert in_loop(play) == []


# --- with real connections -----------------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[Server, int, ssl.SSLContext]]:
    """A server with TLS and twenty places; its port, and what a client trusts."""
    certificate = certificate_for(tmp_path, "here")
    bound = bind("127.0.0.1", 0)
    running = Server(Starlette(), bound, Admission(20), certificate=certificate)
    running.start()
    yield running, bound.getsockname()[1], ssl.create_default_context(cafile=str(certificate.chain))
    running.stop(30)
    assert not running.is_alive()


def asked(port: int, trust: ssl.SSLContext) -> bytes:
    """Ask for something by TLS, and return the answer."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as wire,
        trust.wrap_socket(wire, server_hostname="localhost") as safe,
    ):
        safe.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: safe.recv(4096), b""))


def silent(port: int, stack: contextlib.ExitStack) -> socket.socket:
    """Connect, and say nothing."""
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))


def test_handshakes_are_counted(tls: tuple[Server, int, ssl.SSLContext]) -> None:
    """Connections that never begin their TLS handshake take places like any other, and keep nobody out."""
    running, port, trust = tls
    with contextlib.ExitStack() as stack:
        wires = [silent(port, stack) for _ in range(60)]
        assert asked(port, trust).startswith(b"HTTP/1.1 404 ")
        assert wires[0].recv(1) == b""
        assert len(running.admission) <= 20
    wait_until(lambda: len(running.admission) == 0, "who left is counted no more")


class TroubledListener(socket.socket):
    """A listening socket whose first connections have troubles of their own."""

    troubles: ClassVar[list[int]] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Fail as the kernel may, then take the next caller."""
        if self.troubles:
            raise OSError(self.troubles.pop(), "planted")
        return super().accept()


def test_troubles_of_one_connection_are_no_others() -> None:
    """An error that accept(2) passes on from a connection neither ends the server nor keeps the next caller out."""
    bound = TroubledListener()
    bound.bind(("127.0.0.1", 0))
    bound.listen()
    TroubledListener.troubles = [errno.EPROTO, errno.ENETDOWN, errno.EPERM, errno.ECONNABORTED]
    running = Server(Starlette(), bound)
    running.start()
    url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
    assert httpx.get(url).status_code == 404
    assert TroubledListener.troubles == []
    TroubledListener.troubles = [errno.EHOSTUNREACH]
    running.stop(30)
    assert not running.is_alive()


def test_a_handshake_has_its_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is not begun, and one that is broken off, end after some seconds, and are counted no more."""
    monkeypatch.setattr(accepting, "HANDSHAKE_SECONDS", 0.2)
    bound = bind("127.0.0.1", 0)
    running = Server(Starlette(), bound, certificate=certificate_for(tmp_path, "here"))
    running.start()
    with contextlib.ExitStack() as stack:
        wires = [silent(bound.getsockname()[1], stack) for _ in range(2)]
        wires[1].sendall(b"\x16\x03\x01\x02\x00\x01")
        assert [wire.recv(1) for wire in wires] == [b"", b""]
        wait_until(lambda: len(running.admission) == 0, "both are counted no more")
    running.stop(30)
    assert not running.is_alive()


def test_what_is_no_tls_is_counted_no_more(tls: tuple[Server, int, ssl.SSLContext]) -> None:
    """A handshake that fails gives its place back at once."""
    running, port, trust = tls
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
            wire.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while wire.recv(4096):
                    pass
    wait_until(lambda: len(running.admission) == 0, "all are counted no more")
    assert asked(port, trust).startswith(b"HTTP/1.1 404 ")


def test_a_long_body_comes_whole_by_tls(tmp_path: Path) -> None:
    """A body larger than the buffer that all connections share arrives as it was sent, from several at once."""
    heard: list[bytes] = []

    async def keep(_scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        heard.append(body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    certificate = certificate_for(tmp_path, "here")
    bound = bind("127.0.0.1", 0)
    running = Server(keep, bound, certificate=certificate)
    running.start()
    trust = ssl.create_default_context(cafile=str(certificate.chain))
    bodies = [bytes([letter]) * 300_000 for letter in b"abc"]
    with contextlib.ExitStack() as stack:
        wires = []
        for body in bodies:
            wire = silent(bound.getsockname()[1], stack)
            safe = stack.enter_context(trust.wrap_socket(wire, server_hostname="localhost"))
            safe.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
            wires.append(safe)
        for start in range(0, 300_000, 50_000):
            for safe, body in zip(wires, bodies, strict=True):
                safe.sendall(body[start : start + 50_000])
        assert all(safe.recv(4096).startswith(b"HTTP/1.1 204 ") for safe in wires)
    running.stop(30)
    assert sorted(heard) == bodies


def test_a_caller_who_leaves_by_tls_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A caller who closes while their request is being answered makes asyncio warn of nothing."""
    left, asked_for = asyncio.Event(), threading.Event()

    async def wait(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        asked_for.set()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    certificate = certificate_for(tmp_path, "here")
    bound = bind("127.0.0.1", 0)
    running = Server(wait, bound, certificate=certificate)
    running.start()
    trust = ssl.create_default_context(cafile=str(certificate.chain))
    with (
        socket.create_connection(bound.getsockname(), timeout=30) as wire,
        trust.wrap_socket(wire, server_hostname="localhost") as safe,
    ):
        safe.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert asked_for.wait(30)
    wait_until(left.is_set, "the application hears that the caller left")
    running.stop(30)
    assert [record.getMessage() for record in caplog.records] == []


def test_a_known_caller_who_has_left_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A caller who is found to be known after the connection has ended is preferred all the same, without an error."""
    done = threading.Event()

    async def prefer(scope: Any, receive: Any, _send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope["state"]["prefer"]()
        done.set()

    bound = bind("127.0.0.1", 0)
    running = Server(prefer, bound)
    running.start()
    with socket.create_connection(bound.getsockname(), timeout=30) as wire:
        wire.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    assert done.wait(30)
    running.stop(30)
    assert [record.getMessage() for record in caplog.records] == []


def test_a_caller_who_reads_nothing_ends_also_when_little_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is complete for us, but not read, does not keep its connection for ever."""
    monkeypatch.setattr("receipt_watcher.web.server.connections.WRITE_SECONDS", 0.2)
    made: list[Connection] = []
    take = Connection.take

    def with_little_room(connection: Connection, wire: socket.socket, host: str | None) -> None:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        made.append(connection)
        take(connection, wire, host)

    monkeypatch.setattr(Connection, "take", with_little_room)

    async def tell_much(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"x" * 50_000})

    bound = bind("127.0.0.1", 0)
    running = Server(tell_much, bound)
    running.start()
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        wire.connect(bound.getsockname())
        wire.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: made, "it is accepted")
        wait_until(lambda: len(running.admission) == 0, "it has ended")
    running.stop(30)
    assert not running.is_alive()


def test_a_caller_who_reads_slowly_gets_all_of_a_long_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known caller with a slow line is closed only when nothing was read since the last look."""
    monkeypatch.setattr("receipt_watcher.web.server.connections.WRITE_SECONDS", 3600)  # looks come from here
    made: list[Connection] = []
    take = Connection.take

    def noted(connection: Connection, wire: socket.socket, host: str | None) -> None:
        made.append(connection)
        take(connection, wire, host)

    monkeypatch.setattr(Connection, "take", noted)

    async def tell_much(scope: Any, _receive: Any, send: Any) -> None:
        scope["state"]["prefer"]()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"x" * 8_000_000})

    def unsent() -> int:
        return made[0].transport.get_write_buffer_size()

    def look() -> None:
        looked = threading.Event()
        running.ask(made[0]._look_at_reading)
        running.ask(looked.set)
        assert looked.wait(30)

    bound = bind("127.0.0.1", 0)
    running = Server(tell_much, bound)
    running.start()
    with socket.socket() as wire:
        wire.settimeout(30)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # else the kernel may take all of it
        wire.connect(bound.getsockname())
        wire.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: made and made[0]._write_limit is not None, "it waits for its caller")
        for _ in range(3):
            before = unsent()
            while before - unsent() < 100_000:
                assert wire.recv(50_000)
            look()
            assert len(running.admission) == 1

        def has_ended() -> bool:
            look()
            return len(running.admission) == 0

        wait_until(has_ended, "it is closed, since nothing is read any more")
    running.stop(30)
