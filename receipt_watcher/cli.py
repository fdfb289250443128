"""The command line: what an admin types. Exit codes: 0 fine, 1 something is wrong, 2 usage or configuration.

Commands that read or change jobs work on the job log itself, whether the daemon runs or not; a running one sees
the change within a tick. Every listing has --json.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from receipt_watcher import __version__, telemetry
from receipt_watcher.config import Config, redacted
from receipt_watcher.disk import display_name
from receipt_watcher.errors import ConfigError, JobLogError, ReceiptWatcherError
from receipt_watcher.example import example_yaml
from receipt_watcher.holds import Holds
from receipt_watcher.installation import Installation, new_token
from receipt_watcher.job import Event, Folder, Job, State, next_state
from receipt_watcher.joblog import JobLog
from receipt_watcher.sources import find_config_file, load
from receipt_watcher.stopsignal import StopSignal
from receipt_watcher.telemetry import printable
from receipt_watcher.view import full_view, iso_time, job_view

if TYPE_CHECKING:
    from receipt_watcher.check import Finding
    from receipt_watcher.explain import Explainer, Explanation

FINE, WRONG, USAGE = 0, 1, 2

_config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="The configuration file; else $RECEIPT_WATCHER_CONFIG, ./watcher.yaml, /etc/receipt-watcher/watcher.yaml.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def main() -> NoReturn:
    """Run the command line; errors that are meant for the admin come without a traceback."""
    try:
        code = commands(standalone_mode=False) or FINE  # click returns the code of an Exit, it does not raise it
    except click.Abort:
        code = WRONG
    except click.ClickException as error:
        error.show()
        code = USAGE
    except ConfigError as error:
        _say_problems(error)
        code = USAGE
    except ReceiptWatcherError as error:
        click.echo(telemetry.complaint(f"receipt-watcher: {error}", sys.stderr), err=True)
        code = WRONG
    sys.exit(code)


def _say_problems(error: ConfigError) -> None:
    count = len(error.problems)
    first = f"receipt-watcher: the configuration has {count} mistake{'s' if count > 1 else ''}:"
    text = "\n".join([first, *(f"  {problem}" for problem in error.problems)])
    click.echo(telemetry.complaint(text, sys.stderr), err=True)


class _Commands(click.Group):
    """All commands; a reader that leaves, as in `… | head`, is no error, though click makes exit code 1 of it."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes there
            raise click.exceptions.Exit(FINE) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="receipt-watcher")
def commands() -> None:
    """Carry receipts from a folder to an N8N workflow and back, and lose none.

    Try it with: receipt-watcher demo
    """


# --- running ---------------------------------------------------------------------------------------------------


@commands.command()
@_config_option
@click.option("--once", is_flag=True, help="Do what there is to do, wait for the verdicts, and exit.")
@click.option("--take-over", is_flag=True, help="Make a spool ours that belonged to another machine's installation.")
@click.option("--accept-backlog", is_flag=True, help="At the very first start, take in old files however many.")
def run(config_file: Path | None, *, once: bool, take_over: bool, accept_backlog: bool) -> None:
    """Run the daemon until it gets SIGTERM or SIGINT; SIGHUP has it read the configuration again.

    Example: receipt-watcher run --config /etc/receipt-watcher/watcher.yaml
    """
    from receipt_watcher import service  # noqa: PLC0415 - `jobs` and `show` need not load servers and clients
    from receipt_watcher.once import run_once  # noqa: PLC0415

    config = _load(config_file)
    telemetry.configure(config.logging.level, config.logging.format)
    stop = StopSignal()
    stop.listen(reloads=not once and not os.isatty(0))  # a terminal that is closed sends SIGHUP, too
    if not once:
        reread = functools.partial(_load, config_file)
        _leave(
            FINE,
            ended=service.run(config, stop, reread, os.environ, take_over=take_over, accept_backlog=accept_backlog),
        )
    result = run_once(config, stop, take_over=take_over, accept_backlog=accept_backlog)
    _print_jobs(result.jobs)
    for trouble in result.troubles:
        click.echo(f"receipt-watcher: {trouble}", err=True)
    _leave(FINE if result.is_fine else WRONG, ended=result.ended)


def _leave(code: int, *, ended: bool) -> NoReturn:
    """Exit, without waiting for a thread that still waits for an answer: its claim is settled at the next start."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if not ended:
        os._exit(code)
    raise click.exceptions.Exit(code)


@commands.command()
@_config_option
@click.option(
    "--live", is_flag=True, help="Send a made-up receipt, marked as a test, to N8N and wait for its callback."
)
@click.option("--may-book", is_flag=True, help="With --live: send it to a workflow that is none of ours, too.")
@click.option("--find-size", is_flag=True, help="With --live: find how large a receipt is accepted as JSON.")
@_json_option
def check(config_file: Path | None, *, live: bool, may_book: bool, find_size: bool, as_json: bool) -> None:
    """Check the configuration, the folders, N8N and the callback URL; without --live nothing is ever posted.

    Example: receipt-watcher check --live --config watcher.yaml
    """
    if (may_book or find_size) and not live:
        raise click.UsageError("--may-book and --find-size go with --live.")
    config = _load(config_file)
    findings: list[Finding] = []
    for found in _looked_at(config, live=live, may_book=may_book, find_size=find_size):
        findings.append(found)
        if not as_json:  # one by one: a callback is waited for
            click.echo(f"{found.level:7}  {printable(found.what)}")
            if found.advice:
                click.echo(f"         → {printable(found.advice)}")
    if as_json:
        _print_json([{"level": found.level, "what": found.what, "advice": found.advice} for found in findings])
    raise click.exceptions.Exit(WRONG if any(found.level == "error" for found in findings) else FINE)


def _looked_at(config: Config, *, live: bool, may_book: bool, find_size: bool) -> Iterable[Finding]:
    if live:
        from receipt_watcher.live import check_live  # noqa: PLC0415

        telemetry.configure("error", config.logging.format)
        return check_live(config, may_book=may_book, find_size=find_size)
    from receipt_watcher.check import check_all  # noqa: PLC0415

    return check_all(config)


@commands.command()
@click.option("--keep", is_flag=True, help="Leave the demo's folder behind, to look at.")
def demo(*, keep: bool) -> None:
    """Watch receipts go through: the real daemon, a stand-in for N8N, and freshly made receipts.

    Example: receipt-watcher demo
    """
    from receipt_watcher.demo import run_demo  # noqa: PLC0415

    raise click.exceptions.Exit(run_demo(keep=keep))


@commands.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--webhook-url", default=None, help="The Production URL of the workflow's Webhook node.")
@_json_option
def init(folder: Path, webhook_url: str | None, *, as_json: bool) -> None:
    """Make a set-up in FOLDER: a commented watcher.yaml with a fresh callback token, and the folders.

    Example: receipt-watcher init /srv/receipts --webhook-url https://n8n.office.lan/webhook/receipts
    """
    folder = folder.absolute()
    path = folder / "watcher.yaml"
    if path.exists():
        raise click.UsageError(f"{path} is there already; nothing was changed")
    values: dict[str, object] = {
        "inboxes.0.path": str(folder / "inbox"),
        "callback.secret_token": new_token(),
        "state_dir": str(folder / "state"),
    }
    if webhook_url:
        values["n8n.webhook_url"] = webhook_url
    for name in ("inbox", *Folder):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Installation(folder / "state").make_folder()
    path.touch(mode=0o600)  # it holds the token
    path.write_text(example_yaml(values), "utf-8")
    if as_json:
        _print_json({"config": str(path), "folders": [str(folder / name) for name in ("inbox", *Folder, "state")]})
        return
    click.echo(f"Made {path} and the folders inbox, processing, done, failed and state beside it.")
    click.echo("Next: set n8n.webhook_url, n8n.api_key and http.public_url there; then")
    click.echo(f"  receipt-watcher check --config {path}\n  receipt-watcher run --config {path}")


@commands.group()
def config() -> None:
    """Look at the configuration."""


@config.command("show")
@_config_option
@_json_option
def config_show(config_file: Path | None, *, as_json: bool) -> None:
    """Show the configuration as it is in force, from all sources, without secrets.

    Example: receipt-watcher config show --config watcher.yaml
    """
    shown = redacted(_load(config_file))
    if as_json:
        _print_json(shown)
    else:
        import yaml  # noqa: PLC0415

        click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), nl=False)


@config.command("example")
def config_example() -> None:
    """Print a configuration file with every option, its default and a line of why.

    Example: receipt-watcher config example > watcher.yaml
    """
    click.echo(example_yaml(), nl=False)


@commands.command("n8n-workflow")
@click.argument("name", required=False)
@click.option("--credentials", is_flag=True, help="Print the two credentials instead, with the secrets in force.")
@click.option("--signed", is_flag=True, help="It takes no JSON without our signature; and the credential for that.")
@click.option("--path", default="receipts", show_default=True, help="The webhook's path: …/webhook/PATH.")
@_config_option
@_json_option
def n8n_workflow(
    name: str | None, path: str, config_file: Path | None, *, credentials: bool, signed: bool, as_json: bool
) -> None:
    """Print a workflow that ships, for n8n's import; without NAME, list them.

    Example: receipt-watcher n8n-workflow echo > echo.json
    """
    from receipt_watcher.workflows import WORKFLOWS, Services, workflow_json  # noqa: PLC0415

    if credentials:
        config = _load(config_file)
        _print_json([*_credentials(config), *([_signing_credential(config)] if signed else [])])
    elif name is not None:
        _print_json(workflow_json(name, Services(webhook_path=path.strip("/")), is_signed=signed))
    elif as_json:
        _print_json([{"name": each.name, "summary": each.summary, "needs": each.needs} for each in WORKFLOWS.values()])
    else:
        for each in WORKFLOWS.values():
            click.echo(f"{each.name:15} {each.summary}\n{'':15} needs {each.needs}")


def _credentials(config: Config) -> list[dict[str, Any]]:
    from receipt_watcher.workflows import credentials_json  # noqa: PLC0415

    if not config.n8n.api_key:
        raise click.UsageError("n8n.api_key is not set; put the output of this there: openssl rand -hex 32")
    secret = config.callback.secret_token
    installation = Installation(config.state_dir)
    installation.make_folder()
    token = secret.get_secret_value() if secret else installation.callback_token()
    return credentials_json(config.n8n.api_key.get_secret_value(), token)


def _signing_credential(config: Config) -> dict[str, Any]:
    from receipt_watcher.workflows import signing_credential_json  # noqa: PLC0415

    recipe = "put the output of this there: " + """echo "whsec_$(openssl rand -hex 32 | tr -d '\\n' | base64 -w 0)\""""
    if not config.n8n.signing_secret:
        raise click.UsageError(f"n8n.signing_secret is not set; {recipe}")
    try:
        return signing_credential_json(config.n8n.signing_secret.get_secret_value())
    except ValueError as error:
        raise click.UsageError(f"n8n.signing_secret is not for n8n: {error}; {recipe}") from error


# --- looking ---------------------------------------------------------------------------------------------------


@commands.command()
@_config_option
@_json_option
def status(config_file: Path | None, *, as_json: bool) -> None:
    """Say whether the daemon runs, what waits, and what is wrong.

    Example: receipt-watcher status
    """
    from receipt_watcher.status import status_of  # noqa: PLC0415

    config = _load(config_file)
    with _open_log(config) as log:
        found = status_of(config, log, Holds(log), Installation(config.state_dir), time.time())
    if as_json:
        _print_json(found.as_json())
    else:
        for line in found.lines():
            click.echo(printable(line))
    raise click.exceptions.Exit(WRONG if found.troubles else FINE)


@commands.command()
@_config_option
@_json_option
def health(config_file: Path | None, *, as_json: bool) -> None:
    """Ask the running daemon whether it is ready: one line, and exit code 1 where it is not, or does not answer.

    Example: receipt-watcher health
    """
    from receipt_watcher.healthcheck import ask  # noqa: PLC0415

    answer = ask(_load(config_file), as_json=as_json)
    click.echo(printable(answer.text))
    raise click.exceptions.Exit(FINE if answer.is_ready else WRONG)


@commands.group()
def metrics() -> None:
    """Print what goes with GET /metrics: a dashboard and alert rules."""


@metrics.command("dashboard")
def metrics_dashboard() -> None:
    """Print a dashboard for Grafana's import.

    Example: receipt-watcher metrics dashboard > receipt-watcher.json
    """
    click.echo(_shipped("dashboard.json"), nl=False)


@metrics.command("alerts")
def metrics_alerts() -> None:
    """Print alert rules for Prometheus.

    Example: receipt-watcher metrics alerts > /etc/prometheus/receipt-watcher.yaml
    """
    click.echo(_shipped("alerts.yaml"), nl=False)


def _shipped(name: str) -> str:
    return (Path(__file__).parent / "monitoring" / name).read_text("utf-8")


@commands.command()
@_config_option
@click.option("--status", "states", multiple=True, type=click.Choice([state.value for state in State]))
@click.option("--inbox", default=None, help="Only those of this inbox.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@_json_option
def jobs(config_file: Path | None, states: Sequence[str], inbox: str | None, limit: int, *, as_json: bool) -> None:
    """List jobs, the newest first.

    Example: receipt-watcher jobs --status failure --limit 10
    """
    config = _load(config_file)
    with _open_log(config) as log:
        found = log.listing(states=[State(state) for state in states], inbox=inbox, limit=limit)
    if as_json:
        _print_json([job_view(job, _path_of(config, job)) for job in found])
    else:
        _print_jobs(found)


@commands.command()
@_config_option
@click.argument("job")
@_json_option
def show(config_file: Path | None, job: str, *, as_json: bool) -> None:
    """Show one job whole: JOB is its id, the beginning of it, or the file's name.

    Example: receipt-watcher show scan_0042.pdf
    """
    config = _load(config_file)
    with _open_log(config) as log:
        found = _find(log, job)
        view = full_view(found, _path_of(config, found), log.attempts(found.job_id), log.history(found.job_id))
    if as_json:
        _print_json(view)
    else:
        _print_job(found, view)


@commands.command()
@_config_option
@click.argument("what", metavar="PATH|JOB")
@_json_option
def explain(config_file: Path | None, what: str, *, as_json: bool) -> None:
    """Say why a file has not been taken yet, or what became of a job: a path, a file's name, or a job's id.

    Example: receipt-watcher explain /srv/receipts/inbox/scan_0042.pdf
    """
    from receipt_watcher.explain import Explainer  # noqa: PLC0415

    config = _load(config_file)
    log = JobLog(config.database_path) if config.database_path.exists() else None
    if log is not None:
        log.open()
    try:
        explainer = Explainer(
            config,
            log,
            is_running=Installation(config.state_dir).is_running(),
            now=time.time(),
            wait=threading.Event().wait,
        )
        found = _explained(explainer, log, what)
    finally:
        if log is not None:
            log.close()
    if as_json:
        _print_json(found.as_json())
    else:
        for line in found.lines():
            click.echo(printable(line))
    raise click.exceptions.Exit(FINE if found.is_fine else WRONG)


def _explained(explainer: Explainer, log: JobLog | None, what: str) -> Explanation:
    """Find out what is meant: a job's id, then a path, then the name of a file that a job had."""
    by_id = [job for job in log.find(display_name(what)) if job.job_id.startswith(what)] if log else []
    if log is not None and len(by_id) == 1:
        return explainer.about_job(by_id[0], log)
    trouble = None
    try:
        found = explainer.about_path(what, Path.cwd())
    except OSError as error:
        found, trouble = None, error
    if found is not None:
        return found
    if log is not None and (trouble is None or log.find(display_name(what))):
        return explainer.about_job(_find(log, what), log)
    if trouble is not None:
        raise ReceiptWatcherError(f"{what}: {trouble.strerror or trouble}") from trouble
    raise click.UsageError(f"There is no file {what!r} in any inbox, and nothing has been taken in yet.")


@commands.command()
@_config_option
@click.option("--since", default=None, help="From this day or time on: 2026-11-01, 2026-11-01T12:00, yesterday, today.")
@click.option(
    "--until", default=None, help="To the end of this day, or to before this time; the office's clock counts."
)
@click.option("--inbox", default=None, help="Only this inbox.")
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    help="Write one row per receipt there; - for standard output.",
)
@click.option("--force", is_flag=True, help="Let --csv replace a file that is there.")
@click.option("--allow-absent", is_flag=True, help="Exit with 0 where the only findings are archived and unconfigured.")
@_json_option
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
    from receipt_watcher.balance import Balance, progress_on  # noqa: PLC0415
    from receipt_watcher.export import exporting  # noqa: PLC0415
    from receipt_watcher.findings import selection_of  # noqa: PLC0415

    config = _load(config_file)
    is_piped = str(csv_file) == "-"
    if is_piped and as_json:
        raise click.UsageError("Standard output takes one of the two: --json, or --csv -.")
    with _open_log(config) as log:
        if inbox is not None and inbox not in (each.name for each in config.inboxes) and not log.has_jobs_of(inbox):
            raise click.UsageError(f"There is no inbox {inbox!r}.")
        try:
            selection = selection_of(since, until, inbox, datetime.now())  # noqa: DTZ005 - the office's clock is meant
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        with exporting(csv_file, force=force) as tell_row, progress_on(sys.stderr) as tell_progress:
            wait = threading.Event().wait
            proof = Balance(log, config.inboxes, wait=wait, tell_row=tell_row, tell_progress=tell_progress)
            sums = proof.run(selection)
    if as_json:
        _print_json(sums.as_json())
    else:
        for line in sums.lines():
            click.echo(printable(line), err=is_piped)
    raise click.exceptions.Exit(WRONG if sums.wrong or (sums.absent and not allow_absent) else FINE)


def _print_job(job: Job, view: dict[str, Any]) -> None:
    for name, value in view.items():
        if name not in ("deliveries", "history") and value not in (None, ""):
            click.echo(f"{name + ':':20} {printable(str(value))}")
    if job.reason:
        click.echo(f"{'meaning:':20} {job.reason.meaning}\n{'what to do:':20} {job.reason.advice}")
    click.echo("history:")
    for row in view["history"]:
        change = f"{row['from'] or ''} → {row['to']}" if row["to"] else ""
        click.echo(printable(f"  {row['at']}  {row['event']:12} {change:24} {row['detail'] or ''}").rstrip())


@commands.command()
@_config_option
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@_json_option
def backup(config_file: Path | None, target: Path, *, as_json: bool) -> None:
    """Copy the job log to FILE, whole and as of one moment, while the daemon runs or not.

    In a folder the copy is named by the time. Nothing is overwritten.

    Example: receipt-watcher backup /var/backups/
    """
    if target.is_dir():
        target /= f"receipts-{datetime.now().astimezone().strftime('%Y-%m-%d-%H%M%S')}.db"
    with _open_log(_load(config_file)) as log:
        jobs = log.backup(target)
    if as_json:
        _print_json({"file": str(target), "jobs": jobs, "bytes": target.stat().st_size})
    else:
        click.echo(f"{target}: {jobs} jobs, {target.stat().st_size:,} bytes")


@commands.command()
@_config_option
@click.option("--test", "is_test", is_flag=True, help="Send a test to each channel, and say whether it went.")
@_json_option
def notify(config_file: Path | None, *, is_test: bool, as_json: bool) -> None:
    """List the channels and what is still to be sent to each; with --test, send to each.

    Example: receipt-watcher notify --test
    """
    from receipt_watcher.channeltest import send_tests, waiting  # noqa: PLC0415

    config = _load(config_file)
    if is_test:
        rows = send_tests(config)
    elif config.database_path.exists():
        with _open_log(config) as log:
            rows = waiting(config, log)
    else:
        rows = waiting(config, None)
    if as_json:
        _print_json([{"channel": row.channel, "ok": row.is_fine, "said": row.said} for row in rows])
    else:
        for row in rows:
            click.echo(printable(f"{row.channel}: {row.said}"))
        if not rows:
            click.echo("No channel is configured; see notify.urls and notify.webhook_url.", err=True)
    raise click.exceptions.Exit(FINE if rows and all(row.is_fine for row in rows) else WRONG)


# --- changing --------------------------------------------------------------------------------------------------


@commands.command()
@_config_option
@click.argument("names", metavar="JOB...", nargs=-1)
@click.option("--failed", is_flag=True, help="Retry every failed job.")
@_json_option
def retry(config_file: Path | None, names: Sequence[str], *, failed: bool, as_json: bool) -> None:
    """Try failed or cancelled jobs again, under their old ids.

    Example: receipt-watcher retry scan_0042.pdf
    """
    if bool(names) == failed:
        raise click.UsageError("Name the jobs to retry, or give --failed.")
    with _open_log(_load(config_file)) as log:
        chosen = _failed(log) if failed else [_find(log, name) for name in names]
        _advance_all(log, chosen, Event.RETRY, as_json=as_json)


@commands.command()
@_config_option
@click.argument("name", metavar="JOB")
@_json_option
def cancel(config_file: Path | None, name: str, *, as_json: bool) -> None:
    """End a job that waits; its file goes to failed/. A success that N8N still reports wins.

    Example: receipt-watcher cancel scan_0042.pdf
    """
    with _open_log(_load(config_file)) as log:
        _advance_all(log, [_find(log, name)], Event.CANCEL, as_json=as_json)


def _failed(log: JobLog) -> list[Job]:
    """Return every failed job that still has its file."""
    return [job for job in log.listing(states=[State.FAILURE], limit=None) if job.removed_at is None]


def _advance_all(log: JobLog, chosen: Sequence[Job], event: Event, *, as_json: bool) -> None:
    now = time.time()
    done: list[dict[str, Any]] = []
    for job in chosen:
        changes = {"next_attempt_at": now} if event is Event.RETRY else {}
        after = log.advance(job.job_id, event, now, detail="by an admin", **changes)
        done.append({"job_id": job.job_id, "filename": job.filename, "done": after is not None})
        if not as_json:
            click.echo(printable(f"{job.job_id}  {job.filename}: {_said(job, event, after)}"))
    if as_json:
        _print_json(done)
    elif not chosen:
        click.echo("Nothing has failed.")
    raise click.exceptions.Exit(FINE if all(row["done"] for row in done) else WRONG)


def _said(job: Job, event: Event, after: Job | None) -> str:
    if after is not None:
        return f"{after.state.value}; a running daemon goes on with it within seconds"
    if next_state(job.state, event) is None:
        hint = "; it is being delivered, try again in a moment" if job.state is State.DELIVERING else ""
        return f"not possible, it is {job.state.value}{hint}"
    if job.removed_at is not None:
        return f"its file was removed at {iso_time(job.removed_at)}, by retention; drop it into the inbox again"
    return "its file is not in failed/ yet, or it changed just now; try again in a moment"


# --- common ----------------------------------------------------------------------------------------------------


def _load(config_file: Path | None) -> Config:
    return load(find_config_file(config_file, os.environ, Path.cwd()), os.environ)


@contextmanager
def _open_log(config: Config) -> Iterator[JobLog]:
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


def _find(log: JobLog, name: str) -> Job:
    found = log.find(display_name(name))
    if not found:
        raise click.UsageError(f"There is no job whose id begins with, or whose file is named, {name!r}.")
    if len(found) > 1:
        listing = "\n".join(f"  {job.job_id}  {job.state.value:10} {printable(job.filename)}" for job in found)
        raise click.UsageError(f"{name!r} may be several jobs; name one by its id:\n{listing}")
    return found[0]


def _path_of(config: Config, job: Job) -> Path | None:
    for inbox in config.inboxes:
        if inbox.name == job.inbox:
            roots = {
                Folder.PROCESSING: inbox.processing_dir,
                Folder.DONE: inbox.done_dir,
                Folder.FAILED: inbox.failed_dir,
            }
            return roots[job.folder] / job.stored_path
    return None


def _print_json(content: object) -> None:
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _print_jobs(found: Sequence[Job]) -> None:
    columns: list[tuple[str, Callable[[Job], str]]] = [
        ("recorded", lambda job: datetime.fromtimestamp(job.created_at).astimezone().strftime("%Y-%m-%d %H:%M:%S")),
        ("status", lambda job: job.state.value),
        ("inbox", lambda job: job.inbox),
        ("file", lambda job: job.filename),
        ("reason", lambda job: job.reason.value if job.reason else ""),
        ("job", lambda job: job.job_id),
    ]
    rows = [[title for title, _ in columns], *([printable(cell(job)) for _, cell in columns] for job in found)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
