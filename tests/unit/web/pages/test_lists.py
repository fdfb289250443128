"""Receipts are found, and listed in pages that lead to each other."""

from __future__ import annotations

import pytest

from receipt_watcher.jobs.states import State
from tests.unit.web.pages.page_site import Office, parsed, words_of


def test_receipts_are_found(office: Office) -> None:
    """Name, message, state, inbox and day each narrow the list."""
    office.failed("Müller.pdf", message="keine Summe")
    office.in_state(State.SUCCESS)
    for query in ("q=müller", "q=SUMME", "status=failure", "q=summe&status=failure&inbox=office"):
        text = office.shown(f"/receipts?{query}")
        assert "Müller.pdf Failed keine Summe" in text
        assert "scan.jpg" not in text
    assert "No receipt fits." in office.shown("/receipts?inbox=till")
    assert "No receipt fits." in office.shown("/receipts?until=2020-01-01")
    assert "scan.jpg" in office.shown("/receipts?since=2020-01-01&until=2033-01-01")
    assert "No receipt fits." in office.shown("/receipts?status=open")


def links_of(html: str, rel: str) -> list[str]:
    """Return where the links of a page go that are related so."""
    return [str(each["href"]) for tag, each in parsed(html).tags if tag == "a" and each.get("rel") == rel]


def test_pages_lead_to_each_other(office: Office) -> None:
    """Older and newer lead through all receipts and back, and keep what was looked for."""
    office.record(120, filename="a.pdf")
    first = office.get("/receipts?q=a.pdf").text
    [older] = links_of(first, "next")
    assert "q=a.pdf" in older
    second = office.get(f"/receipts{older}").text
    [older] = links_of(second, "next")
    third = office.get(f"/receipts{older}").text
    assert [html.count("a.pdf</bdi>") for html in (first, second, third)] == [50, 50, 20]
    assert links_of(third, "next") == []
    [newer] = links_of(third, "prev")
    assert words_of(office.get(f"/receipts{newer}").text) == words_of(second)


def test_the_first_page_alone_is_live(office: Office) -> None:
    """Who reads an older page keeps it: nothing moves under his eyes."""
    office.record(60)
    first = office.get("/receipts").text
    [older] = links_of(first, "next")
    assert 'id="list" data-live' in first
    assert 'id="list" data-live' not in office.get(f"/receipts{older}").text


@pytest.mark.parametrize("query", ["status=odd", "since=yesterday", "until=2026-13-01", "until=9999-12-31"])
def test_what_cannot_be_understood_is_said(office: Office, query: str) -> None:
    """A question that makes no sense gets a page that says which part of it."""
    answer = office.get(f"/receipts?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[2] in words_of(answer.text)
