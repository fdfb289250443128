"""Only a trusted proxy says who asks."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from receipt_watcher.config.roles import Role
from receipt_watcher.web.access.authorization import Trust
from tests.fakes.api_client import SECRETS
from tests.unit.web.access.conftest import Make
from tests.unit.web.callback_site import ask, assert_problem


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.1", "127.0.0.1", "192.0.2.1"),
    ],
)
def test_only_a_trusted_proxy_says_who_asks(make: Make, peer: str, forwarded: str, address: str) -> None:
    """Wrong tokens are counted for the address that a trusted proxy names; nobody else can name one."""
    site = make(trust=Trust(Role.VIEWER, ["10.0.0.0/24"]))
    headers = {"Authorization": "Bearer x", **({"X-Forwarded-For": forwarded} if forwarded else {})}
    with capture_logs() as lines:
        assert_problem(ask(site.app, "GET", "/api/v1/jobs", (peer, 1), headers=headers), 401)
    assert [line["client"] for line in lines if line["event"] == "access.refused"] == [address]


@pytest.mark.parametrize("peer", ["127.0.0.1", "::ffff:127.0.0.1", "::1"])
def test_a_trusted_proxy_is_not_this_machine(make: Make, peer: str) -> None:
    """What a trusted proxy on this machine brings may be anybody's, though no header says so and the Host is ours."""
    site = make(trust=Trust(Role.VIEWER, ["127.0.0.1", "::1"]))
    assert_problem(ask(site.app, "GET", "/api/v1/jobs", (peer, 1), headers={"Host": "127.0.0.1:8000"}), 401)
    elsewhere = make(trust=Trust(Role.VIEWER, ["10.0.0.1"]))
    assert ask(elsewhere.app, "GET", "/api/v1/jobs", (peer, 1), headers={"Host": "127.0.0.1"}).status_code == 200


def test_a_trusted_proxys_tls_makes_the_cookie_secure(make: Make) -> None:
    """Behind a proxy that does TLS the cookie is secure; who is no proxy cannot say so."""
    site = make(trust=Trust(None, ["10.0.0.1"]))
    for peer, is_secure in (("10.0.0.1", True), ("192.0.2.1", False)):
        headers = {"X-Forwarded-Proto": "https"}
        answer = ask(
            site.app, "POST", "/api/v1/session", (peer, 1), json={"token": SECRETS[Role.ADMIN]}, headers=headers
        )
        assert ("secure" in answer.headers["set-cookie"].lower()) is is_secure
