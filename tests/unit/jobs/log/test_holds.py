"""Destinations that are held: when a hold begins, what ends it, and the evidence that is kept."""

from __future__ import annotations

import itertools
import sqlite3

import pytest

from receipt_watcher.jobs.log.holds import SILENT_JOBS_BEFORE_HOLD, DestinationState, HoldKind, Holds
from receipt_watcher.jobs.log.job_log import JobLog

NOW = 1_700_000_000.0
URL = "http://127.0.0.1/webhook/receipts"
OTHER = "http://127.0.0.1/webhook/other"


@pytest.fixture
def holds(log: JobLog) -> Holds:
    """The holds of an empty job log."""
    return log.holds


def test_a_new_destination_is_not_held(holds: Holds) -> None:
    """Of a destination that nothing was sent to, nothing is known, and asking leaves no trace."""
    assert holds.of(URL) == DestinationState(url=URL)
    assert not holds.of(URL).is_held
    assert holds.all() == []


def test_a_hold_begins_once(holds: Holds) -> None:
    """The first failure begins a hold, which is told; the next ones go on holding, with more probes and newer words."""
    assert holds.hold(URL, HoldKind.ANSWERS, "N8N answered 503", NOW, NOW + 5) is True
    assert holds.hold(URL, HoldKind.ANSWERS, "N8N answered 502", NOW + 5, NOW + 15) is False
    assert holds.hold(URL, HoldKind.ANSWERS, "no connection", NOW + 15, NOW + 35) is False
    assert holds.of(URL) == DestinationState(
        url=URL,
        hold_kind=HoldKind.ANSWERS,
        held_since=NOW,
        hold_message="no connection",
        probe_at=NOW + 35,
        probes=3,
    )
    assert holds.of(URL).is_held


def test_a_hold_is_one_destinations(holds: Holds) -> None:
    """A hold is about one webhook; another one's jobs go on."""
    holds.hold(URL, HoldKind.ANSWERS, "N8N answered 503", NOW, NOW + 5)
    holds.accepted(OTHER, NOW)
    assert [(standing.url, standing.is_held) for standing in holds.all()] == [(OTHER, False), (URL, True)]


def test_a_hold_outlives_a_restart(log: JobLog, holds: Holds) -> None:
    """A destination that is held is still held after a restart, and is probed when it would have been."""
    holds.hold(URL, HoldKind.SILENCE, "no callback arrives", NOW, NOW + 5)
    before = holds.of(URL)
    log.database.close()
    log.database.open()
    assert log.holds.of(URL) == before


@pytest.mark.parametrize("kind", HoldKind)
def test_what_ends_a_hold(holds: Holds, kind: HoldKind) -> None:
    """An acceptance ends a hold for wrong answers, a callback one for silence, and neither ends the other's."""
    enders = {HoldKind.ANSWERS: holds.accepted, HoldKind.SILENCE: holds.called_back}
    holds.hold(URL, kind, "trouble", NOW, NOW + 5)
    for other_kind, end in enders.items():
        if other_kind is not kind:
            assert end(URL, NOW + 6) is False
            assert holds.of(URL).is_held
    assert enders[kind](URL, NOW + 7) is True
    assert holds.of(URL) == DestinationState(
        url=URL,
        accepted_at=NOW + (7 if kind is HoldKind.ANSWERS else 6),
        called_back_at=NOW + (7 if kind is HoldKind.SILENCE else 6),
        resumed_at=NOW + 7,
    )


@pytest.mark.parametrize("kind", HoldKind)
def test_a_hold_ends_once(holds: Holds, kind: HoldKind) -> None:
    """That a hold has ended is told once; what comes after it is everyday life."""
    end = holds.accepted if kind is HoldKind.ANSWERS else holds.called_back
    holds.hold(URL, kind, "trouble", NOW, NOW + 5)
    assert [end(URL, NOW + number) for number in range(3)] == [True, False, False]


def test_a_hold_can_begin_again(holds: Holds) -> None:
    """After a hold has ended the next one begins anew, with its own time and its first probe."""
    holds.hold(URL, HoldKind.ANSWERS, "N8N answered 503", NOW, NOW + 5)
    holds.accepted(URL, NOW + 6)
    assert holds.hold(URL, HoldKind.SILENCE, "no callback arrives", NOW + 7, NOW + 12) is True
    standing = holds.of(URL)
    assert (standing.hold_kind, standing.held_since, standing.probes) == (HoldKind.SILENCE, NOW + 7, 1)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(HoldKind, 2)))
def test_a_hold_keeps_its_kind(holds: Holds, first: HoldKind, second: HoldKind) -> None:
    """A second kind of trouble during a hold does not begin another one, nor change what ends it."""
    holds.hold(URL, first, "trouble", NOW, NOW + 5)
    assert holds.hold(URL, second, "more trouble", NOW + 5, NOW + 15) is False
    assert (holds.of(URL).hold_kind, holds.of(URL).held_since) == (first, NOW)


def test_the_first_callback_ever_is_kept(holds: Holds) -> None:
    """When a destination called back for the first time is known for good: until then, one receipt is out at a time."""
    assert holds.of(URL).called_back_at is None
    assert holds.called_back(URL, NOW) is False
    holds.called_back(URL, NOW + 9)
    assert holds.of(URL).called_back_at == NOW


def test_the_last_acceptance_is_kept(holds: Holds) -> None:
    """When a destination last took a receipt is known: it is the evidence that a failure is a receipt's own."""
    holds.accepted(URL, NOW)
    holds.accepted(URL, NOW + 9)
    assert holds.of(URL).accepted_at == NOW + 9


def test_silence_counts_different_jobs(holds: Holds) -> None:
    """Each job that expires without a callback counts once, however often it expires, each destination by itself."""
    assert [holds.silent(URL, job) for job in ("a", "a", "b", "a", "c")] == [1, 1, 2, 2, 3]
    assert holds.silent(OTHER, "a") == 1
    assert holds.of(URL).silent_jobs == ("a", "b", "c")


def test_a_callback_breaks_the_silence(holds: Holds) -> None:
    """A callback of any job begins the count of silent jobs anew, the first callback ever as well as a later one."""
    for _ in range(2):
        holds.silent(URL, "a")
        holds.silent(URL, "b")
        holds.called_back(URL, NOW)
        assert holds.of(URL).silent_jobs == ()
        assert holds.silent(URL, "c") == 1
        holds.called_back(URL, NOW)


def test_an_acceptance_does_not_break_the_silence(holds: Holds) -> None:
    """That a destination accepts says nothing about its callbacks."""
    holds.silent(URL, "a")
    holds.accepted(URL, NOW)
    assert holds.silent(URL, "b") == 2


def test_three_silent_jobs_are_evidence() -> None:
    """Three different jobs without a callback in between hold the destination, as the design says."""
    assert SILENT_JOBS_BEFORE_HOLD == 3


def test_too_large_is_the_receipts_until_another_is(holds: Holds) -> None:
    """A 413 is the receipt's own until a different one gets it too, with none accepted in between; then of none."""
    assert [holds.too_large(URL, job) for job in ("a", "a", "b", "c", "a")] == [False, False, True, True, True]
    assert holds.too_large(OTHER, "b") is False


def test_an_acceptance_clears_the_413(holds: Holds) -> None:
    """A receipt that passes shows that the limit is not for all: the next 413 is the receipt's own again."""
    holds.too_large(URL, "a")
    holds.accepted(URL, NOW)
    assert holds.too_large(URL, "b") is False
    assert holds.too_large(URL, "c") is True


def test_an_everyday_callback_writes_nothing(log: JobLog, holds: Holds) -> None:
    """A callback that changes nothing of what is known costs no write."""
    connection: sqlite3.Connection = log.database.connection.raw()
    holds.called_back(URL, NOW)
    changes = connection.total_changes
    holds.called_back(URL, NOW + 1)
    assert connection.total_changes == changes


def test_failures_in_a_row_are_counted(holds: Holds) -> None:
    """Failures in a row are counted and put into words; an acceptance begins the count anew."""
    assert holds.of(URL).trouble is None
    assert holds.missed(URL, "N8N answered 503") == 1
    assert holds.of(URL).trouble == "has failed once: N8N answered 503"
    assert holds.missed(URL, "no connection") == 2
    assert holds.of(URL).trouble == "has failed 2 times in a row: no connection"
    holds.accepted(URL, NOW)
    assert holds.of(URL).trouble is None
    assert holds.missed(URL, "no connection") == 1
    holds.hold(URL, HoldKind.ANSWERS, "no connection", NOW, NOW + 5)
    assert holds.of(URL).trouble == "is held: no connection"


def test_failures_before_the_first_probe_count_for_nothing(holds: Holds) -> None:
    """What was under way when a hold began and fails before the first probe changes nothing about the hold."""
    assert holds.hold(URL, HoldKind.ANSWERS, "N8N answered 503", NOW, NOW + 5)
    before = holds.of(URL)
    assert holds.hold(URL, HoldKind.ANSWERS, "no connection", NOW + 4.9, NOW + 9) is False
    assert holds.of(URL) == before


def test_a_pause_is_never_shortened(holds: Holds) -> None:
    """Of the pauses that a destination asks for, the one that ends last counts."""
    for until in (NOW + 60, NOW + 5):
        holds.pause(URL, until)
        assert holds.of(URL).probe_at == NOW + 60
    holds.pause(URL, NOW + 90)
    assert holds.of(URL).probe_at == NOW + 90


def test_three_unreadable_verdicts_hold(holds: Holds) -> None:
    """The third verdict in a row that cannot be read holds the destination, and no earlier one."""
    begun = [holds.unreadable(URL, job, "no verdict", NOW, NOW + 5) for job in ("a", "a", "b", "c")]
    assert begun == [False, False, False, True]
    assert holds.of(URL).hold_kind is HoldKind.SILENCE


def test_two_receipts_are_kept_as_evidence_of_a_limit(holds: Holds) -> None:
    """Of the receipts that were too large the first two are named, however many there are."""
    for job in ("a", "b", "c"):
        holds.too_large(URL, job)
    assert holds.of(URL).too_large_job == "a b"
