"""`run --once`: take in and deliver what is there, wait for the verdicts, say what became of it.

The same daemon as ever, stopped when nothing is left to do; or when nothing has changed for as long as a callback
may take, so that a far side that is down does not keep a cron job for ever.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.states import OPEN_STATES, State
from receipt_watcher.service import wiring
from receipt_watcher.service.daemon_parts import DaemonParts, RunOptions
from receipt_watcher.service.process.daemon import Daemon
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.service.process.signals import StopSignal
from receipt_watcher.system.display import display_name

_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class OnceResult:
    """The result of one run: the jobs that it changed, the troubles that stopped it, and whether its threads ended."""

    jobs: list[Job]
    troubles: list[str]
    ended: bool

    @property
    def is_fine(self) -> bool:
        """Return whether every receipt got to its place."""
        return not self.troubles and all(job.state in (State.SUCCESS, State.DUPLICATE) for job in self.jobs)


def run_once(config: Config, stop: StopSignal, *, take_over: bool, accept_backlog: bool) -> OnceResult:
    """Run until nothing is left to do, until nothing moves any more, or until `stop` is set."""
    started_at = time.time()
    config = config.model_copy(update={"retention": Retention()})  # it needs hours to believe the clock
    options = RunOptions(take_over=take_over, accept_backlog=accept_backlog, is_once=True)
    resources = HeldResources(config.state_dir)
    jobs: list[Job] = []
    troubles: list[str] = []
    try:
        resources.take(config.http)
        parts = wiring.build(config, resources, options)
        daemon = Daemon(parts, resources)
        try:
            daemon.start()
            _wait(parts, stop)
            jobs = parts.shared.log.lookups.changed_since(started_at)
            troubles = _troubles(parts, jobs)
        finally:
            ended = daemon.stop()
    finally:
        resources.release()
    return OnceResult(jobs, troubles, ended)


def _wait(parts: DaemonParts, stop: StopSignal) -> None:
    log, gates = parts.shared.log, parts.stages.gates
    changed_at, before = time.monotonic(), _progress(log.statistics.counts())
    while not stop.wait(_LOOK_SECONDS) and not parts.reports.overview.is_quiet():
        counts = log.statistics.counts()
        now = _progress(counts)
        if now != before or not all(gate.is_idle or gate.state.unavailable for gate in gates):
            changed_at, before = time.monotonic(), now
        # What is being sent is waited for: its outcome says what is wrong, and comes within n8n.timeout_seconds.
        patience_seconds = parts.shared.config.callback.deadline_seconds
        if not counts[State.DELIVERING] and time.monotonic() - changed_at > patience_seconds:
            return


def _progress(counts: Mapping[State, int]) -> dict[State, int]:
    """Return how many jobs are in each state; one that is tried in vain, again and again, makes no difference."""
    return {
        **counts,
        State.QUEUED: counts[State.QUEUED] + counts[State.DELIVERING],
        State.DELIVERING: 0,
    }


def _troubles(parts: DaemonParts, jobs: list[Job]) -> list[str]:
    urls, gates = set(parts.shared.config.webhook_urls()), parts.stages.gates
    troubles = [f"{gate.route.name}: {gate.state.unavailable}" for gate in gates if gate.state.unavailable]
    troubles += [
        f"{gate.route.name}: {display_name(relative)} is still in the inbox ({parked.why}: {parked.why.meaning})"
        for gate in gates
        for relative, parked in gate.watch.settler.parked.items()
    ]
    troubles += [
        f"N8N at {parts.shared.names.name_of(standing.url)} {standing.trouble}"
        for standing in parts.shared.holds.all()
        if standing.trouble and standing.url in urls
    ]
    troubles += [words for words in parts.reports.overview.waiting().values() if not words.startswith("0 ")]
    still_open = sum(job.state in OPEN_STATES for job in jobs)
    if still_open:
        troubles.append(f"{still_open} receipts have no verdict yet; the next run goes on with them")
    return troubles
