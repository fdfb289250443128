"""The books: `balance`."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receipt_watcher.cli import completion
from receipt_watcher.cli.context import (
    FINE,
    WRONG,
    config_option,
    json_option,
    load_config,
    open_log,
    print_json,
    print_line,
)

if TYPE_CHECKING:
    from receipt_watcher.config.options import Config


@click.command()
@config_option
@click.option("--since", default=None, help="From this day or time on: 2026-11-01, 2026-11-01T12:00, yesterday, today.")
@click.option(
    "--until", default=None, help="To the end of this day, or to before this time; the office's clock counts."
)
@click.option("--inbox", default=None, shell_complete=completion.inboxes, help="Only this inbox.")
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    help="Write one row per receipt there; - for standard output.",
)
@click.option("--force", is_flag=True, help="Let --csv replace a file that is there.")
@click.option("--allow-absent", is_flag=True, help="Exit with 0 where the only findings are archived and unconfigured.")
@json_option
def balance(
    config_file: Path | None,
    since: str | None,
    until: str | None,
    inbox: str | None,
    csv_file: Path | None,
    *,
    force: bool,
    allow_absent: bool,
    as_json: bool,
) -> None:
    """Prove that log and folders agree: what was received, what became of it, and each file by its digest.

    Counted by when a receipt was recorded. Reads every file; nothing is changed, and the daemon may run.

    Example: receipt-watcher balance --since 2026-11-01 --until 2026-11-30 --csv november.csv
    """
    from receipt_watcher.report.balance.balance import Balance, progress_on
    from receipt_watcher.report.balance.csv_export import exporting
    from receipt_watcher.report.balance.findings import selection_of

    config = load_config(config_file, as_owner=False)
    is_piped = str(csv_file) == "-"
    if is_piped and as_json:
        raise click.UsageError("Standard output takes one of the two: --json, or --csv -.")
    if force and (csv_file is None or is_piped):
        raise click.UsageError("--force goes with --csv FILE.")
    with open_log(config) as log:
        if (
            inbox is not None
            and inbox not in (each.name for each in config.inboxes)
            and not log.lookups.has_jobs_of(inbox)
        ):
            raise click.UsageError(f"There is no inbox {inbox!r}.")
        try:
            selection = selection_of(since, until, inbox, datetime.now())  # noqa: DTZ005 - the office's clock is meant
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        with exporting(csv_file, force=force) as write_row, progress_on(sys.stderr) as show_progress:
            wait = threading.Event().wait
            proof = Balance(log, config.inboxes, wait=wait, write_row=write_row, show_progress=show_progress)
            sums = proof.run(selection)
    if not sums.wrong and (since, until, inbox) == (None, None, None):
        _end_alarm(config, sums.received)
    if as_json:
        print_json(sums.as_json())
    else:
        for line in sums.lines():
            print_line(line, err=is_piped)
    raise click.exceptions.Exit(WRONG if sums.wrong or (sums.absent and not allow_absent) else FINE)


def _end_alarm(config: Config, received: int) -> None:
    """Tell the daemon that log and folders agree again, if we may write; else its next balance finds it out."""
    from receipt_watcher.report.balance.last_result import end_alarm, last_balance

    with open_log(config) as log:
        last = last_balance(log)
    if last is None or not last.wrong or not os.access(config.database_path, os.W_OK, effective_ids=True):
        return
    with open_log(config, writing=True) as log:
        if end_alarm(log, received, time.time()):
            click.echo("The daemon's last balance disagreed; that is over, and no longer told.", err=True)
