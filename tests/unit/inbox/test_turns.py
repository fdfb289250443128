"""Turns of the folder's rounds and of uploads: one at a time, and both come through."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from receipt_watcher.inbox.turns import Turns
from tests.fakes.daemons.process import wait_until


@contextmanager
def waiting_upload(turns: Turns) -> Iterator[threading.Event]:
    """Let an upload wait for its turn; the event says that it has it. It gives the turn back at the end."""
    has_turn = threading.Event()

    def upload() -> None:
        if turns.take(60):
            has_turn.set()

    thread = threading.Thread(target=upload, name="upload")
    thread.start()
    wait_until(lambda: turns.waiting or has_turn.is_set(), "the upload waits")
    yield has_turn
    turns.end_rounds()
    thread.join()


def test_one_at_a_time() -> None:
    """While one has a turn, nobody else gets one."""
    turns = Turns()
    assert turns.take_round()
    assert not turns.take_round()
    assert not turns.take(0)
    assert not turns.take_if_free()
    turns.give_back()
    assert turns.take(0)
    assert not turns.take_round()
    assert not turns.take(0)


def test_rounds_alone_follow_each_other() -> None:
    """A round may follow a round if no upload waits."""
    turns = Turns()
    for _ in range(3):
        assert turns.take_round()
        turns.give_back()


def test_uploads_alone_follow_each_other() -> None:
    """An upload may follow an upload if no round was refused."""
    turns = Turns()
    for _ in range(3):
        assert turns.take(0)
        turns.give_back()


def test_a_round_that_was_refused_comes_before_the_next_upload() -> None:
    """The place of a round is kept: uploads that follow each other do not keep it waiting for ever."""
    turns = Turns()
    assert turns.take(0)
    assert not turns.take_round()
    turns.give_back()
    assert not turns.take(0)
    assert turns.take_round()
    turns.give_back()
    assert turns.take(0)


def test_an_upload_that_waits_comes_before_the_next_round() -> None:
    """After a round it is the turn of an upload that waits: rounds do not follow each other past it."""
    turns = Turns()
    assert turns.take_round()
    with waiting_upload(turns) as has_turn:
        turns.give_back()
        assert not turns.take_round()
        wait_until(has_turn.is_set, "the upload has its turn")
        assert not turns.take_round()
        turns.give_back()
        assert turns.take_round()
        turns.give_back()


def test_an_upload_that_gives_up_is_forgotten() -> None:
    """An upload that waited in vain holds no round up."""
    turns = Turns()
    assert turns.take_round()
    assert not turns.take(0)
    assert turns.waiting == 0
    turns.give_back()
    assert turns.take_round()


def test_a_turn_that_counts_for_neither_side() -> None:
    """Who takes a free turn in passing changes nothing about whose turn is next."""
    turns = Turns()
    assert turns.take_round()
    turns.give_back()
    assert turns.take_if_free()
    turns.give_back()
    assert turns.take(0)


def test_a_turn_taken_in_passing_is_nobody_elses() -> None:
    """A turn that is taken in passing keeps rounds, uploads and others who pass out, until it is given back."""
    turns = Turns()
    assert turns.take_if_free()
    assert not turns.take_if_free()
    assert not turns.take_round()
    assert not turns.take(0)
    turns.give_back()
    assert turns.take_round()


@pytest.mark.parametrize("is_refused", [True, False])
def test_uploads_wait_for_no_round_once_there_are_none(is_refused: bool) -> None:
    """When rounds have ended, a round that was refused keeps no place."""
    turns = Turns()
    assert turns.take(0)
    if is_refused:
        assert not turns.take_round()
    turns.end_rounds()
    assert not turns.take_round()
    turns.give_back()
    assert turns.take(0)
