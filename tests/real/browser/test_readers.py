"""Texts from elsewhere, times, colours and sessions, as readers in a real browser meet them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.states import State
from tests.real.browser.conftest import Office, Visit
from tests.real.browser.test_browser import dropped

#: The elements that reach beyond the right edge of the window.
_WIDER = """width => [...document.querySelectorAll("body *")]
    .filter(each => document.documentElement.scrollWidth > width && each.getBoundingClientRect().right > width)
    .map(each => each.outerHTML.slice(0, 200))"""

LONG = "https://n8n.lan/" + "x" * 2000


@contextlib.contextmanager
def held(office: Office, message: str) -> Iterator[float]:
    """Hold N8N by hand and for its silence, for a while; yield when it is tried next."""
    [url] = office.destinations()
    now = datetime.now(UTC).timestamp()
    with office.daemon.job_log() as log:
        log.manual_holds.hold(HoldTarget.DESTINATION, url, message, now)
        log.holds.hold(url, HoldKind.SILENCE, message, now, now + 900)
    yield now + 900
    with office.daemon.job_log() as log:
        log.manual_holds.resume(HoldTarget.DESTINATION, url)
        log.holds.called_back(url, now)


@pytest.mark.parametrize("width", [360, 1280])
def test_a_text_without_spaces_makes_no_page_wide(browser: Browser, office: Office, width: int) -> None:
    """A message, a reason and a name without a space are broken: no page is wider than the window."""
    name = f"bad-{'y' * 230}-{width}.jpg"
    with office.answering(Behaviour(verdict="failure", message=LONG)):
        job = dropped(office, name, samples.jpeg(100 + width), State.FAILURE)
    with office.daemon.job_log() as log:
        log.histories.note(job.job_id, job.created_at, "upload", detail=LONG)
    context = browser.new_context(locale="en-GB", viewport={"width": width, "height": 800})
    visit = Visit(context, office.daemon.url)
    with held(office, LONG):
        for path in ("/", "/receipts", "/failed", f"/receipts/{job.job_id}", f"/failed?q={'z' * 200}"):
            page = visit.open(path)
            expect(page.locator("h1")).to_be_visible()
            page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
            wide = page.evaluate(_WIDER, width)
            assert wide == [], path
    context.close()
    assert visit.troubles == []


def test_lines_are_shown_as_lines(office: Office, visit: Visit) -> None:
    """A message of two lines takes the height of two lines, on the receipt's page and on that of the failed ones."""
    with office.answering(Behaviour(verdict="failure", message="no sum\nneither a date")):
        job = dropped(office, "bad-lines.jpg", samples.jpeg(80), State.FAILURE)
    for path in ("/failed?q=bad-lines", f"/receipts/{job.job_id}"):
        page = visit.open(path)
        assert page.locator(".quote").inner_text() == "no sum\nneither a date"
    assert "no sum\nneither a date" in page.locator("#timeline").inner_text()
    assert page.locator(".answer").inner_text().endswith("no sum\nneither a date")


def test_the_next_try_is_the_visitors(office: Office, visit: Visit) -> None:
    """When a held destination is tried next reads as on the visitor's own clock, as do the hours of the chart."""
    dropped(office, "good-hour.jpg", samples.jpeg(81), State.SUCCESS)
    with held(office, "no callback") as probe_at:
        page = visit.open("/")
        there = datetime.fromtimestamp(probe_at, UTC).astimezone(ZoneInfo("America/New_York"))
        expect(page.locator("#holds")).to_contain_text(re.compile(f"Next try .*{there:%H:%M}"))
        expect(page.locator("#holds")).to_contain_text("Inbox office → workflow of N8N at 127.0.0.1")
    hour = datetime.now(ZoneInfo("America/New_York"))
    expect(page.locator(".chart.wide rect.hover title").last).to_have_text(re.compile(rf"{hour:%H}:00: \d+"))


def test_an_ended_session_leads_to_the_sign_in(browser: Browser, office: Office) -> None:
    """A page whose session has ended becomes the form to sign in by itself, and that leads back to the page."""
    context = browser.new_context(locale="en-GB", extra_http_headers={"X-Forwarded-For": "192.0.2.1"})
    page = context.new_page()
    page.goto(f"{office.daemon.url}/failed?q=bad")
    page.get_by_label("Token").fill("secret-of-viewer")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Failed receipts")
    context.clear_cookies()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("Token").fill("secret-of-viewer")
    page.keyboard.press("Enter")
    page.wait_for_url("**/failed?q=bad")
    context.close()


def test_forced_colours_keep_the_legend(office: Office, visit: Visit) -> None:
    """With colours that the system forces, each kind in the legend has the colour of its bars."""
    dropped(office, "bad-colour.jpg", samples.jpeg(82), State.FAILURE)
    dropped(office, "good-colour.jpg", samples.jpeg(83), State.SUCCESS)
    visit.page.emulate_media(forced_colors="active")
    page = visit.open("/")
    marks = {
        kind: page.evaluate(
            "kind => getComputedStyle(document.querySelector(`.legend .${kind}`), '::before').backgroundColor", kind
        )
        for kind in ("done", "open", "failed")
    }
    assert len(set(marks.values())) == 3
    for kind in ("done", "failed"):
        bar = page.evaluate("kind => getComputedStyle(document.querySelector(`.chart.wide rect.${kind}`)).fill", kind)
        assert bar == marks[kind]


def test_questions_before_what_cannot_be_undone(browser: Browser, office: Office) -> None:
    """Without a script, too, Cancel and the retry of all ask before they do it."""
    dropped(office, "bad-ask.jpg", samples.jpeg(84), State.FAILURE)
    slow = dropped(office, "slow-ask.jpg", samples.jpeg(85), State.PROCESSING)
    context = browser.new_context(java_script_enabled=False, locale="en-GB", viewport={"width": 360, "height": 800})
    page = context.new_page()
    page.goto(f"{office.daemon.url}/receipts/{slow.job_id}")
    expect(page.get_by_role("button", name="Cancel this receipt")).to_be_hidden()
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel this receipt").click()
    expect(page.locator("#answer .badge")).to_have_text("Cancelled")
    page.goto(f"{office.daemon.url}/failed?q=bad-ask")
    expect(page.get_by_role("button", name="Retry them all")).to_be_hidden()
    page.get_by_text("Retry all that fit…").click()
    page.get_by_role("button", name="Retry them all").click()
    expect(page.get_by_text("1 receipt is tried again.")).to_be_visible()
    context.close()
