"""The status page's catalogue: complete in both languages, and how numbers, sizes and times read."""

from __future__ import annotations

import ast
import re
import string
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.report.health.troubles import TroubleKind
from receipt_watcher.web import pages
from receipt_watcher.web.pages.texts.catalogue import TEXTS
from receipt_watcher.web.pages.texts.german_codes import REASONS_DE, WAITS_DE
from receipt_watcher.web.pages.texts.language import LANGUAGES, Language, Texts, language_of
from tests.test_layout import all_modules

PACKAGE = Path(pages.__file__).parent
_IN_TEMPLATE = re.compile(r'"([a-z0-9_]+(?:\.[a-z0-9_]+)*\.?)"')


def fields(text: str) -> set[str]:
    """Return the names of what is to be put into a text."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def words_used() -> set[str]:
    """Return every text in quotes in the templates and in the modules that speak: what may be a key."""
    found = set()
    for template in (PACKAGE / "templates").glob("*.html"):
        found |= set(_IN_TEMPLATE.findall(template.read_text("utf-8")))
    for module in PACKAGE.rglob("*.py"):
        if module.parent.name == "texts":  # the catalogue itself
            continue
        tree = ast.parse(module.read_text("utf-8"))
        found |= {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    return found


def families() -> set[str]:
    """Return the keys that end in a code."""
    codes = {
        "state": [state.value for state in State],
        "answer": [state.value for state in State],
        "event": ["record", *(event.value for event in Event), *notes_of_histories()],
        "hold": [*(kind.value for kind in HoldKind), *(f"hand.{kind.value}" for kind in HoldTarget)],
        "outcome": ["accepted", "concluded", "deferred", "refused", "lost", "unreadable"],
        "error": [f"{status}{part}" for status in (403, 404, 422, 500, 503) for part in ("", ".text")],
        "nav": ["overview", "receipts", "failed", "upload"],
        "said": [
            *("retried", "settled_delivered", "settled_not_delivered", "cancelled", "too_late", "retried_these"),
            *("held", "resumed", "not_held"),
        ],
        "trouble": [kind.value for kind in TroubleKind],
        "fact": ["inbox", "subfolder", "kind", "size", "attempts", "path", "database", "execution", "id", "digest"],
    }
    return {f"{family}.{code}" for family, found in codes.items() for code in found}


def notes_of_histories() -> list[str]:
    """Return the names of all notes that the code puts into histories, besides the events of jobs."""
    notes = [
        str(node.args[2].value)
        for module in all_modules().values()
        for node in module.nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func).endswith("histories.note")
        and isinstance(node.args[2], ast.Constant)
    ]
    return sorted(note for note in notes if note != "record")


def test_the_names_of_notes_stay() -> None:
    """Histories of older versions have these names, and scripts that read them know them."""
    assert notes_of_histories() == [
        "callback.contrary",
        "callback.late",
        "callback.refused",
        "callback.unreadable",
        "file.brought",
        "file.doubtful",
        "file.found",
        "file.kept",
        "file.missing",
        "file.removed",
        "upload",
    ]


@pytest.mark.parametrize("key", TEXTS)
def test_each_text_is_there_in_both_languages(key: str) -> None:
    """Both languages say something, want the same values, and have as many forms."""
    english, german = TEXTS[key]
    assert english.strip()
    assert german.strip()
    assert fields(english) == fields(german)
    assert english.count("|") == german.count("|") == int("{count}" in english and "|" in english)


def test_each_text_is_used() -> None:
    """The catalogue holds no text that no page says."""
    assert TEXTS.keys() - words_used() - families() == set()


def test_each_code_has_its_text() -> None:
    """Whatever a receipt's life may hold, there are words for it."""
    assert families() - TEXTS.keys() == set()


@pytest.mark.parametrize("code", [*Reason, *WaitReason], ids=repr)
def test_each_code_is_said_in_german(code: Reason | WaitReason) -> None:
    """Meaning and advice of each code are there in German, and are not the English ones; English is as elsewhere."""
    german, english = Texts("de"), Texts("en")
    assert german.meaning(code) != code.meaning
    assert german.advice(code) != code.advice
    assert (english.meaning(code), english.advice(code)) == (code.meaning, code.advice)


def test_codes_that_are_spelt_alike_are_said_each_in_its_own_words() -> None:
    """An empty file that waits is no failure yet, although both codes are «empty»."""
    german = Texts("de")
    assert german.meaning(WaitReason.EMPTY) == WAITS_DE[WaitReason.EMPTY][0] != german.meaning(Reason.EMPTY)
    assert german.advice(Reason.EMPTY) == REASONS_DE[Reason.EMPTY][1] != german.advice(WaitReason.EMPTY)


def test_a_text_that_is_missing_is_an_error() -> None:
    """A key that nobody wrote a text for is noticed; only a word from elsewhere may have none."""
    with pytest.raises(KeyError):
        Texts("en")("no.such.text")
    assert Texts("en").optional("event.new", "new") == "new"


@pytest.mark.parametrize(
    ("count", "english", "german"),
    [
        (0, "0 receipts are on their way.", "0 Belege sind unterwegs."),
        (1, "1 receipt is on its way.", "1 Beleg ist unterwegs."),
        (1234, "1,234 receipts are on their way.", "1.234 Belege sind unterwegs."),
    ],
)
def test_a_count_chooses_the_form(count: int, english: str, german: str) -> None:
    """One and many are said differently, and thousands are apart as is usual."""
    assert Texts("en")("overview.flowing", count) == english
    assert Texts("de")("overview.flowing", count) == german


@pytest.mark.parametrize(
    ("size", "english", "german"),
    [
        (0, "0 B", "0 B"),
        (999, "999 B", "999 B"),
        (1000, "1.0 kB", "1,0 kB"),
        (37_457, "37 kB", "37 kB"),
        (2_345_678, "2.3 MB", "2,3 MB"),
        (4_096_000_000, "4,096 MB", "4.096 MB"),
    ],
)
def test_sizes(size: int, english: str, german: str) -> None:
    """Sizes are said in the unit that a person would choose."""
    assert (Texts("en").size(size), Texts("de").size(size)) == (english, german)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0.0 s"), (0.24, "0.2 s"), (12.4, "12 s"), (60, "1 min"), (200, "3 min 20 s"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    """Durations are said in their two largest units."""
    assert Texts("en").duration(seconds) == text


def test_times_are_the_offices_own() -> None:
    """Who has no script reads the office's clock: today's time alone, any other with its day."""
    at = 1_700_000_000.0  # 2023-11-14T22:13:20Z
    english, german = Texts("en", UTC), Texts("de", ZoneInfo("Europe/Berlin"))
    assert english.time(at, at + 60) == "22:13:20"
    assert english.time(at, at + 86_400) == "14 Nov 2023, 22:13"
    assert german.time(at, at + 86_400) == "14. Nov. 2023, 23:13"
    assert german.hour(at) == "23:13"


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "de", "de"),
        (None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        (None, "fr,en;q=0.5,de;q=0.7", "de"),
        (None, "fr, de;q=0, en;q=0.1", "en"),
        (None, "EN-us", "en"),
        ("en", "de", "en"),
        ("de", "en", "de"),
        ("xx", "de", "de"),
    ],
)
def test_the_readers_language(chosen: str | None, accepted: str, language: Language) -> None:
    """What the reader chose counts, then what the browser prefers, then English."""
    assert language_of(chosen, accepted) == language


@given(st.one_of(st.none(), st.text(max_size=20)), st.text(max_size=200))
def test_any_header_has_a_language(chosen: str | None, accepted: str) -> None:
    """Whatever a browser sends, there is a language."""
    assert language_of(chosen, accepted) in LANGUAGES


def test_kinds_are_named_as_people_name_them() -> None:
    """A kind is said in short, one that is none of ours as it is."""
    assert (Texts.kind("application/pdf"), Texts.kind("text/plain"), Texts.kind(None)) == ("PDF", "text/plain", "–")


def test_templates_are_there() -> None:
    """The test of texts looks where the pages look."""
    assert (PACKAGE / "templates").is_dir()
    assert len(words_used()) > len(TEXTS) / 2
