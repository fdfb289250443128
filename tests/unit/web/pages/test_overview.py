"""The overview counts receipts, and shows holds and the states of inboxes."""

from __future__ import annotations

import re

from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.inbox.state import Closed, Waiting
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.web.pages.texts.german_codes import WAITS_DE
from tests.unit.delivery.worker_world import URL
from tests.unit.jobs.log.test_search import record as record_at
from tests.unit.web.pages.page_site import Office, inbox_state, words_of


def test_an_overview_of_nothing(office: Office) -> None:
    """Before the first receipt it says that all is well, and what to do."""
    text = office.shown("/")
    assert "All is well." in text
    assert "No receipt has come yet." in text
    assert "No receipt has come in the last 24 hours." in text
    assert "office Available /srv/inbox Watched by events · Nothing waits in it" in text


def test_an_overview_counts(office: Office) -> None:
    """What waits, what N8N has, what failed and what is done are counted, and drawn for the last day."""
    for state in (State.QUEUED, State.QUEUED, State.PROCESSING, State.SUCCESS, State.FAILURE):
        record_at(office.log, office.clock.now, state, took=2.0)
    office.clock.advance(4)
    text = office.shown("/")
    assert "3 receipts are on their way." in text
    assert "Waiting to be sent 2 With N8N 1 Failed 1 Done in 24 hours 1 " in text
    assert "Oldest on its way 4.0 s" in text
    assert "5 came, 1 done, 1 failed" in text
    assert "Median time to done: 2.0 s" in text
    html = office.get("/").text
    assert html.count('<svg class="chart') == 2
    assert '<rect class="failed"' in html


def test_a_hold_is_told_with_its_reason(office: Office) -> None:
    """A destination that is held says why, since when and when it is tried next; nothing is lost, and it says so."""
    office.holds.hold(URL, HoldKind.ANSWERS, "503 Service Unavailable <b>", office.clock.now, office.clock.now + 60)
    html = office.get("/").text
    text = words_of(html)
    assert "N8N is on hold. Nothing is lost" in text
    assert "503 Service Unavailable <b>" in text
    assert "<b>" not in html
    assert 'class="headline warn"' in html


def test_a_hold_by_hand_is_told(office: Office) -> None:
    """What an admin keeps waiting is named with his words, and where is no more than the host."""
    office.log.manual_holds.hold(HoldTarget.INBOX, "office", "the scanner is being mended", office.clock.now)
    office.log.manual_holds.hold(HoldTarget.DESTINATION, "https://n8n.lan/webhook/secret", "", office.clock.now)
    text = office.shown("/")
    assert "it waits until somebody resumes it" in text
    assert "The inbox office is on hold by hand." in text
    assert "the scanner is being mended" in text
    assert "N8N at n8n.lan is on hold by hand." in text
    assert "webhook/secret" not in text


def test_a_failure_before_a_hold_is_told(office: Office) -> None:
    """N8N that failed a few times, and is not held yet, is shown with its words."""
    office.holds.missed(URL, "502 Bad Gateway")
    office.holds.missed(URL, "502 Bad Gateway")
    assert "N8N has failed 2 times in a row. 502 Bad Gateway" in office.shown("/")


def test_an_inbox_says_how_it_is(office: Office) -> None:
    """An inbox that is away says why and since when; what waits in one is named, with the reason and what to do."""
    waiting = Waiting("sub/scan <1>.pdf", WaitReason.OPEN, "", 5, 0, office.clock.now, office.clock.now, None)
    office.inbox = inbox_state(
        mode="polling",
        why_mode="configured",
        unavailable="the share is gone",
        unavailable_since=office.clock.now,
        waiting=(waiting,) * 7,
    )
    html = office.get("/").text
    text = words_of(html)
    assert "1 inbox is unavailable." in text
    assert "Unavailable since" in text
    assert "the share is gone" in text
    assert "Watched by listing · 7 files wait in it" in text
    assert text.count("sub/scan <1>.pdf") == 5
    assert "and 2 more" in text
    assert WaitReason.OPEN.advice in text
    assert 'class="headline bad"' in html


def test_what_waits_in_an_inbox_is_said_in_the_readers_language(office: Office) -> None:
    """Why a file waits is said in German, too; what was found stands there as the log has it, as English."""
    found = "It is a PDF without its end marker."
    waiting = Waiting("scan.pdf", WaitReason.INCOMPLETE, found, 5, 0, office.clock.now, office.clock.now, None)
    office.inbox = inbox_state(waiting=(waiting,))
    english, german = office.shown("/"), office.get("/", Accept_Language="de").text
    assert found in english
    assert WaitReason.INCOMPLETE.advice in english
    assert " ".join(WAITS_DE[WaitReason.INCOMPLETE]) in words_of(german)
    assert WaitReason.INCOMPLETE.advice not in german
    assert f'lang="en">{found}<' in german


def test_times_in_sentences_are_the_visitors(office: Office) -> None:
    """Each time on the overview is one that the script writes in the visitor's zone: those in sentences, too."""
    now = office.clock.now
    office.holds.hold(URL, HoldKind.ANSWERS, "503", now, now + 60)
    window = Closed("office", "22:00-06:00", now + 3600, 2)
    office.inbox = inbox_state(unavailable="gone", unavailable_since=now, closed=(window,))
    record_at(office.log, now, State.QUEUED)
    html = office.get("/").text
    assert f'Next try <time datetime="{iso_time(now + 60)}">' in html
    assert html.count(f'since <time datetime="{iso_time(now)}">') == 2
    assert f'2 receipts wait until <time datetime="{iso_time(now + 3600)}">' in html
    assert re.search(r'<title data-hour="[^"]+Z" data-after=": 1">\d\d:00: 1</title>', html)


def test_a_hold_names_inbox_and_workflow(office: Office) -> None:
    """Each hold says whose receipts wait and to which workflow they go; one of nothing configured names none."""
    name = DestinationNames([URL]).name_of(URL)
    way = f"Inbox office → workflow of N8N at {name}"
    office.holds.missed(URL, "502")
    assert office.shown("/").count(way) == 1
    office.holds.hold(URL, HoldKind.SILENCE, "503", office.clock.now, office.clock.now + 60)
    assert office.shown("/").count(way) == 1
    office.log.manual_holds.hold(HoldTarget.INBOX, "office", "", office.clock.now)
    office.log.manual_holds.hold(HoldTarget.DESTINATION, URL, "", office.clock.now)
    office.log.manual_holds.hold(HoldTarget.DESTINATION, "https://gone.lan/x", "", office.clock.now)
    assert office.shown("/").count(way) == 3
    assert "at gone.lan" in office.shown("/")
    assert "workflow of N8N at gone.lan" not in office.shown("/")


def test_failures_are_grouped_by_their_cause(office: Office) -> None:
    """The overview says once for each cause how many failed and what to do; without a failure it says nothing."""
    assert "Failures by cause" not in office.shown("/")
    for number in range(3):
        office.failed(f"{number}.pdf", Reason.ENCRYPTED)
    office.failed("other.pdf", Reason.EMPTY)
    text = office.shown("/")
    assert f"3 receipts: {Reason.ENCRYPTED.meaning} {Reason.ENCRYPTED.advice} 1 receipt: {Reason.EMPTY.meaning}" in text
    assert text.count(Reason.ENCRYPTED.advice) == 1
