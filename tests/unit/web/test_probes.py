"""Health and metrics, as probes and people ask for them."""

from __future__ import annotations

import pytest

from tests.unit.web.callback_site import LOCAL, OFFICE, Site, assert_problem


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
    site.degraded["hold:n8n"] = "held"
    answer = site.ask("GET", "/health/ready", LOCAL)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "degraded",
        "checks": ["inbox:office", "job_log"],
        "degraded": {"hold:n8n": "held"},
    }
    site.checks["job_log"] = "disk full"
    answer = site.ask("GET", "/health/ready", LOCAL)
    assert answer.status_code == 503
    assert answer.json()["degraded"] == {"hold:n8n": "held"}


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
