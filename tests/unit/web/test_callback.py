"""A callback is answered when its verdict is durable, and only with the right token."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.web.callback import CALLBACK_MAX_BYTES
from tests.conftest import TOKEN
from tests.unit.web.callback_site import AUTHENTIC, SUCCESS, Site, assert_problem


def test_verdict_is_durable_when_it_is_answered(site: Site, job: Job, url: str) -> None:
    """When the 200 arrives, another process already reads the verdict in the log."""
    answer = httpx.post(f"{url}/api/v1/jobs/{job.job_id}/callback", content=SUCCESS, headers=AUTHENTIC)
    assert (answer.status_code, answer.json()) == (200, {"status": "received"})
    with contextlib.closing(sqlite3.connect(site.log.database.path)) as other:
        assert other.execute("SELECT state FROM job WHERE job_id = ?", [job.job_id]).fetchall() == [("success",)]


def test_verdict_that_cannot_be_written_is_not_received(site: Site, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log cannot be written, the answer is no 200, so that N8N may post again."""

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as context:
        context.setattr(site.log.histories, "note", full)
        context.setattr(site.log.jobs, "advance", full)
        assert_problem(site.call_back(job.job_id), 500)
    assert site.job(job) == job
    assert site.call_back(job.job_id).status_code == 200


@pytest.mark.parametrize("body", [SUCCESS, b"no JSON"])
def test_verdict_is_asked_for_again_while_the_log_cannot_be_written(site: Site, job: Job, body: bytes) -> None:
    """The answer is 503 with Retry-After and the reason, no defect of ours; nothing is kept of it, and later it is."""
    history = len(site.log.histories.lines(job.job_id))
    site.log.database.select("PRAGMA query_only = 1")
    with capture_logs() as lines:
        for _ in range(2):
            answer = site.call_back(job.job_id, body)
            problem = assert_problem(answer, 503)
            assert answer.headers["Retry-After"] == "60"
            assert problem["title"] == "Service unavailable"
            assert "send it again in a minute" in problem["detail"]
            assert "it cannot be written" in problem["detail"]
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == ["job_log.failing"]
    assert site.job(job) == job
    assert len(site.log.histories.lines(job.job_id)) == history
    site.log.database.select("PRAGMA query_only = 0")
    assert site.call_back(job.job_id, body).status_code == (200 if body is SUCCESS else 422)
    assert len(site.log.histories.lines(job.job_id)) == history + (1 if body is SUCCESS else 2)


def test_a_wrong_token_is_told_so_while_the_log_cannot_be_written(site: Site, job: Job) -> None:
    """Who may not call back learns nothing of the log."""
    site.log.database.select("PRAGMA query_only = 1")
    assert_problem(site.call_back(job.job_id, headers={"X-Callback-Token": "wrong"}), 401)


def test_verdict_is_taken_with_its_words(site: Site, job: Job) -> None:
    """Message and page of a success are kept; fields that we do not know are ignored."""
    body = {"status": "success", "message": "gebucht", "notion_page_url": "https://notion.example/1", "new": [1]}
    assert site.call_back(job.job_id, json.dumps(body).encode()).status_code == 200
    after = site.job(job)
    assert (after.state, after.message) == (State.SUCCESS, "gebucht")
    assert after.notion_page_url == "https://notion.example/1"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("1042", "1042"),
        (1042, "1042"),
        (None, None),
        ("", None),
        ({"id": 1}, None),
        ("\ud800", None),
        ("x" * 101, None),
    ],
)
def test_the_execution_that_a_callback_names_is_kept(site: Site, job: Job, said: object, kept: str | None) -> None:
    """A callback may name the execution of N8N; what is none costs no verdict."""
    body = json.dumps({"status": "success", "execution_id": said}).encode()
    assert site.call_back(job.job_id, body).status_code == 200
    assert (site.job(job).state, site.job(job).execution_id) == (State.SUCCESS, kept)


def test_failure_is_taken(site: Site, job: Job) -> None:
    """A failure is received like a success."""
    answer = site.call_back(job.job_id, b'{"status": "failure", "message": "no total"}')
    assert answer.json() == {"status": "received"}
    assert (site.job(job).reason, site.job(job).message) == (Reason.N8N_FAILURE, "no total")


def test_same_verdict_again_is_received(site: Site, job: Job) -> None:
    """The same verdict again is answered 200, and changes nothing."""
    site.call_back(job.job_id)
    before = site.job(job)
    assert site.call_back(job.job_id).json() == {"status": "received"}
    assert site.job(job) == before


def test_failure_after_a_success_is_a_conflict(site: Site, job: Job) -> None:
    """A failure after a success is answered 409, and the success stays."""
    site.call_back(job.job_id)
    assert_problem(site.call_back(job.job_id, b'{"status": "failure"}'), 409)
    assert site.job(job).state is State.SUCCESS


def test_copy_was_never_sent(site: Site) -> None:
    """A verdict on a copy, which N8N never had, is answered 409."""
    (copy,) = site.record(state=State.DUPLICATE)
    assert "never sent" in assert_problem(site.call_back(copy.job_id), 409)["detail"]


def test_unknown_job_is_not_found(site: Site) -> None:
    """A verdict on a job that is not in the log is answered 404, readable or not, and too large as well."""
    for body in (SUCCESS, b"{", b"x" * (CALLBACK_MAX_BYTES + 1)):
        assert "no-such-job" in assert_problem(site.call_back("no-such-job", body), 404)["detail"]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ä", "\udcff"])
def test_wrong_token_learns_nothing(site: Site, job: Job, token: str | None) -> None:
    """Without the token the answer is 401, the same whether the job is known or the body readable; it changes nothing.

    One line of the history of a job that waits for its callback says that one came.
    """
    history = site.log.histories.lines(job.job_id)
    headers = [] if token is None else [(b"X-Callback-Token", token.encode("utf-8", "surrogateescape"))]
    seen = []
    for job_id in (job.job_id, "no-such-job"):
        for body in (SUCCESS, b"{", b"x" * (CALLBACK_MAX_BYTES + 1)):
            answer = site.ask("POST", f"/api/v1/jobs/{job_id}/callback", content=body, headers=headers)
            problem = assert_problem(answer, 401)
            problem.pop("correlation_id")
            seen.append(problem)
    assert seen == [seen[0]] * 6
    assert TOKEN not in str(seen)
    *before, refused = site.log.histories.lines(job.job_id)
    assert (site.job(job), before) == (job, history)
    assert (refused["event"], refused["to_state"]) == ("callback.refused", None)


def test_token_is_one_header(site: Site, job: Job) -> None:
    """The token is read from its header only, not from the query or the body."""
    path = f"/api/v1/jobs/{job.job_id}/callback?X-Callback-Token={TOKEN}&token={TOKEN}"
    body = json.dumps({"status": "success", "X-Callback-Token": TOKEN}).encode()
    assert_problem(site.ask("POST", path, content=body, headers={"Authorization": f"Bearer {TOKEN}"}), 401)


def test_many_callbacks_at_once(site: Site, url: str) -> None:
    """Callbacks that come together are all received."""
    jobs = site.accepted(40)
    statuses: list[int] = []

    def call(some: list[Job]) -> None:
        with httpx.Client(base_url=url, headers=AUTHENTIC) as near:
            statuses.extend(
                near.post(f"/api/v1/jobs/{job.job_id}/callback", content=SUCCESS).status_code for job in some
            )

    threads = [threading.Thread(target=call, args=[jobs[start::8]]) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40
    assert {site.job(job).state for job in jobs} == {State.SUCCESS}


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(job_id=st.text(min_size=1).map(lambda text: text.encode("utf-8", "replace")))
def test_no_job_id_is_an_error_of_ours(site: Site, job_id: bytes) -> None:
    """Whatever stands where the job's id is expected, there is no such job."""
    quoted = "".join(f"%{byte:02X}" for byte in job_id)
    answer = site.ask("POST", f"/api/v1/jobs/{quoted}/callback", content=SUCCESS, headers=AUTHENTIC)
    assert answer.status_code in {404, 405}
