"""A button does what its command does, and only for our own pages."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.unit.delivery.worker_world import URL
from tests.unit.web.callback_site import LOCAL, ask
from tests.unit.web.pages.page_site import Office, words_of


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


@pytest.mark.parametrize("reason", [Reason.BROKEN, Reason.TOO_LARGE])
def test_an_admin_may_send_a_refused_file(office: Office, reason: Reason) -> None:
    """The page of a refused receipt has a button behind a question, unless the refusal is one of bounds."""
    job = office.failed(reason=reason)
    path = f"/receipts/{job.job_id}"
    is_offered = "Send it all the same…" in office.shown(path)
    assert is_offered is (reason is Reason.BROKEN)
    if is_offered:
        assert office.press(f"{path}/retry", {"force": "yes"}).headers["location"] == f"{path}?said=retried"
        detail = office.log.histories.lines(job.job_id)[-1]["detail"]
        assert detail == "by this machine, although it was refused as broken"


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
    html = office.get("/failed?q=a&inbox=office").text
    assert '<input type="hidden" name="q" value="a"><input type="hidden" name="inbox" value="office">' in html
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
    path = f"/destinations/{DestinationNames([URL]).name_of(URL)}/resume"
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


def test_what_cannot_be_undone_at_once_asks_before(office: Office) -> None:
    """Cancel, and a retry of all, stand behind a question that needs no script, and says what follows."""
    office.failed()
    [job] = office.record()
    for path, action, words in (
        ("/failed", "/failed/retry", "Each is sent to N8N again"),
        (f"/receipts/{job.job_id}", f"/receipts/{job.job_id}/cancel", "is not sent again"),
    ):
        html = office.get(path).text
        [question] = [
            part for part in re.findall(r'<details class="confirm".*?</details>', html, re.DOTALL) if words in part
        ]
        assert f'action="{action}"' in question
        assert html.count(f'action="{action}"') == 1
