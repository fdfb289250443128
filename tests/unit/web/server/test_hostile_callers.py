"""Callers who mean harm or know no better: tokens, bodies, slow and many connections; N8N is heard all the same."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hmac
import io
import json
import logging
import os
import re
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from structlog.testing import capture_logs

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.sections.callback import Callback
from receipt_watcher.config.sources.load import load
from receipt_watcher.errors import ConfigError
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web import callback
from receipt_watcher.web.access.authorization import cookie_of
from receipt_watcher.web.access.callback_tokens import CallbackTokens, TokenWorth
from receipt_watcher.web.access.wrong_tokens import (
    DELAY_MAX_SECONDS,
    FREE_TRIES,
    LIMIT_TRIES,
    MOST_ADDRESSES,
    MOST_DELAYED,
    WrongTokens,
)
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server import bodies, connections, thread
from receipt_watcher.web.server.admission import Admission
from receipt_watcher.web.uploads.form import Form
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.properties.attacks import attack
from tests.properties.fuzz_http import faults_in, fuzz
from tests.unit.web.callback_site import AUTHENTIC, JSON, SUCCESS, VERDICTS, Site, ask, assert_problem

OLD_TOKEN = "the-token-before-that"
WRONG = {"X-Callback-Token": "wrong"}


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> Site:
    """The application, whose destination has called back before; nobody waits for a delayed answer."""

    async def at_once(_: float) -> None:
        """Do not wait."""

    site = Site(log, clock, spool, CallbackTokens(TOKEN, OLD_TOKEN), at_once)
    site.heard()
    return site


# --- tokens --------------------------------------------------------------------------------------------------------


def test_each_token_has_its_standing() -> None:
    """The secret token and the one before it are good for every job."""
    tokens = CallbackTokens(TOKEN, OLD_TOKEN)
    assert tokens.judge("a", [TOKEN]) is TokenWorth.RIGHT
    assert tokens.judge("a", [OLD_TOKEN]) is TokenWorth.PREVIOUS
    assert tokens.for_job("a") is None
    for given_tokens in ([], [""], ["x"], [TOKEN, TOKEN], [TOKEN, "x"], [f"{TOKEN},{TOKEN}"], [TOKEN + " "]):
        assert tokens.judge("a", given_tokens) is TokenWorth.WRONG
    assert CallbackTokens(TOKEN).judge("a", [""]) is TokenWorth.WRONG  # no previous token is not an empty one


def test_a_jobs_token_is_good_for_that_job() -> None:
    """It is good for its job alone, fits a header, tells nothing of the secret, and the shared one is good no more."""
    tokens = CallbackTokens(TOKEN, OLD_TOKEN, per_job=True)
    own, other = tokens.for_job("a"), tokens.for_job("b")
    assert own is not None
    assert other is not None
    assert re.fullmatch("[A-Za-z0-9_-]{43}", own)
    assert [tokens.judge("a", [text]) for text in (own, other)] == [TokenWorth.RIGHT, TokenWorth.WRONG]
    assert [tokens.judge("a", [text]) for text in (TOKEN, OLD_TOKEN)] == [TokenWorth.SHARED, TokenWorth.SHARED]
    assert tokens.for_job("a") == CallbackTokens(TOKEN, per_job=True).for_job("a")
    assert "token" not in repr(tokens).replace("Tokens", "")


def test_a_jobs_token_outlives_changes() -> None:
    """Made under the previous secret it is still good, and so it is after per_job_tokens was switched off."""
    own = CallbackTokens(OLD_TOKEN, per_job=True).for_job("a") or ""
    assert CallbackTokens(TOKEN, OLD_TOKEN, per_job=True).judge("a", [own]) is TokenWorth.PREVIOUS
    assert CallbackTokens(OLD_TOKEN).judge("a", [own]) is TokenWorth.RIGHT
    assert CallbackTokens(TOKEN, per_job=True).judge("a", [own]) is TokenWorth.WRONG


def test_a_jobs_token_stays_what_it_is() -> None:
    """A newer version makes the same one, or receipts that are at N8N during an update could not be concluded."""
    assert CallbackTokens(TOKEN, per_job=True).for_job("a") == "Ssuwa8LbwHW7ynf4DrBI8RMCBX-Vg3enoZt4ub9YxTc"


@pytest.mark.parametrize("per_job", [False, True])
@given(text=st.text(), job_id=st.text())
def test_no_other_text_is_a_token(text: str, job_id: str, *, per_job: bool) -> None:
    """Whatever else comes, it is wrong, and nothing fails."""
    tokens = CallbackTokens(TOKEN, OLD_TOKEN, per_job=per_job)
    assert tokens.judge(job_id, [text]) is TokenWorth.WRONG


def test_every_token_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right or wrong, of any length, as many values of one length are compared: the time tells nothing."""
    seen: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        seen.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    tokens = CallbackTokens(TOKEN, OLD_TOKEN, per_job=True)
    for text in (TOKEN, OLD_TOKEN, tokens.for_job("a") or "", "", "x", "y" * 5000):
        tokens.judge("a", [text])
        assert seen == [(32, 32)] * 4
        seen.clear()


# --- who comes with a wrong one ------------------------------------------------------------------------------------


def test_wrong_tokens_are_answered_later_and_later(clock: FakeClock) -> None:
    """The first ones at once, then each later than the one before, up to a bound; then not for a while."""
    wrong_tokens = WrongTokens(clock)
    refusals = [wrong_tokens.refuse("192.0.2.7", "a") for _ in range(LIMIT_TRIES)]
    delays = [refusal.delay_seconds for refusal in refusals]
    assert delays[:FREE_TRIES] == [0.0] * FREE_TRIES
    assert delays == sorted(delays)
    assert 0 < delays[FREE_TRIES] < DELAY_MAX_SECONDS == delays[-1]
    assert wrong_tokens.refuse("192.0.2.7", "a").retry_after_seconds == 1
    assert wrong_tokens.refuse("192.0.2.8", "a").delay_seconds == 0.0
    for _ in range(1000):
        last = wrong_tokens.refuse("192.0.2.7", "a").retry_after_seconds
    assert last == LIMIT_TRIES
    clock.advance(LIMIT_TRIES)
    assert wrong_tokens.refuse("192.0.2.7", "a").retry_after_seconds == 1
    clock.advance(3 * LIMIT_TRIES)
    assert wrong_tokens.refuse("192.0.2.7", "a").delay_seconds == 0.0


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        (None, None, True),
        ("a.socket", "another", False),
    ],
)
def test_what_is_one_address(one: str | None, other: str | None, are_one: bool, clock: FakeClock) -> None:
    """Of IPv6 a network of 64 bits counts as one, for that is what one caller has."""
    wrong_tokens = WrongTokens(clock)
    for _ in range(FREE_TRIES):
        wrong_tokens.refuse(one, "a")
    assert (wrong_tokens.refuse(other, "a").delay_seconds > 0) == are_one


def test_one_line_per_address_and_minute(clock: FakeClock) -> None:
    """The first is told at once, the others with their count when a minute has passed, once."""
    wrong_tokens = WrongTokens(clock)
    with capture_logs() as lines:
        for _ in range(500):
            wrong_tokens.refuse("192.0.2.7", "j" * 5000)
        wrong_tokens.log_due()
        clock.advance(60)
        wrong_tokens.log_due()
        wrong_tokens.log_due()
    assert [(line["event"], line["client"], line["tries"]) for line in lines] == [
        ("callback.unauthorised", "192.0.2.7", 1),
        ("callback.unauthorised", "192.0.2.7", 499),
    ]
    assert all(len(line["job_id"]) <= 40 for line in lines)


def test_a_flood_of_addresses_is_bounded(clock: FakeClock) -> None:
    """Neither memory nor the log grows with the number of addresses, and no count is washed away by them."""
    wrong_tokens = WrongTokens(clock)
    for _ in range(LIMIT_TRIES):
        wrong_tokens.refuse("192.0.2.7", "a")
    with capture_logs() as lines:
        for number in range(3 * MOST_ADDRESSES):
            wrong_tokens.refuse(f"2001:db8:{number:x}::1", "a")
    assert len(wrong_tokens) <= MOST_ADDRESSES + 1
    assert len(lines) <= MOST_ADDRESSES + 1
    assert wrong_tokens.refuse("192.0.2.7", "a").retry_after_seconds is not None
    assert wrong_tokens.refuse("198.51.100.1", "a").retry_after_seconds is not None  # one of many others
    clock.advance(60)
    wrong_tokens.log_due()
    clock.advance(3600)
    assert wrong_tokens.refuse("198.51.100.1", "a").delay_seconds == 0.0  # the oldest is forgotten for it
    assert len(wrong_tokens) <= MOST_ADDRESSES + 1


def call(site: Site, job_id: str, headers: dict[str, str], body: bytes = SUCCESS) -> httpx.Response:
    """Call back from the one address that a proxy makes of all."""
    return site.call_back(job_id, body, headers)


def test_a_right_token_is_never_refused(site: Site) -> None:
    """When wrong tokens get 429, the right one from the same address is answered as ever."""
    (job,) = site.accepted()
    answers = [call(site, job.job_id, WRONG) for _ in range(LIMIT_TRIES + 5)]
    assert [answer.status_code for answer in answers] == [401] * LIMIT_TRIES + [429] * 5
    assert_problem(answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) == 5
    assert call(site, job.job_id, AUTHENTIC).status_code == 200


def test_a_right_token_does_not_wait(log: JobLog, spool: Spool, clock: FakeClock) -> None:
    """While a wrong token waits for its answer, the right one from the same address gets its own; few wait."""
    waiting: list[float] = []

    async def wait_for_ever(seconds: float) -> None:
        waiting.append(seconds)
        if seconds:
            await asyncio.Event().wait()

    site = Site(log, clock, spool, pause=wait_for_ever)
    site.heard()
    (job,) = site.accepted()
    path = f"/api/v1/jobs/{job.job_id}/callback"

    async def play() -> list[int]:
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as near:
            tries = [asyncio.create_task(near.post(path, headers=WRONG, content=b"{}")) for _ in range(50)]
            ends = iter(asyncio.as_completed(tries))
            ended = [(await next(ends)).status_code for _ in range(50 - MOST_DELAYED)]
            right = await near.post(path, headers=AUTHENTIC, content=SUCCESS)
            for task in tries:
                task.cancel()
            return [right.status_code, *sorted(ended)]

    assert asyncio.run(play()) == [200, *[401] * FREE_TRIES, *[429] * (50 - FREE_TRIES - MOST_DELAYED)]
    assert len(waiting) == FREE_TRIES + MOST_DELAYED


def test_no_body_is_kept_for_a_wrong_token(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is looked at before the body is read into memory."""

    async def read(*_: object) -> bytes:
        raise AssertionError("the body was read")

    monkeypatch.setattr(callback, "read_body", read)
    assert_problem(call(site, "a", WRONG), 401)
    assert_problem(call(site, "a", AUTHENTIC), 500)


def test_the_token_before_is_good_and_told(site: Site) -> None:
    """While the token is changed both conclude; the log says that N8N still sends the old one."""
    (job,) = site.accepted()
    with capture_logs() as lines:
        assert call(site, job.job_id, {"X-Callback-Token": OLD_TOKEN}).status_code == 200
    assert site.job(job).state is State.SUCCESS
    assert "callback.previous_token" in [line["event"] for line in lines]
    assert OLD_TOKEN not in str(lines)


def test_the_shared_token_says_what_to_send(log: JobLog, spool: Spool, clock: FakeClock) -> None:
    """Where each job has its own, the shared one is answered 401 in words, however often, and concludes nothing."""
    tokens = CallbackTokens(TOKEN, per_job=True)
    site = Site(log, clock, spool, tokens)
    site.heard()
    first, second = (site.accepted()[0] for _ in range(2))
    for _ in range(LIMIT_TRIES + 1):
        problem = assert_problem(call(site, first.job_id, AUTHENTIC), 401)
    assert "callback_token" in problem["detail"]
    assert site.job(first).state is State.PROCESSING
    own = {"X-Callback-Token": tokens.for_job(first.job_id) or ""}
    assert call(site, second.job_id, own).status_code == 401
    assert site.job(second).state is State.PROCESSING
    assert call(site, first.job_id, own).status_code == 200
    assert site.job(first).state is State.SUCCESS


@pytest.mark.parametrize("payload", ["json", "multipart"])
def test_each_job_has_its_token(payload: str, tmp_path: Path, n8n: StandIn) -> None:
    """With per_job_tokens N8N gets a token with each receipt, by which it is concluded; the shared one does nothing."""
    changes = {"callback": {"per_job_tokens": True}, "n8n": {"payload": payload}}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes) as daemon:
        for number, content in enumerate(jpegs(3)):
            daemon.drop(f"{number}.jpg", content)
        daemon.wait_quiet(3)
        sent = {delivery.callback_token for delivery in n8n.deliveries}
        assert len(sent) == 3
        assert {job.state for job in daemon.recorded()} == {State.SUCCESS}
        n8n.behave = lambda _: Behaviour(callback_token=TOKEN)
        daemon.drop("shared.jpg", jpegs(1, 9)[0])
        wait_until(lambda: daemon.count("callback.shared_token"), "the shared token is refused")
        # The callback may overtake our own note that N8N took it; had it concluded, this would never come.
        wait_until(lambda: daemon.job("shared.jpg").state is State.PROCESSING, "it is accepted, and no more")
        assert not any(token in daemon.log_file.read_text() for token in sent)


def test_shared_tokens_are_sent_alone(tmp_path: Path, n8n: StandIn) -> None:
    """Without per_job_tokens the payload has no token."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        daemon.wait_quiet(1)
    assert [delivery.callback_token for delivery in n8n.deliveries] == [""]


def test_the_token_is_changed_without_losing_a_callback(tmp_path: Path, n8n: StandIn) -> None:
    """After a restart with a new token, N8N's callback under the old one still concludes."""
    n8n.token = OLD_TOKEN
    hang = threading.Event()
    n8n.behave = lambda _: Behaviour(callback_delay_seconds=0.0 if hang.is_set() else 3600)
    with RunningDaemon(tmp_path, n8n.webhook_url, OLD_TOKEN) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: daemon.count("job.accepted"), "it is accepted")
        daemon.terminate()
        daemon.environment = {"CALLBACK_SECRET_TOKEN": TOKEN, "CALLBACK_PREVIOUS_SECRET_TOKEN": OLD_TOKEN}
        daemon.start()
        job_id = daemon.job("scan.jpg").job_id
        assert daemon.call(job_id, {"status": "success"}, OLD_TOKEN).status_code == 200
        assert daemon.call(job_id, {"status": "success"}, TOKEN).status_code == 200
        assert daemon.call(job_id, {"status": "success"}, OLD_TOKEN + "x").status_code == 401
        daemon.wait_quiet(1)


def test_two_tokens_must_differ(tmp_path: Path) -> None:
    """A previous token that is the present one is a mistake: it was not changed."""
    file = tmp_path / "watcher.yaml"
    file.write_text(
        "inboxes: [{path: /a}]\nn8n: {webhook_url: http://n8n/webhook/r}\n"
        f'callback: {{secret_token: "{TOKEN}", previous_secret_token: "{TOKEN}"}}\n'
    )
    with pytest.raises(ConfigError, match=r"callback\.previous_secret_token: is the same as callback\.secret_token"):
        load(file, {})
    assert TOKEN not in repr(Callback(secret_token=TOKEN, previous_secret_token=TOKEN + "x"))  # type: ignore[arg-type]


# --- bodies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "hint"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(SUCCESS), "Content-Encoding gzip"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"result=good", "application/x-www-form-urlencoded"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", "multipart/form-data"),
        ({"Content-Type": "application/json"}, b"result=good", "must be a JSON object"),
    ],
    ids=["compressed", "a form", "parts", "a form that says it is JSON"],  # a compressed body has a time in it
)
def test_a_body_in_another_form_is_explained(site: Site, headers: dict[str, str], body: bytes, hint: str) -> None:
    """A callback in another form is unreadable, and the answer says how it came; the receipt is never sent again."""
    (job,) = site.accepted()
    problem = assert_problem(call(site, job.job_id, {**AUTHENTIC, **headers}, body), 422)
    assert hint in problem["detail"]
    assert site.job(job).reason is Reason.UNREADABLE_VERDICT


def test_a_verdict_counts_whatever_its_content_type(site: Site) -> None:
    """A workflow that forgets the content type is understood."""
    (job,) = site.accepted()
    assert call(site, job.job_id, {**AUTHENTIC, "Content-Type": "text/plain"}).status_code == 200


def test_a_message_of_a_megabyte_is_cut(site: Site) -> None:
    """Huge texts are cut, or left out, and cost no verdict."""
    (job,) = site.accepted()
    said = {"status": "success", "message": "x" * 1_000_000, "notion_page_url": "http://" + "y" * 9_000}
    assert call(site, job.job_id, AUTHENTIC, json.dumps(said).encode()).status_code == 200
    after = site.job(job)
    assert after.message is not None
    assert (len(after.message), after.message[-1], after.notion_page_url) == (10_000, "…", None)


LEGAL = {State.SUCCESS: {State.SUCCESS}, State.FAILURE: {State.FAILURE, State.SUCCESS}}
OPEN = {State.QUEUED, State.DELIVERING, State.PROCESSING}


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    state=st.sampled_from([state for state in State if state is not State.DUPLICATE]),
    sent=st.lists(
        st.binary(max_size=100) | JSON.map(lambda said: json.dumps(said).encode()) | VERDICTS, min_size=1, max_size=4
    ),
)
def test_callbacks_change_a_job_legally_or_not_at_all(site: Site, state: State, sent: list[bytes]) -> None:
    """Whatever bytes come, with a right token and in any state: no 500, and a verdict only rises."""
    job = site.in_state(state)
    for body in sent:
        before = site.job(job)
        answer = call(site, job.job_id, AUTHENTIC, body)
        after = site.job(job)
        assert answer.status_code in {200, 409, 422}
        if answer.status_code == 422 and after != before:
            assert before.state in OPEN
            assert (after.state, after.reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)
        elif answer.status_code != 200:
            assert after == before
        elif before.state in OPEN:
            assert after.state in {State.SUCCESS, State.FAILURE}
        else:
            assert after.state in LEGAL.get(before.state, {State.CANCELLED, State.SUCCESS})


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(["x-callback-token", "content-type", "content-encoding", "host", "expect", "forwarded"]),
            st.binary(max_size=30),
        ),
        max_size=4,
    ),
    body=st.binary(max_size=100),
    path=st.text(max_size=30).map(lambda text: "/api/v1/jobs/" + text.encode("utf-8", "replace").hex("%")),
)
def test_no_header_is_an_error_of_ours(site: Site, headers: list[tuple[str, bytes]], body: bytes, path: str) -> None:
    """Whatever stands in headers and path, nothing is a 500, and what has no token changes nothing."""
    (job,) = site.record()
    for where in (f"/api/v1/jobs/{job.job_id}/callback", f"/api/v1/jobs/{job.job_id}", path):
        raw = [(name.encode(), text) for name, text in headers]
        answer = ask(
            site.app, "POST" if "callback" in where else "GET", where, ("127.0.0.1", 1), content=body, headers=raw
        )
        assert answer.status_code in {200, 400, 401, 403, 404, 405, 429}
    assert site.job(job) == job


# --- connections ---------------------------------------------------------------------------------------------------


class Listening:
    """The real server before the application, on loopback."""

    def __init__(self, site: Site, admission: Admission | None = None) -> None:
        bound = thread.bind("127.0.0.1", 0)
        self.site = site
        self.port: int = bound.getsockname()[1]
        self.server = thread.Server(site.app, bound, admission)
        self.server.start()

    def connect(self) -> socket.socket:
        """Connect."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def say(self, text: bytes) -> bytes:
        """Send bytes, and return all that is answered until the connection ends."""
        with self.connect() as wire:
            wire.sendall(text)
            return read_all(wire)

    def is_heard(self) -> bool:
        """Return whether a callback concludes its job."""
        (job,) = self.site.accepted()
        url = f"http://127.0.0.1:{self.port}/api/v1/jobs/{job.job_id}/callback"
        return httpx.post(url, content=SUCCESS, headers=AUTHENTIC, timeout=30).status_code == 200


def read_all(wire: socket.socket) -> bytes:
    """Read until the connection ends, however."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while piece := wire.recv(65536):
            heard += piece
    return heard


def problem_in(heard: bytes) -> dict[str, Any]:
    """Return the problem that a raw answer is, checked."""
    head, _, body = heard.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    problem: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    assert problem["detail"]
    assert problem["correlation_id"]
    return problem


Open = Callable[..., Listening]


@pytest.fixture
def listen(site: Site, caplog: pytest.LogCaptureFixture) -> Iterator[Open]:
    """Start servers; in the end nothing was logged by uvicorn or asyncio, where tracebacks would be."""
    opened: list[Listening] = []

    def open_one(admission: Admission | None = None) -> Listening:
        opened.append(Listening(site, admission))
        return opened[-1]

    with caplog.at_level(logging.WARNING):
        yield open_one
        for each in opened:
            each.server.stop(5)
            assert not each.server.is_alive()
    assert [record.getMessage() for record in caplog.records] == []


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


# --- what costs the event loop time --------------------------------------------------------------------------------

_HEAD = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


def head_of(size: int) -> bytes:
    """Return a head of `size` bytes."""
    return _HEAD + b"X: " + b"y" * (size - len(_HEAD) - 7) + b"\r\n\r\n"


def status_of(heard: bytes) -> int:
    """Return the status of the last answer."""
    return int(re.findall(rb"HTTP/1.1 (\d\d\d) ", heard)[-1])


@pytest.mark.parametrize("piece", [100_000, 5_000, 700])
@pytest.mark.parametrize(
    "before", [b"", b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["first", "behind another"]
)
@pytest.mark.parametrize(("size", "status"), [(16_384, 200), (16_385, 431), (30_000, 431)])
def test_a_head_has_16_kib_however_it_comes(listen: Open, piece: int, before: bytes, size: int, status: int) -> None:
    """A head is refused from 16 KiB on: in one piece, in many, or waiting behind a request that is being answered."""
    text = before + head_of(size)
    with listen().connect() as wire, contextlib.suppress(ConnectionError):
        for start in range(0, len(text), piece):
            wire.sendall(text[start : start + piece])
        heard = read_all(wire)
        assert not heard or status_of(heard) == status
        assert heard or status == 431


def test_a_hundred_headers_are_enough(listen: Open) -> None:
    """More than a hundred headers are refused, however short they are."""
    listening = listen()
    assert status_of(listening.say(_HEAD + b"X: y\r\n" * 98 + b"\r\n")) == 200
    assert problem_in(listening.say(_HEAD + b"X: y\r\n" * 99 + b"\r\n"))["status"] == 431


def test_tiny_chunks_are_refused(listen: Open, site: Site) -> None:
    """A body of many chunks of a byte is refused; a few of them, or many that bear something, are read."""
    (job,) = site.accepted()
    head = f"POST /api/v1/jobs/{job.job_id}/callback HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode()
    head += f"X-Callback-Token: {TOKEN}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    listening = listen()
    assert problem_in(listening.say(head + b"1\r\n \r\n" * 1000))["status"] == 400
    filled = b"32\r\n" + b" " * 50 + b"\r\n"
    single = b"".join(b"1\r\n%c\r\n" % byte for byte in SUCCESS)
    assert status_of(listening.say(head + single + filled * 2000 + b"0\r\n\r\n")) == 200
    assert site.job(job).state is State.SUCCESS


@pytest.mark.parametrize(
    "path", ["/", "/openapi.json", "/api/v1/jobs", "/api/v1/jobs/a/file", "/api/v1/jobs/a/callback"]
)
def test_many_parameters_are_not_even_read(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query with more parameters than any call has is refused before it is read, and before anybody is judged."""

    def read(*_: object, **__: object) -> None:
        raise AssertionError("the query was read")

    monkeypatch.setattr("starlette.datastructures.parse_qsl", read)
    query = "&".join(f"{number:x}" for number in range(bodies.MOST_PARAMETERS + 1))
    method = "POST" if path.endswith("callback") else "GET"
    assert "50 parameters" in assert_problem(ask(site.app, method, f"{path}?{query}", ("192.0.2.7", 1)), 422)["detail"]


def test_cookies_are_taken_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cookie is found among others, and none is unquoted: that takes seconds for 16 KiB of backslashes."""

    def unquote(text: str) -> str:
        raise AssertionError(text)

    monkeypatch.setattr("http.cookies._unquote", unquote)
    headers = [(b"cookie", b'a="\\1\\2"; lang = de ;session=x=y'), (b"cookie", b"b")]
    request = Request({"type": "http", "headers": headers})
    assert [cookie_of(request, name) for name in ("lang", "session", "b", "c")] == ["de", "x=y", "", ""]


def test_a_long_content_type_is_no_form() -> None:
    """A content type longer than any that is sent is not read: quotes and semicolons in it would take long."""
    with pytest.raises(RefusedError) as caught:
        Form('multipart/form-data; boundary="' + ";" * 16_000, io.BytesIO(), 1000)
    assert caught.value.status == 415


# --- all of it at once ---------------------------------------------------------------------------------------------


def test_fuzz_for_some_seconds(tmp_path: Path) -> None:
    """The short form of `tests.properties.fuzz_http`."""
    assert fuzz(6, 1, tmp_path) == []


@pytest.mark.parametrize(
    "names",
    [
        ["query_parameters", "cookies_of_backslashes", "trickling_uploads", "event_streams", "many_connections"],
        ["silent_tls"],
    ],
    ids=["plain", "tls"],
)
def test_attacks_keep_nobody_out(tmp_path: Path, names: list[str]) -> None:
    """The short form of `tests.properties.attacks`: callbacks and pages are answered, and the bounds hold."""
    wrong, _slow = attack(names, 0.5, tmp_path)
    assert wrong == []


def test_the_fuzz_sees_faults(tmp_path: Path) -> None:
    """Errors, tracebacks and lines that are no JSON are what the fuzz looks for."""
    log = tmp_path / "daemon.log"
    fine = json.dumps({"event": "a", "level": "warning"})
    bad = [
        json.dumps({"event": "b", "level": "error"}),
        json.dumps({"level": "info", "x": "Traceback"}),
        "Task exception",
    ]
    log.write_text("\n".join([fine, *bad, fine]) + "\n")
    assert faults_in(log) == bad
