"""Sentences of the log, made from the words and the fields of events.

What it promises: the journal, the console, the catalog that `journalctl -x` shows, and the README say the same words
for the same event. Whatever is put into a sentence, it is one line of printable text: no name steers a terminal. Each
event has an id that follows from its name alone, so it stays the same over versions and machines.

Pure; any thread may call it.
"""

from __future__ import annotations

import functools
import os
import re
import textwrap
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from receipt_watcher.service.logging.event_words import Sentence
from receipt_watcher.service.logging.events import SENTENCES
from receipt_watcher.system.display import printable

#: The namespace of the ids of events: never to be changed, or filters and catalogs of admins would miss them.
_NAMESPACE = uuid.UUID("6f1c9a3e-5d0b-4c86-9b1e-2a7f4d8e0c53")

#: Longest value in a sentence; the field beside it has it whole. Names are never cut. By taste.
_MOST_CHARACTERS = 500


# --- sentences -----------------------------------------------------------------------------------------------------

_PART = re.compile(r"\[(?P<optional>[^\[\]]*)\]|\{(?P<field>\w+)\}")
_FIELD = re.compile(r"\{(\w+)\}")


def sentence_of(event: str, fields: Mapping[str, Any]) -> str | None:
    """Return the sentence for an event with these fields, in one line; None for an event that has none."""
    sentence = SENTENCES.get(event)
    if sentence is None:
        return None

    def fill(part: re.Match[str]) -> str:
        if part["field"] is not None:
            return _shown(part["field"], fields) or "?"
        if any(not _shown(name, fields) for name in _FIELD.findall(part["optional"])):
            return ""
        return _FIELD.sub(lambda match: _shown(match[1], fields), part["optional"])

    return _PART.sub(fill, sentence.text)


def fields_said(event: str) -> frozenset[str]:
    """Return the fields that the sentence of an event has room for."""
    return frozenset(_FIELD.findall(SENTENCES[event].text)) if event in SENTENCES else frozenset()


def _shown(name: str, fields: Mapping[str, Any]) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    form = _FORMS.get(name) or (_duration if name.endswith("seconds") else _plain)
    return form(value)


def _plain(value: Any) -> str:
    text = printable(str(value).strip().removesuffix("."))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _name(value: Any) -> str:
    """A name with a blank is quoted: else it could read like the rest of the sentence."""
    text = printable(os.fspath(value) if isinstance(value, os.PathLike) else str(value))
    if " " not in text and '"' not in text:
        return text
    return '"' + text.replace('"', '\\"') + '"'


_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def _duration(value: Any) -> str:
    """Say seconds as a person would."""
    if not isinstance(value, int | float):
        return _plain(value)
    size = abs(value)
    if size < 10:  # noqa: PLR2004 - from here on a tenth is no news
        return f"{value:.1f} s"
    if size < 2 * _MINUTE:
        return f"{value:.0f} s"
    if size < 2 * _HOUR:
        return f"{value / _MINUTE:.0f} min"
    return f"{value / _HOUR:.0f} h" if size < 2 * _DAY else f"{value / _DAY:.0f} days"


def _bytes(value: Any) -> str:
    if not isinstance(value, int):
        return _plain(value)
    if value < 1000:  # noqa: PLR2004 - the unit's
        return f"{value} bytes"
    return f"{value / 1e3:.0f} kB" if value < 1e6 else f"{value / 1e6:.1f} MB"  # noqa: PLR2004 - likewise


def _repeated(value: Any) -> str:
    """One attempt is no news."""
    return "" if value in (0, 1) else _plain(value)


_STATUS_WORDS = {"success": "succeeded", "failure": "failed", "duplicate": "is a copy", "cancelled": "was cancelled"}

_FORMS: dict[str, Callable[[Any], str]] = {
    "filename": _name,
    "path": _name,
    "size": _bytes,
    "bytes": _bytes,
    "attempts": _repeated,
    "status": lambda value: _STATUS_WORDS.get(str(value)) or _plain(value),
}


# --- the catalog ---------------------------------------------------------------------------------------------------


@functools.cache
def message_id(event: str) -> str:
    """Return the MESSAGE_ID of an event: 32 hexadecimal digits that follow from its name."""
    return uuid.uuid5(_NAMESPACE, event).hex


def catalog() -> str:
    """Return the file that `journalctl -x` takes its explanations from."""
    head = "# What journalctl -x says of the lines of receipt-watcher. Made by python -m tests.docs_tables.\n"
    return head + "".join(_explanation(event, sentence) for event, sentence in sorted(SENTENCES.items()))


def _explanation(event: str, sentence: Sentence) -> str:
    body = [f"What to do: {sentence.advice}"]
    if event.startswith("job."):  # each of these lines bears the job's id
        body.append("All about this receipt: receipt-watcher show @RECEIPT_JOB@")
    wrapped = "\n".join(textwrap.fill(line.replace("`", ""), 78) for line in body)
    return (
        f"\n-- {message_id(event)}\n"
        f"Subject: {sentence.meaning.removesuffix('.').replace('`', '')}\n"
        "Defined-By: receipt-watcher\n"
        "Documentation: man:receipt-watcher(1)\n"
        f"\nThe event {event}.\n{wrapped}\n"
    )
