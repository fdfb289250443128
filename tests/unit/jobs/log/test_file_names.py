"""Names of files as people type them: in either case, composed or decomposed."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries import lookups
from receipt_watcher.jobs.log.queries.file_names import fits_glob, forms_of, like_of_glob
from receipt_watcher.jobs.log.queries.search import Wanted
from tests.conftest import make_job

NAME = "Müller Rechnung Übersicht.pdf"
DECOMPOSED = unicodedata.normalize("NFD", NAME)
NAMES = st.text("aÄä?*[]%_\\u\u0308.ßS", max_size=8)


def names_of(log: JobLog, glob: str, limit: int | None = None) -> list[str]:
    """Return the names that a list by name has."""
    return [job.filename for job in log.lookups.listing(name=glob, limit=limit)]


@pytest.mark.parametrize("stored", [NAME, DECOMPOSED], ids=["composed", "decomposed"])
@pytest.mark.parametrize("glob", [NAME, DECOMPOSED, "*übersicht*", "MÜLLER*", "*Ü*.PDF", "[mn]üller*"])
def test_a_name_is_listed_however_it_is_typed(log: JobLog, stored: str, glob: str) -> None:
    """A Mac stores names decomposed, a keyboard types them composed, and case does not count in umlauts either."""
    log.jobs.insert(make_job(filename=stored))
    log.jobs.insert(make_job(filename="Muller.pdf"))
    assert names_of(log, glob) == [stored]


@pytest.mark.parametrize("stored", [NAME, DECOMPOSED])
@pytest.mark.parametrize("typed", [NAME, DECOMPOSED])
def test_a_job_is_found_by_its_file(log: JobLog, stored: str, typed: str) -> None:
    """`show` and `explain` find a receipt by its name in either form."""
    log.jobs.insert(make_job(filename=stored))
    assert [job.filename for job in log.lookups.find(typed)] == [stored]


def test_a_list_by_name_goes_through_all_that_may_fit(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log tells what may fit some rows at a time; those that do not fit cost no row of the list."""
    monkeypatch.setattr(lookups, "_NAMED_AT_ONCE", 3)
    for number in range(10):
        log.jobs.insert(make_job(1e9 + number, filename=f"ü{number}.pdf" if number % 3 == 0 else f"ö{number}.pdf"))
    assert names_of(log, "ü*") == ["ü9.pdf", "ü6.pdf", "ü3.pdf", "ü0.pdf"]
    assert names_of(log, "ü*", 2) == ["ü9.pdf", "ü6.pdf"]


@given(name=NAMES, glob=NAMES)
def test_the_log_finds_at_least_what_fits(name: str, glob: str) -> None:
    """Whatever fits a pattern of a shell fits the pattern that the log is asked with."""
    pattern = "".join(
        ".*" if piece == "%" else "." if piece == "_" else re.escape(piece.removeprefix("\\"))
        for piece in re.findall(r"\\.|.", like_of_glob(glob), re.DOTALL)
    )
    if fits_glob(name, glob):
        assert re.fullmatch(pattern, name, re.IGNORECASE | re.DOTALL)


@given(st.text(max_size=9))
def test_the_forms_of_a_name_are_the_same_name(name: str) -> None:
    """Each form has the same composed text, and the name itself is one of them."""
    assert name in forms_of(name)
    assert {unicodedata.normalize("NFC", form) for form in forms_of(name)} == {unicodedata.normalize("NFC", name)}


def test_the_page_searches_alike(log: JobLog) -> None:
    """The search of the status page and the API finds what the commands find."""
    log.jobs.insert(make_job(filename=DECOMPOSED))
    assert [job.filename for job in log.search.page(Wanted(text="ÜBERSICHT")).jobs] == [DECOMPOSED]
