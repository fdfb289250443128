"""Decide whether a job of a destination may be claimed now, and which, or until when nothing may go out. Pure.

All conditions of a claim stand here, once: a worker asks before it claims, and also to know for how long it may sleep.
What speaks against a claim:

- Outside its delivery window nothing of a branch goes out, be it a probe or a resend.
- While an admin holds the destination: none, and no probe.
- While it is held: one probe at a time, when its time has come.
- While it drains what waited for the end of a hold: at its pace.
- Until it has called back for the first time ever: one receipt at a time, so that a wrong callback URL costs one
  receipt its patience, not a thousand.

What is due goes out in order of arrival within an inbox, and inboxes that share a destination take turns: a hundred
thousand receipts of one delay the single receipt of another by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from receipt_watcher.delivery.pace import Pace
from receipt_watcher.jobs.job import job_id_prefix
from receipt_watcher.jobs.log.holds import DestinationState


@dataclass(frozen=True, slots=True)
class Claim:
    """The first due job of these groups of branches may be claimed: a group is asked only if those before have none.

    A probe is to be a different receipt each time. One that is paced counts for the pace of the destination.
    """

    groups: tuple[tuple[str, ...], ...]
    is_probe: bool = False
    is_paced: bool = False


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing may go out before `at`, in Unix seconds; None: before something else happens, which rings."""

    at: float | None


class Queue(Protocol):
    """The queue of one destination at a moment. Each answer may cost a query, so `decide` asks in order."""

    @property
    def inboxes(self) -> Mapping[str, Sequence[str]]:
        """The branches whose window is open, by inbox."""

    @property
    def due_at(self) -> float | None:
        """The time when the next job of those is due; None if none is queued."""

    @property
    def opens_at(self) -> float | None:
        """The time when the next job whose window is closed now may go out; None if none is queued."""

    @property
    def is_held_by_hand(self) -> bool:
        """Return whether an admin holds the destination."""

    @property
    def state(self) -> DestinationState:
        """Return whether it is held, and what it last did."""

    @property
    def pace(self) -> Pace | None:
        """The pace at which it drains; None for as fast as it goes."""

    @property
    def oldest_due_id(self) -> str | None:
        """The id of the due job that came first; None if none is due."""

    @property
    def has_free_worker(self) -> bool:
        """Return whether fewer receipts are being sent than there may be."""

    @property
    def is_sending(self) -> bool:
        """Return whether a job of this destination is being sent."""

    @property
    def is_unanswered(self) -> bool:
        """Return whether a job of this destination is being sent, or waits for its callback."""

    @property
    def served(self) -> str | None:
        """The inbox whose receipt the destination was given last."""


def decide(queue: Queue, now: float) -> Claim | WaitUntil:
    """Return what may be claimed now, or until when nothing may."""
    due_at = queue.due_at
    if due_at is None or due_at > now:
        due_at = min((at for at in (due_at, queue.opens_at) if at is not None), default=None)
    if due_at is None or queue.is_held_by_hand:
        return WaitUntil(None)
    state, pace = queue.state, queue.pace
    is_paced = pace is not None and due_at <= now and _is_draining(state, queue)
    paced_until = now + pace.wait_seconds(now) if pace is not None and is_paced else now
    may_go_at = max(due_at, state.probe_at or 0.0, paced_until)
    if may_go_at > now:
        return WaitUntil(may_go_at)
    if not queue.has_free_worker:
        return WaitUntil(None)
    if state.is_held:
        everything = tuple(branch for branches in queue.inboxes.values() for branch in branches)
        return WaitUntil(None) if queue.is_sending else Claim((everything,), is_probe=True)
    if state.called_back_at is None and queue.is_unanswered:
        return WaitUntil(None)
    return Claim(in_turn(queue.inboxes, queue.served), is_paced=is_paced)


def in_turn(inboxes: Mapping[str, Sequence[str]], served: str | None) -> tuple[tuple[str, ...], ...]:
    """Return the branches of each inbox, beginning with the inbox after the one that was served last."""
    names = list(inboxes)
    first = names.index(served) + 1 if served is not None and served in inboxes else 0
    return tuple(tuple(inboxes[name]) for name in (*names[first:], *names[:first]))


def _is_draining(state: DestinationState, queue: Queue) -> bool:
    """Return whether what is due waited for the end of a hold, and is to go out at a pace: by when it came."""
    if state.is_held or state.resumed_at is None:
        return False
    oldest = queue.oldest_due_id
    return oldest is not None and oldest < job_id_prefix(state.resumed_at)
