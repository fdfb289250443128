"""Delivery: real job log, holds and files; a destination that answers as told; time that is moved by hand."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.config.schedule import Window
from receipt_watcher.delivery.destinations import Accepted, Concluded, Deferred, Lost, Outcome, Refused, Unreadable
from receipt_watcher.delivery.outcomes import Outcomes
from receipt_watcher.delivery.pauses import DeliverySettings
from receipt_watcher.delivery.worker import Deliveries
from receipt_watcher.errors import ChangedOnDiskError, JobLogError
from receipt_watcher.examine.judge import FileLimits
from receipt_watcher.jobs.job import Job, new_job_id, unknown_outcome
from receipt_watcher.jobs.log.holds import DestinationState, HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.spool.folders import Spool, SpoolFolders
from receipt_watcher.spool.route import Branch, InboxRoute
from receipt_watcher.system.wakeup import Bell
from tests.conftest import INSTALLATION, FakeClock, make_job, refusing_commits
from tests.fakes.daemons.process import wait_until

URL = "http://n8n.example.com/webhook/receipts"
SETTINGS = DeliverySettings(
    max_attempts=3,
    backoff_initial_seconds=5,
    backoff_max_seconds=900,
    callback_deadline_seconds=600,
    workers=4,
    hold_after=1,
    probe_max_seconds=900,
    drain_per_minute=0,
)
BOOKED = Concluded(Verdict(success=True, message="booked"), "200 booked", 200)
ACCEPTED = Accepted("200 Workflow was started", 200)
DOWN = Deferred("no connection: refused")
BROKEN = Deferred("N8N answered 500", 500, is_ambiguous=True)
TOO_LARGE = Refused(Reason.REFUSED_TOO_LARGE, "N8N answered 413", 413)
LOST = Lost("no answer in time")

Script = Callable[[Job], Outcome]


@dataclass
class FakeDestination:
    """Reads the file, as a destination does, then does what `script` says."""

    url: str = URL
    sends_once: bool = False
    script: Script = lambda _: ACCEPTED
    calls: list[tuple[str, int, str, float]] = field(default_factory=list)

    def deliver(self, job: Job, file: Path, attempt: int, callback_url: str, now: float) -> Outcome:
        """Note the call, and return the outcome."""
        self.calls.append((job.job_id, attempt, callback_url, now))
        assert file.read_bytes() == b"abc"
        return self.script(job)

    @property
    def delivered(self) -> list[str]:
        """The ids of the jobs in the order in which they were delivered."""
        return [job_id for job_id, *_ in self.calls]


@dataclass(slots=True)
class RouteToFake(InboxRoute):
    """The route of an inbox, and where its receipts go."""

    destination: FakeDestination = field(default_factory=lambda: FakeDestination())  # noqa: PLW0108 - it comes below


class World:
    """A delivery with all that it needs."""

    def __init__(
        self, log: JobLog, clock: FakeClock, *routes: RouteToFake, settings: DeliverySettings = SETTINGS
    ) -> None:
        self.log = log
        self.settings = settings
        self.clock = clock
        self.routes = routes
        self.holds = log.holds
        self.stopping = threading.Event()
        self.deliveries, self.filings = Bell(), Bell()
        self.delivery = self.another_delivery()
        self._recorded = 0

    def another_delivery(self) -> Deliveries:
        """Return a delivery on the same log, as after a restart."""
        outcomes = Outcomes(
            self.log,
            self.holds,
            self.routes,
            self.settings,
            deliveries=self.deliveries,
            filings=self.filings,
            clock=self.clock,
            jitter=random.Random(0),
        )
        return Deliveries(
            self.log,
            self.holds,
            self.routes,
            {branch.key: route.destination for route in self.routes for branch in route.branches},
            outcomes=outcomes,
            settings=self.settings,
            callback_url_of=lambda job_id: f"http://receipts.lan/{job_id}",
            stopping=self.stopping,
            clock=self.clock,
        )

    @property
    def destination(self) -> FakeDestination:
        """Return the destination of the first inbox."""
        return self.routes[0].destination

    def send_once(self, *, is_so: bool = True) -> None:
        """Let each destination be one that may have booked what its answer was lost for, or none."""
        for route in self.routes:
            route.branches = tuple(replace(branch, sends_once=is_so) for branch in route.branches)

    @property
    def standing(self) -> DestinationState:
        """Return the state of that destination."""
        return self.holds.of(URL)

    def record(self, count: int = 1, inbox: str = "office", **changes: object) -> list[Job]:
        """Record receipts that are due, with their files."""
        route = next(route for route in self.routes if route.name == inbox)
        jobs = []
        for _ in range(count):
            self._recorded += 1
            job_id = new_job_id(1_600_000_000 + self._recorded)  # ids sort by their time
            job = make_job(self.clock.now, job_id=job_id, inbox=inbox, **changes)
            path = route.path_of(job)
            path.parent.mkdir()
            path.write_bytes(b"abc")
            jobs.append(self.log.jobs.insert(job))
        return jobs

    def heard(self) -> None:
        """Let the destinations have called back before, so that several receipts may be out at a time."""
        for route in self.routes:
            self.holds.called_back(route.branches[-1].url, self.clock.now)

    def job(self, job: Job) -> Job:
        """Return a job as it is now."""
        found = self.log.lookups.get(job.job_id)
        assert found is not None
        return found

    def deliver_all(self) -> int:
        """Do rounds until nothing may go out now; return how many there were."""
        rounds = 0
        while self.delivery.deliver_due():
            rounds += 1
        return rounds

    def events(self, job: Job) -> list[str]:
        """Return a job's history as words."""
        return [line["event"] for line in self.log.histories.lines(job.job_id)]


def route_to(
    destination: FakeDestination, spool: Spool, name: str = "office", window: Window | None = None
) -> RouteToFake:
    """Return a route that is open."""
    branch = Branch(
        inbox=name,
        url=destination.url,
        notion_database_id="",
        duplicates="skip",
        done_subfolder="",
        window=window,
    )
    return RouteToFake(name, spool, (branch,), FileLimits(10**9, 10**9), is_ready=True, destination=destination)


@pytest.fixture
def world(log: JobLog, spool: Spool, clock: FakeClock) -> World:
    """One inbox and its destination, which never called back yet."""
    return World(log, clock, route_to(FakeDestination(), spool))


@pytest.fixture
def known(world: World) -> World:
    """The same, with a destination that has called back before."""
    world.heard()
    return world


@pytest.fixture
def other_spool(tmp_path: Path) -> Iterator[Spool]:
    """The spool of a second inbox."""
    root = tmp_path / "other"
    (root / "inbox").mkdir(parents=True)
    spool = Spool("other", SpoolFolders(root / "inbox", root / "processing", root / "done", root / "failed"))
    spool.open(INSTALLATION)
    yield spool
    spool.close()


@contextlib.contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[None]:
    """Do work beside the test."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


# --- what follows from each outcome --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """The effect of an outcome on a receipt and on its destination."""

    outcome: Outcome
    state: State
    event: Event
    counted: bool = True
    is_held: bool = False
    is_awaited: bool = False
    is_filed: bool = False
    reason: Reason | None = None


EFFECTS = {
    "accepted": Effect(ACCEPTED, State.PROCESSING, Event.ACCEPT, is_awaited=True),
    "concluded": Effect(BOOKED, State.SUCCESS, Event.SUCCEED, is_filed=True),
    "concluded-badly": Effect(
        Concluded(Verdict(success=False, message="no total"), "200 no total", 200),
        State.FAILURE,
        Event.FAIL,
        is_filed=True,
        reason=Reason.N8N_FAILURE,
    ),
    "deferred": Effect(DOWN, State.QUEUED, Event.DEFER, counted=False, is_held=True),
    "ambiguous": Effect(BROKEN, State.QUEUED, Event.DEFER, counted=False, is_held=True),
    "refused": Effect(
        Refused(Reason.REFUSED, "422", 422), State.FAILURE, Event.FAIL, is_filed=True, reason=Reason.REFUSED
    ),
    "too-large": Effect(TOO_LARGE, State.FAILURE, Event.FAIL, is_filed=True, reason=Reason.REFUSED_TOO_LARGE),
    "lost": Effect(LOST, State.PROCESSING, Event.LOSE, is_held=True, is_awaited=True),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_effect_of_an_outcome(world: World, name: str) -> None:
    """Each outcome has its state, its count, its deadline, its line of history, and holds the destination or not."""
    effect = EFFECTS[name]
    world.destination.script = lambda _: effect.outcome
    (job,) = world.record()
    assert world.delivery.deliver_due() is True
    after = world.job(job)
    assert (after.state, after.reason) == (effect.state, effect.reason)
    assert after.attempts == int(effect.counted)
    assert after.failures == 0
    assert after.deadline_at == (world.clock.now + 600 if effect.is_awaited else None)
    assert after.move_due is effect.is_filed
    assert (world.filings.count > 0) is effect.is_filed
    assert world.events(job) == ["record", "claim", effect.event]
    assert world.standing.is_held is effect.is_held
    (attempt,) = world.log.histories.attempts(job.job_id)
    assert attempt["outcome"] == type(effect.outcome).__name__.lower()
    assert attempt["counted"] is effect.counted
    assert attempt["message"] == effect.outcome.message
    assert attempt["status_code"] == getattr(effect.outcome, "status_code", None)
    assert world.destination.calls == [(job.job_id, 1, f"http://receipts.lan/{job.job_id}", world.clock.now)]


@pytest.mark.parametrize("name", EFFECTS)
def test_callback_may_overtake_the_answer(world: World, name: str) -> None:
    """A success that is heard while the receipt is still being sent stays, whatever the answer then is."""

    def overtaken(job: Job) -> Outcome:
        assert world.log.jobs.advance(job.job_id, Event.SUCCEED, world.clock.now, message="booked")
        return EFFECTS[name].outcome

    world.destination.script = overtaken
    (job,) = world.record()
    world.delivery.deliver_due()
    after = world.job(job)
    assert (after.state, after.message, after.attempts) == (State.SUCCESS, "booked", 1)
    assert world.events(job) == ["record", "claim", "succeed"]
    assert len(world.log.histories.attempts(job.job_id)) == 1


def retried_meanwhile(world: World, outcome: Outcome, claims: list[Job | None]) -> Script:
    """Return what lets a receipt fail, be retried and be claimed anew while it is being sent."""

    def overtaken(job: Job) -> Outcome:
        now = world.clock.advance(1)
        assert world.log.jobs.advance(job.job_id, Event.FAIL, now, reason=Reason.N8N_FAILURE)
        assert world.log.jobs.advance(job.job_id, Event.RETRY, now, next_attempt_at=now)
        claims.append(world.log.jobs.claim(["office"], now))
        return outcome

    return overtaken


def test_success_of_an_older_claim_is_the_receipts(known: World) -> None:
    """A success that comes as the answer counts like a callback's, whichever claim it belongs to: it was booked."""
    known.destination.script = retried_meanwhile(known, BOOKED, [])
    (job,) = known.record()
    known.delivery.deliver_due()
    assert (known.job(job).state, known.job(job).message) == (State.SUCCESS, "booked")
    assert known.events(job)[-2:] == ["claim", "succeed"]


@pytest.mark.parametrize("name", sorted(EFFECTS.keys() - {"concluded"}))
def test_outcome_of_an_older_claim_changes_nothing(known: World, name: str) -> None:
    """An answer that comes after a failure, a retry and a new claim is not that claim's: only the attempt is kept."""
    claims: list[Job | None] = []
    known.destination.script = retried_meanwhile(known, EFFECTS[name].outcome, claims)
    (job,) = known.record()
    standing = known.standing
    known.delivery.deliver_due()
    assert [known.job(job)] == claims
    assert (known.job(job).state, known.job(job).attempts) == (State.DELIVERING, 2)
    assert known.events(job) == ["record", "claim", "fail", "retry", "claim"]
    assert known.standing == standing
    (attempt,) = known.log.histories.attempts(job.job_id)
    assert (attempt["outcome"], attempt["counted"]) == (type(EFFECTS[name].outcome).__name__.lower(), True)


def test_claim_is_durable_before_anything_is_sent(world: World) -> None:
    """While the receipt is on the wire, another process already reads in the log that it is."""
    seen: list[tuple[str, int]] = []

    def look(job: Job) -> Outcome:
        with contextlib.closing(sqlite3.connect(world.log.database.path)) as other:
            seen.extend(other.execute("SELECT state, attempts FROM job WHERE job_id = ?", [job.job_id]))
        return ACCEPTED

    world.destination.script = look
    world.record()
    world.delivery.deliver_due()
    assert seen == [("delivering", 1)]


def test_outcome_and_attempt_are_one_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the attempt cannot be written, the outcome is not either: no half of it is ever seen."""
    (job,) = world.record()

    def full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as context:
        context.setattr(world.log.jobs, "add_attempt", full)
        with pytest.raises(OSError, match="disk full"):
            world.delivery.deliver_due()
    assert world.job(job).state is State.DELIVERING
    assert world.log.histories.attempts(job.job_id) == []


def test_nothing_is_due(world: World) -> None:
    """A round without a due receipt delivers nothing and says so."""
    assert world.delivery.deliver_due() is False
    world.record(next_attempt_at=world.clock.now + 1)
    assert world.delivery.deliver_due() is False
    world.clock.advance(1)
    assert world.delivery.deliver_due() is True
    assert world.delivery.deliver_due() is False


def test_inbox_that_is_not_ready_waits(known: World) -> None:
    """Nothing goes out of a spool that is not open."""
    known.record()
    known.routes[0].is_ready = False
    assert known.deliver_all() == 0
    assert known.delivery.wait_seconds(5) == 5
    known.routes[0].is_ready = True
    assert known.deliver_all() == 1


def test_many_workers_deliver_each_receipt_once(known: World) -> None:
    """However many workers there are, each receipt goes out once."""
    jobs = known.record(60)
    threads = [threading.Thread(target=known.deliver_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(known.destination.delivered) == [job.job_id for job in jobs]
    assert {known.job(job).state for job in jobs} == {State.PROCESSING}


# --- a hold --------------------------------------------------------------------------------------------------------


def test_held_destination_is_probed_with_one_receipt_at_a_time(known: World) -> None:
    """While a destination is held, one receipt goes out at its time, and none beside it."""
    known.record(5)
    known.destination.script = lambda _: DOWN
    assert known.deliver_all() == 1
    known.clock.now = known.standing.probe_at or 0.0
    is_out, answer = threading.Event(), threading.Event()

    def slow(_: Job) -> Outcome:
        is_out.set()
        assert answer.wait(10)
        return DOWN

    known.destination.script = slow
    with in_thread(known.delivery.deliver_due):
        assert is_out.wait(10)
        assert known.delivery.deliver_due() is False
        assert known.delivery.wait_seconds(5) == 5
        answer.set()
    assert len(known.destination.calls) == 2


def test_each_probe_is_another_receipt(known: World) -> None:
    """One receipt that cannot pass does not stand in the way of all others: probes take turns."""
    jobs = known.record(3)
    known.destination.script = lambda _: DOWN
    for _ in range(7):
        assert known.deliver_all() == 1
        known.clock.now = known.standing.probe_at or 0.0
    ids = [job.job_id for job in jobs]
    assert known.destination.delivered == [*ids, *ids, ids[0]]


def test_probes_become_rarer_up_to_the_cap(known: World) -> None:
    """The pauses between probes double, with a random half, up to backoff_max_seconds."""
    known.record(2)
    known.destination.script = lambda _: DOWN
    pauses = []
    for _ in range(14):
        assert known.deliver_all() == 1
        pauses.append((known.standing.probe_at or 0.0) - known.clock.now)
        assert known.delivery.wait_seconds(10**6) == pytest.approx(pauses[-1])
        known.clock.now = (known.standing.probe_at or 0.0) - 0.001
        assert known.deliver_all() == 0
        known.clock.advance(0.002)
    ceilings = [min(900.0, 5 * 2.0**number) for number in range(14)]
    assert all(ceiling / 2 <= pause <= ceiling for pause, ceiling in zip(pauses, ceilings, strict=True))
    assert len(set(pauses[-4:])) == 4


@pytest.mark.parametrize(("asked", "least", "most"), [(60.0, 60, 60), (0.0, 2.5, 5), (1e12, 900, 900), (None, 2.5, 5)])
def test_retry_after_is_obeyed_in_bounds(known: World, asked: float | None, least: float, most: float) -> None:
    """A destination that asks for more patience gets it, up to backoff_max_seconds; never less than ours."""
    known.record()
    known.destination.script = lambda _: Deferred("busy", 503, asked)
    known.delivery.deliver_due()
    assert least <= (known.standing.probe_at or 0.0) - known.clock.now <= most


def test_acceptance_ends_the_hold(known: World) -> None:
    """The first probe that is accepted ends the hold, and all that waits goes out at once."""
    jobs = known.record(5)
    known.destination.script = lambda _: DOWN
    with capture_logs() as lines:
        known.deliver_all()
        known.clock.now = known.standing.probe_at or 0.0
        known.deliver_all()
        known.clock.now = known.standing.probe_at or 0.0
        known.destination.script = lambda _: ACCEPTED
        rung = known.deliveries.count
        assert known.deliver_all() == 5
    assert not known.standing.is_held
    assert known.deliveries.count > rung
    assert {known.job(job).attempts for job in jobs} == {1}
    events = [line["event"] for line in lines]
    assert (events.count("destination.held"), events.count("destination.resumed")) == (1, 1)
    told = {(line["event"], line["log_level"]) for line in lines}
    assert told == {
        ("destination.held", "warning"),
        ("destination.resumed", "info"),
        ("job.deferred", "debug"),  # the hold says it
        ("job.accepted", "debug"),
    }


def test_trouble_with_one_receipt_is_told(known: World) -> None:
    """What held N8N is told by the hold; what is the receipt's own is a warning, and so is said when it passes."""
    (poison,) = known.record()
    pass_all_but(known, poison, BROKEN)
    with capture_logs() as lines:
        known.deliver_all()
        known.clock.now = (known.standing.probe_at or 0.0) + 1
        known.record(3)
        known.deliver_all()
        known.destination.script = lambda _: ACCEPTED
        known.clock.now = known.job(poison).next_attempt_at or 0.0
        known.deliver_all()
    told = [(line["event"], line["log_level"]) for line in lines if line.get("job_id") == poison.job_id]
    assert told == [("job.deferred", "debug"), ("job.deferred", "warning"), ("job.accepted", "info")]


def test_hold_outlives_a_restart(known: World) -> None:
    """A hold is in the log: a restart neither forgets it nor sends earlier."""
    known.record(3)
    known.destination.script = lambda _: DOWN
    known.deliver_all()
    known.delivery = known.another_delivery()
    assert known.deliver_all() == 0
    known.clock.now = known.standing.probe_at or 0.0
    assert known.deliver_all() == 1


def test_silent_destination_is_probed_as_rarely(known: World) -> None:
    """A destination that accepts but never calls back stays held however often it accepts, and probes grow rarer."""
    known.record(4)
    known.holds.hold(URL, HoldKind.SILENCE, "no callback arrives", known.clock.now, known.clock.now + 5)
    pauses = []
    for _ in range(4):
        assert known.deliver_all() == 0
        known.clock.now = known.standing.probe_at or 0.0
        assert known.deliver_all() == 1
        pauses.append((known.standing.probe_at or 0.0) - known.clock.now)
    assert known.standing.hold_kind is HoldKind.SILENCE
    assert pauses == sorted(pauses)


def test_weekend_without_n8n_costs_nothing(known: World) -> None:
    """An outage of 60 hours costs no receipt an attempt, fails none, and afterwards all go out, each once, in turn."""
    jobs = known.record(50)
    monday = known.clock.now + 60 * 3600
    known.destination.script = lambda _: BROKEN
    while known.clock.now < monday:
        if not known.delivery.deliver_due():
            known.clock.advance(max(0.001, known.delivery.wait_seconds(900)))
    probes = len(known.destination.calls)
    assert 60 * 3600 / 900 < probes < 600
    assert {attempt for _, attempt, _, _ in known.destination.calls} == {1}
    for job in jobs:
        after = known.job(job)
        assert (after.state, after.attempts, after.failures) == (State.QUEUED, 0, 0)
        assert not after.move_due
    known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0)
    known.destination.script = lambda _: ACCEPTED
    assert known.deliver_all() == 50
    ids = [job.job_id for job in jobs]
    probe, *drained = known.destination.delivered[probes:]
    assert drained == [job_id for job_id in ids if job_id != probe]  # in order of arrival, whatever the probes were
    assert {known.job(job).attempts for job in jobs} == {1}


def test_second_outage_costs_nothing_either(known: World) -> None:
    """A destination that comes and goes costs a receipt an attempt at most where others pass, never in an outage."""
    jobs = known.record(20)
    for _ in range(10):
        known.destination.script = lambda _: DOWN
        for _ in range(30):
            known.deliver_all()
            known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0)
        known.destination.script = lambda _: ACCEPTED
        assert known.delivery.deliver_due()
    states = [known.job(job).state for job in jobs]
    assert states.count(State.FAILURE) == 0
    assert states.count(State.PROCESSING) == 10
    assert {known.job(job).attempts for job in jobs if known.job(job).state is State.QUEUED} == {0}


# --- resends -------------------------------------------------------------------------------------------------------


def resend(world: World, job: Job) -> None:
    """Send a job again for which no callback came, once its destination may be asked."""
    world.clock.now = max(world.clock.now, world.standing.probe_at or 0.0)
    now = world.clock.now
    assert world.log.jobs.advance(job.job_id, Event.RESEND, now, next_attempt_at=now)
    assert world.delivery.deliver_due()


@pytest.mark.parametrize(("outcome", "counted"), [(LOST, 1), (ACCEPTED, 1), (DOWN, 0), (BROKEN, 0)])
def test_resend_counts_when_it_went_out_whole(known: World, outcome: Outcome, counted: int) -> None:
    """A receipt that N8N may have booked once more has used up a resend, accepted or not; one that waits has not."""
    known.destination.script = lambda _: LOST
    (job,) = known.record()
    known.deliver_all()
    assert known.job(job).resends == 0
    known.destination.script = lambda _: outcome
    resend(known, job)
    assert known.job(job).resends == counted


def test_acceptance_that_ends_a_hold_gives_resends_back(known: World) -> None:
    """After an outage every open receipt has its resends again; an acceptance with no outage before gives none."""
    known.destination.script = lambda _: LOST
    (awaited,) = known.record()
    known.deliver_all()
    resend(known, awaited)
    (queued,) = known.record(resends=1, next_attempt_at=known.clock.now + 10**6)
    known.destination.script = lambda _: ACCEPTED
    known.record()
    known.clock.now = known.standing.probe_at or 0.0
    assert known.job(awaited).resends == 1
    assert known.deliver_all() == 1
    assert not known.standing.is_held
    assert (known.job(awaited).resends, known.job(queued).resends) == (0, 0)
    resend(known, awaited)
    known.record()
    assert known.deliver_all() == 1
    assert known.job(awaited).resends == 1


# --- whose fault it is ---------------------------------------------------------------------------------------------


def pass_all_but(world: World, poison: Job, outcome: Outcome) -> None:
    """Let the destination take everything but one receipt."""
    world.destination.script = lambda job: outcome if job.job_id == poison.job_id else ACCEPTED


def test_receipt_that_fails_while_others_pass_is_given_up(known: World) -> None:
    """Failing again after another receipt has passed counts; after max_attempts of that the receipt has failed."""
    (poison,) = known.record()
    pass_all_but(known, poison, BROKEN)
    seen = []
    for _ in range(40):
        known.record()
        known.deliver_all()
        after = known.job(poison)
        seen.append(after.failures)
        if after.state is State.FAILURE:
            break
        known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0, after.next_attempt_at or 0.0) + 1
    assert known.job(poison).reason is Reason.ATTEMPTS_EXHAUSTED
    assert known.job(poison).message == BROKEN.message
    assert known.job(poison).failures == SETTINGS.max_attempts == known.job(poison).attempts
    assert sorted(set(seen)) == [0, 1, 2, 3]
    assert known.log.statistics.counts()[State.FAILURE] == 1
    counted = [row["counted"] for row in known.log.histories.attempts(poison.job_id)]
    assert counted.count(True) == SETTINGS.max_attempts


def test_own_failure_waits_and_holds_nobody(known: World) -> None:
    """A failure that is the receipt's own lets it wait by itself: others go out at once."""
    (poison,) = known.record()
    pass_all_but(known, poison, BROKEN)
    known.deliver_all()
    known.clock.now = (known.standing.probe_at or 0.0) + 1
    others = known.record(3)
    assert known.delivery.deliver_due()  # the probe passes
    known.clock.advance(1)
    known.deliver_all()
    assert (known.job(poison).failures, known.standing.is_held) == (1, False)
    assert 2.5 <= (known.job(poison).next_attempt_at or 0.0) - known.clock.now <= 5
    assert {known.job(job).state for job in others} == {State.PROCESSING}


def test_clear_word_of_the_destination_is_never_the_receipts_own(known: World) -> None:
    """A refused connection or a 404 says nothing of the receipt, however often others pass in between."""
    (poison,) = known.record()
    pass_all_but(known, poison, DOWN)
    for _ in range(20):
        known.record()
        known.deliver_all()
        known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0) + 1
    after = known.job(poison)
    assert (after.state, after.attempts, after.failures) == (State.QUEUED, 0, 0)


def test_receipt_alone_is_never_given_up(known: World) -> None:
    """With nobody else to compare it with, a receipt is tried for ever."""
    (job,) = known.record()
    known.destination.script = lambda _: BROKEN
    for _ in range(50):
        known.deliver_all()
        known.clock.now = max(known.clock.now, known.standing.probe_at or 0.0)
    assert (known.job(job).state, known.job(job).attempts) == (State.QUEUED, 0)


def test_same_refusal_of_two_receipts_is_the_destinations(known: World) -> None:
    """The first 413 fails its receipt; another receipt's 413 means a limit there, and holds instead of failing."""
    first, second, third = known.record(3)
    known.destination.script = lambda _: TOO_LARGE
    assert known.deliver_all() == 2
    assert known.job(first).reason is Reason.REFUSED_TOO_LARGE
    after = known.job(second)
    assert (after.state, after.attempts) == (State.QUEUED, 0)
    assert known.standing.is_held
    assert known.job(third).state is State.QUEUED


def test_large_receipt_among_small_ones_is_its_own_fault(known: World) -> None:
    """Once a smaller receipt has passed after two 413s, the larger one's next 413 is its own."""
    _, second, small = known.record(3)
    known.destination.script = lambda job: ACCEPTED if job.job_id == small.job_id else TOO_LARGE
    known.deliver_all()
    known.clock.now = known.standing.probe_at or 0.0
    known.deliver_all()
    assert known.job(small).state is State.PROCESSING
    assert known.job(second).reason is Reason.REFUSED_TOO_LARGE
    assert not known.standing.is_held


def test_same_receipt_twice_is_no_evidence(known: World) -> None:
    """A receipt that is retried and gets its 413 again fails again: it is no second one."""
    (job,) = known.record()
    known.destination.script = lambda _: TOO_LARGE
    for _ in range(2):
        known.deliver_all()
        assert known.job(job).state is State.FAILURE
        assert not known.standing.is_held
        known.log.jobs.advance(job.job_id, Event.RETRY, known.clock.now, next_attempt_at=known.clock.now)


# --- who may go ----------------------------------------------------------------------------------------------------


def test_one_receipt_is_out_until_the_first_callback_ever(world: World) -> None:
    """A destination that has never called back gets one receipt; all others follow its first callback."""
    world.record(4)
    assert world.deliver_all() == 1
    assert world.delivery.wait_seconds(5) == 5
    world.clock.advance(3600)
    assert world.deliver_all() == 0
    world.heard()
    assert world.deliver_all() == 3


def test_one_receipt_is_out_while_the_first_is_being_sent(world: World) -> None:
    """That holds while the first one is still on the wire, too."""
    world.record(2)
    is_out, answer = threading.Event(), threading.Event()

    def slow(_: Job) -> Outcome:
        is_out.set()
        assert answer.wait(10)
        return ACCEPTED

    world.destination.script = slow
    with in_thread(world.delivery.deliver_due):
        assert is_out.wait(10)
        assert world.delivery.deliver_due() is False
        answer.set()


def test_failed_first_receipt_lets_the_next_go(world: World) -> None:
    """A first receipt that is refused is not waited for."""
    first, second = world.record(2)
    world.destination.script = lambda job: TOO_LARGE if job.job_id == first.job_id else ACCEPTED
    assert world.deliver_all() == 2
    assert world.job(second).state is State.PROCESSING


def test_destinations_take_turns(log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock) -> None:
    """A thousand receipts for one destination do not let those for another wait."""
    office, other = FakeDestination(), FakeDestination("http://other.example.com/")
    world = World(log, clock, route_to(office, spool), route_to(other, other_spool, "other"))
    world.heard()
    world.record(10)
    world.record(3, "other")
    for _ in range(6):
        assert world.delivery.deliver_due()
    assert (len(office.calls), len(other.calls)) == (3, 3)


def test_inboxes_of_one_destination_take_turns(log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock) -> None:
    """An inbox with a backlog delays the few receipts of another by one each; within each, the oldest goes first."""
    shared = FakeDestination()
    world = World(log, clock, route_to(shared, spool), route_to(shared, other_spool, "other"))
    world.heard()
    many, few = world.record(8), world.record(3, "other")
    assert world.deliver_all() == 11
    ids = [job.job_id for pair in zip(many, few, strict=False) for job in pair] + [job.job_id for job in many[3:]]
    assert shared.delivered == ids


def test_an_inbox_that_is_away_misses_its_turns_only(
    log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock
) -> None:
    """While one inbox is shut the other goes on; afterwards they take turns again."""
    shared = FakeDestination()
    world = World(log, clock, route_to(shared, spool), route_to(shared, other_spool, "other"))
    world.heard()
    many, few = world.record(5), world.record(2, "other")
    world.delivery.deliver_due()
    world.delivery.deliver_due()
    world.routes[1].is_ready = False
    world.delivery.deliver_due()
    world.routes[1].is_ready = True
    assert world.deliver_all() == 4
    ids = [job.job_id for job in (many[0], few[0], many[1], few[1], *many[2:])]
    assert shared.delivered == ids


def test_held_destination_stops_no_other(log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock) -> None:
    """While one destination is held, the other's receipts go out."""
    office, other = FakeDestination(script=lambda _: DOWN), FakeDestination("http://other.example.com/")
    world = World(log, clock, route_to(office, spool), route_to(other, other_spool, "other"))
    world.heard()
    world.record(5)
    world.record(5, "other")
    assert world.deliver_all() == 6
    assert (len(office.calls), len(other.calls)) == (1, 5)


def test_inboxes_of_one_destination_are_held_together(
    log: JobLog, spool: Spool, other_spool: Spool, clock: FakeClock
) -> None:
    """Two inboxes with the same webhook share its hold: an outage is probed once, not once for each."""
    shared = FakeDestination(script=lambda _: DOWN)
    world = World(log, clock, route_to(shared, spool), route_to(shared, other_spool, "other"))
    world.heard()
    world.record(2)
    world.record(2, "other")
    assert world.deliver_all() == 1
    assert world.delivery.wait_seconds(100) <= 5


@pytest.mark.parametrize(("due_in", "wait"), [(None, 60.0), (7.0, 7.0), (100.0, 60.0)])
def test_wait_ends_when_something_is_due(known: World, due_in: float | None, wait: float) -> None:
    """A worker waits until the next receipt is due, and no longer than it is told."""
    if due_in is not None:
        known.record(next_attempt_at=known.clock.now + due_in)
    assert known.delivery.wait_seconds(60) == wait


# --- the file ------------------------------------------------------------------------------------------------------


def test_changed_file_fails_its_receipt(known: World) -> None:
    """A file that is no longer the recorded one fails its receipt with that reason, and holds nobody."""

    def changed(_: Job) -> Outcome:
        raise ChangedOnDiskError("scan.jpg is not what was recorded")

    known.destination.script = changed
    (job,) = known.record()
    known.deliver_all()
    assert (known.job(job).state, known.job(job).reason) == (State.FAILURE, Reason.CHANGED)
    assert not known.standing.is_held


def test_missing_file_fails_its_receipt(known: World, spool: Spool) -> None:
    """A file that somebody removed from processing/ fails its receipt, and the text names it."""
    (job,) = known.record()
    path = spool.folders.processing / job.stored_path
    path.unlink()
    known.deliver_all()
    assert known.job(job).reason is Reason.FILE_MISSING
    assert str(path) in (known.job(job).message or "")


def test_absent_spool_fails_nothing(known: World, spool: Spool, tmp_path: Path) -> None:
    """Where the whole folder is away, as after an unmount, receipts wait and lose nothing."""
    jobs = known.record(2)
    spool.folders.processing.rename(tmp_path / "away")
    assert known.deliver_all() == 2
    for job in jobs:
        after = known.job(job)
        assert (after.state, after.attempts, after.next_attempt_at) == (State.QUEUED, 0, known.clock.now + 5)
    assert not known.standing.is_held
    (tmp_path / "away").rename(spool.folders.processing)
    known.clock.advance(5)
    assert known.deliver_all() == 2
    assert {known.job(job).state for job in jobs} == {State.PROCESSING}


def test_unreadable_file_is_put_off(known: World) -> None:
    """A file that cannot be read now is tried again later: no attempt, no hold, and others pass."""
    (bad,) = known.record()

    def unreadable(job: Job) -> Outcome:
        if job.job_id == bad.job_id:
            raise PermissionError(13, "Permission denied", "scan.jpg")
        return ACCEPTED

    known.destination.script = unreadable
    (good,) = known.record()
    assert known.deliver_all() == 2
    after = known.job(bad)
    assert (after.state, after.attempts, after.next_attempt_at) == (State.QUEUED, 0, known.clock.now + 5)
    assert known.events(bad) == ["record", "claim", "release"]
    assert not known.standing.is_held
    assert known.job(good).state is State.PROCESSING


# --- stop, defects, recovery ---------------------------------------------------------------------------------------


def test_stopping_gives_the_claim_back(known: World) -> None:
    """A worker that has claimed a receipt when the daemon stops sends nothing and gives it back, uncounted."""
    (job,) = known.record()
    known.stopping.set()
    known.delivery.deliver_due()
    after = known.job(job)
    assert (after.state, after.attempts, after.next_attempt_at) == (State.QUEUED, 0, known.clock.now)
    assert known.events(job) == ["record", "claim", "release"]
    assert known.destination.calls == []


@pytest.mark.parametrize(("outcome", "is_given_back"), [(DOWN, True), (BROKEN, False), (ACCEPTED, False)])
def test_stopping_amid_the_tries_gives_the_claim_back(known: World, outcome: Outcome, is_given_back: bool) -> None:
    """What was not sent when the daemon stopped says nothing of N8N: no attempt, no hold. An answer counts as ever."""

    def stop(_: Job) -> Outcome:
        known.stopping.set()
        return outcome

    known.destination.script = stop
    (job,) = known.record()
    known.delivery.deliver_due()
    assert (known.events(job)[-1] == "release") is is_given_back
    assert len(known.log.histories.attempts(job.job_id)) == int(not is_given_back)
    if is_given_back:
        after = known.job(job)
        assert (after.state, after.attempts, after.next_attempt_at) == (State.QUEUED, 0, known.clock.now)
        assert not known.standing.is_held


@pytest.mark.parametrize("defect", [RuntimeError("a defect"), KeyboardInterrupt()])
def test_defect_leaves_no_claim(known: World, defect: BaseException) -> None:
    """After an unexpected error nobody knows whether it was sent: its callback is awaited, and the error is seen."""

    def broken(_: Job) -> Outcome:
        raise defect

    known.destination.script = broken
    (job,) = known.record()
    with pytest.raises(type(defect)):
        known.delivery.deliver_due()
    after = known.job(job)
    assert (after.state, after.attempts, after.deadline_at) == (State.PROCESSING, 1, known.clock.now + 600)
    (attempt,) = known.log.histories.attempts(job.job_id)
    assert attempt["outcome"] == "lost"


def test_claims_of_a_dead_process_are_awaited(known: World) -> None:
    """A claim that a crash left behind becomes an awaited callback: it may have been sent."""
    (job,) = known.record()
    known.log.jobs.claim(["office"], known.clock.now)
    assert [lost.job_id for lost in known.another_delivery().recover("stopped")] == [job.job_id]
    after = known.job(job)
    assert (after.state, after.attempts, after.deadline_at) == (State.PROCESSING, 1, known.clock.now + 600)
    assert known.events(job) == ["record", "claim", "lose"]
    assert known.another_delivery().recover("stopped") == []


def once(world: World) -> World:
    """Let the destination answer at once, call back never, and remember no job id."""
    world.send_once()
    return world


def test_a_lost_answer_without_a_callback_is_given_up(known: World) -> None:
    """Where no callback can come a receipt that may have been booked fails, and says so; it is not sent again."""
    once(known).destination.script = lambda _: LOST
    (job,) = known.record()
    known.delivery.deliver_due()
    after = known.job(job)
    assert (after.state, after.reason, after.deadline_at) == (State.FAILURE, Reason.OUTCOME_UNKNOWN, None)
    assert after.message == unknown_outcome(job, "No answer in time")
    assert known.events(job) == ["record", "claim", "give_up"]
    assert after.move_due
    assert known.filings.count
    assert known.standing.is_held
    known.clock.now += 10**6
    assert known.deliver_all() == 0


def test_what_was_certainly_not_sent_is_not_given_up(known: World) -> None:
    """A deferral stays one: nothing was booked, and the receipt goes out again."""
    outcomes: Iterator[Outcome] = iter([DOWN, BOOKED])
    once(known).destination.script = lambda _: next(outcomes)
    (job,) = known.record()
    known.deliver_all()
    known.clock.now = known.standing.probe_at or 0.0
    known.deliver_all()
    assert known.job(job).state is State.SUCCESS


def test_claims_of_a_dead_process_without_a_callback_are_given_up(known: World) -> None:
    """A crash while a receipt is claimed leaves it open whether it was booked."""
    (job,) = once(known).record()
    known.log.jobs.claim(["office"], known.clock.now)
    with capture_logs() as lines:
        assert [lost.job_id for lost in known.another_delivery().recover("stopped")] == [job.job_id]
    after = known.job(job)
    assert (after.state, after.reason) == (State.FAILURE, Reason.OUTCOME_UNKNOWN)
    assert [line["event"] for line in lines] == ["job.lost", "job.concluded"]
    assert known.another_delivery().recover("stopped") == []


def test_claims_of_before_the_mode_was_changed_are_given_up(known: World) -> None:
    """A claim is of the delivery as it was configured when it was made, also if callbacks can come since."""
    once(known).delivery.recover("start")
    (job,) = known.record()
    known.log.jobs.claim(["office"], known.clock.now)
    known.send_once(is_so=False)
    known.another_delivery().recover("stopped")
    assert known.job(job).reason is Reason.OUTCOME_UNKNOWN
    (next_job,) = known.record()
    known.log.jobs.claim(["office"], known.clock.now)
    known.another_delivery().recover("stopped")
    assert known.job(next_job).state is State.PROCESSING


def test_a_defect_of_ours_without_a_callback_gives_up(known: World) -> None:
    """Nobody knows after an error of our own whether it was sent."""
    (job,) = once(known).record()
    known.destination.script = lambda _: (_ for _ in ()).throw(RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        known.delivery.deliver_due()
    assert known.job(job).reason is Reason.OUTCOME_UNKNOWN


def test_an_unreadable_answer_is_kept_and_ends_the_receipt(known: World) -> None:
    """JSON without a verdict proves that the workflow ran: the receipt fails with it, and is not sent again."""
    known.destination.script = lambda _: Unreadable("N8N answered 200", '{"id": 7}', 200, "4711")
    (job,) = known.record()
    known.delivery.deliver_due()
    after = known.job(job)
    assert (after.state, after.reason, after.message) == (State.FAILURE, Reason.UNREADABLE_VERDICT, "N8N answered 200")
    assert after.execution_id == "4711"
    assert known.log.histories.lines(job.job_id)[-1]["detail"] == '{"id": 7}'
    assert not known.standing.is_held


def test_unreadable_answers_in_a_row_hold_the_destination(known: World) -> None:
    """A workflow that answers wrongly does not use up all receipts; a verdict that can be read ends the hold."""
    known.destination.script = lambda _: Unreadable("N8N answered 200", "7", 200)
    jobs = known.record(5)
    assert known.deliver_all() == 3
    assert known.standing.hold_kind is HoldKind.SILENCE
    known.destination.script = lambda _: BOOKED
    known.clock.now = known.standing.probe_at or 0.0
    assert known.deliver_all() == 2
    states = Counter(known.job(job).state for job in jobs)
    assert states == {State.FAILURE: 3, State.SUCCESS: 2}


def test_an_outcome_that_the_log_did_not_take_is_not_lost(known: World) -> None:
    """An answer is the only word on its receipt where no callback comes: it is kept until the log can be written."""
    (job,) = once(known).record()

    def answer(_: Job) -> Outcome:
        stack.enter_context(refusing_commits(known.log))
        return BOOKED

    known.destination.script = answer
    with contextlib.ExitStack() as stack, pytest.raises(JobLogError):
        known.delivery.deliver_due()
    assert known.job(job).state is State.DELIVERING
    known.clock.now += 60
    assert known.delivery.recover("its outcome could not be written down") == []
    assert known.job(job).state is State.SUCCESS
    assert known.delivery.recover("its outcome could not be written down") == []


def test_claim_in_flight_is_left_alone(known: World) -> None:
    """Recovery while running does not touch what a worker is sending."""
    known.destination.script = lambda _: LOST if known.delivery.recover("tick") else ACCEPTED
    (job,) = known.record()
    known.delivery.deliver_due()
    assert known.events(job) == ["record", "claim", "accept"]


def test_outcome_that_could_not_be_written_is_awaited(known: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the outcome could not be written, as on a full disk, the next recovery awaits the callback."""
    (job,) = known.record()
    with monkeypatch.context() as context:
        context.setattr(known.log.jobs, "add_attempt", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            known.delivery.deliver_due()
    assert [lost.job_id for lost in known.delivery.recover("could not be written")] == [job.job_id]
    assert known.job(job).state is State.PROCESSING
    assert known.destination.delivered == [job.job_id]


def test_claims_that_could_not_be_written_take_no_workers_place(known: World) -> None:
    """Where the commit of claims failed, as on a full disk, all go out once it does not; no worker counts as busy."""
    jobs = known.record(6)
    workers = [threading.Thread(target=_deliver_in_vain, args=(known,)) for _ in range(SETTINGS.workers)]
    with refusing_commits(known.log):
        with known.log.database._turns._lock:  # as somebody else who writes: all claims share one commit
            for worker in workers:
                worker.start()
            wait_until(
                lambda: len(known.log.database._turns._waiting) == len(workers), "all workers wait for their turn"
            )
        for worker in workers:
            worker.join()
    assert {known.job(job).state for job in jobs} == {State.QUEUED}
    known.clock.now += 1
    assert [known.delivery.deliver_due() for _ in jobs] == [True] * len(jobs)
    assert sorted(known.destination.delivered) == sorted(job.job_id for job in jobs)


def _deliver_in_vain(known: World) -> None:
    with pytest.raises(JobLogError):
        known.delivery.deliver_due()


def test_same_id_on_every_attempt(known: World) -> None:
    """A receipt goes out under one job id however often; the attempt's number counts only what counted."""
    (job,) = known.record()
    outcomes: Iterator[Outcome] = iter([DOWN, DOWN, LOST, ACCEPTED])
    known.destination.script = lambda _: next(outcomes)
    for _ in range(3):
        known.deliver_all()
        known.clock.now = (known.standing.probe_at or 0.0) + 1
    now = known.clock.now
    assert known.log.jobs.advance(job.job_id, Event.RESEND, now, next_attempt_at=now, resends=1)
    known.deliver_all()
    assert [(job_id, attempt) for job_id, attempt, *_ in known.destination.calls] == [
        (job.job_id, 1),
        (job.job_id, 1),
        (job.job_id, 1),
        (job.job_id, 2),
    ]


def test_conclusion_at_once_counts_as_a_callback(world: World) -> None:
    """A destination that answers with its verdict has called back: the next receipts need not wait for it."""
    world.destination.script = lambda _: BOOKED
    jobs = world.record(3)
    assert world.deliver_all() == 3
    assert {world.job(job).state for job in jobs} == {State.SUCCESS}


def test_conclusion_at_once_ends_a_hold(known: World) -> None:
    """A verdict at once ends a hold like an acceptance, and is told like one."""
    known.record(2)
    known.destination.script = lambda _: DOWN
    known.deliver_all()
    known.clock.now = known.standing.probe_at or 0.0
    known.destination.script = lambda _: BOOKED
    with capture_logs() as lines:
        rung = known.deliveries.count
        known.deliver_all()
    assert not known.standing.is_held
    assert "destination.resumed" in [line["event"] for line in lines]
    assert known.deliveries.count > rung
