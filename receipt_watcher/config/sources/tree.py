"""The merged values as a tree of groups and lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from receipt_watcher.config.sections.section import Key

#: In the place of a value: take the key away.
DROP = object()


def given_at(branch: Any, known: Key, above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield what the tree holds for an option: its keys, with numbers of inboxes for 0, and values."""
    if not known:
        yield above, branch
    elif known[0] == 0 and isinstance(branch, list):
        for number, inner in enumerate(branch):
            yield from given_at(inner, known[1:], (*above, number))
    elif isinstance(branch, dict) and known[0] in branch:
        yield from given_at(branch[known[0]], known[1:], (*above, known[0]))


def with_value(branch: Any, key: Key, value: object) -> Any:
    """Return a copy of `branch` with `value` at `key`; where it is of another shape, it is left to validation."""
    if not key:
        return value
    head, rest = key[0], key[1:]
    if branch is None:
        branch = [] if isinstance(head, int) else {}
    if isinstance(head, int) and isinstance(branch, list):
        items = [*branch, None] if head == len(branch) else [*branch]
        items[head] = with_value(items[head], rest, value)
        return items
    if isinstance(head, str) and isinstance(branch, dict):
        inner = with_value(branch.get(head), rest, value)
        return {name: each for name, each in {**branch, head: inner}.items() if each is not DROP}
    return branch


def options_of(group: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield each single value of options as JSON takes them, with its key."""
    for name, value in parts_of(group):
        if is_group(value):
            yield from options_of(value, (*key, name))
        else:
            yield (*key, name), value


def parts_of(group: Any) -> Iterator[tuple[str | int, Any]]:
    """Yield the parts of a group or list, with their names or numbers."""
    yield from group.items() if isinstance(group, Mapping) else enumerate(group)


def is_group(value: object) -> bool:
    """Return whether the parts of a value have origins of their own."""
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
