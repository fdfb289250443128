"""Holds by hand: nothing is taken or sent, nothing fails meanwhile, everybody is told, and somebody ends it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget, ManualHold, ManualHolds
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import RunningDaemon, wait_until
from tests.unit.delivery.test_callbacks import DEADLINE_SECONDS, Concluding
from tests.unit.delivery.worker_world import DOWN, URL, FakeDestination, World, route_to
from tests.unit.inbox.test_status_file import Share, share
from tests.unit.notify.conftest import office
from tests.unit.notify.notice_office import Office

__all__ = ["office", "share"]  # fixtures

NOW = 1_700_000_000.0


@pytest.fixture
def hand(log: JobLog) -> ManualHolds:
    """The holds by hand of an empty job log."""
    return log.manual_holds


@pytest.fixture
def world(log: JobLog, spool: Spool, clock: FakeClock) -> Concluding:
    """One inbox, whose destination has called back before."""
    world = Concluding(log, clock, spool)
    world.heard()
    return world


def test_a_hold_and_its_end(log: JobLog, hand: ManualHolds) -> None:
    """It begins once, its reason may be said anew, it outlives a restart, and it ends once."""
    assert hand.of_inbox("office") is None
    assert hand.hold(HoldTarget.INBOX, "office", "sorting", NOW) is True
    assert hand.hold(HoldTarget.INBOX, "office", "still sorting", NOW + 9) is False
    assert hand.hold(HoldTarget.DESTINATION, URL, "", NOW) is True
    log.database.close()
    log.database.open()
    held = ManualHold(HoldTarget.INBOX, "office", NOW, "still sorting")
    assert hand.all() == [ManualHold(HoldTarget.DESTINATION, URL, NOW, ""), held]
    assert (hand.of_inbox("office"), hand.of_destination("office")) == (held, None)
    assert [hand.resume(HoldTarget.INBOX, "office") for _ in range(2)] == [True, False]
    assert hand.of_inbox("office") is None


def test_nothing_is_sent(world: Concluding, hand: ManualHolds) -> None:
    """While a destination is held nothing goes out, no attempt is counted, and after it all do, in order."""
    jobs = world.record(3)
    hand.hold(HoldTarget.DESTINATION, URL, "", world.clock.now)
    for _ in range(5):
        assert world.delivery.deliver_due() is False
        assert world.delivery.wait_seconds(60) == 60
        world.clock.advance(1000)
    assert world.destination.calls == []
    assert {(world.job(job).state, world.job(job).attempts) for job in jobs} == {(State.QUEUED, 0)}
    hand.resume(HoldTarget.DESTINATION, URL)
    assert world.deliver_all() == 3
    assert world.destination.delivered == [job.job_id for job in jobs]


def test_a_hold_is_one_destinations(log: JobLog, spool: Spool, clock: FakeClock, hand: ManualHolds) -> None:
    """A hold of one webhook leaves the others alone."""
    world = World(log, clock, route_to(FakeDestination(), spool))
    world.record()
    hand.hold(HoldTarget.DESTINATION, "http://n8n.example.com/webhook/other", "", clock.now)
    hand.hold(HoldTarget.INBOX, URL, "", clock.now)
    assert world.deliver_all() == 1


def test_no_probe_under_a_hold_by_hand(world: Concluding, hand: ManualHolds) -> None:
    """Where the daemon holds a destination, too, it is not probed either; after the end by hand it is, at once."""
    world.record(2)
    world.destination.script = lambda _: DOWN
    assert world.delivery.deliver_due()
    assert world.standing.hold_kind is HoldKind.ANSWERS
    hand.hold(HoldTarget.DESTINATION, URL, "", world.clock.now)
    world.clock.advance(10_000)
    assert world.delivery.deliver_due() is False
    hand.resume(HoldTarget.DESTINATION, URL)
    world.holds.hold(URL, HoldKind.ANSWERS, "no connection", world.clock.now, world.clock.now + 5000)
    assert world.delivery.deliver_due() is False
    world.holds.resumed_by_hand(URL, world.clock.now)
    assert world.standing.is_held
    assert world.delivery.deliver_due() is True


def test_nothing_expires(log: JobLog, world: Concluding, hand: ManualHolds) -> None:
    """What N8N was given before waits for its callback for as long as the hold lasts, and its whole time after it."""
    (job,) = world.accepted()
    hand.hold(HoldTarget.DESTINATION, URL, "", world.clock.now)
    for _ in range(5):
        assert world.expire(DEADLINE_SECONDS * 2) == []
    assert world.job(job).state is State.PROCESSING
    hand.resume(HoldTarget.DESTINATION, URL)
    log.jobs.extend_deadlines(["elsewhere"], world.clock.now + 10 * DEADLINE_SECONDS)
    log.jobs.extend_deadlines(["office"], world.clock.now + DEADLINE_SECONDS)
    assert world.expire(DEADLINE_SECONDS - 1) == []
    assert [each.job_id for each in world.expire(2)] == [job.job_id]


def test_what_waited_is_known_after_it(log: JobLog, clock: FakeClock) -> None:
    """The end of a hold is noted with the destination, so that what waited drains at its pace."""
    holds = log.holds
    holds.resumed_by_hand(URL, clock.now)
    assert (holds.of(URL).resumed_at, holds.of(URL).is_held) == (clock.now, False)


def test_the_status_file_tells(share: Share) -> None:
    """People at the share read that their admin holds the inbox, or N8N, since when, and what was said of why."""
    hand = share.log.manual_holds
    hand.hold(HoldTarget.INBOX, "office", "the auditors are here", share.clock.now - 3600)
    hand.hold(HoldTarget.DESTINATION, URL, "", share.clock.now - 60)
    said = share.after(0)
    assert "Your admin holds this inbox since 13:05, so nothing is taken: the auditors are here\n" in said
    assert "Your admin holds what goes to N8N since 14:04.\nNothing is lost" in said
    assert "All is well" not in said
    hand.resume(HoldTarget.INBOX, "office")
    hand.resume(HoldTarget.DESTINATION, URL)
    assert "All is well" in share.after(10)


def test_nothing_held_is_told_as_stuck(office: Office) -> None:
    """A receipt that waits because an admin wants it to is no news."""
    hand = office.log.manual_holds
    hand.hold(HoldTarget.DESTINATION, URL, "", office.clock.now)
    office.record()
    assert office.after(10 * 3600) == []
    hand.resume(HoldTarget.DESTINATION, URL)
    assert office.after(3600) != []


@pytest.mark.parametrize("what", ["office", "n8n"])
def test_a_daemon_that_is_held(what: str, tmp_path: Path, n8n: StandIn) -> None:
    """A running daemon obeys, says so wherever somebody looks, remembers it over a kill, and goes on when it may."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        assert daemon.run("hold", what, "--why", "the auditors are here").returncode == 0
        path = daemon.drop("scan.jpg", samples.jpeg(1))
        is_inbox = what == "office"
        expected = WaitReason.HELD.value if is_inbox else State.QUEUED.value
        wait_until(
            lambda: (
                json.loads(daemon.run("explain", str(path) if is_inbox else "scan.jpg", "--json").stdout or "{}").get(
                    "code"
                )
                == expected
            ),
            "explain says so",
        )
        daemon.kill()
        daemon.start()
        explained = daemon.run("explain", str(path) if is_inbox else "scan.jpg").stdout
        assert "holds" in explained
        assert "the auditors are here" in explained
        status = daemon.run("status")
        assert status.returncode == 0
        assert "Held by hand since" in status.stdout
        ready = httpx.get(f"{daemon.url}/health/ready")
        assert ready.status_code == 200
        assert any("the auditors are here" in said for said in ready.json()["waiting"].values())
        assert n8n.deliveries == []
        assert path.exists() is is_inbox
        resumed = daemon.run("resume", what, "--json")
        assert [row["done"] for row in json.loads(resumed.stdout)] == [True]
        daemon.wait_quiet(1)
        assert len(n8n.deliveries) == 1


def test_once_does_not_wait_for_the_end_of_a_hold(tmp_path: Path, n8n: StandIn) -> None:
    """`run --once` does what may be done, says what it left, and ends: a held inbox and a held N8N stay as they are."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN)
    assert daemon.run("run", "--once").returncode == 0
    path = daemon.drop("scan.jpg", samples.jpeg(1))
    assert daemon.run("hold", "office").returncode == 0
    assert "the inbox office is held by hand since" in daemon.run("run", "--once").stderr
    assert path.exists()
    assert daemon.run("resume", "office").returncode == 0
    assert daemon.run("hold", "n8n").returncode == 0
    assert "N8N at 127.0.0.1 is held by hand since" in daemon.run("run", "--once").stderr
    assert [job["status"] for job in daemon.jobs()] == ["queued"]
    assert n8n.deliveries == []


def test_nothing_of_that_name(tmp_path: Path, n8n: StandIn) -> None:
    """A name that nothing has holds nothing, not even what else was named, and what there is is listed."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN)
    daemon.run("run", "--once")
    said = daemon.run("hold", "office", "ofice")
    assert said.returncode == 2
    assert "There is no 'ofice'; it may be one of: office, n8n, 127.0.0.1" in said.stderr
    with daemon.job_log() as log:
        assert log.manual_holds.all() == []
