"""The life of a job against a table that was copied from the design by hand, and what follows from it."""

from __future__ import annotations

import itertools
import random
import uuid
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.jobs.job import HOME_FOLDER, Folder, backoff_seconds, may_be_booked, new_job_id, unknown_outcome
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, Reason
from receipt_watcher.jobs.states import (
    CLOSED_STATES,
    INITIAL_STATES,
    OPEN_STATES,
    TRANSITIONS,
    Event,
    State,
    next_state,
)
from tests.conftest import make_job

#: (state, event) → the state after it; whatever is not here is refused.
ALLOWED = {
    ("queued", "claim"): "delivering",
    ("delivering", "accept"): "processing",
    ("delivering", "lose"): "processing",
    ("delivering", "defer"): "queued",
    ("delivering", "release"): "queued",
    ("processing", "resend"): "queued",
    ("processing", "expire"): "failure",
    ("queued", "succeed"): "success",
    ("delivering", "succeed"): "success",
    ("processing", "succeed"): "success",
    ("failure", "succeed"): "success",
    ("cancelled", "succeed"): "success",
    ("queued", "fail"): "failure",
    ("delivering", "fail"): "failure",
    ("processing", "fail"): "failure",
    ("delivering", "give_up"): "failure",
    ("processing", "give_up"): "failure",
    ("failure", "settle_delivered"): "success",
    ("failure", "settle_not_delivered"): "failure",
    ("failure", "retry"): "queued",
    ("cancelled", "retry"): "queued",
    ("queued", "cancel"): "cancelled",
    ("processing", "cancel"): "cancelled",
}
STATES = ["queued", "delivering", "processing", "success", "failure", "cancelled", "duplicate"]
EVENTS = [
    *("claim", "accept", "lose", "defer", "release", "resend", "expire", "succeed", "fail", "give_up"),
    *("settle_delivered", "settle_not_delivered", "retry", "cancel"),
]

PAIRS = list(itertools.product(STATES, EVENTS))

#: The rank of each state: open < ended without success < success.
HEIGHT = {
    State.QUEUED: 0,
    State.DELIVERING: 0,
    State.PROCESSING: 0,
    State.FAILURE: 1,
    State.CANCELLED: 1,
    State.SUCCESS: 2,
}
VERDICTS = [Event.SUCCEED, Event.FAIL, Event.EXPIRE, Event.GIVE_UP, Event.SETTLE_NOT_DELIVERED]

any_events = st.lists(st.sampled_from(Event), max_size=40)
any_verdicts = st.lists(st.sampled_from(VERDICTS), max_size=6)


def after(state: State, events: list[Event]) -> State:
    """Let events happen one after the other; what is refused changes nothing."""
    for event in events:
        state = next_state(state, event) or state
    return state


# --- the table -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_each_pair_is_allowed_or_refused(state: str, event: str) -> None:
    """Each event leads from each state where the design says, or is refused."""
    found = next_state(State(state), Event(event))
    assert (None if found is None else found.value) == ALLOWED.get((state, event))


def test_the_words_are_the_contracts() -> None:
    """The states are those of the contract's `status`, and no event is missing in the table."""
    assert [state.value for state in State] == STATES
    assert [event.value for event in Event] == EVENTS
    assert set(TRANSITIONS) == set(Event)


def test_each_event_says_when_it_happens() -> None:
    """The table can be read by a person: each event says when it happens."""
    assert all(transition.when for transition in TRANSITIONS.values())


def test_states_are_open_or_closed() -> None:
    """A job is open while it waits, is sent, or is awaited; every other state is an end."""
    assert {state.value for state in OPEN_STATES} == {"queued", "delivering", "processing"}
    assert {state.value for state in CLOSED_STATES} == {"success", "failure", "cancelled", "duplicate"}


def test_a_row_begins_in_one_of_three_states() -> None:
    """A new row is queued, refused by the examination, or a copy."""
    assert {state.value for state in INITIAL_STATES} == {"queued", "failure", "duplicate"}


def test_each_state_has_a_home() -> None:
    """An open job's file belongs into processing/, a success's into done/, all others into failed/."""
    assert {state.value: folder.value for state, folder in HOME_FOLDER.items()} == {
        "queued": "processing",
        "delivering": "processing",
        "processing": "processing",
        "success": "done",
        "failure": "failed",
        "cancelled": "failed",
    }
    assert [folder.value for folder in Folder] == ["processing", "done", "failed"]


# --- verdicts only rise --------------------------------------------------------------------------------------------


@given(any_events)
def test_a_success_is_never_taken_back(events: list[Event]) -> None:
    """Whatever happens after a success, in whatever order, it stays a success."""
    assert after(State.SUCCESS, events) is State.SUCCESS


@given(any_events)
def test_a_copy_stays_a_copy(events: list[Event]) -> None:
    """Nothing happens to a copy: it follows the job that it names."""
    assert after(State.DUPLICATE, events) is State.DUPLICATE


@given(st.sampled_from(sorted(HEIGHT)), st.lists(st.sampled_from(sorted(set(Event) - {Event.RETRY})), max_size=40))
def test_only_a_retry_lowers(state: State, events: list[Event]) -> None:
    """Without a retry, a job never falls back from an end to being open, or from success to failure."""
    heights = [HEIGHT[after(state, events[:count])] for count in range(len(events) + 1)]
    assert heights == sorted(heights)


@given(st.sampled_from(sorted(OPEN_STATES)), any_verdicts, st.randoms(use_true_random=False))
def test_the_order_of_verdicts_does_not_matter(state: State, verdicts: list[Event], chance: random.Random) -> None:
    """The same verdicts in any order, however often repeated, leave the same state."""
    shuffled = verdicts * 2
    chance.shuffle(shuffled)
    assert after(state, shuffled) is after(state, verdicts)


@given(st.sampled_from(sorted(set(State) - {State.DUPLICATE})), any_events)
def test_a_success_always_wins(state: State, events: list[Event]) -> None:
    """N8N's success counts in whatever state it finds a job that was ever meant to be sent."""
    assert after(state, [*events, Event.SUCCEED]) is State.SUCCESS


@given(any_events)
def test_only_a_claim_begins_a_delivery(events: list[Event]) -> None:
    """A job is never being delivered unless the last thing that happened to it was a claim."""
    state, last = State.QUEUED, None
    for event in events:
        reached = next_state(state, event)
        if reached is not None:
            state, last = reached, event
    assert (state is State.DELIVERING) == (last is Event.CLAIM)


# --- the retry schedule --------------------------------------------------------------------------------------------

seconds = st.floats(min_value=0.0, max_value=1e6)


class Longest(random.Random):
    """A chance that always gives the most."""

    def uniform(self, a: float, b: float) -> float:
        """Return the upper end."""
        return b


@given(st.integers(-10, 10**9), seconds, seconds, st.integers(0, 2**32))
def test_a_pause_is_within_its_bounds(failures: int, initial: float, most: float, seed: int) -> None:
    """A pause is never negative and never longer than the longest, however many failures there were."""
    pause = backoff_seconds(failures, initial, most, random.Random(seed))
    assert 0.0 <= pause <= most


@given(seconds, seconds)
def test_the_longest_pause_only_grows(initial: float, most: float) -> None:
    """One more failure never makes the longest possible pause shorter, be it the second or the two-hundredth."""
    pauses = [backoff_seconds(failures, initial, most, Longest()) for failures in range(1, 200)]
    assert pauses == sorted(pauses)


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_a_pause_is_half_to_whole(failures: int, seed: int) -> None:
    """Chance takes at most half of a pause away, so that a far side that is down gets its rest."""
    whole = backoff_seconds(failures, 5.0, 900.0, Longest())
    assert whole / 2 <= backoff_seconds(failures, 5.0, 900.0, random.Random(seed)) <= whole


def test_pauses_double_up_to_the_longest() -> None:
    """The pauses begin with the first, double, and end at the longest."""
    pauses = [backoff_seconds(failures, 5.0, 60.0, Longest()) for failures in range(1, 7)]
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_pauses_differ() -> None:
    """Receipts that failed together do not come back together."""
    chance = random.Random(1)
    assert len({backoff_seconds(3, 5.0, 900.0, chance) for _ in range(100)}) == 100


# --- ids -----------------------------------------------------------------------------------------------------------

#: Milliseconds, until the year 10889, when 48 bits are full.
milliseconds = st.integers(0, 2**48 - 1)


@given(milliseconds)
def test_an_id_is_a_uuid_of_version_7(now: int) -> None:
    """A job id is a version 7 UUID in its usual form, with the time in front."""
    text = new_job_id(now / 1000)
    job_id = uuid.UUID(text)
    assert (job_id.version, job_id.variant) == (7, uuid.RFC_4122)
    assert text == str(job_id)
    assert job_id.int >> 80 == int(now / 1000 * 1000)


@given(st.lists(milliseconds, min_size=2, max_size=10, unique=True))
def test_ids_sort_by_time(times: list[int]) -> None:
    """Ids that were made in different milliseconds sort, as text, in the order in which they were made."""
    ids = [new_job_id((now + 0.5) / 1000) for now in sorted(times)]
    assert ids == sorted(ids)


def test_ids_of_one_moment_differ() -> None:
    """Many ids of the same millisecond are all different, and use all their random bits."""
    ids = [uuid.UUID(new_job_id(1_700_000_000.0)).int for _ in range(5000)]
    assert len(set(ids)) == 5000
    fixed = (2**48 - 1) << 80 | 0xF << 76 | 0b11 << 62
    ever_one, ever_zero = 0, 0
    for number in ids:
        ever_one |= number
        ever_zero |= ~number
    assert ever_one & ever_zero & (2**128 - 1) == (2**128 - 1) & ~fixed


# --- reasons -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_told_in_sentences(reason: Reason) -> None:
    """Each reason says in a sentence what happened, and in another what to do."""
    for text in (reason.meaning, reason.advice):
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.isprintable()
        assert len(text.split()) >= 4
    assert reason.meaning != reason.advice


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_its_code(reason: Reason) -> None:
    """A reason is a plain word in the log, the API and SQL, and is found again by it."""
    assert reason.value == reason.name.lower()
    assert str(reason) == f"{reason}" == reason.value
    assert getattr(Reason, reason.name) is reason
    assert {known.value: known for known in Reason}[reason.value] is reason


def test_no_two_reasons_mean_the_same() -> None:
    """Each reason has a meaning of its own."""
    assert len({reason.meaning for reason in Reason}) == len(Reason)


def test_refusals_by_examination_are_named() -> None:
    """The reasons that the examination decides are those about the file itself."""
    assert sorted(reason.value for reason in EXAMINATION_REASONS) == [
        "broken",
        "empty",
        "encrypted",
        "incomplete",
        "too_large",
        "too_many_pixels",
        "unexaminable",
        "unreadable",
        "unsupported_type",
    ]


def test_what_may_have_been_booked() -> None:
    """Only a failure may have been booked, and only if nobody has said what became of it."""
    found = {reason.value for reason in Reason if may_be_booked(make_job(state=State.FAILURE, reason=reason))}
    assert found == {"outcome_unknown", "unreadable_verdict", "no_callback"}
    assert not may_be_booked(make_job(state=State.CANCELLED, reason=Reason.CANCELLED))
    assert not may_be_booked(make_job(state=State.SUCCESS))


def test_what_is_told_of_an_unknown_outcome() -> None:
    """The message says why nobody knows, where to look in N8N, and what to do then."""
    job = make_job(execution_id="4711")
    assert unknown_outcome(job, "no answer within n8n.timeout_seconds") == (
        "No answer within n8n.timeout_seconds. It may have been booked. "
        "Look in N8N for execution 4711, then retry or mark it delivered."
    )
    assert f"the execution of job {job.job_id}" in unknown_outcome(replace(job, execution_id=None), "stopped.")


def test_a_job_cannot_be_changed_in_passing() -> None:
    """A job is what the log said when it was read; only the log makes another one of it."""
    job = make_job()
    with pytest.raises(FrozenInstanceError):
        job.state = State.SUCCESS  # type: ignore[misc]  # the point
