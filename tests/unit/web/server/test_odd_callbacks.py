"""A callback of any form changes its job legally or not at all."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.unit.web.callback_site import AUTHENTIC, JSON, SUCCESS, VERDICTS, Site, ask, assert_problem
from tests.unit.web.server.hostile_site import call


@pytest.mark.parametrize(
    ("headers", "body", "hint"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(SUCCESS), "Content-Encoding gzip"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"result=good", "application/x-www-form-urlencoded"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", "multipart/form-data"),
        ({"Content-Type": "application/json"}, b"result=good", "must be a JSON object"),
    ],
    ids=["compressed", "a form", "parts", "a form that says it is JSON"],  # a compressed body has a time in it
)
def test_a_body_in_another_form_is_explained(site: Site, headers: dict[str, str], body: bytes, hint: str) -> None:
    """A callback in another form is unreadable, and the answer says how it came; the receipt is never sent again."""
    (job,) = site.accepted()
    problem = assert_problem(call(site, job.job_id, {**AUTHENTIC, **headers}, body), 422)
    assert hint in problem["detail"]
    assert site.job(job).reason is Reason.UNREADABLE_VERDICT


def test_a_verdict_counts_whatever_its_content_type(site: Site) -> None:
    """A workflow that forgets the content type is understood."""
    (job,) = site.accepted()
    assert call(site, job.job_id, {**AUTHENTIC, "Content-Type": "text/plain"}).status_code == 200


def test_a_message_of_a_megabyte_is_cut(site: Site) -> None:
    """Huge texts are cut, or left out, and cost no verdict."""
    (job,) = site.accepted()
    said = {"status": "success", "message": "x" * 1_000_000, "notion_page_url": "http://" + "y" * 9_000}
    assert call(site, job.job_id, AUTHENTIC, json.dumps(said).encode()).status_code == 200
    after = site.job(job)
    assert after.message is not None
    assert (len(after.message), after.message[-1], after.notion_page_url) == (10_000, "…", None)


LEGAL = {State.SUCCESS: {State.SUCCESS}, State.FAILURE: {State.FAILURE, State.SUCCESS}}
OPEN = {State.QUEUED, State.DELIVERING, State.PROCESSING}


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    state=st.sampled_from([state for state in State if state is not State.DUPLICATE]),
    sent=st.lists(
        st.binary(max_size=100) | JSON.map(lambda said: json.dumps(said).encode()) | VERDICTS, min_size=1, max_size=4
    ),
)
def test_callbacks_change_a_job_legally_or_not_at_all(site: Site, state: State, sent: list[bytes]) -> None:
    """Whatever bytes come, with a right token and in any state: no 500, and a verdict only rises."""
    job = site.in_state(state)
    for body in sent:
        before = site.job(job)
        answer = call(site, job.job_id, AUTHENTIC, body)
        after = site.job(job)
        assert answer.status_code in {200, 409, 422}
        if answer.status_code == 422 and after != before:
            assert before.state in OPEN
            assert (after.state, after.reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)
        elif answer.status_code != 200:
            assert after == before
        elif before.state in OPEN:
            assert after.state in {State.SUCCESS, State.FAILURE}
        else:
            assert after.state in LEGAL.get(before.state, {State.CANCELLED, State.SUCCESS})


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from(["x-callback-token", "content-type", "content-encoding", "host", "expect", "forwarded"]),
            st.binary(max_size=30),
        ),
        max_size=4,
    ),
    body=st.binary(max_size=100),
    path=st.text(max_size=30).map(lambda text: "/api/v1/jobs/" + text.encode("utf-8", "replace").hex("%")),
)
def test_no_header_is_an_error_of_ours(site: Site, headers: list[tuple[str, bytes]], body: bytes, path: str) -> None:
    """Whatever stands in headers and path, nothing is a 500, and what has no token changes nothing."""
    (job,) = site.record()
    for where in (f"/api/v1/jobs/{job.job_id}/callback", f"/api/v1/jobs/{job.job_id}", path):
        raw = [(name.encode(), text) for name, text in headers]
        answer = ask(
            site.app, "POST" if "callback" in where else "GET", where, ("127.0.0.1", 1), content=body, headers=raw
        )
        assert answer.status_code in {200, 400, 401, 403, 404, 405, 429}
    assert site.job(job) == job
