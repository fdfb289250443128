"""The typed facts of the job log: their names and text forms are those of older versions."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest

from receipt_watcher.jobs.log.facts import Fact, FactsByKey
from receipt_watcher.jobs.log.job_log import JobLog
from tests.test_layout import all_modules

#: Each fact: its name in the table (with a key, `#`), a value, and the text that older versions wrote for it.
FORMS: dict[str, tuple[str, Any, str]] = {
    "alive_at": ("alive_at", 1_700_000_000.25, "1700000000.25"),
    "version": ("version", "0.3.0", "0.3.0"),
    "starts": ("log_counter", 12, "12"),
    "restored_at_start": ("log_restored", 7, "7"),
    "starts_of_spool": ("spool_counter:#", -1, "-1"),
    "inbox_started": ("inbox_started:#", 3, "3"),
    "inbox_place": ("inbox_place:#", {"point": "/mnt", "inode": 2}, '{"point": "/mnt", "inode": 2}'),
    "folder_place": ("folder_place:#", {"place": None, "is_used": True}, '{"place": null, "is_used": true}'),
    "spool_recovered": ("spool_recovered:#", "yes", "yes"),
    "removing": ("removing:#", ["a", "b"], "a b"),
    "believed_time": ("believed_time", 1.5, "1.5"),
    "upload_database": ("database:#", "abc", "abc"),
    "upload": ("upload:#", "2026-01-01T00:00:00Z []", "2026-01-01T00:00:00Z []"),
    "overruled": ("overruled:#", "by Ann", "by Ann"),
    "sends_once": ("sends_once", {"b", "a"}, '["a", "b"]'),
    "sessions_ended": ("sessions_ended", {"a": 5}, '{"a": 5}'),
    "rehearsal": ("rehearsal", {"job_id": "x"}, '{"job_id": "x"}'),
    "balance": ("balance", {"at": 1.0}, '{"at": 1.0}'),
    "told": ("told", "{}", "{}"),
}


def fact_of(log: JobLog, attribute: str) -> Fact[Any]:
    """Return a fact by its attribute, that of a key named `#` if there is one for each key."""
    fact = getattr(log.facts, attribute)
    return fact.of("#") if isinstance(fact, FactsByKey) else fact


@pytest.mark.parametrize("attribute", FORMS)
def test_names_and_texts_stay(log: JobLog, attribute: str) -> None:
    """A fact is kept under the name and in the text form that older versions know, and is read from there."""
    name, value, text = FORMS[attribute]
    fact = fact_of(log, attribute)
    assert fact.get() is None
    fact.put(value)
    assert log.facts.table.get(name) == text
    assert fact.get() == value


def test_each_fact_has_its_form(log: JobLog) -> None:
    """No fact is left out of the table above."""
    assert {name for name, _ in inspect.getmembers(log.facts, lambda part: isinstance(part, Fact | FactsByKey))} == set(
        FORMS
    )


@pytest.mark.parametrize(("attribute", "empty"), [("removing", []), ("sends_once", set()), ("told", "")])
def test_an_empty_text_is_an_empty_value(log: JobLog, attribute: str, empty: object) -> None:
    """Versions before wrote an empty text for nothing."""
    fact = fact_of(log, attribute)
    log.facts.table.put(fact.name, "")
    assert fact.get() == empty


@pytest.mark.parametrize("text", ["", "none", "1.5"])
def test_a_counter_that_cannot_be_read_is_zero(log: JobLog, text: str) -> None:
    """A counter that somebody changed by hand keeps no daemon from its start."""
    log.facts.table.put("log_counter", text)
    assert log.facts.starts.get() == 0


def test_only_the_log_spells_the_names_of_facts() -> None:
    """Outside of the job log nobody uses the table by names, nor spells the name of a fact that has a key."""
    prefixes = tuple(name.removesuffix("#") for name, _, _ in FORMS.values() if name.endswith("#"))
    spelt = set()
    for name, module in all_modules().items():
        if name.startswith("jobs.log"):
            continue
        for node in module.nodes:
            if isinstance(node, ast.Attribute) and ast.unparse(node).endswith("facts.table"):
                spelt.add((name, "table"))
            if isinstance(node, ast.JoinedStr | ast.Constant):
                text = ast.unparse(node).lstrip("f").strip("'\"")
                spelt |= {(name, prefix) for prefix in prefixes if text.startswith(prefix) and " " not in text}
    assert spelt == set()
