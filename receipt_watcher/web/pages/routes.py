"""The routes of the status page, made from what the daemon has.

Every page works without a script, in English and in German, and loads nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.routing import Route

from receipt_watcher.inbox.state import InboxState
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.report.health.troubles import Trouble
from receipt_watcher.web.access.authorization import Access
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.pages.base import PageEndpoints, Pulse
from receipt_watcher.web.pages.overview.page import OverviewPage
from receipt_watcher.web.pages.receipts.lists import ReceiptLists
from receipt_watcher.web.pages.receipts.receipt import ReceiptPage, ReceiptSources
from receipt_watcher.web.pages.rendering import PageSettings, Rendering
from receipt_watcher.web.pages.upload import UploadPage
from receipt_watcher.web.uploads.receive import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts:
    """The parts that the pages use; `inboxes` returns the state of each inbox, `troubles` what is wrong."""

    settings: PageSettings
    receipts: ReceiptSources
    holds: Holds
    actions: Actions
    uploads: Uploads
    inboxes: Callable[[], Sequence[InboxState]]
    troubles: Callable[[], Sequence[Trouble]]


def page_routes(parts: PageParts, access: Access, rendering: Rendering) -> list[Route]:
    """Return the routes of all pages but the form to sign in."""
    log = parts.receipts.log
    search = log.search
    pulse = Pulse(
        search, parts.holds, log.manual_holds, parts.settings.names, inboxes=parts.inboxes, troubles=parts.troubles
    )
    endpoints = PageEndpoints(access, rendering, pulse)
    return [
        *OverviewPage(endpoints, pulse, search, parts.actions, parts.receipts.routes).routes(),
        *ReceiptLists(endpoints, search, parts.actions, parts.settings).routes(),
        *ReceiptPage(endpoints, search, parts.actions, parts.receipts).routes(),
        *UploadPage(endpoints, search, parts.uploads, parts.settings).routes(),
        Route("/static/{name}", rendering.packaged),
    ]
