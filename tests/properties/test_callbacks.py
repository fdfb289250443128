"""Callbacks from whoever sends whatever: only a right verdict with the token changes a job, and nothing is a 500."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.server import thread
from tests.conftest import TOKEN, FakeClock
from tests.fakes.api_client import no_pause
from tests.properties.interleavings import be_quiet
from tests.unit.web.callback_site import SUCCESS, Site

OFTEN = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
RIGHT = b"X-Callback-Token: " + TOKEN.encode()


@pytest.fixture(autouse=True)
def no_log_lines() -> Iterator[None]:
    """Say nothing of what is refused."""
    be_quiet()
    yield
    structlog.reset_defaults()


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> Site:
    """The application, with one receipt that N8N has accepted; who has a wrong token is not kept waiting."""
    site = Site(log, clock, spool, pause=no_pause)
    site.heard()
    site.accepted()
    return site


def the_job(site: Site) -> Job:
    """Return the only job, which waits for its callback: an earlier example may have concluded it."""
    (job,) = site.log.lookups.listing(limit=None)
    if job.state is not State.PROCESSING:
        site.log.database.change("UPDATE job SET state = 'processing', reason = NULL WHERE job_id = ?", job.job_id)
    (job,) = site.log.lookups.listing(limit=None)
    return job


def verdict_of(body: bytes) -> State | None:
    """Return the state that a body asks for, by the contract's words alone; None where it is no verdict."""
    try:
        return _verdict_in(_read(body))
    except (ValueError, RecursionError):
        return None


def _read(text: bytes | str) -> Any:
    """Return JSON, or the fields of a form."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except ValueError:
        form = text.decode() if isinstance(text, bytes) else text
        return _object(parse_qsl(form.strip(), keep_blank_values=True, strict_parsing=True))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    said = {name.strip() if name.strip() == "status" else name: value for name, value in pairs}
    if len({str(value).strip() for name, value in pairs if name.strip() == "status"}) > 1:
        raise RecursionError("a contradiction, which no wrapping explains")
    return said


def _verdict_in(said: Any) -> State | None:
    """Take wrappings off, one after the other."""
    if isinstance(said, str):
        return _verdict_in(_read(said))
    if isinstance(said, list):
        return _verdict_in(said[0]) if len(said) == 1 else None
    if not isinstance(said, dict):
        return None
    if "json" in said and said.keys() <= {"json", "binary", "pairedItem"}:
        return _verdict_in(said["json"])
    if said.keys() == {"body"}:
        return _verdict_in(said["body"])
    status = said.get("status")
    return {"success": State.SUCCESS, "failure": State.FAILURE}.get(status.strip() if isinstance(status, str) else "")


# --- what is sent --------------------------------------------------------------------------------------------------

WORDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["success", "failure", "\udcff", "\0", "x" * 5000]),
)
SAID = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
FIELDS = st.sampled_from(["status", "message", "notion_page_url", "data", "job_id", "status ", "json", "body"])
VERDICTS = st.sampled_from(["success", "failure", " success\n"]).flatmap(
    lambda status: st.dictionaries(FIELDS, SAID, max_size=3).map(lambda said: json.dumps({**said, "status": status}))
)
WRAPPINGS: dict[str, Callable[[str], str]] = {
    "as a string": json.dumps,
    "in a list": "[{}]".format,
    "as an item": '{{"json": {}, "pairedItem": 0}}'.format,
    "as a body": '{{"body": {}}}'.format,
}
WRAPPED = st.tuples(VERDICTS, st.lists(st.sampled_from(sorted(WRAPPINGS)), max_size=3)).map(
    lambda found: functools.reduce(lambda text, name: WRAPPINGS[name](text), found[1], found[0]).encode()
)
BODIES = st.one_of(
    st.binary(max_size=200),
    SAID.map(json.dumps).map(str.encode),
    st.dictionaries(FIELDS, SAID, max_size=4).map(json.dumps).map(str.encode),
    WRAPPED,
    st.dictionaries(FIELDS, WORDS.map(str) | st.just("success"), max_size=4)
    .map(functools.partial(urlencode, errors="surrogatepass"))  # as a sender without strict UTF-8 writes "\udcff"
    .map(str.encode),
    st.sampled_from([b"[" * 100_000, b'{"status":' * 50_000, b"1" * 5000, b'{"status": 1e400}', b"\xff\xfe{}"]),
)
TOKENS = st.one_of(
    st.just(TOKEN.encode()),
    st.binary(max_size=40),
    st.sampled_from([TOKEN.encode() + b" ", TOKEN.upper().encode(), TOKEN[:-1].encode(), b"\xc3\xa4", b""]),
)
NAMES = st.sampled_from(
    [b"x-callback-token", b"content-type", b"content-length", b"host", b"x-forwarded-for", b"expect", b"accept"]
) | st.binary(min_size=1, max_size=20)
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=40) | TOKENS), max_size=5)


@dataclass
class Answered:
    """The answer of an application to one request."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int | None:
        """The status, or None where there was no answer."""
        found = [message["status"] for message in self.messages if message["type"] == "http.response.start"]
        assert len(found) <= 1
        return found[0] if found else None


def posted(site: Site, path: str, headers: Sequence[tuple[bytes, bytes]], pieces: Sequence[bytes]) -> Answered:
    """Send the application a POST as the server would, but with bytes that no client would send."""
    answered, left = Answered(), list(pieces)

    async def receive() -> Message:
        more = len(left) > 1
        return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": more}

    async def send(message: Message) -> None:
        answered.messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in headers],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 80),
    }
    asyncio.run(site.app(scope, receive, send))
    return answered


@OFTEN
@given(token=TOKENS, headers=HEADERS, body=BODIES, cuts=st.lists(st.integers(0, 200), max_size=3))
def test_any_headers_and_any_body(
    site: Site, token: bytes, headers: list[tuple[bytes, bytes]], body: bytes, cuts: list[int]
) -> None:
    """Only a verdict with the right token is answered 200, and counts; what else comes with it ends the job unread."""
    job = the_job(site)
    sent = [(b"x-callback-token", token), *headers]
    pieces = [body[start:end] for start, end in pairwise([0, *sorted(cuts), len(body)])]
    answered = posted(site, f"/api/v1/jobs/{job.job_id}/callback", sent, pieces)
    asked_for = verdict_of(body) if token == TOKEN.encode() else None
    assert answered.status is not None
    assert answered.status < 500
    now = site.job(job)
    if answered.status == 200:
        assert now.state is asked_for
        assert now.reason is not Reason.UNREADABLE_VERDICT
        return
    assert asked_for is None or headers  # which may contradict it
    if now.state is not State.PROCESSING:
        assert (now.state, now.reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)
        assert token == TOKEN.encode() or headers


@OFTEN
@given(path=st.text(max_size=60).map(lambda text: f"/{text}") | st.text(max_size=30).map("/api/v1/jobs/{}".format))
def test_any_path(site: Site, path: str) -> None:
    """A right verdict with the right token that is sent to any other path changes nothing."""
    job = the_job(site)
    headers = [(b"x-callback-token", TOKEN.encode())]
    for each in (path, f"{path}/callback", f"/api/v1/jobs/{job.job_id}/callback{path}"):
        answered = posted(site, each, headers, [SUCCESS])
        assert answered.status in {307, 400, 403, 404, 405}
    assert site.job(job) == job


# --- over the wire -------------------------------------------------------------------------------------------------


@pytest.fixture
def port(site: Site) -> Iterator[int]:
    """Return the port of the real server in front of the application."""
    bound = thread.bind("127.0.0.1", 0)
    running = thread.Server(site.app, bound)
    running.start()
    yield bound.getsockname()[1]
    running.stop(5)


def said_to(port: int, message: bytes, *, is_whole: bool = False) -> bytes:
    """Send bytes, and nothing after them; return all that is answered until the server ends the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 30) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(message)
        if not is_whole:
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65_536):
            answer += piece
    return answer


def request_for(job: Job, token_line: bytes, body: bytes = SUCCESS) -> bytes:
    """Return a callback as it is on the wire."""
    path = f"/api/v1/jobs/{job.job_id}/callback".encode()
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", b"Connection: close", token_line]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\0", b" ", b":", b"\xff" * 50, b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1", b"Host: a\r\n"]
) | st.binary(max_size=30)


@settings(OFTEN, max_examples=100)
@given(changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 30), PIECES), min_size=1, max_size=3))
def test_any_bytes_over_the_wire(
    site: Site, port: int, caplog: pytest.LogCaptureFixture, changes: list[tuple[int, int, bytes]]
) -> None:
    """Whatever becomes of a callback without the token on the wire, no job changes and nothing fails in the server."""
    job = the_job(site)
    message = request_for(job, b"X-Callback-Token: none")
    for at, cut, more in changes:
        message = message[:at] + more + message[at + cut :]
    answer = said_to(port, message)
    assert not answer.startswith(b"HTTP/1.1 5")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    events = [line["event"] for line in site.log.histories.lines(job.job_id)]
    assert events[-1] == "accept" or (events[-2:] == ["accept", "callback.refused"])
    assert site.job(job) == job


def test_a_right_callback_after_all_that(site: Site, port: int) -> None:
    """A callback that is right is heard when others, each cut off elsewhere, have come before it."""
    job = the_job(site)
    whole = request_for(job, RIGHT)
    for end in range(1, len(whole), 7):
        said_to(port, whole[:end])
        assert site.job(job) == job
    assert said_to(port, whole, is_whole=True).startswith(b"HTTP/1.1 200")
    assert site.job(job).state is State.SUCCESS
