"""Uploads: by the real daemon, to the end; and what forms may hold."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.web.pages.texts.german_codes import REASONS_DE
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.uploads.form import Form, safe_name
from tests.conftest import TOKEN
from tests.fakes.api_client import SECRETS, bearer
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, files_below, jpegs, wait_until
from tests.unit.web.callback_site import assert_problem

TOKENS = {"http": {"tokens": {f"the-{role}": {"role": str(role), "hash": hash_of(SECRETS[role])} for role in Role}}}


@pytest.fixture
def daemon(tmp_path: Path, n8n: StandIn) -> Iterator[RunningDaemon]:
    """A daemon with a token of each role."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=TOKENS) as daemon:
        yield daemon


def upload(daemon: RunningDaemon, content: bytes, name: str = "scan.jpg", **options: Any) -> httpx.Response:
    """Upload a receipt."""
    headers = bearer(Role.UPLOADER) | options.pop("headers", {})
    address = f"{daemon.url}/api/v1/receipts/upload"
    return httpx.post(address, files={"file": (name, content)}, headers=headers, timeout=30, **options)


# --- with the daemon -----------------------------------------------------------------------------------------------


def test_an_upload_goes_the_way_of_all_receipts(daemon: RunningDaemon, n8n: StandIn) -> None:
    """202 with its place once it is recorded; then it is sent, called back and filed, under its own name."""
    [content] = jpegs(1)
    answer = upload(daemon, content, "päge 1.jpg", data={"inbox": "office"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    job_id = answer.json()["job_id"]
    assert answer.headers["location"] == f"/api/v1/jobs/{job_id}"
    assert daemon.job("päge 1.jpg").job_id == job_id
    daemon.wait_quiet(1)
    assert_consistent(daemon, n8n.deliveries, [content])
    shown = httpx.get(daemon.url + answer.headers["location"]).json()
    assert (shown["status"], shown["filename"]) == ("success", "päge 1.jpg")
    assert ("upload", "by the-uploader") in [(line["event"], line["detail"]) for line in shown["history"]]
    assert list((daemon.state / "uploads").iterdir()) == []


def test_an_upload_and_a_file_are_one_receipt(daemon: RunningDaemon, n8n: StandIn) -> None:
    """The same bytes, uploaded after they were dropped, are answered 200 with the first job, and sent once."""
    one, two = jpegs(2)
    daemon.drop("a.jpg", one)
    daemon.wait_quiet(1)
    again = upload(daemon, one, "b.jpg")
    assert (again.status_code, again.json()) == (200, {"job_id": daemon.job("a.jpg").job_id, "status": "success"})
    first = upload(daemon, two, "c.jpg").json()["job_id"]
    daemon.wait_quiet(3)
    daemon.drop("d.jpg", two)
    daemon.wait_quiet(4)
    assert daemon.job("d.jpg").duplicate_of == first
    assert len(n8n.deliveries) == 2


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"", "empty.jpg", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "a.jpg", "unsupported_type"),
        (b"<!doctype html><script>alert(1)</script>", "a.png", "unsupported_type"),
        (samples.jpeg(1)[:-3000], "cut.jpg", "incomplete"),
    ],
)
def test_what_is_no_receipt_is_refused_and_kept(
    daemon: RunningDaemon, n8n: StandIn, content: bytes, name: str, reason: str
) -> None:
    """422 with the reason's code, whatever the name says; the file is in failed/ with its row, as one of the folder."""
    problem = upload(daemon, content, name)
    assert (problem.status_code, problem.json()["reason"]) == (422, reason)
    daemon.wait_quiet(1)
    job = daemon.job(name)
    assert (job.job_id, job.state, str(job.reason)) == (problem.json()["job_id"], State.FAILURE, reason)
    assert [path.read_bytes() for path in daemon.files(daemon.failed)] == [content]
    assert n8n.deliveries == []


def test_a_key_gets_the_same_answer_again(daemon: RunningDaemon, n8n: StandIn) -> None:
    """Repeated with its key, also after a restart, an upload is answered as before, and there is one row only."""
    one, two = jpegs(2)
    key = {"Idempotency-Key": "scan-1"}
    first = upload(daemon, one, headers=key)
    daemon.wait_quiet(1)
    second = upload(daemon, one, headers=key)
    daemon.kill()
    daemon.start()
    third = upload(daemon, one, headers=key)
    assert {answer.json()["job_id"] for answer in (first, second, third)} == {daemon.job("scan.jpg").job_id}
    assert [answer.status_code for answer in (first, second, third)] == [202] * 3
    assert "another file" in assert_problem(upload(daemon, two, headers=key), 422)["detail"]
    assert upload(daemon, two, headers=key | bearer(Role.ADMIN)).status_code == 202  # each caller has keys of his own
    assert_problem(upload(daemon, two, headers={"Idempotency-Key": "x" * 256}), 422)
    daemon.wait_quiet(2)


def test_many_at_once_are_all_taken(daemon: RunningDaemon, n8n: StandIn) -> None:
    """Uploads and dropped files that come together are each taken once, and all go their way."""
    contents = jpegs(24)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: upload(daemon, contents[number], f"{number}.jpg"), range(12)))
        for number in range(12, 24):
            daemon.drop(f"{number}.jpg", contents[number])
    assert [answer.status_code for answer in answers] == [202] * 12
    daemon.wait_quiet(24)
    assert_consistent(daemon, n8n.deliveries, contents)


def test_a_kill_in_the_midst_leaves_nothing_half(daemon: RunningDaemon, n8n: StandIn) -> None:
    """An upload that was under way when the daemon was killed leaves no file after the next start, and no job."""
    begun = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + b"x" * 600_000
        begun.set()
        wait_until(lambda: daemon.process is not None and daemon.process.poll() is not None, "the daemon is dead")
        yield b"\r\n--x--\r\n"

    def send() -> None:
        headers = bearer(Role.UPLOADER) | {"Content-Type": "multipart/form-data; boundary=x"}
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(f"{daemon.url}/api/v1/receipts/upload", content=pieces(), headers=headers, timeout=60)

    sender = threading.Thread(target=send, name="sender")
    sender.start()
    growing = daemon.state / "uploads"
    wait_until(lambda: begun.is_set() and files_below(growing), "it grows")
    daemon.kill()
    sender.join()
    daemon.start()
    assert not growing.exists()
    assert daemon.recorded() == []
    assert n8n.deliveries == []


def test_a_crash_after_the_move_is_recovered(tmp_path: Path, n8n: StandIn) -> None:
    """An upload that was moved and not recorded is recorded by the next start, and sent once."""
    [content] = jpegs(1)
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=TOKENS)
    try:
        daemon.start(crash_at="examined")
        with contextlib.suppress(httpx.HTTPError):
            upload(daemon, content)
        daemon.ended()
        assert [path.read_bytes() for path in daemon.files(daemon.processing)] == [content]
        daemon.start()
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content])
    finally:
        daemon.close()


def test_a_crash_after_the_move_forgets_no_key(tmp_path: Path, n8n: StandIn) -> None:
    """Repeated with its key after a crash between move and row, it is that job, also where duplicates are sent."""
    [content] = jpegs(1)
    key = {"Idempotency-Key": "scan-1"}
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox={"duplicates": "send"}, changes=TOKENS)
    try:
        daemon.start(crash_at="examined")
        with contextlib.suppress(httpx.HTTPError):
            upload(daemon, content, headers=key)
        daemon.ended()
        daemon.start()
        wait_until(lambda: upload(daemon, content, headers=key).status_code not in (409, 503), "it is recorded")
        answer = upload(daemon, content, headers=key)
        daemon.wait_quiet(1)
        assert answer.json()["job_id"] == daemon.job("scan.jpg").job_id
        assert_consistent(daemon, n8n.deliveries, [content])
    finally:
        daemon.close()


def test_what_cannot_be_taken_now_is_asked_for_again(daemon: RunningDaemon) -> None:
    """While the inbox's folder is away the answer is 503 with Retry-After, and nothing is kept."""
    [content] = jpegs(1)
    daemon.inbox.rename(daemon.inbox.with_name("away"))
    wait_until(lambda: daemon.count("inbox.unavailable"), "it is noticed")
    answer = upload(daemon, content)
    assert "is not there" in assert_problem(answer, 503)["detail"]
    assert answer.headers["retry-after"] == "10"
    daemon.inbox.with_name("away").rename(daemon.inbox)
    wait_until(lambda: upload(daemon, content).status_code == 202, "it is taken again")
    daemon.wait_quiet(1)


def test_an_inbox_that_is_held_takes_no_upload(daemon: RunningDaemon) -> None:
    """While an admin holds the inbox an upload is 503 with the reason, and nothing is kept; then it is taken."""
    [content] = jpegs(1)
    assert daemon.run("hold", "office", "--why", "the books are closed").returncode == 0
    answer = upload(daemon, content)
    assert "held by hand: the books are closed" in assert_problem(answer, 503)["detail"]
    assert daemon.recorded() == []
    assert daemon.run("resume", "office").returncode == 0
    assert upload(daemon, content).status_code == 202
    daemon.wait_quiet(1)


def test_the_form_is_read_strictly(daemon: RunningDaemon) -> None:
    """What is missing, unknown, too large or ignored by its name is a problem that says so; nothing is recorded."""
    [content] = jpegs(1)
    address = f"{daemon.url}/api/v1/receipts/upload"
    headers = bearer(Role.UPLOADER)
    assert "no inbox 'cellar'" in assert_problem(upload(daemon, content, data={"inbox": "cellar"}), 422)["detail"]
    assert "database" in assert_problem(upload(daemon, content, data={"notion_database_id": "x"}), 422)["detail"]
    assert "'color'" in assert_problem(upload(daemon, content, data={"color": "red"}), 422)["detail"]
    assert "no receipt" in assert_problem(upload(daemon, content, "Thumbs.db"), 422)["detail"]
    assert_problem(httpx.post(address, data={"inbox": "office"}, headers=headers), 415)
    assert_problem(httpx.post(address, content=b"x", headers=headers), 415)
    assert_problem(httpx.post(address, files={"other": ("a", b"x")}, headers=headers), 422)
    two = [("file", ("a", b"x")), ("file", ("b", b"x"))]
    assert_problem(httpx.post(address, files=two, headers=headers), 422)
    assert_problem(httpx.post(address, content=b"x", headers=headers | {"Content-Type": "multipart/form-data"}), 415)
    assert_problem(upload(daemon, b"x" * (51 * 2**20)), 413)
    assert daemon.recorded() == []
    assert daemon.files(daemon.state / "uploads") == []


def test_an_uploader_learns_no_paths(tmp_path: Path, n8n: StandIn) -> None:
    """An inbox that is away is a 503 for an upload; only who may read is told where it lies."""
    [content] = jpegs(1)
    inbox = {"path": str(tmp_path / "our receipts" / "the inbox")}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox=inbox, changes=TOKENS) as daemon:
        daemon.inbox.rename(tmp_path / "away")
        wait_until(lambda: httpx.get(f"{daemon.url}/health/ready").status_code == 503, "the inbox is away")
        for role in (Role.UPLOADER, Role.ADMIN):
            told = assert_problem(upload(daemon, content, headers=bearer(role)), 503)["detail"]
            assert ("receipts" in told) is (role is Role.ADMIN)


def test_an_upload_by_form_needs_the_form_token(daemon: RunningDaemon) -> None:
    """Who is signed in uploads with the form's field or the header, and not without; another site's page not at all."""
    [content] = jpegs(1)
    with httpx.Client(base_url=daemon.url) as browser:
        csrf = browser.post("/api/v1/session", json={"token": SECRETS[Role.UPLOADER]}).json()["csrf"]
        path, files = "/api/v1/receipts/upload", {"file": ("a.jpg", content)}
        assert_problem(browser.post(path, files=files), 403)
        assert_problem(browser.post(path, files=files, data={"csrf": "x"}), 403)
        foreign = {"Origin": "https://evil.example"}
        assert_problem(browser.post(path, files=files, data={"csrf": csrf}, headers=foreign), 403)
        assert daemon.recorded() == []
        assert browser.post(path, files=files, data={"csrf": csrf}).status_code == 202
    daemon.wait_quiet(1)


def test_the_database_says_the_inbox(tmp_path: Path, n8n: StandIn) -> None:
    """An upload for a Notion database goes to the inbox, or the subfolder, that has it."""
    inbox = {"recursive": True, "notion_database_id": "usual", "routes": {"travel": "trips"}}
    one, two = jpegs(2)
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox=inbox, changes=TOKENS) as daemon:
        assert upload(daemon, one, "1.jpg", data={"notion_database_id": "trips"}).status_code == 202
        assert upload(daemon, two, "2.jpg", data={"notion_database_id": "usual"}).status_code == 202
        daemon.wait_quiet(2)
        found = {job.filename: (str(job.relative_path), job.notion_database_id) for job in daemon.recorded()}
    assert found == {"1.jpg": ("travel/1.jpg", "trips"), "2.jpg": ("2.jpg", "usual")}


def test_an_inbox_and_a_database_that_contradict_are_refused(tmp_path: Path, n8n: StandIn) -> None:
    """An upload that names an inbox and another one's database is refused in words, also with a key that was used."""
    inbox = {"recursive": True, "notion_database_id": "usual", "routes": {"travel": "trips"}}
    [one] = jpegs(1)
    key = {"Idempotency-Key": "scan-1"}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox=inbox, changes=TOKENS) as daemon:
        for fields in ({"inbox": "office", "notion_database_id": "other"}, {"notion_database_id": "other"}):
            refused = assert_problem(upload(daemon, one, data=fields), 422)["detail"]
            assert "'other'" in refused
            assert "upload_database: any" in refused
            assert "usual" not in refused
        assert daemon.recorded() == []
        fitting = {"inbox": "office", "notion_database_id": "trips"}
        assert upload(daemon, one, data=fitting, headers=key).status_code == 202
        daemon.wait_quiet(1)
        assert str(daemon.job("scan.jpg").relative_path) == "travel/scan.jpg"
        assert_problem(upload(daemon, one, data={"notion_database_id": "other"}, headers=key), 422)


def test_an_upload_may_carry_a_database_of_its_own(tmp_path: Path, n8n: StandIn) -> None:
    """With upload_database any, N8N is sent the database that the upload names; its key stands for that one only."""
    inbox = {"notion_database_id": "usual", "upload_database": "any"}
    one, two = jpegs(2)
    key = {"Idempotency-Key": "scan-1"}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox=inbox, changes=TOKENS) as daemon:
        own = {"inbox": "office", "notion_database_id": "its own"}
        answer = upload(daemon, one, "1.jpg", data=own, headers=key)
        assert answer.status_code == 202
        assert upload(daemon, two, "2.jpg", data={"notion_database_id": "usual"}).status_code == 202
        daemon.wait_quiet(2)
        assert {sent.filename: sent.notion_database_id for sent in n8n.deliveries} == {
            "1.jpg": "its own",
            "2.jpg": "usual",
        }
        again = upload(daemon, one, "1.jpg", data=own, headers=key)
        assert (again.status_code, again.json()["job_id"]) == (202, answer.json()["job_id"])
        elsewhere = own | {"notion_database_id": "another"}
        assert "database" in assert_problem(upload(daemon, one, "1.jpg", data=elsewhere, headers=key), 422)["detail"]
        assert upload(daemon, one, "3.jpg", data=own).status_code == 200  # the same bytes in the same database
        assert upload(daemon, one, "4.jpg", data=elsewhere).status_code == 202
        assert_problem(upload(daemon, one, data=own | {"notion_database_id": "a\nb"}), 422)
        daemon.wait_quiet(4)


def test_a_database_of_its_own_outlives_a_crash_and_a_failure(tmp_path: Path, n8n: StandIn) -> None:
    """An upload's own database is sent also after a crash before the row, and when its failed file is dropped in."""
    inbox = {"notion_database_id": "usual", "upload_database": "any"}
    [content] = jpegs(1)
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox=inbox, changes=TOKENS)
    n8n.behave = lambda _: Behaviour(verdict="failure")
    try:
        daemon.start(crash_at="examined")
        with contextlib.suppress(httpx.HTTPError):
            upload(daemon, content, data={"notion_database_id": "its own"})
        daemon.ended()
        daemon.start()
        daemon.wait_quiet(1)
        n8n.behave = lambda _: Behaviour()
        [failed] = daemon.files(daemon.failed)
        failed.rename(daemon.inbox / failed.name)
        daemon.wait_quiet(1)
        assert daemon.job("scan.jpg").state is State.SUCCESS
        assert [sent.notion_database_id for sent in n8n.deliveries] == ["its own", "its own"]
    finally:
        daemon.close()


@pytest.mark.parametrize(("webhook_url", "status"), [(None, 202), ("http://127.0.0.1:1/webhook/x", 422)])
def test_a_database_of_several_inboxes(tmp_path: Path, n8n: StandIn, webhook_url: str | None, status: int) -> None:
    """A database that two inboxes have says enough if both send to one workflow; otherwise the inbox must be named."""
    second = {"path": str(tmp_path / "phone" / "inbox"), "name": "phone", "notion_database_id": "usual"}
    second |= {"webhook_url": webhook_url} if webhook_url else {}
    (tmp_path / "phone" / "inbox").mkdir(parents=True)
    [content] = jpegs(1)
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox={"notion_database_id": "usual"}, changes=TOKENS)
    written = yaml.safe_load(daemon.config_file.read_text())
    written["inboxes"].append(second)
    daemon.config_file.write_text(yaml.safe_dump(written))
    with daemon:
        answer = upload(daemon, content, data={"notion_database_id": "usual"})
        assert answer.status_code == status
        assert status == 202 or "office, phone" in answer.json()["detail"]


def test_old_keys_are_forgotten(daemon: RunningDaemon) -> None:
    """After a day a key is unknown, and its place in the log is free."""
    one, two = jpegs(2)
    upload(daemon, one, headers={"Idempotency-Key": "1"})
    daemon.wait_quiet(1)
    assert daemon.terminate() == 0
    with contextlib.closing(sqlite3.connect(daemon.state / "receipts.db")) as log, log:
        log.execute("UPDATE fact SET value = '2020' || substr(value, 5) WHERE name LIKE 'upload:%'")
    daemon.start()
    upload(daemon, two, headers={"Idempotency-Key": "2"})
    daemon.wait_quiet(2)
    with contextlib.closing(sqlite3.connect(daemon.state / "receipts.db")) as log:
        assert log.execute("SELECT COUNT(*) FROM fact WHERE name LIKE 'upload:%'").fetchone() == (1,)


# --- by the status page -----------------------------------------------------------------------------------------------


def test_the_pages_form_takes_what_the_api_takes(daemon: RunningDaemon, n8n: StandIn) -> None:
    """By our script or without one a receipt is taken, a copy of it leads to the first, and what is none says why."""
    [content] = jpegs(1)
    with httpx.Client(base_url=daemon.url, headers=bearer(Role.UPLOADER), timeout=30) as browser:

        def send(content: bytes, name: str, **headers: str) -> httpx.Response:
            files = {"file": (name, content)}
            return browser.post("/upload", files=files, data={"inbox": "office"}, headers=headers)

        german, page = {"Accept-Language": "de"}, {"Accept": "text/html"}
        first = send(content, "a.jpg")
        job_id = daemon.job("a.jpg").job_id
        told = {"status": "queued", "what": "Taken in", "detail": "", "job_id": job_id}
        assert (first.status_code, first.json()) == (202, told)
        again = send(content, "b.jpg", **german)
        assert (again.status_code, again.json()["what"], again.json()["job_id"]) == (200, "Schon da", job_id)
        shown = send(content, "c.jpg", **page)
        assert shown.status_code == 200
        assert all(words in shown.text for words in ("c.jpg", "Already here", f'href="/receipts/{job_id}"'))
        empty = send(b"", "d.jpg", **german)
        assert (empty.status_code, empty.json()["what"]) == (422, "Nicht angenommen")
        assert empty.json()["detail"] == " ".join(REASONS_DE[Reason.EMPTY])
        assert empty.json()["job_id"] == daemon.job("d.jpg").job_id
        cut = send(samples.jpeg(1)[:-3000], "e.jpg", **page)
        assert cut.status_code == 422
        assert Reason.INCOMPLETE.advice in cut.text
        assert f'href="/receipts/{daemon.job("e.jpg").job_id}"' in cut.text
        assert "benennen Sie die Datei um" in send(content, "Thumbs.db", **german).json()["detail"]
        large = send(b"x" * (51 * 2**20), "f.jpg", **german)
        assert (large.status_code, large.json()["detail"]) == (413, "Mehr als 50 MB je Datei werden nicht angenommen.")
    daemon.wait_quiet(5)
    assert [delivery.filename for delivery in n8n.deliveries] == ["a.jpg"]


def test_the_pages_form_needs_its_token(daemon: RunningDaemon) -> None:
    """Who is signed in uploads with the token that the page put into its form, and not without."""
    [content] = jpegs(1)
    with httpx.Client(base_url=daemon.url, headers={"Accept": "text/html"}) as browser:
        browser.post("/sign-in", data={"token": SECRETS[Role.UPLOADER]})
        found = re.search('name="csrf" value="([^"]+)"', browser.get("/upload").text)
        assert found is not None
        files = {"file": ("a.jpg", content)}
        for fields in ({}, {"csrf": "x"}):
            assert browser.post("/upload", files=files, data=fields).status_code == 403
        assert daemon.recorded() == []
        assert browser.post("/upload", files=files, data={"csrf": found[1]}).status_code == 202
    daemon.wait_quiet(1)


# --- names and forms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        (b"scan.jpg", "scan.jpg"),
        (b"../../etc/passwd", "passwd"),
        (rb"C:\scans\a.pdf", "a.pdf"),
        (b"/etc/", "upload"),
        (b"..", "upload"),
        (b"", "upload"),
        (b".hidden.jpg", "hidden.jpg"),
        (b"a\0b\r\n.jpg", "a_b__.jpg"),
        ("\u202egpj.a".encode(), "_gpj.a"),
        (b"\xff.jpg", "\ufffd.jpg"),
        ("a\u0308.jpg".encode(), "\u00e4.jpg"),
    ],
)
def test_a_name_is_no_path(given_name: bytes, name: str) -> None:
    """A name loses its folders, and what nobody sees."""
    assert safe_name(given_name) == name


@given(st.binary(max_size=400) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_name_is_one_that_a_file_can_have(given_name: bytes) -> None:
    """Whatever bytes are given as a name, it is one name, printable, and no longer than a name may be."""
    name = safe_name(given_name)
    assert name not in ("", ".", "..")
    assert not {"/", "\\", "\0", "\n"} & set(name)
    assert len(os.fsencode(name)) <= 255


def form_of(content: bytes, size: int) -> tuple[Form, bytes]:
    """Read a form in pieces of this size."""
    file = io.BytesIO()
    form = Form("multipart/form-data; boundary=x", file, 1000)
    for start in range(0, len(content), size):
        form.feed(content[start : start + size])
    return form, file.getvalue()


@given(content=st.binary(max_size=300), size=st.integers(1, 50))
def test_a_file_comes_through_whatever_its_bytes(content: bytes, size: int) -> None:
    """However the bytes of a form are cut into pieces, the file is what was sent; fields may come after it."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content
    body += b'\r\n--x\r\nContent-Disposition: form-data; name="inbox"\r\n\r\noffice\r\n--x--\r\n'
    if b"\r\n--x" in b"\r\n" + content:
        return
    form, written = form_of(body, size)
    assert (written, form.fields, form.filename, form.is_whole) == (content, {"inbox": "office"}, "a", True)


@given(st.binary(max_size=400).map(lambda tail: b"--x\r\n" + tail), st.integers(1, 100))
def test_no_form_is_an_error_of_ours(content: bytes, size: int) -> None:
    """Whatever is sent as a form is read, or refused in words."""
    with contextlib.suppress(RefusedError):
        form, _ = form_of(content, size)
        assert isinstance(form.is_whole, bool)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"y" * 1001, 413),
        (b'--x\r\nContent-Disposition: form-data; name="inbox"\r\n\r\n' + b"y" * 1025, 422),
        (b"--x\r\nContent-Disposition: " + b"y" * 5000, 422),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 2, 422),
        (b"--x\r\nA: b\r\n\r\n\r\n" * 9, 422),
        (b"--x\r\n" + b"".join(b"H%d: b\r\n" % number for number in range(9)), 422),
    ],
)
def test_a_form_is_bounded(content: bytes, status: int) -> None:
    """Too large a file, too long a field or header, too many of them: refused as soon as that is known."""
    with pytest.raises(RefusedError) as caught:
        form_of(content, 100)
    assert caught.value.status == status
