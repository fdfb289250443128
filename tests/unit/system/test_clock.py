"""Clock steps, sleep, restarts: nothing expires early and nothing is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli.demo.stand_in import UNAVAILABLE, Behaviour, StandIn
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.system.clock import JUMP_SECONDS, SteadyClock
from tests.conftest import TOKEN, open_log
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until

HOURS = 5 * 3600.0
NOW = 1_700_000_000.0
URL = "http://n8n.example/webhook"


class Times:
    """Clocks that stand until they are moved."""

    def __init__(self) -> None:
        self.wall, self.monotonic, self.boot = NOW, 100.0, 120.0
        self.steady = SteadyClock(lambda: self.wall, lambda: self.monotonic, lambda: self.boot)

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass, while the machine is awake."""
        self.wall += seconds
        self.monotonic += seconds
        self.boot += seconds

    def sleep(self, seconds: float) -> None:
        """Let the machine sleep."""
        self.wall += seconds
        self.boot += seconds


def test_it_goes_with_the_clock() -> None:
    """As long as nobody sets the clock it says what the clock says, and sees no jump."""
    times = Times()
    times.pass_seconds(86_400)
    assert times.steady() == times.wall
    assert times.steady.jump_seconds() == 0


@pytest.mark.parametrize("jump", [HOURS, -HOURS, JUMP_SECONDS, -JUMP_SECONDS])
def test_a_jump_is_not_followed_until_it_is_told(jump: float) -> None:
    """The clock is set: it goes on as before, says by how much, and stands right once it was told to follow."""
    times = Times()
    times.wall += jump
    times.pass_seconds(7)
    assert times.steady() == NOW + 7
    assert times.steady.jump_seconds() == jump
    assert times.steady.asleep_seconds() == 0
    times.steady.follow(jump)
    assert times.steady() == times.wall
    assert times.steady.jump_seconds() == 0


def test_a_small_difference_is_no_jump() -> None:
    """What network time corrects in passing is let be."""
    times = Times()
    times.wall += JUMP_SECONDS * 0.9
    assert times.steady.jump_seconds() == 0


def test_sleep_is_told_from_a_clock_that_was_set() -> None:
    """A machine that slept sees its clock jump, and knows for how long it slept, each time anew."""
    times = Times()
    for slept in (HOURS, 60.0):
        times.sleep(slept)
        assert times.steady.jump_seconds() == slept
        assert times.steady.asleep_seconds() == slept
        times.steady.follow(slept)
        assert times.steady.asleep_seconds() == 0


# --- what the log has written down ---------------------------------------------------------------------------------


def _job(number: int, **fields: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": f"job-{number}",
        "state": State.QUEUED,
        "inbox": "office",
        "filename": "scan.jpg",
        "relative_path": Path("scan.jpg"),
        "folder": Folder.PROCESSING,
        "stored_path": Path(f"job-{number}/scan.jpg"),
        "mime_type": "image/jpeg",
        "size": 1,
        "sha256": f"{number}",
        "target": URL,
        "notion_database_id": "",
        "created_at": NOW,
        "updated_at": NOW,
        "next_attempt_at": NOW,
    }
    return Job(**(values | fields))


_JUMPS = st.lists(st.floats(-1e6, 1e6).filter(lambda jump: abs(jump) >= JUMP_SECONDS), max_size=4)
_AHEAD = st.floats(1, 1000)


@given(jumps=_JUMPS, pause=_AHEAD, patience=_AHEAD, probe=_AHEAD)
def test_what_is_to_come_keeps_its_distance(
    tmp_path_factory: pytest.TempPathFactory, jumps: list[float], pause: float, patience: float, probe: float
) -> None:
    """However often the clock jumps, a retry, a deadline and a probe come after as many seconds as before."""
    log = open_log(tmp_path_factory.mktemp("log") / "receipts.db")
    holds = log.holds
    log.jobs.insert(_job(2))
    log.jobs.claim(["office"], NOW)
    log.jobs.advance("job-2", Event.ACCEPT, NOW, deadline_at=NOW + patience)
    log.jobs.insert(_job(1, next_attempt_at=NOW + pause))
    holds.hold(URL, HoldKind.ANSWERS, "down", NOW, NOW + probe)
    now = NOW
    for jump in jumps:
        now += jump
        log.jobs.shift_times(jump, now)
        holds.shift_times(jump)
    waiting, processing = log.lookups.get("job-1"), log.lookups.get("job-2")
    assert waiting is not None
    assert processing is not None
    assert waiting.next_attempt_at == pytest.approx(now + pause, abs=1e-3)
    assert processing.deadline_at == pytest.approx(now + patience, abs=1e-3)
    assert processing.updated_at <= now + 1e-3
    assert holds.of(URL).probe_at == pytest.approx(now + probe, abs=1e-3)
    log.database.close()


def test_what_is_due_stays_due(log: JobLog) -> None:
    """A job that waits for a worker when the clock is set back is still due, and what was retried since is let be."""
    log.jobs.insert(_job(1, next_attempt_at=NOW - 10))
    log.jobs.insert(_job(2, updated_at=NOW + HOURS, next_attempt_at=NOW + HOURS))  # by another process, after the jump
    log.jobs.shift_times(HOURS, NOW + HOURS)
    assert [job.next_attempt_at for job in log.lookups.listing()] == [NOW + HOURS, NOW - 10]
    log.jobs.shift_times(-2 * HOURS, NOW - HOURS)
    assert all(job.next_attempt_at == NOW - HOURS for job in log.lookups.listing())


def test_nothing_waits_for_longer_than_any_rule_says(log: JobLog) -> None:
    """A time that a wrong clock has set is brought forward at start, for jobs and for probes."""
    log.jobs.insert(_job(1, next_attempt_at=NOW + HOURS))
    log.jobs.insert(_job(2, next_attempt_at=NOW + 5))
    log.holds.hold(URL, HoldKind.ANSWERS, "down", NOW, NOW + HOURS)
    log.jobs.bring_forward(NOW + 900)
    assert [job.next_attempt_at for job in log.lookups.listing()] == [NOW + 5, NOW + 900]
    assert log.holds.of(URL).probe_at == NOW + 900


# --- the real daemon -----------------------------------------------------------------------------------------------


class Stepped(RunningDaemon):
    """A daemon on a machine whose clock is set while it runs."""

    def __init__(self, root: Path, n8n: StandIn, **sections: dict[str, Any]) -> None:
        self.clock_file = root / "clock"
        super().__init__(
            root, n8n.webhook_url, TOKEN, changes=sections, environment={"CLOCK_FILE": str(self.clock_file)}
        )
        self.set_clock(0)

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command that runs by that clock."""
        return [
            word if word != "receipt_watcher" else "tests.fakes.daemons.clock_steps"
            for word in super().command(*arguments)
        ]

    def set_clock(self, wrong_by: float, slept: float = 0.0) -> None:
        """Set the clock, at once."""
        temporary = self.clock_file.with_suffix(".new")
        temporary.write_text(f"{wrong_by} {slept}", "ascii")
        temporary.rename(self.clock_file)

    def wait_jump(self, number: int) -> dict[str, Any]:
        """Wait until so many jumps were seen, and return the last."""
        wait_until(lambda: self.count("clock.jumped") >= number, "the jump is seen")
        return self.events("clock.jumped")[number - 1]


def silent(n8n: StandIn) -> None:
    """Let N8N accept and never call back."""
    n8n.behave = lambda _: Behaviour(verdict=None)


def test_nothing_expires_early(tmp_path: Path, n8n: StandIn) -> None:
    """Hours forward, a sleep, hours back: the receipt is awaited as before, and its late callback is heard."""
    silent(n8n)
    with Stepped(tmp_path, n8n, callback={"deadline_seconds": 900}) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: daemon.count("job.accepted"), "it is accepted")
        daemon.set_clock(HOURS)
        assert daemon.wait_jump(1)["asleep_seconds"] == 0
        daemon.set_clock(2 * HOURS, slept=HOURS)
        told = daemon.wait_jump(2)
        assert (round(told["seconds"]), round(told["asleep_seconds"])) == (HOURS, HOURS)
        daemon.set_clock(-HOURS, slept=HOURS)
        assert round(daemon.wait_jump(3)["seconds"]) == -3 * HOURS
        job = daemon.job("scan.jpg")
        assert job.state is State.PROCESSING
        assert daemon.call(job.job_id, {"status": "success"}, TOKEN).status_code == 200
        daemon.wait_quiet(1)
        assert daemon.count("job.resent") == 0
    assert len(n8n.deliveries) == 1


@pytest.mark.parametrize("jump", [-HOURS, HOURS])
def test_no_deadline_is_forgotten(jump: float, tmp_path: Path, n8n: StandIn) -> None:
    """The clock is set while a callback is awaited: the deadline comes all the same."""
    silent(n8n)
    with Stepped(tmp_path, n8n, callback={"deadline_seconds": 3, "max_resends": 1}) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: daemon.count("job.accepted"), "it is accepted")
        daemon.set_clock(jump)
        daemon.wait_jump(1)
        wait_until(lambda: daemon.count("job.resent"), "the deadline comes")


@pytest.mark.parametrize("jump", [-HOURS, HOURS])
def test_a_clock_that_was_set_over_a_restart(jump: float, tmp_path: Path, n8n: StandIn) -> None:
    """A deadline is as far away after the restart as before, whichever way the clock was set meanwhile."""
    silent(n8n)
    daemon = Stepped(tmp_path, n8n, callback={"deadline_seconds": 600})
    with daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: daemon.count("job.accepted"), "it is accepted")
        assert daemon.terminate() == 0
        daemon.set_clock(jump)
        before = daemon.job("scan.jpg").deadline_at
        daemon.start()
        after = daemon.job("scan.jpg").deadline_at
        assert before is not None
        assert after is not None
        assert after - before == pytest.approx(jump, abs=300)


def test_a_hold_is_not_forgotten(tmp_path: Path, n8n: StandIn) -> None:
    """N8N is down when the clock is set back by hours: once it answers, the receipt goes out."""
    n8n.behave = lambda _: UNAVAILABLE
    with Stepped(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: daemon.count("destination.held"), "it is held")
        daemon.set_clock(-HOURS)
        daemon.wait_jump(1)
        n8n.behave = None
        daemon.wait_quiet(1)
        assert daemon.job("scan.jpg").state is State.SUCCESS
