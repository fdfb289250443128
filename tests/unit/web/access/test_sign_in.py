"""The form signs in and out, and leads to our own pages only."""

from __future__ import annotations

import pytest

from receipt_watcher.config.roles import Role
from receipt_watcher.web.pages.sign_in import own_path
from tests.fakes.api_client import SECRETS, ApiSite
from tests.unit.web.callback_site import assert_problem


def test_the_form_signs_in_and_out(site: ApiSite) -> None:
    """Who sends the form is signed in and goes on to a page of ours; to sign out takes the form token."""
    answer = site.ask("POST", "/sign-in", data={"token": SECRETS[Role.VIEWER], "next": "/receipts?q=a"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/receipts?q=a")
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    csrf = site.ask("GET", "/api/v1/session", headers=cookie).json()["csrf"]
    for wrong in ({}, {"csrf": "x"}):
        assert_problem(site.ask("POST", "/sign-out", data=wrong, headers=cookie), 403)
    assert site.ask("GET", "/api/v1/jobs", headers=cookie).status_code == 200
    assert site.ask("POST", "/sign-out", data={"csrf": csrf}, headers=cookie).status_code == 303
    assert_problem(site.ask("GET", "/api/v1/jobs", headers=cookie), 401)


def test_a_wrong_token_is_said_on_the_form(site: ApiSite) -> None:
    """The form comes back with what is wrong, and shows nothing of what was typed."""
    answer = site.ask("POST", "/sign-in", data={"token": "<b>wrong", "next": '"><script>'})
    assert answer.status_code == 401
    assert "none that is known" in answer.text
    assert "wrong<" not in answer.text
    assert "<script>" not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_form_of_too_many_fields_is_refused(site: ApiSite) -> None:
    """Our forms have few fields; one that has more is answered with why, and costs no memory."""
    fields = {f"field{number}": "x" for number in range(21)}
    assert_problem(site.ask("POST", "/sign-in", data=fields), 422)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:x",
        "/\t/evil",
        "/a\r\nb",
        "\\/x",
        "/a\\b",
    ],
)
def test_nobody_is_sent_elsewhere(text: str) -> None:
    """Whatever the address says, who signed in goes on to a page of ours."""
    assert own_path(text) == "/"
    assert own_path("/a?b=c#d") == "/a?b=c#d"
