"""The HTTP client against real sockets on loopback: an answer, certainly not sent, or an answer that was lost."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import h11
import pytest

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.delivery.destinations import http_client as module
from receipt_watcher.delivery.destinations.http_client import TRIES, Answer, Outbound
from receipt_watcher.errors import AnswerLostError, ConfigError, NotSentError
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


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(module, "_TRY_PAUSE_SECONDS", 0.001)


@pytest.fixture
def near() -> Iterator[Outbound]:
    """A client with time to spare."""
    with Outbound(timeout_seconds=20, connections=4) as outbound:
        yield outbound


def post(near: Outbound, url: str, body: Callable[[], Iterator[bytes]] = lambda: iter(BODY)) -> Answer:
    """Post a body of the usual length."""
    return near.post(url, {"Content-Type": "text/plain"}, body, BODY_BYTES)


def test_answer_is_returned(near: Outbound) -> None:
    """An answer comes back with status, lower-case header names and text, and the request arrived whole."""

    def serve(line: Line) -> None:
        line.read()
        line.answer("503 Busy", "später".encode(), "Retry-After: 7")

    with FarSide(serve) as far:
        answer = post(near, far.url)
        assert (answer.status, answer.headers["retry-after"], answer.text) == (503, "7", "später")
        (request,) = far.arrived
        assert (request.is_whole, request.body_bytes) == (True, BODY_BYTES)
        assert request.head.startswith("POST /webhook/receipts HTTP/1.1\r\n")
        assert "transfer-encoding" not in request.head.lower()


@pytest.mark.parametrize("charset", ["hex", "no-such-thing", "utf-16", "idna", "unicode_escape"])
def test_charset_of_an_answer_breaks_nothing(near: Outbound, charset: str) -> None:
    """An answer stays an answer whatever character set it claims."""

    def serve(line: Line) -> None:
        line.read()
        line.answer("200 OK", b'{"odd": "\xff\\x"}', f"Content-Type: application/json; charset={charset}")

    with FarSide(serve) as far:
        assert post(near, far.url).status == 200


# --- certainly not sent: tried again -------------------------------------------------------------------------------


def test_refused_connection_is_tried_three_times(near: Outbound) -> None:
    """Where nobody listens, three tries are made, each with a body of its own, and then it is certainly not sent."""
    made = itertools.count()

    def body() -> Iterator[bytes]:
        next(made)
        return iter(BODY)

    with socket.socket() as bound:  # bound without listening: the port is ours, and refuses
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentError, match=r"no connection: .*refused"):
            post(near, f"http://127.0.0.1:{bound.getsockname()[1]}/", body)
    assert next(made) == TRIES == 3


def test_stopping_ends_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the daemon stops a failed try is the last, and the pause before the next one ends at once."""
    monkeypatch.setattr(module, "_TRY_PAUSE_SECONDS", 10**6)
    monkeypatch.setattr(module, "_TRY_PAUSE_MAX_SECONDS", 10**6)
    stopping = threading.Event()
    made = 0

    def body() -> Iterator[bytes]:
        nonlocal made
        made += 1
        stopping.set()
        return iter(BODY)

    with socket.socket() as bound, Outbound(timeout_seconds=20, connections=1, stopping=stopping) as near:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentError):
            post(near, f"http://127.0.0.1:{bound.getsockname()[1]}/", body)
    assert made == 1


def test_stopping_ends_a_pause_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that comes in the pause between two tries is not kept waiting for it."""
    monkeypatch.setattr(module, "_TRY_PAUSE_SECONDS", 10**6)
    monkeypatch.setattr(module, "_TRY_PAUSE_MAX_SECONDS", 10**6)
    stopping = Interrupted()
    with socket.socket() as bound, Outbound(timeout_seconds=20, connections=1, stopping=stopping) as near:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentError):
            post(near, f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert stopping.pauses == 1


class Interrupted(threading.Event):
    """A stop that comes in the first pause."""

    pauses = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Note the pause, and end it."""
        self.pauses += 1
        self.set()
        return super().wait(timeout)


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


def test_reset_amid_the_body_is_tried_again(near: Outbound) -> None:
    """A connection that breaks before the body's end is certain: the receipt goes out again on a new connection."""
    body = HeldBack()

    def serve(line: Line) -> None:
        body.done_with += 1
        serve_all(line)

    with FarSide(body.before(Line.reset), serve) as far:
        assert post(near, far.url, body).status == 200
        assert [request.is_whole for request in far.arrived] == [False, True]
        assert far.connections == 2


def test_reset_amid_the_body_each_time_is_not_sent(near: Outbound) -> None:
    """Where the connection breaks amid the body each time, it is not sent after three tries."""
    body = HeldBack()
    with FarSide(body.before(Line.reset)) as far:
        with pytest.raises(NotSentError, match="the connection broke"):
            post(near, far.url, body)
        assert [request.is_whole for request in far.arrived] == [False] * TRIES


def test_stalled_sending_is_not_sent() -> None:
    """A far side that stops reading is certain, too: it never had the end."""
    stop = threading.Event()

    def serve(line: Line) -> None:
        line.read_head()
        stop.wait(30)

    with FarSide(serve) as far, Outbound(timeout_seconds=0.2, connections=1) as near:
        with pytest.raises(NotSentError, match=r"could not be sent within n8n\.timeout_seconds"):
            near.post(far.url, {}, lambda: itertools.repeat(PIECE, 1000), 1000 * len(PIECE))
        stop.set()
        assert [request.is_whole for request in far.arrived] == [False] * TRIES


def test_acceptance_before_the_end_counts_for_nothing(near: Outbound) -> None:
    """A 200 from a far side that left before the body's end is no acceptance: it cannot have the receipt."""
    body = HeldBack()

    def serve(line: Line) -> None:
        line.answer()
        line.reset()

    with FarSide(body.before(serve)) as far, pytest.raises(NotSentError):
        post(near, far.url, body)


def test_unknown_host_is_told(near: Outbound) -> None:
    """A host name that is not known is certainly not sent, and the text says that there is no connection."""
    with pytest.raises(NotSentError, match=r"no connection: .*\w"):
        post(near, "http://receipts.invalid/webhook")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://127.0.0.1:x/", "/webhook"])
def test_unusable_url_is_told(near: Outbound, url: str) -> None:
    """A URL that cannot be used is certainly not sent, and the text names the webhook's URL."""
    with pytest.raises(NotSentError, match="the webhook URL cannot be used"):
        post(near, url)


# --- perhaps sent: never again -------------------------------------------------------------------------------------


def leave_by_reset(line: Line) -> None:
    """Read the whole request, then break off."""
    line.read()
    line.reset()


def leave_politely(line: Line) -> None:
    """Read the whole request, then close."""
    line.read()


def leave_amid_the_head(line: Line) -> None:
    """Answer half a head."""
    line.read()
    line.wire.sendall(b"HTTP/1.1 200 OK\r\nConte")


def leave_amid_the_answer(line: Line) -> None:
    """Answer a tenth of what was announced."""
    line.read()
    line.wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")


def answer_nonsense(line: Line) -> None:
    """Answer what is no HTTP."""
    line.read()
    line.wire.sendall(b"220 mail.example.com ESMTP\r\n")


@pytest.mark.parametrize(
    "script", [leave_by_reset, leave_politely, leave_amid_the_head, leave_amid_the_answer, answer_nonsense]
)
def test_lost_answer_is_not_sent_again(near: Outbound, script: Serve) -> None:
    """A connection that breaks after the whole body leaves it open whether it was read: it is posted only once."""
    with FarSide(script) as far:
        with pytest.raises(AnswerLostError):
            post(near, far.url)
        assert [request.is_whole for request in far.arrived] == [True]
        assert far.connections == 1


def test_timeout_is_a_lost_answer() -> None:
    """No answer in time is a lost answer, posted only once, and the text names the option."""
    stop = threading.Event()

    def serve(line: Line) -> None:
        line.read()
        stop.wait(30)

    with FarSide(serve) as far, Outbound(timeout_seconds=0.3, connections=1) as near:
        with pytest.raises(AnswerLostError, match=r"no answer within n8n\.timeout_seconds"):
            post(near, far.url)
        stop.set()
        assert [request.is_whole for request in far.arrived] == [True]


def chunked(pieces: Iterator[bytes], sent: list[int] | None = None) -> Serve:
    """Return the script that answers with these pieces, as long as somebody reads them."""

    def serve(line: Line) -> None:
        line.read()
        line.wire.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            line.wire.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            if sent is not None:
                sent.append(len(piece))
        line.wire.sendall(b"0\r\n\r\n")

    return serve


class Hours:
    """Time that passes an hour whenever somebody looks."""

    def __init__(self) -> None:
        self.monotonic = itertools.count(0.0, 3600.0).__next__


def test_endless_answer_is_cut(near: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes drop by drop for ever is cut off and counts as lost."""
    monkeypatch.setattr(module, "time", Hours())
    with FarSide(chunked(itertools.repeat(b"."))) as far:
        with pytest.raises(AnswerLostError):
            post(near, far.url)
        assert len(far.arrived) == 1


def test_slow_sending_costs_the_answer_no_time(near: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the sending took, an answer that then comes at once is an answer."""
    time = SimpleNamespace(now=0.0)
    time.monotonic = lambda: time.now
    monkeypatch.setattr(module, "time", time)

    def body() -> Iterator[bytes]:
        for piece in BODY:
            time.now += 3600
            yield piece

    with FarSide() as far:
        assert post(near, far.url, body).elapsed_seconds == 3600 * len(BODY)


def test_large_answer_is_bounded(near: Outbound) -> None:
    """Of an answer no more than 1 MiB is kept, as of a callback, and the rest is not even fetched."""
    sent: list[int] = []
    with FarSide(chunked(itertools.repeat(PIECE, 2000), sent)) as far:
        answer = post(near, far.url)
        assert len(answer.text) == 1024 * 1024
        assert post(near, far.url).status == 200  # on a new connection: the old one is not usable
        assert far.connections == 2
    assert sum(sent) < 2 * 2000 * len(PIECE)


# --- what else an answer can be ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(near: Outbound, status: int) -> None:
    """A redirect is an answer like others: the receipt goes nowhere but where the configuration says."""

    def serve(line: Line) -> None:
        line.read()
        line.answer(f"{status} Elsewhere", b"", f"Location: {elsewhere.url}")

    with FarSide() as elsewhere, FarSide(serve) as far:
        answer = post(near, far.url)
        assert (answer.status, answer.headers["location"]) == (status, elsewhere.url)
        assert (len(far.arrived), elsewhere.connections) == (1, 0)


def test_refusal_amid_the_body_is_heard(near: Outbound) -> None:
    """A far side that answers 413 and leaves while the body is still being sent is understood, at the first try."""
    body = HeldBack()

    def serve(line: Line) -> None:
        line.answer("413 Content Too Large", b"too large", "Connection: close")
        line.wire.close()

    with FarSide(body.before(serve)) as far:
        answer = post(near, far.url, body)
        assert (answer.status, answer.text) == (413, "too large")
        assert far.connections == 1


def test_error_of_the_body_passes(near: Outbound) -> None:
    """What the body raises passes as it is, at the first try, and the far side never gets a whole body."""
    ended = threading.Event()

    class OwnError(Exception):
        pass

    def serve(line: Line) -> None:
        line.read()
        ended.set()

    def body() -> Iterator[bytes]:
        yield from BODY[:-1]
        raise OwnError

    with FarSide(serve, serve_all) as far:
        with pytest.raises(OwnError):
            post(near, far.url, body)
        assert ended.wait(10)
        (request,) = far.arrived
        assert (request.is_whole, request.body_bytes) == (False, BODY_BYTES - len(PIECE))
        assert post(near, far.url).status == 200
        assert far.connections == 2


def test_short_body_never_arrives_whole(near: Outbound) -> None:
    """A body that ends before its announced length is an error of ours, and the request stays without its end."""
    ended = threading.Event()

    def serve(line: Line) -> None:
        line.read()
        ended.set()

    with FarSide(serve) as far:
        with pytest.raises(h11.LocalProtocolError):
            post(near, far.url, lambda: iter(BODY[:-1]))
        assert ended.wait(10)
        assert [request.is_whole for request in far.arrived] == [False]


# --- connections ---------------------------------------------------------------------------------------------------


def test_connection_is_kept(near: Outbound) -> None:
    """Posts that follow each other quickly share one connection."""
    with FarSide() as far:
        for _ in range(5):
            assert post(near, far.url).status == 200
        assert (far.connections, len(far.arrived)) == (1, 5)


def test_idle_connection_is_not_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle for longer than we trust it is not used again."""
    monkeypatch.setattr(module, "_KEEPALIVE_SECONDS", 0.0)
    with FarSide() as far, Outbound(timeout_seconds=20, connections=1) as near:
        assert [post(near, far.url).status for _ in range(3)] == [200, 200, 200]
        assert far.connections == 3


def test_connection_closed_by_the_far_side_loses_nothing(near: Outbound) -> None:
    """A far side that closes idle connections costs no answer: the next post goes out on a new one."""
    left = threading.Event()

    def serve(line: Line) -> None:
        line.read()
        line.answer()
        line.wire.shutdown(socket.SHUT_WR)
        left.set()
        line.wire.recv(1)

    with FarSide(serve) as far:
        for count in range(1, 4):
            assert post(near, far.url).status == 200
            assert left.wait(10)
            left.clear()
            assert (far.connections, len(far.arrived)) == (count, count)


def test_workers_share_the_client() -> None:
    """As many workers as connections post at once, each answer finds its worker, and connections are kept."""
    # With more workers than connections httpcore 1.0.9 closes connections in use (encode/httpcore#1110).
    with FarSide() as far, Outbound(timeout_seconds=20, connections=6) as near:
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.extend(post(near, far.url).status for _ in range(5)))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 30
        assert len(far.arrived) == 30
        assert far.connections <= 6


def test_outage_and_back(near: Outbound, n8n: StandIn) -> None:
    """After an outage the same client posts again, and nothing of the outage is left."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    content = [b'{"job_id": "1", "image_data": ""}']

    def send() -> Answer:
        return near.post(n8n.webhook_url, {}, lambda: iter(content), len(content[0]))

    assert send().status == 200
    n8n.stop_listening()
    with pytest.raises(NotSentError):
        send()
    n8n.listen_again()
    assert send().status == 200
    assert len(n8n.deliveries) == 2


def test_proxy_that_breaks_off_is_not_sent_through(near: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment that breaks off before the receipt was sent leaves it certainly not sent."""

    def serve(line: Line) -> None:
        line.read()
        line.answer("200 Connection established", b"")

    with FarSide(serve) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        # httpcore 1.0.9 never gives the place of such a connection back (encode/httpcore#1049).
        with Outbound(timeout_seconds=5, connections=TRIES) as through, pytest.raises(NotSentError):
            post(through, "https://n8n.invalid/webhook/receipts")
        assert [request.head.split()[0] for request in proxy.arrived] == ["CONNECT"] * TRIES


# --- TLS -----------------------------------------------------------------------------------------------------------


@dataclass
class Certificate:
    """A certificate of its own authority, and the server's side of it."""

    file: Path
    context: ssl.SSLContext


def make_certificate(folder: Path, alternative_name: str) -> Certificate:
    """Make a certificate that nobody knows."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl command to make a certificate with")
    key, file = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=receipts", "-addext", f"subjectAltName={alternative_name}"]
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", file, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return Certificate(file, context)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


def test_unknown_certificate_is_refused(near: Outbound, certificate: Certificate) -> None:
    """A certificate by an unknown authority is refused before anything is sent, and the text says what to do."""
    with FarSide(tls=certificate.context) as far:
        with pytest.raises(NotSentError, match=r"TLS failed: .*for a private authority set n8n\.ca_file"):
            post(near, far.url)
        assert far.arrived == []


def test_own_authority_is_accepted(certificate: Certificate) -> None:
    """With the authority in ca_file the receipt is sent."""
    with FarSide(tls=certificate.context) as far:
        with Outbound(timeout_seconds=20, connections=1, ca_file=str(certificate.file)) as near:
            assert post(near, far.url).status == 200
        assert [request.is_whole for request in far.arrived] == [True]


def test_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    """A certificate of the right authority for another host is refused."""
    other = make_certificate(tmp_path, "DNS:other.invalid")
    with FarSide(tls=other.context) as far:
        with (
            Outbound(timeout_seconds=20, connections=1, ca_file=str(other.file)) as near,
            pytest.raises(NotSentError, match="TLS failed"),
        ):
            post(near, far.url)
        assert far.arrived == []


def test_verification_can_be_switched_off(certificate: Certificate) -> None:
    """With verify_tls off, any certificate will do."""
    with (
        FarSide(tls=certificate.context) as far,
        Outbound(timeout_seconds=20, connections=1, verify_tls=False) as near,
    ):
        assert post(near, far.url).status == 200


def test_lost_answer_over_tls_is_not_sent_again(certificate: Certificate) -> None:
    """Over TLS, too, a connection that breaks after the whole body is posted on only once."""
    with (
        FarSide(leave_politely, tls=certificate.context) as far,
        Outbound(timeout_seconds=20, connections=1, verify_tls=False) as near,
    ):
        with pytest.raises(AnswerLostError):
            post(near, far.url)
        assert [request.is_whole for request in far.arrived] == [True]


def test_no_tls_where_it_is_expected_is_told(near: Outbound) -> None:
    """A far side that speaks no TLS is certainly not sent to, and the text speaks of TLS."""

    def serve(line: Line) -> None:
        line.wire.recv(65536)
        line.answer("400 Bad Request", b"")

    with FarSide(serve) as far, pytest.raises(NotSentError, match="TLS failed"):
        post(near, far.url.replace("http:", "https:"))


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_unusable_ca_file_is_an_error_of_the_configuration(tmp_path: Path, content: bytes | None) -> None:
    """A ca_file that is missing, empty or no PEM stops the start, and its text names the key and the file."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Outbound(timeout_seconds=5, connections=1, ca_file=str(path))
    (problem,) = caught.value.problems
    assert problem.key == "n8n.ca_file"
    assert str(path) in problem.wrong


# --- get -----------------------------------------------------------------------------------------------------------


def test_get_fetches_a_page(near: Outbound, n8n: StandIn) -> None:
    """`get` returns the page, and follows no redirect."""
    answer = near.get(f"http://127.0.0.1:{n8n.port}/healthz")
    assert (answer.status, answer.text) == (200, '{"status":"ok"}')

    def serve(line: Line) -> None:
        line.read()
        line.answer("302 Found", b"", "Location: /login")

    with FarSide(serve) as far:
        assert near.get(far.url).status == 302
        assert [request.head.split()[0] for request in far.arrived] == ["GET"]


def test_get_without_an_answer_is_told(near: Outbound) -> None:
    """`get` says in words that there is no connection or no answer."""
    with FarSide(leave_by_reset) as far:
        with pytest.raises(NotSentError, match="the connection broke"):
            near.get(far.url)
        wait_until(lambda: len(far.arrived) == 1, "the request is noted")
    with pytest.raises(NotSentError, match="no connection"):
        near.get(far.url)
