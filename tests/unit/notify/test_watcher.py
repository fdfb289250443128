"""Restarts, wrong clocks and failing channels neither lose a notice nor repeat it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receipt_watcher.jobs.log.outbox import FIRST_PAUSE_SECONDS, GIVE_UP_SECONDS, MAX_PAUSE_SECONDS
from receipt_watcher.notify.notices import Kind
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock, open_log
from tests.unit.delivery.worker_world import URL
from tests.unit.notify.notice_office import DAY, HOUR, OFFICE, SECRET, SETTINGS, FakeChannel, Office


def test_a_crash_between_the_log_and_the_channel(office: Office) -> None:
    """What was put into the outbox goes out after a restart, once, under its id."""
    office.hold()
    office.clock.advance(60)
    assert [notice.kind for notice in office.notification.queue_news()] == [Kind.HELD]
    (queued,) = office.log.outbox.queued()
    office.restarted()  # killed before it was sent
    assert office.after(5) == [Kind.HELD]
    assert office.channel.ids == [queued.notice_id]
    assert [office.after(HOUR) for _ in range(3)] == [[], [], []]


def test_a_crash_before_the_log_is_written(office: Office) -> None:
    """Where nothing was written, nothing was told, and the next look tells it."""
    office.hold()
    office.clock.advance(60)
    with closing(sqlite3.connect(office.log.database.path)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON notice BEGIN SELECT RAISE(ABORT, 'no room'); END")
        other.commit()
        with pytest.raises(Exception, match="no room"):
            office.notification.run_once()
        other.execute("DROP TRIGGER full")
        other.commit()
    office.restarted()
    assert office.after(5) == [Kind.HELD]


def test_a_channel_that_fails_is_tried_again(office: Office) -> None:
    """A channel that fails holds up no other, waits longer each time, and then gets its notices in order."""
    other = FakeChannel("fake://********#000002", trouble="no connection")
    office.channels.append(other)
    office.restarted()
    office.hold()
    assert office.after(60) == [Kind.HELD]
    office.resume()
    assert office.after(5) == [Kind.RESUMED]
    (first, second) = office.log.outbox.queued()
    assert (first.tries, second.tries) == (1, 0)
    tries = []
    for _ in range(int(DAY / 30)):
        office.after(30)
        tries.append(office.log.outbox.queued()[0].tries)
    assert FIRST_PAUSE_SECONDS == 30
    assert tries[:8] == [2, 2, 3, 3, 3, 3, 4, 4]
    assert tries[-1] <= 8 + DAY / MAX_PAUSE_SECONDS
    other.trouble = None
    office.after(MAX_PAUSE_SECONDS)
    assert other.kinds == [Kind.HELD, Kind.RESUMED]
    assert office.log.outbox.queued() == []


def test_a_channel_that_never_comes_back(office: Office) -> None:
    """A notice that nobody took for days is given up, so that the outbox does not grow for ever."""
    office.channel.trouble = "no connection"
    office.fail()
    office.after(60)
    for _ in range(int(GIVE_UP_SECONDS / MAX_PAUSE_SECONDS) + 2):
        office.after(MAX_PAUSE_SECONDS)
    assert office.log.outbox.queued() == []


def test_a_channel_that_is_configured_no_more(office: Office) -> None:
    """What was for a channel that is gone is forgotten."""
    office.channel.trouble = "no connection"
    office.fail()
    office.after(60)
    office.channels = [FakeChannel("fake://********#000003")]
    office.restarted()
    office.after(HOUR)
    assert office.log.outbox.queued() == []
    assert office.channels[0].sent == []


@pytest.mark.parametrize("jump", [-400 * DAY, 400 * DAY])
def test_a_clock_that_was_wrong(office: Office, jump: float) -> None:
    """Times of a clock that was wrong by a year keep nothing from being told."""
    office.clock.advance(jump)
    office.hold()
    assert office.after(60) == [Kind.HELD]
    office.channel.trouble = "no connection"
    office.fail()
    office.after(60)
    office.channel.trouble = None
    office.clock.advance(-jump)
    assert Kind.FAILED in office.after(60)
    office.resume()
    assert office.after(5) == [Kind.RESUMED]
    office.hold()
    assert office.after(HOUR) == [Kind.HELD]


def test_a_secret_in_an_answer(office: Office) -> None:
    """A secret that N8N answers with is in no notice, and in none that waits."""
    office.hold(f"403: {SECRET} is no key of mine")
    office.fail(filename=f"{SECRET}.pdf")
    assert office.after(60) == [Kind.HELD, Kind.FAILED]
    assert all(SECRET not in notice.title + notice.text for notice in office.channel.sent)
    assert "403: ******** is no key of mine" in office.channel.sent[0].text


def test_only_what_was_asked_for(office: Office) -> None:
    """Kinds that are left out are not told."""
    office.restarted(replace(SETTINGS, kinds=frozenset()))
    office.hold()
    office.fail()
    office.record()
    office.shut()
    assert [office.after(5 * HOUR) for _ in range(3)] == [[], [], []]


STEPS = st.lists(
    st.sampled_from(["hold", "resume", "fail", "shut", "open", "restart", "trouble", "mended", "minute", "hour"]),
    max_size=40,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens(tmp_path_factory: pytest.TempPathFactory, spool: Spool, steps: Sequence[str]) -> None:
    """In any order of events and restarts each beginning has its end, and each failure is counted once."""
    log = open_log(tmp_path_factory.mktemp("any") / "receipts.db")
    office = Office(log, FakeClock(), spool)
    office.after(0)
    failed = 0
    for step in [*steps, "mended", "open", "resume", "hour", "hour", "hour"]:
        match step:
            case "hold" if not office.holds.of(URL).is_held:
                office.hold()
            case "resume" if office.holds.of(URL).is_held:
                office.resume()
            case "fail":
                failed += len(office.fail())
            case "shut":
                office.shut()
            case "open":
                office.inboxes = [OFFICE]
            case "restart":
                office.restarted()
            case "trouble" | "mended":
                office.channel.trouble = "no connection" if step == "trouble" else None
        office.after({"minute": 60, "hour": HOUR}.get(step, 5))
    log.database.close()
    for begin, end in ((Kind.HELD, Kind.RESUMED), (Kind.INBOX_AWAY, Kind.INBOX_BACK)):
        told = [kind for kind in office.channel.kinds if kind in (begin, end)]
        assert told == [begin, end] * (len(told) // 2)
    counts = [int(notice.title.split()[0]) for notice in office.channel.sent if notice.kind is Kind.FAILED]
    assert sum(counts) == failed
    assert len(set(office.channel.ids)) == len(office.channel.ids)
