"""The status page before a real job log, and what a reader sees of it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx

from receipt_watcher.config.options import Config
from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.examine.examiners import Examiners
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.report.health.troubles import LogTroubles, TroubleList
from receipt_watcher.service.web_wiring import explainer, page_settings
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.authorization import Access, Trust
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.access.sessions import Sessions
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.app import application
from receipt_watcher.web.callback import CallbackEndpoint, CallbackKeeping
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.files.linked_file import LinkedFile
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.pages.base import ErrorPages
from receipt_watcher.web.pages.receipts.pictures import Pictures
from receipt_watcher.web.pages.receipts.receipt import ReceiptSources
from receipt_watcher.web.pages.rendering import Rendering
from receipt_watcher.web.pages.routes import PageParts, page_routes
from receipt_watcher.web.pages.sign_in import SignInPage
from receipt_watcher.web.probes import Probes, ProbeSources
from receipt_watcher.web.uploads.receive import Uploads
from tests.conftest import TOKEN, FakeClock
from tests.unit.delivery.test_callbacks import Concluding
from tests.unit.delivery.worker_world import URL
from tests.unit.web.callback_site import LOCAL, ask

SCRIPT = "<script>alert(1)</script>"


def inbox_state(**changes: Any) -> InboxState:
    """Return the state of an inbox that is open, with fields changed."""
    fields: dict[str, Any] = {
        "name": "office",
        "path": "/srv/inbox",
        "failed_dir": "/srv/failed",
        "mode": "native",
        "why_mode": "a probe file was heard of",
        "is_ready": True,
        "unavailable": None,
        "unavailable_since": None,
    }
    return InboxState(**(fields | changes))


class Office(Concluding):
    """The pages before a real job log; asked from this machine, in English."""

    def __init__(self, log: JobLog, clock: FakeClock, spool: Spool, root: Path, examiners: Examiners) -> None:
        super().__init__(log, clock, spool)
        self.inbox = inbox_state()
        self.config = Config.model_validate(
            {"inboxes": [{"path": str(spool.folders.inbox), "name": "office"}], "n8n": {"webhook_url": URL}}
        )
        fetching = Fetching(log.lookups.get, self.routes)
        tokens = ApiTokens(ApiToken(role.value, role, hash_of(role.value)) for role in Role)
        sessions = Sessions("a secret of tests", tokens, log, seconds=3600, clock=clock)
        slowness = Slowness(WrongTokens(clock))
        self.access = Access(tokens, sessions, slowness, Trust(local_role=Role.ADMIN))
        gate = cast("Gate", SimpleNamespace(route=self.routes[0]))
        rendering = Rendering(None, clock)
        parts = PageParts(
            settings=page_settings(self.config),
            receipts=ReceiptSources(
                log=log,
                routes=self.routes,
                pictures=Pictures(root / "pictures", fetching, examiners, max_pixels=10**8, clock=clock),
                explain=explainer(self.config, log),
            ),
            holds=self.holds,
            troubles=TroubleList(
                LogTroubles(self.config, log, self.holds, DestinationNames([URL]), started_at=clock.now),
                lambda: [self.inbox],
                state_folders=[root],
                min_free_mb=0,
                trouble_of_log=lambda: None,
                output_trouble=lambda: None,
                clock=clock,
            ).all,
            actions=Actions(
                log,
                DestinationNames([URL]),
                deadline_seconds=900,
                deliveries=self.deliveries,
                filings=self.filings,
                clock=clock,
            ),
            uploads=Uploads(root, [gate], log, self.access, examine=_no_examination, clock=clock),
            inboxes=lambda: [self.inbox],
        )
        downloads = Downloads(fetching)
        callback = CallbackEndpoint(self.conclusion, CallbackTokens(TOKEN), slowness, CallbackKeeping())
        self.app = application(
            [
                *callback.routes(),
                *LinkedFile(FileLinks([TOKEN], 60, clock), downloads, slowness).routes(),
                *Probes(ProbeSources(checks=dict), self.access).routes(),
                *SignInPage(self.access, rendering).routes(),
                *page_routes(parts, self.access, rendering),
            ],
            error_pages=ErrorPages(rendering),
        )

    def get(self, path: str, client: tuple[str, int] = LOCAL, **headers: str) -> httpx.Response:
        """Ask for a page as a browser does."""
        wishes = {"Accept": "text/html,*/*", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return ask(self.app, "GET", path, client, headers=wishes)

    def shown(self, path: str, **headers: str) -> str:
        """Return the text of a page that is there, as a reader sees it."""
        answer = self.get(path, LOCAL, **headers)
        assert answer.status_code == 200, answer.text
        return words_of(answer.text)

    def press(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> httpx.Response:
        """Press a button, as a form of ours does."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.app, "POST", path, LOCAL, data=fields or {}, headers={"Sec-Fetch-Site": "same-origin", **named})

    def failed(self, filename: str = "scan.jpg", reason: Reason = Reason.N8N_FAILURE, message: str = "no sum") -> Job:
        """Return a receipt that has failed, and lies in failed/."""
        [job] = self.record(filename=filename)
        assert self.log.jobs.advance(job.job_id, Event.FAIL, self.clock.advance(1), reason=reason, message=message)
        source = self.routes[0].path_of(job)
        target = source.parent.parent.parent / "failed" / job.job_id
        source.rename(target)
        self.log.moves.finish_moves([(self.job(job), Folder.FAILED, Path(job.job_id))], self.clock.now)
        return self.job(job)


def _no_examination(*_: object) -> Any:
    raise AssertionError("nothing is examined here")


class _Words(HTMLParser):
    """Collects what is read, and what elements and attributes there are."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def parsed(html: str) -> _Words:
    """Read a page."""
    parser = _Words()
    parser.feed(html)
    parser.close()
    return parser


def words_of(html: str) -> str:
    """Return what a reader sees, with single spaces."""
    return " ".join(" ".join(parsed(html).words).split())


def upload(office: Office, client: tuple[str, int] = LOCAL, **headers: str) -> httpx.Response:
    """Send the form, to an inbox that is not there."""
    named = {"Sec-Fetch-Site": "same-origin", **{name.replace("_", "-"): value for name, value in headers.items()}}
    files = [("file", ("scan.pdf", b"x"))]
    return ask(office.app, "POST", "/upload", client, files=files, data={"inbox": "till"}, headers=named)
