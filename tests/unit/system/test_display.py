"""Names are numbered, cut and shown so that they fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.system.display import (
    NAME_MAX_BYTES,
    as_sentence,
    cut_name,
    display_name,
    numbered_name,
    printable_lines,
)
from tests.unit.system.disk_faults import AT_ONCE


@AT_ONCE
@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("scan.pdf", 1, "scan.pdf"),
        ("scan.pdf", 2, "scan (2).pdf"),
        ("scan.pdf", 11, "scan (11).pdf"),
        ("scan.tar.gz", 2, "scan.tar (2).gz"),
        ("scan", 2, "scan (2)"),
        ("scan.", 2, "scan (2)."),
        (".hidden", 2, ".hidden (2)"),
        (".hidden.pdf", 2, ".hidden (2).pdf"),
        ("Rechnung (2).pdf", 2, "Rechnung (2) (2).pdf"),
        ("x" * 251 + ".pdf", 1, "x" * 251 + ".pdf"),
        ("x" * 251 + ".pdf", 2, "x" * 247 + " (2).pdf"),
        ("x" * 255, 2, "x" * 251 + " (2)"),
        ("ü" * 125 + ".pdf", 2, "ü" * 123 + " (2).pdf"),
        ("a" + "ü" * 125 + ".pdf", 2, "a" + "ü" * 123 + " (2).pdf"),
        ("🧾" * 62 + ".pdf", 2, "🧾" * 61 + " (2).pdf"),
        ("1. " + "x" * 252, 2, "1. " + "x" * 248 + " (2)"),
        (".." + "x" * 253, 2, ".." + "x" * 249 + " (2)"),
    ],
)
def test_a_number_goes_before_the_suffix(name: str, number: int, expected: str) -> None:
    """A name that is taken gets a number before its suffix, and is cut where it would become too long."""
    assert numbered_name(name, number) == expected


def a_name() -> st.SearchStrategy[str]:
    """Names as file systems have them: any bytes but / and NUL, up to 255."""
    piece = st.binary(min_size=1, max_size=NAME_MAX_BYTES) | st.sampled_from([b"x", "ü".encode(), b"."]).flatmap(
        lambda one: st.integers(1, NAME_MAX_BYTES // len(one)).map(lambda times: one * times)
    )
    joined = st.lists(piece, min_size=1, max_size=4).map(b"".join)
    return (
        joined.map(lambda name: os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_")[:NAME_MAX_BYTES]))
        .filter(lambda name: name not in {".", ".."})
        .filter(lambda name: len(os.fsencode(name)) <= NAME_MAX_BYTES)
    )


@AT_ONCE
@given(a_name(), st.integers(1, 100_000))
def test_a_numbered_name_always_fits(name: str, number: int) -> None:
    """However long a name and whatever its bytes: numbered it fits, is a name, and differs from the next."""
    numbered, following = numbered_name(name, number), numbered_name(name, number + 1)
    assert 0 < len(os.fsencode(numbered)) <= NAME_MAX_BYTES
    assert numbered != following
    assert "/" not in numbered
    assert Path(numbered).name == numbered


@AT_ONCE
@pytest.mark.parametrize(
    ("name", "most_bytes", "expected"),
    [("abc", 3, "abc"), ("abc", 2, "ab"), ("aü", 2, "a"), ("🧾", 3, ""), ("a\udcff", 2, "a\udcff"), ("a", -3, "")],
)
def test_a_name_is_cut_between_characters(name: str, most_bytes: int, expected: str) -> None:
    """A name is cut to so many bytes, never through a character; where there is no room nothing is left of it."""
    assert cut_name(name, most_bytes) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scan.pdf", "scan.pdf"),
        ("Café.pdf", "Café.pdf"),
        (os.fsdecode(b"caf\xe9.pdf"), r"caf\xe9.pdf"),
        (Path(os.fsdecode(b"a/\xff")), r"a/\xff"),
    ],
)
def test_a_name_of_any_bytes_can_be_shown(name: Path | str, expected: str) -> None:
    """Bytes that are no UTF-8 are written out, so that a name can be logged and sent."""
    assert display_name(name) == expected
    display_name(name).encode("utf-8")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("N8N says: no sum", "N8N says: no sum."),
        ("N8N says: No sum.", "N8N says: No sum."),
        ("N8N says: why? ", "N8N says: why?"),
        ("N8N says: wait...", "N8N says: wait..."),
        ("N8N says: cut…", "N8N says: cut…"),
    ],
)
def test_a_sentence_has_one_full_stop(text: str, sentence: str) -> None:
    """A sentence that ends in the words of somebody else has one end, whether or not they had one."""
    assert as_sentence(text) == sentence


def test_lines_stay_lines() -> None:
    """Line breaks of any system stay, tabs become spaces, and what steers a terminal is written out."""
    assert printable_lines("a\r\n\tb\rc\x1b") == "a\n    b\nc\\x1b"
    assert printable_lines("") == ""
