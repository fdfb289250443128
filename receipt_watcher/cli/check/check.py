"""Run the checks of `receipt-watcher check`: the folders, N8N, the callback URL, old files. It never posts.

Folders are proven, not judged by their mode bits: a hidden probe file is created, moved on through the spool,
and removed, as the user who runs the check; so run it as the service's user.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path

from receipt_watcher.cli.check.callback import check_callback_url, check_links
from receipt_watcher.cli.check.findings import ANSWER_SECONDS, CheckFinding
from receipt_watcher.cli.check.inboxes import check_inbox, prove_moves
from receipt_watcher.cli.check.n8n import check_proxies, check_webhooks
from receipt_watcher.cli.check.retention import check_retention
from receipt_watcher.config.options import Config
from receipt_watcher.errors import ConfigError
from receipt_watcher.examine.examiners import Examiners, bounds_of
from receipt_watcher.examine.result import FileLimits
from receipt_watcher.jobs.job import Folder
from receipt_watcher.notify.channels.registry import channels_of
from receipt_watcher.report.health.configuration import ComparedConfiguration
from receipt_watcher.service.clients import notice_client
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.disk import trouble_of_disk
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.system.time_limit import within


def check_all(config: Config, configuration: ComparedConfiguration | None = None) -> list[CheckFinding]:
    """Look at everything, and return what is there, the good too."""
    return [
        *_check_state(config, configuration),
        *_check_disks(config),
        _check_examiner(config),
        *(finding for inbox in config.inboxes for finding in check_inbox(config, inbox)),
        *check_retention(config, time.time()),
        *check_proxies(config),
        *check_webhooks(config),
        *check_callback_url(config),
        *_check_channels(config),
        *check_links(config),
    ]


def _check_channels(config: Config) -> Iterator[CheckFinding]:
    """See whether the channels can be used as they are written; nothing is sent."""
    try:
        with notice_client(config) as outbound:
            names = [channel.name for channel in channels_of(config.notify, outbound)]
    except ConfigError as error:
        for problem in error.problems:
            yield CheckFinding("error", f"{problem.key}: {problem.wrong}", problem.right)
        return
    if names:
        yield CheckFinding("ok", f"notices go to {', '.join(names)}; receipt-watcher notify --test sends one")


def _check_state(config: Config, configuration: ComparedConfiguration | None) -> Iterator[CheckFinding]:
    installation = Installation(config.state_dir)
    installation.make_folder()
    try:
        prove_moves(config.state_dir, config.state_dir)
    except OSError as error:
        yield CheckFinding("error", f"state_dir {config.state_dir}: {error.strerror}", "let the service's user own it")
        return
    yield CheckFinding("ok", f"state_dir {config.state_dir}: files can be made, renamed and removed")
    findings = list(configuration.findings()) if configuration is not None else []
    for finding in findings:
        yield CheckFinding("warning", finding.what, finding.advice)
    if installation.is_running() and not findings:
        yield CheckFinding("ok", "a daemon is running with this configuration")


def _check_disks(config: Config) -> Iterator[CheckFinding]:
    """See whether there is room on each disk that receipts or the job log are on, as the daemon asks; each once."""
    known = set()
    spools = (path for inbox in config.inboxes for path in map(SpoolFolders.of(inbox).path_of, Folder))
    for folder in (config.state_dir, config.database_path.parent, *spools):
        try:
            device, trouble = within(ANSWER_SECONDS, functools.partial(_disk_of, folder, config), folder)
        except OSError:
            continue  # it is away, which is said with its inbox
        if trouble is not None and device not in known:
            yield CheckFinding("warning", trouble, "without room receipts are not taken, not recorded or not filed")
        known.add(device)


def _disk_of(folder: Path, config: Config) -> tuple[int, str | None]:
    return folder.stat().st_dev, trouble_of_disk(folder, config.limits.min_free_mb)


def _check_examiner(config: Config) -> CheckFinding:
    """Have an examiner judge a file that is surely there."""
    bounds, limits = bounds_of(config), FileLimits(1, 1)
    try:
        with Examiners(bounds, is_logged=False) as examiners:
            examiners.examine(Path(__file__), limits)
    except OSError as error:
        advice = "look at limits.examination_mb, and whether the service may start processes (TasksMax=, ulimit -u)"
        return CheckFinding("error", str(error.strerror), advice)
    return CheckFinding(
        "ok", f"receipts can be examined, each within {bounds.cpu_seconds} s and {bounds.megabytes:,} MB"
    )
