"""Pages come in the reader's language and time zone."""

from __future__ import annotations

from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.web.pages.texts.language import Texts
from tests.unit.web.pages.page_site import Office, parsed, words_of


def test_a_german_reader_reads_german(office: Office) -> None:
    """The browser's language counts, reasons included; the page says which it is in."""
    job = office.failed(reason=Reason.ENCRYPTED)
    answer = office.get(f"/receipts/{job.job_id}", Accept_Language="de-DE,de;q=0.9,en;q=0.5")
    assert '<html lang="de">' in answer.text
    assert Texts("de").advice(Reason.ENCRYPTED) in words_of(answer.text)
    for path in ("/", "/receipts", "/failed", "/nowhere"):
        assert '<html lang="de">' in office.get(path, Accept_Language="de").text


def test_the_switch_is_remembered(office: Office) -> None:
    """Who chooses a language gets it at once, and from then on; what was looked for stays."""
    answer = office.get("/receipts?q=a&lang=de", Accept_Language="en")
    assert '<html lang="de">' in answer.text
    assert 'href="?q=a&amp;lang=en"' in answer.text
    assert answer.headers["set-cookie"].startswith("lang=de;")
    assert '<html lang="de">' in office.get("/", Cookie="lang=de", Accept_Language="en").text
    assert '<html lang="en">' in office.get("/", Cookie="lang=xx", Accept_Language="xx").text


def test_times_can_be_put_into_the_visitors_zone(office: Office) -> None:
    """Each time bears the moment itself, for the script; without it the office's own clock is read."""
    [job] = office.record()
    times = [each["datetime"] for tag, each in parsed(office.get("/receipts").text).tags if tag == "time"]
    assert times == ["2023-11-14T22:13:20.000Z"]
    assert job.created_at == 1_700_000_000.0


def test_times_in_what_is_explained_are_times(office: Office) -> None:
    """A moment within a sentence can be put into the visitor's zone, too."""
    job = office.in_state(State.SUCCESS)
    html = office.get(f"/receipts/{job.job_id}").text
    assert 'It succeeded at <time datetime="2023-11-14T22:13:20.000Z">' in html
