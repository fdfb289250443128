"""What `receipt-watcher check` looks at: the folders, N8N, the callback URL, old files. It never posts.

Folders are proven, not judged by their mode bits: a hidden probe file is created, moved on through the spool,
and removed, as the user who runs the check; so run it as the service's user.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from receipt_watcher.cli.check.proxies import told_of
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.http import is_loopback
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.errors import ConfigError, JobLogError, NotSentError, SpoolError
from receipt_watcher.examine.examiners import Examiners, bounds_of
from receipt_watcher.examine.result import FileLimits
from receipt_watcher.inbox.watching.ignored import OWN_PREFIX
from receipt_watcher.inbox.watching.listing import listing_of
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.notify.channels.registry import channels_of
from receipt_watcher.service.clients import n8n_client, notice_client
from receipt_watcher.spool.accepted_marks import MarkKind
from receipt_watcher.spool.bindings import Bindings
from receipt_watcher.spool.folders import Spool, SpoolFolders
from receipt_watcher.spool.retention import DAY_SECONDS
from receipt_watcher.system.display import display_name
from receipt_watcher.system.open_files import Writers
from receipt_watcher.system.permissions import file_advice, folder_advice, refusal, to_type
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.system.time_limit import within

#: A check is waited for by a person.
_ANSWER_SECONDS = 10.0

#: So many waiting files are looked at one by one.
_LOOKED_AT_FILES = 1000


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One thing that was looked at."""

    level: Literal["ok", "warning", "error"]
    what: str
    advice: str = ""


def check_all(config: Config) -> list[CheckFinding]:
    """Look at everything, and say what was found, the good too."""
    return [
        *_check_state(config),
        _check_examiner(config),
        *(found for inbox in config.inboxes for found in _check_inbox(config, inbox)),
        *_check_retention(config, time.time()),
        *_check_proxies(config),
        *_check_webhooks(config),
        *_check_callback_url(config),
        *_check_channels(config),
        *_check_links(config),
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


# --- folders ---------------------------------------------------------------------------------------------------


def _check_state(config: Config) -> Iterator[CheckFinding]:
    installation = Installation(config.state_dir)
    installation.make_folder()
    try:
        _probe(config.state_dir, config.state_dir)
    except OSError as error:
        yield CheckFinding("error", f"state_dir {config.state_dir}: {error.strerror}", "let the service's user own it")
        return
    yield CheckFinding("ok", f"state_dir {config.state_dir}: files can be made, renamed and removed")
    if installation.is_running():
        yield CheckFinding("ok", "a daemon is running with this configuration")


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


def _check_inbox(config: Config, inbox: Inbox) -> list[CheckFinding]:
    """Look at one inbox; one whose file system answers nothing must not keep the others from being looked at."""
    try:
        return within(_ANSWER_SECONDS, lambda: list(_look_at_inbox(config, inbox)), inbox.path)
    except OSError as error:  # whatever is asked of that folder now may hang as well
        return [CheckFinding("error", f"inbox {inbox.name}: {inbox.path} {error.strerror}", "mount the share anew")]


def _look_at_inbox(config: Config, inbox: Inbox) -> Iterator[CheckFinding]:
    if not os.path.isdir(inbox.path):  # noqa: PTH112 - false, too, for a mount whose server is gone
        yield CheckFinding(
            "error", f"inbox {inbox.name}: {inbox.path} is not there", "create the folder, or mount the share"
        )
        return
    away = list(_check_places(config, inbox))
    yield from away
    if away:
        return  # what is there instead gets no probe file either
    for left, right in (
        (inbox.path, inbox.processing_dir),
        (inbox.processing_dir, inbox.done_dir),
        (inbox.processing_dir, inbox.failed_dir),
    ):
        yield from _check_move(inbox.name, left, right)
    yield from _check_watch(inbox)
    yield from _check_files(inbox)
    yield from _check_backlog(config, inbox)


def _check_places(config: Config, inbox: Inbox) -> Iterator[CheckFinding]:
    """Find folders that are away, and a spool of another installation, as the daemon does."""
    spool = Spool(inbox.name, SpoolFolders(inbox.path, inbox.processing_dir, inbox.done_dir, inbox.failed_dir))
    ours, owner = Installation(config.state_dir).known_id(), spool.owner()
    take_over = to_type(MarkKind.SPOOL, inbox.name)
    if owner and owner != ours:
        what = f"inbox {inbox.name}: {inbox.processing_dir} belongs to another installation ({owner})"
        yield CheckFinding("error", what, f"after a move, or a purge and a new installation, type: {take_over}")
        return
    if not config.database_path.exists():
        return
    log = JobLog(config.database_path, read_only=True)
    try:
        log.database.open()
        bindings = Bindings(log, inbox.name, spool.folders)
        bindings.check(is_ours=owner == ours, take_over=take_over)
    except SpoolError as error:
        yield CheckFinding(
            "error", f"inbox {inbox.name}: {error}", "mount what is away; the inbox opens again by itself"
        )
    except JobLogError:
        return  # the daemon says so at its start
    finally:
        log.database.close()


def _check_watch(inbox: Inbox) -> Iterator[CheckFinding]:
    """Prove how new files are noticed, by a hidden file, as the daemon does."""
    watch = InboxWatch(inbox)
    try:
        mount = watch.prove()
    except OSError:
        return  # that no file can be made there was said
    finally:
        watch.stop()
    yield CheckFinding("ok", f"inbox {inbox.name}: on {mount}; watched by {watch.mode}: {watch.why_mode}")
    level: Literal["ok", "warning"] = "ok" if watch.writers is Writers.NONE else "warning"
    advice = "" if level == "ok" else "choose settle_seconds longer than any pause of a scanner or a copy"
    yield CheckFinding(level, f"inbox {inbox.name}: {watch.writers.value}", advice)


def _check_files(inbox: Inbox) -> Iterator[CheckFinding]:
    """Find files that we could not read or move, and subfolders that shut us out, before they are in the way."""
    listing = listing_of(inbox)
    told: set[str] = set()
    with contextlib.suppress(OSError):  # that it cannot be listed is said with the backlog
        for relative, _ in itertools.islice(listing.files(), _LOOKED_AT_FILES):
            for found in _troubles_of(inbox.path / relative):
                if found.advice not in told:
                    told.add(found.advice)
                    yield CheckFinding(found.level, f"inbox {inbox.name}: {found.what}", found.advice)
    for folder, error in listing.shut.items():
        path = inbox.path / folder
        yield CheckFinding("error", f"inbox {inbox.name}: {path}: {refusal(error, path)}", folder_advice(path))


def _troubles_of(path: Path) -> Iterator[CheckFinding]:
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if not os.access(path, os.R_OK, effective_ids=True):
        yield CheckFinding("warning", f"{path} cannot be read: {refusal(denied, path)}", file_advice(path))
    advice = folder_advice(path.parent, path)
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        yield CheckFinding("error", f"{path} cannot be moved: {refusal(denied, path.parent)}", advice)
    elif "sticky" in advice:
        yield CheckFinding("error", f"{path} cannot be moved: its folder is sticky", advice)


def _check_move(name: str, left: Path, right: Path) -> Iterator[CheckFinding]:
    """Prove that files can go from one folder to the next, and whether by a rename alone."""
    if not right.is_dir():
        if os.access(right.parent, os.W_OK, effective_ids=True):
            yield CheckFinding("ok", f"inbox {name}: {right} will be made at start")
        else:
            yield CheckFinding("error", f"inbox {name}: {right} is not there", "create it, owned by the service's user")
        return
    try:
        _probe(left, right)
    except OSError as error:
        yield CheckFinding(
            "error",
            f"inbox {name}: a file cannot go from {left} to {right} ({_refusal_of_either(error, left, right)})",
            "the service's user must be able to create, rename and delete in both",
        )
        return
    yield CheckFinding("ok", f"inbox {name}: files can go from {left} to {right}")
    if left.stat().st_dev != right.stat().st_dev:
        yield CheckFinding(
            "warning",
            f"inbox {name}: {left} and {right} are on different file systems: each move is a copy",
            "put the four folders on one file system, and one mount, if speed matters",
        )


def _refusal_of_either(error: OSError, left: Path, right: Path) -> str:
    """Return what the system said, with the owner of the folder that it said it of."""
    return refusal(error, right if Path(str(error.filename)).parent == right else left)


def _probe(left: Path, right: Path) -> None:
    """Create a file in one folder, rename it there, make its like in the other, and remove both."""
    probe = left / f"{OWN_PREFIX}probe-{uuid.uuid4().hex}"
    moved = probe.with_suffix(".moved")
    other = right / f"{probe.name}.other"
    try:
        probe.touch(exist_ok=False)
        probe.rename(moved)
        other.touch(exist_ok=False)
    finally:
        for path in (probe, moved, other):
            path.unlink(missing_ok=True)


def _check_backlog(config: Config, inbox: Inbox) -> Iterator[CheckFinding]:
    try:
        waiting = sum(1 for _ in listing_of(inbox).files())
    except OSError as error:
        yield CheckFinding(
            "error", f"inbox {inbox.name}: cannot be read ({error.strerror})", "give the service's user r and x"
        )
        return
    if waiting > config.limits.backlog_files and not _has_started(config, inbox):
        yield CheckFinding(
            "warning",
            f"inbox {inbox.name}: {waiting} old files wait, more than limits.backlog_files",
            f"move away what is not to be booked, or type: {to_type(MarkKind.BACKLOG, inbox.name)}",
        )
    else:
        yield CheckFinding("ok", f"inbox {inbox.name}: {waiting} files wait")


def _has_started(config: Config, inbox: Inbox) -> bool:
    if not config.database_path.exists():
        return False
    log = JobLog(config.database_path)
    try:
        log.database.open()
        return log.facts.get(f"inbox_started:{inbox.name}") is not None
    except JobLogError:
        return False
    finally:
        log.database.close()


# --- retention -------------------------------------------------------------------------------------------------


def _check_retention(config: Config, now: float) -> Iterator[CheckFinding]:
    """Say what the daemon would remove by now: by the log alone, without a look at the files."""
    if config.retention == Retention() or not config.database_path.exists():
        return
    log = JobLog(config.database_path)
    try:
        log.database.open()
        for inbox in config.inboxes:
            yield from _old_files(log, inbox, config.retention, now)
        days = config.retention.log_days
        if days is not None:
            old = len(log.files.old_histories(now - days * DAY_SECONDS, now))
            yield CheckFinding(
                "ok", f"retention: {old} jobs would lose their history, concluded {days:g} days ago or earlier"
            )
    except JobLogError as error:
        yield CheckFinding("error", str(error))
    finally:
        log.database.close()


def _old_files(log: JobLog, inbox: Inbox, retention: Retention, now: float) -> Iterator[CheckFinding]:
    for folder, root, days in (
        (Folder.DONE, inbox.done_dir, retention.done_days),
        (Folder.FAILED, inbox.failed_dir, retention.failed_days),
    ):
        if days is None:
            continue
        before = now - days * DAY_SECONDS
        files, size = log.files.sum_of_old(inbox.name, folder, before, now)
        oldest = log.files.old(inbox.name, folder, before, now, 1)
        said = "".join(
            f"; the oldest is {display_name(job.stored_path)}, {iso_time(job.completed_at)}" for job in oldest
        )
        what = f"inbox {inbox.name}: retention would remove {files} files ({size:,} bytes) from {root}"
        yield CheckFinding("ok", f"{what}, concluded {days:g} days ago or earlier{said}")


# --- N8N -------------------------------------------------------------------------------------------------------


def _check_proxies(config: Config) -> Iterator[CheckFinding]:
    """Say how each URL is reached; a proxy that cannot be used is said with the first client that needs it."""
    for told in told_of(config):
        yield CheckFinding("warning" if told.advice else "ok", told.what, told.advice)


def _check_webhooks(config: Config) -> Iterator[CheckFinding]:
    with _outbound_of(config) as outbound:
        for url in config.webhook_urls():
            yield from _check_webhook(url, outbound)


def _outbound_of(config: Config) -> Outbound:
    return n8n_client(config, timeout_seconds=min(_ANSWER_SECONDS, config.n8n.timeout_seconds), connections=1)


def _check_webhook(url: str, outbound: Outbound) -> Iterator[CheckFinding]:
    parts = urlsplit(url)
    if "/webhook-test/" in parts.path:
        yield CheckFinding(
            "error",
            "n8n.webhook_url is a test URL (/webhook-test/): n8n answers it only while somebody is testing",
            "publish the workflow and use its Production URL (/webhook/)",
        )
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    try:
        answer = outbound.get(f"{address}/healthz")
    except NotSentError as error:
        yield CheckFinding("error", f"N8N at {address} cannot be reached: {error}", "is it running, and the URL right?")
        return
    if answer.status == 200 and '"ok"' in answer.text:  # noqa: PLR2004 - RFC 9110
        yield CheckFinding("ok", f"N8N at {address} answers and is healthy")
    else:
        through = f" through the proxy {answer.proxy}" if answer.proxy else ""
        yield CheckFinding(
            "warning",
            f"{address} answers{through}, but /healthz says {answer.status}: a proxy, a starting N8N, or no N8N at all",
            "the webhook itself is not tried, since that would book a receipt",
        )


# --- the way back ----------------------------------------------------------------------------------------------


def _check_callback_url(config: Config) -> Iterator[CheckFinding]:
    public_url = config.public_url_for(config.http.port)
    if config.unreachable_callback_url() is not None:
        yield CheckFinding(
            "error",
            f"callbacks are asked for at {public_url}, but N8N runs elsewhere and cannot reach that",
            "set http.public_url to how N8N reaches this machine, and http.host to 0.0.0.0 or that address",
        )
        return
    if is_loopback(config.http.host) and not is_loopback(urlsplit(public_url).hostname or ""):
        yield CheckFinding(
            "warning",
            f"http.host is {config.http.host}, so {public_url} is only reached through a proxy on this machine",
            "set http.host to 0.0.0.0 where there is no such proxy",
        )
    yield CheckFinding("ok", f"callbacks are asked for at {public_url}")


def _check_links(config: Config) -> Iterator[CheckFinding]:
    """With payload link N8N fetches each file from us, so we must be reachable, and for long enough."""
    if config.n8n.payload != "link":
        return
    public_url = config.public_url_for(config.http.port)
    if config.n8n.link_seconds < config.callback.deadline_seconds:
        yield CheckFinding(
            "warning",
            "n8n.link_seconds is less than callback.deadline_seconds: a workflow that is late finds its link expired",
            "make n8n.link_seconds the longer of the two",
        )
    parts = urlsplit(public_url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield CheckFinding(
            "warning",
            f"with n8n.payload link N8N fetches receipts from {public_url}, which is not encrypted",
            "put a proxy with TLS before it and its https:// into http.public_url, or keep both in one trusted network",
        )
    if Installation(config.state_dir).is_running():
        yield _reached(config, public_url)
    else:
        yield CheckFinding(
            "warning", f"whether files can be fetched from {public_url} is not known: no daemon is running"
        )


def _reached(config: Config, public_url: str) -> CheckFinding:
    advice = "set http.public_url to how N8N reaches this machine, or open the way (proxy, firewall)"
    with _outbound_of(config) as outbound:
        try:
            answer = outbound.get(f"{public_url}/health/live")
        except NotSentError as error:
            return CheckFinding(
                "warning", f"files are to be fetched from {public_url}, which cannot be reached: {error}", advice
            )
    if answer.status == 200 and '"ok"' in answer.text:  # noqa: PLR2004 - RFC 9110
        return CheckFinding("ok", f"files can be fetched from {public_url}, at least by this machine")
    return CheckFinding("warning", f"files are to be fetched from {public_url}, which answers {answer.status}", advice)
