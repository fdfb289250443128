"""Completion in a shell: job ids, files' names, inboxes.

What it promises: whatever is wrong, nothing is offered and nothing is said; the shell's line stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from receipt_watcher.cli.context import load_config, open_log
from receipt_watcher.errors import ReceiptWatcherError

#: So many of the newest jobs are looked through.
_LATEST = 200


def jobs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ids of the newest jobs, and their files' names."""
    try:
        with open_log(load_config(_config_file(context))) as log:
            latest = log.lookups.listing(limit=_LATEST)
    except (ReceiptWatcherError, OSError):
        return []
    ids = [
        CompletionItem(job.job_id, help=f"{job.filename} ({job.state.value})")
        for job in latest
        if job.job_id.startswith(incomplete)
    ]
    names = dict.fromkeys(job.filename for job in latest if incomplete and job.filename.startswith(incomplete))
    return [*ids, *(CompletionItem(name) for name in names if name.isprintable())]


def inboxes(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the inboxes that are configured."""
    try:
        config = load_config(_config_file(context))
    except (ReceiptWatcherError, OSError):
        return []
    items = [CompletionItem(inbox.name, help=str(inbox.path)) for inbox in config.inboxes]
    return [item for item in items if item.value.startswith(incomplete)]


def holdable(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer what can be held: the inboxes, all of N8N, and each webhook by its name."""
    from receipt_watcher.delivery.naming import names_of

    try:
        names = list(names_of(load_config(_config_file(context))).by_url.values())
    except (ReceiptWatcherError, OSError):
        names = []
    items = [CompletionItem("n8n", help="every webhook"), *map(CompletionItem, names)]
    return [*inboxes(context, parameter, incomplete), *(item for item in items if item.value.startswith(incomplete))]


def _config_file(context: click.Context) -> Path | None:
    config_file: Path | None = context.params.get("config_file")
    return config_file
