"""The command line: what an admin types. Exit codes: 0 fine, 1 something is wrong, 2 usage or configuration.

The commands are in `commands`; here is what holds them together. Every listing has --json.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, NoReturn

import click

from receipt_watcher import __version__
from receipt_watcher.cli.commands import accept, balance, config, docs, hold, install, monitoring, receipts, run, tokens
from receipt_watcher.cli.context import FINE, USAGE, WRONG
from receipt_watcher.errors import ConfigError, NewerLogError, ReceiptWatcherError

#: systemd starts the service for each connection that waits at receipt-watcher.socket, at once, and for as long as it
#: waits. A mistake in the configuration must not make that a loop without a pause, nor systemd close the port for it.
_ACTIVATED_PAUSE_SECONDS = 5.0


def main() -> NoReturn:
    """Run the command line; errors that are meant for the admin come without a traceback."""
    is_activated = os.environ.get("LISTEN_PID") == str(os.getpid())
    try:
        code = commands(standalone_mode=False) or FINE  # click returns the code of an Exit, it does not raise it
    except click.Abort:
        code = WRONG
    except click.ClickException as error:
        error.show()
        code = USAGE
    except ConfigError as error:
        _print_problems(error)
        code = USAGE
    except NewerLogError as error:  # as with a mistake in the configuration, to start again is no use
        _complain(f"receipt-watcher: {error}")
        code = USAGE
    except ReceiptWatcherError as error:
        _complain(f"receipt-watcher: {error}")
        code = WRONG
    if code == USAGE and is_activated:
        _pause(_ACTIVATED_PAUSE_SECONDS)
    sys.exit(code)


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _print_problems(error: ConfigError) -> None:
    count = len(error.problems)
    first = f"receipt-watcher: the configuration has {count} mistake{'s' if count > 1 else ''}:"
    text = "\n".join([first, *(f"  {problem}" for problem in error.problems)])
    _complain(text)


def _complain(text: str) -> None:
    from receipt_watcher.service.logging.setup import complaint

    click.echo(complaint(text, sys.stderr), err=True)


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


for _command in (
    *(run.run, run.check, run.demo, run.status, run.notify, run.backup),
    *(receipts.jobs, receipts.show, receipts.explain, receipts.tail, receipts.retry, receipts.settle, receipts.cancel),
    *(hold.hold, hold.resume, docs.completion, docs.man),
    *(monitoring.health, monitoring.metrics),
    *(balance.balance, config.init, config.config, config.n8n_workflow),
    *(accept.accept_backlog, accept.take_over),
    install.service,
    tokens.token,
):
    commands.add_command(_command)
