"""What the commands have in common: options, exit codes, the configuration, the job log, which job is meant.

What it promises: nothing of ours that is slow to import is imported before a command needs it, so that `--help` is
there at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receipt_watcher.errors import JobLogError

if TYPE_CHECKING:
    from receipt_watcher.config import Config
    from receipt_watcher.job import Job
    from receipt_watcher.joblog import JobLog

FINE, WRONG, USAGE = 0, 1, 2

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="The configuration file; else $RECEIPT_WATCHER_CONFIG, ./watcher.yaml, /etc/receipt-watcher/watcher.yaml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def load_config(config_file: Path | None) -> Config:
    """Return the configuration in force.

    Raises:
        ConfigError: it has mistakes, or there is none.
    """
    from receipt_watcher.sources import find_config_file, load

    return load(find_config_file(config_file, os.environ, Path.cwd()), os.environ)


@contextmanager
def open_log(config: Config) -> Iterator[JobLog]:
    """Open the job log for as long as it is needed.

    Raises:
        JobLogError: there is none, or it cannot be opened.
    """
    from receipt_watcher.joblog import JobLog

    if not config.database_path.exists():
        raise JobLogError(
            f"there is no job log at {config.database_path} yet; has the daemon run with this configuration?"
        )
    log = JobLog(config.database_path)
    log.open()
    try:
        yield log
    finally:
        log.close()


def find(log: JobLog, name: str) -> Job:
    """Return the one job that an admin means by its id, the beginning of it, or its file's name.

    Raises:
        UsageError: it is none, or several.
    """
    from receipt_watcher.disk import display_name
    from receipt_watcher.telemetry import printable

    found = log.find(display_name(name))
    if not found:
        raise click.UsageError(f"There is no job whose id begins with, or whose file is named, {name!r}.")
    if len(found) > 1:
        listing = "\n".join(f"  {job.job_id}  {job.state.value:10} {printable(job.filename)}" for job in found)
        raise click.UsageError(f"{name!r} may be several jobs; name one by its id:\n{listing}")
    return found[0]


def path_of(config: Config, job: Job) -> Path | None:
    """Return where a job's file is by the log; None where its inbox is configured no more."""
    from receipt_watcher.job import Folder

    for inbox in config.inboxes:
        if inbox.name == job.inbox:
            roots = {
                Folder.PROCESSING: inbox.processing_dir,
                Folder.DONE: inbox.done_dir,
                Folder.FAILED: inbox.failed_dir,
            }
            return roots[job.folder] / job.stored_path
    return None


def print_json(content: object) -> None:
    """Print it for other programs."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def say(text: str, *, err: bool = False) -> None:
    """Print a line that may hold names; none of them can steer the terminal."""
    from receipt_watcher.telemetry import printable

    click.echo(printable(text), err=err)
