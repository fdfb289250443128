"""The options in words, and watcher.example.yaml, which is written from the models.

What it promises: `example_yaml` has every option with its description, its default and its bounds; `load` takes it
as it is, and it changes no default. Values that are given take the examples' places, quoted so that YAML reads them
back as they were; one for an option that does not exist is a ValueError, never dropped. `rule_of` says what an
option may be, in the same words for the example and for messages.

Any thread may call it: pure functions over the models. Nothing is read or written here (whoever calls writes the
file), so a crash leaves nothing behind.
"""

from __future__ import annotations

import itertools
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from receipt_watcher.config.options import Config, Inbox, Key, Section

_UNITS = {
    "seconds": " of seconds",
    "minutes": " of minutes",
    "mb": " of MiB",
    "megapixels": " of megapixels",
    "days": " of days",
}
_LISTS = {"cors_origins": '"https://desk.office.lan"', "trusted_proxies": '"127.0.0.1", "10.0.0.0/24"'}
_EXAMPLE_HEAD = """\
# receipt-watcher: every option with its default. Those with … have none, or follow from others.
# Each can also be set in the environment, for example RECEIPT_WATCHER_N8N__WORKERS=8."""


def example_yaml(values: Mapping[str, object] | None = None) -> str:
    """Return a commented file with every option; `values` (`n8n.api_key`, `inboxes.0.path`) replace its examples."""
    given = {key: value for key, value in (values or {}).items() if value is not None}
    known = {".".join(map(str, key)) for key in known_keys(Config)}
    if wrong := [key for key in given if re.sub(r"^inboxes\.\d+\.", "inboxes.0.", key) not in known]:
        raise ValueError(f"no such option: {', '.join(wrong)}")
    blocks = [_EXAMPLE_HEAD]
    for name, field in Config.model_fields.items():
        section = model_of(field)
        if section is None:
            blocks.append("\n".join(_option_lines("", name, field, given)))
        elif section is Inbox:
            numbers = sorted({0} | {int(key.split(".")[1]) for key in given if key.startswith("inboxes.")})
            items = [_inbox_lines(f"inboxes.{number}.", given) for number in numbers]
            blocks.append(f"# {field.description}\n{name}:\n" + "\n\n".join(items))
        else:
            lines = [_option_lines(f"{name}.", *option, given, "  ") for option in section.model_fields.items()]
            blocks.append("\n".join([f"# {field.description}", f"{name}:", *itertools.chain(*lines)]))
    return "\n\n".join(blocks) + "\n"


def _inbox_lines(prefix: str, given: Mapping[str, object]) -> str:
    lines = [_option_lines(prefix, *option, given, "    ") for option in Inbox.model_fields.items()]
    comment, first, *others = itertools.chain(*lines)
    return "\n".join([comment.replace("    ", "  ", 1), first.replace("    ", "  - ", 1), *others])


def _option_lines(
    prefix: str, name: str, field: FieldInfo, given: Mapping[str, object], indent: str = ""
) -> tuple[str, str]:
    default = field.default if field.default_factory is None else None
    value = given.get(prefix + name, field.examples[0] if field.examples else default)
    text = f"# {name}: …" if value is None else f"{name}: {_scalar(value)}"
    rule = rule_of(name, field)
    beside = f"  # {rule}" if re.match("one of|a number|a whole", rule) else ""
    return f"{indent}# {field.description}", f"{indent}{text}{beside}"


def _scalar(value: object) -> str:
    """Return `value` as YAML; only words and paths that nothing can misread go without quotes."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)  # JSON is YAML
    if isinstance(value, tuple):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    plain = re.fullmatch(r"[a-z/](?:[\w/.:-]*[\w/.-])?", text, re.ASCII)
    if plain and text not in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}:
        return text
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9).strip()


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
    """Whether the option is a group whose names the admin chooses."""
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
