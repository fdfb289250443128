"""What the daemon's last balance came to, as the job log keeps it for whoever asks.

What it promises: a balance that was cut off leaves the one before. Written by the balance's thread, read by any.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from receipt_watcher.jobs.log.job_log import JobLog

_FACT = "balance"


@dataclass(frozen=True, slots=True)
class LastBalance:
    """The result of the daemon's last balance; `hashed_at` is from when on a change makes a file be hashed again.

    `names` are some of those that the log and the folders disagree about, for people.
    """

    at: float
    received: int
    wrong: int
    absent: int
    hashed_at: float | None
    again: list[str]
    names: list[str] = field(default_factory=list)


def last_balance(log: JobLog) -> LastBalance | None:
    """Return the result of the daemon's last balance; None if there is none, or another version wrote it otherwise."""
    try:
        return LastBalance(**json.loads(log.facts.get(_FACT) or "null"))
    except (ValueError, TypeError):
        return None


def keep_balance(log: JobLog, found: LastBalance) -> None:
    """Keep the result of a balance in place of the one before."""
    log.facts.keep(_FACT, json.dumps(asdict(found)))
