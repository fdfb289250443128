"""Commands by which an admin accepts something once: `accept-backlog`, `take-over`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from receipt_watcher.cli import completion
from receipt_watcher.cli.context import (
    config_option,
    has_log,
    inbox_of,
    json_option,
    load_config,
    open_log,
    print_json,
    print_line,
)
from receipt_watcher.errors import ReceiptWatcherError

if TYPE_CHECKING:
    from receipt_watcher.config.options import Config
    from receipt_watcher.config.sections.inbox import Inbox
    from receipt_watcher.spool.folders import Spool
    from receipt_watcher.spool.identity.accepted_marks import MarkKind, Sight

Answer = TypeVar("Answer")

#: Time limit for a file system's answer: a person waits.
_ANSWER_SECONDS = 10.0


@click.command("accept-backlog")
@config_option
@click.argument("inbox", metavar="INBOX", shell_complete=completion.inboxes)
@json_option
def accept_backlog(config_file: Path | None, inbox: str, *, as_json: bool) -> None:
    """Have the old files of an inbox taken in that were there before its very first start.

    The running daemon takes them within seconds, else the next one, if it starts within 24 hours.

    Example: receipt-watcher accept-backlog office
    """
    from receipt_watcher.inbox.watching.listing import listing_of
    from receipt_watcher.spool.identity.accepted_marks import MarkKind

    config = load_config(config_file)
    chosen = inbox_of(config, inbox)
    if has_log(config):
        with open_log(config) as log:
            if log.facts.inbox_started.of(inbox).get() is not None:
                _show(config, chosen, "", ["nothing waits to be accepted: it has had its first start"], as_json=as_json)
                return
    waiting = _answered(chosen, lambda: sum(1 for _ in listing_of(chosen).files()))
    owner = _leave(config, chosen, MarkKind.BACKLOG).owner
    _show(config, chosen, owner, [f"{waiting} files wait, and are taken in"], as_json=as_json)


@click.command("take-over")
@config_option
@click.argument("inbox", metavar="INBOX", shell_complete=completion.inboxes)
@json_option
def take_over(config_file: Path | None, inbox: str, *, as_json: bool) -> None:
    """Make the folders of an inbox ours as they are now: of another installation, or on another disk.

    Mount everything first. What is open in processing/ waits for its callback. The running daemon does it within
    seconds, else the next one, if it starts within 24 hours. It is done once, and not if a folder changes before.

    Example: receipt-watcher take-over office
    """
    from receipt_watcher.spool.identity.accepted_marks import MarkKind

    config = load_config(config_file)
    chosen = inbox_of(config, inbox)
    seen = _leave(config, chosen, MarkKind.SPOOL)
    _show(config, chosen, seen.owner, list(_words_of(config, seen)), as_json=as_json)


def _leave(config: Config, inbox: Inbox, what: MarkKind) -> Sight:
    """Leave the mark, and return what it is for.

    Raises:
        ReceiptWatcherError: a folder is not there, or does not answer.
    """
    from receipt_watcher.spool.identity.accepted_marks import MarkKind, Marks, Sight, sight_of
    from receipt_watcher.system.state_dir import Installation

    installation = Installation(config.state_dir)
    installation.make_folder()
    seen = _answered(inbox, lambda: sight_of(what, _spool_of(inbox)))
    missing = [path for path, place in seen.folders.items() if place is None]
    if missing:
        raise ReceiptWatcherError(
            f"the folder {missing[0]} is not there; mount its disk or share, or create it for the service's user, and "
            "then type this again"
        )
    if what is MarkKind.BACKLOG and not seen.owner:  # the first start writes it before it looks for the mark
        seen = Sight(installation.installation_id(), seen.folders)
    try:
        Marks(config.state_dir, inbox.name).leave(what, seen, time.time())
    except OSError as error:
        raise ReceiptWatcherError(f"the state folder {config.state_dir} cannot be written: {error.strerror}") from error
    return seen


def _spool_of(inbox: Inbox) -> Spool:
    from receipt_watcher.spool.folders import Spool
    from receipt_watcher.spool.paths import SpoolFolders

    return Spool(inbox.name, SpoolFolders.of(inbox))


def _words_of(config: Config, seen: Sight) -> Iterator[str]:
    """Yield what becomes ours."""
    from receipt_watcher.system.state_dir import Installation

    ours = Installation(config.state_dir).installation_id()
    if seen.owner and seen.owner != ours:
        yield f"it belongs to installation {seen.owner}, and becomes that of this one, {ours}"
    for path, place in seen.folders.items():
        yield f"{path} is taken as it is now, on {place}"


def _show(config: Config, inbox: Inbox, owner: str, lines: Sequence[str], *, as_json: bool) -> None:
    from receipt_watcher.system.state_dir import Installation

    is_running = Installation(config.state_dir).is_running()
    if as_json:
        print_json({"inbox": inbox.name, "owner": owner or None, "running": is_running, "said": list(lines)})
        return
    for line in lines:
        print_line(f"{inbox.name}: {line}")
    if owner or len(lines) > 1:
        print_line(
            "The daemon does it within seconds." if is_running else "The next daemon does it; start it within 24 hours."
        )


def _answered(inbox: Inbox, ask: Callable[[], Answer]) -> Answer:
    """Return what the file system of an inbox answers.

    Raises:
        ReceiptWatcherError: it does not, or refuses.
    """
    from receipt_watcher.system.time_limit import within

    try:
        return within(_ANSWER_SECONDS, ask, inbox.path)
    except OSError as error:
        path = error.filename or inbox.path
        raise ReceiptWatcherError(f"{path} cannot be read now: {error.strerror or error}") from error
