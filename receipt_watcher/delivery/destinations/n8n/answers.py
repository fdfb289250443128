"""The meaning of an answer of N8N with a status of 2xx, by `n8n.accept`.

What it promises: a status alone is never an acceptance, since n8n's start-up page comes with 200. What certainly was
not taken is deferred. What may have started a workflow, but is not the answer that was agreed on, is a lost answer.
Only in the modes that are asked for it (`last_node`, `respond`) is an answer the verdict, wrapped as n8n's nodes do or
cut behind it. JSON without a verdict proves there that the workflow ran: it is unreadable, and sending the receipt
again could book it twice. n8n's own "Workflow was started" is an acceptance in each mode.

Pure; called by the delivery workers.
"""

from __future__ import annotations

import json
import re
from typing import Any

from receipt_watcher.config.sections.sending import ANSWERING_MODES, Accept
from receipt_watcher.delivery.destinations import Accepted, Concluded, Deferred, Lost, Outcome, Unreadable
from receipt_watcher.delivery.destinations.http_client import Answer
from receipt_watcher.jobs import wrapped_verdict
from receipt_watcher.jobs.verdict import KEPT_CHARACTERS, Verdict, verdict_in

AUTO = Accept(mode="auto")

_SHOWN_CHARACTERS = 500
_PAGES = ("<!doctype html", "<html")
#: Pages that no workflow makes: logins, servers without a site, maintenance.
_KNOWN_PAGE = re.compile(
    r"\b(log|sign)[ -]?[io]n\b|<input[^>]{0,200}password|\banmeld|\beinloggen\b|\bauthenticat|\bsingle sign|"
    r"\bmaintenance\b|\bwartung|\bwelcome to nginx\b|\bit works!|\bdefault (web )?page\b|\bcannot (get|post) /",
    re.IGNORECASE,
)
_STARTED = "Workflow was started"
_NOTHING = object()


def outcome_of_success(answer: Answer, accept: Accept) -> Outcome:
    """Say what an answer with a status of 2xx means."""
    shown = shown_answer(answer)
    parsed = _json_of(answer)
    if parsed is _NOTHING and "n8n is starting up" in answer.text:
        return Deferred("N8N is still starting up and did not take the receipt", answer.status)
    is_answering = accept.mode in ANSWERING_MODES
    if is_answering and (verdict := _verdict_of(answer)) is not None:
        return Concluded(verdict, shown, answer.status)
    if _is_agreed_on(answer, parsed, accept):
        return Accepted(shown, answer.status)
    if _is_page(answer, parsed) and _KNOWN_PAGE.search(answer.text):
        return Deferred(
            f"a web page came instead of an answer of the webhook ({shown}); is n8n.webhook_url right, "
            "and no login page before it?",
            answer.status,
        )
    return _not_agreed_on(answer, parsed, shown, is_answering=is_answering)


def _not_agreed_on(answer: Answer, parsed: Any, shown: str, *, is_answering: bool) -> Outcome:
    """Say what an answer means that is neither what was agreed on nor a page that is known."""
    if is_answering and parsed is not _NOTHING:
        words = 'no "status": "success" or "failure" is in it; compare it with what the workflow is to answer'
        return Unreadable(f"N8N answered {shown}; {words}", answer.text[:KEPT_CHARACTERS], answer.status)
    if is_answering:
        return Lost(f"N8N answered {shown}, which is no verdict; the workflow may have run", answer.status)
    return Lost(
        f"N8N answered {shown}, which n8n.accept does not know as an acceptance; the workflow may have started, so the "
        "callback is awaited. Compare n8n.accept with «Respond» in the webhook node",
        answer.status,
    )


def _is_agreed_on(answer: Answer, parsed: Any, accept: Accept) -> bool:
    """Return whether an answer is, without a look at a verdict in it, the acceptance that `accept` names."""
    is_started = isinstance(parsed, dict) and parsed.get("message") == _STARTED
    match accept.mode:
        case "auto":
            return not _is_page(answer, parsed) and not answer.is_broken
        case "immediately" | "last_node" | "respond":
            return is_started
        case "any_2xx":
            return True
        case None:
            return _meets(answer, parsed, accept)


def shown_answer(answer: Answer) -> str:
    """Return an answer on one line, in bounds, and where it was cut."""
    text = " ".join(answer.text.split())
    shown = f"{answer.status} {text[:_SHOWN_CHARACTERS]}".strip()
    return f"{shown} (cut: {answer.cut})" if answer.cut else shown


def _verdict_of(answer: Answer) -> Verdict | None:
    """Return the verdict that an answer holds; of one that was cut, what stands in front of the cut."""
    try:
        return verdict_in(wrapped_verdict.read(answer.text))
    except ValueError:
        if not answer.cut and not wrapped_verdict.is_cut_json(answer.text):
            return None
    try:
        return verdict_in(wrapped_verdict.read_beginning(answer.text))
    except ValueError:
        return None


def _json_of(answer: Answer) -> Any:
    try:
        return json.loads(answer.text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return _NOTHING


def _is_page(answer: Answer, parsed: Any) -> bool:
    """Return whether it is a page that a person is to read; n8n says text/html of JSON and of words, too."""
    beginning = answer.text.lstrip()[:15].lower()
    is_said = answer.headers.get("content-type", "").startswith("text/html") and beginning.startswith("<")
    return parsed is _NOTHING and (is_said or beginning.startswith(_PAGES))


def _meets(answer: Answer, parsed: Any, accept: Accept) -> bool:
    """Return whether an answer meets the admin's own rule, in each of its parts."""
    if accept.status is not None and answer.status != accept.status:
        return False
    if accept.json_path is None:
        return accept.contains is None or accept.contains in answer.text
    selected = _at(parsed, accept.json_path)
    if accept.contains is None:
        return selected is not _NOTHING and bool(selected)
    return selected is not _NOTHING and accept.contains in (
        selected if isinstance(selected, str) else json.dumps(selected)
    )


def _at(value: Any, path: str) -> Any:
    """Return what stands at a path such as $.items[0].state."""
    for name, number in re.findall(r"([^.\[\]$]+)|\[(\d+)\]", path):
        if number and isinstance(value, list) and int(number) < len(value):
            value = value[int(number)]
        elif name and isinstance(value, dict) and name in value:
            value = value[name]
        else:
            return _NOTHING
    return value
