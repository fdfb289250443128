"""The daemon: builds every part, runs the threads, starts and stops.

What it promises: start is a stack (log and its recovery, HTTP, since N8N posts a callback only once, then the
stages, then each spool by itself as soon as its folder is there) and stop is its reverse (no new files, in-flight
attempts end within their bound, late callbacks are still heard, then the log closes).

Threads: the main one waits for a signal; the pools of `loops` do the stages' rounds and the periodic tasks; uvicorn
has one; watchdog has its own. Beside each loop there is one round, which is what tests call. A crash is a restart: see
`recover` of each stage.
"""

from __future__ import annotations

import functools
import os
import random
import threading
import time
from collections.abc import Callable

import structlog

from receipt_watcher import __version__
from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import secrets_of
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.config.values import Secret
from receipt_watcher.delivery.callbacks import Callbacks, Reception
from receipt_watcher.delivery.deadlines import Deadlines
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.kept_callbacks import KeptCallback, KeptCallbacks
from receipt_watcher.delivery.outcomes import Outcomes
from receipt_watcher.delivery.worker import Deliveries
from receipt_watcher.errors import JobLogError
from receipt_watcher.examine.examiners import Examiners, bounds_of
from receipt_watcher.examine.pool import ExaminerPool
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.state import remove, snapshot_file
from receipt_watcher.inbox.status_file import StatusFile
from receipt_watcher.inbox.take_in import TakeIn
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.engine.last_closed import LastClosed
from receipt_watcher.jobs.log.facts import VERSION_FACT
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.verdict import parse_verdict
from receipt_watcher.notify.channels.registry import channels_of
from receipt_watcher.notify.heartbeat import Heartbeat
from receipt_watcher.notify.watcher import NoticeWatcher, forget
from receipt_watcher.report.balance.daily import Audit
from receipt_watcher.report.balance.last_result import last_balance
from receipt_watcher.report.health import Health
from receipt_watcher.report.metrics import Counts, MetricsRegistry, Present
from receipt_watcher.report.metrics_file import Textfile
from receipt_watcher.report.overview import DaemonOverview
from receipt_watcher.service import loops, web_wiring
from receipt_watcher.service.clients import n8n_client, notice_client
from receipt_watcher.service.logging.setup import output_trouble
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.service.watchdog import dump_stacks
from receipt_watcher.service.wiring import (
    Sending,
    deadline_settings,
    delivery_settings,
    destinations_by_branch,
    gate_settings,
    notification_settings,
    route_of,
)
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.retention import PAUSE_SECONDS, BelievedTime, Remover, Trimmer
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.spool.start_counter import Starts
from receipt_watcher.system.clock import SteadyClock
from receipt_watcher.system.runtime_dir import note_runtime_folder, runtime_folder
from receipt_watcher.system.wakeup import Bell
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.access.wrong_tokens import LOG_SECONDS, Slowness, WrongTokens, log_callers
from receipt_watcher.web.api.endpoints import Api, ApiParts
from receipt_watcher.web.app import SiteOptions, application
from receipt_watcher.web.callback import REHEARSAL_FACT, CallbackEndpoint, CallbackKeeping
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.files.linked_file import LinkedFile
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.pages.base import ErrorPages
from receipt_watcher.web.pages.receipts.pictures import Pictures
from receipt_watcher.web.pages.receipts.receipt import ReceiptSources
from receipt_watcher.web.pages.rendering import Rendering
from receipt_watcher.web.pages.routes import PageParts, page_routes
from receipt_watcher.web.pages.sign_in import SignInPage
from receipt_watcher.web.probes import Probes, ProbeSources
from receipt_watcher.web.server.tls import certificate_of
from receipt_watcher.web.uploads import reception

logger = structlog.get_logger()

#: How long a start waits for inboxes to open. One whose file system hangs is opened when that answers again.
OPEN_LIMIT_SECONDS = 6.0

#: How long callers that were accepted have to be answered, when deliveries took up all the time of a stop.
_HEARING_SECONDS = 5.0

#: The periodic tasks: name, and every how many seconds; one thread does them, in this order: nothing expires by a
#: clock that has jumped. The README's table is compared with this one.
PERIODIC_TASKS = {
    "follow_clock": 2.0,
    "check_log": 5.0,
    "expire": 2.0,
    "settle_claims": 30.0,
    "supervise": 2.0,
    "note_alive": 15.0,
    "tell_strangers": LOG_SECONDS,
    "tell_status": 2.0,
    "renew_certificate": 60.0,
    "trim_pictures": 600.0,
    "end_idle_examiners": 10.0,
}

_ALIVE = "alive_at"


class Daemon:
    """One running receipt-watcher."""

    _is_rescuing_log = False  # it was deleted under us, and is being written anew
    _is_for_the_next = False  # it ends in a reload

    def __init__(
        self,
        config: Config,
        *,
        take_over: bool = False,
        accept_backlog: bool = False,
        audits: bool = True,
        ground: HeldResources | None = None,
        tell_status: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._take_over, self._accept_backlog = take_over, accept_backlog
        self._audits = audits
        self._clock = SteadyClock(clock, monotonic)
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._tasks = Bell()  # rung to stop
        self._periodic = loops.PeriodicTasks(
            {name: getattr(self, f"_{name}") for name in PERIODIC_TASKS}, PERIODIC_TASKS, monotonic
        )
        self._loops = loops.Loops(self._stopping)
        self._deliveries = Bell()
        self._filings = Bell()
        self._removals = Bell()  # rung to stop
        self._notices = Bell()  # rung to stop
        self._ground = ground or HeldResources(config.state_dir)
        self._keeps_ground = ground is not None  # it is another's, who gives it back
        self.installation = self._ground.installation
        self._tell_words, self._words = tell_status, ""  # the words as they were told last
        self._runtime_folder = runtime_folder(config.state_dir, os.environ)
        self._log_answered_at = self._http_turned_at = monotonic()
        self._starts = Starts(log := JobLog(config.database_path), self.installation)
        self.log, self._last_closed = log, LastClosed(config.state_dir, config.database_path)
        self.holds = self.log.holds
        self._outbound = n8n_client(
            config,
            timeout_seconds=config.n8n.timeout_seconds,
            connections=config.n8n.workers,
            stopping=self._stopping,
        )
        self._destinations = destinations_by_branch(
            config, Sending(self._outbound, self._callback_token_of, self._file_url_of)
        )
        self.routes = [route_of(config, inbox, self._destinations) for inbox in config.inboxes]
        self._public_url = ""
        self._secrets = secrets_of(config)  # what no notice and no status file may hold
        self._tokens: CallbackTokens | None = None
        self._links: FileLinks | None = None
        self._strangers, self._callers = WrongTokens(monotonic), WrongTokens(monotonic, log_callers)
        self._examiners = self._judging_examiners()
        self.take_in = TakeIn(
            self.log,
            self.routes,
            examine=self._examiners.examine,
            deliveries=self._deliveries,
            filings=self._filings,
            clock=self._clock,
            monotonic=monotonic,
        )
        self.callbacks = KeptCallbacks(config.state_dir / "callbacks", self.log, self._conclude_kept, clock=self._clock)
        self.delivery = self._delivery()
        self.conclusion, self.deadlines = self._callbacks_and_deadlines()
        self.filing = Filing(
            self.log, self.routes, examine=self._examiners.examine, deliveries=self._deliveries, clock=self._clock
        )
        believed = BelievedTime(self.log, clock=self._clock, monotonic=monotonic)
        self.removers = [self._remover(route, believed) for route in self.routes]
        self.trimmer = Trimmer(self.log, config.retention, believed=believed, stopping=self._stopping)
        self.gates = [self._gate(inbox, route) for inbox, route in zip(config.inboxes, self.routes, strict=True)]
        self.condition = DaemonOverview(config, self.log, self.holds, self.gates, self.filing, clock=self._clock)
        self.audit = Audit(
            self.log,
            config.inboxes,
            ready=lambda: {route.name for route in self.routes if route.is_ready},
            stopping=self._stopping,
            clock=self._clock,
            monotonic=monotonic,
        )
        self._tell = self._outbound_of_notices()
        self.notification = self._notification()
        self.heartbeat = self._heartbeat()
        self.checks = self._checks()
        self.metrics = self._metrics()
        self.textfile = self._textfile()
        self._thumbnails = self._thumbnails_of(config)
        self._openings: list[threading.Thread] = []

    # --- building ----------------------------------------------------------------------------------------------

    def _callback_token_of(self, job_id: str) -> str | None:
        return self._tokens.for_job(job_id) if self._tokens else None

    def _file_url_of(self, job: Job) -> str:
        return self._public_url + self._links.path_of(job.job_id, job.sha256 or "") if self._links else ""

    def _gate(self, inbox: Inbox, route: InboxRoute) -> Gate:
        bell = Bell()
        settings = gate_settings(
            self.config,
            inbox,
            installation_id=self.installation.installation_id,
            runtime_folder=self._runtime_folder,
            take_over=self._take_over,
            accept_backlog=self._accept_backlog,
        )
        return Gate(
            route,
            InboxWatch(inbox, bell.ring),
            bell,
            settings,
            log=self.log,
            take_in=self.take_in,
            filing=self.filing,
            ring=self._ring_stages,
            stopping=self._stopping,
            monotonic=self._monotonic,
            clock=self._clock,
            starts=self._starts,
            status_file=self._status_file(route) if inbox.status_file and self._audits else None,
        )

    def _status_file(self, route: InboxRoute) -> StatusFile:
        return StatusFile(route, self.log, self.holds, zone=self.config.notify.zone, secrets=lambda: self._secrets)

    def _outbound_of_notices(self) -> Outbound:
        notify = self.config.notify
        if not notify.webhook_url and not notify.heartbeat_url:
            return self._outbound  # which nothing is told by: a client of its own costs time and memory
        return notice_client(self.config, self._stopping)

    def _notification(self) -> NoticeWatcher | None:
        """Build what tells people, where there is somebody to tell.

        Raises:
            ConfigError: a channel cannot be used as it is written.
        """
        channels = channels_of(self.config.notify, self._tell)
        if not channels:
            return None
        return NoticeWatcher(
            self.log,
            self.holds,
            self.routes,
            channels,
            notification_settings(self.config, lambda: self._secrets),
            inboxes=self.condition.inbox_states,
            clock=self._clock,
            is_stopping=self._stopping.is_set,
        )

    def _heartbeat(self) -> Heartbeat | None:
        notify = self.config.notify
        if notify.heartbeat_url is None:
            return None
        return Heartbeat(
            notify.heartbeat_url.get_secret_value(),
            self._tell,
            every_seconds=notify.heartbeat_minutes * 60,
            troubles=self.condition.troubles,
            scans=lambda: {gate.route.name: gate.watch.scanned_at for gate in self.gates},
            balance=lambda: last_balance(self.log),
            secrets=lambda: self._secrets,
            clock=self._clock,
            monotonic=self._monotonic,
        )

    def _checks(self) -> Health:
        return Health(
            self.log,
            self.holds,
            self.gates,
            self.filing,
            state_folders=[self.config.state_dir, self.config.database_path.parent],
            min_free_mb=self.config.limits.min_free_mb,
            stopping=self._stopping,
            tell_log_trouble=output_trouble,
        )

    def _metrics(self) -> MetricsRegistry:
        present = Present(self.log, self.holds, self.gates, self.checks, clock=self._clock, monotonic=self._monotonic)
        return MetricsRegistry(Counts(self.log, [route.name for route in self.routes]), present)

    def _remover(self, route: InboxRoute, believed: BelievedTime) -> Remover:
        return Remover(
            self.log,
            route,
            self.routes,
            self.config.retention,
            at_rest=self.filing.at_rest(route),
            believed=believed,
            stopping=self._stopping,
            clock=self._clock,
            monotonic=self._monotonic,
        )

    def _judging_examiners(self) -> Examiners:
        self._pool = ExaminerPool(self._stopping, while_waiting=self._wait_for_examiner, monotonic=self._monotonic)
        return Examiners(bounds_of(self.config), stopping=self._stopping, pool=self._pool)

    def _ring_stages(self) -> None:
        self._deliveries.ring()
        self._filings.ring()

    def _callbacks_and_deadlines(self) -> tuple[Callbacks, Deadlines]:
        callbacks = Callbacks(
            self.log,
            self.holds,
            self.routes,
            probe_seconds=self.config.n8n.backoff_initial_seconds,
            deliveries=self._deliveries,
            filings=self._filings,
            clock=self._clock,
        )
        deadlines = Deadlines(
            self.log,
            self.holds,
            self.routes,
            deadline_settings(self.config),
            heard_at=callbacks.heard_at,
            deliveries=self._deliveries,
            filings=self._filings,
            clock=self._clock,
            must_wait=self._must_wait,
        )
        return callbacks, deadlines

    def _delivery(self) -> Deliveries:
        settings = delivery_settings(self.config)
        outcomes = Outcomes(
            self.log,
            self.holds,
            self.routes,
            settings,
            deliveries=self._deliveries,
            filings=self._filings,
            clock=self._clock,
            jitter=random.Random(),  # noqa: S311 - spreads retries, keeps no secret
        )
        return Deliveries(
            self.log,
            self.holds,
            self.routes,
            self._destinations,
            outcomes=outcomes,
            settings=settings,
            callback_url_of=lambda job_id: f"{self._public_url}/api/v1/jobs/{job_id}/callback",
            stopping=self._stopping,
            clock=self._clock,
            must_wait=self._must_wait,
        )

    def _textfile(self) -> Textfile | None:
        path = self.config.metrics.textfile
        return Textfile(path, self.metrics.text) if path is not None else None

    def _thumbnails_of(self, config: Config) -> Pictures:
        bounds = bounds_of(config).for_pictures()
        examiners = Examiners(bounds, stopping=self._stopping, is_logged=False, pool=self._pool)
        max_pixels = int(config.limits.max_megapixels * 1_000_000)
        folder = config.state_dir / "pictures"
        fetching = Fetching(self.log.lookups.get, self.routes)
        return Pictures(folder, fetching, examiners, max_pixels=max_pixels, clock=self._clock)

    def _page_parts(self, parts: ApiParts) -> PageParts:
        return PageParts(
            settings=web_wiring.page_settings(self.config),
            receipts=ReceiptSources(
                log=self.log,
                routes=self.routes,
                pictures=self._thumbnails,
                explain=web_wiring.explainer(self.config, self.log),
            ),
            holds=self.holds,
            actions=parts.actions,
            uploads=parts.uploads,
            inboxes=self.condition.inbox_states,
        )

    # --- start -------------------------------------------------------------------------------------------------

    def start(self, *, after_another: bool = False) -> None:
        """Start every part, the last one being the inboxes; after another daemon of this process, in a reload.

        Raises:
            ReceiptWatcherError: what must be mended before it can start.
        """
        self._ground.take()
        self.installation.installation_id()  # made now: soon each inbox's thread asks for it
        self._begin_telling()
        reception.clear(self.config.state_dir)
        is_known = self._last_closed.is_same()
        self.log.database.open()
        self.callbacks.load()
        if not is_known:
            self.log.database.read_through()
        if self.log.database.trouble is None:
            self._last_closed.note()
            self._begin_on_log()
        self._start_http()  # also where the log is damaged: a callback is kept, as nothing else would be heard
        self._open_gates()
        self._start_loops()
        self._log_answered_at = self._http_turned_at = self._monotonic()
        if not after_another:
            logger.info("daemon.started", version=__version__, public_url=self._public_url, inboxes=len(self.routes))

    def _begin_telling(self) -> None:
        """Say where the commands find what the inboxes tell; an earlier version told it in the state folder."""
        state = self.config.state_dir
        note_runtime_folder(state, self._runtime_folder)
        if self._runtime_folder != state:
            for route in self.routes:
                remove(snapshot_file(state, route.name))

    def _begin_on_log(self) -> None:
        self.metrics.start()
        self._recover_log()
        self._starts.begin()
        if self.log.facts.get(VERSION_FACT) != __version__:
            self.log.facts.keep(VERSION_FACT, __version__)
        if self.notification is None:
            forget(self.log)

    def _open_gates(self) -> None:
        """Open all inboxes, each in a thread of its own: a file system that answers nothing delays nobody else.

        Raises:
            ForeignSpoolError: a spool belongs to another installation.
            LockedError: another daemon is using it.
        """
        if self.log.database.trouble is None:
            for gate in self.gates:
                self._starts.expect(gate.route.spool)
        for gate in self.gates:
            opening = threading.Thread(target=self._open_gate, args=[gate], name=gate.route.name, daemon=True)
            self._openings.append(opening)
            opening.start()
        self._wait_for_openings(OPEN_LIMIT_SECONDS)
        self._supervise()
        for gate in self.gates:
            if gate.start_error is not None:
                raise gate.start_error

    def _open_gate(self, gate: Gate) -> None:
        try:
            gate.open_first()
        except Exception:
            logger.exception("stage.failed", stage="open")  # its rounds try again

    def _wait_for_openings(self, seconds: float) -> bool:
        """Wait for so long at most; return whether every inbox has been opened, or is known to be unavailable."""
        ends_at = self._monotonic() + seconds
        for opening in self._openings:
            opening.join(max(0.0, ends_at - self._monotonic()))
        return not any(opening.is_alive() for opening in self._openings)

    def _recover_log(self) -> None:
        """Deadlines stood still while we were away; claims of the last process become awaited callbacks."""
        for route in self.routes:
            self.log.jobs.assign_branches(route.name, route.key_at)
        self.callbacks.apply()
        now = self._clock()
        alive_at = float(self.log.facts.get(_ALIVE) or now)
        with self.log.database.transaction():
            if alive_at > now:  # the clock was set back meanwhile
                self._shift_times(now - alive_at, now)
            self.log.jobs.postpone_deadlines(alive_at, now)
            n8n = self.config.n8n
            self.log.jobs.bring_forward(now + max(n8n.backoff_max_seconds, n8n.probe_max_seconds or 0.0))
            self.log.facts.keep(_ALIVE, repr(now))
        self.delivery.recover("receipt-watcher stopped while this was being sent")

    def _start_http(self) -> None:
        http = self.config.http
        self._public_url = self.config.public_url_for(self._ground.bind(http.host, http.port, http.uds))
        secrets = self._callback_secrets()
        self._secrets |= {*secrets}
        self._tokens = CallbackTokens(*secrets, per_job=self.config.callback.per_job_tokens)
        self._links = FileLinks(secrets, self.config.n8n.link_seconds, self._clock)
        downloads = Downloads(Fetching(self.log.lookups.get, self.routes))
        rest = self._rest(downloads)
        secret = self.installation.session_secret()
        access = web_wiring.access_of(self.config, secret, self._callers, rest, self._public_url)
        parts = web_wiring.parts_of(self.config, access, rest)
        api = Api(access, parts)
        rendering = Rendering(self.config.notify.zone, self._clock)
        slowness = Slowness(self._strangers)
        keeping = CallbackKeeping(
            keep=self.callbacks.keep,
            may_know_more=lambda: self._starts.may_know_more,
            keep_rehearsal=lambda verdict: self.log.facts.keep(REHEARSAL_FACT, verdict),
        )
        callback = CallbackEndpoint(self.conclusion, self._tokens, slowness, keeping)
        linked_file = LinkedFile(self._links, downloads, slowness, api.file_of_known)
        probes = Probes(
            ProbeSources(
                checks=self.checks.checks,
                degraded=self.checks.degraded,
                waiting=self.condition.waiting,
                metrics=self.metrics.page,
            ),
            access,
        )
        app = application(
            [
                *callback.routes(),
                *linked_file.routes(),
                *probes.routes(),
                *api.routes(),
                *SignInPage(access, rendering).routes(),
                *page_routes(self._page_parts(parts), access, rendering),
            ],
            SiteOptions(origins=http.cors_origins, root_path=http.root_path, hsts_seconds=http.hsts_days * 86400),
            ErrorPages(rendering),
        )
        certificate = certificate_of(http.tls_certificate, http.tls_key)
        self._ground.answer(app, certificate, lambda host: host is None or access.is_proxy(host))

    def _rest(self, downloads: Downloads) -> web_wiring.DaemonParts:
        return web_wiring.DaemonParts(
            log=self.log,
            holds=self.holds,
            gates=self.gates,
            downloads=downloads,
            deliveries=self._deliveries,
            filings=self._filings,
            outbound=self._outbound,
            examine=self._examiners.examine_for_caller,
            is_stopping=self._stopping.is_set,
            clock=self._clock,
            monotonic=self._monotonic,
        )

    def _callback_secrets(self) -> tuple[str, ...]:
        """Return the secret token and, where there is one, the one before it."""
        callback = self.config.callback
        secrets = _texts(callback.secret_token, callback.previous_secret_token)
        return secrets if callback.secret_token else (self.installation.callback_token(), *secrets)

    def _start_loops(self) -> None:
        add = self._loops.add
        for gate in self.gates:
            add("inboxes", gate.bell, gate.round, at_end=functools.partial(self._take_leave, gate))
        # Workers that hang in one inbox's file system are replaced, as many as there are, for the sake of the others.
        for _ in range(self.config.n8n.workers * (2 if len(self.gates) > 1 else 1)):
            add("deliveries", self._deliveries, self._delivery_round)
        for route in self.routes:
            add("filing", self._filings, functools.partial(self._filing_round, route))
        for remover in self.removers:
            if remover.is_needed:
                add("retention", self._removals, functools.partial(self._removal_round, remover))
        if self.trimmer.is_needed:
            add("retention", self._removals, self._trim_round)
        add("tasks", self._tasks, self._periodic.round)
        if self._audits:
            add("balance", self._tasks, self.audit.round)
        self._add_telling()
        self._loops.start()

    def _add_telling(self) -> None:
        """Add the loops that tell others; `run --once` sends no heartbeat and writes no text file."""
        add = self._loops.add
        if self.heartbeat is not None and self._audits:  # a balance feeds it, too
            add("notices", self._notices, self.heartbeat.round)
        if self.notification is not None:
            add("notices", self._notices, self.notification.round)
        if self.textfile is not None and self._audits:
            add("metrics", self._tasks, self.textfile.round, at_end=self.textfile.remove)

    def _take_leave(self, gate: Gate) -> None:
        gate.take_leave(is_stop=not self._is_for_the_next)

    # --- rounds ------------------------------------------------------------------------------------------------

    def _delivery_round(self) -> float:
        self.callbacks.apply()
        return 0.0 if self.delivery.deliver_due() else self.delivery.wait_seconds(loops.TICK_SECONDS)

    def _filing_round(self, route: InboxRoute) -> float:
        return 0.0 if self.filing.file_away_due(route) else loops.TICK_SECONDS

    def _removal_round(self, remover: Remover) -> float:
        if not remover.route.is_ready:
            return loops.TICK_SECONDS
        remover.look()
        return PAUSE_SECONDS

    def _trim_round(self) -> float:
        self.trimmer.look()
        return PAUSE_SECONDS

    # --- periodic tasks ----------------------------------------------------------------------------------------

    def _follow_clock(self) -> None:
        """Move all that is still to come by the jump of the system's clock, so that it comes when it should."""
        jump = self._clock.jump_seconds()
        if not jump:
            return
        asleep = self._clock.asleep_seconds()
        with self.log.database.reading():  # who reads the clock in a transaction gets a time that fits the log's
            now = self._clock() + jump
            with self.log.database.transaction():
                self._shift_times(jump, now)
                self.log.facts.keep(_ALIVE, repr(now))
            self._clock.follow(jump)
        logger.warning("clock.jumped", seconds=round(jump, 1), asleep_seconds=round(asleep, 1))
        self._ring_stages()

    def _check_log(self) -> None:
        """Write the log anew where it was deleted under us; see whether it can be written again."""
        if self.log.database.trouble is not None and not self.log.database.is_open and not self._stopping.is_set():
            self.log.database.open()  # it was written anew, and could not be opened then
        if self.log.database.is_displaced():
            self._is_rescuing_log = True
            try:
                self.log.backup.restore(self.installation.restore)
            finally:
                self._log_answered_at = self._monotonic()
                self._is_rescuing_log = False
        if self.log.database.trouble is not None:
            self.log.facts.keep(_ALIVE, repr(self._clock()))
        if self.log.database.trouble is None:
            self._last_closed.note()
        # Also while nothing is to be written: a program that keeps it locked is told of.
        self.log.database.prove_writable()
        self.callbacks.apply()

    def _must_wait(self) -> bool:
        """Whether nothing may be claimed or expired now: what was kept, or lies in the folders, has its say first."""
        return self.callbacks.are_due or self._starts.is_rebuilding

    def _conclude_kept(self, callback: KeptCallback) -> Reception:
        """Write down a callback that was kept while the log could not be written."""
        why = callback.why
        try:
            verdict = None if why is not None else parse_verdict(callback.body)
        except ValueError as error:  # another version kept it
            verdict, why = None, str(error)
        if verdict is not None:
            return self.conclusion.conclude(callback.job_id, verdict)
        is_known = self.conclusion.keep_unreadable(callback.job_id, callback.body, why or "")
        return Reception.RECEIVED if is_known else Reception.UNKNOWN

    def _shift_times(self, seconds: float, now: float) -> None:
        self.log.jobs.shift_times(seconds, now)
        self.holds.shift_times(seconds)

    def _expire(self) -> None:
        self.callbacks.apply()
        self.callbacks.apply_to_new_jobs(may_still_come=self._starts.may_know_more)
        if self._starts.is_rebuilding:
            return
        if self._starts.has_claims:
            self._starts.has_claims = False
            self.delivery.recover("the job log had been lost or restored")
        self.deadlines.expire_due()

    def _settle_claims(self) -> None:
        """Claims whose outcome could not be written down, as when the disk was full."""
        self.delivery.recover("its outcome could not be written down")

    def _supervise(self) -> None:
        """An inbox whose file system answers nothing cannot say so itself."""
        for gate in self.gates:
            gate.supervise()
        if any(gate.is_hanging for gate in self.gates):
            self._deliveries.ring()  # its workers are replaced now

    def _note_alive(self) -> None:
        """Remember that deadlines are running; while none does, nothing is written and a disk may sleep."""
        if self.log.lookups.next_deadline() is not None:
            self.log.facts.keep(_ALIVE, repr(self._clock()))

    def _tell_strangers(self) -> None:
        self._strangers.log_due()
        self._callers.log_due()

    def _renew_certificate(self) -> None:
        self._ground.renew_certificate()

    def _tell_status(self) -> None:
        """Say in a line what is done now; that it can be said shows that the log answers, be it with an error."""
        try:
            if self._tell_words is not None and (words := self.condition.in_one_line()) != self._words:
                self._tell_words(words)
                self._words = words
        finally:
            self._log_answered_at = self._monotonic()

    def _trim_pictures(self) -> None:
        self._thumbnails.trim()

    def _end_idle_examiners(self) -> None:
        self._pool.end_idle()

    def _wait_for_examiner(self) -> None:
        """Tell the gate that the calling thread works at: to wait for an examiner is not to wait for a disk."""
        for gate in self.gates:
            gate.wait_for_examiner()

    # --- watchdog ----------------------------------------------------------------------------------------------

    def standing_still(self, seconds: float) -> list[str]:
        """Return what has not gone on for so long, in words; it waits for nothing, and any thread may ask.

        A file system that answers nothing is no fault of ours: its inbox is unavailable. While the log is written
        anew all wait for that, and to end the process would lose it: the file has no name any more.
        """
        before = self._monotonic() - seconds
        found = [
            f"the inbox {gate.route.name}"
            for gate in self.gates
            if gate.worked_at < before and not gate.unavailable and not gate.is_hanging
        ]
        if self._log_answered_at < before:
            found.append("the job log")
        if self._http_turned_at < before:
            found.append("HTTP")
        self._ground.ask(self._note_turn)
        return [] if self._is_rescuing_log else found

    def _note_turn(self) -> None:
        self._http_turned_at = self._monotonic()

    # --- stop --------------------------------------------------------------------------------------------------

    def prove_log(self) -> None:
        """See that the job log can be written: who takes our place begins with that, and has no other one.

        Raises:
            JobLogError: it cannot, or was deleted and not written anew yet.
        """
        self.log.facts.keep(_ALIVE, repr(self._clock()))
        if self.log.database.trouble is not None:
            raise JobLogError(self.log.database.trouble)

    def request_stop(self, *, for_the_next: bool = False) -> None:
        """Ask all loops to end; returns at once. With `for_the_next` no one is told of a stop."""
        self._is_for_the_next = for_the_next
        self._stopping.set()
        own = (self._deliveries, self._filings, self._removals, self._notices, self._tasks)
        for bell in (*own, *(gate.bell for gate in self.gates)):
            bell.ring()

    def has_ended(self, timeout_seconds: float) -> bool:
        """Wait for the loops to end, so long at most, once a stop was requested; return whether they have."""
        return self._loops.wait(timeout_seconds)

    def stop(self, *, for_the_next: bool = False) -> bool:
        """Stop in order, within limits.stop_timeout_seconds; return whether every thread ended by itself.

        With `for_the_next` requests wait for the next daemon on the same ground, instead of being turned away.
        """
        ends_at = self._monotonic() + self.config.limits.stop_timeout_seconds
        self.request_stop(for_the_next=for_the_next)
        ended = self._loops.wait(ends_at - self._monotonic())
        ended = self._wait_for_openings(max(0.1, ends_at - self._monotonic())) and ended
        if not ended:
            logger.warning("daemon.cut_off", advice="raise limits.stop_timeout_seconds above n8n.timeout_seconds")
            dump_stacks()
        (self._ground.pause if for_the_next else self._ground.hang_up)(
            max(_HEARING_SECONDS, ends_at - self._monotonic())
        )
        try:
            if self.log.database.is_open:
                self._periodic.do("check_log")  # once more: what was deleted just now would be gone
                self._periodic.do("settle_claims")  # an outcome that the log did not take so far
                self._periodic.do("note_alive")
        finally:  # a disk that is full must not keep the locks
            for gate in self.gates:
                gate.leave()
                if self._openings:  # else they are those of the daemon that kept us out
                    remove(snapshot_file(self._runtime_folder, gate.route.name))
            is_whole = self.log.database.is_open and self.log.database.trouble is None
            self.log.database.close()
            if is_whole:
                self._last_closed.note()
            self._examiners.close()
            self._thumbnails.close()
            self._outbound.close()
            self._tell.close()
            if not self._keeps_ground:
                self._ground.release()
        if self._loops.are_started and not for_the_next:
            logger.info("daemon.stopped")
        return ended


def _texts(*secrets: Secret | None) -> tuple[str, ...]:
    return tuple(secret.get_secret_value() for secret in secrets if secret is not None)
