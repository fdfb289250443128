"""Times as an admin types them: "yesterday", "2h", "2 hours ago", a date, a time; on the office's clock. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from receipt_watcher.report.balance.findings import selection_of

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(r"(\d{1,6})\s*(s|m|h|d|w)(ec(ond)?s?|in(ute)?s?|ours?|ays?|eeks?)?(\s+ago)?", re.IGNORECASE)


def moment_of(text: str, now: datetime) -> float:
    """Return it in Unix seconds; a day is its midnight.

    Raises:
        ValueError: it cannot be read.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now.timestamp() - int(ago[1]) * _SECONDS[ago[2].lower()]
    try:
        since = selection_of(text.strip(), None, None, now).since
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no time; write 2h, 3 days ago, yesterday, 2026-11-01 or 2026-11-01T12:00."
        ) from error
    return since or 0.0
