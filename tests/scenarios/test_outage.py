"""An outage holds N8N after three failures in a row, and no receipt is lost by it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from receipt_watcher.delivery.callbacks import Reception
from receipt_watcher.delivery.destinations import Deferred, Outcome
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.notify.notices import Kind
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.scenarios.outage_office import BOOKED, BUSY, DEFAULTS, Office, with_settings
from tests.unit.delivery.worker_world import ACCEPTED, BROKEN, DOWN, LOST, TOO_LARGE, FakeDestination, route_to
from tests.unit.notify.notice_office import FakeChannel

UNPUBLISHED = Deferred("N8N answered 404; the workflow is not published", 404)


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
