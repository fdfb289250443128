"""A session may do what its token may, and ends with it."""

from __future__ import annotations

import pytest

from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.authorization import COOKIE
from tests.conftest import FakeClock
from tests.fakes.api_client import SECRETS, ApiSite, tokens
from tests.unit.web.access.conftest import Make
from tests.unit.web.callback_site import OFFICE, ask, assert_problem


def test_a_session_is_a_cookie_that_no_script_reads(site: ApiSite) -> None:
    """Signing in sets a cookie that is http-only and same-site, and secure where the caller came by TLS."""
    answer = site.ask("POST", "/api/v1/session", json={"token": SECRETS[Role.VIEWER]})
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "secure" not in said
    assert SECRETS[Role.VIEWER] not in said
    assert (answer.json()["name"], answer.json()["role"]) == ("the-viewer", "viewer")


def test_a_session_may_what_its_token_may(site: ApiSite) -> None:
    """Who is signed in reads, and changes with the form token; the history has the name."""
    (job,) = site.record()
    signed_in = site.sign_in(Role.OPERATOR)
    cookie = {"Cookie": signed_in["Cookie"]}
    assert site.ask("GET", "/api/v1/jobs", headers=cookie).status_code == 200
    path = f"/api/v1/jobs/{job.job_id}/cancel"
    for wrong in (
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "x"},
        {"X-CSRF-Token": site.sign_in(Role.OPERATOR)["X-CSRF-Token"]},
    ):
        assert_problem(site.ask("POST", path, headers=cookie | wrong), 403)
    assert site.job(job) == job
    assert site.ask("POST", path, headers=signed_in).status_code == 202
    assert site.log.histories.lines(job.job_id)[-1]["detail"] == "by the-operator"


def test_a_stolen_session_ends_with_the_sign_out(site: ApiSite, make: Make) -> None:
    """After signing out no copy of the cookie is good, nor after a restart; other sessions go on."""
    stolen, other = site.sign_in(Role.ADMIN), site.sign_in(Role.ADMIN)
    assert site.ask("DELETE", "/api/v1/session", headers=stolen).status_code == 204
    for each in (site, make()):
        assert_problem(each.ask("GET", "/api/v1/jobs", headers=stolen), 401)
        assert each.ask("GET", "/api/v1/jobs", headers=other).status_code == 200


@pytest.mark.parametrize("how", ["time", "taken out", "another secret", "another role"])
def test_a_session_ends_with_its_token(make: Make, clock: FakeClock, how: str) -> None:
    """A session is over after its time, and when its token is taken out, replaced, or given another role."""
    signed_in = make().sign_in(Role.OPERATOR)
    changed = {
        "time": tokens(),
        "taken out": tokens(Role.OPERATOR),
        "another secret": ApiTokens([ApiToken("the-operator", Role.OPERATOR, hash_of("new"))]),
        "another role": ApiTokens([ApiToken("the-operator", Role.VIEWER, hash_of(SECRETS[Role.OPERATOR]))]),
    }[how]
    if how == "time":
        clock.advance(3600)
    assert_problem(make(known=changed).ask("GET", "/api/v1/jobs", headers=signed_in), 401)


def test_no_cookie_can_be_made(site: ApiSite) -> None:
    """A cookie with anything changed in it, or made with another secret, is none; nothing breaks."""
    cookie = site.sign_in(Role.VIEWER)["Cookie"].partition("=")[2]
    content, _, signature = cookie.partition(".")
    tries = ["", ".", content, f"{content}.", f".{signature}", f"{content}.{content}", cookie + "x", "x" + cookie]
    tries += [
        cookie[:at] + ("A" if cookie[at] != "A" else "B") + cookie[at + 1 :] for at in range(0, len(cookie) - 1, 7)
    ]
    tries += ["ü" * 9, "x" * 5000]
    for each in tries:
        headers = [(b"cookie", f"{COOKIE}={each}".encode())]
        assert_problem(ask(site.app, "GET", "/api/v1/jobs", OFFICE, headers=headers), 401)
