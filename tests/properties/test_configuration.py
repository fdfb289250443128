"""Configuration from whatever a file or the environment holds: it loads, or is a list of mistakes without a secret."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from receipt_watcher.cli.documents.example import example_yaml
from receipt_watcher.config.fields import known_keys
from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import redacted
from receipt_watcher.config.sources.load import load
from receipt_watcher.config.sources.merged import PREFIX, SHORT_NAMES
from receipt_watcher.errors import ConfigError

SECRET = "Tr0ub4dor-and-3-horses"
HOME = {"HOME": "/home/admin"}
EXAMPLE: dict[str, Any] = yaml.safe_load(
    example_yaml(
        {
            "inboxes.0.path": "/x/inbox",
            "n8n.webhook_url": f"https://n8n/hook?key={SECRET}",
            "n8n.api_key": SECRET,
            "callback.secret_token": SECRET,
            "notify.urls": f"ntfys://{SECRET}@ntfy.lan/receipts",
            "notify.webhook_url": f"https://hooks.lan/{SECRET}",
            "notify.heartbeat_url": f"https://hc.lan/{SECRET}",
        }
    )
)
OFTEN = settings(max_examples=100)


def judged(
    content: bytes, environ: Mapping[str, str] | None = None, *, is_in_place: bool = False
) -> Config | ConfigError:
    """Return the configuration of a file with this content, or what is wrong with it, either of which can be printed.

    Where the secrets are still in their places none is told.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "watcher.yaml")
        path.write_bytes(content)
        try:
            found: Config | ConfigError = load(path, {**HOME, **(environ or {})})
        except ConfigError as error:
            found = error
    text = _shown(found) if isinstance(found, ConfigError) else json.dumps(redacted(found)) + repr(found)
    text.encode()  # it can be printed
    assert not (is_in_place and SECRET in text)
    return found


def _shown(error: ConfigError) -> str:
    """Return what is told of mistakes: each with its source and what is wrong, and nothing behind them."""
    assert error.problems
    assert all(problem.source and problem.wrong for problem in error.problems)
    assert (error.__cause__, error.__context__) == (None, None)
    assert not any(SECRET in str(problem) for problem in error.problems if problem.wrong == "cannot be read as YAML")
    return str(error)


# --- structures ----------------------------------------------------------------------------------------------------

#: Each place in the example, as the keys that lead there.
PLACES = [(), *({key[:end] for key in known_keys(Config) for end in range(1, len(key) + 1)})]
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(10**300, 10**301),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=20),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["~", "/", "..", "a\0b", "http://[", "%", "\t", "no", "1e5", "0x10", "1:30", ".nan"]),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def changed(tree: Any, place: tuple[Any, ...], value: object) -> Any:
    """Return a copy of a tree with another value at a place; places that are not there are made."""
    if not place:
        return value
    head, *rest = place
    if isinstance(head, int):
        items = list(tree) if isinstance(tree, list) and tree else [None]
        items[0] = changed(items[0], tuple(rest), value)
        return items
    branch = dict(tree) if isinstance(tree, dict) else {}
    branch[head] = changed(branch.get(head), tuple(rest), value)
    return branch


def test_the_example_is_where_changes_begin() -> None:
    """The configuration that is changed below is a right one."""
    assert isinstance(judged(yaml.safe_dump(EXAMPLE).encode(), is_in_place=True), Config)


@OFTEN
@given(changes=st.lists(st.tuples(st.sampled_from(sorted(PLACES, key=str)), TREES), min_size=1, max_size=3))
def test_any_value_anywhere(changes: list[tuple[tuple[Any, ...], object]]) -> None:
    """Whatever stands at whichever key, it is taken, or told with its key."""
    tree: Any = EXAMPLE
    for place, value in changes:
        tree = changed(tree, place, value)
    judged(yaml.dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"), is_in_place=True)


# --- texts ---------------------------------------------------------------------------------------------------------

LINES = yaml.safe_dump(EXAMPLE, allow_unicode=True).splitlines()
ODD_LINES = [
    "\tinboxes: []",
    "inboxes: &a [*a]",
    "n8n: !!python/object:os.system {}",
    "n8n: !!python/object/apply:os.system ['true']",
    "http: !!binary aGVsbG8=",
    "http: !!timestamp 2001-99-99",
    "limits: !!int 9" + "9" * 5000,
    "limits: {max_file_mb: 1" + "0" * 5000 + "}",
    "limits: {max_file_mb: 0o" + "7" * 50 + "}",
    "logging: {<<: *nobody}",
    "? {a: b}\n: c",
    "? [n8n]\n: c",
    "--- \n...\n--- ",
    "%YAML 9.9",
    "a: \0",
    "\ufeff",
    f"callback: {{secret_token: [{SECRET}",
    f"api_key:{SECRET}",
]


@OFTEN
@given(
    st.lists(st.sampled_from([*LINES, *ODD_LINES]) | st.text(max_size=30), max_size=30).map("\n".join),
    st.integers(0, 3),
)
def test_any_lines(text: str, indent: int) -> None:
    """Lines of the example in any order, some of them odd, are told by line, or by key."""
    judged(text.replace("\n", "\n" + " " * indent).encode("utf-8", "surrogatepass"))


@OFTEN
@given(at=st.integers(0, len(yaml.safe_dump(EXAMPLE))), cut=st.integers(0, 30), more=st.binary(max_size=20))
def test_any_bytes(at: int, cut: int, more: bytes) -> None:
    """A file that was cut, or written over, is told as such."""
    content = yaml.safe_dump(EXAMPLE).encode()
    judged(content[:at] + more + content[at + cut :])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("merged", ["*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}", "<<: [*a{0}, *a{0}]"])
def test_a_billion_laughs_end_soon(merged: str) -> None:
    """Aliases of aliases that would fill the memory are one mistake, told at once."""
    lines = ["a0: &a0 [lol, lol]" if "<<" not in merged else "a0: &a0 {lol: lol}"]
    for number in range(60):
        inner = merged.format(number)
        lines.append(f"a{number + 1}: &a{number + 1} " + (f"{{{inner}}}" if "<<" in merged else f"[{inner}]"))
    lines.append("inboxes: *a60")
    assert isinstance(judged("\n".join(lines).encode()), ConfigError)


# --- the environment -----------------------------------------------------------------------------------------------

VARIABLES = sorted({PREFIX + "__".join(str(part).upper() for part in key) for key in known_keys(Config)})
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0"), max_size=30),
    st.lists(st.sampled_from([*LINES, *ODD_LINES]), max_size=4).map("\n".join).map(lambda text: text.replace("\0", "")),
    st.sampled_from(["[", "{", "1", "-1", "nan", "true", "/x", "\udcff", "http://["]),
)


@OFTEN
@given(
    environ=st.dictionaries(
        st.sampled_from([*VARIABLES, *SHORT_NAMES])
        | st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_019\udcff", max_size=20).map(PREFIX.__add__),
        VALUES,
        max_size=5,
    )
)
def test_any_environment(environ: dict[str, str]) -> None:
    """Whatever the variables hold, and whatever is made up after our prefix, it is taken or told."""
    judged(yaml.safe_dump(EXAMPLE).encode(), environ)
