"""Metrics for Prometheus at `GET /metrics`, and for node_exporter in a text file.

What it promises: a scrape asks the job log and the gates at that moment, and costs little however long the history
is. Counters begin at 0 with the process, which is what `rate()` expects of a restart; they count what the log has got
since, whoever wrote it, so a verdict that is counted is durable, and `retry` at the command line counts too. While the
log cannot be asked, what only the log knows is missing, and the rest is there. Labels are bounded: inboxes, states,
codes of HTTP, and names of destinations.

Any thread may call it; a scrape waits for another one. It writes nothing, so a crash leaves nothing behind.
"""

from __future__ import annotations

import platform
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from receipt_watcher import __version__
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.errors import JobLogError
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.log.histories import Delivered, Turn
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import CLOSED_STATES
from receipt_watcher.report.balance.last_result import last_balance
from receipt_watcher.report.health.checks import Health
from receipt_watcher.report.http_counts import HttpCounts

#: Durations of deliveries: from an N8N next door that answers at once to n8n.timeout_seconds. Seconds.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

#: So many lines of the log are read at a time, so that a callback waits for a scrape for milliseconds only.
PAGE_LINES = 2000

_PREFIX = "receipt_watcher_"
_CODES = frozenset(int(code) for code in HTTPStatus)


class Counts(Collector):
    """Counters of all that the log has got since `start`."""

    def __init__(self, log: JobLog, inboxes: Sequence[str]) -> None:
        self._log = log
        self._event = 0
        self._attempt = 0
        self._recorded = Counter(dict.fromkeys(inboxes, 0))
        # There from the beginning: Prometheus sees no increase in a series that begins with 1.
        self._ended = Counter({(inbox, state.value): 0 for inbox in inboxes for state in CLOSED_STATES})
        self._answers: Counter[tuple[str, str]] = Counter()
        self._durations = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._counting = threading.Lock()

    def start(self) -> None:
        """Begin to count: what the log has by now is not of this process."""
        self._event, self._attempt = self._log.histories.last_event(), self._log.histories.last_attempt()

    def collect(self) -> Iterator[Metric]:
        """Count what is new, and yield the sums."""
        with self._counting:
            try:
                self._count_turns()
                self._count_deliveries()
            except JobLogError:
                pass  # a check of health says so; it is counted once the log can be asked again
            sums = list(self._sums())
        yield from sums

    def _count_turns(self) -> None:
        newest = self._log.histories.last_event()
        self._event = min(self._event, newest)  # numbers are given again once retention removed the newest lines
        while self._event < newest:
            turns = self._log.histories.beginnings_and_ends(self._event, newest, PAGE_LINES)
            for turn in turns:
                self._count_turn(turn)
            self._event = turns[-1].number if len(turns) == PAGE_LINES else newest

    def _count_turn(self, turn: Turn) -> None:
        if turn.event == "record":
            self._recorded[turn.inbox] += 1
        if turn.state in CLOSED_STATES:
            self._ended[turn.inbox, turn.state] += 1

    def _count_deliveries(self) -> None:
        newest = self._log.histories.last_attempt()
        self._attempt = min(self._attempt, newest)
        while self._attempt < newest:
            deliveries = self._log.histories.deliveries(self._attempt, newest, PAGE_LINES)
            for delivered in deliveries:
                self._answers[delivered.outcome, _answer_of(delivered)] += 1
                seconds = max(0.0, delivered.seconds)  # the clock may have been set back meanwhile
                self._durations[bisect_left(BUCKETS, seconds)] += 1
                self._seconds += seconds
            self._attempt = deliveries[-1].number if len(deliveries) == PAGE_LINES else newest

    def _sums(self) -> Iterator[Metric]:
        recorded = _counter("receipts_recorded", "Receipts that were taken in and recorded.", "inbox")
        for inbox, number in sorted(self._recorded.items()):
            recorded.add_metric([inbox], number)
        yield recorded
        ended = _counter("receipts", "Ends of receipts; one that is retried has several.", "inbox", "outcome")
        for (inbox, outcome), number in sorted(self._ended.items()):
            ended.add_metric([inbox, outcome], number)
        yield ended
        attempts = _counter("attempts", "Deliveries that ended, and N8N's status code.", "outcome", "answer")
        for (outcome, answer), number in sorted(self._answers.items()):
            attempts.add_metric([outcome, answer], number)
        yield attempts
        yield self._histogram()

    def _histogram(self) -> Metric:
        below, buckets = 0, []
        for limit, number in zip((*map(str, BUCKETS), "+Inf"), self._durations, strict=True):
            below += number
            buckets.append((limit, below))
        seconds = HistogramMetricFamily(f"{_PREFIX}delivery_seconds", "How long deliveries took until they ended.")
        seconds.add_metric([], buckets, self._seconds)
        return seconds


class Present(Collector):
    """The state of things at the moment of the scrape."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        gates: Sequence[Gate],
        health: Health,
        names: DestinationNames,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._log = log
        self._holds = holds
        self._gates = gates
        self._health = health
        self._names = names
        self._clock = clock
        self._monotonic = monotonic

    def collect(self) -> Iterator[Metric]:
        """Ask the log and the gates now, and yield the gauges."""
        build = InfoMetricFamily(f"{_PREFIX}build", "Which receipt-watcher it is.")
        build.add_metric([], {"version": __version__, "python": platform.python_version()})
        yield build
        yield from self._inboxes()
        checks = _gauge("check_ok", "Whether a check of /health/ready is passed; by its name.", "check")
        for name, trouble in self._health.checks().items():
            checks.add_metric([name], trouble is None)
        yield checks
        try:
            metrics = [self._waiting(), self._oldest(), self._held(), *self._balance()]
        except JobLogError:  # a check says so
            metrics = []
        yield from metrics

    def _inboxes(self) -> Iterator[Metric]:
        available = _gauge("inbox_available", "Whether receipts can be taken from an inbox.", "inbox")
        scanned = _gauge("last_scan_timestamp_seconds", "When an inbox was last read whole, in Unix seconds.", "inbox")
        for gate in self._gates:
            available.add_metric([gate.route.name], gate.state.is_ready and gate.state.unavailable is None)
            scanned_at = gate.watch.scanned_at
            if scanned_at is not None:
                scanned.add_metric([gate.route.name], round(self._clock() - (self._monotonic() - scanned_at), 3))
        yield available
        yield scanned

    def _waiting(self) -> Metric:
        waiting = _gauge("receipts_waiting", "Receipts by where they wait: from the inbox to done.", "inbox", "state")
        for gate in self._gates:
            name = gate.route.name
            counts = Counter({"settling": gate.watch.files, "filing": self._log.statistics.moves_due(name)})
            for branch in gate.route.branches:
                counts.update(
                    {state.value: number for state, number in self._log.statistics.waiting_on(branch.key).items()}
                )
            for state, number in counts.items():
                waiting.add_metric([name, state], number)
        return waiting

    def _oldest(self) -> Metric:
        oldest = _gauge("oldest_waiting_seconds", "Age of the oldest receipt that waits or is under way.", "inbox")
        now = self._clock()
        for gate in self._gates:
            began = [file.first_seen_at for file in gate.state.waiting if file.why is not WaitReason.UNFINISHED]
            opened_at = self._log.statistics.oldest_open_in(gate.route.name)
            if opened_at is not None:
                began.append(opened_at)
            oldest.add_metric([gate.route.name], max(0.0, now - min(began, default=now)))
        return oldest

    def _held(self) -> Metric:
        held = _gauge("destination_hold", "Whether a webhook is held: its receipts wait.", "destination")
        for url, name in self._names.by_url.items():
            held.add_metric([name], self._holds.of(url).is_held)
        return held

    def _balance(self) -> Iterator[Metric]:
        result = last_balance(self._log)
        if result is not None:
            wrong = _gauge("balance_disagreements", "Files about which log and folders disagreed at the last balance.")
            wrong.add_metric([], result.wrong)
            yield wrong


class MetricsRegistry:
    """The metrics of one daemon, in registries of its own."""

    def __init__(self, counts: Counts, present: Present, http: HttpCounts) -> None:
        self.http = http
        self._counts = counts
        self._own = CollectorRegistry()
        self._own.register(counts)
        self._own.register(present)
        self._own.register(http)
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)

    def start(self) -> None:
        """Begin to count; the log is open.

        Raises:
            JobLogError: it cannot be asked.
        """
        self._counts.start()

    def page(self) -> bytes:
        """Return all metrics in Prometheus' text format, version 0.0.4."""
        return self.text() + generate_latest(self._process)

    def text(self) -> bytes:
        """Return our own, without the process's: node_exporter has such of itself, and refuses what comes twice."""
        return generate_latest(self._own)


def _counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, what, labels=labels)


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, what, labels=labels)


def _answer_of(delivered: Delivered) -> str:
    """Return N8N's status code as a label; a far side that invents codes makes no series of them."""
    if delivered.status_code is None:
        return "none"
    return str(delivered.status_code) if delivered.status_code in _CODES else "other"
