"""Places that callers take, and what they are for: streams of events and uploads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.log.histories import JobEvent
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.api import events
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.admission import Admission
from receipt_watcher.web.server.thread import Server, bind
from receipt_watcher.web.uploads import reception
from receipt_watcher.web.uploads.places import CallerPlaces
from tests.conftest import TOKEN, FakeClock
from tests.fakes.api_client import SECRETS, ApiSite
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.unit.web.uploads.test_receive import upload

# --- the places themselves -----------------------------------------------------------------------------------------


def test_nobody_takes_all_places() -> None:
    """Each caller and all together have a bound; a caller who has no place gets one even then, up to twice as many."""
    places = CallerPlaces(4, 3)
    assert [places.take("a") for _ in range(4)] == [True, True, True, False]
    assert [places.take("b") for _ in range(2)] == [True, False]
    assert [places.take(name) for name in "cdefg"] == [True, True, True, True, False]
    assert len(places) == 8


def test_a_place_that_is_given_back_is_taken_again() -> None:
    """A caller who waits gets the place as soon as there is one, and learns when there is none in time."""

    async def play() -> None:
        places = CallerPlaces(1, 1)
        assert places.take("a")
        assert not await places.wait("a", 0.01)
        waiting = asyncio.create_task(places.wait("a", 30))
        await asyncio.sleep(0)
        places.give_back("a")
        assert await waiting
        places.give_back("a")
        assert len(places) == 0

    asyncio.run(play())


# --- streams of events ---------------------------------------------------------------------------------------------


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> ApiSite:
    """The application."""
    return ApiSite(log, clock, spool)


@pytest.fixture
def port(site: ApiSite) -> Iterator[int]:
    """The application at a port of its own."""
    bound = bind("127.0.0.1", 0)
    running = Server(site.app, bound)
    running.start()
    yield bound.getsockname()[1]
    site.is_stopping = True
    running.stop(30)
    assert not running.is_alive()


def listening(port: int, stack: contextlib.ExitStack, method: str = "GET", role: Role = Role.VIEWER) -> socket.socket:
    """Ask for the stream of events, and return the connection."""
    wire = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
    head = f"{method} /api/v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {SECRETS[role]}\r\n\r\n"
    wire.sendall(head.encode())
    return wire


def status_at(wire: socket.socket) -> int:
    """Return the status of an answer that begins."""
    return int(wire.recv(65536).split()[1])


def test_the_bound_of_listeners_is_no_race(site: ApiSite, port: int) -> None:
    """Of a hundred that ask at once one caller gets eight, another caller still gets in, and all places come back."""
    with contextlib.ExitStack() as stack:
        wires = [listening(port, stack) for _ in range(40)]
        assert sorted(map(status_at, wires)) == [200] * 8 + [503] * 32
        assert status_at(listening(port, stack, role=Role.ADMIN)) == 200
        assert site.feed.listeners == 9
    wait_until(lambda: site.feed.listeners == 0, "all places have come back")


@pytest.mark.parametrize("how", ["close", "half"])
def test_a_listener_who_leaves_goes_at_once(
    site: ApiSite, port: int, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A stream ends when its listener closes the connection or a half of it; nothing has to be sent to find out."""
    monkeypatch.setattr(events, "_SIGN_OF_LIFE_SECONDS", 3600)
    with contextlib.ExitStack() as stack:
        wire = listening(port, stack)
        assert status_at(wire) == 200
        assert site.feed.listeners == 1
        if how == "half":
            wire.shutdown(socket.SHUT_WR)
        else:
            wire.close()
        wait_until(lambda: site.feed.listeners == 0, "the place has come back")


def test_head_of_events_ends(site: ApiSite, port: int) -> None:
    """HEAD is answered with the headers alone, takes no place, and the connection is good for the next request."""
    with contextlib.ExitStack() as stack:
        wire = listening(port, stack, "HEAD")
        heard = wire.recv(65536)
        assert heard.startswith(b"HTTP/1.1 200 ")
        assert b"text/event-stream" in heard
        wire.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_at(wire) == 200
        assert site.feed.listeners == 0


def test_a_log_that_cannot_be_asked_takes_no_place(site: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that cannot begin gives its place back."""

    def fail() -> int:
        raise JobLogError("it is locked")

    monkeypatch.setattr(site.log.histories, "last_event", fail)
    assert site.near("GET", "/api/v1/events").status_code == 503
    assert site.feed.listeners == 0


def test_a_log_that_fails_meanwhile_costs_no_event(site: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream goes on when the log can be read again, and has missed nothing."""
    monkeypatch.setattr(events, "_LOOK_SECONDS", 0)
    site.accepted()
    ask, failures = site.log.histories.events_after, [JobLogError("it is locked")] * 3

    def fail_first(after: int, most: int) -> list[JobEvent]:
        if failures:
            raise failures.pop()
        return ask(after, most)

    monkeypatch.setattr(site.log.histories, "events_after", fail_first)
    heard = site.hear("/api/v1/events?after=0", lambda said: said.count(b"data:") >= 3)
    assert heard.count(b"id: ") == 3


# --- uploads -------------------------------------------------------------------------------------------------------


def test_uploads_that_trickle_keep_no_other_token_waiting(tmp_path: Path, n8n: StandIn) -> None:
    """While a token has all its places taken by uploads that do not end, another one's are taken, and its own later."""
    tokens = {f"the-{role}": {"role": str(role), "hash": hash_of(SECRETS[role])} for role in Role}
    with (
        RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"http": {"tokens": tokens}}) as daemon,
        contextlib.ExitStack() as stack,
    ):
        wires = []
        for _ in range(6):
            address = ("127.0.0.1", int(daemon.url.rpartition(":")[2]))
            wire = stack.enter_context(socket.create_connection(address, timeout=30))
            head = "POST /api/v1/receipts/upload HTTP/1.1\r\nHost: a\r\n"
            head += f"Authorization: Bearer {SECRETS[Role.OPERATOR]}\r\n"
            head += "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5000\r\n\r\n--x\r\n"
            wire.sendall(head.encode())
            wires.append(wire)
        wait_until(lambda: len(list((daemon.state / "uploads").glob("*"))) == 4, "four are being received")
        one, two = jpegs(2)
        assert upload(daemon, one, "a.jpg").status_code == 202
        for wire in wires:
            wire.close()
        wait_until(lambda: not list((daemon.state / "uploads").glob("*")), "they are gone")
        other = {"Authorization": f"Bearer {SECRETS[Role.OPERATOR]}"}
        assert upload(daemon, two, "b.jpg", headers=other).status_code == 202
        daemon.wait_quiet(2)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_an_upload_has_a_least_rate(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """An upload that stops or trickles ends when too little came in its time; a byte buys no new time."""
    monkeypatch.setattr(reception, "_PART_SECONDS", 0.2)
    came = 0

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01 if size else None):
                    await asyncio.Event().wait()
            yield b"x" * size

    async def play() -> None:
        nonlocal came
        async for piece in reception._not_too_slowly(pieces()):
            came += len(piece)

    with pytest.raises(TimeoutError):
        asyncio.run(play())
    assert came < reception._PART_BYTES


def test_an_upload_may_take_its_time_if_enough_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that comes fast enough is read to its end, however long our disk takes for each part of it."""
    monkeypatch.setattr(reception, "_PART_SECONDS", 0.05)
    monkeypatch.setattr(reception, "_PART_BYTES", 100)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * 60

    async def play() -> int:
        came = 0
        async for piece in reception._not_too_slowly(pieces()):
            came += len(piece)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.06):  # a slow disk
                    await asyncio.Event().wait()
        return came

    assert asyncio.run(play()) == 600


def test_uploads_leave_room_for_the_log_together(
    tmp_path: Path, site: ApiSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk must have room for all uploads under way together, not for each alone."""
    free = reception._RESERVE_BYTES + 1000
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    begin = site.uploads._reception._begin
    begin(tmp_path / "a" / "x", 1000).close()
    with pytest.raises(RefusedError) as caught:
        begin(tmp_path / "b" / "x", 1001)
    assert caught.value.status == 507


# --- connections ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["token", "session", "nothing", "wrong"])
def test_a_known_caller_is_closed_last(site: ApiSite, how: str) -> None:
    """A connection whose request bore a token or a session stays longer than those of strangers."""
    headers = {
        "token": f"Authorization: Bearer {SECRETS[Role.VIEWER]}",
        "session": "Cookie: " + site.sign_in(Role.VIEWER)["Cookie"],
        "nothing": "X: y",
        "wrong": "Authorization: Bearer wrong",
    }
    bound = bind("127.0.0.1", 0)
    running = Server(site.app, bound, Admission(2))
    running.start()
    with contextlib.ExitStack() as stack:
        wire, *others = [stack.enter_context(socket.create_connection(bound.getsockname(), 30)) for _ in range(2)]
        wire.sendall(f"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n{headers[how]}\r\n\r\n".encode())
        heard = b""
        while not heard.endswith(b"}"):
            heard += wire.recv(65536)
        others.append(stack.enter_context(socket.create_connection(bound.getsockname(), 30)))
        assert (others[0] if how in ("token", "session") else wire).recv(1) == b""
    running.stop(30)
    assert not running.is_alive()
