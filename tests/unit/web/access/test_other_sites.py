"""A page of another site changes and reads nothing."""

from __future__ import annotations

import pytest

from receipt_watcher.config.roles import Role
from receipt_watcher.web.access.authorization import Trust
from tests.fakes.api_client import SECRETS, ApiSite, bearer
from tests.unit.web.access.conftest import Make
from tests.unit.web.callback_site import assert_problem

FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "http://localhost"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_page_changes_nothing(make: Make, headers: dict[str, str]) -> None:
    """What a browser sends from another site's page is refused, signed in or on this machine, even with all tokens."""
    site = make(trust=Trust(Role.ADMIN))
    (job,) = site.record()
    path = f"/api/v1/jobs/{job.job_id}/cancel"
    assert_problem(site.near("POST", path, headers=headers), 403)
    assert_problem(site.near("POST", path, headers=site.sign_in(Role.ADMIN) | headers), 403)
    assert_problem(site.near("POST", "/api/v1/session", json={"token": SECRETS[Role.ADMIN]}, headers=headers), 403)
    assert site.job(job) == job
    assert (
        site.near("POST", path, headers={"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}).status_code
        == 202
    )


def test_a_link_from_elsewhere_may_be_followed(site: ApiSite) -> None:
    """A click on another site's link shows the page; a script there cannot have it fetched."""
    click = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert site.near("GET", "/api/v1/jobs", headers=click).status_code == 200
    assert_problem(
        site.near("GET", "/api/v1/jobs", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}), 403
    )


def test_no_other_site_may_read_unless_it_is_named(make: Make) -> None:
    """There is no CORS header, but for the origins that are configured, and then for tokens only, never for cookies."""
    plain = make()
    headers = {"Origin": "https://desk.lan", **bearer(Role.VIEWER)}
    assert "access-control-allow-origin" not in plain.ask("GET", "/api/v1/jobs", headers=headers).headers
    opened = make(origins=["https://desk.lan"])
    said = opened.ask("GET", "/api/v1/jobs", headers=headers).headers
    assert said["access-control-allow-origin"] == "https://desk.lan"
    assert "access-control-allow-credentials" not in said
    other = opened.ask("GET", "/api/v1/jobs", headers=headers | {"Origin": "https://evil.example"}).headers
    assert "access-control-allow-origin" not in other
    preflight = {"Origin": "https://desk.lan", "Access-Control-Request-Method": "POST"}
    assert opened.ask("OPTIONS", "/api/v1/jobs/retry", headers=preflight).status_code == 200
