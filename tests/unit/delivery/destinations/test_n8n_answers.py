"""Answers of N8N: acceptances, verdicts, and those that are neither."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.config.sections.sending import Accept
from receipt_watcher.delivery.destinations import Accepted, Concluded, Deferred, Lost, Outcome, Unreadable
from receipt_watcher.delivery.destinations.http_client import Answer
from receipt_watcher.delivery.destinations.n8n.answers import AUTO, outcome_of_success
from receipt_watcher.jobs.verdict import Verdict

JSON, HTML, TEXT = "application/json; charset=utf-8", "text/html; charset=utf-8", "text/plain"
STARTED = '{"message":"Workflow was started"}'
STARTING_UP = "<html><body>n8n is starting up. Please wait</body></html>"
LOGIN = "<!DOCTYPE html><title>Log in</title>"
MODES = ("auto", "immediately", "last_node", "respond", "any_2xx")
BOOKED = '{"status":"success","notion_page_url":"https://notion.example/1","data":{"total":12}}'


def by(accept: Accept | str, text: str, content_type: str = JSON, status: int = 200) -> Outcome:
    """Return what an answer means by a mode or a rule."""
    rule = Accept.model_validate({"mode": accept}) if isinstance(accept, str) else accept
    return outcome_of_success(Answer(status, {"content-type": content_type}, text, 0.1), rule)


RULES = [*MODES, Accept(status=200), Accept(contains="n8n"), Accept(json_path="message")]


@pytest.mark.parametrize("accept", RULES, ids=str)
@pytest.mark.parametrize(
    ("text", "content_type"),
    [(STARTING_UP, HTML), (STARTING_UP, ""), ("n8n is starting up. Please wait", TEXT), (STARTING_UP, JSON)],
)
def test_the_start_up_page_is_never_an_acceptance(accept: Accept | str, text: str, content_type: str) -> None:
    """Whatever the rule, n8n's start-up page with its status 200 means that nothing was taken."""
    outcome = by(accept, text, content_type)
    assert isinstance(outcome, Deferred)
    assert "did not take the receipt" in outcome.message


@pytest.mark.parametrize("accept", MODES)
def test_a_receipt_that_tells_of_a_start_is_no_start_up_page(accept: str) -> None:
    """JSON that quotes those words, as the text of a receipt might, is an answer like any other."""
    assert not isinstance(by(accept, '{"text":"n8n is starting up. Please wait"}'), Deferred)


#: The answers that n8n was seen to give, and what each mode makes of them.
ANSWERS: dict[str, tuple[str, str, tuple[type[Outcome], ...]]] = {
    # ...                                         auto,     immediately, last_node, respond, any_2xx
    "started": (STARTED, JSON, (Accepted, Accepted, Accepted, Accepted, Accepted)),
    "success": (BOOKED, JSON, (Accepted, Lost, Concluded, Concluded, Accepted)),
    "failure": ('{"status":"failure","message":"no total"}', JSON, (Accepted, Lost, Concluded, Concluded, Accepted)),
    "all entries": (f"[{BOOKED}]", JSON, (Accepted, Lost, Concluded, Concluded, Accepted)),
    "two entries": (f"[{BOOKED},{BOOKED}]", JSON, (Accepted, Lost, Unreadable, Unreadable, Accepted)),
    "last item": ('{"id":7}', JSON, (Accepted, Lost, Unreadable, Unreadable, Accepted)),
    "empty": ("", "", (Accepted, Lost, Lost, Lost, Accepted)),
    "words": ("OK", TEXT, (Accepted, Lost, Lost, Lost, Accepted)),
    "words as a page": ("OK", HTML, (Accepted, Lost, Lost, Lost, Accepted)),
    "a verdict as a page": (BOOKED, HTML, (Accepted, Lost, Concluded, Concluded, Accepted)),
    "another status": ('{"status":"received"}', JSON, (Accepted, Lost, Unreadable, Unreadable, Accepted)),
    "a status code": ('{"status":200}', JSON, (Accepted, Lost, Unreadable, Unreadable, Accepted)),
    "both": ('{"status":"success","status":"failure"}', JSON, (Accepted, Lost, Unreadable, Unreadable, Accepted)),
    "a form": ("status=success&message=booked", TEXT, (Accepted, Lost, Concluded, Concluded, Accepted)),
    "an item": (f'[{{"json":{BOOKED}}}]', JSON, (Accepted, Lost, Concluded, Concluded, Accepted)),
    "as a string": (json.dumps(BOOKED), JSON, (Accepted, Lost, Concluded, Concluded, Accepted)),
    "cut behind it": (BOOKED[:-1], JSON, (Accepted, Lost, Concluded, Concluded, Accepted)),
    "cut before it": (BOOKED[:12], JSON, (Accepted, Lost, Lost, Lost, Accepted)),
    "a page of its own": ("<html>Thank you!</html>", HTML, (Lost, Lost, Lost, Lost, Accepted)),
    "a server without a site": ("<html><h1>It works!</h1></html>", HTML, (Deferred,) * 4 + (Accepted,)),
    "login": (LOGIN, HTML, (Deferred, Deferred, Deferred, Deferred, Accepted)),
    "login without a type": (LOGIN, "", (Deferred, Deferred, Deferred, Deferred, Accepted)),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_each_mode_makes_of_an_answer(name: str) -> None:
    """Each mode has its meaning for each answer; only where it is asked for is a `status` the verdict."""
    text, content_type, expected = ANSWERS[name]
    assert tuple(type(by(mode, text, content_type)) for mode in MODES) == expected


def test_auto_is_the_default() -> None:
    """What is not configured is auto."""
    assert Accept(mode="auto") == AUTO


@pytest.mark.parametrize("mode", ["last_node", "respond"])
def test_a_verdict_has_all_that_a_callback_has(mode: str) -> None:
    """The verdict in an answer is read as that of a callback is; the attempt keeps the answer."""
    verdict = Verdict(success=True, notion_page_url="https://notion.example/1", details={"total": 12})
    assert by(mode, BOOKED) == Concluded(verdict, f"200 {BOOKED}", 200)


@pytest.mark.parametrize("mode", ["last_node", "respond"])
def test_an_answer_without_a_verdict_says_what_follows(mode: str) -> None:
    """JSON without a verdict proves that the workflow ran: the text says what is missing, and the answer is kept."""
    outcome = by(mode, '{"id":7}')
    assert isinstance(outcome, Unreadable)
    assert 'no "status"' in outcome.message
    assert outcome.text == '{"id":7}'


@pytest.mark.parametrize("mode", ["last_node", "respond"])
@pytest.mark.parametrize(
    "beginning", ['{"status":"success",', '{"status": "failure", "data": {"items": [1', f"[{BOOKED}"]
)
def test_a_verdict_in_front_of_a_cut_counts(mode: str, beginning: str) -> None:
    """Of an answer that was cut a verdict that stands whole in it counts, and the attempt says that it was cut."""
    rule = Accept.model_validate({"mode": mode})
    outcome = outcome_of_success(
        Answer(200, {"content-type": JSON}, beginning, 0.1, cut="it broke", is_broken=True), rule
    )
    assert isinstance(outcome, Concluded)
    assert outcome.verdict.success is ("success" in beginning)
    assert outcome.message.endswith("(cut: it broke)")


@pytest.mark.parametrize(
    "beginning",
    [
        '{"json": {"status": "success"}, "binary": {"receipt": {"data": "/9j/4AAQ',
        '[{"json": {"status": "success"}, "pairedItem": {"item": 0}',
        '[[{"status": "success"}]',
    ],
)
def test_a_verdict_counts_if_what_follows_leaves_it_whole(beginning: str) -> None:
    """Behind a verdict in a wrapping may stand what an item of n8n has beside it."""
    outcome = by("last_node", beginning)
    assert isinstance(outcome, Concluded)
    assert outcome.verdict.success


@pytest.mark.parametrize(
    "beginning",
    [
        '{"json": {"status": "success"}, "status": "failure", "message": "no tot',
        '{"json": {"status": "success"}, "error": {"message": "no tot',
        '{"body": {"status": "success"}, "json": {"status": "failure"}, "he',
        '[{"json": {"status": "success"}}, {"json": {"status": "failure"}, "pair',
        '[{"json": {"status": "success"}, "pairedItem": {"item": 0}}, {"json": {"stat',
        '[[{"status": "success"}], [{"status": "fail',
    ],
)
def test_a_verdict_in_a_wrapping_is_not_guessed_from_its_beginning(beginning: str) -> None:
    """Of a cut answer no verdict is read that the whole answer would not have given."""
    assert isinstance(by("last_node", beginning), Lost)


@pytest.mark.parametrize("mode", ["last_node", "respond", "auto", "immediately"])
@pytest.mark.parametrize("beginning", ["", "{", '{"status":"succ', '{"message": "Workflow was sta', '{"id": 7'])
def test_a_cut_answer_without_a_verdict_is_lost(mode: str, beginning: str) -> None:
    """An answer that broke off before it said anything is a lost answer, and is reported as cut."""
    rule = Accept.model_validate({"mode": mode})
    outcome = outcome_of_success(
        Answer(200, {"content-type": JSON}, beginning, 0.1, cut="it broke", is_broken=True), rule
    )
    assert isinstance(outcome, Lost)
    assert "(cut: it broke)" in outcome.message


@pytest.mark.parametrize("accept", ["immediately", Accept(status=202), Accept(contains="queued")], ids=str)
def test_what_was_not_agreed_on_is_not_sent_again_at_once(accept: Accept | str) -> None:
    """An answer that no rule knows may have started the workflow: it is lost, and says what to mend."""
    outcome = by(accept, '{"id":7}')
    assert isinstance(outcome, Lost)
    assert outcome.status_code == 200
    assert "n8n.accept" in outcome.message


@pytest.mark.parametrize(
    ("rule", "text", "status", "is_met"),
    [
        ({"status": 202}, "", 202, True),
        ({"status": 202}, "", 200, False),
        ({"contains": "queued"}, "It is queued.", 200, True),
        ({"contains": "queued"}, "It is not.", 200, False),
        ({"status": 201, "contains": "queued"}, "It is queued.", 200, False),
        ({"json_path": "ok"}, '{"ok":true}', 200, True),
        ({"json_path": "$.ok"}, '{"ok":1}', 200, True),
        ({"json_path": "ok"}, '{"ok":false}', 200, False),
        ({"json_path": "ok"}, '{"ok":null}', 200, False),
        ({"json_path": "ok"}, "{}", 200, False),
        ({"json_path": "ok"}, "", 200, False),
        ({"json_path": "ok"}, '"ok"', 200, False),
        ({"json_path": "$.items[1].state", "contains": "taken"}, '{"items":[{},{"state":"taken"}]}', 200, True),
        ({"json_path": "$.items[1].state", "contains": "taken"}, '{"items":[{"state":"taken"}]}', 200, False),
        ({"json_path": "$.items[1].state", "contains": "taken"}, '{"items":{"1":{"state":"taken"}}}', 200, False),
        ({"json_path": "$[0].n", "contains": "7"}, '[{"n":7}]', 200, True),
        ({"json_path": "n", "contains": ""}, '{"n":0}', 200, True),
        ({"json_path": "state", "contains": "taken"}, '{"note":"taken","state":"refused"}', 200, False),
    ],
)
def test_a_rule_of_ones_own(rule: dict[str, Any], text: str, status: int, is_met: bool) -> None:
    """A rule names the status, a place in the JSON, a text, or several of them, which must all be so."""
    outcome = by(Accept.model_validate(rule), text, status=status)
    assert isinstance(outcome, Accepted if is_met else Lost)


def test_a_page_that_meets_the_rule_is_taken() -> None:
    """A workflow may answer with a page: where the admin's own rule says so it is an acceptance, else it is not one."""
    assert isinstance(by(Accept(contains="Thanks"), "<html>Thanks!</html>", HTML), Accepted)
    assert isinstance(by(Accept(contains="Thanks"), LOGIN, HTML), Deferred)


@given(
    st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)),
    st.sampled_from([*RULES, Accept(json_path="$.a[0].b", contains="x")]),
    st.integers(200, 299),
)
def test_no_answer_breaks_it(text: str, accept: Accept | str, status: int) -> None:
    """Whatever N8N answers, there is an outcome, with the answer's status and a bounded text."""
    outcome = by(accept, text, status=status)
    assert outcome.status_code == status
    assert len(outcome.message) < 1000
    assert not isinstance(outcome, Concluded)


def test_nesting_without_end_is_no_verdict() -> None:
    """An answer that is nested too deeply to be read is no verdict, and breaks nothing."""
    assert isinstance(by("respond", "[" * 100_000), Lost)
