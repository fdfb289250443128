"""Receipts and files that wait for too long, with no reason that people know.

What it promises: what waits for a hold that was told, for a hold by hand or for a delivery window is not among them;
its time begins again at the end of that. Any thread may call it; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from receipt_watcher.config.branches import Branch
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.inbox.wait_reasons import NEEDS_A_PERSON, WaitReason
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State

#: After a start so long: by then each inbox has said what waits in it.
_SETTLED_SECONDS = 120.0

#: So many receipts are looked at, the oldest.
_LOOKED_AT = 1000

_WHY: dict[State, tuple[str, str]] = {
    State.QUEUED: ("It waits for its turn to be sent to N8N.", "receipt-watcher status says what is before it."),
    State.DELIVERING: ("It is being sent to N8N.", "Nothing; if it stays so, look at the network."),
    State.PROCESSING: (
        "N8N has it, but has not reported back.",
        "Look at the executions in N8N, and whether it can reach the callback URL.",
    ),
}


@dataclass(frozen=True, slots=True)
class Stuck:
    """A receipt that has been waiting for too long: in its inbox, or on its way."""

    name: str
    inbox: str
    since: float
    why: str
    advice: str
    needs_a_person: bool = False


class StuckReceipts:
    """Finds what has waited for longer than `after_seconds`, in the job log and in the inboxes.

    `branches` are those of each inbox.
    """

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        branches: Mapping[str, Sequence[Branch]],
        *,
        after_seconds: float,
        started_at: float,
    ) -> None:
        self._log = log
        self._holds = holds
        self._hand_holds = log.manual_holds
        self._inboxes = frozenset(branches)
        self._branches = {branch.key: branch for of_inbox in branches.values() for branch in of_inbox}
        self._after_seconds = after_seconds
        self._started_at = started_at

    def still_stuck(self, told: Sequence[str], inboxes: Sequence[InboxState], now: float) -> list[str]:
        """Return those of what was told that still waits: what waits again later is told again."""
        in_inboxes = {_key(inbox.name, each.path) for inbox in inboxes for each in inbox.waiting}
        silent = {inbox.name for inbox in inboxes if not inbox.is_ready or inbox.unavailable is not None}
        is_early = now < self._started_at + _SETTLED_SECONDS

        is_open = self._log.lookups.open_among([key for key in told if "/" not in key])
        return [
            key
            for key in told
            if key in is_open or key in in_inboxes or ("/" in key and (key.partition("/")[0] in silent or is_early))
        ]

    def jobs(self, held: Collection[str], known: Collection[str], now: float) -> Iterator[tuple[str, Stuck]]:
        """Yield the receipts that are open for too long, but for those of a hold, which was told, or a closed window.

        What waited through a hold, or for its window, has its time from the end of that on.
        """
        oldest = now - self._after_seconds
        branches = self._branches
        resumed_at = {standing.url: standing.resumed_at or 0.0 for standing in self._holds.all()}
        held = {*held, *(hold.name for hold in self._hand_holds.all())}
        on_hold = [key for key, branch in branches.items() if branch.webhook_url in held]  # may be a whole backlog
        for job in self._log.lookups.oldest_open(oldest, _LOOKED_AT, on_hold):
            branch = branches.get(job.branch)
            url = branch.webhook_url if branch is not None else ""
            if job.job_id in known or oldest < resumed_at.get(url, 0.0) <= now:
                continue
            if (
                branch is not None
                and job.state is State.QUEUED
                and any(branch.opens_at(at) > at for at in (oldest, now))
            ):
                continue
            since = max(job.created_at, self._log.histories.last_retry(job.job_id) or 0.0)
            if since <= oldest:
                yield job.job_id, _stuck_job(job, since, is_known=job.inbox in self._inboxes)

    def files(
        self, inboxes: Iterable[InboxState], now: float, person_after_seconds: float
    ) -> Iterator[tuple[str, Stuck]]:
        """Yield the files that lie in an open inbox for too long, and that nobody holds there.

        Those that need a person by their nature have `person_after_seconds`.
        """
        for inbox in inboxes:
            for file in inbox.waiting if inbox.unavailable is None else ():
                is_blocked = file.why in NEEDS_A_PERSON
                oldest = now - (min(person_after_seconds, self._after_seconds) if is_blocked else self._after_seconds)
                if file.first_seen_at <= oldest and file.why is not WaitReason.HELD:
                    why = file.detail or file.why.meaning
                    stuck = Stuck(file.path, inbox.name, file.first_seen_at, why, file.why.advice, is_blocked)
                    yield _key(inbox.name, file.path), stuck


def _key(inbox: str, path: str) -> str:
    """Return what tells a file in an inbox from another one, and from a job."""
    return f"{inbox}/{path}"


def _stuck_job(job: Job, since: float, *, is_known: bool) -> Stuck:
    why, advice = _WHY[job.state]
    if not is_known:
        why, advice = "Its inbox is no longer configured.", "Configure the inbox again, and it goes on."
    return Stuck(job.filename, job.inbox, since, why, advice)
