"""The options as fields: their keys, kinds, and rules in words."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.config.sections.section import Key, Section

_UNITS = {
    "seconds": " of seconds",
    "minutes": " of minutes",
    "mb": " of MiB",
    "megapixels": " of megapixels",
    "days": " of days",
}


def model_of(field: FieldInfo) -> type[Section] | None:
    """Return the section that the option is made of, or None where it is a value."""
    kind = kind_of(field.annotation)
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def kind_of(annotation: Any) -> Any:
    """Return what is left without `| None`, Annotated, tuple and the names of a group."""
    while (origin := typing.get_origin(annotation)) in {Annotated, tuple, dict, types.UnionType, typing.Union}:
        annotation = typing.get_args(annotation)[origin is dict]
    return annotation


def is_mapping(field: FieldInfo) -> bool:
    """Return whether the option is a group whose names the admin chooses."""
    return typing.get_origin(field.annotation) is dict


def known_keys(section: type[Section], above: Key = ()) -> Iterator[Key]:
    """Yield the keys of all options below `section`, with 0 for an inbox's number."""
    for name, field in section.model_fields.items():
        yield (*above, name)
        inner = model_of(field)
        if inner is Inbox:
            yield (*above, name, 0)
        if inner is not None and not is_mapping(field):
            yield from known_keys(inner, (*above, name, 0) if inner is Inbox else (*above, name))


def _bounds(annotation: Any, metadata: Sequence[Any]) -> Iterator[Any]:
    """Yield the bounds of a number; pydantic leaves those of `Seconds | None` inside the annotation."""
    yield from metadata
    for inner in typing.get_args(annotation):
        for each in getattr(inner, "__metadata__", ()):
            yield from getattr(each, "metadata", ())


def _rule_of_number(name: str, field: FieldInfo, noun: str) -> str:
    bounds = list(_bounds(field.annotation, field.metadata))
    low = next(bound.ge for bound in bounds if isinstance(bound, Ge))
    high = next(bound.le for bound in bounds if isinstance(bound, Le))
    return f"{noun}{_UNITS.get(name.rpartition('_')[2], '')} from {low} to {high}"


def rule_of(name: str, field: FieldInfo) -> str:
    """Return in words what the option may be."""
    kind = kind_of(field.annotation)
    if model_of(field):
        return _rule_of_group(name, field)
    choices = ", ".join(typing.get_args(kind)) if typing.get_origin(kind) is Literal else ""
    if kind is SecretStr and typing.get_origin(field.annotation) is tuple:
        return 'a list such as ["ntfys://ntfy.example.com/receipts"]'
    if typing.get_origin(field.annotation) is tuple:
        return f"""a list such as [{choices or _LISTS.get(name, '"*.bak", "old/"')}]"""
    if choices:
        return f"{'words, each with ' if is_mapping(field) else ''}one of {choices}"
    if kind in {int, float}:
        return _rule_of_number(name, field, "a whole number" if kind is int else "a number")
    return {bool: "true or false", Path: "a path such as /srv/receipts/inbox"}.get(kind, "a text")


def _rule_of_group(name: str, field: FieldInfo) -> str:
    if is_mapping(field) and name == "tokens":
        return "names, one a line, each with role and hash, as receipt-watcher token create prints them"
    if is_mapping(field):
        return "subfolders, one a line, each with its options or a database id or URL alone"
    if model_of(field) is Inbox:
        return "a list of one inbox or more, such as - path: /srv/receipts/inbox"
    return f"options, one a line, indented below {name}:"


_LISTS = {"cors_origins": '"https://desk.office.lan"', "trusted_proxies": '"127.0.0.1", "10.0.0.0/24"'}
