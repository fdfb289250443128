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

from receipt_watcher.config.options import Config
from receipt_watcher.jobs.log.manual_holds import HoldTarget, ManualHold
from receipt_watcher.spool.route import InboxRoute

#: The length of the ids that the API gave before.
_ID_CHARACTERS = 12


def branch_keys_of(routes: Iterable[InboxRoute], url: str) -> list[str]:
    """Return the keys of all branches that go to one destination."""
    return [branch.key for route in routes for branch in route.branches if branch.webhook_url == url]


def names_of(config: Config) -> DestinationNames:
    """Return the names of all configured destinations, and what earlier versions called them."""
    # Earlier versions numbered the subfolders of an inbox before the inbox itself.
    innermost_first = (branch.webhook_url for inbox in config.inboxes for branch in config.branches(inbox))
    return DestinationNames(config.webhook_urls(), innermost_first)


def host_of(url: str) -> str:
    """Return the host of a URL, without its port."""
    return urlsplit(url).hostname or "n8n"


class DestinationNames:
    """The names of all destinations, in the order of the configuration.

    `labelled_urls` are the same URLs in the order in which earlier versions numbered them.
    """

    def __init__(self, urls: Iterable[str], labelled_urls: Iterable[str] = ()) -> None:
        self._names: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        hosts: Counter[str] = Counter()
        for url in dict.fromkeys(urls):
            host = host_of(url)
            hosts[host] += 1
            self._names[url] = host if hosts[host] == 1 else f"{host}#{hosts[host]}"
            old_id = hashlib.sha256(url.encode()).hexdigest()[:_ID_CHARACTERS]
            self._aliases |= {url: url, old_id: url, f"{host}#{hosts[host]}": url}
        # The labels of metrics and of /health/ready in earlier versions: with the port, if the URL has one.
        places: Counter[str] = Counter()
        for url in dict.fromkeys(labelled_urls):
            place = urlsplit(url).netloc.rpartition("@")[2]
            places[place] += 1
            self._aliases.setdefault(f"{place}#{places[place]}", url)

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
