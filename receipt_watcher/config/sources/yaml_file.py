"""Read YAML whose scalars stay texts, and say what is wrong with it in words for an admin."""

from __future__ import annotations

import re
from typing import Any

import yaml

from receipt_watcher.config.consistency import first_word
from receipt_watcher.config.sections.section import Key
from receipt_watcher.config.values import Unquoted

#: Options of one group, after merges (<<). By taste: no configuration comes near it.
_MOST_MERGED = 10_000


class _Loader(yaml.SafeLoader):
    """YAML whose scalars stay texts, and which notes keys that are there twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[tuple[str, int]] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                self.repeated.append((name, key.start_mark.line + 1))
            seen.add(name)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_MERGED:  # each merge of merges doubles them, until memory and time are over
            raise yaml.constructor.ConstructorError(problem_mark=node.start_mark)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if re.search("[\ud800-\udfff]", str(value)):  # half a character: an escape that no text can hold
            raise yaml.constructor.ConstructorError(problem_mark=node.start_mark)
        return value


def _unquoted(loader: _Loader, node: yaml.ScalarNode) -> Unquoted:
    return Unquoted(loader.construct_scalar(node))


for _tag in ("int", "float", "bool", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _unquoted)
# YAML 1.2 reads 1e5 as a number, PyYAML (1.1) does not; the admin's next tool may.
_NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)(e[-+]?\d+)?$", re.IGNORECASE)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, [*"-+.0123456789"])


def parsed(text: str, roots: list[yaml.Node] | None = None) -> tuple[Any, list[tuple[str, str, str]]]:
    """Return what `text` says in YAML, and its mistakes: where, what is wrong, what would be right.

    To `roots` the document is added, by which `_line_of` finds lines.

    PyYAML's own messages are not passed on: they quote the line, which may hold a secret.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        tree = None if root is None else loader.construct_document(root)
        if roots is not None and root is not None:
            roots.append(root)
    except RecursionError:
        return None, [("whole file", "is nested too deeply", "start from watcher.example.yaml")]
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        advice = "check indentation (spaces, no tabs), colons and quotes; text with any of * & ! % @ # : needs quotes"
        return None, [(_where(error, text), "cannot be read as YAML", advice)]
    again = [
        (f"line {line}", f'"{first_word(name)}" is there a second time', "keep one of them")
        for name, line in loader.repeated
    ]
    return tree, again


def line_of(key: Key, root: yaml.Node) -> int | None:
    """Return on which line a key stands, or what is above it; what merges brought stands where that was written."""
    node, line = root, None
    for part in key:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            entries = [(name, value) for name, value in node.value if str(name.value) == part]
            if not entries:
                break
            name, node = entries[-1]
            line = name.start_mark.line + 1
    return line


def _where(error: Exception, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position].split("\n")
        return f"line {len(before)}, column {len(before[-1]) + 1}"
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "whole file"
