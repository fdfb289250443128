"""Commands that show and change jobs: `jobs`, `show`, `explain`, `tail`, `retry`, `settle`, `cancel`.

They work on the job log itself, whether the daemon runs or not; a running one sees the change within a tick.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receipt_watcher.cli import completion
from receipt_watcher.cli.context import (
    FINE,
    WRONG,
    config_option,
    file_path_of,
    find,
    has_log,
    hurry,
    json_option,
    load_compared,
    load_config,
    open_log,
    person,
    print_json,
    print_line,
)
from receipt_watcher.cli.table import print_jobs
from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.jobs.job import Job, is_overdue, may_be_booked, standing_of
from receipt_watcher.jobs.json_view import full_view, iso_time, job_view
from receipt_watcher.jobs.reasons import MAY_BE_BOOKED_WORDS
from receipt_watcher.jobs.states import Event, State, next_state
from receipt_watcher.system.display import as_sentence, display_name

#: Seconds between two looks of `tail`; a person reads no faster.
_LOOK_SECONDS = 0.5
_PAGE = 1000

if TYPE_CHECKING:
    from receipt_watcher.jobs.log.histories import JobEvent
    from receipt_watcher.jobs.log.job_log import JobLog
    from receipt_watcher.report.explain import Explainer, Explanation


@click.command()
@config_option
@click.option("--status", "states", multiple=True, type=click.Choice([state.value for state in State]))
@click.option("--inbox", default=None, shell_complete=completion.inboxes, help="Only those of this inbox.")
@click.option("--since", default=None, help="Recorded since then: 2h, 3 days ago, yesterday, 2026-11-01.")
@click.option("--name", default=None, help="Only files whose name is like this, such as '*.pdf'; case does not count.")
@click.option("--words", default=None, help="Only with each of these words in name or message; quotes keep a phrase.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json-lines", "as_lines", is_flag=True, help="Print JSON, one job on a line.")
@json_option
def jobs(
    config_file: Path | None,
    *,
    states: Sequence[str],
    inbox: str | None,
    since: str | None,
    name: str | None,
    words: str | None,
    limit: int,
    as_lines: bool,
    as_json: bool,
) -> None:
    """List jobs, the newest first.

    Example: receipt-watcher jobs --status failure --since yesterday --name '*.pdf'
    """
    from receipt_watcher.cli.times import moment_of
    from receipt_watcher.jobs.log.queries.search import Wanted

    if as_json and as_lines:
        raise click.UsageError("Give one of the two: --json, or --json-lines.")
    if name and words:
        raise click.UsageError("Give one of the two: --name, or --words.")
    try:
        begin = None if since is None else moment_of(since, datetime.now())  # noqa: DTZ005 - the office's clock is meant
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error
    hurry()
    config = load_config(config_file)
    with open_log(config) as log:
        chosen = [State(state) for state in states]
        if words:
            listed = log.search.newest(Wanted(text=words, states=chosen, inbox=inbox, since=begin), limit)
        else:
            listed = log.lookups.listing(states=chosen, inbox=inbox, since=begin, name=name, limit=limit)
    if as_lines:
        for job in listed:
            click.echo(json.dumps(job_view(job, file_path_of(config, job)), ensure_ascii=False))
    elif as_json:
        print_json([job_view(job, file_path_of(config, job)) for job in listed])
    else:
        print_jobs(listed)


@click.command()
@config_option
@click.argument("job", shell_complete=completion.jobs)
@json_option
def show(config_file: Path | None, job: str, *, as_json: bool) -> None:
    """Show one job whole: JOB is its id, the beginning of it, or the file's name.

    Example: receipt-watcher show scan_0042.pdf
    """
    config = load_config(config_file)
    with open_log(config) as log:
        shown = find(log, job)
        view = full_view(
            shown, file_path_of(config, shown), log.histories.attempts(shown.job_id), log.histories.lines(shown.job_id)
        )
    if as_json:
        print_json(view)
    else:
        _print_job(shown, view)


@click.command()
@config_option
@click.argument("what", metavar="PATH|JOB", shell_complete=completion.jobs)
@json_option
def explain(config_file: Path | None, what: str, *, as_json: bool) -> None:
    """Say why a file has not been taken yet, or what became of a job: a path, a file's name, or a job's id.

    Example: receipt-watcher explain /srv/receipts/inbox/scan_0042.pdf
    """
    from receipt_watcher.report.explain import Explainer
    from receipt_watcher.system.state_dir import Installation

    config, configuration = load_compared(config_file)
    with open_log(config) if has_log(config) else nullcontext() as log:
        explainer = Explainer(
            config,
            log,
            is_running=Installation(config.state_dir).is_running(),
            now=time.time(),
            wait=threading.Event().wait,
        )
        explanation = _explained(explainer, log, what)
    if as_json:
        print_json({**explanation.as_json(), "configuration": configuration.as_json()})
    else:
        for line in explanation.lines():
            print_line(line)
        for finding in configuration.findings():
            print_line(f"  {as_sentence(f'Configuration: {finding.what}')}")
            print_line(f"    → {finding.advice}")
    raise click.exceptions.Exit(FINE if explanation.is_fine else WRONG)


def _explained(explainer: Explainer, log: JobLog | None, what: str) -> Explanation:
    """Find out what is meant: a job's id, then a path, then the name of a file that a job had."""
    by_id = [job for job in log.lookups.find(display_name(what)) if job.job_id.startswith(what)] if log else []
    if log is not None and len(by_id) == 1:
        return explainer.about_job(by_id[0], log)
    trouble = None
    try:
        explanation = explainer.about_path(what, Path.cwd())
    except OSError as error:
        explanation, trouble = None, error
    if explanation is not None:
        return explanation
    if log is not None and (trouble is None or log.lookups.find(display_name(what))):
        return explainer.about_job(find(log, what), log)
    if trouble is not None:
        raise ReceiptWatcherError(f"{what}: {trouble.strerror or trouble}") from trouble
    raise click.UsageError(f"There is no file {what!r} in any inbox, and nothing has been taken in yet.")


def _print_job(job: Job, view: dict[str, Any]) -> None:
    for name, value in view.items():
        if name not in ("deliveries", "history") and value not in (None, ""):
            print_line(f"{name + ':':20} {value}")
    if job.reason:
        click.echo(f"{'meaning:':20} {job.reason.meaning}\n{'what to do:':20} {job.reason.advice}")
    click.echo("history:")
    for row in view["history"]:
        change = f"{row['from'] or ''} → {row['to']}" if row["to"] else ""
        print_line(f"  {row['at']}  {row['event']:12} {change:24} {row['detail'] or ''}".rstrip())


@click.command()
@config_option
@click.option("--lines", "-n", default=10, show_default=True, type=click.IntRange(0, 10_000), help="Begin so far back.")
@click.option(
    "--inbox", default=None, shell_complete=completion.inboxes, help="Only what happens to receipts of this inbox."
)
@json_option
def tail(config_file: Path | None, lines: int, inbox: str | None, *, as_json: bool) -> None:
    """Show what happens to receipts, as it happens, until Ctrl-C.

    Example: receipt-watcher tail --inbox office
    """
    pause = threading.Event()
    with open_log(load_config(config_file)) as log:
        events = log.histories.last_events(lines)
        last = events[-1].number if events else log.histories.last_event()
        try:
            while True:
                for happening in events:
                    if inbox in (None, happening.inbox):
                        _print_happening(happening, as_json=as_json)
                sys.stdout.flush()
                pause.wait(_LOOK_SECONDS)
                events = log.histories.events_after(last, _PAGE)
                last = (
                    events[-1].number if events else min(last, log.histories.last_event())
                )  # retention gives numbers back
        except KeyboardInterrupt:
            raise click.exceptions.Exit(FINE) from None


def _print_happening(happening: JobEvent, *, as_json: bool) -> None:
    row = {
        "at": iso_time(happening.at),
        "inbox": happening.inbox,
        "filename": happening.filename,
        "event": happening.event,
        "from": happening.from_state,
        "to": happening.to_state,
        "detail": happening.detail,
        "job_id": happening.job_id,
    }
    if as_json:
        click.echo(json.dumps(row, ensure_ascii=False))
        return
    at = datetime.fromtimestamp(happening.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    change = f" → {happening.to_state}" if happening.to_state else ""
    detail = f": {happening.detail}" if happening.detail else ""
    print_line(f"{at}  {happening.inbox}: {happening.filename}: {happening.event}{change}{detail}")


@click.command()
@config_option
@click.argument("names", metavar="JOB...", nargs=-1, shell_complete=completion.jobs)
@click.option("--failed", is_flag=True, help="Retry every failed job.")
@click.option("--force", is_flag=True, help="Also if N8N may have booked it, or the file was refused.")
@json_option
def retry(config_file: Path | None, names: Sequence[str], *, failed: bool, force: bool, as_json: bool) -> None:
    """Try failed or cancelled jobs again, under their old ids.

    A job that failed as outcome_unknown, unreadable_verdict or no_callback may have been booked, so it needs --force:
    it may be booked twice. With --force a file is sent, too, that was refused as unsupported_type, incomplete, broken
    or encrypted; the limits of size and pixels stay.

    Example: receipt-watcher retry scan_0042.pdf
    """
    if bool(names) == failed:
        raise click.UsageError("Name the jobs to retry, or give --failed.")
    with open_log(load_config(config_file), writing=True) as log:
        chosen = _failed(log) if failed else [find(log, name) for name in names]
        _change_all(chosen, lambda job, now: _retried(log, job, now, is_forced=force), as_json=as_json)


@click.command()
@config_option
@click.argument("name", metavar="JOB", shell_complete=completion.jobs)
@click.option(
    "--delivered/--not-delivered", default=None, help="Whether N8N has booked it, as you saw there; one is needed."
)
@json_option
def settle(config_file: Path | None, name: str, *, delivered: bool | None, as_json: bool) -> None:
    """Say what became of a job that N8N may have booked, after a look in N8N.

    It is a job that failed as outcome_unknown, unreadable_verdict or no_callback. With --delivered it succeeds and its
    file moves to done/; with --not-delivered it stays failed, and can be retried without --force.

    Example: receipt-watcher settle scan_0042.pdf --delivered
    """
    if delivered is None:
        raise click.UsageError("Say what you saw in N8N: give --delivered or --not-delivered.")
    with open_log(load_config(config_file), writing=True) as log:
        chosen = [find(log, name)]
        _change_all(chosen, lambda job, now: _settled(log, job, now, is_delivered=delivered), as_json=as_json)


@click.command()
@config_option
@click.argument("name", metavar="JOB", shell_complete=completion.jobs)
@json_option
def cancel(config_file: Path | None, name: str, *, as_json: bool) -> None:
    """End a job that waits; its file goes to failed/. A success that N8N still reports wins.

    Example: receipt-watcher cancel scan_0042.pdf
    """
    with open_log(load_config(config_file), writing=True) as log:
        _change_all([find(log, name)], lambda job, now: _cancelled(log, job, now), as_json=as_json)


def _failed(log: JobLog) -> list[Job]:
    """Return every failed job that still has its file."""
    return [job for job in log.lookups.listing(states=[State.FAILURE], limit=None) if job.removed_at is None]


def _change_all(chosen: Sequence[Job], change: Callable[[Job, float], Job | str], *, as_json: bool) -> None:
    """Change jobs and say what became of each: `change` returns the job, or why it could not be."""
    now = time.time()
    done: list[dict[str, Any]] = []
    for job in chosen:
        after = change(job, now)
        done.append({"job_id": job.job_id, "filename": job.filename, "done": not isinstance(after, str)})
        if not as_json:
            print_line(f"{job.job_id}  {job.filename}: {after if isinstance(after, str) else _said(after)}")
    if as_json:
        print_json(done)
    elif not chosen:
        click.echo("Nothing has failed.")
    raise click.exceptions.Exit(FINE if all(row["done"] for row in done) else WRONG)


def _said(after: Job) -> str:
    if after.state is State.FAILURE:
        return "marked as not delivered; retry it, or move its file back into the inbox, to have it sent again"
    return f"{after.state.value}; a running daemon goes on with it within seconds"


def _retried(log: JobLog, job: Job, now: float, *, is_forced: bool) -> Job | str:
    after = log.jobs.retry(job.job_id, now, f"by {person()}", is_forced=is_forced)
    if after is None and may_be_booked(job) and not is_forced:
        return f"not retried ({job.reason}). {MAY_BE_BOOKED_WORDS} Then use settle, or retry it with --force"
    if after is None and is_overdue(job, now) and not is_forced:
        overdue = f"its callback is overdue since {iso_time(job.deadline_at)}"
        return f"not retried ({overdue}). {MAY_BE_BOOKED_WORDS} Then retry it with --force"
    return _why_not(job, Event.RETRY) if after is None else after


def _settled(log: JobLog, job: Job, now: float, *, is_delivered: bool) -> Job | str:
    after = log.jobs.settle(job.job_id, now, f"by {person()}", is_delivered=is_delivered)
    if after is None:
        return f"not possible: only a failure that may have been booked can be settled; {standing_of(job)}"
    return after


def _cancelled(log: JobLog, job: Job, now: float) -> Job | str:
    after = log.jobs.advance(job.job_id, Event.CANCEL, now, detail=f"by {person()}")
    return _why_not(job, Event.CANCEL) if after is None else after


def _why_not(job: Job, event: Event) -> str:
    if next_state(job.state, event) is None:
        hint = "; it is being delivered, try again in a moment" if job.state is State.DELIVERING else ""
        return f"not possible, it is {job.state.value}{hint}"
    if job.removed_at is not None:
        return f"its file was removed at {iso_time(job.removed_at)}, by retention; drop it into the inbox again"
    return "its file is not in failed/ yet, or it changed just now; try again in a moment"
