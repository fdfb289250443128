"""The common parts of the commands: options, exit codes, the configuration, the job log, finding a job.

What it promises: nothing of ours that is slow to import is imported before a command needs it, so that `--help` is
there at once.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receipt_watcher.cli.privileges import as_service, become_owner, try_as
from receipt_watcher.errors import ConfigError, JobLogError, Problem

#: The user of the process, before a command of root becomes the service's user.
_STARTED_BY = os.getuid()

if TYPE_CHECKING:
    from receipt_watcher.config.options import Config
    from receipt_watcher.config.sections.inbox import Inbox
    from receipt_watcher.config.sections.section import Key
    from receipt_watcher.jobs.job import Job
    from receipt_watcher.jobs.log.job_log import JobLog
    from receipt_watcher.report.health.configuration import ComparedConfiguration

FINE, WRONG, USAGE = 0, 1, 2

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, readable=False),  # we say it better
    help="The configuration file; else $RECEIPT_WATCHER_CONFIG, ./watcher.yaml, /etc/receipt-watcher/watcher.yaml.",
)


def print_how_to_sign_in() -> None:
    """Print how a person gets into the page of a new set-up, where nobody may anything without a token."""
    click.echo(
        "The page and the API ask everybody for a token, on this machine too (http.local_role: none). To sign in:"
    )
    click.echo("  receipt-watcher token create NAME --role operator")
    click.echo(
        "Put the lines that it prints into watcher.yaml, start or reload, and give the token at the page's form."
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def hurry() -> None:
    """Let the collector of garbage rest until the process ends, which is soon: loading modules makes none.

    It is a fifth of the time.
    """
    gc.disable()


@contextmanager
def hurrying() -> Iterator[None]:
    """Let the collector rest for a while only; what was loaded then stays for ever, and is not looked at any more."""
    hurry()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def inbox_of(config: Config, name: str) -> Inbox:
    """Return the inbox of a name.

    Raises:
        UsageError: none has it.
    """
    for inbox in config.inboxes:
        if inbox.name == name:
            return inbox
    names = ", ".join(inbox.name for inbox in config.inboxes)
    raise click.UsageError(f"There is no inbox {name!r}; there is: {names}")


def load_config(config_file: Path | None, *, as_owner: bool = True) -> Config:
    """Return the configuration in force, and go on with the rights of the service's user where we are root.

    Raises:
        ConfigError: it has mistakes, or there is none, or we may not read it.
    """
    return load_config_with_origins(config_file, as_owner=as_owner)[0]


def load_config_with_origins(config_file: Path | None, *, as_owner: bool = True) -> tuple[Config, Callable[[Key], str]]:
    """Do the same, and return what tells where each value comes from, too."""
    from receipt_watcher.config.sources.load import find_config_file, load_with_origins

    path = find_config_file(config_file, os.environ, Path.cwd())
    if as_owner and path is not None and not os.access(path, os.R_OK, effective_ids=True):
        wrong = f"cannot be read by you; type: {try_as(path)}"
        raise ConfigError([Problem(str(path), "whole file", wrong)])
    config, origin_of = load_with_origins(path, as_service(path, os.environ))
    if as_owner:
        become_owner(config.state_dir)
    return config, origin_of


def person() -> str:
    """Return the login of who typed the command: of the caller of sudo, else of the process as it was started."""
    import pwd
    from contextlib import suppress

    from receipt_watcher.system.display import printable

    user = printable(os.environ.get("SUDO_USER", ""))
    with suppress(KeyError):
        user = user or pwd.getpwuid(_STARTED_BY).pw_name
    return user or f"user {_STARTED_BY}"


def compared_with_daemon(
    config: Config, origin_of: Callable[[Key], str], config_file: Path | None
) -> ComparedConfiguration:
    """Return what the running daemon's configuration is beside the one that was loaded."""
    from receipt_watcher.config.sources.load import find_config_file
    from receipt_watcher.report.health.configuration import compared

    path = find_config_file(config_file, os.environ, Path.cwd())
    return compared(config, origin_of, str(path) if path is not None else "")


def load_compared(config_file: Path | None) -> tuple[Config, ComparedConfiguration]:
    """Return the configuration, and what the running daemon's is beside it."""
    config, origin_of = load_config_with_origins(config_file)
    return config, compared_with_daemon(config, origin_of, config_file)


def has_log(config: Config) -> bool:
    """Return whether there is a job log.

    Raises:
        JobLogError: we may not even look.
    """
    path = config.database_path
    try:
        return path.exists()
    except PermissionError as error:
        raise JobLogError(f"you may not look into {config.state_dir}; type: {try_as(config.state_dir)}") from error


@contextmanager
def open_log(config: Config, *, writing: bool = False) -> Iterator[JobLog]:
    """Open the job log for as long as it is needed; to read it takes no right to write it.

    Raises:
        JobLogError: there is none, or it cannot be opened, or not by us.
    """
    from receipt_watcher.jobs.log.job_log import JobLog

    path = config.database_path
    if not has_log(config):
        raise JobLogError(f"there is no job log at {path} yet; has the daemon run with this configuration?")
    if not os.access(path, os.W_OK if writing else os.R_OK, effective_ids=True):
        verb = "change" if writing else "read"
        raise JobLogError(f"you may not {verb} the job log {path}; type: {try_as(path)}")
    log = JobLog(path, read_only=not writing)
    log.database.open()
    try:
        yield log
    finally:
        log.database.close()


def find(log: JobLog, name: str) -> Job:
    """Return the one job that an admin means by its id, the beginning of it, or its file's name.

    Raises:
        UsageError: it is none, or several.
    """
    from receipt_watcher.system.display import display_name, printable

    matches = log.lookups.find(display_name(name))
    if not matches:
        raise click.UsageError(f"There is no job whose id begins with, or whose file is named, {name!r}.")
    if len(matches) > 1:
        listing = "\n".join(f"  {job.job_id}  {job.state.value:10} {printable(job.filename)}" for job in matches)
        raise click.UsageError(f"{name!r} may be several jobs; name one by its id:\n{listing}")
    return matches[0]


def file_path_of(config: Config, job: Job) -> Path | None:
    """Return where a job's file is by the log; None where its inbox is configured no more."""
    from receipt_watcher.spool.paths import SpoolFolders

    return next((SpoolFolders.of(inbox).file_of(job) for inbox in config.inboxes if inbox.name == job.inbox), None)


def print_json(content: object) -> None:
    """Print it for other programs."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def print_line(text: str, *, err: bool = False) -> None:
    """Print a line that may hold names; none of them can steer the terminal."""
    from receipt_watcher.system.display import printable

    click.echo(printable(text), err=err)
