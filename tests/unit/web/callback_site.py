"""The application with callbacks and probes before a real job log, asked with or without a network."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens
from receipt_watcher.web.app import application
from receipt_watcher.web.callback import CallbackEndpoint, CallbackKeeping
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.files.linked_file import LinkedFile
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.probes import Probes, ProbeSources
from receipt_watcher.web.server import thread as server
from tests.conftest import TOKEN, FakeClock
from tests.unit.delivery.test_callbacks import Concluding

LOCAL = ("127.0.0.1", 40_000)
OFFICE = ("192.0.2.7", 40_000)
AUTHENTIC = {"X-Callback-Token": TOKEN}
SUCCESS = b'{"status": "success"}'


async def fail(_request: Request) -> Response:
    """Fail as a defect of ours does."""
    raise RuntimeError("a defect with a secret")


class Site(Concluding):
    """The application before a real job log."""

    def __init__(
        self,
        log: JobLog,
        clock: FakeClock,
        spool: Spool,
        tokens: CallbackTokens | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(log, clock, spool)
        self.checks: dict[str, str | None] = {"job_log": None, "inbox:office": None}
        self.degraded: dict[str, str] = {}
        slowness = Slowness(WrongTokens(clock), pause)
        self.keep_callback = CallbackKeeping().keep
        keeping = CallbackKeeping(keep=lambda *callback: self.keep_callback(*callback))  # noqa: PLW0108 - it changes
        callback = CallbackEndpoint(self.conclusion, tokens or CallbackTokens(TOKEN), slowness, keeping)
        downloads = Downloads(Fetching(log.lookups.get, self.conclusion._routes))
        sources = ProbeSources(checks=lambda: self.checks, degraded=lambda: self.degraded, metrics=lambda: b"up 1\n")
        self.app = application(
            [
                *callback.routes(),
                *LinkedFile(FileLinks([TOKEN], 60, clock), downloads, slowness).routes(),
                *Probes(sources).routes(),
                Route("/defect", fail),
            ]
        )

    def ask(self, method: str, path: str, client: tuple[str, int] = LOCAL, **options: Any) -> httpx.Response:
        """Ask the application, without a network."""
        return ask(self.app, method, path, client, **options)

    def call_back(self, job_id: str, body: bytes = SUCCESS, headers: Mapping[str, str] = AUTHENTIC) -> httpx.Response:
        """Call back."""
        return self.ask("POST", f"/api/v1/jobs/{job_id}/callback", content=body, headers=dict(headers))


def ask(app: ASGIApp, method: str, path: str, client: tuple[str, int], **options: Any) -> httpx.Response:
    """Ask an application for one answer; an error in it becomes its 500, as with a real server."""

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as near:
            return await near.request(method, path, **options)

    return asyncio.run(once())


@contextmanager
def served(site: Site) -> Iterator[str]:
    """Have the application answer at a port while this lasts, and yield the address."""
    bound = server.bind("127.0.0.1", 0)
    running = server.Server(site.app, bound)
    running.start()
    yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    running.stop(5)


def assert_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Assert that an answer is a problem of RFC 9457 with a correlation id, and return it."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem.keys() - {"errors"} == {"type", "title", "status", "code", "detail", "correlation_id"}
    assert re.fullmatch("[a-z]+(_[a-z]+)*", problem["code"])
    assert problem["status"] == status
    assert re.fullmatch("[0-9a-f]{32}", problem["correlation_id"])
    assert problem["detail"]
    return problem


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
VERDICTS = st.fixed_dictionaries(
    {"status": st.sampled_from(["success", "failure"]) | JSON},
    optional={"message": JSON, "notion_page_url": JSON, "data": JSON},
).map(lambda said: json.dumps(said).encode())
