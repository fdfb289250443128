"""The HTTP side: callbacks, health and the view of a job, by the application alone and by the real server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from structlog.testing import capture_logs

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens
from receipt_watcher.web.app import application
from receipt_watcher.web.callback import CALLBACK_MAX_BYTES, CallbackEndpoint, CallbackKeeping
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.files.linked_file import LinkedFile
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.probes import Probes, ProbeSources
from receipt_watcher.web.server import thread as server
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import wait_until
from tests.unit.delivery.test_callbacks import Concluding

LOCAL = ("127.0.0.1", 40_000)
OFFICE = ("192.0.2.7", 40_000)
AUTHENTIC = {"X-Callback-Token": TOKEN}
SUCCESS = b'{"status": "success"}'


async def fail(_request: Request) -> Response:
    """Fail as a defect of ours does."""
    raise RuntimeError("a defect with a secret")


class Site(Concluding):
    """The application before a real job log."""

    def __init__(
        self,
        log: JobLog,
        clock: FakeClock,
        spool: Spool,
        tokens: CallbackTokens | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(log, clock, spool)
        self.checks: dict[str, str | None] = {"job_log": None, "inbox:office": None}
        self.degraded: dict[str, str] = {}
        slowness = Slowness(WrongTokens(clock), pause)
        self.keep_callback = CallbackKeeping().keep
        keeping = CallbackKeeping(keep=lambda *callback: self.keep_callback(*callback))  # noqa: PLW0108 - it changes
        callback = CallbackEndpoint(self.conclusion, tokens or CallbackTokens(TOKEN), slowness, keeping)
        downloads = Downloads(Fetching(log.lookups.get, self.conclusion._routes))
        sources = ProbeSources(checks=lambda: self.checks, degraded=lambda: self.degraded, metrics=lambda: b"up 1\n")
        self.app = application(
            [
                *callback.routes(),
                *LinkedFile(FileLinks([TOKEN], 60, clock), downloads, slowness).routes(),
                *Probes(sources).routes(),
                Route("/defect", fail),
            ]
        )

    def ask(self, method: str, path: str, client: tuple[str, int] = LOCAL, **options: Any) -> httpx.Response:
        """Ask the application, without a network."""
        return ask(self.app, method, path, client, **options)

    def call_back(self, job_id: str, body: bytes = SUCCESS, headers: Mapping[str, str] = AUTHENTIC) -> httpx.Response:
        """Call back."""
        return self.ask("POST", f"/api/v1/jobs/{job_id}/callback", content=body, headers=dict(headers))


def ask(app: ASGIApp, method: str, path: str, client: tuple[str, int], **options: Any) -> httpx.Response:
    """Ask an application for one answer; an error in it becomes its 500, as with a real server."""

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as near:
            return await near.request(method, path, **options)

    return asyncio.run(once())


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> Site:
    """The application, whose destination has called back before."""
    site = Site(log, clock, spool)
    site.heard()
    return site


@contextmanager
def served(site: Site) -> Iterator[str]:
    """Have the application answer at a port while this lasts, and yield the address."""
    bound = server.bind("127.0.0.1", 0)
    running = server.Server(site.app, bound)
    running.start()
    yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    running.stop(5)


@pytest.fixture
def job(site: Site) -> Job:
    """A receipt that N8N has accepted."""
    return site.accepted()[0]


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    """The address of the real server before the application."""
    with served(site) as address:
        yield address


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Assert that an answer is a problem of RFC 9457 with a correlation id, and return it."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem.keys() == {"type", "title", "status", "detail", "correlation_id"}
    assert problem["status"] == status
    assert re.fullmatch("[0-9a-f]{32}", problem["correlation_id"])
    assert problem["detail"]
    return problem


# --- callbacks -----------------------------------------------------------------------------------------------------


def test_verdict_is_durable_when_it_is_answered(site: Site, job: Job, url: str) -> None:
    """When the 200 arrives, another process already reads the verdict in the log."""
    answer = httpx.post(f"{url}/api/v1/jobs/{job.job_id}/callback", content=SUCCESS, headers=AUTHENTIC)
    assert (answer.status_code, answer.json()) == (200, {"status": "received"})
    with contextlib.closing(sqlite3.connect(site.log.database.path)) as other:
        assert other.execute("SELECT state FROM job WHERE job_id = ?", [job.job_id]).fetchall() == [("success",)]


def test_verdict_that_cannot_be_written_is_not_received(site: Site, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log cannot be written, the answer is no 200, so that N8N may post again."""

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as context:
        context.setattr(site.log.histories, "note", full)
        context.setattr(site.log.jobs, "advance", full)
        assert_problem(site.call_back(job.job_id), 500)
    assert site.job(job) == job
    assert site.call_back(job.job_id).status_code == 200


@pytest.mark.parametrize("body", [SUCCESS, b"no JSON"])
def test_verdict_is_asked_for_again_while_the_log_cannot_be_written(site: Site, job: Job, body: bytes) -> None:
    """The answer is 503 with Retry-After and the reason, no defect of ours; nothing is kept of it, and later it is."""
    history = len(site.log.histories.lines(job.job_id))
    site.log.database.select("PRAGMA query_only = 1")
    with capture_logs() as lines:
        for _ in range(2):
            answer = site.call_back(job.job_id, body)
            problem = assert_problem(answer, 503)
            assert answer.headers["Retry-After"] == "60"
            assert problem["title"] == "Service unavailable"
            assert "send it again in a minute" in problem["detail"]
            assert "it cannot be written" in problem["detail"]
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == ["job_log.failing"]
    assert site.job(job) == job
    assert len(site.log.histories.lines(job.job_id)) == history
    site.log.database.select("PRAGMA query_only = 0")
    assert site.call_back(job.job_id, body).status_code == (200 if body is SUCCESS else 422)
    assert len(site.log.histories.lines(job.job_id)) == history + (1 if body is SUCCESS else 2)


def test_a_wrong_token_is_told_so_while_the_log_cannot_be_written(site: Site, job: Job) -> None:
    """Who may not call back learns nothing of the log."""
    site.log.database.select("PRAGMA query_only = 1")
    assert_problem(site.call_back(job.job_id, headers={"X-Callback-Token": "wrong"}), 401)


def test_verdict_is_taken_with_its_words(site: Site, job: Job) -> None:
    """Message and page of a success are kept; fields that we do not know are ignored."""
    body = {"status": "success", "message": "gebucht", "notion_page_url": "https://notion.example/1", "new": [1]}
    assert site.call_back(job.job_id, json.dumps(body).encode()).status_code == 200
    after = site.job(job)
    assert (after.state, after.message) == (State.SUCCESS, "gebucht")
    assert after.notion_page_url == "https://notion.example/1"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("1042", "1042"),
        (1042, "1042"),
        (None, None),
        ("", None),
        ({"id": 1}, None),
        ("\ud800", None),
        ("x" * 101, None),
    ],
)
def test_the_execution_that_a_callback_names_is_kept(site: Site, job: Job, said: object, kept: str | None) -> None:
    """A callback may name the execution of N8N; what is none costs no verdict."""
    body = json.dumps({"status": "success", "execution_id": said}).encode()
    assert site.call_back(job.job_id, body).status_code == 200
    assert (site.job(job).state, site.job(job).execution_id) == (State.SUCCESS, kept)


def test_failure_is_taken(site: Site, job: Job) -> None:
    """A failure is received like a success."""
    answer = site.call_back(job.job_id, b'{"status": "failure", "message": "no total"}')
    assert answer.json() == {"status": "received"}
    assert (site.job(job).reason, site.job(job).message) == (Reason.N8N_FAILURE, "no total")


def test_same_verdict_again_is_received(site: Site, job: Job) -> None:
    """The same verdict again is answered 200, and changes nothing."""
    site.call_back(job.job_id)
    before = site.job(job)
    assert site.call_back(job.job_id).json() == {"status": "received"}
    assert site.job(job) == before


def test_failure_after_a_success_is_a_conflict(site: Site, job: Job) -> None:
    """A failure after a success is answered 409, and the success stays."""
    site.call_back(job.job_id)
    assert_problem(site.call_back(job.job_id, b'{"status": "failure"}'), 409)
    assert site.job(job).state is State.SUCCESS


def test_copy_was_never_sent(site: Site) -> None:
    """A verdict on a copy, which N8N never had, is answered 409."""
    (copy,) = site.record(state=State.DUPLICATE)
    assert "never sent" in assert_problem(site.call_back(copy.job_id), 409)["detail"]


def test_unknown_job_is_not_found(site: Site) -> None:
    """A verdict on a job that is not in the log is answered 404, readable or not, and too large as well."""
    for body in (SUCCESS, b"{", b"x" * (CALLBACK_MAX_BYTES + 1)):
        assert "no-such-job" in assert_problem(site.call_back("no-such-job", body), 404)["detail"]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ä", "\udcff"])
def test_wrong_token_learns_nothing(site: Site, job: Job, token: str | None) -> None:
    """Without the token the answer is 401, the same whether the job is known or the body readable; nothing is kept."""
    history = site.log.histories.lines(job.job_id)
    headers = [] if token is None else [(b"X-Callback-Token", token.encode("utf-8", "surrogateescape"))]
    seen = []
    for job_id in (job.job_id, "no-such-job"):
        for body in (SUCCESS, b"{", b"x" * (CALLBACK_MAX_BYTES + 1)):
            answer = site.ask("POST", f"/api/v1/jobs/{job_id}/callback", content=body, headers=headers)
            problem = assert_problem(answer, 401)
            problem.pop("correlation_id")
            seen.append(problem)
    assert seen == [seen[0]] * 6
    assert TOKEN not in str(seen)
    assert (site.job(job), site.log.histories.lines(job.job_id)) == (job, history)


def test_token_is_one_header(site: Site, job: Job) -> None:
    """The token is read from its header only, not from the query or the body."""
    path = f"/api/v1/jobs/{job.job_id}/callback?X-Callback-Token={TOKEN}&token={TOKEN}"
    body = json.dumps({"status": "success", "X-Callback-Token": TOKEN}).encode()
    assert_problem(site.ask("POST", path, content=body, headers={"Authorization": f"Bearer {TOKEN}"}), 401)


UNREADABLE = {
    "empty": b"",
    "form of something else": b"state=success",
    "half": b'{"status": "succ',
    "no object": b'["success"]',
    "null": b"null",
    "number": b"1",
    "no status": b'{"message": "fine"}',
    "other status": b'{"status": "ok"}',
    "upper case": b'{"status": "SUCCESS"}',
    "status of another type": b'{"status": ["success"]}',
    "status true": b'{"status": true}',
    "not UTF-8": b'{"status": "success", "message": "B\xe4cker"}',
    "binary": bytes(range(256)),
    "deep": b"[" * 200_000,
    "long number": b'{"status": "success", "data": ' + b"9" * 5000 + b"}",
    "two objects": SUCCESS + SUCCESS,
    "two verdicts": b'{"status": "failure", "status": "success"}',
    "201 levels": b'{"status": "success", "data": ' + b"[" * 200 + b"]" * 200 + b"}",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_body_is_kept(site: Site, job: Job, name: str) -> None:
    """A body that is no verdict is answered 422, kept in the history, and ends the job: the workflow ran."""
    problem = assert_problem(site.call_back(job.job_id, UNREADABLE[name]), 422)
    assert "kept in the job's history" in problem["detail"]
    assert (site.job(job).state, site.job(job).reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)
    line = site.log.histories.lines(job.job_id)[-1]
    assert line["event"] == "callback.unreadable"
    assert line["detail"].endswith(UNREADABLE[name][: 64 * 1024].decode("utf-8", "backslashreplace"))


SAID = '{"status": "success", "message": "a"}'
FORM = (b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' * 2 + b"--b--\r\n") % (
    *(b"status", b" success\n"),
    *(b"message", b"a"),
)

WRAPPED: dict[str, tuple[bytes, str]] = {
    "JSON as a string": (json.dumps(SAID).encode(), "application/json"),
    "JSON as a string twice": (json.dumps(json.dumps(SAID)).encode(), "application/json"),
    "a form": (b"status=success&message=a", "application/x-www-form-urlencoded"),
    "a form that says it is JSON": (b"message=a&status=success%0A", "application/json"),
    "JSON that says it is a form": (SAID.encode(), "application/x-www-form-urlencoded"),
    "JSON in a field of a form": (f"json={quote(SAID)}".encode(), "application/x-www-form-urlencoded"),
    "a form with parts": (FORM, "multipart/form-data; boundary=b"),
    "a list of one": (f"[{SAID}]".encode(), "application/json"),
    "a list in a list": (f"[[{SAID}]]".encode(), "application/json"),
    "an item": (f'{{"json": {SAID}}}'.encode(), "application/json"),
    "an item with its source": (f'[{{"json": {SAID}, "pairedItem": {{"item": 0}}}}]'.encode(), "application/json"),
    "an item as a string": (json.dumps({"json": SAID}).encode(), "application/json"),
    "a list as a string": (json.dumps(f"[{SAID}]").encode(), "text/plain"),
    "a body in a body": (f'{{"body": {SAID}}}'.encode(), "application/json"),
    "blanks around the status": (rb'{"status": " success\n", "message": "a"}', "application/json"),
    "blanks around its name": (b'{"status ": "success", "message": "a"}', "application/json"),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_verdict_is_taken_out_of_its_wrapping(site: Site, job: Job, name: str) -> None:
    """The wrappings that n8n's nodes put around a report, also in one another, leave no doubt: the verdict counts."""
    body, kind = WRAPPED[name]
    path = f"/api/v1/jobs/{job.job_id}/callback"
    answer = site.ask("POST", path, content=body, headers=AUTHENTIC | {"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    assert (site.job(job).state, site.job(job).message) == (State.SUCCESS, "a")


READABLE: dict[str, tuple[bytes, str | None]] = {
    "no message": (SUCCESS, None),
    "null": (b'{"status": "success", "message": null}', None),
    "number": (b'{"status": "success", "message": 12.5}', "12.5"),
    "true": (b'{"status": "success", "message": true}', "true"),
    "list": (b'{"status": "success", "message": ["a", 1]}', '["a", 1]'),
    "object": (b'{"status": "success", "message": {"a": "b"}}', '{"a": "b"}'),
    "empty": (b'{"status": "success", "message": ""}', ""),
    "lone surrogate": (b'{"status": "success", "message": "a\\ud800b"}', "a\\ud800b"),
    "NUL": (b'{"status": "success", "message": "a\\u0000b"}', "a\x00b"),
    "emoji": (b'{"status": "success", "message": "\\ud83e\\uddfe"}', "\U0001f9fe"),
    "twice": (b'{"status": "success", "message": "a", "status": "success", "message": "b"}', "b"),
    "byte order mark": (b'\xef\xbb\xbf{"status": "success", "message": "a"}', "a"),
    "UTF-16": ('{"status": "success", "message": "a"}'.encode("utf-16"), "a"),
    "not a number": (b'{"status": "success", "message": "a", "data": NaN}', "a"),
    "spaces": (b' \r\n\t{"status":\n"success"} ', None),
}


@pytest.mark.parametrize("name", READABLE)
def test_verdict_is_not_lost_for_its_message(site: Site, job: Job, name: str) -> None:
    """Whatever a workflow puts into `message`, the verdict counts and the message is kept as text."""
    body, message = READABLE[name]
    assert site.call_back(job.job_id, body).status_code == 200
    assert (site.job(job).state, site.job(job).message) == (State.SUCCESS, message)


@pytest.mark.parametrize("page", [5, None, [], {"a": 1}, "two\nlines", "\ud800", "\x1b[31m"])
def test_odd_page_is_left_out(site: Site, job: Job, page: object) -> None:
    """A page that is no printable text costs no verdict; it is left out."""
    body = json.dumps({"status": "success", "notion_page_url": page}).encode()
    assert site.call_back(job.job_id, body).status_code == 200
    assert (site.job(job).state, site.job(job).notion_page_url) == (State.SUCCESS, None)


@pytest.mark.parametrize("field", ["data", "message", "other"])
def test_nesting_is_never_an_error_of_ours(site: Site, job: Job, field: str) -> None:
    """However deep a body is nested, it is taken or it is unreadable, also just where the parser gives up."""
    seen = set()
    for depth in [1, 100, 500, *range(800, 1000), 2000, 100_000]:
        body = f'{{"status": "success", "{field}": {"[" * depth}{"]" * depth}}}'
        seen.add(site.call_back(job.job_id, body.encode()).status_code)
    assert seen <= {200, 422}
    assert 200 in seen


def test_body_up_to_the_limit_is_read(site: Site, job: Job) -> None:
    """A body of exactly the limit is read."""
    body = SUCCESS + b" " * (CALLBACK_MAX_BYTES - len(SUCCESS))
    assert site.call_back(job.job_id, body).status_code == 200


def test_body_beyond_the_limit_is_too_large(site: Site, job: Job) -> None:
    """One byte more is too large, and is no verdict."""
    body = SUCCESS + b" " * (CALLBACK_MAX_BYTES - len(SUCCESS) + 1)
    assert_problem(site.call_back(job.job_id, body), 413)
    assert (site.job(job).state, site.job(job).reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)


def test_body_beyond_the_limit_leaves_a_line(site: Site, job: Job) -> None:
    """What is too large to be read is in the job's history all the same: N8N posts only once."""
    problem = assert_problem(site.call_back(job.job_id, b"x" * (CALLBACK_MAX_BYTES + 1)), 413)
    assert "kept in the job's history" in problem["detail"]
    line = site.log.histories.lines(job.job_id)[-1]
    assert line["event"] == "callback.unreadable"
    assert line["detail"].startswith(f"The body is larger than {CALLBACK_MAX_BYTES} bytes.")
    assert site.job(job).reason is Reason.UNREADABLE_VERDICT


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("headers", "status"), [(AUTHENTIC, 413), ({}, 401)])
def test_large_body_gets_its_answer(job: Job, url: str, headers: dict[str, str], status: int, *, chunked: bool) -> None:
    """Who posts 10 MB, with an announced length or without, can send all of it and then read the answer."""
    piece = b"x" * 100_000
    line = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    with contextlib.closing(line):
        content = (piece for _ in range(100)) if chunked else piece * 100
        line.request("POST", f"/api/v1/jobs/{job.job_id}/callback", content, headers, encode_chunked=chunked)
        with line.getresponse() as answer:
            assert answer.status == status
            assert json.loads(answer.read())["status"] == status


def test_sender_that_leaves_changes_nothing(site: Site, job: Job, url: str) -> None:
    """A connection that ends amid the body is no verdict and no error of ours, and the server goes on."""
    port = int(url.rpartition(":")[2])
    head = (
        f"POST /api/v1/jobs/{job.job_id}/callback HTTP/1.1\r\nHost: receipts\r\nX-Callback-Token: {TOKEN}\r\n"
        f"Content-Length: {len(SUCCESS) + 10}\r\n\r\n"
    )
    with capture_logs() as lines:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as wire:
                wire.sendall(head.encode() + SUCCESS)
        answer = httpx.post(f"{url}/api/v1/jobs/no-such-job/callback", content=SUCCESS, headers=AUTHENTIC)
    assert answer.status_code == 404
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []
    assert site.job(job) == job
    assert len(site.log.histories.lines(job.job_id)) == 3


def test_many_callbacks_at_once(site: Site, url: str) -> None:
    """Callbacks that come together are all received."""
    jobs = site.accepted(40)
    statuses: list[int] = []

    def call(some: list[Job]) -> None:
        with httpx.Client(base_url=url, headers=AUTHENTIC) as near:
            statuses.extend(
                near.post(f"/api/v1/jobs/{job.job_id}/callback", content=SUCCESS).status_code for job in some
            )

    threads = [threading.Thread(target=call, args=[jobs[start::8]]) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40
    assert {site.job(job).state for job in jobs} == {State.SUCCESS}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
VERDICTS = st.fixed_dictionaries(
    {"status": st.sampled_from(["success", "failure"]) | JSON},
    optional={"message": JSON, "notion_page_url": JSON, "data": JSON},
).map(lambda said: json.dumps(said).encode())


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | JSON.map(lambda said: json.dumps(said).encode()) | VERDICTS)
def test_no_body_is_an_error_of_ours(site: Site, body: bytes) -> None:
    """Whatever bytes are posted with the token, the answer says what is wrong with them; it is never a 500."""
    (job,) = site.record()
    answer = site.call_back(job.job_id, body)
    assert answer.status_code in {200, 422}
    is_unreadable = site.job(job).reason is Reason.UNREADABLE_VERDICT
    assert site.job(job).state in {State.SUCCESS, State.FAILURE, State.QUEUED}
    assert (site.job(job).state is State.QUEUED or is_unreadable) == (answer.status_code != 200)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(job_id=st.text(min_size=1).map(lambda text: text.encode("utf-8", "replace")))
def test_no_job_id_is_an_error_of_ours(site: Site, job_id: bytes) -> None:
    """Whatever stands where the job's id is expected, there is no such job."""
    quoted = "".join(f"%{byte:02X}" for byte in job_id)
    answer = site.ask("POST", f"/api/v1/jobs/{quoted}/callback", content=SUCCESS, headers=AUTHENTIC)
    assert answer.status_code in {404, 405}


# --- health --------------------------------------------------------------------------------------------------------


def test_live_is_live(site: Site) -> None:
    """A daemon that answers is alive, whatever it waits for."""
    site.checks["job_log"] = "disk full"
    assert site.ask("GET", "/health/live", OFFICE).json() == {"status": "ok"}


def test_ready_names_what_fails(site: Site) -> None:
    """Ready is 200 with the checks by name, or 503 with those that fail and why."""
    answer = site.ask("GET", "/health/ready", LOCAL)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": ["inbox:office", "job_log"]})
    site.checks["inbox:office"] = "the share is not mounted"
    answer = site.ask("GET", "/health/ready", LOCAL)
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "failing": {"inbox:office": "the share is not mounted"}}


def test_ready_is_degraded_and_not_down(site: Site) -> None:
    """What works by halves is named, and makes nothing fail; beside what fails it is named, too."""
    site.degraded["hold:n8n#1"] = "held"
    answer = site.ask("GET", "/health/ready", LOCAL)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "degraded",
        "checks": ["inbox:office", "job_log"],
        "degraded": {"hold:n8n#1": "held"},
    }
    site.checks["job_log"] = "disk full"
    answer = site.ask("GET", "/health/ready", LOCAL)
    assert answer.status_code == 503
    assert answer.json()["degraded"] == {"hold:n8n#1": "held"}


@pytest.mark.parametrize(
    ("query", "accept", "is_line"),
    [
        ("", "*/*", False),
        ("", "text/html,application/xhtml+xml", False),
        ("", "text/plain", True),
        ("", "application/json, text/plain, */*", False),
        ("?format=text", "application/json", True),
        ("?format=json", "text/plain", False),
    ],
)
def test_ready_as_a_line(site: Site, query: str, accept: str, is_line: bool) -> None:
    """Who wants text gets one line, with the same status; who takes anything gets JSON."""
    for trouble, status, line in ((None, 200, "ok"), ("gone", 503, "not ready: inbox:office: gone")):
        site.checks["inbox:office"] = trouble
        answer = site.ask("GET", f"/health/ready{query}", LOCAL, headers={"Accept": accept})
        assert answer.status_code == status
        assert (answer.text == f"{line}\n") is is_line
        assert answer.headers["content-type"].startswith("text/plain" if is_line else "application/json")


def test_metrics_are_shown_on_this_machine(site: Site) -> None:
    """Whoever asks from this machine gets them as text; whoever asks from elsewhere, or through a proxy, does not."""
    answer = site.ask("GET", "/metrics")
    assert (answer.status_code, answer.content) == (200, b"up 1\n")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert_problem(site.ask("GET", "/metrics", OFFICE), 403)
    assert_problem(site.ask("GET", "/metrics", headers={"X-Forwarded-For": "127.0.0.1"}), 403)


# --- problems ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/api/v1/jobs", "/api/v1/jobs/a/b/c", "/health"])
def test_unknown_path_is_a_problem(site: Site, path: str) -> None:
    """A path that is not there is a problem of the same form."""
    assert_problem(site.ask("GET", path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/v1/jobs/a/callback", {"POST"}),
        ("PUT", "/api/v1/jobs/a/callback", {"POST"}),
        ("POST", "/health/live", {"GET", "HEAD"}),
        ("DELETE", "/api/v1/jobs/a/file", {"GET", "HEAD"}),
    ],
)
def test_other_method_is_a_problem(site: Site, method: str, path: str, allowed: set[str]) -> None:
    """A method that is not allowed is a problem, which names those that are (RFC 9110, 15.5.6)."""
    answer = site.ask(method, path)
    assert_problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_defect_is_a_problem_without_its_text(site: Site) -> None:
    """An error of ours is a 500 whose correlation id is in the log; what went wrong is only there."""
    with capture_logs() as lines:
        problem = assert_problem(site.ask("GET", "/defect"), 500)
    assert "secret" not in str(problem)
    (line,) = [line for line in lines if line["event"] == "http.failed"]
    assert line["correlation_id"] == problem["correlation_id"]
    assert "a defect with a secret" in str(line["exc_info"])


def test_defect_leaves_the_server_running(url: str) -> None:
    """After an error of ours the real server goes on."""
    assert_problem(httpx.get(f"{url}/defect", timeout=30), 500)  # its traceback is drawn first
    assert httpx.get(f"{url}/health/live").status_code == 200


def test_correlation_ids_differ_and_are_logged(site: Site) -> None:
    """Each problem has an id of its own, and the log has it too."""
    with capture_logs() as lines:
        ids = [assert_problem(site.ask("GET", "/nothing"), 404)["correlation_id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert [line["correlation_id"] for line in lines if line["event"] == "http.refused"] == ids


def test_token_is_never_logged(site: Site, job: Job) -> None:
    """No log line shows the token, not even a wrong one, which may be the right one of somewhere else."""
    with capture_logs() as lines:
        site.call_back(job.job_id)
        site.call_back(job.job_id, headers={"X-Callback-Token": "wrong-but-secret"})
    wait_until(lambda: lines, "something is logged")
    assert TOKEN not in str(lines)
    assert "wrong-but-secret" not in str(lines)
