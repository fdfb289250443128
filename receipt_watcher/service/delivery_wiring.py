"""Wiring of delivery: attempts, callbacks and deadlines.

What it promises: it opens and starts nothing. The main thread calls it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from receipt_watcher.config.options import Config
from receipt_watcher.delivery.callbacks import Callbacks
from receipt_watcher.delivery.deadlines import Deadlines, DeadlineSettings
from receipt_watcher.delivery.destinations.n8n.webhook import N8N
from receipt_watcher.delivery.outcomes import Outcomes
from receipt_watcher.delivery.pauses import DeliverySettings
from receipt_watcher.delivery.worker import Deliveries
from receipt_watcher.service.daemon_parts import SharedParts
from receipt_watcher.spool.route import InboxRoute


def callbacks_of(shared: SharedParts, routes: Sequence[InboxRoute]) -> Callbacks:
    """Build what writes callbacks down."""
    return Callbacks(
        shared.log,
        shared.holds,
        routes,
        probe_seconds=shared.config.n8n.backoff_initial_seconds,
        deliveries=shared.wakeups.deliveries,
        filings=shared.wakeups.filings,
        clock=shared.clock,
        secrets=shared.secrets,
    )


def deadlines_of(
    shared: SharedParts, routes: Sequence[InboxRoute], callbacks: Callbacks, must_wait: Callable[[], bool]
) -> Deadlines:
    """Build what acts when no callback comes; nothing expires while it `must_wait`."""
    return Deadlines(
        shared.log,
        shared.holds,
        routes,
        deadline_settings(shared.config),
        heard_at=callbacks.heard_at,
        deliveries=shared.wakeups.deliveries,
        filings=shared.wakeups.filings,
        clock=shared.clock,
        must_wait=must_wait,
    )


def deliveries_of(
    shared: SharedParts,
    routes: Sequence[InboxRoute],
    destinations: Mapping[str, N8N],
    must_wait: Callable[[], bool],
) -> Deliveries:
    """Build what sends receipts; nothing is claimed while it `must_wait`."""
    settings = delivery_settings(shared.config)
    outcomes = Outcomes(
        shared.log,
        shared.holds,
        routes,
        settings,
        deliveries=shared.wakeups.deliveries,
        filings=shared.wakeups.filings,
        clock=shared.clock,
        jitter=random.Random(),  # noqa: S311 - spreads retries, keeps no secret
    )
    return Deliveries(
        shared.log,
        shared.holds,
        routes,
        destinations,
        outcomes=outcomes,
        settings=settings,
        callback_url_of=lambda job_id: f"{shared.public_url}/api/v1/jobs/{job_id}/callback",
        stopping=shared.wakeups.stopping,
        clock=shared.clock,
        must_wait=must_wait,
    )


def delivery_settings(config: Config) -> DeliverySettings:
    """Return how often, how fast and how long it is tried to send."""
    n8n = config.n8n
    return DeliverySettings(
        max_attempts=n8n.max_attempts,
        backoff_initial_seconds=n8n.backoff_initial_seconds,
        backoff_max_seconds=n8n.backoff_max_seconds,
        callback_deadline_seconds=config.callback.deadline_seconds,
        workers=n8n.workers,
        hold_after=n8n.hold_after,
        probe_max_seconds=n8n.probe_max_seconds or n8n.backoff_max_seconds,
        drain_per_minute=n8n.drain_per_minute,
    )


def deadline_settings(config: Config) -> DeadlineSettings:
    """Return how long a callback is awaited, and what follows."""
    return DeadlineSettings(
        deadline_seconds=config.callback.deadline_seconds,
        max_resends=config.callback.max_resends,
        probe_seconds=config.n8n.backoff_initial_seconds,
    )
