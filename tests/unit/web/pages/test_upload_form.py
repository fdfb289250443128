"""The form for uploads says why a file is refused, and who may use it; test_receive.py tests what is taken."""

from __future__ import annotations

from tests.unit.web.callback_site import OFFICE
from tests.unit.web.pages.page_site import Office, parsed, upload, words_of


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
