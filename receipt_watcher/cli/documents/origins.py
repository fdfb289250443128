"""The configuration in force as YAML, with where each value comes from beside it.

What it promises: the text is YAML that reads back as the values; what it is given as secret stays as it is given.
Pure: nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import yaml

from receipt_watcher.config.sections.section import Key
from receipt_watcher.config.sources.tree import is_group, options_of, parts_of

Origin = Callable[[Key], str]


def options_with_origins(shown: object, origin_of: Origin) -> Iterator[tuple[Key, object, str]]:
    """Yield each single value with its key and its origin."""
    for key, value in options_of(shown):
        yield key, value, origin_of(key)


def lines_with_origins(shown: Mapping[str, object], origin_of: Origin, key: Key = ()) -> Iterator[str]:
    """Yield it as lines of YAML, the origins as comments."""
    for name, value in shown.items():
        inner, indent = (*key, name), "  " * len(key)
        if not is_group(value):
            yield f"{indent}{_scalar(name)}: {_scalar(value)}  # {origin_of(inner)}"
            continue
        yield f"{indent}{_scalar(name)}:"
        if isinstance(value, Mapping):
            yield from lines_with_origins(value, origin_of, inner)
        else:
            for number, item in parts_of(value):
                first, *others = lines_with_origins(item, origin_of, (*inner, number))
                yield f"{indent}  - {first.lstrip()}"
                yield from others


def _scalar(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")
