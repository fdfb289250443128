"""The status page, by the application: what each page says, who may see it, and what its buttons do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receipt_watcher.cli.demo import samples
from receipt_watcher.config.options import Config
from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.delivery.naming import destination_id
from receipt_watcher.examine.examiners import Bounds, Examiners
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.state import InboxState, Waiting
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.report.explain import Explainer
from receipt_watcher.service.web_wiring import explainer, page_settings
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.authorization import Access, Trust
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.access.sessions import Sessions
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.app import application
from receipt_watcher.web.callback import CallbackEndpoint, CallbackKeeping
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.files.linked_file import LinkedFile
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.pages.base import ErrorPages
from receipt_watcher.web.pages.receipts.pictures import Pictures
from receipt_watcher.web.pages.receipts.receipt import ReceiptSources
from receipt_watcher.web.pages.rendering import Rendering
from receipt_watcher.web.pages.routes import PageParts, page_routes
from receipt_watcher.web.pages.sign_in import SignInPage
from receipt_watcher.web.pages.texts.german_codes import WAITS_DE
from receipt_watcher.web.pages.texts.language import Texts
from receipt_watcher.web.probes import Probes, ProbeSources
from receipt_watcher.web.uploads.receive import Uploads
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import digest
from tests.unit.delivery.test_callbacks import Concluding
from tests.unit.delivery.worker_world import URL
from tests.unit.jobs.log.test_search import record as record_at
from tests.unit.web.test_app import LOCAL, OFFICE, ask, assert_problem

SCRIPT = "<script>alert(1)</script>"
#: Names and messages that a page must not fall for.
WILD = [SCRIPT, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a\u202egpj.exe", "tab\tnewline\n.pdf", "' OR 1=1 --"]


def inbox_state(**changes: Any) -> InboxState:
    """Return the state of an inbox that is open, with fields changed."""
    fields: dict[str, Any] = {
        "name": "office",
        "path": "/srv/inbox",
        "failed_dir": "/srv/failed",
        "mode": "native",
        "why_mode": "a probe file was heard of",
        "is_ready": True,
        "unavailable": None,
        "unavailable_since": None,
    }
    return InboxState(**(fields | changes))


class Office(Concluding):
    """The pages before a real job log; asked from this machine, in English."""

    def __init__(self, log: JobLog, clock: FakeClock, spool: Spool, root: Path, examiners: Examiners) -> None:
        super().__init__(log, clock, spool)
        self.inbox = inbox_state()
        self.config = Config.model_validate(
            {"inboxes": [{"path": str(spool.folders.inbox), "name": "office"}], "n8n": {"webhook_url": URL}}
        )
        fetching = Fetching(log.lookups.get, self.routes)
        tokens = ApiTokens(ApiToken(role.value, role, hash_of(role.value)) for role in Role)
        sessions = Sessions("a secret of tests", tokens, log, seconds=3600, clock=clock)
        slowness = Slowness(WrongTokens(clock))
        self.access = Access(tokens, sessions, slowness, Trust(local_role=Role.ADMIN))
        gate = cast("Gate", SimpleNamespace(route=self.routes[0]))
        rendering = Rendering(None, clock)
        parts = PageParts(
            settings=page_settings(self.config),
            receipts=ReceiptSources(
                log=log,
                routes=self.routes,
                pictures=Pictures(root / "pictures", fetching, examiners, max_pixels=10**8, clock=clock),
                explain=explainer(self.config, log),
            ),
            holds=self.holds,
            actions=Actions(log, deadline_seconds=900, deliveries=self.deliveries, filings=self.filings, clock=clock),
            uploads=Uploads(root, [gate], log, self.access, examine=_no_examination, clock=clock),
            inboxes=lambda: [self.inbox],
        )
        downloads = Downloads(fetching)
        callback = CallbackEndpoint(self.conclusion, CallbackTokens(TOKEN), slowness, CallbackKeeping())
        self.app = application(
            [
                *callback.routes(),
                *LinkedFile(FileLinks([TOKEN], 60, clock), downloads, slowness).routes(),
                *Probes(ProbeSources(checks=dict), self.access).routes(),
                *SignInPage(self.access, rendering).routes(),
                *page_routes(parts, self.access, rendering),
            ],
            error_pages=ErrorPages(rendering),
        )

    def get(self, path: str, client: tuple[str, int] = LOCAL, **headers: str) -> httpx.Response:
        """Ask for a page as a browser does."""
        wishes = {"Accept": "text/html,*/*", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return ask(self.app, "GET", path, client, headers=wishes)

    def shown(self, path: str, **headers: str) -> str:
        """Return the text of a page that is there, as a reader sees it."""
        answer = self.get(path, LOCAL, **headers)
        assert answer.status_code == 200, answer.text
        return words_of(answer.text)

    def press(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """Press a button, as a form of ours does."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.app, "POST", path, LOCAL, data=fields or {}, headers={"Sec-Fetch-Site": "same-origin", **named})

    def failed(self, filename: str = "scan.jpg", reason: Reason = Reason.N8N_FAILURE, message: str = "no sum") -> Job:
        """Return a receipt that has failed, and lies in failed/."""
        [job] = self.record(filename=filename)
        assert self.log.jobs.advance(job.job_id, Event.FAIL, self.clock.advance(1), reason=reason, message=message)
        source = self.routes[0].path_of(job)
        target = source.parent.parent.parent / "failed" / job.job_id
        source.rename(target)
        self.log.moves.finish_moves([(self.job(job), Folder.FAILED, Path(job.job_id))], self.clock.now)
        return self.job(job)


def _no_examination(*_: object) -> Any:
    raise AssertionError("nothing is examined here")


class _Words(HTMLParser):
    """Collects what is read, and what elements and attributes there are."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(html: str) -> _Words:
    """Read a page."""
    parser = _Words()
    parser.feed(html)
    parser.close()
    return parser


def words_of(html: str) -> str:
    """Return what a reader sees, with single spaces."""
    return " ".join(" ".join(parsed(html).words).split())


@pytest.fixture
def examiners() -> Iterator[Examiners]:
    """Yield examiners that draw pictures."""
    with Examiners(Bounds(cpu_seconds=20, memory_bytes=1024**3), kept=0) as found:
        yield found


@pytest.fixture
def office(log: JobLog, clock: FakeClock, spool: Spool, tmp_path: Path, examiners: Examiners) -> Office:
    """The pages; nothing has come yet."""
    office = Office(log, clock, spool, tmp_path, examiners)
    office.heard()
    return office


PAGES = ["/", "/receipts", "/failed", "/upload"]


def all_pages(office: Office) -> list[str]:
    """Return the paths of all pages, one of a receipt among them."""
    job = office.failed()
    return [*PAGES, f"/receipts/{job.job_id}"]


# --- overview ------------------------------------------------------------------------------------------------------


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


# --- lists ---------------------------------------------------------------------------------------------------------


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


# --- one receipt ---------------------------------------------------------------------------------------------------


def test_a_receipt_tells_its_life(office: Office) -> None:
    """Its page says what became of it, what N8N said, where the file is, and what `explain` says, word for word."""
    job = office.failed("Müller.pdf", message="keine Summe")
    html = office.get(f"/receipts/{job.job_id}").text
    text = words_of(html)
    assert "Müller.pdf Failed office" in text
    assert "What N8N said keine Summe" in text
    assert Reason.N8N_FAILURE.advice in text
    assert "Taken from the inbox" in text
    assert f"failed/{job.job_id}" in text
    explainer = Explainer(office.config, office.log, is_running=True, now=office.clock.now, wait=lambda _: None)
    for line in explainer.about_job(job, office.log).lines():
        assert " ".join(line.split()) in text
    assert f'action="/receipts/{job.job_id}/retry"' in html
    assert f'action="/receipts/{job.job_id}/cancel"' not in html


def test_the_file_can_be_saved_while_it_is_there(office: Office) -> None:
    """A receipt's page leads to its file, until retention has removed that; a viewer may save it, too."""
    job = office.failed()
    link = f'href="/api/v1/jobs/{job.job_id}/file"'
    page = f"/receipts/{job.job_id}"
    assert link in office.get(page).text
    assert link in office.get(page, OFFICE, Authorization="Bearer viewer").text
    office.log.database.change("UPDATE job SET removed_at = ? WHERE job_id = ?", office.clock.now, job.job_id)
    assert link not in office.get(page).text


def test_what_the_examination_found_is_not_called_n8ns(office: Office) -> None:
    """A file that N8N never saw was not judged by N8N."""
    job = office.failed(reason=Reason.INCOMPLETE, message="It is a PDF without its end marker.")
    assert "What was found It is a PDF without its end marker." in office.shown(f"/receipts/{job.job_id}")


def test_deliveries_are_listed(office: Office) -> None:
    """Each delivery is there with its outcome and N8N's answer."""
    [job] = office.accepted()
    text = office.shown(f"/receipts/{job.job_id}")
    assert "Accepted" in text
    assert "With N8N" in text
    assert "Callback awaited until" in text


@pytest.mark.parametrize(
    ("url", "is_link"),
    [("https://www.notion.so/1", True), ("javascript:alert(1)", False), ("https://", False), ("//host/x", False)],
)
def test_only_an_address_of_the_web_is_a_link(office: Office, url: str, *, is_link: bool) -> None:
    """What N8N calls a page is a link only where it cannot run anything here."""
    [job] = office.record()
    office.log.jobs.advance(job.job_id, Event.SUCCEED, office.clock.now, notion_page_url=url)
    html = office.get(f"/receipts/{job.job_id}").text
    assert (f'href="{url}"' in html) is is_link
    assert ("Open in Notion" in html) is is_link


def test_a_receipt_that_is_not_there(office: Office) -> None:
    """An id that nobody has is 404, and the page leads back."""
    answer = office.get("/receipts/no-such-job")
    assert answer.status_code == 404
    assert "There is nothing here" in words_of(answer.text)
    assert 'href="/"' in answer.text


def test_a_picture_of_the_first_page(office: Office) -> None:
    """The picture is a JPEG that nothing can run in, whatever the file was."""
    content = samples.pdf(1)
    [job] = office.record(mime_type="application/pdf", size=len(content), sha256=digest(content))
    office.routes[0].path_of(job).write_bytes(content)
    assert f'src="/receipts/{job.job_id}/picture"' in office.get(f"/receipts/{job.job_id}").text
    answer = office.get(f"/receipts/{job.job_id}/picture")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.content.startswith(b"\xff\xd8\xff")


def test_a_drawing_that_poses_as_a_picture_is_never_served(office: Office) -> None:
    """An SVG or HTML under a picture's name and kind has no picture."""
    content = f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>".encode()
    [job] = office.record(mime_type="image/png", size=len(content), sha256=digest(content))
    office.routes[0].path_of(job).write_bytes(content)
    answer = office.get(f"/receipts/{job.job_id}/picture")
    assert (answer.status_code, answer.content) == (404, b"")


def test_a_file_that_is_away_has_no_picture_now(office: Office) -> None:
    """Where the file cannot be had, the picture is to be asked for again, and the page is there all the same."""
    [job] = office.record()
    office.routes[0].path_of(job).unlink()
    assert office.get(f"/receipts/{job.job_id}/picture").status_code == 503
    assert office.get(f"/receipts/{job.job_id}").status_code == 200
    assert office.get("/receipts/no-such-job/picture").status_code == 404


# --- buttons -------------------------------------------------------------------------------------------------------


def test_a_button_with_too_many_fields_is_refused(office: Office) -> None:
    """A form that none of our pages has is refused on a page, and nothing is changed."""
    fields = {f"field{number}": "x" for number in range(21)}
    answer = office.press("/inboxes/office/hold", fields, Accept="text/html")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert office.press("/inboxes/office/resume").headers["location"] == "/?said=not_held"


def test_retry_does_what_the_command_does(office: Office) -> None:
    """The receipt is queued again, its history says by whom, and the stages are woken."""
    job = office.failed()
    rung = office.deliveries.count
    answer = office.press(f"/receipts/{job.job_id}/retry")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/receipts/{job.job_id}?said=retried")
    assert office.job(job).state is State.QUEUED
    assert office.log.histories.lines(job.job_id)[-1]["detail"] == "by this machine"
    assert office.deliveries.count == rung + 1
    assert "It is tried again." in office.shown(answer.headers["location"])


MAYBE = [Reason.OUTCOME_UNKNOWN, Reason.UNREADABLE_VERDICT, Reason.NO_CALLBACK]


@pytest.mark.parametrize("reason", MAYBE)
def test_what_may_have_been_booked_asks_before_it_is_retried(office: Office, reason: Reason) -> None:
    """The page says what may follow, and retries only by the button behind that; so does the list of failed ones."""
    job = office.failed(reason=reason)
    path = f"/receipts/{job.job_id}"
    text = office.shown(path)
    assert "N8N may have booked this receipt." in text
    assert "If N8N has booked the receipt, it is booked twice." in text
    assert "Decide…" in office.shown("/failed")
    assert f'action="{path}/retry' not in office.get("/failed").text
    assert office.press(f"{path}/retry").headers["location"] == f"{path}?said=too_late"
    assert office.press("/failed/retry").headers["location"].endswith("count=0")
    assert office.job(job) == job
    assert office.press(f"{path}/retry", {"force": "yes"}).headers["location"] == f"{path}?said=retried"
    assert office.job(job).state is State.QUEUED


@pytest.mark.parametrize(
    ("delivered", "state", "said"),
    [("yes", State.SUCCESS, "It is marked as delivered."), ("no", State.FAILURE, "It is marked as not delivered.")],
)
def test_a_receipt_is_settled_by_its_buttons(office: Office, delivered: str, state: State, said: str) -> None:
    """Who has looked in N8N says what became of the receipt, and stands in its history with that."""
    job = office.failed(reason=Reason.OUTCOME_UNKNOWN)
    rung = office.filings.count
    answer = office.press(f"/receipts/{job.job_id}/settle", {"delivered": delivered})
    assert said in office.shown(answer.headers["location"])
    after = office.job(job)
    assert (after.state, after.reason) == (state, None if delivered == "yes" else Reason.NOT_DELIVERED)
    assert after.move_due
    assert office.filings.count > rung
    assert office.log.histories.lines(job.job_id)[-1]["detail"] == "by this machine"
    assert "N8N may have booked this receipt." not in office.shown(f"/receipts/{job.job_id}")
    assert office.press(f"/receipts/{job.job_id}/settle", {"delivered": "no"}).headers["location"].endswith("too_late")


def test_a_button_that_does_not_say_what_became_of_it(office: Office) -> None:
    """A form of ours says yes or no."""
    job = office.failed(reason=Reason.OUTCOME_UNKNOWN)
    assert office.press(f"/receipts/{job.job_id}/settle", {"delivered": "perhaps"}).status_code == 422
    assert office.job(job) == job


def test_cancel_does_what_the_command_does(office: Office) -> None:
    """The receipt is cancelled, and may be tried again."""
    [job] = office.record()
    answer = office.press(f"/receipts/{job.job_id}/cancel")
    assert answer.headers["location"] == f"/receipts/{job.job_id}?said=cancelled"
    assert office.job(job).state is State.CANCELLED
    assert "Retry" in office.shown(f"/receipts/{job.job_id}")


def test_a_button_that_comes_too_late_changes_nothing(office: Office) -> None:
    """Between the look and the press N8N reported success: nothing is taken back, and it is said."""
    job = office.in_state(State.SUCCESS)
    answer = office.press(f"/receipts/{job.job_id}/retry?from=failed")
    assert answer.headers["location"] == "/failed?said=too_late"
    assert office.job(job) == job
    assert "That is not possible now" in office.shown(answer.headers["location"])


def test_retry_these_retries_what_is_listed(office: Office) -> None:
    """All that fit are tried again, on whichever page they are; no other is."""
    chosen = [office.failed(f"a{number}.pdf") for number in range(60)]
    other = office.failed("b.pdf")
    assert "Retry these 61" in office.shown("/failed")
    answer = office.press("/failed/retry", {"q": "a", "inbox": "office"})
    assert answer.headers["location"] == "/failed?q=a&inbox=office&said=retried_these&count=60"
    assert {office.job(job).state for job in chosen} == {State.QUEUED}
    assert office.job(other).state is State.FAILURE
    assert "60 receipts are tried again." in office.shown("/failed?said=retried_these&count=60")


def test_failed_receipts_say_why_and_what_to_do(office: Office) -> None:
    """Each stands there with meaning, message and advice; without any the page says so."""
    assert "Nothing has failed." in office.shown("/failed")
    office.failed("Müller.pdf", Reason.ENCRYPTED, "It asks.")
    text = office.shown("/failed")
    assert f"{Reason.ENCRYPTED.meaning} It asks. {Reason.ENCRYPTED.advice}" in text


def test_an_inbox_is_held_and_resumed(office: Office) -> None:
    """Somebody holds an inbox with his words, and resumes it by the button beside them."""
    html = office.get("/").text
    assert 'action="/inboxes/office/hold"' in html
    assert "/resume" not in html
    assert office.press("/inboxes/office/hold", {"why": " the scanner "}).headers["location"] == "/?said=held"
    held = office.log.manual_holds.of_inbox("office")
    assert held is not None
    assert (held.why, held.since) == ("the scanner", office.clock.now)
    html = office.get("/?said=held").text
    assert "It is on hold." in words_of(html)
    assert 'action="/inboxes/office/resume"' in html
    assert "/hold" not in html
    assert office.press("/inboxes/office/resume").headers["location"] == "/?said=resumed"
    assert office.log.manual_holds.all() == []
    assert office.press("/inboxes/office/resume").headers["location"] == "/?said=not_held"


def test_a_destination_is_resumed(office: Office) -> None:
    """A destination that is held, by hand or for its answers, is resumed by its button; its address is not shown."""
    path = f"/destinations/{destination_id(URL)}/resume"
    office.log.manual_holds.hold(HoldTarget.DESTINATION, URL, "", office.clock.now)
    office.holds.hold(URL, HoldKind.ANSWERS, "503", office.clock.now, office.clock.now + 900)
    html = office.get("/").text
    assert html.count(f'action="{path}"') == 2
    assert URL not in html
    rung = office.deliveries.count
    assert office.press(path).headers["location"] == "/?said=resumed"
    assert office.log.manual_holds.all() == []
    assert office.holds.of(URL).probe_at == office.clock.now
    assert office.deliveries.count == rung + 1


def test_a_hold_of_what_is_configured_no_more_has_no_button(office: Office) -> None:
    """A destination that nothing goes to any more cannot be resumed from here."""
    office.log.manual_holds.hold(HoldTarget.DESTINATION, "https://gone.lan/x", "", office.clock.now)
    assert "/resume" not in office.get("/").text


@pytest.mark.parametrize(
    "path",
    ["/inboxes/till/hold", "/inboxes/till/resume", "/destinations/0123456789ab/resume"],
)
def test_a_hold_of_nothing(office: Office, path: str) -> None:
    """An inbox or a destination that is not there cannot be held or resumed."""
    assert office.press(path).status_code == 404
    assert office.log.manual_holds.all() == []


@pytest.mark.parametrize("path", ["/receipts/no-such-job/retry", "/receipts/no-such-job/cancel"])
def test_a_button_for_nothing(office: Office, path: str) -> None:
    """A receipt that is not there cannot be changed."""
    assert office.press(path).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost"},
    ],
)
def test_another_sites_page_presses_no_button(office: Office, headers: Mapping[str, str]) -> None:
    """A form on another site, sent by the admin's own browser, changes nothing."""
    job = office.failed()
    assert office.press(f"/receipts/{job.job_id}/retry", None, **headers).status_code == 403
    assert office.press("/failed/retry", None, **headers).status_code == 403
    assert office.job(job) == job


@pytest.mark.parametrize(("origin", "status"), [("http://evil.example", 403), ("http://localhost", 303), ("null", 403)])
def test_an_old_browser_says_its_origin(office: Office, origin: str, status: int) -> None:
    """Where a browser does not say from which site a form comes, its origin does."""
    job = office.failed()
    headers = {"Origin": origin}
    assert ask(office.app, "POST", f"/receipts/{job.job_id}/retry", LOCAL, headers=headers).status_code == status


# --- uploads, as far as nothing is taken (the rest is in test_uploads) ------------------------------------------------


def upload(office: Office, client: tuple[str, int] = LOCAL, **headers: str) -> httpx.Response:
    """Send the form, to an inbox that is not there."""
    named = {"Sec-Fetch-Site": "same-origin", **{name.replace("_", "-"): value for name, value in headers.items()}}
    files = [("file", ("scan.pdf", b"x"))]
    return ask(office.app, "POST", "/upload", client, files=files, data={"inbox": "till"}, headers=named)


def test_an_upload_that_is_refused_says_why(office: Office) -> None:
    """To our script as JSON, to who has none as a page, with the status that a program would get."""
    answer = upload(office)
    assert (answer.status_code, answer.json()["status"], answer.json()["what"]) == (422, "refused", "Not taken")
    assert "no inbox 'till'" in answer.json()["detail"]
    page = upload(office, Accept="text/html")
    assert page.status_code == 422
    assert "Not taken There is no inbox 'till'." in words_of(page.text)


def test_who_may_not_upload_is_refused(office: Office) -> None:
    """From elsewhere, and from another site's page, nothing is taken."""
    assert upload(office, OFFICE).status_code == 403
    assert upload(office, Sec_Fetch_Site="cross-site").status_code == 403


def test_an_uploader_sees_the_receipt_that_he_knows(office: Office) -> None:
    """Who may only hand in follows a receipt to its page, without picture, buttons and the lists."""
    [job] = office.record()
    bearer = {"Authorization": "Bearer uploader"}
    answer = office.get(f"/receipts/{job.job_id}", OFFICE, **bearer)
    assert answer.status_code == 200
    assert "scan.jpg" in words_of(answer.text)
    assert not [tag for tag, _ in parsed(answer.text).tags if tag == "img"]
    assert f"/receipts/{job.job_id}/" not in answer.text
    assert f"/jobs/{job.job_id}/" not in answer.text
    assert office.get("/receipts", OFFICE, **bearer).status_code == 403
    assert office.get(f"/receipts/{job.job_id}/picture", OFFICE, **bearer).status_code == 403


# --- who, and what comes along ---------------------------------------------------------------------------------------


def test_from_elsewhere_nothing_is_shown_or_changed(office: Office) -> None:
    """Who is not on this machine, or comes by a proxy or under another name, sees no receipt and changes none."""
    job = office.failed("secret.pdf")
    for path in [*all_pages(office), f"/receipts/{job.job_id}/picture", "/page/pulse"]:
        for answer in (
            office.get(path, OFFICE),
            office.get(path, X_Forwarded_For="127.0.0.1"),
            office.get(path, Host="evil.example"),
        ):
            assert answer.status_code in (303, 403)
            assert "secret" not in answer.text
    assert ask(office.app, "POST", f"/receipts/{job.job_id}/retry", OFFICE).status_code == 403
    assert office.job(job) == job


def test_every_page_is_shut_to_what_is_not_ours(office: Office) -> None:
    """Each page, an error too, forbids scripts and styles in it, frames, guesses at kinds, and keeping."""
    for path in [*all_pages(office), "/nowhere", "/receipts?status=odd"]:
        answer = office.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_no_page_has_a_script_or_a_style_in_it(office: Office) -> None:
    """What a page needs comes as a file from here: no inline script, style or handler, no address of elsewhere."""
    for path in [*all_pages(office), "/nowhere"]:
        for tag, attributes in parsed(office.get(path).text).tags:
            assert tag not in ("style", "iframe", "object", "embed", "base")
            assert tag != "script" or attributes.get("src")
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            for name in ("src", "href", "action"):
                assert not re.match(r"(?i)\s*(?:[a-z]+:|//)", attributes.get(name) or "")


@pytest.mark.parametrize("wild", WILD)
def test_whatever_a_receipt_is_called_is_text(office: Office, wild: str) -> None:
    """A name or message with a script, a template or a control character in it is shown, and does nothing."""
    job = office.failed(wild, message=wild)
    for path in ("/", "/receipts", "/failed", f"/receipts/{job.job_id}"):
        html = office.get(path).text
        assert parsed(html).tags.count(("script", {"src": static_of(html, "page.js"), "defer": None})) == 1
        assert len([tag for tag, _ in parsed(html).tags if tag == "script"]) == 1
        assert not [each for _, each in parsed(html).tags if "onerror" in each]
        assert "\u202e" not in html
        assert "49.pdf" not in html
        assert "7 * 7" in html or wild != "{{ 7 * 7 }}"


def static_of(html: str, name: str) -> str:
    """Return the address of a packaged file in a page."""
    found = re.search(rf'"(/static/{re.escape(name)}\?v=[0-9a-f]+)"', html)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("name", "kind"), [("page.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")]
)
def test_packaged_files(office: Office, name: str, kind: str) -> None:
    """Script, style and icon are served under an address that changes with them, so they may be kept for ever."""
    answer = office.get(static_of(office.get("/").text, name))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("name", ["..%2fpages.py", "../pages.py", "%2e%2e/pages.py", "style.css%00", "nothing.js", ""])
def test_nothing_else_is_served_as_a_file(office: Office, name: str) -> None:
    """A path out of the folder leads nowhere."""
    assert office.get(f"/static/{name}").status_code == 404


def test_errors_are_pages_for_people_and_json_for_programs(office: Office) -> None:
    """A browser gets a page that looks like the others; a program, and whoever asks the API, a problem as ever."""
    assert "There is nothing here" in words_of(office.get("/nowhere").text)
    assert_problem(ask(office.app, "GET", "/nowhere", LOCAL), 404)
    assert_problem(office.get("/api/v1/nowhere"), 404)


def test_a_defect_is_a_page_with_a_number(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong with us names the number under which the log has more, and no detail."""

    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(office.holds, "all", fail)
    answer = office.get("/")
    assert answer.status_code == 500
    assert "a secret" not in answer.text
    assert re.search("[0-9a-f]{32}", words_of(answer.text))


def test_a_log_that_cannot_be_read_is_said(office: Office) -> None:
    """While the job log cannot be used, each page says so, that nothing is lost, and when to come again."""
    office.log.database.close()
    office.log.database.connection.trouble = "its disk is full"
    answer = office.get("/receipts")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"
    assert "nothing is lost" in words_of(answer.text)
    assert office.get("/page/pulse").status_code == 503


# --- languages, times, live ----------------------------------------------------------------------------------------


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


def test_the_pulse_changes_when_there_is_something_to_show(office: Office) -> None:
    """A browser that has the page open learns by one short question that something else is to be shown."""

    def pulse() -> str:
        found: str = office.get("/page/pulse").json()["pulse"]
        return found

    seen = [pulse()]
    assert pulse() == seen[-1]
    assert f'data-beat="{seen[-1]}"' in office.get("/").text  # so that nothing in between is missed
    office.failed()
    seen.append(pulse())
    office.holds.missed(URL, "502")
    seen.append(pulse())
    office.inbox = inbox_state(unavailable="gone", unavailable_since=1.0)
    seen.append(pulse())
    assert len(set(seen)) == 4


def test_the_pulse_changes_when_a_file_was_moved(office: Office) -> None:
    """No line of a history tells that a file is where it belongs now, and the page says where it is."""
    [job] = office.record()
    assert office.log.jobs.advance(job.job_id, Event.FAIL, office.clock.advance(1), reason=Reason.EMPTY)
    before = office.get("/page/pulse").json()
    office.log.moves.finish_moves([(office.job(job), Folder.FAILED, Path(job.job_id))], office.clock.now)
    assert office.get("/page/pulse").json() != before


def test_pages_work_below_a_path_of_a_proxy(office: Office) -> None:
    """Where a proxy puts us below a path, every address of a page has it in front."""
    office.failed()
    for path in ("/", "/failed"):
        answer = ask_below(office, path)
        for tag, attributes in parsed(answer.text).tags:
            for name in ("src", "href", "action", "data-pulse"):
                address = attributes.get(name)
                if tag != "a" or not (address or "").startswith(("#", "?")):
                    assert address is None or address.startswith("/receipts-app/"), (tag, address)


def ask_below(office: Office, path: str) -> httpx.Response:
    """Ask for a page through a proxy that has put us below a path."""
    for middleware in office.app.user_middleware:
        if "root_path" in middleware.kwargs:
            middleware.kwargs["root_path"] = "/receipts-app"
    return office.get(f"/receipts-app{path}")


def test_who_is_nobody_is_asked_to_sign_in(office: Office) -> None:
    """From elsewhere a page leads to the form, and from there back; a session's buttons need its form token."""
    job = office.failed()
    answer = office.get("/failed?q=a", OFFICE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Ffailed%3Fq%3Da")
    fields = {"token": "operator", "next": "/failed"}
    answer = ask(office.app, "POST", "/sign-in", OFFICE, data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/failed")
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    html = office.get("/failed", OFFICE, **cookie).text
    found = re.search('name="csrf" value="([^"]+)"', html)
    assert found is not None
    press = f"/receipts/{job.job_id}/retry"
    assert ask(office.app, "POST", press, OFFICE, headers=cookie).status_code == 403
    assert ask(office.app, "POST", press, OFFICE, headers=cookie, data={"csrf": found[1]}).status_code == 303
    assert office.log.histories.lines(job.job_id)[-1]["detail"] == "by operator"


def test_the_form_to_sign_in_is_in_the_readers_language(office: Office) -> None:
    """It looks like the other pages, can be switched, and says in that language what was wrong; the way on stays."""
    german = {"Accept_Language": "de"}
    answer = office.get("/sign-in?next=/failed%3Fq%3Da&lang=de", OFFICE)
    assert '<html lang="de">' in answer.text
    assert answer.headers["set-cookie"].startswith("lang=de;")
    assert 'href="?next=%2Ffailed%3Fq%3Da&amp;lang=en"' in answer.text
    assert 'name="next" value="/failed?q=a"' in answer.text
    assert "Anmelden" in words_of(office.get("/sign-in", OFFICE, **german).text)
    fields = {"token": "wrong", "next": "//evil.example"}
    wrong = ask(office.app, "POST", "/sign-in", OFFICE, data=fields, headers={"Accept-Language": "de"})
    assert wrong.status_code == 401
    assert Texts("de")("sign_in.wrong") in words_of(wrong.text)
    assert "evil" not in wrong.text


@pytest.mark.parametrize(
    ("role", "reads", "changes", "uploads"),
    [
        (Role.VIEWER, 200, 403, 403),
        (Role.UPLOADER, 403, 403, 422),
        (Role.OPERATOR, 200, 303, 422),
        (Role.ADMIN, 200, 303, 422),
    ],
)
def test_each_role_sees_and_does_what_it_may(
    office: Office, role: Role, reads: int, changes: int, uploads: int
) -> None:
    """A viewer reads, an uploader hands in, an operator changes too; what one may not is not offered, nor done."""
    job = office.failed()
    bearer = {"Authorization": f"Bearer {role.value}"}
    page = office.get("/failed", OFFICE, **bearer)
    assert page.status_code == reads
    assert ("/retry" in page.text) is (changes == 303)
    holding = ask(office.app, "POST", "/inboxes/office/hold", OFFICE, headers=bearer)
    assert holding.status_code == changes
    if reads == 200:
        assert ("/resume" in office.get("/", OFFICE, **bearer).text) is (changes == 303)
    assert ask(office.app, "POST", f"/receipts/{job.job_id}/retry", OFFICE, headers=bearer).status_code == changes
    assert upload(office, OFFICE, **bearer).status_code == uploads  # 422: the inbox is not there


@given(
    path=st.sampled_from(["/", "/receipts", "/failed", "/receipts/x", "/page/pulse"]),
    query=st.dictionaries(
        st.sampled_from(["q", "status", "inbox", "since", "until", "older", "newer", "lang", "said", "count", "from"]),
        st.text(max_size=30),
        max_size=4,
    ),
)
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_no_question_breaks_a_page(office: Office, path: str, query: dict[str, str]) -> None:
    """Whatever stands in an address, the answer is a page, or says what is wrong with it."""
    answer = ask(office.app, "GET", path, LOCAL, params=query, headers={"Accept": "text/html"})
    assert answer.status_code in (200, 404, 422)
