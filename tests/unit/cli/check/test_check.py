from __future__ import annotations

import errno
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from receipt_watcher.cli.check.callback import check_callback_url, check_links
from receipt_watcher.cli.check.check import check_all
from receipt_watcher.cli.check.findings import CheckFinding
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.http import is_loopback
from receipt_watcher.config.sources.load import load
from receipt_watcher.inbox.watching.listing import Listing
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.system.state_dir import Installation
from tests.conftest import TOKEN
from tests.fakes.daemons.process import folder_on_another_device, merge


class Listener:
    """A web server that answers every request alike and remembers what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.asked: list[tuple[str, str]] = []
        listener = self

        class Ear(BaseHTTPRequestHandler):
            def answer(self) -> None:
                listener.asked.append((self.command, self.path))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_HEAD = answer  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Ear)
        self.server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhook/receipts"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def healthy() -> Iterator[Listener]:
    """Something that answers as a healthy N8N does."""
    listener = Listener(200, b'{"status":"ok"}')
    yield listener
    listener.close()


@pytest.fixture
def stranger() -> Iterator[Listener]:
    """Something that is no N8N."""
    listener = Listener(404, b"<html>Not found</html>")
    yield listener
    listener.close()


def configured(root: Path, webhook_url: str, inbox: dict[str, Any] | None = None, **sections: Any) -> Config:
    """Return a configuration whose folders are all there."""
    base = {
        "inboxes": [{"path": str(root / "inbox"), "name": "office", **(inbox or {})}],
        "n8n": {"webhook_url": webhook_url},
        "callback": {"secret_token": TOKEN},
        "state_dir": str(root / "state"),
    }
    for name in ("inbox", "processing", "done", "failed"):
        (root / name).mkdir(exist_ok=True)
    path = root / "watcher.yaml"
    path.write_text(yaml.safe_dump(merge(base, sections)))
    return load(path, {})


def of(findings: list[CheckFinding], level: str) -> list[str]:
    """Return what was found at a level."""
    return [found.what for found in findings if found.level == level]


def everything_below(root: Path) -> set[Path]:
    """Return all that is there."""
    return set(root.rglob("*"))


def test_all_is_well(tmp_path: Path, healthy: Listener) -> None:
    """A set-up in order has nothing but good findings, each part is named, and nothing is left lying about."""
    config = configured(tmp_path, healthy.url)
    before = everything_below(tmp_path)
    findings = check_all(config)
    assert {found.level for found in findings} == {"ok"}
    said = "\n".join(of(findings, "ok"))
    for part in (
        "state_dir",
        "receipts can be examined",
        "files can go from",
        "0 files wait",
        "answers and is healthy",
        "callbacks are asked for",
    ):
        assert part in said
    assert everything_below(tmp_path) == before | {tmp_path / "state"}


def test_nothing_is_ever_posted(tmp_path: Path, healthy: Listener) -> None:
    """N8N is asked for its health and for nothing else: a post would book a receipt."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "scan.jpg").write_bytes(b"a receipt")
    check_all(configured(tmp_path, healthy.url))
    assert healthy.asked == [("GET", "/healthz")]


def test_n8n_below_a_path(tmp_path: Path, healthy: Listener, stranger: Listener) -> None:
    """The health is asked for below the prefix of the webhook's path first, and at the root if nothing is there."""
    check_all(configured(tmp_path, healthy.url.replace("/webhook/", "/n8n/webhook/")))
    assert healthy.asked == [("GET", "/n8n/healthz")]
    check_all(configured(tmp_path, stranger.url.replace("/webhook/", "/n8n/webhook/")))
    assert stranger.asked == [("GET", "/n8n/healthz"), ("GET", "/healthz")]


def test_no_room_on_a_disk(tmp_path: Path, healthy: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk with less room than limits.min_free_mb is a warning that names a folder on it, once."""
    full = SimpleNamespace(f_flag=0, f_blocks=100, f_bavail=1, f_frsize=4096)
    config = configured(tmp_path, healthy.url, limits={"min_free_mb": 1})
    monkeypatch.setattr(os, "statvfs", lambda _folder: full)
    found = of(check_all(config), "warning")
    assert [str(tmp_path / "state") in what and "less than limits.min_free_mb" in what for what in found] == [True]


def test_a_test_url(tmp_path: Path, healthy: Listener) -> None:
    """A /webhook-test/ URL is an error, with the advice to publish the workflow."""
    findings = check_all(configured(tmp_path, healthy.url.replace("/webhook/", "/webhook-test/")))
    (found,) = [found for found in findings if found.level == "error"]
    assert "is a test URL" in found.what
    assert "Production URL" in found.advice


def test_no_n8n_at_all(tmp_path: Path, stranger: Listener) -> None:
    """Something else than a healthy N8N behind the URL is a warning with the status that it gave."""
    (what,) = of(check_all(configured(tmp_path, stranger.url)), "warning")
    assert "/healthz says 404" in what


def test_n8n_is_out_of_reach(tmp_path: Path, stranger: Listener) -> None:
    """An N8N that cannot be reached is an error that names its address, without a password in the URL."""
    url = stranger.url.replace("http://", "http://user:hidden-word@")
    config = configured(tmp_path, url)
    stranger.server.server_close()
    (what,) = of(check_all(config), "error")
    assert what.startswith(f"N8N at http://127.0.0.1:{stranger.server.server_port} cannot be reached: no connection")
    assert "hidden-word" not in what


def test_several_webhooks(tmp_path: Path, healthy: Listener) -> None:
    """Each webhook is asked once, however many inboxes use it."""
    inboxes = [
        {"path": str(tmp_path / name / "inbox"), "name": name, "webhook_url": f"{healthy.url}/{path}"}
        for name, path in (("one", "a"), ("two", "a"), ("three", "b"))
    ]
    for inbox in inboxes:
        Path(inbox["path"]).mkdir(parents=True)
    findings = check_all(configured(tmp_path, healthy.url, inboxes=inboxes))
    assert len(healthy.asked) == 2
    assert of(findings, "error") == []


# --- folders -------------------------------------------------------------------------------------------------------


def test_a_folder_beside_a_route(tmp_path: Path, healthy: Listener) -> None:
    """A folder that differs from a configured subfolder by capitals only is named: its receipts go another way."""
    inbox = {"recursive": True, "routes": {"travel": {"notion_database_id": "journeys"}}}
    config = configured(tmp_path, healthy.url, inbox)
    for name in ("travel", "other"):
        (tmp_path / "inbox" / name).mkdir()
    assert not any("capitals" in what for what in of(check_all(config), "warning"))
    (tmp_path / "inbox" / "Travel").mkdir()
    [warning] = [what for what in of(check_all(config), "warning") if "capitals" in what]
    assert "the folder Travel is not the configured travel" in warning


def test_a_missing_inbox(tmp_path: Path, healthy: Listener) -> None:
    """An inbox that is not there is an error."""
    config = configured(tmp_path, healthy.url)
    (tmp_path / "inbox").rmdir()
    (what,) = of(check_all(config), "error")
    assert what == f"inbox office: {tmp_path / 'inbox'} is not there"


def test_folders_that_will_be_made(tmp_path: Path, healthy: Listener) -> None:
    """Siblings that are not there yet are fine where they can be made, and the check does not make them."""
    config = configured(tmp_path, healthy.url)
    for name in ("processing", "done", "failed"):
        (tmp_path / name).rmdir()
    findings = check_all(config)
    assert of(findings, "error") == []
    assert f"inbox office: {tmp_path / 'processing'} will be made at start" in of(findings, "ok")
    assert not (tmp_path / "processing").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path, healthy: Listener) -> None:
    """A folder whose parent is not there either is an error."""
    config = configured(tmp_path, healthy.url, {"done_dir": str(tmp_path / "nowhere" / "done")})
    assert of(check_all(config), "error") == [f"inbox office: {tmp_path / 'nowhere' / 'done'} is not there"]


@pytest.mark.parametrize("name", ["inbox", "processing", "done", "failed", "state"])
def test_a_folder_that_refuses_us(
    name: str, tmp_path: Path, healthy: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder where no file can be made is an error that names it; mode bits are not trusted, files are tried."""
    config = configured(tmp_path, healthy.url)
    touch = Path.touch

    def refuse(path: Path, mode: int = 0o666, exist_ok: bool = True) -> None:  # the library's own signature
        if path.parent == tmp_path / name:
            raise PermissionError(13, "Permission denied", str(path))
        touch(path, mode, exist_ok)

    monkeypatch.setattr(Path, "touch", refuse)
    errors = of(check_all(config), "error")
    assert errors
    assert all(str(tmp_path / name) in what and "Permission denied" in what for what in errors)
    assert not list(tmp_path.rglob("*probe*"))


def test_an_inbox_that_cannot_be_read(tmp_path: Path, healthy: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inbox whose files cannot be listed is an error."""
    config = configured(tmp_path, healthy.url)

    def refuse(_watch: object) -> Iterator[object]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Listing, "files", refuse)
    assert of(check_all(config), "error") == ["inbox office: cannot be read (Permission denied)"]


def test_different_file_systems(tmp_path: Path, healthy: Listener) -> None:
    """Folders on different file systems are a warning: each move is a copy."""
    with folder_on_another_device(tmp_path) as elsewhere:
        (elsewhere / "done").mkdir()
        findings = check_all(configured(tmp_path, healthy.url, {"done_dir": str(elsewhere / "done")}))
    (what,) = of(findings, "warning")
    assert f"{tmp_path / 'processing'} and {elsewhere / 'done'} are on different file systems" in what


def test_many_old_files(tmp_path: Path, healthy: Listener) -> None:
    """More old files than limits.backlog_files are a warning before the first start, and none after it."""
    config = configured(tmp_path, healthy.url, limits={"backlog_files": 2})
    for number in range(3):
        (tmp_path / "inbox" / f"scan-{number}.jpg").write_bytes(b"a receipt")
    (found,) = [found for found in check_all(config) if found.level == "warning"]
    assert found.what == "inbox office: 3 old files wait, more than limits.backlog_files"
    assert "accept-backlog office" in found.advice
    log = JobLog(config.database_path)
    log.database.open()
    log.facts.table.put("inbox_started:office", "1")
    log.database.close()
    assert "inbox office: 3 files wait" in of(check_all(config), "ok")


def test_no_examiner_can_be_started(tmp_path: Path, healthy: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no process to examine with, nothing would ever be taken: that is an error."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    (what,) = of(check_all(configured(tmp_path, healthy.url)), "error")
    assert what.startswith("no examiner can be started: ")
    assert "Resource temporarily unavailable" in what


def test_a_damaged_job_log(tmp_path: Path, healthy: Listener) -> None:
    """A job log that cannot be opened does not stop the check of everything else."""
    config = configured(tmp_path, healthy.url, limits={"backlog_files": 0})
    config.state_dir.mkdir()
    config.database_path.write_bytes(b"this is no database" * 100)
    (tmp_path / "inbox" / "scan.jpg").write_bytes(b"a receipt")
    assert "inbox office: 1 old files wait, more than limits.backlog_files" in of(check_all(config), "warning")


def test_a_running_daemon(tmp_path: Path, healthy: Listener) -> None:
    """A daemon that runs is said, and is no trouble."""
    config = configured(tmp_path, healthy.url)
    running = Installation(config.state_dir)
    running.make_folder()
    running.lock()
    assert "a daemon is running with this configuration" in of(check_all(config), "ok")
    running.unlock()
    assert "a daemon is running with this configuration" not in of(check_all(config), "ok")


# --- the way back --------------------------------------------------------------------------------------------------


def way_back(root: Path, webhook_url: str, **http: str) -> list[CheckFinding]:
    """Return the findings about the callback URL alone: no name is looked up for them."""
    return list(check_callback_url(configured(root, webhook_url, http=http)))


def test_a_callback_url_that_n8n_cannot_reach(tmp_path: Path) -> None:
    """A loopback callback URL is an error where N8N runs elsewhere, since no callback would ever arrive."""
    (found,) = way_back(tmp_path, "https://n8n.example.com/webhook/receipts")
    assert found.level == "error"
    assert "http://127.0.0.1:8000" in found.what
    assert "http.public_url" in found.advice


def test_a_public_url(tmp_path: Path) -> None:
    """A public URL for an N8N elsewhere is fine where we listen for it."""
    found = way_back(
        tmp_path, "https://n8n.example.com/webhook/x", host="0.0.0.0", public_url="http://receipts.office.lan:8000"
    )
    assert [finding.level for finding in found] == ["ok"]


def test_a_public_url_behind_a_proxy(tmp_path: Path) -> None:
    """A public URL while we listen on loopback only needs a proxy here: a warning says so."""
    found = way_back(tmp_path, "https://n8n.example.com/webhook/x", public_url="https://receipts.office.lan")
    assert [finding.level for finding in found] == ["warning", "ok"]
    assert "proxy" in found[0].what


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("n8n.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("192.168.1.2", False),
        ("n8n.example.com", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    """Only names and addresses of this machine are loopback."""
    assert is_loopback(host) is expected


# --- links ---------------------------------------------------------------------------------------------------------


def links_of(root: Path, webhook_url: str, *, public_url: str | None = None, **n8n: object) -> list[CheckFinding]:
    """Return the findings about links alone."""
    http = {} if public_url is None else {"public_url": public_url}
    options = {"webhook_url": webhook_url, "payload": "link"} | n8n
    return list(check_links(configured(root, webhook_url, n8n=options, http=http)))


def running(root: Path, webhook_url: str) -> Installation:
    """Let it look as if a daemon ran."""
    installation = Installation(configured(root, webhook_url).state_dir)
    installation.make_folder()
    installation.lock()
    return installation


def test_without_links_nothing_is_said_of_them(tmp_path: Path, healthy: Listener) -> None:
    """Who sends files along need not be reachable for them."""
    assert links_of(tmp_path, healthy.url, payload="auto") == []


def test_files_that_can_be_fetched(tmp_path: Path, healthy: Listener) -> None:
    """With links the public URL is tried, where a daemon answers there."""
    daemon = running(tmp_path, healthy.url)
    (found,) = links_of(tmp_path, healthy.url, public_url=healthy.url.removesuffix("/webhook/receipts"))
    assert (found.level, found.what.startswith("files can be fetched")) == ("ok", True)
    assert healthy.asked == [("GET", "/health/live")]
    daemon.unlock()


def test_files_that_cannot_be_fetched(tmp_path: Path, healthy: Listener) -> None:
    """A public URL at which nobody listens is a warning that names the option."""
    daemon = running(tmp_path, healthy.url)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        (found,) = links_of(tmp_path, healthy.url, public_url=f"http://127.0.0.1:{deaf.getsockname()[1]}")
    assert found.level == "warning"
    assert "cannot be reached" in found.what
    assert "http.public_url" in found.advice
    daemon.unlock()


def test_files_that_somebody_else_would_be_asked_for(tmp_path: Path) -> None:
    """A public URL at which something else answers, such as a proxy without us behind it, is a warning."""
    proxy = Listener(502, b"Bad Gateway")
    daemon = running(tmp_path, proxy.url)
    (found,) = links_of(tmp_path, proxy.url, public_url=proxy.url.removesuffix("/webhook/receipts"))
    assert (found.level, "which answers 502" in found.what) == ("warning", True)
    daemon.unlock()
    proxy.close()


def test_what_is_not_known_of_links_is_said(tmp_path: Path, healthy: Listener) -> None:
    """Without a daemon nothing answers, so nothing is claimed."""
    (found,) = links_of(tmp_path, healthy.url)
    assert (found.level, "no daemon is running" in found.what) == ("warning", True)


def test_links_that_end_too_early_or_go_in_the_clear(tmp_path: Path, healthy: Listener) -> None:
    """A link should live as long as the callback is waited for; and receipts should not cross a network unencrypted."""
    found = of(links_of(tmp_path, healthy.url, link_seconds=60, public_url="http://receipts.office.lan"), "warning")
    assert "n8n.link_seconds is less than callback.deadline_seconds" in found[0]
    assert "not encrypted" in found[1]
    assert len(of(links_of(tmp_path, healthy.url, public_url="https://receipts.office.lan"), "warning")) == 1
