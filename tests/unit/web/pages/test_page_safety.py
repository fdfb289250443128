"""No name, question or error puts anything on a page that is not meant to be there."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.web.callback_site import LOCAL, OFFICE, ask, assert_problem
from tests.unit.web.pages.page_site import SCRIPT, Office, parsed, words_of

#: Names and messages that a page must not fall for.
WILD = [SCRIPT, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a\u202egpj.exe", "tab\tnewline\n.pdf", "' OR 1=1 --"]

PAGES = ["/", "/receipts", "/failed", "/upload"]


def all_pages(office: Office) -> list[str]:
    """Return the paths of all pages, one of a receipt among them."""
    job = office.failed()
    return [*PAGES, f"/receipts/{job.job_id}"]


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
