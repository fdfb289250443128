"""One running daemon: it starts all parts and stops them.

What it promises: start is a stack (log and its recovery, HTTP, since N8N posts a callback only once, then the
stages, then each spool by itself as soon as its folder is there) and stop is its reverse (no new files, in-flight
attempts end within their bound, late callbacks are still heard, then the log closes). The state folder is locked and
the port is bound before the parts are built; until HTTP answers, callers wait in the port's queue.

Threads: the main one waits for a signal; the pools of `loops` do the stages' rounds and the periodic tasks; uvicorn
has one; watchdog has its own. Beside each loop there is one round, which is what tests call. A crash is a restart: see
`recover` of each stage.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from receipt_watcher import __version__
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.state import remove, snapshot_file
from receipt_watcher.notify.watcher import forget
from receipt_watcher.service import loops, web_wiring
from receipt_watcher.service.daemon_parts import DaemonParts
from receipt_watcher.service.process.deadline_clock import DeadlineClock
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.service.process.log_rescue import LogRescue
from receipt_watcher.service.process.openings import InboxOpenings
from receipt_watcher.service.process.progress import StatusReport, WorkProgress
from receipt_watcher.service.process.stages import add_reports, add_stages
from receipt_watcher.service.process.tasks import PERIODIC_TASKS, Tasks, Workers
from receipt_watcher.service.watchdog import dump_stacks
from receipt_watcher.system.runtime_dir import note_runtime_folder
from receipt_watcher.web.server.tls import certificate_of
from receipt_watcher.web.uploads import reception

logger = structlog.get_logger()

#: Time to answer accepted callers if deliveries took up all the time of a stop.
_HEARING_SECONDS = 5.0


class Daemon:
    """One running receipt-watcher, on resources that somebody else takes and gives back."""

    _is_for_the_next = False  # it ends in a reload

    def __init__(
        self, parts: DaemonParts, resources: HeldResources, *, send_status: Callable[[str], None] | None = None
    ) -> None:
        self.parts = parts
        self._resources = resources
        self.progress = WorkProgress(parts.stages.gates, resources.ask, parts.shared.monotonic)
        self.deadlines = DeadlineClock(parts.shared)
        self._openings = InboxOpenings(parts)
        workers = Workers(
            deadlines=self.deadlines,
            rescue=LogRescue(parts.shared, self.deadlines, self.progress),
            openings=self._openings,
            status=StatusReport(parts.reports.overview, self.progress, send_status),
            resources=resources,
        )
        self._periodic = loops.PeriodicTasks(Tasks(parts).table(workers), PERIODIC_TASKS, parts.shared.monotonic)
        self._loops = loops.Loops(parts.shared.wakeups.stopping)

    # --- start -------------------------------------------------------------------------------------------------

    def start(self, *, after_another: bool = False) -> None:
        """Start every part, the last one being the inboxes; after another daemon of this process, in a reload.

        Raises:
            ReceiptWatcherError: what must be mended before it can start.
        """
        shared = self.parts.shared
        shared.installation.installation_id()  # made now: soon each inbox's thread asks for it
        self._note_runtime_folder()
        reception.clear(shared.config.state_dir)
        is_known = shared.last_closed.is_same()
        shared.log.database.open()
        self.parts.stages.kept_callbacks.load()
        if not is_known:
            shared.log.database.read_through()
        if shared.log.database.trouble is None:
            shared.last_closed.note()
            self._begin_on_log()
        self._start_http()  # also where the log is damaged: a callback is kept, as nothing else would be heard
        self._openings.open_all()
        self._start_loops()
        self.progress.begin()
        if not after_another:
            inboxes = len(self.parts.stages.routes)
            logger.info("daemon.started", version=__version__, public_url=shared.public_url, inboxes=inboxes)

    def _note_runtime_folder(self) -> None:
        """Say where the commands find what the inboxes tell; an earlier version told it in the state folder."""
        state, folder = self.parts.shared.config.state_dir, self.parts.shared.runtime_folder
        note_runtime_folder(state, folder)
        if folder != state:
            for route in self.parts.stages.routes:
                remove(snapshot_file(state, route.name))

    def _begin_on_log(self) -> None:
        shared, reports = self.parts.shared, self.parts.reports
        reports.metrics.start()
        self._recover_log()
        shared.starts.begin()
        if shared.log.facts.version.get() != __version__:
            shared.log.facts.version.put(__version__)
        if reports.notices is None:
            forget(shared.log)

    def _recover_log(self) -> None:
        """Let deadlines stand still for our absence; claims of the last process become awaited callbacks."""
        shared, stages = self.parts.shared, self.parts.stages
        for route in stages.routes:
            shared.log.jobs.assign_branches(route.name, route.key_at)
        stages.kept_callbacks.apply(stages.conclude_kept)
        n8n = shared.config.n8n
        self.deadlines.resume(max(n8n.backoff_max_seconds, n8n.probe_max_seconds or 0.0))
        stages.deliveries.recover("receipt-watcher stopped while this was being sent")

    def _start_http(self) -> None:
        http = self.parts.shared.config.http
        app, access = web_wiring.application_of(self.parts)
        certificate = certificate_of(http.tls_certificate, http.tls_key)
        self._resources.answer(app, certificate, lambda host: host is None or access.is_proxy(host))

    def _start_loops(self) -> None:
        add_stages(self._loops, self.parts, self._take_leave)
        self._loops.add("tasks", self.parts.shared.wakeups.tasks, self._periodic.round)
        add_reports(self._loops, self.parts)
        self._loops.start()

    def _take_leave(self, gate: Gate) -> None:
        gate.take_leave(is_stop=not self._is_for_the_next)

    # --- stop --------------------------------------------------------------------------------------------------

    def request_stop(self, *, for_the_next: bool = False) -> None:
        """Ask all loops to end; returns at once. With `for_the_next` no one is told of a stop."""
        self._is_for_the_next = for_the_next
        self.parts.shared.wakeups.stop()
        for gate in self.parts.stages.gates:
            gate.bell.ring()

    def has_ended(self, timeout_seconds: float) -> bool:
        """Wait for the loops to end, so long at most, once a stop was requested; return whether they have."""
        return self._loops.wait(timeout_seconds)

    def stop(self, *, for_the_next: bool = False) -> bool:
        """Stop in order, within limits.stop_timeout_seconds; return whether every thread ended by itself.

        With `for_the_next` requests wait for the next daemon on the same resources, instead of being turned away.
        """
        monotonic = self.parts.shared.monotonic
        ends_at = monotonic() + self.parts.shared.config.limits.stop_timeout_seconds
        self.request_stop(for_the_next=for_the_next)
        ended = self._loops.wait(ends_at - monotonic())
        ended = self._openings.wait(max(0.1, ends_at - monotonic())) and ended
        if not ended:
            logger.warning("daemon.cut_off", advice="raise limits.stop_timeout_seconds above n8n.timeout_seconds")
            dump_stacks()
        hearing_seconds = max(_HEARING_SECONDS, ends_at - monotonic())
        if for_the_next:
            self._resources.pause(hearing_seconds)
        else:
            self._resources.hang_up(hearing_seconds)
        try:
            if self.parts.shared.log.database.is_open:
                self._periodic.do("check_log")  # once more: what was deleted just now would be gone
                self._periodic.do("settle_claims")  # an outcome that the log did not take so far
                self._periodic.do("note_alive")
        finally:  # a disk that is full must not keep the locks
            self._close()
        if self._loops.are_started and not for_the_next:
            logger.info("daemon.stopped")
        return ended

    def _close(self) -> None:
        """Give the spools back, then close the log and all that is open."""
        shared = self.parts.shared
        for gate in self.parts.stages.gates:
            gate.leave()
            if self._openings.have_begun:  # else they are those of the daemon that kept us out
                remove(snapshot_file(shared.runtime_folder, gate.route.name))
        is_whole = shared.log.database.is_open and shared.log.database.trouble is None
        shared.log.database.close()
        if is_whole:
            shared.last_closed.note()
        self.parts.stages.examiners.close()
        self.parts.http.pictures.close()
        shared.outbound.close()
        self.parts.reports.outbound.close()
