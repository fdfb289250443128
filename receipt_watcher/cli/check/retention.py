"""Files that retention would remove by now: by the job log alone, without a look at the files."""

from __future__ import annotations

from collections.abc import Iterator

from receipt_watcher.cli.check.findings import CheckFinding
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.retention import DAY_SECONDS
from receipt_watcher.system.display import display_name


def check_retention(config: Config, now: float) -> Iterator[CheckFinding]:
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
    for folder, days in ((Folder.DONE, retention.done_days), (Folder.FAILED, retention.failed_days)):
        if days is None:
            continue
        root = SpoolFolders.of(inbox).path_of(folder)
        before = now - days * DAY_SECONDS
        files, size = log.files.sum_of_old(inbox.name, folder, before, now)
        oldest = log.files.old(inbox.name, folder, before, now, 1)
        oldest_in_words = "".join(
            f"; the oldest is {display_name(job.stored_path)}, {iso_time(job.completed_at)}" for job in oldest
        )
        what = f"inbox {inbox.name}: retention would remove {files} files ({size:,} bytes) from {root}"
        yield CheckFinding("ok", f"{what}, concluded {days:g} days ago or earlier{oldest_in_words}")
