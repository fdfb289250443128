"""The public names of destinations."""

from __future__ import annotations

import hashlib

import pytest

from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.jobs.log.manual_holds import HoldTarget, ManualHold

FIRST, SECOND, LOCAL = "https://u:p@n8n:5678/a?k=1", "https://n8n:5678/c", "https://[::1]/b"
NAMES = DestinationNames([FIRST, LOCAL, SECOND, FIRST], [SECOND, FIRST, LOCAL])


def old_id(url: str) -> str:
    """Return the id that the API gave in earlier versions."""
    return hashlib.sha256(url.encode()).hexdigest()[:12]


def test_destinations_are_named_by_host() -> None:
    """The second webhook of a host gets a number; no password, port, path or query is in a name."""
    assert NAMES.by_url == {FIRST: "n8n", LOCAL: "::1", SECOND: "n8n#2"}


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("n8n", FIRST),
        ("n8n#2", SECOND),
        ("::1", LOCAL),
        (SECOND, SECOND),
        (old_id(FIRST), FIRST),
        (old_id(SECOND), SECOND),
        ("n8n:5678#1", SECOND),
        ("n8n:5678#2", FIRST),
        ("[::1]#1", LOCAL),
        ("n8n#1", FIRST),
        ("n8n#3", None),
        ("", None),
    ],
)
def test_names_of_older_versions_are_accepted(name: str, url: str | None) -> None:
    """A destination is found by its name, its URL, the API's old id, and the old label of metrics."""
    assert NAMES.url_of(name) == url


def test_a_name_is_never_an_alias_of_another() -> None:
    """A host that looks like another one's old label names itself."""
    urls = ["http://n8n/a", "http://n8n/b"]
    names = DestinationNames(urls, reversed(urls))
    assert [names.url_of(name) for name in ("n8n", "n8n#1", "n8n#2")] == [urls[0], urls[0], urls[1]]


def test_a_destination_that_is_gone_is_named_by_its_host() -> None:
    """What is configured no more may still be held, and tells no secret."""
    assert NAMES.name_of("https://key:secret@old.example.com/webhook/x?token=secret") == "old.example.com"


@pytest.mark.parametrize(
    ("hold", "name", "words"),
    [
        (ManualHold(HoldTarget.INBOX, "office", 0.0, ""), "office", "the inbox office"),
        (ManualHold(HoldTarget.DESTINATION, SECOND, 0.0, ""), "n8n#2", "N8N at n8n#2"),
    ],
)
def test_a_hold_by_hand_in_words(hold: ManualHold, name: str, words: str) -> None:
    """A hold is named as what it holds."""
    assert (NAMES.held(hold), NAMES.held_in_words(hold)) == (name, words)
