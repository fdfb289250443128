"""Claims, and the times until which none is allowed: each condition alone, and at its edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from receipt_watcher.delivery.claims import Claim, WaitUntil, decide, in_turn
from receipt_watcher.delivery.pace import Pace
from receipt_watcher.jobs.job import job_id_prefix
from receipt_watcher.jobs.log.holds import DestinationState, HoldKind

NOW = 1_000_000.0
PROVEN = DestinationState(url="http://n8n.lan/", called_back_at=1.0)
HELD = replace(PROVEN, hold_kind=HoldKind.ANSWERS, held_since=NOW - 60, probe_at=NOW)
EVERYTHING = Claim((("a", "a/x"), ("b",)))
NEVER = WaitUntil(None)


@dataclass(frozen=True)
class KnownQueue:
    """A queue of which everything is known: two inboxes, one job that is due now, and nothing against it."""

    inboxes: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"a": ["a", "a/x"], "b": ["b"]})
    due_at: float | None = NOW
    opens_at: float | None = None
    is_held_by_hand: bool = False
    state: DestinationState = PROVEN
    pace: Pace | None = None
    oldest_due_id: str | None = job_id_prefix(NOW - 100)
    has_free_worker: bool = True
    is_sending: bool = False
    is_unanswered: bool = False
    served: str | None = None


def taken(at: float) -> Pace:
    """Return a pace of one a minute by which one has gone at a time."""
    pace = Pace(1)
    pace.take(at)
    return pace


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        (KnownQueue(), EVERYTHING),
        (KnownQueue(due_at=None), NEVER),
        (KnownQueue(due_at=NOW + 1), WaitUntil(NOW + 1)),
        # windows
        (KnownQueue(due_at=None, opens_at=NOW + 5), WaitUntil(NOW + 5)),
        (KnownQueue(due_at=NOW + 9, opens_at=NOW + 5), WaitUntil(NOW + 5)),
        (KnownQueue(due_at=NOW + 2, opens_at=NOW + 5), WaitUntil(NOW + 2)),
        (KnownQueue(opens_at=NOW + 5), EVERYTHING),
        # by hand
        (KnownQueue(is_held_by_hand=True), NEVER),
        (KnownQueue(is_held_by_hand=True, due_at=NOW + 1), NEVER),
        (KnownQueue(is_held_by_hand=True, state=HELD), NEVER),
        # held, or asked to be left alone
        (KnownQueue(state=HELD), Claim((("a", "a/x", "b"),), is_probe=True)),
        (KnownQueue(state=HELD, is_sending=True), NEVER),
        (KnownQueue(state=replace(HELD, probe_at=NOW + 0.5)), WaitUntil(NOW + 0.5)),
        (KnownQueue(state=replace(HELD, probe_at=NOW + 5), due_at=NOW + 9), WaitUntil(NOW + 9)),
        (KnownQueue(state=replace(PROVEN, probe_at=NOW + 3)), WaitUntil(NOW + 3)),
        (KnownQueue(state=replace(HELD, called_back_at=None), is_unanswered=True), Claim((("a", "a/x", "b"),), True)),
        # workers
        (KnownQueue(has_free_worker=False), NEVER),
        (KnownQueue(has_free_worker=False, state=HELD), NEVER),
        (KnownQueue(has_free_worker=False, due_at=NOW + 1), WaitUntil(NOW + 1)),
        # until the first callback ever
        (KnownQueue(state=replace(PROVEN, called_back_at=None)), EVERYTHING),
        (KnownQueue(state=replace(PROVEN, called_back_at=None), is_unanswered=True), NEVER),
        (KnownQueue(is_unanswered=True, is_sending=True), EVERYTHING),
    ],
)
def test_each_condition(queue: KnownQueue, expected: Claim | WaitUntil) -> None:
    """What speaks against a claim keeps it back, for as long as it does; what does not lets it go."""
    assert decide(queue, NOW) == expected


RESUMED = replace(PROVEN, resumed_at=NOW - 50)


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        (KnownQueue(state=RESUMED, pace=Pace(1)), replace(EVERYTHING, is_paced=True)),
        (KnownQueue(state=RESUMED, pace=taken(NOW - 10)), WaitUntil(NOW + 50)),
        (KnownQueue(state=RESUMED, pace=taken(NOW - 60)), replace(EVERYTHING, is_paced=True)),
        (KnownQueue(state=RESUMED, pace=None), EVERYTHING),
        # what came after the hold goes at once, and counts for nothing
        (KnownQueue(state=RESUMED, pace=taken(NOW - 10), oldest_due_id=job_id_prefix(NOW - 50)), EVERYTHING),
        (KnownQueue(state=RESUMED, pace=taken(NOW - 10), oldest_due_id=None), EVERYTHING),
        (KnownQueue(state=PROVEN, pace=taken(NOW - 10)), EVERYTHING),
        # a probe is not paced, and what is not due yet waits for no pace
        (
            KnownQueue(state=replace(HELD, resumed_at=NOW - 50), pace=taken(NOW - 10)),
            Claim((("a", "a/x", "b"),), is_probe=True),
        ),
        (KnownQueue(state=RESUMED, pace=taken(NOW - 10), due_at=NOW + 1), WaitUntil(NOW + 1)),
        (KnownQueue(state=replace(RESUMED, probe_at=NOW + 55), pace=taken(NOW - 10)), WaitUntil(NOW + 55)),
    ],
)
def test_draining(queue: KnownQueue, expected: Claim | WaitUntil) -> None:
    """What waited for the end of a hold goes out at its pace, and nothing else does."""
    assert decide(queue, NOW) == expected


@pytest.mark.parametrize(
    ("served", "order"),
    [
        (None, ["a", "b", "c"]),
        ("a", ["b", "c", "a"]),
        ("b", ["c", "a", "b"]),
        ("c", ["a", "b", "c"]),
        ("gone", ["a", "b", "c"]),
    ],
)
def test_turns(served: str | None, order: list[str]) -> None:
    """The inbox after the one that was served last is asked first, and each one is asked."""
    inboxes = {"a": ["a"], "b": ["b"], "c": ["c"]}
    assert in_turn(inboxes, served) == tuple((name,) for name in order)
    queue = KnownQueue(inboxes=inboxes, served=served)
    assert decide(queue, NOW) == Claim(in_turn(inboxes, served))
