"""The names of destinations, and the branches that go to each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from receipt_watcher.spool.route import InboxRoute

_ID_CHARACTERS = 12


def branches_of(routes: Iterable[InboxRoute], url: str) -> list[str]:
    """Return the keys of all branches that go to one destination."""
    return [branch.key for route in routes for branch in route.branches if branch.url == url]


def destination_id(url: str) -> str:
    """Return the short name of a destination: a URL may hold what not everybody should see."""
    return hashlib.sha256(url.encode()).hexdigest()[:_ID_CHARACTERS]


def destinations_of(routes: Iterable[InboxRoute]) -> dict[str, str]:
    """Return the URL of each destination by its short name."""
    urls = dict.fromkeys(branch.url for route in routes for branch in route.branches)
    return {destination_id(url): url for url in urls}
