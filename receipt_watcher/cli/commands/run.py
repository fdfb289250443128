"""The service: `run`, `check`, `demo`, `status`, `notify`, `backup`."""

from __future__ import annotations

import faulthandler
import functools
import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from receipt_watcher.cli.context import (
    FINE,
    WRONG,
    config_option,
    has_log,
    hurry,
    hurrying,
    json_option,
    load_compared,
    load_config,
    load_config_with_origins,
    open_log,
    print_json,
    print_line,
)
from receipt_watcher.cli.table import print_jobs
from receipt_watcher.system.permissions import give_away

#: Seconds between two looks of `status --watch`.
_WATCH_SECONDS = 2.0

if TYPE_CHECKING:
    from receipt_watcher.cli.check.findings import CheckFinding
    from receipt_watcher.config.options import Config
    from receipt_watcher.config.sources.record import ConfigurationRecord
    from receipt_watcher.report.health.configuration import ComparedConfiguration


@click.command()
@config_option
@click.option("--once", is_flag=True, help="Do what there is to do, wait for the verdicts, and exit.")
@click.option("--take-over", is_flag=True, help="Once, at a terminal: as the command take-over, for all inboxes.")
@click.option("--accept-backlog", is_flag=True, help="Once, at a terminal: as the command accept-backlog.")
def run(config_file: Path | None, *, once: bool, take_over: bool, accept_backlog: bool) -> None:
    """Run the daemon until it gets SIGTERM or SIGINT; SIGHUP has it read the configuration again.

    Example: receipt-watcher run --config /etc/receipt-watcher/watcher.yaml
    """
    with hurrying():
        from receipt_watcher.config.sources.load import find_config_file
        from receipt_watcher.config.sources.record import ConfigurationRecord
        from receipt_watcher.service.logging import setup as telemetry
        from receipt_watcher.service.once import run_once
        from receipt_watcher.service.process import supervisor
        from receipt_watcher.service.process.signals import StopSignal
        from receipt_watcher.system.cpu import keep_to_one_core

        record = ConfigurationRecord(find_config_file(config_file, os.environ, Path.cwd()), time.time)
        config = _noted_config(config_file, record, as_owner=True)
    keep_to_one_core()
    faulthandler.enable()  # the watchdog's signal, SIGABRT, leaves the stacks of all threads behind
    telemetry.configure(config.logging.level, config.logging.format)
    stop = StopSignal()
    stop.listen(reloads=not once and not os.isatty(0))  # a terminal that is closed sends SIGHUP, too
    if not once:
        reread = functools.partial(_noted_config, config_file, record)
        ended = supervisor.run(
            config, stop, reread, record, os.environ, take_over=take_over, accept_backlog=accept_backlog
        )
        _leave(FINE, ended=ended)
    result = run_once(config, stop, take_over=take_over, accept_backlog=accept_backlog)
    print_jobs(result.jobs)
    for trouble in result.troubles:
        click.echo(f"receipt-watcher: {trouble}", err=True)
    _leave(FINE if result.is_fine else WRONG, ended=result.ended)


def _noted_config(config_file: Path | None, record: ConfigurationRecord, *, as_owner: bool = False) -> Config:
    """Read the configuration, and note where it comes from; at a reload the daemon stays who it is."""
    config, origin_of = load_config_with_origins(config_file, as_owner=as_owner)
    record.note(config, origin_of)
    return config


def _leave(code: int, *, ended: bool) -> NoReturn:
    """Exit, without waiting for a thread that still waits for an answer: its claim is settled at the next start."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if not ended:
        os._exit(code)
    raise click.exceptions.Exit(code)


@click.command()
@config_option
@click.option(
    "--live", is_flag=True, help="Send a made-up receipt, marked as a test, to N8N and wait for its callback."
)
@click.option("--may-book", is_flag=True, help="With --live: send it to a workflow that is none of ours, too.")
@click.option("--find-size", is_flag=True, help="With --live: find how large a receipt is accepted as JSON.")
@json_option
def check(config_file: Path | None, *, live: bool, may_book: bool, find_size: bool, as_json: bool) -> None:
    """Check the configuration, the folders, N8N and the callback URL; without --live nothing is ever posted.

    Example: receipt-watcher check --live --config watcher.yaml
    """
    if (may_book or find_size) and not live:
        raise click.UsageError("--may-book and --find-size go with --live.")
    config, configuration = load_compared(config_file)
    findings: list[CheckFinding] = []
    for finding in _looked_at(config, configuration, live=live, may_book=may_book, find_size=find_size):
        findings.append(finding)
        if not as_json:  # one by one: a callback is waited for
            print_line(f"{finding.level:7}  {finding.what}")
            if finding.advice:
                print_line(f"         → {finding.advice}")
    if as_json:
        print_json([{"level": finding.level, "what": finding.what, "advice": finding.advice} for finding in findings])
    raise click.exceptions.Exit(WRONG if any(finding.level == "error" for finding in findings) else FINE)


def _looked_at(
    config: Config, configuration: ComparedConfiguration, *, live: bool, may_book: bool, find_size: bool
) -> Iterable[CheckFinding]:
    if live:
        from receipt_watcher.cli.check.live import check_live
        from receipt_watcher.service.logging import setup as telemetry

        telemetry.configure("error", config.logging.format)
        return check_live(config, may_book=may_book, find_size=find_size)
    from receipt_watcher.cli.check.check import check_all

    return check_all(config, configuration)


@click.command()
@click.option("--keep", is_flag=True, help="Leave the demo's folder behind, to look at.")
def demo(*, keep: bool) -> None:
    """Watch receipts go through: the real daemon, a stand-in for N8N, and freshly made receipts.

    Example: receipt-watcher demo
    """
    from receipt_watcher.cli.demo.demo import run_demo

    raise click.exceptions.Exit(run_demo(keep=keep))


@click.command()
@config_option
@click.option("--watch", is_flag=True, help="Show it anew every two seconds, until Ctrl-C.")
@json_option
def status(config_file: Path | None, *, watch: bool, as_json: bool) -> None:
    """Say whether the daemon runs, what waits, what is held, and what is wrong.

    Example: receipt-watcher status --watch
    """
    if watch and as_json:
        raise click.UsageError("--watch is for people; call --json as often as you like.")
    if not watch:
        hurry()
    config, configuration = load_compared(config_file)
    if not watch:
        raise click.exceptions.Exit(_show_status(config, configuration, as_json=as_json))
    pause = threading.Event()
    try:
        while True:
            config, configuration = load_compared(config_file)
            click.clear()
            _show_status(config, configuration, as_json=False)
            sys.stdout.flush()
            pause.wait(_WATCH_SECONDS)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(FINE) from None


def _show_status(config: Config, configuration: ComparedConfiguration, *, as_json: bool) -> int:
    """Print it, and return the exit code."""
    from receipt_watcher.report.status import collect_status
    from receipt_watcher.system.state_dir import Installation

    if not has_log(config):  # which ends it: another daemon may be the reason
        for line in configuration.lines():
            print_line(line, err=True)
    with open_log(config) as log:
        status = collect_status(config, log, log.holds, Installation(config.state_dir), time.time())
    if as_json:
        print_json({**status.as_json(), "configuration": configuration.as_json()})
    else:
        state, *others = status.lines()
        for line in (state, *configuration.lines(), *others):
            print_line(line)
    is_fine = all(trouble.is_news for trouble in status.listed) and not configuration.is_refused
    return FINE if is_fine else WRONG


@click.command()
@config_option
@click.option("--test", "is_test", is_flag=True, help="Send a test to each channel, and say whether it went.")
@json_option
def notify(config_file: Path | None, *, is_test: bool, as_json: bool) -> None:
    """List the channels and what is still to be sent to each; with --test, send to each.

    Example: receipt-watcher notify --test
    """
    from receipt_watcher.cli.commands.notify import send_tests, waiting

    config = load_config(config_file)
    if is_test:
        rows = send_tests(config)
    elif has_log(config):
        with open_log(config) as log:
            rows = waiting(config, log)
    else:
        rows = waiting(config, None)
    if as_json:
        print_json([{"channel": row.channel, "ok": row.is_fine, "said": row.words} for row in rows])
    else:
        for row in rows:
            print_line(f"{row.channel}: {row.words}")
        if not rows:
            click.echo("No channel is configured; see notify.urls and notify.webhook_url.", err=True)
    raise click.exceptions.Exit(FINE if rows and all(row.is_fine for row in rows) else WRONG)


@click.command()
@config_option
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@json_option
def backup(config_file: Path | None, target: Path, *, as_json: bool) -> None:
    """Copy the job log to FILE, whole and as of one moment, while the daemon runs or not.

    In a folder the copy is named by the time. Nothing is overwritten.

    Example: receipt-watcher backup /var/backups/
    """
    if target.is_dir():
        target /= f"receipts-{datetime.now().astimezone().strftime('%Y-%m-%d-%H%M%S')}.db"
    with open_log(load_config(config_file, as_owner=False)) as log:
        jobs = log.backup.write(target)
    give_away(target)
    if as_json:
        print_json({"file": str(target), "jobs": jobs, "bytes": target.stat().st_size})
    else:
        click.echo(f"{target}: {jobs} jobs, {target.stat().st_size:,} bytes")
