"""A real Chromium, and the real daemon that it looks at; skipped with a reason where there is none."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, sync_playwright

from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DEADLINE_MILLISECONDS = 30_000


#: The roles, each with a token of its name for callers by a proxy; a caller on this machine is an admin.
_TOKENS = {role.value: {"role": role.value, "hash": hash_of(f"secret-of-{role}")} for role in Role}
_HTTP = {"http": {"local_role": "admin", "tokens": _TOKENS}}


class Visit:
    """One browser window on the daemon, and all that went wrong in it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(DEADLINE_MILLISECONDS)
        self.troubles: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc not in (urlsplit(self.url).netloc, ""):
            self.troubles.append(f"asked elsewhere: {request.url}")

    def open(self, path: str) -> Page:
        """Open a page of the daemon."""
        self.page.goto(f"{self.url}{path}")
        return self.page


@pytest.fixture(autouse=True)
def no_thread_leaks() -> None:
    """The stand-in for N8N lives, and starts threads, for as long as the daemon of a module."""


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Yield the driver of browsers; its event loop is in this thread, so other modules' tests come after its end."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One Chromium for the tests of a module."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; Debian's package chromium has it")
    running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
    yield running
    running.close()


class Office:
    """The daemon with its N8N; what a file is named says what becomes of it."""

    def __init__(self, root: Path, n8n: StandIn) -> None:
        self.mended = threading.Event()
        self._n8n = n8n
        n8n.behave = self._behave
        self.daemon = RunningDaemon(root, n8n.webhook_url, TOKEN, changes=_HTTP)

    def _behave(self, delivery: ReceivedPost) -> Behaviour:
        if "bad" in delivery.filename and not self.mended.is_set():
            return Behaviour(verdict="failure", message="no sum found")
        if "slow" in delivery.filename:
            return Behaviour(verdict=None)
        return Behaviour(message="booked", notion_page_url="https://www.notion.so/page")

    @contextlib.contextmanager
    def answering(self, behaviour: Behaviour) -> Iterator[None]:
        """Let N8N answer everything so, for a while."""
        self._n8n.behave = lambda _: behaviour
        yield
        self._n8n.behave = self._behave

    def history(self, job: Job) -> list[dict[str, Any]]:
        """Return what happened to a job."""
        with self.daemon.job_log() as log:
            return log.histories.lines(job.job_id)

    def destinations(self) -> list[str]:
        """Return the URLs of all webhooks."""
        return [self._n8n.webhook_url]

    def done(self) -> int:
        """Return how many receipts are done."""
        return sum(job.state is State.SUCCESS for job in self.daemon.recorded())


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A running daemon, one for the tests of a module."""
    with StandIn(token=TOKEN) as n8n:
        office = Office(tmp_path_factory.mktemp("office"), n8n)
        with office.daemon:
            yield office


@pytest.fixture
def visit(browser: Browser, office: Office) -> Iterator[Visit]:
    """A window in English; at its end nothing went wrong in it, and nothing was asked elsewhere."""
    context = browser.new_context(
        locale="en-GB", timezone_id="America/New_York", viewport={"width": 1280, "height": 900}
    )
    found = Visit(context, office.daemon.url)
    yield found
    context.close()
    assert found.troubles == []
