"""Nonsense, slowness and a crowd of connections keep no callback out."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.web.server import bodies, connections
from receipt_watcher.web.server.admission import Admission
from tests.conftest import TOKEN
from tests.fakes.daemons.process import wait_until
from tests.unit.web.callback_site import SUCCESS, Site
from tests.unit.web.server.hostile_site import OLD_TOKEN, Open, problem_in, read_all

NONSENSE = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "another coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "two ends": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a long path": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    "a long header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000, 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000, 431),
    "a garbled chunk": (b"POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    "an odd Host": (b"GET /no HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n", 400),
    "a user in the Host": (b"GET /no HTTP/1.1\r\nHost: evil.example@127.0.0.1\r\nConnection: close\r\n\r\n", 400),
    "an upgrade": (b"GET /no HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n", 404),
    "a path with dots": (b"GET /health/%2e%2e//live HTTP/1.0\r\n\r\n", 404),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_gets_a_problem(listen: Open, name: str) -> None:
    """What cannot be read as a request is answered by a problem, and the connection ends."""
    text, status = NONSENSE[name]
    listening = listen()
    with listening.connect() as wire:
        with contextlib.suppress(ConnectionError):  # it may be cut off before it has said everything
            wire.sendall(text)
        heard = read_all(wire)
    if heard or status != 431:
        if b"connection: close" not in heard.lower():  # HTTP/1.0 ends it anyhow
            heard = heard.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        assert problem_in(heard)["status"] == status
    assert listening.is_heard()


def test_garbage_behind_an_answer_is_no_traceback(listen: Open, site: Site) -> None:
    """A chunked body that turns into nonsense while or after it is answered ends the connection, quietly."""
    listening = listen()
    head = b"POST /api/v1/jobs/a/callback HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
    for token in (b"", b"X-Callback-Token: " + TOKEN.encode() + b"\r\n"):
        for _ in range(10):
            listening.say(head + token + b"\r\n5\r\nabcde\r\n" + b"\xff" * 50 + b"\r\n")
    assert listening.is_heard()


def test_a_caller_who_closes_his_half_is_answered(listen: Open, site: Site) -> None:
    """Who has sent everything and says so by closing his half of the connection gets his answer."""
    (job,) = site.accepted()
    with listen().connect() as wire:
        head = f"POST /api/v1/jobs/{job.job_id}/callback HTTP/1.1\r\nHost: a\r\nX-Callback-Token: {TOKEN}\r\n"
        wire.sendall(f"{head}Content-Length: {len(SUCCESS)}\r\n\r\n".encode() + SUCCESS)
        wire.shutdown(socket.SHUT_WR)
        assert read_all(wire).startswith(b"HTTP/1.1 200 ")
    assert site.job(job).state is State.SUCCESS


def test_a_slow_head_is_answered_and_a_silent_caller_left(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that does not come to its end gets 408; a connection that says nothing is closed."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    listening = listen()
    assert problem_in(listening.say(b"POST / HTTP/1.1\r\nHost"))["status"] == 408
    assert listening.say(b"") == b""
    with listening.connect() as wire:
        wire.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: wire.recv(65536).endswith(b'{"status":"ok"}'), "the first request is answered")
        wire.sendall(b"GET")
        assert problem_in(read_all(wire))["status"] == 408


def test_a_head_that_trickles_is_answered(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the whole head that has so long, not each byte."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    pause = threading.Event()
    with listen().connect() as wire:
        with contextlib.suppress(ConnectionError):
            for _ in range(500):
                wire.sendall(b"a")
                if pause.wait(0.02) or _has_answer(wire):
                    break
        assert problem_in(read_all(wire))["status"] == 408


def _has_answer(wire: socket.socket) -> bool:
    wire.setblocking(False)
    try:
        wire.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        wire.settimeout(30)


@pytest.mark.parametrize(("token", "status"), [(TOKEN, 408), ("wrong", 401)])
def test_a_slow_body_is_answered(
    listen: Open, site: Site, monkeypatch: pytest.MonkeyPatch, token: str, status: int
) -> None:
    """A body that does not come to its end gets its answer; with a right token, that it came is kept and counts."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 0.2)
    (job,) = site.accepted()
    head = f"POST /api/v1/jobs/{job.job_id}/callback HTTP/1.1\r\nHost: a\r\nX-Callback-Token: {token}\r\n"
    heard = listen().say(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    assert problem_in(heard)["status"] == status
    assert (site.job(job).reason is Reason.UNREADABLE_VERDICT) == (status == 408)
    assert (site.job(job) == job) == (status != 408)


def test_a_body_without_end_is_not_read_to_it(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a body that nobody wants so much is thrown away, and no more: then comes the answer, and the end."""
    monkeypatch.setattr(bodies, "DRAIN_MAX_BYTES", 100_000)
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 3600)  # it is answered for nothing else
    head = b"POST /api/v1/jobs/a/callback HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n"
    assert problem_in(listen().say(head + b"x" * 200_000))["status"] == 401


def test_who_asks_before_sending_is_not_asked_for_more(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong token with «Expect: 100-continue» is refused at once, and its body never asked for."""
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 3600)  # it is answered for nothing else
    head = b"POST /api/v1/jobs/a/callback HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    assert problem_in(listen().say(head))["status"] == 401


def send_on(wire: socket.socket, text: bytes) -> None:
    """Send the same again and again, until that fails."""
    while True:
        wire.sendall(text)


def test_a_caller_who_does_not_read_is_left(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks and asks and never reads an answer is closed when he has kept us waiting."""
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.2)
    listening = listen()
    with listening.connect() as wire:
        wire.settimeout(30)
        with pytest.raises(ConnectionError):
            send_on(wire, b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
    assert listening.is_heard()


def more_files(count: int) -> None:
    """Let this process open so many files, or skip the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def test_two_thousand_silent_connections(listen: Open) -> None:
    """They keep no callback out, and one line tells of each bound that they met."""
    more_files(4096)
    listening = listen()
    with contextlib.ExitStack() as stack, capture_logs() as lines:
        for _ in range(2000):
            stack.enter_context(listening.connect())
        assert all(listening.is_heard() for _ in range(5))
    told = [line["event"] for line in lines if line["event"].startswith("http.")]
    assert told
    assert len(told) == len({*told} & {"http.crowded", "http.address_crowded"})


@pytest.mark.parametrize("most", [1, 3])
def test_a_callback_under_way_is_not_closed_for_others(listen: Open, site: Site, most: int) -> None:
    """Who bears a right token may end, however many come after."""
    listening = listen(Admission(most))
    (job,) = site.accepted()
    with listening.connect() as right, contextlib.ExitStack() as stack:
        begin(right, job.job_id, OLD_TOKEN, "callback.previous_token")
        for _ in range(10):
            stack.enter_context(listening.connect())
        right.sendall(SUCCESS)
        assert right.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert site.job(job).state is State.SUCCESS


def test_a_callback_without_a_right_token_makes_room(listen: Open) -> None:
    """Who bears none is closed for those who come after."""
    listening = listen(Admission(3))
    with listening.connect() as wrong, contextlib.ExitStack() as stack:
        begin(wrong, "a", "wrong", "callback.unauthorised")
        for _ in range(10):
            stack.enter_context(listening.connect())
        assert read_all(wrong) == b""


def begin(wire: socket.socket, job_id: str, token: str, event: str) -> None:
    """Send the head of a callback, and wait until the log says what its token is."""
    head = f"POST /api/v1/jobs/{job_id}/callback HTTP/1.1\r\nHost: a\r\nX-Callback-Token: {token}\r\n"
    with capture_logs() as lines:
        wire.sendall(f"{head}Content-Length: {len(SUCCESS)}\r\n\r\n".encode())
        wait_until(lambda: event in str(lines), "the token was seen")


def use_up_files(stack: contextlib.ExitStack) -> None:
    """Open files until that fails; they are closed with `stack`."""
    while True:
        stack.callback(os.close, os.dup(0))


def test_no_file_is_left_to_accept_with(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """When accept() fails for want of files (EMFILE), the oldest connection makes room, and one line says so."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 3600)  # it is closed for nothing else
    listening = listen()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack, capture_logs() as lines:
        idle = stack.enter_context(listening.connect())
        wait_until(lambda: listening.server._server.server_state.connections, "it is accepted")
        late = stack.enter_context(socket.socket())
        late.settimeout(30)
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        with pytest.raises(OSError, match="Too many open files"):
            use_up_files(stack)
        late.connect(("127.0.0.1", listening.port))
        late.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert read_all(late).startswith(b"HTTP/1.1 200 ")
        assert read_all(idle) == b""
    assert [line["event"] for line in lines] == ["http.no_files"]
    assert listening.is_heard()


def test_a_stop_does_not_wait_for_strangers(listen: Open) -> None:
    """A body that trickles in with a wrong token does not hold up a stop."""
    listening = listen()
    with listening.connect() as wire, capture_logs() as lines:
        wire.sendall(b"POST /api/v1/jobs/a/callback HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        wait_until(lambda: "callback.unauthorised" in str(lines), "the request has begun")
        listening.server.stop(5)
        assert not listening.server.is_alive()
        assert read_all(wire) == b""
