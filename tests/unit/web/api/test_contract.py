"""The API keeps its word: openapi.json by a client that knows nothing else, the README's calls by curl."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.roles import Role
from receipt_watcher.jobs.states import State
from receipt_watcher.web.api.operations import OPERATIONS, Operation
from tests.conftest import TOKEN
from tests.docs_tables import README
from tests.fakes.api_client import SECRETS, bearer
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.unit.web.uploads.test_receive import TOKENS

#: A program that tries everything asks oftener than a token may.
UNBOUNDED = {"http": {**TOKENS["http"], "requests_per_minute": 0}}

#: Each is one that a wrong table or a defect would fail.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture
def daemon(tmp_path: Path, n8n: StandIn) -> Iterator[RunningDaemon]:
    """A daemon with a token of each role, and a receipt that succeeded."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=UNBOUNDED) as daemon:
        daemon.drop("first.jpg", jpegs(1)[0])
        daemon.wait_quiet(1)
        yield daemon


@pytest.mark.long
def test_openapi_is_true(daemon: RunningDaemon) -> None:
    """Whatever is sent, by the table or against it: no answer is a defect, and each is one that openapi.json names.

    Without the stream of events, which has no end.
    """
    program = Path(sys.executable).with_name("schemathesis")
    command = [
        str(program),
        "run",
        f"{daemon.url}/openapi.json",
        "--checks",
        CHECKS,
        "--exclude-path",
        "/api/v1/events",
    ]
    command += ["--header", f"Authorization: {bearer(Role.ADMIN)['Authorization']}", "--max-examples", "8"]
    command += ["--phases", "examples,coverage,fuzzing", "--seed", "1", "--request-timeout", "20", "--no-color"]
    quiet = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(command, cwd=daemon.root, env=quiet, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"(\d+) (generated|passed)", done.stdout), done.stdout[-2000:]
    assert [line for line in daemon.events() if line.get("level") == "error"] == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_readme_shows_each_call(name: str) -> None:
    """Each call stands in the README with its line for curl."""
    assert f"`curl {OPERATIONS[name].curl}`".replace("|", "\\|") in README.read_text("utf-8")


def test_each_line_for_curl_runs(daemon: RunningDaemon, n8n: StandIn, tmp_path: Path) -> None:
    """Each line of the README, run in a shell with what its text says, gets one of the good answers that are named."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is missing")
    work = tmp_path / "work"
    work.mkdir()
    (work / "receipt.jpg").write_bytes(jpegs(1, 7)[0])
    n8n.behave = lambda _delivery: Behaviour(verdict=None)
    daemon.drop("second.jpg", jpegs(1, 3)[0])
    found: dict[str, int] = {}
    for name, operation in OPERATIONS.items():
        variables = {"JOB": _job_for(daemon, name), "DESTINATION": _destination(daemon)}
        found[name] = _run(daemon, curl, operation, work, variables)
    assert {name: status for name, status in found.items() if status not in OPERATIONS[name].answers} == {}


def _job_for(daemon: RunningDaemon, name: str) -> str:
    """Return the job that a line is run on: one that waits is cancelled, one that was cancelled is retried.

    What is settled is one whose callback could not be read.
    """
    if name == "settle":
        daemon.drop("third.jpg", jpegs(1, 4)[0])
        wait_until(
            lambda: [job.state for job in daemon.recorded() if job.filename == "third.jpg"] == [State.PROCESSING],
            "another receipt waits for its callback",
        )
        job_id = daemon.job("third.jpg").job_id
        assert daemon.call(job_id, {"status": "?"}, TOKEN).status_code == 422
        return job_id
    if name not in ("retry", "cancel"):
        return daemon.job("first.jpg").job_id
    wait_until(
        lambda: [job.state for job in daemon.recorded() if job.filename == "second.jpg"] == [State.PROCESSING],
        "a receipt waits for its callback",
    )
    job_id = daemon.job("second.jpg").job_id
    path = f"{daemon.url}/api/v1/jobs/{job_id}"
    if name == "retry":
        assert httpx.post(f"{path}/cancel", headers=bearer(Role.ADMIN)).status_code == 202
        wait_until(lambda: "/failed/" in str(httpx.get(path).json()["path"]), "it is filed")
    return job_id


def _destination(daemon: RunningDaemon) -> str:
    destination: str = httpx.get(f"{daemon.url}/api/v1/holds").json()["destinations"][0]["destination"]
    return destination


def _run(daemon: RunningDaemon, curl: str, operation: Operation, work: Path, variables: dict[str, str]) -> int:
    """Run a line, and return the status of its answer."""
    said = {"AT": daemon.url, "TOKEN": SECRETS[Role.ADMIN], **variables}
    script = f'{curl} -sS -H "Authorization: Bearer $TOKEN" -D headers {operation.curl} > answer'
    subprocess.run(["sh", "-c", script], cwd=work, env=os.environ | said, check=False, timeout=60)
    status = int((work / "headers").read_text().split()[1])
    answer = work / "answer"
    if operation.method != "DELETE" and answer.stat().st_size and answer.read_bytes()[:1] == b"{":
        json.loads(answer.read_bytes())
    return status
