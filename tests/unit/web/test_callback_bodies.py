"""Any body of a callback is read, kept or refused; none is an error of ours."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.web.callback import CALLBACK_MAX_BYTES
from tests.conftest import TOKEN
from tests.unit.web.callback_site import AUTHENTIC, JSON, SUCCESS, VERDICTS, Site, assert_problem

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
