"""`service install` and `service uninstall`: what an admin types to have a system service, or to have it no more."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receipt_watcher.cli.context import FINE, WRONG, print_how_to_sign_in, print_line
from receipt_watcher.errors import ReceiptWatcherError

if TYPE_CHECKING:
    from receipt_watcher.cli.setup.files import Step

_dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@click.group()
def service() -> None:
    """Make it a system service, or take that away again."""


@service.command("install")
@click.option(
    "--inbox",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where receipts arrive; by default /srv/receipts/inbox. The other folders lie beside it.",
)
@click.option("--webhook-url", help="The Production URL of the workflow's Webhook node.")
@click.option(
    "--public-url",
    help="How N8N reaches this machine if it runs elsewhere, such as http://receipts.office.lan:8000; with http:// "
    "the service listens on all addresses.",
)
@click.option("--packaged", is_flag=True, hidden=True, help="For the Debian package, which brings the rest.")
@_dry_run_option
@click.pass_context
def service_install(
    context: click.Context,
    inbox: Path | None,
    webhook_url: str | None,
    public_url: str | None,
    *,
    packaged: bool,
    dry_run: bool,
) -> None:
    """Put program, user, units, folders and a configuration in place, as root; a second run changes nothing.

    A service that runs is stopped while its program is replaced. Then the configuration is checked, and the service
    started, unless N8N could not call it back.

    Example: receipt-watcher service install --webhook-url https://n8n.office.lan/webhook/receipts
    """
    from receipt_watcher.cli.documents.manual import command_page, file_page
    from receipt_watcher.cli.setup.configuration import lines_of_check
    from receipt_watcher.cli.setup.host import Host, Pause
    from receipt_watcher.cli.setup.steps import install, start, state_of_service
    from receipt_watcher.config.sources.load import SYSTEM_CONFIG_FILE

    _be_root(dry_run=dry_run)
    host = Host()
    is_new = not host.at(SYSTEM_CONFIG_FILE).exists()
    manual = {"receipt-watcher": command_page(context.find_root().command), "watcher.yaml": file_page()}
    where = inbox.absolute() if inbox else None
    with Pause(host) as pause:
        steps = install(host, where, webhook_url, manual, pause, is_packaged=packaged, public_url=public_url)
        _carry_out(steps, dry_run=dry_run)
    if is_new and not dry_run:
        print_how_to_sign_in()
    if packaged or dry_run:
        return
    try:
        if _is_ready():
            for line in lines_of_check(host):
                print_line(f"check   {line}")
            _carry_out(start(host, pause), dry_run=False)
    finally:
        click.echo(f"state   {state_of_service(host)}")


@service.command("ready", hidden=True)
def service_ready() -> None:
    """Say what is still to be set before the service can start; exit code 1 if something is.

    Example: receipt-watcher service ready
    """
    raise click.exceptions.Exit(FINE if _is_ready() else WRONG)


@service.command("reload", hidden=True)
@click.argument("pid", type=int)
def service_reload(pid: int) -> None:
    """Have the daemon PID reload, and wait until it has; exit code 1 if it refused, for `systemctl reload`.

    Example: receipt-watcher service reload 4711
    """
    from receipt_watcher.service.process.reload import ask_for_reload

    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    refused = ask_for_reload(pid, Path(folder) if folder else None)
    for why in refused if "JOURNAL_STREAM" not in os.environ else ():  # there the daemon's own lines are
        click.echo(f"refused: {why}", err=True)
    raise click.exceptions.Exit(WRONG if refused else FINE)


def _is_ready() -> bool:
    from receipt_watcher.cli.setup.configuration import problems_before_start
    from receipt_watcher.cli.setup.host import Host
    from receipt_watcher.cli.setup.places import UNIT
    from receipt_watcher.config.sources.load import SYSTEM_CONFIG_FILE

    problems = problems_before_start(Host())
    for problem in problems:
        click.echo(f"to do   {problem}")
    if problems:
        click.echo(f"Set that in {SYSTEM_CONFIG_FILE}; then: systemctl start {UNIT}")
    return not problems


@service.command("uninstall")
@_dry_run_option
def service_uninstall(*, dry_run: bool) -> None:
    """Take away what `service install` brought: never a receipt, the job log or the configuration.

    Example: receipt-watcher service uninstall
    """
    from receipt_watcher.cli.setup.host import Host
    from receipt_watcher.cli.setup.steps import kept, uninstall

    _be_root(dry_run=dry_run)
    host = Host()
    _carry_out(uninstall(host), dry_run=dry_run)
    for line in kept(host):
        click.echo(f"kept    {line}")


def _be_root(*, dry_run: bool) -> None:
    if os.geteuid() != 0 and not dry_run:
        raise ReceiptWatcherError("only root may do this; run it with sudo, or with --dry-run to see what it would do")


def _carry_out(steps: Iterable[Step], *, dry_run: bool) -> None:
    for step in steps:
        if step.is_done():
            click.echo(f"is so   {step.what}")
        elif dry_run:
            click.echo(f"to do   {step.what}")
        else:
            step.carry_out()
            click.echo(f"done    {step.what}")
