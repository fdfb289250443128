"""The result of the daemon's last balance, as the job log keeps it.

What it promises: a balance that was cut off leaves the one before. Written by the balance's thread, read by any.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from receipt_watcher.jobs.log.job_log import JobLog


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
        stored = log.facts.balance.get()
        return None if stored is None else LastBalance(**stored)
    except (ValueError, TypeError):
        return None


def end_alarm(log: JobLog, received: int, now: float) -> bool:
    """Note that a balance of everything agrees, if the last one did not; return whether that ended an alarm.

    Which files are hashed next time stays as it was: the caller may not have looked at them as the daemon does.
    """
    with log.database.transaction():
        before = last_balance(log)
        if before is None or not before.wrong:
            return False
        keep_balance(log, replace(before, at=now, received=received, wrong=0, names=[]))
        return True


def keep_balance(log: JobLog, result: LastBalance) -> None:
    """Keep the result of a balance in place of the one before."""
    log.facts.balance.put(asdict(result))
