"""The way of one receipt through the packages: few of them, few pairs, and no two modules that call each other.

`python -m pytest -s tests/scenarios/test_call_pairs.py` prints the pairs.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until

_MOST_PACKAGES, _MOST_PAIRS = 10, 25

#: Any package may use these, so they are no part of a way.
_EVERYWHERE = {"errors", "system"}

#: Two modules that call each other, and the named type by which the lower one knows the upper one.
_PROTOCOLS = {
    frozenset(pair): protocol
    for pair, protocol in {
        ("delivery.destinations.http_client", "delivery.destinations.n8n.webhook"): (
            "receipt_watcher.delivery.destinations.http_client",
            "BodyReader",
        ),
        ("delivery.queues", "delivery.worker"): ("receipt_watcher.delivery.claims", "Queue"),
        ("inbox.watching.event_source", "inbox.watching.kernel_events"): (
            "receipt_watcher.inbox.watching.kernel_events",
            "EventListener",
        ),
        ("jobs.log.engine.sqlite", "jobs.log.holds"): ("receipt_watcher.jobs.log.engine.sqlite", "RowReader"),
        ("jobs.log.queries.known_answers", "jobs.log.queries.statistics"): (
            "receipt_watcher.jobs.log.queries.known_answers",
            "Query",
        ),
        ("web.callback", "web.server.bodies"): ("starlette.types", "ASGIApp"),
        ("web.server.accepting", "web.server.thread"): ("receipt_watcher.web.server.accepting", "ConnectionFactory"),
    }.items()
}


class _TracedDaemon(RunningDaemon):
    """The daemon that writes down which module calls which."""

    def command(self, *arguments: str) -> list[str]:
        words = super().command(*arguments)
        if arguments[0] == "run":
            words[words.index("receipt_watcher")] = "tests.fakes.daemons.traced_calls"
        return words


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Return the pairs of modules that call each other while one JPEG goes to done/, the caller first."""
    root = tmp_path_factory.mktemp("traced")
    trace = root / "trace"
    environment = {"TRACE_FILE": str(trace)}
    with StandIn(TOKEN) as n8n, _TracedDaemon(root, n8n.webhook_url, TOKEN, environment=environment) as daemon:
        trace.touch()
        daemon.drop("receipt.jpg", jpegs(1)[0])
        daemon.wait_quiet(1)
        trace.unlink()
        written = trace.with_suffix(".calls")
        wait_until(written.exists, "the calls are written")
    return [(row[0], row[1]) for row in json.loads(Path(written).read_text("utf-8"))]


def test_a_receipt_passes_few_packages(calls: list[tuple[str, str]]) -> None:
    """One JPEG on its way to done/ crosses few first-level packages, and few pairs of them."""
    crossings = Counter((caller.split(".")[0], callee.split(".")[0]) for caller, callee in calls)
    pairs = {pair for pair in crossings if pair[0] != pair[1] and not _EVERYWHERE & set(pair)}
    packages = {package for pair in pairs for package in pair}
    sys.stdout.write(f"{len(packages)} packages: {', '.join(sorted(packages))}; {len(pairs)} pairs of them:\n")
    sys.stdout.writelines(f"  {caller} -> {callee}\n" for caller, callee in sorted(pairs))
    assert {"inbox", "examine", "spool", "jobs", "delivery", "web"} <= packages
    assert len(packages) <= _MOST_PACKAGES
    assert len(pairs) <= _MOST_PAIRS


def test_no_two_modules_call_each_other(calls: list[tuple[str, str]]) -> None:
    """No module calls one that calls it, but by a named protocol."""
    both_ways = {frozenset(pair) for pair in calls if pair[::-1] in calls}
    assert both_ways <= _PROTOCOLS.keys(), sorted(map(sorted, both_ways - _PROTOCOLS.keys()))
    for module, name in _PROTOCOLS.values():
        named = getattr(importlib.import_module(module), name)
        assert name == "ASGIApp" or getattr(named, "_is_protocol", False), (module, name)
