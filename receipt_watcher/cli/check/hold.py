"""The end of a hold for missing callbacks, when a test has shown that they arrive."""

from __future__ import annotations

from collections.abc import Iterator

from receipt_watcher.cli.check.findings import CheckFinding
from receipt_watcher.cli.context import has_log, open_log
from receipt_watcher.config.options import Config
from receipt_watcher.errors import JobLogError


def end_silence(config: Config, url: str, now: float) -> Iterator[CheckFinding]:
    """End the hold of a destination whose callbacks were missing, and say so; what was overdue is sent again."""
    from receipt_watcher.jobs.log.holds import HoldKind
    from receipt_watcher.web.actions import resume_destination

    try:
        if not has_log(config):
            return
        with open_log(config) as log:
            is_silent = log.holds.of(url).hold_kind is HoldKind.SILENCE and not log.manual_holds.of_destination(url)
        if not is_silent:
            return
        with open_log(config, writing=True) as log:
            resume_destination(log, url, config.branches_to(url), config.callback.deadline_seconds, now)
    except JobLogError as error:
        advice = "type receipt-watcher resume n8n, as the service's user"
        yield CheckFinding("warning", f"whether N8N is on hold is not known: {error}", advice)
    else:
        yield CheckFinding("ok", "the hold for missing callbacks is ended; what waits goes on within seconds")
