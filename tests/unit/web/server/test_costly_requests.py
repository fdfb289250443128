"""Large heads, tiny chunks and many parameters cost the event loop little time."""

from __future__ import annotations

import contextlib
import io
import re

import pytest
from starlette.requests import Request

from receipt_watcher.jobs.states import State
from receipt_watcher.web.access.authorization import cookie_of
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server import bodies
from receipt_watcher.web.uploads.form import Form
from tests.conftest import TOKEN
from tests.unit.web.callback_site import SUCCESS, Site, ask, assert_problem
from tests.unit.web.server.hostile_site import Open, problem_in, read_all

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
