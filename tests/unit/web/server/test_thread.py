"""The HTTP server's thread: its socket, its start and its stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import Queue

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.web.server.headers import AnswerHeaders
from receipt_watcher.web.server.thread import Server, bind, bind_unix
from receipt_watcher.web.server.tls import Certificate
from tests.fakes.daemons.process import wait_until


class Site:
    """An application with a quick page and one that waits until it is let go."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        self.app = Starlette(routes=[Route("/", self._quick), Route("/slow", self._slow)])

    async def _quick(self, _: Request) -> Response:
        return PlainTextResponse("here")

    async def _slow(self, _: Request) -> Response:
        self.asked.set()
        await run_in_threadpool(self.go_on.wait, 10)
        return PlainTextResponse("at last")


@pytest.fixture
def site() -> Iterator[Site]:
    """An application; whatever waits in it is let go at the end."""
    site = Site()
    yield site
    site.go_on.set()


def url_of(bound: socket.socket) -> str:
    """Return the address of a socket."""
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_port_zero_is_any_free_port(site: Site) -> None:
    """Port 0 takes a free port, which the socket knows before the server runs."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    url = url_of(bound)
    server.start()
    assert httpx.get(url).text == "here"
    assert server.is_alive()
    server.stop(5)


def test_taken_port_is_a_clear_error() -> None:
    """A port that is taken is an error at start that names host, port and what to look for, and leaks nothing."""
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ReceiptWatcherError, match=rf"http\.host 127\.0\.0\.1 with http\.port {port} .*in use"):
            bind("127.0.0.1", port)
    gc.collect()  # a socket that was left open would warn now


@pytest.mark.parametrize("host", ["192.0.2.1", "receipts.invalid"])
def test_address_of_another_machine_is_a_clear_error(host: str) -> None:
    """A host that is not this machine is an error that names the key."""
    with pytest.raises(ReceiptWatcherError, match=r"http\.host"):
        bind(host, 0)
    gc.collect()


def test_port_is_free_again_after_stop(site: Site) -> None:
    """After stop the same port can be bound at once, as a restart does."""
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    server = Server(site.app, bound)
    server.start()
    assert httpx.get(f"http://127.0.0.1:{port}").status_code == 200
    server.stop(5)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}")
    bind("127.0.0.1", port).close()


def test_callback_that_comes_before_the_start_waits(site: Site) -> None:
    """What arrives between bind and start is answered after start: N8N posts only once."""
    bound = bind("127.0.0.1", 0)
    with socket.create_connection(bound.getsockname(), timeout=10) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        server = Server(site.app, bound)
        server.start()
        answer = b"".join(iter(lambda: wire.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"here")
    server.stop(5)


def test_stop_may_be_called_twice(site: Site) -> None:
    """A second stop does no harm."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    server.start()
    assert httpx.get(url_of(bound)).status_code == 200
    server.stop(5)
    server.stop(5)
    assert not server.is_alive()
    assert bound.fileno() == -1


def test_a_server_that_waits_has_no_tick(site: Site) -> None:
    """Nothing wakes up again and again only to see what time it is, or whether it shall stop."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    server.start()
    wait_until(lambda: server._server.started, "it accepts")
    timers: Queue[int] = Queue()
    server.ask(lambda: timers.put(len(asyncio.get_running_loop()._scheduled)))  # type: ignore[attr-defined]
    assert timers.get(timeout=30) == 0
    server.stop(30)
    assert not server.is_alive()


def test_who_is_accepted_with_the_stop_is_answered(site: Site) -> None:
    """A request that comes in the same turn of the loop as the stop is answered, and does not hold the stop up."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    server.start()
    assert httpx.get(url_of(bound)).status_code == 200
    is_blocked, goes_on = threading.Event(), threading.Event()

    def block() -> None:
        is_blocked.set()
        goes_on.wait()

    server.ask(block)
    assert is_blocked.wait(30)
    with socket.create_connection(bound.getsockname(), timeout=30) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        server._server.ask_to_stop(30)
        goes_on.set()
        server.stop(30)
        assert not server.is_alive()
        assert b"".join(iter(lambda: wire.recv(4096), b"")).endswith(b"here")


class Stopping:
    """A server that is stopped in a thread of its own, and has left its socket when `begin` returns."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.stop, args=[30])

    def begin(self) -> None:
        """Begin the stop."""
        self._thread.start()
        wait_until(lambda: self._server._socket.fileno() == -1, "it accepts no more")

    def end(self) -> None:
        """Wait for the stop to end, long before its time is over."""
        self._thread.join(30)
        assert not self._server.is_alive()


_ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def read_whole(wire: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    return b"".join(iter(lambda: wire.recv(4096), b""))


@pytest.mark.parametrize("said", [b"", _ASKED[:1], _ASKED[:20]], ids=["nothing", "a byte", "half a head"])
def test_an_accepted_connection_is_served_during_a_stop(site: Site, said: bytes) -> None:
    """A caller who was accepted before the stop, and asks only after it has begun, gets an answer that says close."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    server.start()
    with socket.create_connection(bound.getsockname(), timeout=30) as wire:
        wire.sendall(said)
        wait_until(lambda: server._server.server_state.connections, "it is accepted")
        stopping = Stopping(server)
        stopping.begin()
        wire.sendall(_ASKED[len(said) :])
        answer = read_whole(wire)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert answer.endswith(b"here")
    stopping.end()


def test_a_connection_that_is_used_again_learns_of_the_stop(site: Site) -> None:
    """A request by a connection that was answered before is answered during a stop, and told to use another one."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    server.start()
    with httpx.Client(base_url=url_of(bound)) as client:
        assert "connection" not in client.get("/").headers
        stopping = Stopping(server)
        stopping.begin()
        answer = client.get("/")
    assert (answer.text, answer.headers["connection"]) == ("here", "close")
    stopping.end()


def test_a_handshake_that_is_under_way_is_served_during_a_stop(tmp_path: Path) -> None:
    """A caller who was accepted, and begins TLS only after the stop has begun, is answered."""
    certificate = certificate_for(tmp_path, "here")
    bound = bind("127.0.0.1", 0)
    server = Server(Starlette(), bound, certificate=certificate)
    server.start()
    context = ssl.create_default_context(cafile=str(certificate.chain))
    with socket.create_connection(bound.getsockname(), timeout=30) as wire:
        wait_until(
            lambda: server._server._acceptor is not None and server._server._acceptor.beginning, "it is accepted"
        )
        stopping = Stopping(server)
        stopping.begin()
        with context.wrap_socket(wire, server_hostname="localhost") as encrypted:
            encrypted.sendall(_ASKED)
            assert read_whole(encrypted).startswith(b"HTTP/1.1 404 ")
    stopping.end()


def blocked(server: Server) -> threading.Event:
    """Keep the event loop from its work until the event that is returned is set."""
    is_blocked, goes_on = threading.Event(), threading.Event()

    def block() -> None:
        is_blocked.set()
        goes_on.wait()

    server.ask(block)
    assert is_blocked.wait(30)
    return goes_on


def test_a_queue_that_would_be_lost_is_served(site: Site) -> None:
    """All callers who wait in the queue of a socket that ends with us are answered, more than one turn accepts."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    server.start()
    wait_until(lambda: server._server.started, "it accepts")
    with contextlib.ExitStack() as stack:
        goes_on = blocked(server)
        wires = [stack.enter_context(socket.create_connection(bound.getsockname(), timeout=30)) for _ in range(100)]
        for wire in wires:
            wire.sendall(_ASKED)
        stopping = Stopping(server)
        server._server.ask_to_stop(30)
        goes_on.set()
        stopping.begin()
        assert [read_whole(wire)[-4:] for wire in wires] == [b"here"] * 100
    stopping.end()


def test_a_queue_that_outlives_us_is_left_to_the_next(site: Site) -> None:
    """A socket that another process keeps is left with those who wait in its queue; the next server answers them."""
    with bind("127.0.0.1", 0) as held:
        server = Server(site.app, held.dup(), is_shared=True)
        server.start()
        wait_until(lambda: server._server.started, "it accepts")
        goes_on = blocked(server)
        stopping = Stopping(server)
        server._server.ask_to_stop(30)
        goes_on.set()
        stopping.begin()
        stopping.end()
        with socket.create_connection(held.getsockname(), timeout=30) as wire:
            wire.sendall(_ASKED)
            following = Server(site.app, held.dup(), is_shared=True)
            following.start()
            assert wire.recv(4096).startswith(b"HTTP/1.1 200 ")
            wire.close()
            following.stop(30)


def test_a_request_that_no_daemon_follows_for_is_told_so(site: Site, tmp_path: Path) -> None:
    """A request that waits for the next daemon is answered 503 when none comes: a reload failed, and so did the old."""
    ground = HeldResources(tmp_path)
    port = ground.bind("127.0.0.1", 0)
    ground.answer(site.app)
    ground.pause(30)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        wire.sendall(_ASKED)
        wait_until(lambda: ground._relay._waiting, "it waits")
        ground.hang_up(30)
        answer = read_whole(wire)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 60" in answer


def test_answers_bear_the_date(site: Site) -> None:
    """The date in an answer is right as long as the server runs (RFC 9110, 6.6.1)."""
    bound = bind("127.0.0.1", 0)
    server = Server(AnswerHeaders(site.app), bound)
    server.start()
    first = httpx.get(url_of(bound)).headers["date"]
    wait_until(lambda: httpx.get(url_of(bound)).headers["date"] != first, "the next second has come")
    server.stop(5)


def test_stop_before_start_frees_the_port(site: Site) -> None:
    """A server that never started gives its port back, too."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    server.stop(5)
    assert not server.is_alive()
    assert bound.fileno() == -1


def test_stop_right_after_start_ends(site: Site) -> None:
    """A stop that comes before the server has come up ends it all the same."""
    for _ in range(5):
        server = Server(site.app, bind("127.0.0.1", 0))
        server.start()
        server.stop(5)
        assert not server.is_alive()
    gc.collect()


def test_garbage_behind_an_answer_ends_the_connection(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A body that turns into nonsense when its answer is out ends the connection, without a traceback."""
    bound = bind("127.0.0.1", 0)
    server = Server(site.app, bound)
    server.start()
    with socket.create_connection(bound.getsockname(), timeout=10) as wire:
        wire.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 405 ")
        wire.sendall(b"zz\r\n")
        answer = b"".join(iter(lambda: wire.recv(4096), b""))
    assert b"HTTP/1.1" not in answer
    server.stop(5)
    assert [record.getMessage() for record in caplog.records] == []


def test_answer_under_way_ends_before_stop(site: Site) -> None:
    """A request that is being answered when stop comes gets its answer."""
    bound = bind("127.0.0.1", 0)
    url = url_of(bound)
    server = Server(site.app, bound)
    server.start()
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/slow", timeout=10).text))
    asking.start()
    assert site.asked.wait(10)
    stopping = threading.Thread(target=server.stop, args=[5])
    stopping.start()
    site.go_on.set()
    stopping.join()
    asking.join()
    assert answers == ["at last"]
    assert not server.is_alive()


@pytest.mark.parametrize(
    ("scheme", "days", "told"), [("https", 365, "max-age=31536000"), ("https", 0, None), ("http", 365, None)]
)
def test_browsers_are_bound_to_tls_only_if_that_is_wished(site: Site, scheme: str, days: int, told: str | None) -> None:
    """Strict-Transport-Security binds a whole host name, so it is sent over TLS, and only as it is configured."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(AnswerHeaders(site.app, hsts_seconds=days * 86400))
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://receipts.lan") as client:
            return await client.get("/")

    assert asyncio.run(ask()).headers.get("strict-transport-security") == told


# --- TLS, and a socket for a proxy ---------------------------------------------------------------------------------


def certificate_for(folder: Path, name: str) -> Certificate:
    """Make a certificate for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).add_extension(
        x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
    )
    made = made.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2090, 1, 1, tzinfo=UTC))
    found = Certificate(folder / "chain.pem", folder / "key.pem")
    found.chain.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    found.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return found


def name_at(port: int) -> str:
    """Return whose certificate is shown."""
    shown = x509.load_pem_x509_certificate(ssl.get_server_certificate(("localhost", port)).encode())
    return str(shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_a_renewed_certificate_is_read_anew(tmp_path: Path) -> None:
    """TLS goes on with the certificate that it has while a new one cannot be read, and takes it once it can."""
    certificate = certificate_for(tmp_path, "first")
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    running = Server(Starlette(), bound, certificate=certificate)
    running.start()
    try:
        with httpx.Client(verify=ssl.create_default_context(cafile=str(certificate.chain))) as client:
            assert client.get(f"https://localhost:{port}/").status_code == 404
        assert name_at(port) == "first"
        certificate.chain.write_text("half")
        with capture_logs() as lines:
            running.renew_certificate()
        assert [line["event"] for line in lines] == ["http.certificate_unread"]
        assert name_at(port) == "first"
        certificate_for(tmp_path, "second")
        with capture_logs() as lines:
            running.renew_certificate()
            running.renew_certificate()
        assert [line["event"] for line in lines] == ["http.certificate_renewed"]
        assert name_at(port) == "second"
    finally:
        running.stop(5)


def test_a_certificate_that_is_none_is_an_error_of_the_start(tmp_path: Path) -> None:
    """What cannot be used is said by its options, before anything is served."""
    certificate = Certificate(tmp_path / "none.pem", tmp_path / "none.key")
    with pytest.raises(ReceiptWatcherError, match=r"http\.tls_certificate .*none\.pem"):
        Server(Starlette(), bind("127.0.0.1", 0), certificate=certificate)


def test_a_socket_for_a_proxy(tmp_path: Path) -> None:
    """A UNIX socket is answered at, is the group's, and replaces one that a crash left, but none that is in use."""
    path = tmp_path / "receipts.sock"
    bind_unix(path).close()  # leaves its file behind, as a crash does
    bound = bind_unix(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    running = Server(Starlette(), bound)
    running.start()
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://receipts.lan/").status_code == 404
        with pytest.raises(ReceiptWatcherError, match=r"http\.uds"):
            bind_unix(path)
        with pytest.raises(ReceiptWatcherError, match=r"http\.uds"):
            bind_unix(tmp_path / "missing" / "x.sock")
    finally:
        running.stop(5)
