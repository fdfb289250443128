"""Each event of the program has its sentence, its meaning and its advice, and a sentence can always be said."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.service.logging.event_words import Sentence
from receipt_watcher.service.logging.events import SENTENCES
from receipt_watcher.service.logging.sentences import catalog, fields_said, message_id, sentence_of
from tests.docs_tables import CATALOG
from tests.fakes.daemons.process import REPOSITORY

PACKAGE = REPOSITORY / "receipt_watcher"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")


def calls() -> Iterator[ast.Call]:
    """Yield each call that logs an event, wherever its level comes from."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = ast.unparse(node.func)
            if name == "level" or (name.startswith("logger.") and name.removeprefix("logger.") in LEVELS):
                yield node


@functools.cache
def passed() -> dict[str, list[set[str]]]:
    """Return the fields that each call passes, by event; `**` stands for fields that cannot be seen."""
    found: dict[str, list[set[str]]] = defaultdict(list)
    for call in calls():
        fields = {keyword.arg or "**" for keyword in call.keywords}
        if ast.unparse(call.func) == "logger.exception" or "exc_info" in fields:
            fields.add("error")
        first = call.args[0]
        events = [first.value] if isinstance(first, ast.Constant) else outcomes()
        for event in events:
            assert isinstance(event, str)
            found[event].append(fields)
    return dict(found)


def outcomes() -> list[str]:
    """Return the events that delivery chooses from."""
    tree = ast.parse((PACKAGE / "delivery" / "outcomes.py").read_text("utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return sorted({text for text in texts if re.fullmatch(r"job\.(accepted|deferred|refused|lost|unreadable)", text)})


def test_each_event_has_a_sentence() -> None:
    """Whatever the program logs can be said, and nothing is in the table that is logged no more."""
    assert len(passed()) > 60
    assert passed().keys() == SENTENCES.keys()


@pytest.mark.parametrize("event", SENTENCES)
def test_a_sentence_fits_its_event(event: str) -> None:
    """What a sentence cannot do without each call passes, and what it has room for some call does."""
    needed = set(re.findall(r"\{(\w+)\}", re.sub(r"\[[^\[\]]*\]", "", SENTENCES[event].text)))
    for fields in passed()[event]:
        assert "**" in fields or needed <= fields
    every = set().union(*passed()[event])
    assert "**" in every or fields_said(event) <= every


@pytest.mark.parametrize("sentence", SENTENCES.values(), ids=SENTENCES)
def test_a_sentence_is_well_made(sentence: Sentence) -> None:
    """A meaning and an advice are whole sentences; the text has no end, for it stands in a line of its own."""
    assert re.fullmatch(r"[A-Za-z0-9].*[^.]\.", sentence.meaning)
    assert re.fullmatch(r"[A-Z].*[^.]\.", sentence.advice)
    assert not sentence.text.endswith(".")
    assert sentence.text.count("[") == sentence.text.count("]")


@pytest.mark.parametrize(
    ("event", "fields", "said"),
    [
        (
            "job.accepted",
            {"inbox": "office", "filename": "scan_0042.pdf", "attempt": 2, "seconds": 0.412},
            "office: scan_0042.pdf accepted by N8N (attempt 2, 0.4 s)",
        ),
        (
            "job.concluded",
            {"inbox": "office", "filename": "a b.pdf", "status": "success", "seconds": 400.0, "attempts": 3},
            'office: "a b.pdf" succeeded after 7 min in 3 attempts',
        ),
        (
            "job.concluded",
            {"filename": "x", "status": "duplicate", "duplicate_of": "018b", "attempts": 0, "seconds": 259200},
            "x is a copy of job 018b after 3 days",
        ),
        ("job.recorded", {"filename": 'a" b', "size": 1_250_000}, '"a\\" b" taken in, 1.2 MB'),
        ("job.recorded", {"filename": PurePosixPath("a"), "size": 999}, "a taken in, 999 bytes"),
        ("destination.resumed", {}, "N8N is back"),
        ("inbox.available", {"inbox": "office", "seconds": 30000}, "office: open again after 8 h"),
        ("file.waiting", {"filename": "x", "why": "no end."}, "x is not taken yet: no end"),
        (
            "job.put_off",
            {"filename": "{inbox} [x]", "message": "m" * 600},
            f'"{{inbox}} [x]" is sent later: {"m" * 500}…',
        ),
        ("file.filed", {}, "? filed in ?/"),
        ("no.event", {"filename": "x"}, None),
    ],
)
def test_what_is_said(event: str, fields: dict[str, object], said: str | None) -> None:
    """A sentence says what there is as a person would, and leaves out what there is not."""
    assert sentence_of(event, fields) == said


TEXTS = st.text(st.characters(exclude_categories=()))
VALUES = st.one_of(TEXTS, st.none(), st.integers(), st.floats(), st.lists(TEXTS), st.builds(PurePosixPath, TEXTS))


@given(st.sampled_from(sorted(SENTENCES)), st.data())
def test_anything_can_be_said(event: str, choice: st.DataObject) -> None:
    """Whatever is in the fields, a sentence is one line that can be shown, and has no brackets left over."""
    fields = {name: choice.draw(VALUES) for name in fields_said(event)}
    text = sentence_of(event, fields)
    assert text
    assert text.isprintable()


# --- ids and the catalog -------------------------------------------------------------------------------------------


def test_ids_stay() -> None:
    """An event has the id that it had in the first version: filters and catalogs of admins go by it."""
    assert message_id("job.recorded") == "34dac6ed7df75d79a75f37399d2d49b5"
    assert message_id("destination.held") == "39543b548ab359c7a713a01b71fae21b"
    assert len({message_id(event) for event in SENTENCES}) == len(SENTENCES)


def test_the_catalog_is_that_of_the_table() -> None:
    """What `journalctl -x` explains is what the table says; `python -m tests.docs_tables` mends."""
    assert CATALOG.read_text("utf-8") == catalog()


def test_the_catalog_says_what_to_do() -> None:
    """Each entry has a subject of one line and an advice, and no text would be taken for the next entry."""
    entries = catalog().split("\n-- ")[1:]
    assert len(entries) == len(SENTENCES)
    for entry in entries:
        assert re.fullmatch(
            r"[0-9a-f]{32}\nSubject: .+[^.]\nDefined-By: receipt-watcher\nDocumentation: .+\n\n(?:.{1,78}\n)+", entry
        )
        assert "\nWhat to do: " in entry
