"""Assembly: what each part is told, made from the configuration.

What it promises: the one place where an admin's options (megabytes, minutes, an inbox's own or everybody's) become the
settings of the parts, which the daemon puts together. It opens and starts nothing. The main thread calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.config.branches import BranchOptions
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.delivery.deadlines import DeadlineSettings
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.destinations.n8n.webhook import N8N, N8NSettings
from receipt_watcher.delivery.pauses import DeliverySettings
from receipt_watcher.examine.process import file_limits_of
from receipt_watcher.inbox.gate import GateSettings
from receipt_watcher.inbox.state import snapshot_file
from receipt_watcher.jobs.job import Job
from receipt_watcher.notify.watcher import NotificationSettings
from receipt_watcher.spool.accepted_marks import MarkKind, Marks
from receipt_watcher.spool.folders import Spool, SpoolFolders
from receipt_watcher.spool.route import Branch, InboxRoute
from receipt_watcher.system.permissions import to_type


@dataclass(frozen=True, slots=True)
class Sending:
    """What all destinations share: the client, and two things that are known only once the daemon has its port."""

    outbound: Outbound
    callback_token_of: Callable[[str], str | None]
    file_url_of: Callable[[Job], str]


def destinations_by_branch(config: Config, sending: Sending) -> dict[str, N8N]:
    """Return where the receipts of each inbox go, and those of its subfolders, by the key of the branch."""
    return {
        branch.key: N8N(_n8n_settings(config, branch, sending), sending.outbound) for branch in config.all_branches()
    }


def route_of(config: Config, inbox: Inbox, destinations: Mapping[str, N8N]) -> InboxRoute:
    """Return the route of an inbox, its subfolders with settings of their own included."""
    folders = SpoolFolders(inbox.path, inbox.processing_dir, inbox.done_dir, inbox.failed_dir)
    return InboxRoute(
        name=inbox.name,
        spool=Spool(inbox.name, folders, to_type(MarkKind.SPOOL, inbox.name)),
        branches=tuple(_branch(branch, destinations[branch.key]) for branch in config.branches(inbox)),
        takes_any_database=inbox.upload_database == "any",
        limits=file_limits_of(config),
    )


def _n8n_settings(config: Config, branch: BranchOptions, sending: Sending) -> N8NSettings:
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
        remembers_jobs=branch.remembers_jobs,
    )


def _branch(options: BranchOptions, destination: N8N) -> Branch:
    return Branch(
        inbox=options.inbox,
        subfolder=options.subfolder,
        url=destination.url,
        sends_once=destination.sends_once,
        notion_database_id=options.notion_database_id,
        duplicates=options.duplicates,
        done_subfolder=options.done_subfolder,
        window=options.window,
    )


def gate_settings(
    config: Config,
    inbox: Inbox,
    *,
    installation_id: Callable[[], str],
    runtime_folder: Path,
    take_over: bool,
    accept_backlog: bool,
) -> GateSettings:
    """Return what an inbox's gate is told; the last two are the command line's."""
    return GateSettings(
        installation_id=installation_id,
        take_over=take_over,
        accept_backlog=accept_backlog,
        backlog_files=config.limits.backlog_files,
        snapshot_file=snapshot_file(runtime_folder, inbox.name),
        tells_scans=runtime_folder != config.state_dir,
        marks=Marks(config.state_dir, inbox.name),
        accept_command=to_type(MarkKind.BACKLOG, inbox.name),
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


def notification_settings(config: Config, secrets: Callable[[], Iterable[str]]) -> NotificationSettings:
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
