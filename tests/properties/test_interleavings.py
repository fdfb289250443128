"""The short form of `tests.properties.interleavings`, and that it finds the faults that it is there for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from receipt_watcher.config.branches import Branch
from receipt_watcher.delivery.callbacks import Callbacks
from receipt_watcher.delivery.worker import Deliveries
from receipt_watcher.inbox import duplicates
from receipt_watcher.inbox.recovery import Recovery
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.columns import change_columns
from receipt_watcher.jobs.log.moves import Moves
from receipt_watcher.jobs.log.queries.lookups import Lookups
from receipt_watcher.jobs.log.transitions import Jobs
from receipt_watcher.jobs.states import TRANSITIONS, Event, State
from tests.properties.interleavings import AnyInterleaving, be_quiet
from tests.properties.stepped_process import DEADLINE, Answer
from tests.properties.turns import TO_THE_END

AnyInterleaving.TestCase.settings = settings(max_examples=30, stateful_step_count=50)
test_whatever_comes_in_between = AnyInterleaving.TestCase


@pytest.fixture(autouse=True)
def no_log_lines() -> Iterator[None]:
    """Say nothing of what is made to go wrong."""
    be_quiet()
    yield
    structlog.reset_defaults()


# --- what may come in between, at each step ------------------------------------------------------------------------


def _dropped_back_while_it_is_filed(office: AnyInterleaving, steps: int) -> None:
    office.deliver(Answer.NOT_DONE, "1", TO_THE_END)
    office.file_away(steps)
    office.drop_back(0)
    office.take_in(TO_THE_END)


def _killed_while_it_is_sent(office: AnyInterleaving, steps: int) -> None:
    office.deliver(Answer.ACCEPTED, "1", steps)
    office.kill()
    office.start_up(TO_THE_END)
    office.expire(TO_THE_END)


def _away_while_its_callback_is_awaited(office: AnyInterleaving, steps: int) -> None:
    office.deliver(Answer.ACCEPTED, "1", TO_THE_END)
    office.wait(DEADLINE / 2)
    office.expire(steps)
    office.kill()
    office.wait(DEADLINE)
    office.start_up(TO_THE_END)
    office.expire(TO_THE_END)


def _killed_while_it_is_taken_in(office: AnyInterleaving, steps: int) -> None:
    office.drop("a.png", 2)
    office.take_in(steps)
    office.kill()


def _retried_while_it_is_filed(office: AnyInterleaving, steps: int) -> None:
    office.deliver(Answer.REFUSED, "1", TO_THE_END)
    office.file_away(steps)
    office.command(0, Event.RETRY)
    office.deliver(Answer.LOST, "2", TO_THE_END)


def _called_back_while_it_is_sent(office: AnyInterleaving, steps: int) -> None:
    office.deliver(Answer.ACCEPTED, "1", steps)
    office.call_back(0, success=True)
    office.deliver(Answer.ACCEPTED, "1", TO_THE_END)


def _claimed_by_two_workers(office: AnyInterleaving, steps: int) -> None:
    office.deliver(Answer.ACCEPTED, "1", steps)
    office.deliver(Answer.ACCEPTED, "2", TO_THE_END)
    office.deliver(Answer.ACCEPTED, "1", TO_THE_END)


def _killed_while_it_is_sent_once(office: AnyInterleaving, steps: int) -> None:
    office.send_once()
    office.deliver(Answer.LOST, "1", steps)
    office.kill()
    office.start_up(TO_THE_END)
    _sent_again_if_it_may(office)


def _called_back_unreadably_while_it_is_sent(office: AnyInterleaving, steps: int) -> None:
    office.deliver(Answer.ACCEPTED, "1", steps)
    office.call_back_unreadably(0)
    office.deliver(Answer.ACCEPTED, "1", TO_THE_END)
    office.call_back_unreadably(0)
    _sent_again_if_it_may(office)


def _sent_again_if_it_may(office: AnyInterleaving) -> None:
    office.wait(DEADLINE + 1)
    office.expire(TO_THE_END)
    office.all_promises_hold()
    office.deliver(Answer.ACCEPTED, "2", TO_THE_END)


def _copied_while_it_is_given_up(office: AnyInterleaving, steps: int) -> None:
    office.send_once()
    office.deliver(Answer.LOST, "1", TO_THE_END)
    office.drop("a.png", 0)
    office.take_in(steps)
    office.file_away(TO_THE_END)
    office.take_in(TO_THE_END)
    office.wait(DEADLINE + 1)
    office.deliver(Answer.ACCEPTED, "2", TO_THE_END)


# --- faults --------------------------------------------------------------------------------------------------------


def _moves_that_forget_newer_ones(part: Moves, moves: list[tuple[Job, Folder, Path]], now: float) -> None:
    database, lookups, files = part._database, part._lookups, part._files
    with database.transaction():
        for job, folder, path in moves:
            values: dict[str, Any] = {"folder": folder, "stored_path": path}
            current = replace(lookups.get(job.job_id) or job, **values)
            values |= {"moving_to_folder": None, "moving_to_path": None}
            move_due = files.home_of(current) is not folder
            change_columns(database, job.job_id, {**values, "move_due": move_due, "updated_at": now})


def _claim_of_what_was_read_before(
    delivery: Deliveries, _url: str, branches: Sequence[Branch], now: float
) -> Job | None:
    log = delivery._log
    job = log.lookups.oldest_due([branch.key for branch in branches], now)
    if job is None:
        return None
    with log.database.transaction():
        change_columns(log.database, job.job_id, {"state": State.DELIVERING, "attempts": job.attempts + 1})
        log.histories.note(job.job_id, now, Event.CLAIM, from_state=job.state, to_state=State.DELIVERING)
    return replace(job, attempts=job.attempts + 1)


def _claims_are_sent_again_at_once(patch: pytest.MonkeyPatch) -> None:
    lose = Jobs.lose_claims
    patch.setattr(Jobs, "lose_claims", lambda log, now, _, detail, **more: lose(log, now, now, detail, **more))


def _without_a_guard(patch: pytest.MonkeyPatch, *events: Event) -> None:
    for event in events or Event:
        patch.setitem(TRANSITIONS, event, replace(TRANSITIONS[event], sources=frozenset(State)))


def _without_patience(patch: pytest.MonkeyPatch) -> None:
    overdue = Lookups.overdue
    patch.setattr(Lookups, "overdue", lambda log, branches, now, *rest: overdue(log, branches, now + 10**6, *rest))


Scene = Callable[[AnyInterleaving, int], None]
Fault = Callable[[pytest.MonkeyPatch], None]

#: Cases: the events, the steps that they happen at, and a fault that must be found at one of them.
SCENES: dict[str, tuple[Scene, int, Fault]] = {
    "dropped back while it is filed": (
        _dropped_back_while_it_is_filed,
        16,
        lambda patch: patch.setattr(Moves, "finish_moves", _moves_that_forget_newer_ones),
    ),
    "killed while it is sent": (_killed_while_it_is_sent, 12, _claims_are_sent_again_at_once),
    "away while its callback is awaited": (
        _away_while_its_callback_is_awaited,
        6,
        lambda patch: patch.setattr(Jobs, "postpone_deadlines", lambda *_: None),
    ),
    "killed while it is taken in": (
        _killed_while_it_is_taken_in,
        10,
        lambda patch: patch.setattr(Recovery, "recover", lambda *_: []),
    ),
    "retried while it is filed": (
        _retried_while_it_is_filed,
        16,
        lambda patch: patch.setattr(Moves, "intend_moves", lambda _, moves: list(moves)),
    ),
    "killed while it is sent once": (
        _killed_while_it_is_sent_once,
        12,
        lambda patch: patch.setattr(Branch, "sends_once", property(lambda _: False, lambda *_: None)),
    ),
    "called back unreadably while it is sent": (
        _called_back_unreadably_while_it_is_sent,
        10,
        lambda patch: patch.setattr(Callbacks, "_give_up_unreadable", lambda *_: None),
    ),
    "copied while it is given up": (
        _copied_while_it_is_given_up,
        10,
        lambda patch: patch.setattr(duplicates, "may_be_booked", lambda _: False),
    ),
    "called back while it is sent": (
        _called_back_while_it_is_sent,
        10,
        lambda patch: _without_a_guard(patch, Event.ACCEPT),
    ),
    "claimed by two workers": (
        _claimed_by_two_workers,
        10,
        lambda patch: patch.setattr(Deliveries, "_claim", _claim_of_what_was_read_before),
    ),
}


def _play(name: str) -> None:
    """Play a scene from its beginning to rest, once for each step at which the other thing may come in between."""
    scene, most_steps, _ = SCENES[name]
    for steps in range(most_steps):
        office = AnyInterleaving()
        try:
            office.begin(policy="skip", has_called_back=True)
            scene(office, steps)
            office.all_promises_hold()
        finally:
            office.teardown()


@pytest.mark.parametrize("name", SCENES)
def test_whenever_it_comes_in_between(name: str) -> None:
    """Whatever the step at which it comes, each promise holds then and at the end."""
    _play(name)


@pytest.mark.parametrize("name", SCENES)
def test_a_fault_in_between_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With this fault a promise is broken at one of the steps."""
    SCENES[name][2](monkeypatch)
    with pytest.raises(AssertionError):
        _play(name)


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_without_a_guard, r"^\('\w+', '\w+'\)"),
        (lambda patch: _without_a_guard(patch, Event.FAIL), r"^\('\w+', 'fail'\)"),
        (_without_patience, "before its deadline"),
    ],
    ids=["no guard on a change of state", "a verdict overwritten", "sent again before the deadline"],
)
def test_a_planted_fault_is_found(plant: Fault, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By chance alone each of these is found within a few examples, and by what it breaks."""
    plant(monkeypatch)
    quick = settings(
        max_examples=100,
        stateful_step_count=50,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError, match=said):
        run_state_machine_as_test(hypothesis.seed(1)(AnyInterleaving), settings=quick)
