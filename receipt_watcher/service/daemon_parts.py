"""The parts of one daemon, as `wiring` builds them: each has its final values, and none has been started.

What it promises: nothing here changes after it was built, so that no thread sees a part that is only half ready.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from receipt_watcher.config.options import Config
from receipt_watcher.delivery.callbacks import Callbacks
from receipt_watcher.delivery.deadlines import Deadlines
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.kept_callbacks import KeptCallbacks, Take
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.delivery.worker import Deliveries
from receipt_watcher.examine.examiners import Examiners
from receipt_watcher.examine.pool import ExaminerPool
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.jobs.log.engine.last_closed import LastClosed
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.notify.heartbeat import Heartbeat
from receipt_watcher.notify.watcher import NoticeWatcher
from receipt_watcher.report.balance.daily import Audit
from receipt_watcher.report.health.checks import Health
from receipt_watcher.report.metrics import MetricsRegistry
from receipt_watcher.report.metrics_file import Textfile
from receipt_watcher.report.overview import DaemonOverview
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.identity.start_counter import Starts
from receipt_watcher.spool.retention import Remover, Trimmer
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.clock import SteadyClock
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.system.wakeup import Bell
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.access.wrong_tokens import WrongTokens
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.pages.receipts.pictures import Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `run`; `is_once` is `run --once`, which sends no heartbeat and makes no balance."""

    take_over: bool = False
    accept_backlog: bool = False
    is_once: bool = False


@dataclass(frozen=True, slots=True)
class Wakeups:
    """The events by which the threads of one daemon wake and stop each other."""

    stopping: threading.Event = field(default_factory=threading.Event)
    deliveries: Bell = field(default_factory=Bell)
    filings: Bell = field(default_factory=Bell)
    removals: Bell = field(default_factory=Bell)  # rung to stop
    notices: Bell = field(default_factory=Bell)  # rung to stop
    tasks: Bell = field(default_factory=Bell)  # rung to stop

    def ring_stages(self) -> None:
        """Wake delivery and filing."""
        self.deliveries.ring()
        self.filings.ring()

    def stop(self) -> None:
        """Ask all loops to end; the inboxes have bells of their own."""
        self.stopping.set()
        for bell in (self.deliveries, self.filings, self.removals, self.notices, self.tasks):
            bell.ring()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedParts:
    """Parts that all other parts use."""

    config: Config
    options: RunOptions
    installation: Installation
    public_url: str
    runtime_folder: Path
    secrets: frozenset[str]  # what no notice and no status file may hold
    clock: SteadyClock
    monotonic: Callable[[], float]
    wakeups: Wakeups
    log: JobLog
    last_closed: LastClosed
    holds: Holds
    starts: Starts
    names: DestinationNames
    outbound: Outbound  # to N8N
    tokens: CallbackTokens
    links: FileLinks


@dataclass(frozen=True, slots=True, kw_only=True)
class StageParts:
    """The stages that a receipt passes through, and the examiners."""

    routes: Sequence[InboxRoute]
    gates: Sequence[Gate]  # in the order of the routes
    pool: ExaminerPool
    examiners: Examiners
    deliveries: Deliveries
    callbacks: Callbacks
    deadlines: Deadlines
    kept_callbacks: KeptCallbacks
    conclude_kept: Take
    filing: Filing
    removers: Sequence[Remover]
    trimmer: Trimmer


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportParts:
    """Parts that report on all others to people and programs."""

    overview: DaemonOverview
    audit: Audit
    health: Health
    metrics: MetricsRegistry
    textfile: Textfile | None
    outbound: Outbound  # of notices and heartbeat: that of N8N, if there are none
    notices: NoticeWatcher | None
    heartbeat: Heartbeat | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpParts:
    """Parts of the HTTP side that live as long as the daemon."""

    wrong_callback_tokens: WrongTokens
    wrong_api_tokens: WrongTokens
    pictures: Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonParts:
    """All parts of one daemon."""

    shared: SharedParts
    stages: StageParts
    reports: ReportParts
    http: HttpParts
