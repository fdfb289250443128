"""The API before a real job log, without a network: who asks is said by a token of each role, or by where he is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
from starlette.routing import Route as WebRoute

from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.delivery.destinations.reachability import Reachability
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.authorization import Access, Trust
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.access.jwt import Jwts
from receipt_watcher.web.access.sessions import Sessions
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens, log_callers
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.api.endpoints import Api, ApiParts
from receipt_watcher.web.api.events import Feed
from receipt_watcher.web.app import SiteOptions, application
from receipt_watcher.web.callback import CallbackEndpoint, CallbackKeeping
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.files.linked_file import LinkedFile
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.pages.rendering import Rendering
from receipt_watcher.web.pages.sign_in import SignInPage
from receipt_watcher.web.probes import Probes, ProbeSources
from receipt_watcher.web.uploads.receive import Uploads
from tests.conftest import TOKEN, FakeClock
from tests.unit.delivery.test_callbacks import Concluding
from tests.unit.web.callback_site import LOCAL, OFFICE, ask

SECRETS = {role: f"secret-of-{role}" for role in Role}
SESSION_SECRET = "a-secret-for-sessions"


def tokens(*but: Role) -> ApiTokens:
    """Return one token of each role, but for some."""
    return ApiTokens(ApiToken(f"the-{role}", role, hash_of(SECRETS[role])) for role in Role if role not in but)


def bearer(role: Role) -> dict[str, str]:
    """Return the header with the token of a role."""
    return {"Authorization": f"Bearer {SECRETS[role]}"}


async def no_pause(_seconds: float) -> None:
    """Wait for nothing."""


class ApiSite(Concluding):
    """The whole application; uploads are tested with the real daemon."""

    def __init__(
        self,
        log: JobLog,
        clock: FakeClock,
        spool: Spool,
        *,
        trust: Trust | None = None,
        jwts: Jwts | None = None,
        known: ApiTokens | None = None,
        pause: Callable[[float], Awaitable[None]] = no_pause,
        origins: Sequence[str] = (),
        more: Sequence[WebRoute] = (),
    ) -> None:
        super().__init__(log, clock, spool)
        self.heard()
        known = known or tokens()
        self.sessions = Sessions(SESSION_SECRET, known, log, seconds=3600, clock=clock)
        slowness = Slowness(WrongTokens(clock, log_callers), pause)
        self.access = Access(known, self.sessions, slowness, trust or Trust(Role.VIEWER), jwts)
        self.is_stopping = False
        self.is_there = True
        downloads = Downloads(Fetching(log.lookups.get, self.routes))
        self.feed = Feed(log, lambda: self.is_stopping)
        self.uploads = Uploads(log.database.path.parent, [], log, self.access, examine=_no_examination, clock=clock)
        names = DestinationNames(branch.webhook_url for route in self.routes for branch in route.branches)
        parts = ApiParts(
            log=log,
            holds=self.holds,
            routes=self.routes,
            names=names,
            actions=Actions(
                log, names, deadline_seconds=900, deliveries=self.deliveries, filings=self.filings, clock=clock
            ),
            downloads=downloads,
            uploads=self.uploads,
            feed=self.feed,
            inbox_views=lambda: [{"name": route.name} for route in self.routes],
            reachability_of=lambda url: Reachability(self.is_there, f"asked {url}", 0.01),
            clock=clock,
        )
        self.api = Api(self.access, parts)
        refusals = Slowness(WrongTokens(clock))
        callback = CallbackEndpoint(self.conclusion, CallbackTokens(TOKEN), refusals, CallbackKeeping())
        self.app = application(
            [
                *callback.routes(),
                *LinkedFile(FileLinks([TOKEN], 60, clock), downloads, refusals, self.api.file_of_known).routes(),
                *Probes(ProbeSources(checks=dict), self.access).routes(),
                *self.api.routes(),
                *SignInPage(self.access, Rendering(None, clock)).routes(),
                *more,
            ],
            SiteOptions(origins=origins),
        )

    def ask(
        self, method: str, path: str, role: Role | None = None, client: tuple[str, int] = OFFICE, **options: Any
    ) -> httpx.Response:
        """Ask the application, from the office, with the token of a role or with none."""
        headers = {**(bearer(role) if role else {}), **options.pop("headers", {})}
        return ask(self.app, method, path, client, headers=headers, **options)

    def near(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask from this machine, without a token."""
        return self.ask(method, path, None, LOCAL, **options)

    def sign_in(self, role: Role, **headers: str) -> dict[str, str]:
        """Sign in by JSON, and return the headers of a page's calls: cookie and form token."""
        answer = self.ask("POST", "/api/v1/session", json={"token": SECRETS[role]}, headers=headers)
        assert answer.status_code == 201, answer.text
        cookie = answer.headers["set-cookie"].partition(";")[0]
        return {"Cookie": cookie, "X-CSRF-Token": answer.json()["csrf"]}

    def hear(self, path: str, until: Callable[[bytes], bool], **headers: str) -> bytes:
        """Listen to a stream of events from this machine until enough was heard."""

        async def play() -> bytes:
            heard = bytearray()
            all_headers = {"Host": "localhost", **headers}
            enough = asyncio.Event()
            done = asyncio.Event()
            scope: dict[str, Any] = {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "scheme": "http",
                "method": "GET",
                "path": path.partition("?")[0],
                "raw_path": path.partition("?")[0].encode(),
                "query_string": path.partition("?")[2].encode(),
                "root_path": "",
                "headers": [(name.lower().encode(), text.encode()) for name, text in all_headers.items()],
                "client": LOCAL,
                "server": ("localhost", 80),
            }

            async def receive() -> dict[str, Any]:
                if done.is_set():
                    await enough.wait()
                    return {"type": "http.disconnect"}
                done.set()
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Any) -> None:
                heard.extend(message.get("body", b""))
                if until(bytes(heard)) or not message.get("more_body", True):
                    enough.set()

            async with asyncio.timeout(20):
                await self.app(scope, receive, send)
            return bytes(heard)

        return asyncio.run(play())


def _no_examination(*_: object) -> Any:
    raise AssertionError("nothing is examined here")
