"""Each role sees and does what it may, below a proxy's path as well."""

from __future__ import annotations

import re

import httpx
import pytest

from receipt_watcher.config.roles import Role
from receipt_watcher.web.pages.texts.language import Texts
from tests.unit.web.callback_site import OFFICE, ask
from tests.unit.web.pages.page_site import Office, parsed, upload, words_of


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


@pytest.mark.parametrize(
    ("headers", "status", "location"),
    [
        (
            {"Sec-Fetch-Site": "same-origin", "Referer": "http://localhost/failed?q=a"},
            303,
            "/sign-in?next=%2Ffailed%3Fq%3Da",
        ),
        ({"Sec-Fetch-Site": "same-origin"}, 303, "/sign-in?next=%2F"),
        ({"Sec-Fetch-Site": "same-origin", "Referer": "http://[x"}, 303, "/sign-in?next=%2F"),
        ({"Sec-Fetch-Site": "cross-site", "Referer": "http://evil.example/x"}, 403, None),
        ({}, 403, None),
    ],
)
def test_a_button_after_the_end_of_a_session_leads_to_the_form(
    office: Office, headers: dict[str, str], status: int, location: str | None
) -> None:
    """A button on our own page changes nothing without a session, and leads by the form back to its page."""
    job = office.failed()
    answer = ask(office.app, "POST", f"/receipts/{job.job_id}/retry", OFFICE, headers=headers)
    assert (answer.status_code, answer.headers.get("location")) == (status, location)
    assert office.job(job) == job


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
