"""What is kept of a verdict: its bounds, and what a job's history says of it."""

from __future__ import annotations

import json

import pytest

from receipt_watcher.jobs.verdict import KEPT_CHARACTERS, Verdict, execution_id_of, in_words, parse_verdict, verdict_in


def verdict_with(**fields: object) -> Verdict:
    """Return a verdict as N8N says it."""
    return parse_verdict(json.dumps({"status": "success", **fields}))


@pytest.mark.parametrize(("length", "kept"), [(9_999, 9_999), (10_000, 10_000), (10_001, 10_000), (50_000, 10_000)])
def test_a_long_message_is_cut_and_says_so(length: int, kept: int) -> None:
    """A message of up to 10,000 characters is kept as it is; of a longer one the beginning is, with an ellipsis."""
    message = verdict_with(message="x" * length).message
    assert message == ("x" * length if length == kept else "x" * (kept - 1) + "…")


@pytest.mark.parametrize(("length", "is_kept"), [(2_000, True), (2_001, False)])
def test_an_endless_link_is_not_kept(length: int, is_kept: bool) -> None:
    """A link of up to 2,000 characters is kept; a longer one is none that a page could show."""
    url = "https://notion.so/".ljust(length, "x")
    assert verdict_with(notion_page_url=url).notion_page_url == (url if is_kept else None)


def test_the_history_has_what_was_said() -> None:
    """The history has a verdict's fields as N8N sent them, without those that it left out."""
    assert json.loads(in_words(Verdict(success=False))) == {"status": "failure"}
    said = {"status": "success", "message": "booked", "notion_page_url": "https://notion.so/x", "data": {"total": 0}}
    assert json.loads(in_words(parse_verdict(json.dumps(said)))) == said


def test_the_history_of_a_verdict_is_bounded() -> None:
    """However much a workflow sends, 64 KiB of it go into the history."""
    assert KEPT_CHARACTERS == 65_536
    assert len(in_words(verdict_with(data="x" * 100_000))) == KEPT_CHARACTERS


@pytest.mark.parametrize(
    ("said", "kept"), [(4711, "4711"), ("b7e1-x:2", "b7e1-x:2"), (True, None), ("", None), ("a b", None), (None, None)]
)
def test_an_execution_is_a_number_or_a_word(said: object, kept: str | None) -> None:
    """The id of an execution is kept if it is a number or a word; anything else is none."""
    assert execution_id_of(said) == kept


@pytest.mark.parametrize(("lists", "is_read"), [(198, True), (199, False)])
def test_a_deep_verdict_is_refused(lists: int, is_read: bool) -> None:
    """A verdict may be nested 200 levels deep, itself and its innermost value counted, and no deeper."""
    nested: object = 1
    for _ in range(lists):
        nested = [nested]
    said = {"status": "success", "data": nested}
    if is_read:
        assert verdict_in(said).details == nested
    else:
        with pytest.raises(ValueError, match="deeper than 200"):
            verdict_in(said)
