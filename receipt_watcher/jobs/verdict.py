"""N8N's word on a job: how it is read, from a callback or from an answer at once, and how the history keeps it.

What it promises: a verdict is exactly `status` `success` or `failure`, said once, be it in a wrapping of n8n's (see
`wrappings`); whatever else stands beside it costs no verdict, and is kept within bounds. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from receipt_watcher.jobs import wrapped_verdict

#: Limits of a verdict: a message is words, and nesting that we could parse may be too deep to be written again.
_MESSAGE_CHARACTERS = 10_000
_URL_CHARACTERS = 2_000
_MAX_DEPTH = 200

#: n8n counts its executions; other versions, and whoever stands in for it, use UUIDs and the like.
_EXECUTION_ID = re.compile("[A-Za-z0-9._:-]{1,100}")

#: The part of a verdict, or of what should have been one, that goes into a job's history.
KEPT_CHARACTERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of N8N about a job; `details` are the contract's `data`, as N8N sent them."""

    success: bool
    message: str | None = None
    notion_page_url: str | None = None
    details: Any = None
    execution_id: str | None = None


def parse_verdict(body: bytes | str) -> Verdict:
    """Read a callback's body, or an answer's, whatever n8n has wrapped it in.

    Raises:
        ValueError: it is no verdict; the text says what it should be.
    """
    return verdict_in(wrapped_verdict.read(body))


def verdict_in(content: Any) -> Verdict:
    """Return the verdict that JSON holds, without its wrappings.

    Raises:
        ValueError: it holds none; the text says what it should be.
    """
    status = wrapped_verdict.status_of(content)
    if status not in ("success", "failure"):
        raise ValueError('The body must be a JSON object with "status": "success" or "failure".')
    if _is_deep(content):
        raise ValueError(f"The body is nested deeper than {_MAX_DEPTH} levels.")
    return Verdict(
        success=status == "success",
        message=_as_text(content.get("message")),
        notion_page_url=_as_url(content.get("notion_page_url")),
        details=content.get("data"),
        execution_id=execution_id_of(content.get("execution_id")),
    )


def in_words(verdict: Verdict) -> str:
    """Return a verdict as the history keeps it: what N8N sent, bounded."""
    fields = {
        "status": "success" if verdict.success else "failure",
        "message": verdict.message,
        "notion_page_url": verdict.notion_page_url,
        "data": verdict.details,
        "execution_id": verdict.execution_id,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None})[:KEPT_CHARACTERS]


def execution_id_of(content: object) -> str | None:
    """Return an execution's id as N8N said it, a number or a text, where it is one that can be kept and shown."""
    text = str(content) if isinstance(content, str | int) and not isinstance(content, bool) else ""
    return text if _EXECUTION_ID.fullmatch(text) else None


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
    return bool(level)


def _inside(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def _as_text(message: Any) -> str | None:
    """Workflows put anything into `message`; a verdict is not lost for that. Lone surrogates cannot be stored."""
    if message is None:
        return None
    text = message if isinstance(message, str) else json.dumps(message)
    if len(text) > _MESSAGE_CHARACTERS:
        text = text[: _MESSAGE_CHARACTERS - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def _as_url(url: Any) -> str | None:
    is_usable = isinstance(url, str) and url.isprintable() and len(url) <= _URL_CHARACTERS
    return url if is_usable else None
