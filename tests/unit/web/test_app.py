"""What is not there, or fails, is answered with a problem, and no token is logged."""

from __future__ import annotations

import httpx
import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.job import Job
from tests.conftest import TOKEN
from tests.fakes.daemons.process import wait_until
from tests.unit.web.callback_site import Site, assert_problem


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
