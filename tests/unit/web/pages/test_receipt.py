"""The page of a receipt shows its life, its deliveries, its file and its picture."""

from __future__ import annotations

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.report.explain import Explainer
from tests.fakes.daemons.process import digest
from tests.unit.web.callback_site import OFFICE
from tests.unit.web.pages.page_site import SCRIPT, Office, words_of


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


def test_line_breaks_of_a_message_stay(office: Office) -> None:
    """What N8N said in several lines stands in several lines: as message, in the history and in the explanation."""
    job = office.failed(message="no sum\nline 2 of it")
    office.log.histories.note(job.job_id, office.clock.now, "upload", detail="first\nsecond")
    for path in (f"/receipts/{job.job_id}", "/failed", "/receipts", "/"):
        html = office.get(path).text
        assert "no sum\nline 2 of it" in html, path
        assert "\\n" not in html, path
    html = office.get(f"/receipts/{job.job_id}").text
    assert "first\nsecond" in html


def test_the_time_of_retention_is_the_visitors(office: Office) -> None:
    """When retention removed a file is a time that the script writes in the visitor's zone."""
    job = office.failed()
    office.log.database.change("UPDATE job SET removed_at = ? WHERE job_id = ?", office.clock.now, job.job_id)
    html = office.get(f"/receipts/{job.job_id}").text
    assert f'removed by retention <time datetime="{iso_time(office.clock.now)}">' in html
