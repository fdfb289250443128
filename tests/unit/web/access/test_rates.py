"""A right token has a rate; callbacks, people and other tokens do not feel it."""

from __future__ import annotations

import pytest

from receipt_watcher.config.roles import Role
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.rates import TokenRates
from receipt_watcher.web.problem import RefusedError
from tests.conftest import FakeClock
from tests.fakes.api_client import ApiSite
from tests.unit.web.callback_site import AUTHENTIC, SUCCESS, assert_problem


@pytest.fixture
def site(log: JobLog, clock: FakeClock, spool: Spool) -> ApiSite:
    """The application; each token may make six requests a minute."""
    site = ApiSite(log, clock, spool)
    site.access._rates = TokenRates(6, clock)
    return site


def test_a_token_that_asks_too_often_waits(site: ApiSite, clock: FakeClock) -> None:
    """A minute's worth comes at once, then one in its time: 429 says when, and counts for nothing."""
    for _ in range(6):
        assert site.ask("GET", "/api/v1/jobs", Role.VIEWER).status_code == 200
    for _ in range(20):
        answer = site.ask("GET", "/api/v1/jobs", Role.VIEWER)
        assert "http.requests_per_minute" in assert_problem(answer, 429)["detail"]
        assert answer.headers["Retry-After"] == "10"
    clock.advance(9)
    assert site.ask("GET", "/api/v1/jobs", Role.VIEWER).headers["Retry-After"] == "1"
    clock.advance(1)
    assert site.ask("GET", "/api/v1/jobs", Role.VIEWER).status_code == 200
    assert site.ask("GET", "/api/v1/jobs", Role.VIEWER).status_code == 429
    clock.advance(3600)
    assert [site.ask("GET", "/api/v1/jobs", Role.VIEWER).status_code for _ in range(7)] == [200] * 6 + [429]


def test_nobody_else_feels_it(site: ApiSite) -> None:
    """Other tokens, people who are signed in, callers on this machine and callbacks are answered all the same."""
    for _ in range(7):
        answer = site.ask("GET", "/api/v1/jobs", Role.OPERATOR)
    assert answer.status_code == 429
    assert site.ask("GET", "/api/v1/jobs", Role.VIEWER).status_code == 200
    session = site.sign_in(Role.OPERATOR)
    [job] = site.record()
    for _ in range(10):
        assert site.ask("GET", "/api/v1/jobs", headers=session).status_code == 200
        assert site.near("GET", "/api/v1/jobs").status_code == 200
        path = f"/api/v1/jobs/{job.job_id}/callback"
        assert site.ask("POST", path, Role.OPERATOR, content=SUCCESS, headers=dict(AUTHENTIC)).status_code == 200


def test_without_a_bound_nobody_waits(clock: FakeClock) -> None:
    """With 0 a minute any number of requests is answered."""
    rates = TokenRates(0, clock)
    for _ in range(10_000):
        rates.check("scanner")


def test_the_default_is_reached_to_the_number(clock: FakeClock) -> None:
    """Fractions that are added up take no request away."""
    rates = TokenRates(3000, clock)
    for _ in range(3000):
        rates.check("scanner")
    with pytest.raises(RefusedError):
        rates.check("scanner")


def test_names_are_forgotten(clock: FakeClock) -> None:
    """An identity provider may have many people: those who do not ask any more take no memory."""
    rates = TokenRates(60, clock)
    for number in range(5000):
        rates.check(f"person-{number}")
        clock.advance(0.5)
    assert len(rates._done_at) <= 1000
