"""The times of notices: once, after a while, never too often, not at night, and the same after a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receipt_watcher.config.schedule import window_of
from receipt_watcher.errors import NotToldError
from receipt_watcher.inbox.state import InboxState, Waiting
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.outbox import FIRST_PAUSE_SECONDS, GIVE_UP_SECONDS, MAX_PAUSE_SECONDS
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.notify.notices import Kind, Notice
from receipt_watcher.notify.settings import NotificationSettings
from receipt_watcher.notify.watcher import LOOK_SECONDS, NoticeWatcher, forget
from receipt_watcher.report.balance.last_result import LastBalance, keep_balance
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock, make_job, open_log
from tests.unit.delivery.worker_world import URL, FakeDestination, route_to

HOUR, DAY = 3600.0, 86400.0
SECRET = "Tr0ub4dor-and-3-horses"
OFFICE = InboxState(
    name="office",
    path="/srv/inbox",
    failed_dir="/srv/failed",
    mode="native",
    why_mode="",
    is_ready=True,
    unavailable=None,
    unavailable_since=None,
)
SETTINGS = NotificationSettings(
    kinds=frozenset({"holds", "failures", "inboxes", "stuck", "balance"}),
    after_seconds=60,
    throttle_seconds=900,
    stuck_after_seconds=4 * HOUR,
    zone=ZoneInfo("Europe/Berlin"),
    secrets=frozenset({SECRET}),
)


@dataclass
class FakeChannel:
    """Keeps what it is sent, or fails with a reason."""

    name: str = "fake://********#000001"
    trouble: str | None = None
    sent: list[Notice] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def send(self, notice: Notice, notice_id: str) -> None:
        """Take a notice."""
        if self.trouble is not None:
            raise NotToldError(self.trouble)
        self.sent.append(notice)
        self.ids.append(notice_id)

    @property
    def kinds(self) -> list[Kind]:
        """Return the kinds of the notices that were sent."""
        return [notice.kind for notice in self.sent]


class Office:
    """An inbox with its job log and its holds, and somebody who is told."""

    def __init__(self, log: JobLog, clock: FakeClock, spool: Spool) -> None:
        self.log = log
        self.clock = clock
        self.holds = log.holds
        self.routes = [route_to(FakeDestination(), spool)]
        self.channel = FakeChannel()
        self.channels: list[FakeChannel] = [self.channel]
        self.inboxes: list[InboxState] = [OFFICE]
        self.settings = SETTINGS
        self.notification = self.restarted()

    def restarted(self, settings: NotificationSettings | None = None) -> NoticeWatcher:
        """Begin anew on the same log, as after a restart."""
        self.settings = settings or self.settings
        self.notification = NoticeWatcher(
            self.log,
            self.holds,
            self.routes,
            self.channels,
            self.settings,
            inboxes=lambda: self.inboxes,
            clock=self.clock,
        )
        return self.notification

    def after(self, seconds: float) -> list[Kind]:
        """Let time pass, look and send, and return what the channel was told of by that."""
        before = len(self.channel.sent)
        self.clock.advance(seconds)
        assert self.notification.run_once() == LOOK_SECONDS
        return self.channel.kinds[before:]

    def hold(self, message: str = "503: Service Unavailable") -> None:
        """Hold the destination."""
        self.holds.hold(URL, HoldKind.ANSWERS, message, self.clock.now, self.clock.now)

    def resume(self) -> None:
        """Let the destination take a receipt."""
        assert self.holds.accepted(URL, self.clock.now)

    def record(self, count: int = 1, **changes: object) -> list[Job]:
        """Record receipts."""
        return [self.log.jobs.insert(make_job(self.clock.now, **changes)) for _ in range(count)]

    def fail(self, count: int = 1, **changes: object) -> list[Job]:
        """Let receipts fail."""
        jobs = self.record(count, **changes)
        for job in jobs:
            self.log.jobs.advance(job.job_id, Event.FAIL, self.clock.now, reason=Reason.N8N_FAILURE, message="no total")
        return jobs

    def shut(self, since: float | None = None) -> None:
        """Let the inbox be unavailable."""
        at = self.clock.now if since is None else since
        self.inboxes = [replace(OFFICE, is_ready=False, unavailable="the share is gone", unavailable_since=at)]


@pytest.fixture
def office(log: JobLog, clock: FakeClock, spool: Spool) -> Office:
    """An office where nothing is wrong; it is 08:13 in Berlin."""
    clock.now = moment("2026-11-20T07:13")
    office = Office(log, clock, spool)
    assert office.after(0) == []
    return office


def moment(text: str) -> float:
    """Return a time in UTC as Unix seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# --- holds ---------------------------------------------------------------------------------------------------------


def test_a_hold_is_told_once_and_its_end_with_what_waited(office: Office) -> None:
    """A hold is told when it has lasted for a while, and not again; its end tells how many receipts waited."""
    office.hold()
    assert office.after(59) == []
    assert office.after(1) == [Kind.HELD]
    office.record(3)
    assert [kind for _ in range(50) for kind in office.after(HOUR)] == []
    office.resume()
    assert office.after(2) == [Kind.RESUMED]
    assert "3 receipts waited and go out now" in office.channel.sent[-1].text
    assert "(2 days 2 hours)" in office.channel.sent[-1].text
    assert [kind for _ in range(3) for kind in office.after(HOUR)] == []


def test_a_restart_of_n8n_is_nobodys_news(office: Office) -> None:
    """A hold that ends before it was told is not told at all, neither its beginning nor its end."""
    office.hold()
    assert office.after(30) == []
    office.resume()
    assert office.after(HOUR) == []


def test_a_weekend(office: Office) -> None:
    """N8N is down for 60 hours while 500 receipts come: one notice when it begins, one when it ends, and none between.

    That they are older than `stuck_after_minutes` is no news: during the hold, nor while they go out afterwards.
    """
    office.hold("no connection: refused")
    told = []
    for hour in range(60):
        office.record(500 // 60 + (hour < 500 % 60))
        told += office.after(HOUR)
        if hour == 30:
            office.restarted()
    office.resume()
    told += office.after(5)
    assert told == [Kind.HELD, Kind.RESUMED]
    assert "500 receipts waited and go out now" in office.channel.sent[-1].text
    for number, job in enumerate(office.log.lookups.listing(limit=None)[::-1]):
        assert office.log.jobs.advance(job.job_id, Event.SUCCEED, office.clock.now)
        if number % 10 == 0:
            assert office.after(200) == []


def test_a_hold_that_comes_and_goes(office: Office) -> None:
    """A destination that flaps is told once in a while; an end is told only where the beginning was."""
    told = []
    for _ in range(60):  # two minutes down, one up, for three hours
        office.hold()
        told += office.after(60) + office.after(60)
        office.resume()
        told += office.after(60)
    assert told[::2] == [Kind.HELD] * (len(told) // 2)
    assert told[1::2] == [Kind.RESUMED] * (len(told) // 2)
    assert 11 <= len(told) // 2 <= 12


def test_a_destination_that_is_configured_no_more(office: Office) -> None:
    """The end of a hold is not told of a destination that was taken out of the configuration."""
    office.hold()
    assert office.after(60) == [Kind.HELD]
    office.routes = []
    office.restarted()
    office.resume()
    assert office.after(HOUR) == []


# --- inboxes -------------------------------------------------------------------------------------------------------


def test_an_inbox_that_is_away(office: Office) -> None:
    """An inbox that is unavailable is told once, with why, and once when it is back, also over restarts."""
    office.shut()
    assert office.after(30) == []
    assert office.after(30) == [Kind.INBOX_AWAY]
    assert "the share is gone" in office.channel.sent[-1].text
    office.restarted()
    office.inboxes = [replace(OFFICE, is_ready=False)]  # a start: nobody knows yet
    assert office.after(HOUR) == []
    office.shut()
    assert office.after(HOUR) == []
    office.restarted()
    office.inboxes = [OFFICE]
    assert office.after(HOUR) == [Kind.INBOX_BACK]
    assert office.after(HOUR) == []


def test_many_inboxes_in_one_notice(office: Office) -> None:
    """A server that is gone takes all its inboxes along; that is one notice, and one when they are back."""
    office.shut()
    office.inboxes = [replace(office.inboxes[0], name=name) for name in ("a", "b", "c")]
    assert office.after(60) == [Kind.INBOX_AWAY]
    assert office.channel.sent[-1].title == "3 inboxes are unavailable"
    office.inboxes = [replace(OFFICE, name=name) for name in ("a", "b", "c")]
    assert office.after(60) == [Kind.INBOX_BACK]


# --- failures ------------------------------------------------------------------------------------------------------


def test_failures_are_gathered(office: Office) -> None:
    """Receipts that fail within a while are one notice; the next ones wait until it may be told again."""
    office.fail(20)
    assert office.after(30) == []
    office.fail(5, filename="late.pdf")
    assert office.after(30) == [Kind.FAILED]
    assert office.channel.sent[-1].title == "25 receipts need a person"
    office.fail(3)
    assert office.after(600) == []
    office.fail()
    assert office.after(300) == [Kind.FAILED]
    assert office.channel.sent[-1].title == "4 receipts need a person"
    assert office.after(DAY) == []


def test_what_was_mended_meanwhile_is_not_told(office: Office) -> None:
    """A failure that was retried, or succeeded after all, before it was told needs nobody."""
    first, second, third = office.fail(3)
    office.log.jobs.advance(first.job_id, Event.RETRY, office.clock.now)
    office.log.jobs.advance(second.job_id, Event.SUCCEED, office.clock.now)
    assert office.after(60) == [Kind.FAILED]
    assert office.channel.sent[-1].title == "1 receipt needs a person"
    office.log.jobs.advance(third.job_id, Event.RETRY, office.clock.now)
    office.log.jobs.advance(third.job_id, Event.FAIL, office.clock.now, reason=Reason.REFUSED)
    assert office.after(HOUR) == [Kind.FAILED]


def test_a_failure_at_the_record(office: Office) -> None:
    """A file that the examination refuses is told of as any other failure."""
    office.record(state=State.FAILURE, reason=Reason.ENCRYPTED, completed_at=office.clock.now)
    assert office.after(60) == [Kind.FAILED]


def test_failures_of_before_are_not_news(log: JobLog, clock: FakeClock, spool: Spool) -> None:
    """Whoever is named as a channel is not told what failed before; nor what failed while nobody was named."""
    office = Office(log, clock, spool)
    office.fail(9)
    assert [office.after(HOUR) for _ in range(3)] == [[], [], []]
    office.fail()
    office.channel.trouble = "no connection"
    assert office.after(HOUR) == []
    office.fail()
    forget(log)  # a start without channels
    office.channel.trouble = None
    office.restarted()
    assert [office.after(HOUR) for _ in range(3)] == [[], [], []]
    office.fail()
    assert office.after(HOUR) == [Kind.FAILED]


def test_histories_that_were_removed(office: Office) -> None:
    """Where retention removed the histories, and their numbers come again, no failure is passed over."""
    office.fail(50)
    assert office.after(60) == [Kind.FAILED]
    office.log.database.change("DELETE FROM history")
    assert office.after(HOUR) == []
    office.fail()
    assert office.after(60) == [Kind.FAILED]


def test_a_busy_day_without_a_failure(office: Office) -> None:
    """However much goes well, the look for failures stays short."""
    for job in office.record(600):
        office.log.jobs.advance(job.job_id, Event.SUCCEED, office.clock.now)
    assert office.after(60) == []
    fact = office.log.facts.table.get("told")
    assert fact is not None
    assert f'"event": {office.log.histories.last_event()}' in fact
    office.fail()
    assert office.after(60) == [Kind.FAILED]


# --- what waits for too long ---------------------------------------------------------------------------------------


def test_a_receipt_that_is_stuck(office: Office) -> None:
    """A receipt that is open for longer than it should be is told of once, with what it waits for."""
    (job,) = office.record()
    assert office.after(4 * HOUR - 1) == []
    assert office.after(1) == [Kind.STUCK]
    assert "It waits for its turn to be sent to N8N." in office.channel.sent[-1].text
    office.restarted()
    assert [kind for _ in range(9) for kind in office.after(HOUR)] == []
    office.log.jobs.advance(job.job_id, Event.CANCEL, office.clock.now)
    assert office.after(HOUR) == []
    office.log.jobs.advance(job.job_id, Event.RETRY, office.clock.now)
    assert office.after(4 * HOUR - 1) == []
    assert office.after(1) == [Kind.STUCK]


def test_a_file_that_stays_in_the_inbox(office: Office) -> None:
    """A file that is not taken for too long is told of once, with why; a restart repeats nothing."""
    seen = Waiting("scan.pdf", WaitReason.OPEN, "", 3, 0, office.clock.now, office.clock.now, None)
    office.inboxes = [replace(OFFICE, waiting=(seen,))]
    assert office.after(4 * HOUR) == [Kind.STUCK]
    assert "A program has it open for writing." in office.channel.sent[-1].text
    office.restarted()
    office.inboxes = [OFFICE]
    assert office.after(10) == []
    office.inboxes = [replace(OFFICE, waiting=(replace(seen, first_seen_at=office.clock.now),))]
    assert office.after(5 * HOUR) == []
    office.inboxes = [OFFICE]
    assert office.after(HOUR) == []
    office.inboxes = [replace(OFFICE, waiting=(replace(seen, first_seen_at=office.clock.now),))]
    assert office.after(5 * HOUR) == [Kind.STUCK]  # another file of that name, by now


def test_a_thousand_are_one_notice(office: Office) -> None:
    """Many that are stuck are one notice, with ten names."""
    office.record(300)
    assert office.after(5 * HOUR) == [Kind.STUCK]
    assert office.channel.sent[-1].title == "300 receipts are waiting for longer than 4 hours"
    assert office.after(5 * HOUR) == []


def test_what_waits_for_its_window_is_not_stuck(office: Office) -> None:
    """A receipt that waits for deliver_when is no news; once the window is open, it has its time from then on."""
    (route,) = office.routes
    window = window_of("mon-sun", "18:00-06:00", "Europe/Berlin")
    office.routes = [replace(route, branches=(replace(route.branches[0], window=window),))]
    office.restarted()
    office.record()
    assert [kind for _ in range(13) for kind in office.after(HOUR)] == []
    assert office.after(0) == []  # 21:13
    assert office.after(HOUR) == [Kind.STUCK]


# --- quiet hours ---------------------------------------------------------------------------------------------------


NIGHT = window_of("mon-sun", "22:00-07:00", "Europe/Berlin")

NIGHTS = [
    pytest.param("2026-11-20T21:00", "2026-11-21T06:00", id="nine hours"),
    pytest.param("2026-03-28T21:00", "2026-03-29T05:00", id="eight, into summer time"),
    pytest.param("2026-10-24T20:00", "2026-10-25T06:00", id="ten, out of it"),
]


@pytest.mark.parametrize(("start", "end"), NIGHTS)
def test_nobody_is_woken(office: Office, start: str, end: str) -> None:
    """From 22:00 to 07:00 nothing is sent; at 07:00 what is still so is told, and the failures of the night in one."""
    office.clock.now = moment(start) - 60
    office.restarted(replace(SETTINGS, quiet=NIGHT, throttle_seconds=0))
    office.clock.advance(30)
    office.hold()
    office.clock.advance(-30)
    assert office.after(60) == []
    told, failed = [], 0
    while office.clock.now < moment(end) - 60:
        told += office.after(60)
        if office.clock.now % HOUR == 0:
            failed += len(office.fail(2))
        if office.clock.now == moment(start) + 2 * HOUR:
            office.shut()
            office.restarted()
    assert told == []
    assert office.after(moment(end) - office.clock.now) == [Kind.HELD, Kind.INBOX_AWAY, Kind.FAILED]
    assert office.channel.sent[-1].title == f"{failed} receipts need a person"
    assert office.after(60) == []


def test_what_ended_at_night_is_told_where_its_beginning_was(office: Office) -> None:
    """The end of what was told in the evening is told in the morning, with its time; what came and went is not."""
    office.clock.now = moment("2026-11-20T20:58")
    office.restarted(replace(SETTINGS, quiet=NIGHT))
    office.hold()
    assert office.after(60) == [Kind.HELD]
    office.clock.now = moment("2026-11-20T23:00")
    office.shut()
    office.resume()
    assert office.after(0) == []
    office.clock.now = moment("2026-11-21T03:00")
    office.inboxes = [OFFICE]
    assert office.after(0) == []
    office.clock.now = moment("2026-11-21T06:00")
    assert office.after(0) == [Kind.RESUMED]
    assert (
        "again since 00:00. It was on hold since 2026-11-20 21:58 (2 hours 2 minutes)" in office.channel.sent[-1].text
    )


def test_what_waits_in_the_outbox_waits_for_the_morning(office: Office) -> None:
    """A notice that could not be sent in the evening is not sent in the night."""
    office.clock.now = moment("2026-11-20T20:58")
    office.restarted(replace(SETTINGS, quiet=NIGHT))
    office.channel.trouble = "no connection"
    office.hold()
    assert office.after(60) == []
    office.channel.trouble = None
    assert office.after(8 * HOUR) == []
    assert office.after(HOUR + 60) == [Kind.HELD]
    assert office.channel.sent[-1].text.startswith("(Written at 2026-11-20 21:59; it could not be sent before.)")


# --- the balance ---------------------------------------------------------------------------------------------------


def balance(office: Office, wrong: int, *names: str) -> None:
    """Let the daemon's balance have found this."""
    keep_balance(office.log, LastBalance(office.clock.now, 100, wrong, wrong, None, [], list(names)))


def test_a_balance_that_disagrees_is_told_until_it_agrees(office: Office) -> None:
    """What log and folders disagree about is told once, again when it is more or other, and anew afterwards."""
    balance(office, 0)
    assert office.after(60) == []
    balance(office, 1, "missing: a.jpg")
    assert office.after(60) == [Kind.DISAGREES]
    office.restarted()
    balance(office, 1, "missing: a.jpg")
    assert office.after(DAY) == []
    balance(office, 2, "missing: a.jpg", "missing: b.jpg")
    assert office.after(DAY) == [Kind.DISAGREES]
    balance(office, 2, "missing: a.jpg", "missing: c.jpg")
    assert office.after(DAY) == [Kind.DISAGREES]
    balance(office, 0)
    assert office.after(DAY) == []
    balance(office, 1, "missing: a.jpg")
    assert office.after(60) == [Kind.DISAGREES]
    assert "missing: a.jpg" in office.channel.sent[-1].text


def test_a_balance_at_night_is_told_in_the_morning(office: Office) -> None:
    """What the nightly balance found waits for the end of the quiet hours."""
    office.clock.now = moment("2026-11-20T23:00")
    office.restarted(replace(SETTINGS, quiet=NIGHT))
    balance(office, 1, "missing: a.jpg")
    assert office.after(6 * HOUR) == []
    assert office.after(HOUR + 60) == [Kind.DISAGREES]


# --- the day -------------------------------------------------------------------------------------------------------


def test_a_summary_of_each_day(office: Office) -> None:
    """A summary comes once a day at its time, of what was received since the last one; a restart repeats none."""
    office.restarted(replace(SETTINGS, daily_summary_at="08:00"))
    assert office.after(0) == []  # no day has passed yet
    office.record(2)
    office.fail()
    assert office.after(60) == [Kind.FAILED]
    assert office.after(DAY - 15 * 60) == [Kind.STUCK]
    assert office.after(120) == [Kind.SUMMARY]
    assert office.channel.sent[-1].title == "Receipts of the day: 3 received, 1 failed"
    office.restarted()
    assert office.after(HOUR) == []
    told = [(office.clock.now, kind) for _ in range(3 * 24) for kind in office.after(HOUR)]
    assert [kind for _, kind in told] == [Kind.SUMMARY] * 3
    assert office.channel.sent[-1].title == "Receipts of the day: 0 received, none failed"


def test_a_summary_after_days_off(office: Office) -> None:
    """Where the daemon was off at the time, one summary of all of it comes at the next start."""
    office.restarted(replace(SETTINGS, daily_summary_at="08:00"))
    assert office.after(0) == []
    office.clock.advance(3 * DAY + 5 * HOUR)
    office.restarted()
    assert office.after(0) == [Kind.SUMMARY]
    assert "From 2026-11-20 08:13 to 13:13:" in office.channel.sent[-1].text


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_a_summary_when_the_clock_changes(office: Office, day: str) -> None:
    """A time that the clock skips, or shows twice, has its summary, and one only."""
    office.clock.now = moment(f"{day}T03:00")
    office.restarted(replace(SETTINGS, daily_summary_at="02:30"))
    assert [kind for _ in range(4 * 47) for kind in office.after(900)] == [Kind.SUMMARY] * 2


# --- restarts, clocks and channels ---------------------------------------------------------------------------------


def test_a_crash_between_the_log_and_the_channel(office: Office) -> None:
    """What was put into the outbox goes out after a restart, once, under its id."""
    office.hold()
    office.clock.advance(60)
    assert [notice.kind for notice in office.notification.look()] == [Kind.HELD]
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
