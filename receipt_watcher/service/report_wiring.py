"""Wiring of what people and programs are told: overview, balance, health, metrics, notices and heartbeat.

What it promises: it opens and starts nothing. The main thread calls it.
"""

from __future__ import annotations

from receipt_watcher.config.options import Config
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.notify.channels.registry import channels_of
from receipt_watcher.notify.heartbeat import Heartbeat
from receipt_watcher.notify.settings import NotificationSettings
from receipt_watcher.notify.watcher import NoticeWatcher
from receipt_watcher.report.balance.daily import Audit
from receipt_watcher.report.balance.last_result import last_balance
from receipt_watcher.report.health.checks import Health
from receipt_watcher.report.health.troubles import LogTroubles, TroubleList
from receipt_watcher.report.http_counts import HttpCounts
from receipt_watcher.report.metrics import Counts, MetricsRegistry, Present
from receipt_watcher.report.metrics_file import Textfile
from receipt_watcher.report.overview import DaemonOverview
from receipt_watcher.service.clients import notice_client
from receipt_watcher.service.daemon_parts import ReportParts, SharedParts, StageParts
from receipt_watcher.service.logging.setup import output_trouble


def reports_of(shared: SharedParts, stages: StageParts) -> ReportParts:
    """Build what tells others how the stages are.

    Raises:
        ConfigError: a channel of notices cannot be used as it is written.
    """
    config = shared.config
    overview = _overview(shared, stages)
    health = _health(shared, stages)
    metrics = _metrics(shared, stages, health)
    outbound = _outbound(shared)
    return ReportParts(
        overview=overview,
        audit=_audit(shared, stages),
        health=health,
        metrics=metrics,
        textfile=None if config.metrics.textfile is None else Textfile(config.metrics.textfile, metrics.text),
        outbound=outbound,
        notices=_notices(shared, stages, overview, outbound),
        heartbeat=_heartbeat(shared, stages, overview, outbound),
    )


def _overview(shared: SharedParts, stages: StageParts) -> DaemonOverview:
    config = shared.config
    log_troubles = LogTroubles(config, shared.log, shared.holds, shared.names, started_at=shared.clock())
    troubles = TroubleList(
        log_troubles,
        lambda: [gate.state for gate in stages.gates],
        state_folders=[config.state_dir, config.database_path.parent],
        min_free_mb=config.limits.min_free_mb,
        trouble_of_log=lambda: shared.log.database.trouble,
        output_trouble=output_trouble,
        clock=shared.clock,
    )
    return DaemonOverview(config, shared.log, shared.holds, stages.gates, troubles, clock=shared.clock)


def _audit(shared: SharedParts, stages: StageParts) -> Audit:
    return Audit(
        shared.log,
        shared.config.inboxes,
        ready=lambda: {route.name for route in stages.routes if route.is_ready},
        stopping=shared.wakeups.stopping,
        clock=shared.clock,
        monotonic=shared.monotonic,
    )


def _health(shared: SharedParts, stages: StageParts) -> Health:
    config = shared.config
    return Health(
        shared.log,
        shared.holds,
        stages.gates,
        stages.filing,
        shared.names,
        state_folders=[config.state_dir, config.database_path.parent],
        min_free_mb=config.limits.min_free_mb,
        stopping=shared.wakeups.stopping,
        output_trouble=output_trouble,
    )


def _metrics(shared: SharedParts, stages: StageParts, health: Health) -> MetricsRegistry:
    present = Present(
        shared.log, shared.holds, stages.gates, health, shared.names, clock=shared.clock, monotonic=shared.monotonic
    )
    return MetricsRegistry(Counts(shared.log, [route.name for route in stages.routes]), present, HttpCounts())


def _outbound(shared: SharedParts) -> Outbound:
    notify = shared.config.notify
    if not notify.webhook_url and not notify.heartbeat_url:
        return shared.outbound  # which nothing is told by: a client of its own costs time and memory
    return notice_client(shared.config, shared.wakeups.stopping)


def _notices(
    shared: SharedParts, stages: StageParts, overview: DaemonOverview, outbound: Outbound
) -> NoticeWatcher | None:
    """Build what tells people, if there is somebody to tell.

    Raises:
        ConfigError: a channel cannot be used as it is written.
    """
    channels = channels_of(shared.config.notify, outbound)
    if not channels:
        return None
    return NoticeWatcher(
        shared.log,
        shared.holds,
        stages.routes,
        channels,
        notification_settings(shared.config, shared.secrets),
        names=shared.names,
        inboxes=overview.inbox_states,
        troubles=overview.troubles,
        clock=shared.clock,
        is_stopping=shared.wakeups.stopping.is_set,
    )


def _heartbeat(
    shared: SharedParts, stages: StageParts, overview: DaemonOverview, outbound: Outbound
) -> Heartbeat | None:
    notify = shared.config.notify
    if notify.heartbeat_url is None:
        return None
    return Heartbeat(
        notify.heartbeat_url.get_secret_value(),
        outbound,
        every_seconds=notify.heartbeat_minutes * 60,
        troubles=lambda: [trouble.text for trouble in overview.troubles() if trouble.is_failing],
        scans=lambda: {gate.route.name: gate.watch.scanned_at for gate in stages.gates},
        balance=lambda: last_balance(shared.log),
        secrets=shared.secrets,
        clock=shared.clock,
        monotonic=shared.monotonic,
    )


def notification_settings(config: Config, secrets: frozenset[str]) -> NotificationSettings:
    """Return who is told what, and when; `secrets` are what no notice may hold."""
    notify = config.notify
    return NotificationSettings(
        kinds=frozenset(notify.kinds),
        after_seconds=notify.after_seconds,
        throttle_seconds=notify.throttle_minutes * 60,
        stuck_after_seconds=notify.stuck_after_minutes * 60,
        quiet=notify.quiet,
        daily_summary_at=notify.daily_summary_at,
        zone=notify.zone,
        secrets=secrets,
    )
