"""Mistakes in values, in words for an admin: what is wrong, and what would be right."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from receipt_watcher.config.consistency import dotted, first_word
from receipt_watcher.config.fields import is_mapping, kind_of, known_keys, model_of, rule_of
from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import masked
from receipt_watcher.config.sections.section import Key, Section


def explained(error: ErrorDetails) -> tuple[str, str]:
    """Return what is wrong and what would be right, in words for an admin."""
    key, value = error["loc"], error["input"]
    field = field_at(key)
    if field is None:
        return "is no option", _nearest(key)
    is_item = isinstance(key[-1], int) and model_of(field) is not None
    rule = "options, one a line, indented below the -" if is_item else rule_of(_last_name(key), field)
    if error["type"] == "missing":
        return "is missing", f"give {rule}"
    if kind_of(field.annotation) is SecretStr or not isinstance(value, str | Path):
        shape: dict[type[Any], str] = {dict: "a group of options", list: "a list" if value else "an empty list"}
        subject = shape.get(type(value), "the value")
    elif model_of(field) and error["type"] != "own":
        subject = "a single text"
    else:
        shown = json.dumps(masked(str(value)) if "url" in str(key[-1]) else str(value)[:80], ensure_ascii=False)
        subject = shown.encode("utf-8", "backslashreplace").decode()
    if error["type"] == "own":
        return f"{subject} {error['ctx']['wrong']}", error["ctx"]["right"]
    return f"{subject} cannot be used", f"give {rule}"


def _last_name(key: Key) -> str:
    return next(part for part in reversed(key) if isinstance(part, str))


def _nearest(key: Key) -> str:
    """Return which option was meant by the unknown `key`: one beside it, or the same name in another section."""
    above = field_at(key[:-1])
    section = (model_of(above) if above else None) or Config
    for near in difflib.get_close_matches(first_word(key[-1]), section.model_fields, 1):
        return f'did you mean "{near}"?'
    for known in sorted(known_keys(Config), key=lambda known: 0 in known):
        if known[-1] == key[-1]:
            return f'did you mean "{dotted(known)}"?'
    return f"the options here are {', '.join(section.model_fields)}"


def field_at(key: Key) -> FieldInfo | None:
    """Return the option that a key names, or None if there is none."""
    section: type[Section] | None = Config
    field = None
    names = iter(part for part in key if isinstance(part, str))
    for name in names:
        field = section.model_fields.get(name) if section else None
        section = model_of(field) if field else None
        if field and is_mapping(field):
            next(names, None)  # what the admin called it
    return field
