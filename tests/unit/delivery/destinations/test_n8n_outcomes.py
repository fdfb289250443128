"""What the answers of N8N mean for a receipt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.delivery.destinations import Accepted, Deferred, Lost, Outcome, Refused
from receipt_watcher.delivery.destinations.http_client import Answer
from receipt_watcher.delivery.destinations.n8n.webhook import _with_execution, outcome_of
from receipt_watcher.delivery.destinations.signature import NOT_PROVEN
from receipt_watcher.errors import AnswerLostError, NotSentError
from receipt_watcher.jobs.reasons import Reason
from tests.unit.delivery.destinations.receipts_to_send import NOW, FakeOutbound, deliver, n8n_by, receipt

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
FORM_TOO_LARGE = '{"message":"The submitted form data exceeds the allowed size."}'
NOT_REGISTERED = r'{"code":404,"message":"The requested webhook \"POST receipts\" is not registered.","hint":"Click"}'
NOT_PARSED = '{"code":422,"message":"Failed to parse request body","hint":""}'
PROBLEM = '{"code":0,"message":"There was a problem executing the workflow"}'


@pytest.mark.parametrize(
    ("status", "content_type", "text", "kind", "words"),
    [
        (200, JSON, '{"message":"Workflow was started"}', Accepted, "Workflow was started"),
        (200, HTML, "n8n is starting up. Please wait", Deferred, "did not take the receipt"),
        (200, "", "<html>n8n is starting up. Please wait</html>", Deferred, "did not take the receipt"),
        (200, "text/plain", "n8n is starting up. Please wait", Deferred, "did not take the receipt"),
        (200, HTML, "<!DOCTYPE html><title>Log in</title>", Deferred, "web page"),
        (200, "", "\n  <!doctype html><title>Log in</title>", Deferred, "web page"),
        (404, HTML, "<pre>Cannot POST /webhook/receipts</pre>", Deferred, "publish"),
        (404, JSON, NOT_REGISTERED, Deferred, "publish"),
        (403, "text/plain", "Authorization data is wrong!", Deferred, "n8n.api_key"),
        (403, JSON, f'{{"message":"{NOT_PROVEN}: …"}}', Deferred, "n8n.signing_secret"),
        (401, "text/plain", "Login", Deferred, "proxy"),
        (500, JSON, '{"code":0,"message":"No authentication data defined on node!"}', Deferred, "no credential"),
        (422, JSON, NOT_PARSED, Refused, "Failed to parse"),
        (500, JSON, PROBLEM, Deferred, "problem executing"),
        (413, JSON, FORM_TOO_LARGE, Refused, "exceeds"),
        (415, JSON, "{}", Refused, "415"),
        (400, JSON, '{"message":"The submitted form data could not be parsed."}', Deferred, "could not be parsed"),
        (200, JSON, '[{"json":{"any":"item"}}]', Accepted, "any"),
        (500, JSON, '{"message":"Error in workflow"}', Deferred, "Error in workflow"),
        (500, JSON, '{"code":0,"message":"No item to return was found"}', Deferred, "No item"),
        (200, "", "", Accepted, "200"),
        (201, JSON, '{"own":"answer"}', Accepted, "own"),
        (204, "", "", Accepted, "204"),
        (301, "", "", Deferred, "redirects to https://elsewhere.example/"),
        (307, "", "", Deferred, "n8n.webhook_url"),
        (405, "", "", Deferred, "POST"),
        (408, "", "", Deferred, "gave up"),
        (410, "", "", Deferred, "gone"),
        (418, "", "I am a teapot", Deferred, "not expected"),
        (425, "", "", Deferred, "425"),
        (429, "", "", Deferred, "slow down"),
        (502, HTML, "<h1>Bad Gateway</h1>", Deferred, "is it running"),
        (503, "", "", Deferred, "not available"),
        (504, "", "", Deferred, "too long"),
        (599, "", "", Deferred, "599"),
        (999, "", "", Deferred, "999"),
    ],
)
def test_answers_of_n8n(status: int, content_type: str, text: str, kind: type[Outcome], words: str) -> None:
    """Each answer that n8n or a proxy was seen to give has its meaning; no status alone is an acceptance."""
    headers = {"content-type": content_type, "location": "https://elsewhere.example/"}
    outcome = outcome_of(Answer(status, headers, text, 0.1), NOW)
    assert type(outcome) is kind
    assert words in outcome.message
    assert not isinstance(outcome, Lost)
    assert outcome.status_code == status


@pytest.mark.parametrize(
    ("headers", "text", "execution_id"),
    [
        ({}, '{"message":"Workflow was started"}', None),
        ({}, '{"message":"Workflow was started","executionId":"1042"}', "1042"),
        ({}, '{"execution_id":1042}', "1042"),
        ({}, '[{"executionId":"a-b_c:1.2"},{"executionId":"other"}]', "a-b_c:1.2"),
        ({"x-n8n-execution-id": "7"}, '{"executionId":"1042"}', "7"),
        ({"n8n-execution-id": "7"}, "", "7"),
        ({"x-n8n-execution-id": "two words"}, '{"executionId":"8"}', "8"),
        ({}, '{"executionId":true}', None),
        ({}, '{"executionId":{"a":1}}', None),
        ({}, '{"executionId":"' + "9" * 101 + '"}', None),
        ({}, '"executionId"', None),
        ({}, "[]", None),
        ({}, "[" * 60_000, None),
    ],
)
def test_the_execution_is_told(tmp_path: Path, headers: dict[str, str], text: str, execution_id: str | None) -> None:
    """Where the answer names the execution of N8N, in a header or in its JSON, it is told; anything odd is not."""
    outcome = deliver(n8n_by(FakeOutbound(Answer(200, headers, text, 0.1))), *receipt(tmp_path, b"abc"))
    assert isinstance(outcome, Accepted)
    assert outcome.execution_id == execution_id


@given(st.text(max_size=200))
def test_no_answer_breaks_the_reading_of_the_execution(text: str) -> None:
    """Whatever a workflow answers, it is read without an error, and what is kept of it is short and plain."""
    answer = Answer(200, {"x-n8n-execution-id": text}, json.dumps({"executionId": text}), 0.1)
    outcome = _with_execution(Accepted("200", 200), answer)
    assert isinstance(outcome, Accepted)
    assert outcome.execution_id in (text, None)
    assert outcome.execution_id is None or (text.isascii() and text.isprintable() and 0 < len(text) <= 100)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(413, Reason.REFUSED_TOO_LARGE), (415, Reason.REFUSED_TYPE), (422, Reason.REFUSED)],
)
def test_refusals_have_their_reason(status: int, reason: Reason) -> None:
    """What is the receipt's own fault carries its reason."""
    outcome = outcome_of(Answer(status, {}, "", 0.1), NOW)
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason


@pytest.mark.parametrize("status", [*range(300, 309), *range(400, 432), *range(500, 512)])
def test_only_unclear_answers_may_become_the_receipts_own(status: int) -> None:
    """What certainly says nothing of the receipt is never counted against it, whatever passes beside it."""
    certain = {*range(300, 400), 401, 403, 404, 405, 407, 408, 410, 425, 429, 502, 503, 504}
    outcome = outcome_of(Answer(status, {}, "", 0.1), NOW)
    if isinstance(outcome, Deferred):
        assert outcome.is_ambiguous == (status not in certain)
    else:
        assert status in {413, 415, 422}


def test_long_answers_are_cut() -> None:
    """An answer is shown on one line and in bounds."""
    outcome = outcome_of(Answer(500, {}, "a\n" * 5000, 0.1), NOW)
    assert "\n" not in outcome.message
    assert len(outcome.message) < 700


@pytest.mark.parametrize("error", [NotSentError("no connection: refused"), AnswerLostError("no answer")])
def test_errors_of_the_connection_are_outcomes(tmp_path: Path, error: Exception) -> None:
    """Without an answer the outcome says whether it was certainly not sent, in the words of the error."""
    outcome = deliver(n8n_by(FakeOutbound(error)), *receipt(tmp_path, b"abc"))
    assert isinstance(outcome, Deferred if isinstance(error, NotSentError) else Lost)
    assert str(error) in outcome.message
