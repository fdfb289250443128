"""The status page in a real browser: each page and button, live, by keyboard, on a phone, in the dark, for all."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Page, expect

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour
from receipt_watcher.config.roles import Role
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.queries.search import STRETCH_ROWS
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.conftest import make_job
from tests.fakes.daemons.process import digest, wait_until
from tests.real.browser.conftest import DEADLINE_MILLISECONDS, Office, Visit

expect.set_options(timeout=DEADLINE_MILLISECONDS)

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


def dropped(office: Office, name: str, content: bytes, state: State) -> Job:
    """Drop a file into the inbox, and return its job when it has come so far."""
    office.daemon.drop(name, content)

    def has_come() -> bool:
        found = [job for job in office.daemon.recorded() if job.filename == name]
        return bool(found) and found[0].state is state and not found[0].move_due

    wait_until(has_come, f"{name} is {state}")
    return office.daemon.job(name)


@pytest.fixture(scope="module")
def receipts(office: Office) -> dict[str, Job]:
    """One receipt that is done, one that failed, and one that N8N has."""
    return {
        "good": dropped(office, "good.pdf", samples.pdf(1), State.SUCCESS),
        "bad": dropped(office, "bad.jpg", samples.jpeg(2), State.FAILURE),
        "slow": dropped(office, "slow.png", samples.png(3), State.PROCESSING),
    }


def paths(receipts: dict[str, Job]) -> dict[str, str]:
    """Return each page, by a name."""
    pages = {"overview": "/", "receipts": "/receipts", "failed": "/failed", "upload": "/upload"}
    pages |= {"nothing": "/receipts?q=no-such-receipt"}
    return pages | {name: f"/receipts/{job.job_id}" for name, job in receipts.items()}


def serious_findings(page: Page) -> list[str]:
    """Return what axe-core calls serious or critical, with the elements."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{finding['id']}: {node['html']} {node.get('failureSummary')}"
        for finding in found["violations"]
        if finding["impact"] in ("serious", "critical", "moderate")
        for node in finding["nodes"]
    ]


@pytest.mark.parametrize("name", ["overview", "receipts", "nothing", "failed", "upload", "good", "bad", "slow"])
def test_every_page_is_for_everybody(visit: Visit, receipts: dict[str, Job], name: str) -> None:
    """Names, roles, order, labels and contrast are such that axe-core finds nothing, in the light and in the dark."""
    visit.open(paths(receipts)[name])
    expect(visit.page.locator("h1")).to_be_visible()
    for scheme in SCHEMES:
        visit.page.emulate_media(color_scheme=scheme)
        assert serious_findings(visit.page) == []


def test_the_dark_is_dark(visit: Visit) -> None:
    """Who wants it dark gets dark paper and light ink."""

    def lightness(what: str) -> int:
        shown = str(visit.page.evaluate(f"getComputedStyle(document.body).{what}"))
        return sum(int(part) for part in re.findall(r"\d+", shown)[:3])

    visit.page.emulate_media(color_scheme="light")
    visit.open("/")
    assert lightness("backgroundColor") > 600
    assert lightness("color") < 300
    visit.page.emulate_media(color_scheme="dark")
    assert lightness("backgroundColor") < 300
    assert lightness("color") > 600


@pytest.mark.parametrize("name", ["overview", "receipts", "failed", "upload", "good"])
def test_a_phone_is_wide_enough(browser: Browser, office: Office, receipts: dict[str, Job], name: str) -> None:
    """On a phone no page is wider than the screen, buttons are large enough for a thumb, and nothing goes wrong."""
    context = browser.new_context(locale="de-DE", **PHONE)  # type: ignore[arg-type]
    visit = Visit(context, office.daemon.url)
    page = visit.open(paths(receipts)[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.locator("main .button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 36
    assert serious_findings(page) == []
    context.close()
    assert visit.troubles == []


def test_a_receipt_goes_through_before_ones_eyes(office: Office, visit: Visit, receipts: dict[str, Job]) -> None:
    """Without reloading, a receipt that is dropped in appears, and is done."""
    page = visit.open("/receipts")
    page.evaluate("window.isTheSame = true")
    office.daemon.drop("live.jpg", samples.jpeg(20))
    row = page.locator("tr", has_text="live.jpg")
    expect(row.locator(".badge")).to_have_text("Done")
    expect(row).to_contain_text("booked")
    assert page.evaluate("window.isTheSame")


def test_retry_and_cancel(office: Office, visit: Visit) -> None:
    """A failed receipt is retried by its button, and its page follows its life; a waiting one is cancelled."""
    failed = dropped(office, "bad-then-good.jpg", samples.jpeg(21), State.FAILURE)
    office.mended.set()
    page = visit.open(f"/receipts/{failed.job_id}")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status").filter(has_text="It is tried again.")).to_be_visible()
    expect(page.locator("#answer .badge")).to_have_text("Done")
    expect(page.locator("#timeline")).to_contain_text("N8N reported success")
    expect(page.get_by_role("link", name="Open in Notion")).to_have_attribute("href", "https://www.notion.so/page")
    office.mended.clear()

    slow = dropped(office, "slow-too.jpg", samples.jpeg(22), State.PROCESSING)
    page = visit.open(f"/receipts/{slow.job_id}")
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel this receipt").click()
    expect(page.locator("#answer .badge")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("/failed/slow-too.jpg")


def test_retry_one_and_these_of_the_failed(office: Office, visit: Visit, receipts: dict[str, Job]) -> None:
    """On the page of failed receipts one is retried by its button, and all that fit by one button."""
    for number in range(3):
        dropped(office, f"bad-{number}.jpg", samples.jpeg(30 + number), State.FAILURE)
    page = visit.open("/failed?q=bad-")
    expect(page.locator(".failures > li")).to_have_count(3)
    office.mended.set()
    page.get_by_role("button", name="Retry bad-1.jpg").click()
    expect(page.get_by_role("status").filter(has_text="It is tried again.")).to_be_visible()
    page.goto(f"{visit.url}/failed?q=bad-")
    page.get_by_text("Retry all that fit…").click()
    page.get_by_role("button", name="Retry them all").click()
    expect(page.get_by_text("2 receipts are tried again.")).to_be_visible()
    wait_until(
        lambda: {job.state for job in office.daemon.recorded() if job.filename.startswith("bad-")} == {State.SUCCESS},
        "they succeed",
    )
    office.mended.clear()


def came(office: Office, content: bytes) -> Job:
    """Return the receipt of these bytes, when it has come."""

    def found() -> list[Job]:
        return [job for job in office.daemon.recorded() if job.sha256 == digest(content)]

    wait_until(found, "the upload is recorded")
    return found()[0]


def test_an_upload_by_choosing_files(office: Office, visit: Visit) -> None:
    """Files that are chosen are taken, byte for byte, and each leads to its receipt."""
    page = visit.open("/upload")
    contents = {"first.jpg": samples.jpeg(50), "second.png": samples.png(51)}
    page.get_by_label("Choose files").set_input_files(
        [FilePayload(name=name, mimeType="image/jpeg", buffer=content) for name, content in contents.items()]
    )
    expect(page.locator("#uploads .badge.queued")).to_have_count(2)
    for name, content in contents.items():
        job = came(office, content)
        assert job.filename == name
        row = page.locator("#uploads li", has_text=name)
        expect(row.get_by_role("link")).to_have_attribute("href", f"/receipts/{job.job_id}")
    assert serious_findings(page) == []


def test_an_upload_that_is_refused_says_why(browser: Browser, office: Office) -> None:
    """A file whose name no inbox takes is not taken, and the page says why."""
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(f"{office.daemon.url}/upload")
    page.get_by_label("Choose files").set_input_files(FilePayload(name="~$x.pdf", mimeType="text/plain", buffer=b"x"))
    expect(page.locator("#uploads .badge.refused")).to_have_text("Not taken")
    expect(page.locator("#uploads")).to_contain_text("By its name it is no receipt")
    context.close()


def test_an_upload_by_the_phones_camera(browser: Browser, office: Office) -> None:
    """On a phone a photo is taken and goes into the inbox."""
    context = browser.new_context(locale="de-DE", **PHONE)  # type: ignore[arg-type]
    visit = Visit(context, office.daemon.url)
    page = visit.open("/upload")
    camera = page.get_by_label("Foto aufnehmen")
    assert (camera.get_attribute("capture"), camera.get_attribute("accept")) == ("environment", "image/*")
    content = samples.jpeg(52)
    camera.set_input_files(FilePayload(name="image.jpg", mimeType="image/jpeg", buffer=content))
    expect(page.locator("#uploads .badge.queued")).to_have_text("Angenommen")
    assert came(office, content).filename == "image.jpg"
    context.close()
    assert visit.troubles == []


def test_an_upload_by_drop(office: Office, visit: Visit) -> None:
    """A file that is dragged over the page shows where it may go; dropped, it goes into the inbox."""
    page = visit.open("/upload")
    content = samples.jpeg(53)
    dragged = page.evaluate_handle(
        """letters => {
            const bytes = Uint8Array.from(atob(letters), each => each.charCodeAt(0));
            const dragged = new DataTransfer();
            dragged.items.add(new File([bytes], "dropped.jpg", {type: "image/jpeg"}));
            return dragged;
        }""",
        base64.b64encode(content).decode(),
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": dragged})
    expect(page.locator("#drop")).to_have_class("drop over")
    page.dispatch_event("#drop", "drop", {"dataTransfer": dragged})
    expect(page.locator("#drop")).to_have_class("drop")
    expect(page.locator("#uploads .badge")).to_have_text("Taken in")
    assert came(office, content).filename == "dropped.jpg"


def test_an_upload_without_a_script(browser: Browser, office: Office) -> None:
    """The form alone does it, too, and says what became of the file."""
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    page = context.new_page()
    page.goto(f"{office.daemon.url}/upload")
    content = samples.jpeg(54)
    page.locator("#files").set_input_files(FilePayload(name="plain.jpg", mimeType="image/jpeg", buffer=content))
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#uploads")).to_contain_text("plain.jpg")
    page.get_by_role("link", name="Show the receipt").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("plain.jpg")
    assert came(office, content).filename == "plain.jpg"
    context.close()


def test_the_file_is_saved(visit: Visit, receipts: dict[str, Job]) -> None:
    """One click saves the file under its name, byte for byte."""
    page = visit.open(f"/receipts/{receipts['good'].job_id}")
    with page.expect_download() as saving:
        page.get_by_role("link", name="Save the file").click()
    assert saving.value.suggested_filename == "good.pdf"
    assert saving.value.path().read_bytes() == samples.pdf(1)


#: The entries of each role's menu, and the buttons on the page of a receipt that N8N has.
OFFERED = {
    Role.VIEWER: (["Overview", "Receipts", "Failed"], {"Save the file"}),
    Role.OPERATOR: (["Overview", "Receipts", "Failed", "Add"], {"Save the file", "Cancel…"}),
    Role.UPLOADER: (["Add"], set()),
}


@pytest.mark.parametrize("role", OFFERED)
def test_who_comes_from_elsewhere_signs_in(
    browser: Browser, office: Office, receipts: dict[str, Job], role: Role
) -> None:
    """A wrong token is told, a right one leads on to the page; each role is offered what it may, and signs out."""
    menu, offered = OFFERED[role]
    context = browser.new_context(locale="de-DE", extra_http_headers={"X-Forwarded-For": "192.0.2.1"})
    page = context.new_page()
    path = f"/receipts/{receipts['slow'].job_id}"
    page.goto(f"{office.daemon.url}{path}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Anmelden")
    assert serious_findings(page) == []
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Anmelden").click()
    expect(page.get_by_role("alert")).to_have_text("Dieses Token ist hier nicht bekannt, oder seine Zeit ist um.")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("Token").fill(f"secret-of-{role}")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{path}")
    expect(page.get_by_role("heading", level=1)).to_have_text("slow.png")
    assert [text.split()[0] for text in page.locator(".top nav a").all_inner_texts()] == menu
    assert set(page.locator("#answer .button:visible").all_inner_texts()) == offered
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto(f"{office.daemon.url}{path}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    context.close()


def test_an_inbox_is_held_and_resumed(office: Office, visit: Visit) -> None:
    """On the overview an inbox is held with a word why, and resumed."""
    page = visit.open("/")
    page.get_by_text("Hold…").click()
    page.get_by_label("Why").fill("the scanner is away")
    page.get_by_role("button", name="Hold office").click()
    expect(page.locator("#holds")).to_contain_text("the scanner is away")
    assert serious_findings(page) == []
    page.get_by_role("button", name="Resume: The inbox office is on hold by hand.").click()
    expect(page.get_by_role("status").filter(has_text="It goes on.")).to_be_visible()
    expect(page.locator("#holds")).to_be_empty()


def test_a_picture_is_shown(visit: Visit, receipts: dict[str, Job]) -> None:
    """The first page is to be seen, with its name for who cannot see it."""
    page = visit.open(f"/receipts/{receipts['good'].job_id}")
    picture = page.get_by_role("img", name="First page of good.pdf")
    expect(picture).to_have_class("is-there")
    assert picture.evaluate("each => each.naturalWidth") > 100


def test_times_are_the_visitors(visit: Visit, receipts: dict[str, Job]) -> None:
    """A time reads as on the visitor's own clock, wherever that is."""
    page = visit.open(f"/receipts/{receipts['good'].job_id}")
    shown = page.locator("#facts time").first
    there = datetime.fromtimestamp(receipts["good"].created_at, UTC).astimezone(ZoneInfo("America/New_York"))
    assert f"{there:%H:%M}" in shown.inner_text()
    assert "GMT-" in str(shown.get_attribute("title")) or "E" in str(shown.get_attribute("title"))


def test_by_keyboard_alone(visit: Visit, receipts: dict[str, Job]) -> None:
    """Without a mouse: over the menu to the content, a search, a receipt; and one sees where one is."""
    page = visit.open("/")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.goto(f"{visit.url}/receipts")
    field = page.get_by_label("Name or message")
    field.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.type("good.pdf")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=good.pdf*")
    link = page.get_by_role("link", name="good.pdf")
    for _ in range(30):
        page.keyboard.press("Tab")
        if link.evaluate("each => each === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("good.pdf")


def test_what_is_focused_stays_focused(office: Office, visit: Visit, receipts: dict[str, Job]) -> None:
    """What is renewed under a reader's hands does not throw him out."""
    page = visit.open("/")
    link = page.locator("#tiles a").nth(2)
    link.focus()
    office.daemon.drop("focus.jpg", samples.jpeg(40))
    expect(page.locator("#recent")).to_contain_text("focus.jpg")
    expect(page.locator("#tiles a").nth(2)).to_be_focused()


def test_the_keyboard_stays_with_its_receipt(office: Office, visit: Visit) -> None:
    """A failure that arrives moves no row: Enter retries the receipt that has the focus; the new one is announced."""
    chosen = dropped(office, "bad-chosen.jpg", samples.jpeg(60), State.FAILURE)
    page = visit.open("/failed")
    button = page.get_by_role("button", name="Retry bad-chosen.jpg")
    button.focus()
    place = button.bounding_box()
    other = dropped(office, "bad-later.jpg", samples.jpeg(61), State.FAILURE)
    expect(page.get_by_role("button", name="1 new")).to_be_visible()
    expect(page.locator(".failures > li").first).to_contain_text("bad-chosen.jpg")
    expect(button).to_be_focused()
    assert button.bounding_box() == place
    assert serious_findings(page) == []
    office.mended.set()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="It is tried again.")).to_be_visible()
    wait_until(lambda: office.daemon.job("bad-chosen.jpg").state is State.SUCCESS, "the chosen one is retried")
    office.mended.clear()
    assert [line["event"] for line in office.history(other)].count("retry") == 0
    assert [line["event"] for line in office.history(chosen)].count("retry") == 1


def test_new_rows_come_when_they_are_asked_for(office: Office, visit: Visit) -> None:
    """A receipt that failed no more keeps its place with a dead button; «2 new» shows the list as it is now."""
    for number in range(2):
        dropped(office, f"bad-row-{number}.jpg", samples.jpeg(62 + number), State.FAILURE)
    page = visit.open("/failed?q=bad-row")
    expect(page.locator(".failures > li")).to_have_count(2)
    office.mended.set()
    assert office.daemon.run("retry", "bad-row-1.jpg").returncode == 0
    expect(page.locator(".failures > li.gone")).to_contain_text("bad-row-1.jpg")
    expect(page.get_by_role("button", name="Retry bad-row-1.jpg")).to_be_disabled()
    wait_until(lambda: office.daemon.job("bad-row-1.jpg").state is State.SUCCESS, "it succeeds")
    office.mended.clear()
    for number in range(2, 4):
        dropped(office, f"bad-row-{number}.jpg", samples.jpeg(62 + number), State.FAILURE)
    news = page.get_by_role("button", name="2 new")
    expect(page.locator(".failures > li").first).to_contain_text("bad-row-1.jpg")
    news.click()
    expect(news).to_be_hidden()
    expect(page.locator(".failures h2")).to_have_text(["bad-row-3.jpg", "bad-row-2.jpg", "bad-row-0.jpg"])


def test_all_that_are_shown_are_retried_and_no_others(office: Office, visit: Visit) -> None:
    """«Retry all that fit» leaves alone a failure that came after the page was shown; «1 new» includes it."""
    dropped(office, "bad-seen.jpg", samples.jpeg(67), State.FAILURE)
    page = visit.open("/failed?q=bad-seen")
    dropped(office, "bad-seen-later.jpg", samples.jpeg(68), State.FAILURE)
    expect(page.get_by_role("button", name="1 new")).to_be_visible()
    page.get_by_text("Retry all that fit…").click()
    page.get_by_role("button", name="Retry them all").click()
    expect(page.get_by_text("1 receipt is tried again.")).to_be_visible()
    wait_until(lambda: office.daemon.job("bad-seen.jpg").state is State.FAILURE, "it failed again")
    page.goto(f"{visit.url}/failed?q=bad-seen-later")
    dropped(office, "bad-seen-later-2.jpg", samples.jpeg(69), State.FAILURE)
    page.get_by_role("button", name="1 new").click()
    page.get_by_text("Retry all that fit…").click()
    page.get_by_role("button", name="Retry them all").click()
    expect(page.get_by_text("2 receipts are tried again.")).to_be_visible()


def test_a_button_never_becomes_another_one(office: Office, visit: Visit) -> None:
    """When a receipt's state changes, the focus does not pass from its Retry to the Cancel that takes that place."""
    job = dropped(office, "bad-slow.jpg", samples.jpeg(70), State.FAILURE)
    page = visit.open(f"/receipts/{job.job_id}")
    page.get_by_role("button", name="Retry").focus()
    with office.answering(Behaviour(verdict=None)):
        assert office.daemon.run("retry", job.job_id).returncode == 0
        expect(page.get_by_text("Cancel…")).to_be_visible()
    expect(page.get_by_text("Cancel…")).not_to_be_focused()
    expect(page.locator("main")).to_be_focused()


def test_an_opened_confirmation_stays_the_same(office: Office, visit: Visit) -> None:
    """A question that a reader has opened stays open, and keeps the focus of its button, when the page is renewed."""
    job = dropped(office, "bad-asked.jpg", samples.jpeg(74), State.FAILURE)
    with office.daemon.job_log() as log:
        log.database.change("UPDATE job SET reason = ? WHERE job_id = ?", Reason.OUTCOME_UNKNOWN, job.job_id)
        page = visit.open(f"/receipts/{job.job_id}")
        question = page.locator("details.confirm").nth(1)
        question.locator("summary").click()
        button = question.get_by_role("button")
        button.focus()
        log.histories.note(job.job_id, job.created_at + 1, "upload", detail="by somebody else")
        expect(page.locator("#timeline")).to_contain_text("by somebody else")
        expect(button).to_be_visible()
        expect(button).to_be_focused()
        expect(page.locator("details.confirm[open]")).to_have_count(1)


def test_what_a_reader_holds_is_kept(office: Office, visit: Visit, receipts: dict[str, Job]) -> None:
    """Typed text with its cursor, an open part and selected text are the same after the page was renewed."""
    page = visit.open("/")
    page.get_by_text("Hold…").click()
    field = page.get_by_label("Why")
    field.fill("the scanner")
    field.press("Home")
    office.daemon.drop("held-1.jpg", samples.jpeg(71))
    expect(page.locator("#recent")).to_contain_text("held-1.jpg")
    expect(field).to_be_focused()
    field.press_sequentially("while ")
    expect(field).to_have_value("while the scanner")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#recent tbody tr th'))")
    dropped(office, "held-2.jpg", samples.jpeg(72), State.SUCCESS)
    expect(page.locator("#tiles")).to_contain_text(str(office.done()))
    assert page.evaluate("getSelection().toString()") == "held-1.jpg"
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#recent")).to_contain_text("held-2.jpg")
    expect(field).to_have_value("while the scanner")


def test_the_language_is_switched(visit: Visit) -> None:
    """One click, and all is in German, and stays so."""
    page = visit.open("/")
    page.get_by_role("link", name="Deutsch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Übersicht")
    page.get_by_role("link", name="Belege", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Belege")


def test_without_a_script_everything_works(browser: Browser, office: Office, receipts: dict[str, Job]) -> None:
    """Who has scripts switched off reads all pages, searches, and presses buttons."""
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    page = context.new_page()
    page.goto(f"{office.daemon.url}/receipts")
    page.get_by_label("Name or message").fill("good")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="good.pdf").click()
    expect(page.locator("#answer .badge")).to_have_text("Done")
    expect(page.locator("#facts time").first).not_to_be_empty()
    context.close()


def test_a_daemon_that_is_gone_is_told_and_comes_back(office: Office, browser: Browser) -> None:
    """While the daemon is away the page says so, and goes on by itself when it is back."""
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(office.daemon.url)
    page.route("**/page/pulse", lambda route: route.abort())
    expect(page.locator("#live")).to_have_text("Not connected; trying again…")
    page.unroute("**/page/pulse")
    expect(page.locator("#live")).to_be_empty()
    context.close()


def test_a_search_goes_on_by_itself(office: Office, visit: Visit) -> None:
    """What lies deeper than one stretch of the search is found without a click."""
    with office.daemon.job_log() as log, log.database.transaction():
        for number in range(STRETCH_ROWS + 10):
            name = "deep-down.pdf" if number == 0 else "other.pdf"
            job = make_job(1_600_000_000.0 + number, state=State.DUPLICATE, folder=Folder.DONE, filename=name)
            log.jobs.insert(job)
    page = visit.open("/receipts?q=deep-down")
    expect(page.get_by_role("link", name="deep-down.pdf")).to_be_visible()
    expect(page.locator("#pager a[data-searching]")).to_have_count(0)
    page.goto(f"{visit.url}/receipts?q=nowhere-at-all")
    expect(page.get_by_text("No receipt fits.")).to_be_visible()
