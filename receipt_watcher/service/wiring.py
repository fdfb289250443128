"""Wiring: all parts of one daemon, made from the configuration and from what the process holds.

What it promises: the one place where an admin's options (megabytes, minutes, an inbox's own or everybody's) become the
settings of the parts, and where the parts are given each other. It opens and starts nothing. The state folder is locked
and the port is bound before, so each part gets its final values. The main thread calls it.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.config.branches import Branch
from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import secrets_of
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.destinations.n8n.webhook import N8N, N8NSettings
from receipt_watcher.delivery.kept_callbacks import KeptCallbacks, conclude_kept
from receipt_watcher.delivery.naming import names_of
from receipt_watcher.examine.examiners import Examiners, bounds_of
from receipt_watcher.examine.pool import ExaminerPool
from receipt_watcher.examine.process import file_limits_of
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.opening import GateSettings, GateStages
from receipt_watcher.inbox.state import snapshot_file
from receipt_watcher.inbox.status_file import StatusFile
from receipt_watcher.inbox.take_in import TakeIn
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.engine.last_closed import LastClosed
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.service import delivery_wiring, report_wiring, web_wiring
from receipt_watcher.service.clients import n8n_client
from receipt_watcher.service.daemon_parts import DaemonParts, RunOptions, SharedParts, StageParts, Wakeups
from receipt_watcher.service.process.held_resources import HeldResources
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.identity.accepted_marks import MarkKind, Marks
from receipt_watcher.spool.identity.start_counter import Starts
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.retention import BelievedTime, Remover, Trimmer
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.clock import SteadyClock
from receipt_watcher.system.permissions import to_type
from receipt_watcher.system.runtime_dir import runtime_folder
from receipt_watcher.system.wakeup import Bell
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.files.links import FileLinks

#: A run as a service, with nothing said on the command line.
_SERVICE = RunOptions()


def build(
    config: Config,
    resources: HeldResources,
    options: RunOptions = _SERVICE,
    *,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> DaemonParts:
    """Build all parts of a daemon; `resources` have the state folder and the port by now.

    Raises:
        ConfigError: an option, or a variable of the environment, cannot be used as it is written.
        OSError: the state folder cannot be written.
    """
    shared = _shared(config, resources, options, SteadyClock(wall, monotonic), monotonic)
    stages = _stages(shared)
    reports = report_wiring.reports_of(shared, stages)
    return DaemonParts(
        shared=shared,
        stages=stages,
        reports=reports,
        http=web_wiring.http_of(shared, stages, reports.metrics.http),
    )


def _shared(
    config: Config,
    resources: HeldResources,
    options: RunOptions,
    clock: SteadyClock,
    monotonic: Callable[[], float],
) -> SharedParts:
    callback_secrets = _callback_secrets(config, resources)
    log, wakeups = JobLog(config.database_path), Wakeups()
    return SharedParts(
        config=config,
        options=options,
        installation=resources.installation,
        public_url=config.public_url_for(resources.port),
        runtime_folder=runtime_folder(config.state_dir, os.environ),
        secrets=frozenset({*secrets_of(config), *callback_secrets}),
        clock=clock,
        monotonic=monotonic,
        wakeups=wakeups,
        log=log,
        last_closed=LastClosed(config.state_dir, config.database_path),
        holds=log.holds,
        starts=Starts(log, resources.installation),
        names=names_of(config),
        outbound=n8n_client(
            config,
            timeout_seconds=config.n8n.timeout_seconds,
            connections=config.n8n.workers,
            stopping=wakeups.stopping,
        ),
        tokens=CallbackTokens(*callback_secrets, per_job=config.callback.per_job_tokens),
        links=FileLinks(callback_secrets, config.n8n.link_seconds, clock),
    )


def _callback_secrets(config: Config, resources: HeldResources) -> tuple[str, ...]:
    """Return the secret token and, if there is one, the one before it."""
    callback = config.callback
    secrets = tuple(
        secret.get_secret_value()
        for secret in (callback.secret_token, callback.previous_secret_token)
        if secret is not None
    )
    return secrets if callback.secret_token else (resources.installation.callback_token(), *secrets)


# --- the stages ----------------------------------------------------------------------------------------------------


def _stages(shared: SharedParts) -> StageParts:
    config, log, wakeups = shared.config, shared.log, shared.wakeups
    destinations = destinations_by_branch(
        config,
        Sending(
            shared.outbound,
            shared.tokens.for_job,
            lambda job: shared.public_url + shared.links.path_of(job.job_id, job.sha256 or ""),
        ),
    )
    routes = [inbox_route(config, inbox) for inbox in config.inboxes]
    # Gates take in with the help of examiners; a thread that waits for one tells the gate that it works at.
    gates: list[Gate] = []
    pool = ExaminerPool(
        wakeups.stopping,
        while_waiting=lambda: _wait_for_examiner(gates),
        monotonic=shared.monotonic,
    )
    examiners = Examiners(bounds_of(config), stopping=wakeups.stopping, pool=pool)
    kept_callbacks = KeptCallbacks(config.state_dir / "callbacks", log, clock=shared.clock)

    def must_wait() -> bool:
        """Return whether claims and deadlines must wait for kept callbacks or for the rebuild of the log."""
        return kept_callbacks.are_due or shared.starts.is_rebuilding

    callbacks = delivery_wiring.callbacks_of(shared, routes)
    filing = Filing(log, routes, examine=examiners.examine, deliveries=wakeups.deliveries, clock=shared.clock)
    take_in = TakeIn(
        log,
        routes,
        examine=examiners.examine,
        deliveries=wakeups.deliveries,
        filings=wakeups.filings,
        clock=shared.clock,
        monotonic=shared.monotonic,
    )
    gates += [_gate(shared, inbox, route, take_in, filing) for inbox, route in zip(config.inboxes, routes, strict=True)]
    believed = BelievedTime(log, clock=shared.clock, monotonic=shared.monotonic)
    return StageParts(
        routes=routes,
        gates=gates,
        pool=pool,
        examiners=examiners,
        deliveries=delivery_wiring.deliveries_of(shared, routes, destinations, must_wait),
        callbacks=callbacks,
        deadlines=delivery_wiring.deadlines_of(shared, routes, callbacks, must_wait),
        kept_callbacks=kept_callbacks,
        conclude_kept=functools.partial(conclude_kept, callbacks),
        filing=filing,
        removers=[_remover(shared, route, routes, filing, believed) for route in routes],
        trimmer=Trimmer(log, config.retention, believed=believed, stopping=wakeups.stopping),
    )


def _wait_for_examiner(gates: Sequence[Gate]) -> None:
    """Tell the gate that the calling thread works at: to wait for an examiner is not to wait for a disk."""
    for gate in gates:
        gate.limit.restart_for_examiner()


def _gate(shared: SharedParts, inbox: Inbox, route: InboxRoute, take_in: TakeIn, filing: Filing) -> Gate:
    bell = Bell()
    has_status_file = inbox.status_file and not shared.options.is_once
    settings = gate_settings(
        shared.config,
        inbox,
        installation_id=shared.installation.installation_id,
        runtime_folder=shared.runtime_folder,
        take_over=shared.options.take_over,
        accept_backlog=shared.options.accept_backlog,
        status_file=_status_file(shared, route) if has_status_file else None,
    )
    return Gate(
        route,
        InboxWatch(inbox, bell.ring),
        bell,
        settings,
        stages=GateStages(take_in, filing, shared.wakeups.ring_stages),
        log=shared.log,
        stopping=shared.wakeups.stopping,
        monotonic=shared.monotonic,
        clock=shared.clock,
        starts=shared.starts,
    )


def _status_file(shared: SharedParts, route: InboxRoute) -> StatusFile:
    return StatusFile(route, shared.log, shared.holds, zone=shared.config.notify.zone, secrets=shared.secrets)


def _remover(
    shared: SharedParts, route: InboxRoute, routes: Sequence[InboxRoute], filing: Filing, believed: BelievedTime
) -> Remover:
    return Remover(
        shared.log,
        route,
        routes,
        shared.config.retention,
        at_rest=filing.at_rest(route),
        believed=believed,
        stopping=shared.wakeups.stopping,
        clock=shared.clock,
        monotonic=shared.monotonic,
    )


# --- settings ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sending:
    """The parts that all destinations share: the client, and two functions known once the daemon has its port."""

    outbound: Outbound
    callback_token_of: Callable[[str], str | None]
    file_url_of: Callable[[Job], str]


def destinations_by_branch(config: Config, sending: Sending) -> dict[str, N8N]:
    """Return where the receipts of each inbox go, and those of its subfolders, by the key of the branch."""
    return {
        branch.key: N8N(_n8n_settings(config, branch, sending), sending.outbound) for branch in config.all_branches()
    }


def inbox_route(config: Config, inbox: Inbox) -> InboxRoute:
    """Return the route of an inbox, its subfolders with settings of their own included."""
    return InboxRoute(
        name=inbox.name,
        spool=Spool(inbox.name, SpoolFolders.of(inbox), to_type(MarkKind.SPOOL, inbox.name)),
        branches=config.branches(inbox),
        takes_any_database=inbox.upload_database == "any",
        limits=file_limits_of(config),
    )


def _n8n_settings(config: Config, branch: Branch, sending: Sending) -> N8NSettings:
    n8n = config.n8n
    return N8NSettings(
        url=branch.webhook_url,
        api_key=n8n.api_key.get_secret_value() if n8n.api_key else "",
        payload=n8n.payload,
        max_json_bytes=n8n.max_json_bytes,
        callback_token_of=sending.callback_token_of,
        accept=branch.accept,
        file_url_of=sending.file_url_of,
        signing_secrets=config.signing_secrets(),
    )


def gate_settings(
    config: Config,
    inbox: Inbox,
    *,
    installation_id: Callable[[], str],
    runtime_folder: Path,
    take_over: bool,
    accept_backlog: bool,
    status_file: StatusFile | None,
) -> GateSettings:
    """Return what an inbox's gate is told; `take_over` and `accept_backlog` are the command line's."""
    return GateSettings(
        installation_id=installation_id,
        take_over=take_over,
        accept_backlog=accept_backlog,
        backlog_files=config.limits.backlog_files,
        min_free_mb=config.limits.min_free_mb,
        snapshot_file=snapshot_file(runtime_folder, inbox.name),
        tells_scans=runtime_folder != config.state_dir,
        marks=Marks(config.state_dir, inbox.name),
        accept_command=to_type(MarkKind.BACKLOG, inbox.name),
        status_file=status_file,
    )
