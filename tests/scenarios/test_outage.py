"""Outages, as an admin sees them: what holds N8N, what is tried meanwhile, how the queue drains, and when it may.

Real job log, holds, conclusion and files; a destination that answers as told; days pass in milliseconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from receipt_watcher.config.schedule import Window, window_of
from receipt_watcher.delivery.callbacks import Callbacks, Reception
from receipt_watcher.delivery.deadlines import Deadlines, DeadlineSettings
from receipt_watcher.delivery.destinations import Concluded, Deferred, Lost, Outcome
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.notify.notices import Kind
from receipt_watcher.notify.watcher import NoticeWatcher
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system.wakeup import Bell
from tests.conftest import FakeClock
from tests.unit.delivery.conftest import other_spool
from tests.unit.delivery.worker_world import (
    ACCEPTED,
    BROKEN,
    DOWN,
    LOST,
    SETTINGS,
    TOO_LARGE,
    URL,
    FakeDestination,
    World,
    route_to,
)
from tests.unit.notify.notice_office import OFFICE, FakeChannel
from tests.unit.notify.notice_office import SETTINGS as TOLD

__all__ = ["other_spool"]  # a fixture

DEFAULTS = replace(SETTINGS, hold_after=3, max_attempts=8)
UNPUBLISHED = Deferred("N8N answered 404; the workflow is not published", 404)
BUSY = Deferred("N8N answered 429", 429, retry_after_seconds=120)
BOOKED = Concluded(
    Verdict(success=True, message="booked", notion_page_url="https://notion.example/1", details={"total": 12}),
    "200 {}",
    200,
)
BERLIN = ZoneInfo("Europe/Berlin")
FRIDAY_EVENING = datetime(2026, 11, 20, 20, tzinfo=BERLIN).timestamp()


class Office(World):
    """A world with deadlines and callbacks, whose time goes by."""

    def conclusion(self) -> Callbacks:
        """Return what hears callbacks."""
        return Callbacks(
            self.log,
            self.holds,
            self.routes,
            probe_seconds=5,
            deliveries=self.deliveries,
            filings=Bell(),
            clock=self.clock,
        )

    def deadlines(self) -> Deadlines:
        """Return what watches deadlines; no callback was heard lately."""
        return Deadlines(
            self.log,
            self.holds,
            self.routes,
            DeadlineSettings(deadline_seconds=600, max_resends=1, probe_seconds=5),
            heard_at=lambda _: 0.0,
            deliveries=self.deliveries,
            filings=Bell(),
            clock=self.clock,
        )

    def live_until(self, at: float, each_round: Callable[[], object] = lambda: None) -> None:
        """Deliver what is due and let deadlines pass, until a time; between rounds wait as the daemon would."""
        deadlines = self.deadlines()
        while self.clock.now < at:
            each_round()
            if not self.delivery.deliver_due():
                pause = max(0.001, self.delivery.wait_seconds(300))
                self.clock.advance(min(pause, at - self.clock.now))
            deadlines.expire_due()

    def restart(self) -> None:
        """Begin anew on the same log."""
        self.log.database.close()
        self.log.database.open()
        self.delivery = self.another_delivery()

    def telling(self, channel: FakeChannel) -> NoticeWatcher:
        """Return what tells somebody."""
        names = DestinationNames(branch.url for route in self.routes for branch in route.branches)
        return NoticeWatcher(
            self.log, self.holds, self.routes, [channel], TOLD, names=names, inboxes=lambda: [OFFICE], clock=self.clock
        )

    def states(self, jobs: list[Job]) -> set[State]:
        """Return the states that jobs are in."""
        return {self.job(job).state for job in jobs}


@pytest.fixture
def office(log: JobLog, spool: Spool, clock: FakeClock) -> Office:
    """One inbox with the default settings, whose N8N has called back before."""
    world = Office(log, clock, route_to(FakeDestination(), spool), settings=DEFAULTS)
    world.heard()
    return world


def with_settings(world: Office, **changes: float) -> None:
    """Change settings, as by a restart with another configuration."""
    world.settings = replace(world.settings, **changes)  # type: ignore[arg-type]  # a test names what it means
    world.delivery = world.another_delivery()


# --- what holds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [DOWN, BROKEN, UNPUBLISHED, LOST], ids=str)
def test_a_hold_begins_after_three_in_a_row(office: Office, outcome: Outcome) -> None:
    """Two failures hold nobody; the third in a row does, and the fourth receipt stays where it is."""
    jobs = office.record(4)
    office.destination.script = lambda _: outcome
    with capture_logs() as lines:
        assert office.delivery.deliver_due()
        assert office.delivery.deliver_due()
        assert (office.standing.misses, office.standing.is_held) == (2, False)
        assert office.deliver_all() == 1
    assert office.standing.is_held
    assert office.standing.hold_message == outcome.message
    assert office.job(jobs[3]).state is State.QUEUED
    assert [line["event"] for line in lines].count("destination.held") == 1


def test_an_acceptance_between_begins_the_count_anew(office: Office) -> None:
    """Only failures in a row count: N8N that stumbles now and then is not held."""
    outcomes: Iterator[Outcome] = iter([DOWN, DOWN, ACCEPTED] * 5)
    office.destination.script = lambda _: next(outcomes)
    office.record(15)
    for _ in range(15):
        assert office.delivery.deliver_due()
    assert (office.standing.misses, office.standing.is_held) == (0, False)


def test_the_count_survives_a_restart(office: Office) -> None:
    """A daemon that is restarted between two failures counts on."""
    office.record(3)
    office.destination.script = lambda _: DOWN
    for _ in range(3):
        assert not office.standing.is_held
        assert office.delivery.deliver_due()
        office.restart()
    assert office.standing.is_held


def test_the_same_limit_for_two_receipts_holds_at_once(office: Office) -> None:
    """Two different receipts with the same 413 are proof enough; nobody else is sent against it."""
    first, second, third = office.record(3)
    office.destination.script = lambda _: TOO_LARGE
    assert office.deliver_all() == 2
    assert office.job(first).reason is Reason.REFUSED_TOO_LARGE
    assert office.states([second, third]) == {State.QUEUED}
    assert office.standing.is_held


def test_a_receipt_that_failed_waits_and_others_go(office: Office) -> None:
    """Before a hold the receipt itself waits, a little longer each time; the others are tried meanwhile."""
    bad, *others = office.record(3)
    office.destination.script = lambda job: DOWN if job.job_id == bad.job_id else ACCEPTED
    office.deliver_all()
    assert 2.5 <= (office.job(bad).next_attempt_at or 0.0) - office.clock.now <= 5
    assert office.states(others) == {State.PROCESSING}


def test_a_receipt_that_n8n_never_takes_while_others_pass_is_tried_more_and_more_rarely(office: Office) -> None:
    """A clear no, such as a proxy's 403, for one receipt alone is never its failure; its pauses double, to the cap."""
    (bad,) = office.record()
    office.destination.script = lambda job: UNPUBLISHED if job.job_id == bad.job_id else ACCEPTED
    tried = []
    for _ in range(16):
        tried.append(office.clock.now)
        office.deliver_all()
        office.clock.advance(0.5)
        office.record()
        office.deliver_all()
        office.clock.now = max(office.clock.now, office.job(bad).next_attempt_at or 0.0)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert office.job(bad).state is State.QUEUED
    assert office.job(bad).attempts == 0
    assert sum(pauses[-3:]) > 3 * 400
    assert max(pauses) <= 900 + 1
    assert not office.standing.is_held


def test_retry_after_is_obeyed_before_a_hold(office: Office) -> None:
    """A single 429 that asks for two minutes gets them: no other receipt goes out before, after a restart either."""
    office.record(3)
    office.destination.script = lambda _: BUSY
    assert office.deliver_all() == 1
    assert not office.standing.is_held
    office.restart()
    office.clock.advance(119)
    assert office.deliver_all() == 0
    assert office.delivery.wait_seconds(60) == pytest.approx(1)
    office.clock.advance(1)
    assert office.deliver_all() == 1


def test_retry_after_is_bounded_by_the_longest_probe(office: Office) -> None:
    """A far side that asks for a year gets probe_max_seconds, before a hold and in it."""
    with_settings(office, probe_max_seconds=60.0)
    office.record(5)
    office.destination.script = lambda _: Deferred("busy", 503, retry_after_seconds=1e9)
    for _ in range(5):
        assert office.deliver_all() == 1
        assert (office.standing.probe_at or 0.0) - office.clock.now == 60
        office.clock.advance(60)
    assert office.standing.is_held


def test_probes_grow_to_their_own_cap(office: Office) -> None:
    """Probes of N8N that is away come at growing intervals with jitter, up to probe_max_seconds."""
    with_settings(office, probe_max_seconds=100.0)
    office.record(4)
    office.destination.script = lambda _: DOWN
    office.live_until(office.clock.now + 3600)
    probes = [now for *_, now in office.destination.calls][2:]
    pauses = [later - earlier for earlier, later in pairwise(probes)]
    assert pauses[0] <= 5
    assert max(pauses) <= 100.01
    assert min(pauses[-10:]) >= 50
    assert len({round(pause, 3) for pause in pauses[-10:]}) > 5


# --- nothing is lost by it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "count"), [(DOWN, 500), (BROKEN, 40), (UNPUBLISHED, 40)], ids=str)
def test_a_weekend_without_n8n(office: Office, outcome: Outcome, count: int) -> None:
    """N8N is away for 60 hours with 500 receipts waiting: no attempt is used, none fails, all drain in order.

    Somebody is told when it began and when it is over, and of nothing else.
    """
    channel, looked_at = FakeChannel(), 0.0

    def tell() -> None:
        nonlocal looked_at
        if office.clock.now >= looked_at + 300:
            office.telling(channel).run_once()
            looked_at = office.clock.now

    jobs = office.record(count)
    office.destination.script = lambda _: outcome
    began = office.clock.now
    with capture_logs() as lines:
        office.live_until(began + 30 * 3600, tell)
        office.restart()
        office.live_until(began + 60 * 3600, tell)
        probes = len(office.destination.calls)
        assert 60 * 3600 / 900 <= probes <= 2 * 60 * 3600 / 900 + 20
        assert office.states(jobs) == {State.QUEUED}
        assert {(after.attempts, after.failures) for after in map(office.job, jobs)} == {(0, 0)}
        office.destination.script = lambda _: ACCEPTED
        office.clock.now = office.standing.probe_at or 0.0
        assert office.deliver_all() == count
        office.telling(channel).run_once()
    assert [notice.kind for notice in channel.sent] == [Kind.HELD, Kind.RESUMED]
    assert f"{count} receipts" in channel.sent[1].text
    probe, *drained = office.destination.delivered[probes:]
    assert drained == [job.job_id for job in jobs if job.job_id != probe]
    assert {office.job(job).attempts for job in jobs} == {1}
    events = [line["event"] for line in lines]
    assert (events.count("destination.held"), events.count("destination.resumed")) == (1, 1)
    assert office.log.statistics.open_jobs_of(["office"]) == count


def test_hours_without_an_answer_fail_nobody(office: Office) -> None:
    """N8N that reads and never answers uses up resends, but fails nothing, also where one receipt is all there is."""
    (job,) = office.record()
    office.destination.script = lambda _: LOST
    office.live_until(office.clock.now + 6 * 3600)
    assert office.job(job).state is State.PROCESSING
    assert len(office.destination.calls) == 2
    assert office.standing.hold_kind is HoldKind.ANSWERS
    office.destination.script = lambda _: ACCEPTED
    office.record()
    office.live_until(office.clock.now + 2000)
    assert not office.standing.is_held
    assert office.destination.delivered.count(job.job_id) == 3
    assert office.conclusion().conclude(job.job_id, Verdict(success=True)) is Reception.RECEIVED


def test_a_timeout_waits_for_its_callback_first(office: Office) -> None:
    """After a timeout the same id goes out again only when its callback had its time, whatever happens to others."""
    job, *_ = office.record(3)
    office.destination.script = lambda each: LOST if each.job_id == job.job_id else BOOKED
    began = office.clock.now
    office.live_until(began + 599)
    assert office.destination.delivered.count(job.job_id) == 1
    office.live_until(began + 1000)
    sent = [(attempt, now - began) for job_id, attempt, _, now in office.destination.calls if job_id == job.job_id]
    assert [attempt for attempt, _ in sent] == [1, 2]
    assert sent[1][1] >= 600


# --- whose fault it is ---------------------------------------------------------------------------------------------


def test_one_bad_receipt_among_good_ones(office: Office) -> None:
    """A receipt that n8n answers with 500 fails with its reason after max_attempts; all others pass, and none waits."""
    receipts = office.record(20)
    bad, good = receipts[7], [*receipts[:7], *receipts[8:]]
    office.destination.script = lambda job: BROKEN if job.job_id == bad.job_id else BOOKED

    def arrives() -> None:
        if office.clock.now - began > 60 * len(later):
            later.extend(office.record())

    later: list[Job] = []
    began = office.clock.now
    office.live_until(began + 2 * 3600, arrives)
    after = office.job(bad)
    assert (after.state, after.reason, after.message) == (State.FAILURE, Reason.ATTEMPTS_EXHAUSTED, BROKEN.message)
    assert after.failures == DEFAULTS.max_attempts
    assert State.QUEUED not in office.states([*good, *later])
    waits = [(office.job(job).completed_at or 0.0) - job.created_at for job in [*good, *later]]
    assert max(waits) < 30


def test_a_wrong_webhook_of_one_inbox_holds_that_inbox_alone(
    log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock
) -> None:
    """Where one inbox has a webhook that is not published, its receipts wait; the other's go out as ever."""
    good, wrong = FakeDestination(), FakeDestination("http://n8n/webhook/typo", script=lambda _: UNPUBLISHED)
    office = Office(log, clock, route_to(good, spool), route_to(wrong, other_spool, "other"), settings=DEFAULTS)
    office.heard()
    passing, waiting = office.record(20), office.record(20, "other")
    office.live_until(clock.now + 500)
    assert office.states(waiting) == {State.QUEUED}
    assert {office.job(job).attempts for job in waiting} == {0}
    assert office.holds.of(wrong.url).hold_message == UNPUBLISHED.message
    assert good.delivered == [job.job_id for job in passing]
    assert not office.standing.is_held


# --- a verdict at once ---------------------------------------------------------------------------------------------


def test_a_verdict_at_once_is_kept_as_a_callback_is(office: Office) -> None:
    """A verdict that comes as the answer concludes the job in one step, with page and history, and awaits nothing."""
    (job,) = office.record()
    office.destination.script = lambda _: BOOKED
    office.deliver_all()
    after = office.job(job)
    assert (after.state, after.message, after.notion_page_url) == (State.SUCCESS, "booked", "https://notion.example/1")
    assert (after.deadline_at, after.move_due, after.attempts) == (None, True, 1)
    claim, verdict = office.log.histories.lines(job.job_id)[-2:]
    assert (claim["event"], verdict["event"], verdict["from_state"]) == ("claim", "succeed", "delivering")
    assert '"data": {"total": 12}' in verdict["detail"]
    assert office.deadlines().expire_due() == []


@pytest.mark.parametrize(
    ("at_once", "later", "reception", "state"),
    [
        (True, True, Reception.RECEIVED, State.SUCCESS),
        (True, False, Reception.CONTRARY, State.SUCCESS),
        (False, True, Reception.RECEIVED, State.SUCCESS),
        (False, False, Reception.RECEIVED, State.FAILURE),
    ],
)
def test_a_callback_after_a_verdict_at_once(
    office: Office, at_once: bool, later: bool, reception: Reception, state: State
) -> None:
    """A workflow that answers and calls back, too, is treated as one that calls back twice: a success stays or wins."""
    (job,) = office.record()
    office.destination.script = lambda _: Concluded(Verdict(success=at_once), "200", 200)
    office.deliver_all()
    assert office.conclusion().conclude(job.job_id, Verdict(success=later)) is reception
    assert office.job(job).state is state


def test_a_verdict_at_once_gives_resends_back(office: Office) -> None:
    """A verdict that ends a hold ends it for those whose resends the outage has used up, too."""
    (waiting,) = office.record(state=State.PROCESSING, resends=1, deadline_at=office.clock.now + 10**6)
    office.holds.hold(URL, HoldKind.ANSWERS, "down", office.clock.now, office.clock.now)
    office.destination.script = lambda _: BOOKED
    office.record()
    office.deliver_all()
    assert not office.standing.is_held
    assert office.job(waiting).resends == 0


def test_an_answer_that_nobody_agreed_on_is_awaited(office: Office) -> None:
    """An answer that n8n.accept does not know may have started the workflow: three hold it, and none goes out twice."""
    jobs = office.record(5)
    office.destination.script = lambda _: Lost("N8N answered 200 {}, which n8n.accept does not know", 200)
    assert office.deliver_all() == 3
    assert office.standing.is_held
    assert office.log.histories.attempts(jobs[0].job_id)[0]["status_code"] == 200
    assert office.destination.delivered == [job.job_id for job in jobs[:3]]


# --- the pace ------------------------------------------------------------------------------------------------------


def outage(office: Office, count: int) -> list[Job]:
    """Let an outage have happened, with so many receipts waiting, and N8N be back."""
    jobs = office.record(count)
    office.destination.script = lambda _: DOWN
    office.live_until(office.clock.now + 3600)
    office.destination.script = lambda _: BOOKED
    office.destination.calls.clear()
    return jobs


def test_the_queue_drains_at_its_pace(office: Office) -> None:
    """After a hold what waited goes out in order of arrival, no faster than drain_per_minute."""
    with_settings(office, drain_per_minute=30)
    jobs = outage(office, 60)
    office.clock.now = max(office.clock.now, office.standing.probe_at or 0.0)
    began = office.clock.now
    office.live_until(began + 118.5)
    assert 55 <= len(office.destination.calls) <= 62
    office.live_until(began + 130)
    probe, *drained = office.destination.delivered
    assert drained == [job.job_id for job in jobs if job.job_id != probe]
    times = [now for *_, now in office.destination.calls][2:]
    assert all(later - earlier >= 2 - 0.002 for earlier, later in pairwise(times))


def test_what_comes_after_the_outage_is_not_paced(office: Office) -> None:
    """The pace is for what has waited: once that has gone, new receipts go out at once."""
    with_settings(office, drain_per_minute=1)
    outage(office, 3)
    while len(office.destination.calls) < 3:
        office.live_until(office.clock.now + 1)
    office.clock.advance(1)
    new = [
        office.log.jobs.insert(replace(job, job_id=f"ffffffff-0000-7000-8000-{number:012}"))
        for number, job in enumerate(fresh(office, 10))
    ]
    assert office.deliver_all() == 10
    assert office.destination.delivered[3:] == [job.job_id for job in new]


def fresh(office: Office, count: int) -> list[Job]:
    """Return jobs that are not recorded, whose file is there."""
    (model,) = office.record(next_attempt_at=office.clock.now + 10**6)
    return [replace(model, next_attempt_at=office.clock.now) for _ in range(count)]


def test_the_pace_survives_a_restart(office: Office) -> None:
    """A restart amid the draining does not send the rest at once."""
    with_settings(office, drain_per_minute=6)
    outage(office, 50)
    office.clock.now = office.standing.probe_at or 0.0
    office.live_until(office.clock.now + 100)
    sent = len(office.destination.calls)
    office.restart()
    assert office.deliver_all() <= 2
    assert 0 < office.delivery.wait_seconds(60) <= 10
    assert 10 <= sent <= 13


def test_without_a_pace_it_goes_as_fast_as_it_can(office: Office) -> None:
    """drain_per_minute 0 sends all that waited at once."""
    outage(office, 30)
    office.clock.now = max(office.clock.now, office.standing.probe_at or 0.0)
    assert office.deliver_all() == 30


def test_one_destination_that_drains_slows_no_other(
    log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock
) -> None:
    """The pace is per destination, as the hold is."""
    down, other = FakeDestination(), FakeDestination("http://other.example.com/")
    office = Office(
        log,
        clock,
        route_to(down, spool),
        route_to(other, other_spool, "other"),
        settings=replace(DEFAULTS, drain_per_minute=1),
    )
    office.heard()
    outage(office, 10)
    office.record(20, "other")
    office.clock.now = max(clock.now, office.standing.probe_at or 0.0)
    assert office.deliver_all() <= 22 + 1
    assert len(other.calls) == 20


# --- delivery windows ----------------------------------------------------------------------------------------------

OFFICE_HOURS = window_of("mon-fri", "07:00-19:00", "Europe/Berlin")


@pytest.fixture
def punctual(log: JobLog, spool: Spool, clock: FakeClock) -> Office:
    """An inbox whose receipts are sent in office hours; it is Friday evening."""
    clock.now = FRIDAY_EVENING
    world = Office(log, clock, route_to(FakeDestination(), spool, window=OFFICE_HOURS), settings=DEFAULTS)
    world.heard()
    return world


def assert_all_in(window: Window, calls: list[tuple[str, int, str, float]]) -> None:
    """Check that nothing was sent outside a window."""
    assert calls
    assert all(window.is_open(now) for *_, now in calls)


def test_receipts_wait_for_the_window(punctual: Office) -> None:
    """What comes on Friday evening is sent on Monday at seven, in order, and costs nothing."""
    jobs = punctual.record(20)
    punctual.live_until(FRIDAY_EVENING + 59 * 3600 - 1)
    assert punctual.destination.calls == []
    assert {(after.state, after.attempts) for after in map(punctual.job, jobs)} == {(State.QUEUED, 0)}
    punctual.live_until(FRIDAY_EVENING + 59 * 3600 + 1)
    assert punctual.destination.delivered == [job.job_id for job in jobs]
    assert_all_in(OFFICE_HOURS, punctual.destination.calls)


def test_a_worker_sleeps_until_the_window_opens(punctual: Office) -> None:
    """The wait for work ends when the window opens, no sooner."""
    punctual.record()
    assert punctual.delivery.wait_seconds(10**6) == 59 * 3600


def test_probes_wait_for_the_window(punctual: Office) -> None:
    """A hold is not probed outside the window; what is due for another look then is looked at when it opens."""
    punctual.clock.now = FRIDAY_EVENING - 3600 - 5 * 60  # Friday, 18:55
    punctual.record(5)
    punctual.destination.script = lambda _: DOWN
    punctual.live_until(FRIDAY_EVENING + 70 * 3600)
    assert_all_in(OFFICE_HOURS, punctual.destination.calls)
    assert punctual.standing.is_held
    assert len([now for *_, now in punctual.destination.calls if now > FRIDAY_EVENING]) > 30


def test_resends_wait_for_the_window(punctual: Office) -> None:
    """A receipt whose deadline passes in the evening goes out again on Monday, under its id."""
    punctual.clock.now = FRIDAY_EVENING - 3600 - 5 * 60
    (job,) = punctual.record()
    punctual.live_until(FRIDAY_EVENING + 59 * 3600 + 1)
    assert punctual.events(job) == ["record", "claim", "accept", "resend", "claim", "accept"]
    assert [now for *_, now in punctual.destination.calls][1] == pytest.approx(FRIDAY_EVENING + 59 * 3600)


def test_deadlines_go_on_outside_the_window(punctual: Office) -> None:
    """The window is about sending: callbacks are heard, and their deadlines pass, at any hour."""
    punctual.clock.now = FRIDAY_EVENING - 3600 - 60
    heard, unheard = punctual.record(2)
    punctual.deliver_all()
    punctual.clock.now = FRIDAY_EVENING
    assert punctual.conclusion().conclude(heard.job_id, Verdict(success=True)) is Reception.RECEIVED
    assert [job.job_id for job in punctual.deadlines().expire_due()] == [unheard.job_id]
    assert punctual.job(unheard).state is State.QUEUED


def test_a_window_is_one_inboxes(log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock) -> None:
    """Of two inboxes with one workflow, the one whose window is closed waits; the other goes on."""
    clock.now = FRIDAY_EVENING
    shared = FakeDestination(script=lambda _: BOOKED)
    office = Office(
        log,
        clock,
        route_to(shared, spool, window=OFFICE_HOURS),
        route_to(shared, other_spool, "other"),
        settings=DEFAULTS,
    )
    office.heard()
    waiting, going = office.record(5), office.record(5, "other")
    office.live_until(FRIDAY_EVENING + 3600)
    assert shared.delivered == [job.job_id for job in going]
    assert office.states(waiting) == {State.QUEUED}


@pytest.mark.long
def test_nothing_is_sent_outside_whatever_happens(punctual: Office) -> None:
    """Nine days with faults at random: nothing goes out outside the window, and nothing is failed or forgotten."""
    chance = random.Random(5)
    outcomes: list[Outcome] = [ACCEPTED, ACCEPTED, DOWN, LOST, BUSY]
    punctual.destination.script = lambda _: chance.choice(outcomes)
    jobs = punctual.record(15)
    ends_at = FRIDAY_EVENING + 9 * 86_400

    def call_back() -> None:
        for job in jobs:
            if punctual.job(job).state is State.PROCESSING and chance.random() < 0.05:
                punctual.conclusion().conclude(job.job_id, Verdict(success=True))

    punctual.live_until(ends_at, call_back)
    assert_all_in(OFFICE_HOURS, punctual.destination.calls)
    assert State.QUEUED not in punctual.states(jobs)
    assert {punctual.job(job).reason for job in jobs} <= {None, Reason.NO_CALLBACK}
