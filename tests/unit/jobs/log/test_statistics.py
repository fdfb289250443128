"""Questions that loops ask every few seconds: until the log changes, none looks at all that waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job
from tests.unit.jobs.log.job_log_rows import NOW, OFFICE, PlannedError, asked_by

LATER = NOW + 1000

Question = Callable[[JobLog], object]

QUESTIONS: list[tuple[str, Question, str]] = [
    ("count", lambda log: log.statistics.count(OFFICE, State.QUEUED), "COUNT(*)"),
    ("open in", lambda log: log.statistics.open_in("office", LATER)[0], "COUNT(*)"),
    ("oldest open", lambda log: len(log.lookups.oldest_open(LATER, 10, ["cellar"])), "ORDER BY created_at LIMIT"),
]


@pytest.fixture(params=QUESTIONS, ids=[name for name, *_ in QUESTIONS])
def question(request: pytest.FixtureRequest) -> tuple[Question, str]:
    """A question that counts, and a part of its statement."""
    _, ask, words = request.param
    return ask, words


def looks(log: JobLog, question: tuple[Question, str]) -> int:
    """Ask, and return how often that looked at what waits."""
    ask, words = question
    return sum(words in statement for statement in asked_by(log, lambda: ask(log)))


def test_nothing_is_counted_twice(log: JobLog, question: tuple[Question, str]) -> None:
    """While nothing changes only the first one who asks has it counted, however the time goes on."""
    log.jobs.insert(make_job())
    assert looks(log, question) == 1
    assert looks(log, question) == 0


def test_a_change_is_seen(log: JobLog, question: tuple[Question, str]) -> None:
    """Whoever changes the log, be it another program or this one after it was opened anew, the answer is right."""
    ask, _ = question
    jobs = [log.jobs.insert(make_job()) for _ in range(3)]
    assert ask(log) == 3
    log.jobs.advance(jobs[0].job_id, Event.CANCEL, NOW)
    assert ask(log) == 2
    with closing(sqlite3.connect(log.database.path)) as other, other:
        other.execute("UPDATE job SET state = 'cancelled' WHERE job_id = ?", [jobs[1].job_id])
    assert ask(log) == 1
    log.database.close()
    log.database.open()
    log.jobs.advance(jobs[2].job_id, Event.CANCEL, NOW)
    assert ask(log) == 0


def test_what_may_be_taken_back_is_not_remembered(log: JobLog, question: tuple[Question, str]) -> None:
    """What is asked within a transaction counts its rows, and nobody is told of them once they were taken back."""
    ask, _ = question

    def ask_inside() -> None:
        with log.database.transaction():
            log.jobs.insert(make_job())
            assert ask(log) == 1
            raise PlannedError

    with pytest.raises(PlannedError):
        ask_inside()
    assert ask(log) == 0


def test_who_was_recorded_since_is_not_counted(log: JobLog) -> None:
    """Where jobs are younger than what is asked for, the answer is of that time, and another one at another time."""
    for age in (30, 20, 10):
        log.jobs.insert(make_job(created_at=NOW - age))
    asked = [NOW - 25, NOW - 5, NOW - 15, NOW - 40]
    assert [log.statistics.open_in("office", at)[0] for at in asked] == [1, 3, 2, 0]
    assert [len(log.lookups.oldest_open(at, 10)) for at in asked] == [1, 3, 2, 0]


def test_a_retried_job_is_open_since_then(log: JobLog) -> None:
    """What failed weeks ago and is retried now has not waited for weeks; others that wait for longer count."""
    old = log.jobs.insert(make_job(NOW - 4_000_000))
    log.jobs.advance(old.job_id, Event.CANCEL, NOW - 3_900_000)
    assert log.statistics.oldest_open() is None
    log.jobs.advance(old.job_id, Event.RETRY, NOW - 60, next_attempt_at=NOW)
    assert log.statistics.oldest_open() == log.statistics.oldest_open_in("office") == NOW - 60
    assert log.statistics.open_in("office", NOW) == (1, NOW - 60)
    assert log.search.sums().oldest_at == NOW - 60
    log.jobs.insert(make_job(NOW - 90, inbox="cellar"))
    assert log.statistics.oldest_open() == NOW - 90
    assert log.statistics.oldest_open_in("office") == NOW - 60
