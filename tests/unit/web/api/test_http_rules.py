"""What HTTP and JSON promise to programs: methods, targets, validators, times, cursors and codes of problems."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from receipt_watcher.config.roles import Role
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.server.targets import AbsoluteTargets
from tests.conftest import FakeClock
from tests.fakes.api_client import ApiSite
from tests.unit.web.api.test_endpoints import with_file
from tests.unit.web.callback_site import assert_problem


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> ApiSite:
    """The application with tokens of each role."""
    site = ApiSite(log, clock, spool)
    site.routes[0].is_ready = True
    return site


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/session", "DELETE, GET, HEAD, POST"),
        ("/api/v1/jobs", "GET, HEAD"),
        ("/api/v1/jobs/retry", "GET, HEAD, POST"),  # a job may be called so, as far as paths go
        ("/api/v1/holds/n8n/resume", "POST"),
    ],
)
def test_allow_names_all_methods(site: ApiSite, path: str, allowed: str) -> None:
    """A method that a path does not know is answered with all those that it knows (RFC 9110, 15.5.6)."""
    answer = site.near("PATCH", path)
    assert_problem(answer, 405)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://host.lan:8000/healthz", "/healthz"),
        ("HTTPS://[::1]/a/b", "/a/b"),
        ("http://host.lan", "/"),
        ("/healthz", "/healthz"),
        ("/http://x/y", "/http://x/y"),
        ("*", "*"),
        ("ftp://host/x", "ftp://host/x"),
    ],
)
def test_targets_in_absolute_form(target: str, path: str) -> None:
    """What a proxy sends is answered as its path is (RFC 9112, 3.2.2); other targets stay as they are."""
    seen: list[Any] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append((scope["path"], scope["raw_path"]))

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def unsent(_message: Message) -> None:
        pytest.fail("nothing is answered")

    scope = {"type": "http", "path": target, "raw_path": target.encode()}
    asyncio.run(AbsoluteTargets(app)(scope, nothing, unsent))
    assert seen == [(path, path.encode())]


@pytest.mark.parametrize("cursor", ["zzzz", "1", "0174876e", "0174876E-83e8-77f8-a64c-e38c523b8f35", "%00"])
def test_a_cursor_is_one_that_was_given(site: ApiSite, cursor: str) -> None:
    """What no answer gave is refused instead of leading to an empty page."""
    problem = assert_problem(site.near("GET", f"/api/v1/jobs?cursor={cursor}"), 422)
    assert problem["errors"][0]["pointer"] == "/cursor"


@pytest.mark.parametrize("given", ["1700000000", "1700000000000", "-1", "2026-11-01", "today", ""])
def test_a_time_is_iso_8601(site: ApiSite, given: str) -> None:
    """Bare numbers would be taken for seconds or milliseconds, by their size."""
    problem = assert_problem(site.near("GET", f"/api/v1/jobs?since={given}"), 422)
    assert "since" in problem["detail"]
    assert [mistake["pointer"] for mistake in problem["errors"]] == ["/since"]
    body = assert_problem(site.ask("POST", "/api/v1/jobs/retry", Role.ADMIN, json={"since": 1_700_000_000}), 422)
    assert body["errors"][0]["pointer"] == "/since"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/jobs/0174876e-83e8-77f8-a64c-e38c523b8f35", 404, "not_found"),
        ("GET", "/api/v1/jobs?limit=0", 422, "unprocessable_content"),
        ("PATCH", "/api/v1/jobs", 405, "method_not_allowed"),
        ("POST", "/api/v1/jobs/retry", 401, "unauthorised"),
    ],
)
def test_problems_have_codes(site: ApiSite, method: str, path: str, status: int, code: str) -> None:
    """A program reads one word; the detail is for people."""
    answer = site.ask(method, path) if status == 401 else site.near(method, path)
    assert assert_problem(answer, status)["code"] == code


def test_each_mistake_has_its_place(site: ApiSite) -> None:
    """A body with several mistakes names the place of each, as a JSON pointer."""
    answer = site.ask("POST", "/api/v1/jobs/retry", Role.ADMIN, json={"status": ["success"], "a/b~c": 1})
    pointers = {mistake["pointer"] for mistake in assert_problem(answer, 422)["errors"]}
    assert pointers == {"/status/0", "/a~1b~0c"}


def test_a_file_that_is_known_is_not_sent_again(site: ApiSite) -> None:
    """If-None-Match with the file's tag is answered with 304 and no body; with another tag the file comes."""
    job = with_file(site)
    path = f"/api/v1/jobs/{job.job_id}/file"
    whole = site.near("GET", path)
    assert (whole.status_code, whole.content) == (200, b"0123456789")
    tag = whole.headers["etag"]
    for known in (tag, f'"other", W/{tag}'):
        again = site.near("GET", path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert site.near("GET", path, headers={"If-None-Match": '"other"'}).status_code == 200
