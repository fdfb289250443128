"""The public names of destinations, and the branches that go to each. Pure.

What it promises: a destination has one name on every screen, in the API, in metrics and for `hold` and `resume`: the
host of its URL, or `host#2` for the second URL of that host. The path of a URL is a secret. Names of older versions are
accepted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from receipt_watcher.jobs.log.manual_holds import HoldTarget, ManualHold
from receipt_watcher.spool.route import InboxRoute

#: The length of the ids that the API gave before.
_ID_CHARACTERS = 12


def branches_of(routes: Iterable[InboxRoute], url: str) -> list[str]:
    """Return the keys of all branches that go to one destination."""
    return [branch.key for route in routes for branch in route.branches if branch.webhook_url == url]


def host_of(url: str) -> str:
    """Return the host of a URL, without its port."""
    return urlsplit(url).hostname or "n8n"


class DestinationNames:
    """The names of all destinations, in the order of the configuration."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        hosts: Counter[str] = Counter()
        places: Counter[str] = Counter()
        for url in dict.fromkeys(urls):
            host, place = host_of(url), urlsplit(url).netloc.rpartition("@")[2]
            hosts[host] += 1
            places[place] += 1
            self._names[url] = host if hosts[host] == 1 else f"{host}#{hosts[host]}"
            # What earlier versions said: the id of the API, and the names of metrics and of /health/ready.
            old_id = hashlib.sha256(url.encode()).hexdigest()[:_ID_CHARACTERS]
            for alias in (url, old_id, f"{place}#{places[place]}", f"{host}#{hosts[host]}"):
                self._aliases.setdefault(alias, url)

    @property
    def by_url(self) -> Mapping[str, str]:
        """The name of each URL."""
        return self._names

    def name_of(self, url: str) -> str:
        """Return the name of a destination; of one that is configured no more, its host."""
        return self._names.get(url) or host_of(url)

    def url_of(self, name: str) -> str | None:
        """Return the URL of the destination with this name, or with this name of an older version; None for none."""
        by_name = {public: url for url, public in self._names.items()}
        return by_name.get(name) or self._aliases.get(name)

    def held(self, hold: ManualHold) -> str:
        """Return what a hold by hand holds: the inbox's name, or the destination's."""
        return hold.name if hold.kind is HoldTarget.INBOX else self.name_of(hold.name)

    def held_in_words(self, hold: ManualHold) -> str:
        """Return the same, for a sentence."""
        return f"the inbox {hold.name}" if hold.kind is HoldTarget.INBOX else f"N8N at {self.name_of(hold.name)}"
