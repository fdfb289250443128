"""Callbacks conclude a job only if they are right, and a late success counts."""

from __future__ import annotations

from pathlib import Path

import httpx

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import wait_until
from tests.scenarios.one_office import ACCEPTED, FAILING, assert_arrived, office


def test_callbacks_that_are_wrong(tmp_path: Path, n8n: StandIn) -> None:
    """A callback with a wrong token, no JSON, an unknown job or 10 MB gets a clear error; a good one still counts."""
    n8n.behave = lambda _: ACCEPTED
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", content)
        wait_until(lambda: daemon.count("job.accepted"), "it is at N8N")
        job_id = daemon.job("scan.jpg").job_id
        url, token = f"{daemon.url}/api/v1/jobs/{job_id}/callback", {"X-Callback-Token": TOKEN}
        success = {"status": "success"}
        answers = {
            401: daemon.call(job_id, success, "not-the-token"),
            404: daemon.call("0" * 8, success, TOKEN),
            413: httpx.post(url, content=b"x" * 10_000_000, headers=token),
            422: httpx.post(url, content=b"it went well", headers=token),
        }
        for status, answer in answers.items():
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["correlation_id"]
        job = daemon.job("scan.jpg")
        assert (job.state, job.reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)
        with daemon.job_log() as log:
            kept = [row["detail"] for row in log.histories.lines(job_id) if row["event"] == "callback.unreadable"]
        assert len(kept) == 2
        assert any(line.endswith(": it went well") for line in kept)
        assert any("larger than" in line for line in kept)
        assert daemon.call(job_id, success, TOKEN).json() == {"status": "received"}
        assert_arrived(daemon, n8n, [content])
        assert daemon.call(job_id, {"status": "failure"}, TOKEN).status_code == 409
        assert daemon.job("scan.jpg").state is State.SUCCESS


def test_a_success_after_a_failure(tmp_path: Path, n8n: StandIn) -> None:
    """A success that comes after a failure wins: the file goes from failed/ to done/, and its note goes."""
    n8n.behave = lambda _: FAILING
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        job = daemon.job("scan.jpg")
        assert "The supplier is unknown." in (daemon.failed / "scan.jpg.reason.txt").read_text()
        assert daemon.call(job.job_id, {"status": "success"}, TOKEN).status_code == 200
        wait_until(lambda: not list(daemon.failed.iterdir()), "file and note have gone")
        assert_arrived(daemon, n8n, [content])


def test_one_job_over_http(tmp_path: Path, n8n: StandIn) -> None:
    """Whoever asks from this machine is shown a job with its deliveries and its history, and 404 for no job."""
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        job = daemon.job("scan.jpg")
        shown = httpx.get(f"{daemon.url}/api/v1/jobs/{job.job_id}").json()
        assert (shown["status"], shown["attempts"], len(shown["deliveries"])) == ("success", 1, 1)
        assert [row["event"] for row in shown["history"]][:2] == ["record", "claim"]
        assert shown["path"] == str(daemon.done / job.stored_path)
        assert httpx.get(f"{daemon.url}/api/v1/jobs/nothing").status_code == 404
        assert httpx.get(f"{daemon.url}/health/live").json() == {"status": "ok"}
