"""What an answer of N8N with a status of 2xx means, by `n8n.accept`.

What it promises: a status alone is never an acceptance, since n8n's start-up page comes with 200. What certainly was
not taken is deferred. What may have started a workflow, but is not the answer that was agreed on, is a lost answer: its
callback is awaited before anything is sent again. Only in the modes that are asked for it (`last_node`, `respond`) is
an answer with `status` the verdict; an answer without one is taken as an acceptance, and the callback awaited: failing
the receipt would fail every receipt for one mistake in the workflow, and sending it again could book it twice.

Pure; called by the delivery workers.
"""

from __future__ import annotations

import json
import re
from typing import Any

from receipt_watcher.config import Accept
from receipt_watcher.destinations import Accepted, Concluded, Deferred, Lost, Outcome
from receipt_watcher.outbound import Answer
from receipt_watcher.verdict import read_json, verdict_in

AUTO = Accept(mode="auto")

_SHOWN_CHARACTERS = 500
_PAGES = ("<!doctype html", "<html")
_STARTED = "Workflow was started"
_NOTHING = object()


def outcome_of_success(answer: Answer, accept: Accept) -> Outcome:
    """Say what an answer with a status of 2xx means."""
    shown = shown_answer(answer)
    said = _json_of(answer)
    if said is _NOTHING and "n8n is starting up" in answer.text:
        return Deferred("N8N is still starting up and did not take the receipt", answer.status)
    if _is_agreed_on(answer, said, accept):
        return Accepted(shown, answer.status)
    if _is_page(answer):
        return Deferred(
            f"a web page came instead of an answer of the webhook ({shown}); is n8n.webhook_url right, "
            "and no login page before it?",
            answer.status,
        )
    if accept.mode in ("last_node", "respond"):
        return _verdict_or_acceptance(answer, said)
    return Lost(
        f"N8N answered {shown}, which n8n.accept does not know as an acceptance; the workflow may have started, so the "
        "callback is awaited. Compare n8n.accept with «Respond» in the webhook node",
        answer.status,
    )


def _is_agreed_on(answer: Answer, said: Any, accept: Accept) -> bool:
    """Whether an answer is, without a look at a verdict in it, the acceptance that `accept` names."""
    match accept.mode:
        case "auto":
            return not _is_page(answer)
        case "immediately":
            return isinstance(said, dict) and said.get("message") == _STARTED
        case "any_2xx":
            return True
        case None:
            return _meets(answer, said, accept)
        case "last_node" | "respond":
            return False


def shown_answer(answer: Answer) -> str:
    """Return an answer on one line, in bounds."""
    text = " ".join(answer.text.split())
    return f"{answer.status} {text[:_SHOWN_CHARACTERS]}".strip()


def _verdict_or_acceptance(answer: Answer, said: Any) -> Outcome:
    """Read the verdict; n8n's «All entries» is a list, which has one for one receipt."""
    item = said[0] if isinstance(said, list) and len(said) == 1 else said
    shown = shown_answer(answer)
    try:
        return Concluded(verdict_in(item), shown, answer.status)
    except ValueError:
        words = 'without "status": "success" or "failure", so the callback is awaited'
        return Accepted(f"{shown} ({words})", answer.status)


def _json_of(answer: Answer) -> Any:
    try:
        return read_json(answer.text)
    except ValueError:
        return _NOTHING


def _is_page(answer: Answer) -> bool:
    """Whether it is a page that a person is to read."""
    beginning = answer.text.lstrip()[:15].lower()
    return answer.headers.get("content-type", "").startswith("text/html") or beginning.startswith(_PAGES)


def _meets(answer: Answer, said: Any, accept: Accept) -> bool:
    """Whether an answer meets the admin's own rule, in each of its parts."""
    if accept.status is not None and answer.status != accept.status:
        return False
    if accept.json_path is None:
        return accept.contains is None or accept.contains in answer.text
    found = _at(said, accept.json_path)
    if accept.contains is None:
        return found is not _NOTHING and bool(found)
    return found is not _NOTHING and accept.contains in (found if isinstance(found, str) else json.dumps(found))


def _at(said: Any, path: str) -> Any:
    """Return what stands at a path such as $.items[0].state."""
    for name, number in re.findall(r"([^.\[\]$]+)|\[(\d+)\]", path):
        if number and isinstance(said, list) and int(number) < len(said):
            said = said[int(number)]
        elif name and isinstance(said, dict) and name in said:
            said = said[name]
        else:
            return _NOTHING
    return said
