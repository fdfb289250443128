"""Each role may do what is its own, and callers on this machine may read."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from receipt_watcher.config.roles import Right, Role, has_right
from receipt_watcher.web.access.authorization import Trust
from receipt_watcher.web.api.operations import OPERATIONS, Operation
from tests.fakes.api_client import ApiSite, bearer
from tests.unit.web.access.conftest import Make
from tests.unit.web.callback_site import LOCAL, OFFICE, ask, assert_problem

PROTECTED = {name: each for name, each in OPERATIONS.items() if each.right is not None}
CHANGING = {name: each for name, each in PROTECTED.items() if each.method != "GET"}


def path_of(operation: Operation) -> str:
    """Return a path of a call, with ids that are nobody's."""
    return operation.path.format(job_id="none", destination="none", inbox="none")


def call(site: ApiSite, operation: Operation, client: tuple[str, int] = OFFICE, **options: Any) -> httpx.Response:
    """Do a call with nothing in it."""
    return ask(site.app, operation.method, path_of(operation), client, **options)


@pytest.mark.parametrize("name", PROTECTED)
def test_nobody_may_nothing(site: ApiSite, name: str) -> None:
    """Without a token each call is a 401 that says how, from the office and through a proxy on this machine."""
    for client, headers in ((OFFICE, {}), (LOCAL, {"X-Forwarded-For": "127.0.0.1"}), (LOCAL, {"Host": "evil.example"})):
        answer = call(site, PROTECTED[name], client, headers=headers)
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", [name for name in PROTECTED if name != "events"])
@pytest.mark.parametrize("role", Role)
def test_each_role_may_what_is_its_own(site: ApiSite, role: Role, name: str) -> None:
    """A role may what its rights say, and is told 403 for the rest, whatever there is."""
    operation = PROTECTED[name]
    assert operation.right is not None
    if name == "upload" and has_right(role, Right.UPLOAD):
        return  # with the real daemon
    answer = call(site, operation, headers=bearer(role))
    if has_right(role, operation.right):
        assert answer.status_code not in (401, 403)
    else:
        assert str(role) in assert_problem(answer, 403)["detail"]


@pytest.mark.parametrize("name", CHANGING)
def test_this_machine_may_read_only(site: ApiSite, name: str) -> None:
    """Without a token nothing is changed, from this machine either; but to sign out is no change of anything."""
    answer = call(site, CHANGING[name], LOCAL)
    if name == "sign_out":
        assert answer.status_code == 204
    else:
        assert_problem(answer, 403)


def test_this_machine_may_be_nobody_special(make: Make) -> None:
    """With local_role none a token is needed on this machine, too."""
    site = make(trust=Trust(None))
    assert_problem(site.near("GET", "/api/v1/jobs"), 401)
    assert site.near("GET", "/api/v1/jobs", headers=bearer(Role.VIEWER)).status_code == 200


@pytest.mark.parametrize("client", [LOCAL, ("127.8.9.1", 1), ("::1", 1)])
@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8000", b"127.0.0.1:8000", b"[::1]:8000"])
def test_this_machine_reads(site: ApiSite, client: tuple[str, int], host: bytes) -> None:
    """Whichever name this machine is asked for by, with a port or without."""
    assert ask(site.app, "GET", "/api/v1/jobs", client, headers=[(b"host", host)]).status_code == 200


@pytest.mark.parametrize("client", [OFFICE, ("10.0.0.1", 1), ("2001:db8::1", 1), ("::ffff:192.0.2.7", 1), ("", 1)])
def test_others_learn_nothing(site: ApiSite, client: tuple[str, int]) -> None:
    """Whoever asks from elsewhere sees nothing, not even whether a job is there."""
    (job,) = site.record()
    known, unknown = (
        assert_problem(ask(site.app, "GET", f"/api/v1/jobs/{each}", client), 401) for each in (job.job_id, "none")
    )
    assert known["detail"] == unknown["detail"]


@pytest.mark.parametrize(
    "header",
    [
        *("Forwarded", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port"),
        *("X-Real-IP", "Via", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "True-Client-IP"),
        *("CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Ray", "CDN-Loop", "X-Original-Forwarded-For"),
        *("X-Azure-ClientIP", "X-Envoy-External-Address", "X-Remote-Addr", "X-AppEngine-User-IP"),
    ],
)
def test_a_proxy_is_not_this_machine(site: ApiSite, header: str) -> None:
    """A request that came through a proxy on this machine is not from this machine, whatever the header says."""
    assert_problem(site.near("GET", "/api/v1/jobs", headers={header: "127.0.0.1"}), 401)


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"127.0.0.1.evil.example", b"", b"[::2]", b"127.0.0.1%2f", b"localhost.evil_example:80"],
)
def test_another_name_is_not_this_machine(site: ApiSite, host: bytes) -> None:
    """A page may point its own name at this machine; a Host that is another's, or none, sees nothing."""
    assert_problem(ask(site.app, "GET", "/api/v1/jobs", LOCAL, headers=[(b"host", host)]), 401)


@pytest.mark.parametrize(
    "host",
    [
        *(b"evil.example@127.0.0.1", b"evil.example@127.0.0.1:8000", b"127.0.0.1@evil.example", b"user:x@localhost"),
        *(
            b"[",
            b"\xff",
            b"a:b:c",
            b"localhost/x",
            b"localhost#",
            b"localhost?",
            b"local host",
            b"localhost:80x",
            b"a\\b",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/health/live", "/health/ready", "/nothing"])
def test_a_host_that_is_none_is_refused(site: ApiSite, host: bytes, path: str) -> None:
    """A Host with a user, a path or other nonsense is a 400, whatever is asked for."""
    problem = assert_problem(ask(site.app, "GET", path, LOCAL, headers=[(b"host", host)]), 400)
    assert "Host" in problem["detail"]


def test_metrics_are_for_who_may_read(site: ApiSite) -> None:
    """Metrics are for this machine and for a viewer's token; no callback's token, and no uploader's, opens them."""
    assert site.near("GET", "/metrics").status_code == 200
    assert site.ask("GET", "/metrics", Role.VIEWER).status_code == 200
    assert_problem(site.ask("GET", "/metrics"), 401)
    assert_problem(site.ask("GET", "/metrics", Role.UPLOADER), 403)
