"""Holds by hand: `hold`, `resume`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
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
    from receipt_watcher.jobs.log.job_log import JobLog
    from receipt_watcher.jobs.log.manual_holds import ManualHold


@click.command()
@config_option
@click.argument("names", metavar="WHAT...", nargs=-1, required=True, shell_complete=completion.holdable)
@click.option("--why", default="", help="What to tell those who wonder; it is shown wherever the hold is.")
@json_option
def hold(config_file: Path | None, names: Sequence[str], why: str, *, as_json: bool) -> None:
    """Keep receipts waiting until `resume`: WHAT is an inbox, n8n for every webhook, or one's name as in status.

    From a held inbox nothing is taken. To a held webhook nothing is sent, and no receipt fails meanwhile.

    Example: receipt-watcher hold n8n --why "moves to the new machine"
    """
    config, now = load_config(config_file), time.time()
    with open_log(config, writing=True) as log:
        holds = log.manual_holds
        meant = _meant(config, names, holds.all(), now)
        done = [(each, holds.hold(each.kind, each.name, why, now)) for each in meant]
    _show(config, done, ("is held", "was held before"), as_json=as_json)


@click.command()
@config_option
@click.argument("names", metavar="WHAT...", nargs=-1, required=True, shell_complete=completion.holdable)
@json_option
def resume(config_file: Path | None, names: Sequence[str], *, as_json: bool) -> None:
    """End a hold by hand; where the daemon itself holds N8N, have it try again now. WHAT is as for `hold`.

    What N8N was given before has its whole time for the callback again.

    Example: receipt-watcher resume n8n
    """
    config, now = load_config(config_file), time.time()
    with open_log(config, writing=True) as log:
        meant = _meant(config, names, log.manual_holds.all(), now)
        done = [(each, _resumed(config, log, each, now)) for each in meant]
    _show(config, done, ("goes on within seconds", "is not held"), as_json=as_json)
    raise click.exceptions.Exit(FINE if any(is_changed for _, is_changed in done) else WRONG)


def _resumed(config: Config, log: JobLog, hold: ManualHold, now: float) -> bool:
    """End a hold, or have a destination probed that the daemon holds; return whether there was anything to end."""
    from receipt_watcher.jobs.log.manual_holds import HoldTarget
    from receipt_watcher.web.actions import resume_destination

    if hold.kind is HoldTarget.INBOX:
        return log.manual_holds.resume(hold.kind, hold.name)
    return resume_destination(log, hold.name, config.branches_to(hold.name), config.callback.deadline_seconds, now)


def _meant(config: Config, names: Iterable[str], known: Sequence[ManualHold], now: float) -> list[ManualHold]:
    """Return what is meant, each once; also what is held and configured no more.

    Raises:
        UsageError: nothing has that name.
    """
    from receipt_watcher.delivery.naming import names_of
    from receipt_watcher.jobs.log.manual_holds import HoldTarget, ManualHold

    meant: dict[tuple[str, str], ManualHold] = {}
    inboxes = [inbox.name for inbox in config.inboxes]
    destinations = names_of(config)
    for name in names:
        if name in inboxes:
            here = [ManualHold(HoldTarget.INBOX, name, now, "")]
        else:
            named = destinations.url_of(name)
            urls = list(destinations.by_url) if name == "n8n" else [named] if named is not None else []
            here = [ManualHold(HoldTarget.DESTINATION, url, now, "") for url in urls]
            # A webhook that left the configuration may share its host's name with one that is in it.
            gone = [hold for hold in known if hold.name not in destinations.by_url]
            here += [hold for hold in gone if name in (hold.name, destinations.held(hold))]
        if not here:
            all_names = [*inboxes, "n8n", *destinations.by_url.values()]
            raise click.UsageError(f"There is no {name!r}; it may be one of: {', '.join(all_names)}")
        meant |= {(hold.kind, hold.name): hold for hold in here}
    return list(meant.values())


def _show(config: Config, done: Sequence[tuple[ManualHold, bool]], words: tuple[str, str], *, as_json: bool) -> None:
    from receipt_watcher.delivery.naming import names_of

    names = names_of(config)
    if as_json:
        print_json([{"kind": hold.kind.value, "name": names.held(hold), "done": changed} for hold, changed in done])
        return
    for hold, is_changed in done:
        print_line(f"{names.held_in_words(hold)} {words[0] if is_changed else words[1]}")
