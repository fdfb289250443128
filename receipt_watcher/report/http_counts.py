"""Counters of the HTTP side: requests, callbacks, uploads and refused tokens.

What it promises: labels are bounded, for a route is counted by its pattern and never by the address that was asked for.
Outcomes begin at 0, since Prometheus sees no increase in a series that begins with 1.

Any thread may call it. Nothing is kept on disk: a restart begins at 0.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

#: The outcomes of callbacks and of uploads, and the kinds of tokens that may be refused.
CALLBACK_OUTCOMES = ("received", "contrary", "unreadable", "unknown_job", "wrong_token", "failed")
UPLOAD_OUTCOMES = ("taken", "known", "refused", "not_allowed", "failed")
TOKEN_KINDS = ("api", "callback")


class HttpCounts(Collector):
    """The counts since the start of the daemon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._callbacks: Counter[tuple[str, ...]] = Counter({(outcome,): 0 for outcome in CALLBACK_OUTCOMES})
        self._uploads: Counter[tuple[str, ...]] = Counter({(outcome,): 0 for outcome in UPLOAD_OUTCOMES})
        self._refused_tokens: Counter[tuple[str, ...]] = Counter({(kind,): 0 for kind in TOKEN_KINDS})

    def count_request(self, route: str, status: int) -> None:
        """Count a request by the pattern of its route, and the class of its answer's status."""
        with self._lock:
            self._requests[route, f"{status // 100}xx"] += 1

    def count_callback(self, outcome: str) -> None:
        """Count a callback by its outcome."""
        with self._lock:
            self._callbacks[(outcome,)] += 1

    def count_upload(self, outcome: str) -> None:
        """Count an upload by its outcome, whether it came by the API or by the page."""
        with self._lock:
            self._uploads[(outcome,)] += 1

    def count_refused_token(self, kind: str) -> None:
        """Count a token that was wrong: of the API, or of callbacks and of links to files."""
        with self._lock:
            self._refused_tokens[(kind,)] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the sums."""
        with self._lock:
            families = [
                _family("http_requests", "Requests by route and class of status.", self._requests, "route", "status"),
                _family("callbacks", "Callbacks by their outcome.", self._callbacks, "outcome"),
                _family("uploads", "Uploads by their outcome.", self._uploads, "outcome"),
                _family("tokens_refused", "Wrong tokens, by what they were for.", self._refused_tokens, "kind"),
            ]
        yield from families


def _family(name: str, what: str, counter: Counter[tuple[str, ...]], *labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"receipt_watcher_{name}", what, labels=labels)
    for values, number in sorted(counter.items()):
        family.add_metric(values, number)
    return family
