"""The loops of one daemon: which stage runs in which pool, woken by which bell.

What it promises: each loop has a thread of its own. The order of the pools means nothing. A crash in a round is a
restart: see `recover` of each stage.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from receipt_watcher.inbox.gate import Gate
from receipt_watcher.service import loops
from receipt_watcher.service.daemon_parts import DaemonParts
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.retention import PAUSE_SECONDS, Remover, Trimmer
from receipt_watcher.spool.route import InboxRoute


def add_stages(added: loops.Loops, parts: DaemonParts, leave: Callable[[Gate], None]) -> None:
    """Add the loops of inboxes, delivery, filing and retention; `leave` is called when a gate's loop has ended."""
    wakeups, stages = parts.shared.wakeups, parts.stages
    for gate in stages.gates:
        added.add("inboxes", gate.bell, gate.round, at_end=functools.partial(leave, gate))
    # Workers that hang in one inbox's file system are replaced, as many as there are, for the sake of the others.
    for _ in range(parts.shared.config.n8n.workers * (2 if len(stages.gates) > 1 else 1)):
        added.add("deliveries", wakeups.deliveries, functools.partial(_deliver, parts))
    for route in stages.routes:
        added.add("filing", wakeups.filings, functools.partial(_file, stages.filing, route))
    for remover in stages.removers:
        if remover.is_needed:
            added.add("retention", wakeups.removals, functools.partial(_remove, remover))
    if stages.trimmer.is_needed:
        added.add("retention", wakeups.removals, functools.partial(_trim, stages.trimmer))


def add_reports(added: loops.Loops, parts: DaemonParts) -> None:
    """Add the loops that tell others; `run --once` sends no heartbeat, makes no balance and writes no text file."""
    wakeups, reports = parts.shared.wakeups, parts.reports
    is_service = not parts.shared.options.is_once
    if is_service:
        added.add("balance", wakeups.tasks, reports.audit.run_once)
    if reports.heartbeat is not None and is_service:  # a balance feeds it, too
        added.add("notices", wakeups.notices, reports.heartbeat.run_once)
    if reports.notices is not None:
        added.add("notices", wakeups.notices, reports.notices.run_once)
    if reports.textfile is not None and is_service:
        added.add("metrics", wakeups.tasks, reports.textfile.run_once, at_end=reports.textfile.remove)


def _deliver(parts: DaemonParts) -> float:
    stages = parts.stages
    stages.kept_callbacks.apply(stages.conclude_kept)
    return 0.0 if stages.deliveries.deliver_due() else stages.deliveries.wait_seconds(loops.TICK_SECONDS)


def _file(filing: Filing, route: InboxRoute) -> float:
    return 0.0 if filing.file_away_due(route) else loops.TICK_SECONDS


def _remove(remover: Remover) -> float:
    if not remover.route.is_ready:
        return loops.TICK_SECONDS
    remover.remove_due()
    return PAUSE_SECONDS


def _trim(trimmer: Trimmer) -> float:
    trimmer.trim_due()
    return PAUSE_SECONDS
