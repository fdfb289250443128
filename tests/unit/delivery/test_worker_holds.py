"""Holds of a destination: its probes, resends that are given back, and receipts that fail on their own."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from receipt_watcher.delivery.destinations import Deferred, Outcome
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.unit.delivery.worker_world import (
    ACCEPTED,
    BROKEN,
    DOWN,
    LOST,
    SETTINGS,
    TOO_LARGE,
    URL,
    World,
    resend,
    while_sending,
)

# --- a hold --------------------------------------------------------------------------------------------------------


def test_held_destination_is_probed_with_one_receipt_at_a_time(known: World) -> None:
    """While a destination is held, one receipt goes out at its time, and none beside it."""
    known.record(5)
    known.destination.script = lambda _: DOWN
    assert known.deliver_all() == 1
    known.clock.now = known.standing.probe_at or 0.0
    with while_sending(known, DOWN):
        assert known.delivery.deliver_due() is False
        assert known.delivery.wait_seconds(5) == 5
    assert len(known.destination.calls) == 2


def test_each_probe_is_another_receipt(known: World) -> None:
    """One receipt that cannot pass does not stand in the way of all others: probes take turns."""
    jobs = known.record(3)
    known.destination.script = lambda _: DOWN
    for _ in range(7):
        assert known.deliver_all() == 1
        known.clock.now = known.standing.probe_at or 0.0
    ids = [job.job_id for job in jobs]
    assert known.destination.delivered == [*ids, *ids, ids[0]]


def test_probes_become_rarer_up_to_the_cap(known: World) -> None:
    """The pauses between probes double, with a random half, up to backoff_max_seconds."""
    known.record(2)
    known.destination.script = lambda _: DOWN
    pauses = []
    for _ in range(14):
        assert known.deliver_all() == 1
        pauses.append((known.standing.probe_at or 0.0) - known.clock.now)
        assert known.delivery.wait_seconds(10**6) == pytest.approx(pauses[-1])
        known.clock.now = (known.standing.probe_at or 0.0) - 0.001
        assert known.deliver_all() == 0
        known.clock.advance(0.002)
    ceilings = [min(900.0, 5 * 2.0**number) for number in range(14)]
    assert all(ceiling / 2 <= pause <= ceiling for pause, ceiling in zip(pauses, ceilings, strict=True))
    assert len(set(pauses[-4:])) == 4


@pytest.mark.parametrize(("asked", "least", "most"), [(60.0, 60, 60), (0.0, 2.5, 5), (1e12, 900, 900), (None, 2.5, 5)])
def test_retry_after_is_obeyed_in_bounds(known: World, asked: float | None, least: float, most: float) -> None:
    """A destination that asks for more patience gets it, up to backoff_max_seconds; never less than ours."""
    known.record()
    known.destination.script = lambda _: Deferred("busy", 503, asked)
    known.delivery.deliver_due()
    assert least <= (known.standing.probe_at or 0.0) - known.clock.now <= most


def test_acceptance_ends_the_hold(known: World) -> None:
    """The first probe that is accepted ends the hold, and all that waits goes out at once."""
    jobs = known.record(5)
    known.destination.script = lambda _: DOWN
    with capture_logs() as lines:
        known.deliver_all()
        known.clock.now = known.standing.probe_at or 0.0
        known.deliver_all()
        known.clock.now = known.standing.probe_at or 0.0
        known.destination.script = lambda _: ACCEPTED
        rung = known.deliveries.count
        assert known.deliver_all() == 5
    assert not known.standing.is_held
    assert known.deliveries.count > rung
    assert {known.job(job).attempts for job in jobs} == {1}
    events = [line["event"] for line in lines]
    assert (events.count("destination.held"), events.count("destination.resumed")) == (1, 1)
    told = {(line["event"], line["log_level"]) for line in lines}
    assert told == {
        ("destination.held", "warning"),
        ("destination.resumed", "info"),
        ("job.deferred", "debug"),  # the hold says it
        ("job.accepted", "debug"),
    }


def test_trouble_with_one_receipt_is_told(known: World) -> None:
    """A failure that holds N8N is logged by the hold; one of the receipt alone is a warning, and its end is logged."""
    (poison,) = known.record()
    pass_all_but(known, poison, BROKEN)
    with capture_logs() as lines:
        known.deliver_all()
        known.clock.now = (known.standing.probe_at or 0.0) + 1
        known.record(3)
        known.deliver_all()
        known.destination.script = lambda _: ACCEPTED
        known.clock.now = known.job(poison).next_attempt_at or 0.0
        known.deliver_all()
    told = [(line["event"], line["log_level"]) for line in lines if line.get("job_id") == poison.job_id]
    assert told == [("job.deferred", "debug"), ("job.deferred", "warning"), ("job.accepted", "info")]


def test_hold_outlives_a_restart(known: World) -> None:
    """A hold is in the log: a restart neither forgets it nor sends earlier."""
    known.record(3)
    known.destination.script = lambda _: DOWN
    known.deliver_all()
    known.delivery = known.another_delivery()
    assert known.deliver_all() == 0
    known.clock.now = known.standing.probe_at or 0.0
    assert known.deliver_all() == 1


def test_silent_destination_is_probed_as_rarely(known: World) -> None:
    """A destination that accepts but never calls back stays held however often it accepts, and probes grow rarer."""
    known.record(4)
    known.holds.hold(URL, HoldKind.SILENCE, "no callback arrives", known.clock.now, known.clock.now + 5)
    pauses = []
    for _ in range(4):
        assert known.deliver_all() == 0
        known.clock.now = known.standing.probe_at or 0.0
        assert known.deliver_all() == 1
        pauses.append((known.standing.probe_at or 0.0) - known.clock.now)
    assert known.standing.hold_kind is HoldKind.SILENCE
    assert pauses == sorted(pauses)


def test_weekend_without_n8n_costs_nothing(known: World) -> None:
    """An outage of 60 hours costs no receipt an attempt, fails none, and afterwards all go out, each once, in turn."""
    jobs = known.record(50)
    monday = known.clock.now + 60 * 3600
    known.destination.script = lambda _: BROKEN
    while known.clock.now < monday:
        if not known.delivery.deliver_due():
            known.clock.advance(max(0.001, known.delivery.wait_seconds(900)))
    probes = len(known.destination.calls)
    assert 60 * 3600 / 900 < probes < 600
    assert {attempt for _, attempt, _, _ in known.destination.calls} == {1}
    for job in jobs:
        after = known.job(job)
        assert (after.state, after.attempts, after.failures) == (State.QUEUED, 0, 0)
        assert not after.move_due
    known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0)
    known.destination.script = lambda _: ACCEPTED
    assert known.deliver_all() == 50
    ids = [job.job_id for job in jobs]
    probe, *drained = known.destination.delivered[probes:]
    assert drained == [job_id for job_id in ids if job_id != probe]  # in order of arrival, whatever the probes were
    assert {known.job(job).attempts for job in jobs} == {1}


def test_second_outage_costs_nothing_either(known: World) -> None:
    """A destination that comes and goes costs a receipt an attempt at most where others pass, never in an outage."""
    jobs = known.record(20)
    for _ in range(10):
        known.destination.script = lambda _: DOWN
        for _ in range(30):
            known.deliver_all()
            known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0)
        known.destination.script = lambda _: ACCEPTED
        assert known.delivery.deliver_due()
    states = [known.job(job).state for job in jobs]
    assert states.count(State.FAILURE) == 0
    assert states.count(State.PROCESSING) == 10
    assert {known.job(job).attempts for job in jobs if known.job(job).state is State.QUEUED} == {0}


# --- resends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "counted"), [(LOST, 1), (ACCEPTED, 1), (DOWN, 0), (BROKEN, 0)])
def test_resend_counts_when_it_went_out_whole(known: World, outcome: Outcome, counted: int) -> None:
    """A receipt that N8N may have booked once more has used up a resend, accepted or not; one that waits has not."""
    known.destination.script = lambda _: LOST
    (job,) = known.record()
    known.deliver_all()
    assert known.job(job).resends == 0
    known.destination.script = lambda _: outcome
    resend(known, job)
    assert known.job(job).resends == counted


def test_acceptance_that_ends_a_hold_gives_resends_back(known: World) -> None:
    """After an outage every open receipt has its resends again; an acceptance with no outage before gives none."""
    known.destination.script = lambda _: LOST
    (awaited,) = known.record()
    known.deliver_all()
    resend(known, awaited)
    (queued,) = known.record(resends=1, next_attempt_at=known.clock.now + 10**6)
    known.destination.script = lambda _: ACCEPTED
    known.record()
    known.clock.now = known.standing.probe_at or 0.0
    assert known.job(awaited).resends == 1
    assert known.deliver_all() == 1
    assert not known.standing.is_held
    assert (known.job(awaited).resends, known.job(queued).resends) == (0, 0)
    resend(known, awaited)
    known.record()
    assert known.deliver_all() == 1
    assert known.job(awaited).resends == 1


# --- whose fault it is ---------------------------------------------------------------------------------------------


def pass_all_but(world: World, poison: Job, outcome: Outcome) -> None:
    """Let the destination take everything but one receipt."""
    world.destination.script = lambda job: outcome if job.job_id == poison.job_id else ACCEPTED


def test_receipt_that_fails_while_others_pass_is_given_up(known: World) -> None:
    """Failing again after another receipt has passed counts; after max_attempts of that the receipt has failed."""
    (poison,) = known.record()
    pass_all_but(known, poison, BROKEN)
    seen = []
    for _ in range(40):
        known.record()
        known.deliver_all()
        after = known.job(poison)
        seen.append(after.failures)
        if after.state is State.FAILURE:
            break
        known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0, after.next_attempt_at or 0.0) + 1
    assert known.job(poison).reason is Reason.ATTEMPTS_EXHAUSTED
    assert known.job(poison).message == BROKEN.message
    assert known.job(poison).failures == SETTINGS.max_attempts == known.job(poison).attempts
    assert sorted(set(seen)) == [0, 1, 2, 3]
    assert known.log.statistics.counts()[State.FAILURE] == 1
    counted = [row["counted"] for row in known.log.histories.attempts(poison.job_id)]
    assert counted.count(True) == SETTINGS.max_attempts


def test_own_failure_waits_and_holds_nobody(known: World) -> None:
    """A failure that is the receipt's own lets it wait by itself: others go out at once."""
    (poison,) = known.record()
    pass_all_but(known, poison, BROKEN)
    known.deliver_all()
    known.clock.now = (known.standing.probe_at or 0.0) + 1
    others = known.record(3)
    assert known.delivery.deliver_due()  # the probe passes
    known.clock.advance(1)
    known.deliver_all()
    assert (known.job(poison).failures, known.standing.is_held) == (1, False)
    assert 2.5 <= (known.job(poison).next_attempt_at or 0.0) - known.clock.now <= 5
    assert {known.job(job).state for job in others} == {State.PROCESSING}


def test_clear_word_of_the_destination_is_never_the_receipts_own(known: World) -> None:
    """A refused connection or a 404 says nothing of the receipt, however often others pass in between."""
    (poison,) = known.record()
    pass_all_but(known, poison, DOWN)
    for _ in range(20):
        known.record()
        known.deliver_all()
        known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0) + 1
    after = known.job(poison)
    assert (after.state, after.attempts, after.failures) == (State.QUEUED, 0, 0)


def test_receipt_alone_is_never_given_up(known: World) -> None:
    """With nobody else to compare it with, a receipt is tried for ever."""
    (job,) = known.record()
    known.destination.script = lambda _: BROKEN
    for _ in range(50):
        known.deliver_all()
        known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0)
    assert (known.job(job).state, known.job(job).attempts) == (State.QUEUED, 0)


def test_same_refusal_of_two_receipts_is_the_destinations(known: World) -> None:
    """The first 413 fails its receipt; another receipt's 413 means a limit there, and holds instead of failing."""
    first, second, third = known.record(3)
    known.destination.script = lambda _: TOO_LARGE
    assert known.deliver_all() == 2
    assert known.job(first).reason is Reason.REFUSED_TOO_LARGE
    after = known.job(second)
    assert (after.state, after.attempts) == (State.QUEUED, 0)
    assert known.standing.is_held
    assert known.job(third).state is State.QUEUED


def test_large_receipt_among_small_ones_is_its_own_fault(known: World) -> None:
    """Once a smaller receipt has passed after two 413s, the larger one's next 413 is its own."""
    _, second, small = known.record(3)
    known.destination.script = lambda job: ACCEPTED if job.job_id == small.job_id else TOO_LARGE
    known.deliver_all()
    known.clock.now = known.standing.probe_at or 0.0
    known.deliver_all()
    assert known.job(small).state is State.PROCESSING
    assert known.job(second).reason is Reason.REFUSED_TOO_LARGE
    assert not known.standing.is_held


def test_same_receipt_twice_is_no_evidence(known: World) -> None:
    """A receipt that is retried and gets its 413 again fails again: it is no second one."""
    (job,) = known.record()
    known.destination.script = lambda _: TOO_LARGE
    for _ in range(2):
        known.deliver_all()
        assert known.job(job).state is State.FAILURE
        assert not known.standing.is_held
        known.log.jobs.advance(job.job_id, Event.RETRY, known.clock.now, next_attempt_at=known.clock.now)
