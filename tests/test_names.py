"""The names of the code: words that say nothing, metaphors, and verbs that do not say what is done."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_layout import Module, all_modules, trees_are_dropped

__all__ = ["trees_are_dropped"]  # a fixture: the trees of all modules are dropped after these tests, too

#: Words that say nothing, and why a name may have one all the same.
EMPTY_WORDS = {"manager", "helper", "helpers", "util", "utils", "handle", "handler", "process", "data"}
EXCUSED_NAMES = {
    "data_received": "asyncio calls it so",
    "handle_request": "httpx calls it so",
    "process": "a process of the operating system",
    "ReachAnswer": "clients of the API know it from the OpenAPI document",
}

#: Metaphors, which a reader has to be told the meaning of, and verbs that alone do not say what is done.
METAPHORS = {
    *("bereft", "crowd", "envelope", "ground", "handhold", "handholds", "onecore", "reach", "scene"),
    *("stranger", "strangers", "vigil"),
}
VAGUE_VERBS = {"bring", "go_on", "hear", "keep", "look", "say", "tell"}


def is_empty(name: str) -> bool:
    """Return whether a name has a word that says nothing, and no excuse."""
    return bool(words_of(name) & EMPTY_WORDS) and name not in EXCUSED_NAMES


def words_of(name: str) -> set[str]:
    """Return the words of a name, be it in snake case or in camel case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_in(module: Module) -> Iterator[str]:
    """Yield the names that a module gives: its own, and those of its classes, functions and their arguments."""
    yield from module.name.split(".")
    for node in module.nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def test_names_say_something() -> None:
    """No module, class, function or argument has a name that would fit any other as well."""
    empty = {(name, given) for name, module in all_modules().items() for given in names_in(module) if is_empty(given)}
    assert empty == set()


def identifiers(module: Module) -> Iterator[str]:
    """Yield all names of a module: those that it gives, and its variables and attributes."""
    yield from names_in(module)
    for node in module.nodes:
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def test_names_are_no_metaphors() -> None:
    """A name says what a thing is, not what it is like."""
    assert [
        (name, word) for name, module in all_modules().items() for word in identifiers(module) if is_image(word)
    ] == []


def is_image(name: str) -> bool:
    """Return whether a name has a word that is a metaphor."""
    return bool(words_of(name) & METAPHORS) and name not in EXCUSED_NAMES


def test_functions_say_what_they_do() -> None:
    """No function is named by a verb alone that fits any other as well; what tells says how: it logs, or notifies."""
    vague = {
        (name, function.name)
        for name, module in all_modules().items()
        for function in module.functions()
        if (verb := function.name.strip("_")) in VAGUE_VERBS or verb.startswith("tell_")
    }
    assert vague == set()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("handle_callback", {"handle", "callback"}),
        ("JobManager", {"job", "manager"}),
        ("HTTPHandler2", {"http", "handler"}),
        ("notion_database_id", {"notion", "database", "id"}),
        ("dataclass", {"dataclass"}),
    ],
)
def test_words_are_whole(name: str, words: set[str]) -> None:
    """A name is judged by its whole words: «database» is not «data»."""
    assert words_of(name) == words


def test_a_class_name_has_one_meaning() -> None:
    """No two modules have a public class of the same name: a reader who knows one would misread the other."""
    homes: dict[str, set[str]] = {}
    for name, module in all_modules().items():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(name)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}
