"""The merged values as a tree of groups and lists."""

from __future__ import annotations

from collections.abc import Iterator
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
