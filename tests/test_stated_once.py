"""Each rule that once stood in several places stands in one: only its own module may have the words of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.test_layout import PACKAGE, paths_of


@dataclass(frozen=True)
class Rule:
    """The words that state a rule, as a regular expression, and the modules that may have them."""

    words: str
    homes: frozenset[str]


def stated(words: str, *homes: str) -> Rule:
    """Return a rule that only these modules state."""
    return Rule(words, frozenset(homes))


RULES = {
    "what duplicates may be": stated(r'Literal\["skip"', "config.sections.inbox"),
    "whose option counts": stated(r"\.routes\.get\(", "config.branches"),
    "the key of a branch": stated(r'/\{[\w.]*subfolder\}"', "config.branches"),
    "the target of a receipt": stated(r'"\{[\w.]*url\} \{[\w.]*database', "config.branches"),
    "the answers that are the verdict": stated(r'\{"last_node", "respond"\}', "config.sections.sending"),
    "when a receipt is sent once": stated(r"not [\w.]*remembers_jobs", "config.branches"),
    "the unit of megabytes": stated(r"MEBIBYTE\w* = |1024 ?\*\* ?2", "system.display"),
    "the unit of megapixels": stated(r"megapixels \* ", "config.sections.limits"),
    "how long is long": stated(r"LONG_SECONDS\b[^=\n]*= ", "inbox.wait_reasons"),
    "the folders of an inbox": stated(r"\.processing_dir, [\w.]*\.done_dir, ", "spool.paths"),
    "the folder of a state": stated(r"State\.SUCCESS: Folder\.", "jobs.job"),
    "the path of a folder": stated(r"Folder\.PROCESSING: [\w.]*processing", "spool.paths"),
    "the path of a job's file": stated(r"\) / [\w.]*\.stored_path", "spool.paths"),
    "the columns of a job": stated(
        r"(?s)\brelative_path\b.{,30}\bfolder\b.{,30}\bstored_path\b.{,60}\bmoving_", "jobs.job"
    ),
    "the conditions of a claim": stated(r"'queued' AND move_due", "jobs.log.tables"),
    "the original of a duplicate": stated(r"OPEN_STATES \| \{State\.SUCCESS\}", "jobs.states"),
    "the content policy of pages": stated(r"default-src", "web.server.headers"),
    "the bans for browsers": stated(
        r'"(X-Frame-Options|X-Content-Type-Options|Referrer-Policy)"', "web.server.headers"
    ),
    "the comparison in constant time": stated(r"compare_digest", "web.access.signatures"),
    "base64 for URLs": stated(r"urlsafe_b64", "web.access.signatures"),
    # Receipts are signed by a standard, piece by piece, with keys and a text form of its own.
    "signatures": stated(r"\bhmac\.(new|digest)\(", "web.access.signatures", "delivery.destinations.signature"),
}

#: Migrations are history: what they say of a rule is what it was.
_HISTORY = "jobs.log.migrations."


def sources() -> dict[str, str]:
    """Return the text of each module, by its name."""
    return {name: path.read_text("utf-8") for name, path in paths_of(PACKAGE).items() if not name.startswith(_HISTORY)}


def places(rule: Rule, texts: Mapping[str, str]) -> set[str]:
    """Return the modules that state a rule."""
    return {name for name, text in texts.items() if re.search(rule.words, text)}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_stands_in_one_place(name: str) -> None:
    """A rule is stated by its own module, and by no other one."""
    assert places(RULES[name], sources()) == RULES[name].homes


@pytest.mark.parametrize("name", RULES)
def test_a_second_place_is_noticed(name: str) -> None:
    """The words of a rule, copied into another module, make the test above fail."""
    rule, texts = RULES[name], sources()
    for home in rule.homes:
        words = re.search(rule.words, texts[home])
        assert words is not None
        assert places(rule, texts | {"cli.copy": words.group()}) == rule.homes | {"cli.copy"}
