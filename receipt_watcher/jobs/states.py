"""The states of a job, and which event may leave which of them. Pure: no I/O, no clock.

`TRANSITIONS` is the only place that says which event may leave which state. The job log applies it in one
guarded UPDATE; the README shows the same table and a test compares the two.

Verdicts only rise: open < failure < success. Therefore the order in which verdicts arrive does not matter, a
repeated one changes nothing, and a success is never taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The state of a job; the same words in the log, the API, the metrics and SQL."""

    #: The file is in processing/, examined, and waits for its turn.
    QUEUED = "queued"
    #: A worker has claimed it; the request may be on the wire.
    DELIVERING = "delivering"
    #: N8N has it, or may have it; its callback is awaited until the deadline.
    PROCESSING = "processing"
    #: N8N said success. Final: nothing takes it back.
    SUCCESS = "success"
    #: Refused by us or by N8N, or never answered. A retry or a late success can still change it.
    FAILURE = "failure"
    #: An admin ended it. A retry or a late success can still change it.
    CANCELLED = "cancelled"
    #: The same bytes for the same target were here before; the row names that job.
    DUPLICATE = "duplicate"


OPEN_STATES = frozenset({State.QUEUED, State.DELIVERING, State.PROCESSING})
CLOSED_STATES = frozenset(State) - OPEN_STATES

#: The states of a job that makes a duplicate of another one with the same bytes and target.
ORIGINAL_STATES = OPEN_STATES | {State.SUCCESS}


class Event(StrEnum):
    """The events of a job."""

    CLAIM = "claim"
    ACCEPT = "accept"
    LOSE = "lose"
    DEFER = "defer"
    RELEASE = "release"
    RESEND = "resend"
    EXPIRE = "expire"
    SUCCEED = "succeed"
    FAIL = "fail"
    GIVE_UP = "give_up"
    SETTLE_DELIVERED = "settle_delivered"
    SETTLE_NOT_DELIVERED = "settle_not_delivered"
    RETRY = "retry"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Transition:
    """From which states an event leads to which state, and when it happens."""

    sources: frozenset[State]
    target: State
    when: str


TRANSITIONS: dict[Event, Transition] = {
    Event.CLAIM: Transition(
        frozenset({State.QUEUED}), State.DELIVERING, "due, its destination is not held, and a worker is free"
    ),
    Event.ACCEPT: Transition(frozenset({State.DELIVERING}), State.PROCESSING, "N8N took it and will call back"),
    Event.LOSE: Transition(
        frozenset({State.DELIVERING}),
        State.PROCESSING,
        "the request may have been read, but no answer came (timeout, reset, stop, crash): the callback is awaited",
    ),
    Event.DEFER: Transition(
        frozenset({State.DELIVERING}), State.QUEUED, "N8N said «later», or the request certainly did not reach it"
    ),
    Event.RELEASE: Transition(frozenset({State.DELIVERING}), State.QUEUED, "a clean stop before anything was sent"),
    Event.RESEND: Transition(
        frozenset({State.PROCESSING}), State.QUEUED, "no callback by the deadline; sent again under the same id"
    ),
    Event.EXPIRE: Transition(
        frozenset({State.PROCESSING}), State.FAILURE, "no callback by the deadline, and no resend is left"
    ),
    Event.SUCCEED: Transition(
        OPEN_STATES | {State.FAILURE, State.CANCELLED}, State.SUCCESS, "N8N's success, however early or late"
    ),
    Event.FAIL: Transition(OPEN_STATES, State.FAILURE, "N8N's failure, or a refusal that is the receipt's own"),
    Event.GIVE_UP: Transition(
        frozenset({State.DELIVERING, State.PROCESSING}),
        State.FAILURE,
        "it may have been booked and no callback can tell, or the verdict cannot be read; never sent again by itself",
    ),
    Event.SETTLE_DELIVERED: Transition(
        frozenset({State.FAILURE}), State.SUCCESS, "an admin says that a receipt that may have been booked was booked"
    ),
    Event.SETTLE_NOT_DELIVERED: Transition(
        frozenset({State.FAILURE}), State.FAILURE, "an admin, or N8N's late failure, says that it was not booked"
    ),
    Event.RETRY: Transition(
        frozenset({State.FAILURE, State.CANCELLED}), State.QUEUED, "an admin, or the file dropped into the inbox again"
    ),
    Event.CANCEL: Transition(frozenset({State.QUEUED, State.PROCESSING}), State.CANCELLED, "an admin"),
}


#: The states that a row may begin in.
INITIAL_STATES = frozenset({State.QUEUED, State.FAILURE, State.DUPLICATE})


def next_state(state: State, event: Event) -> State | None:
    """Return the state that `event` leads to from `state`, or None where it must not happen."""
    transition = TRANSITIONS[event]
    return transition.target if state in transition.sources else None
