"""A worker with its job log, spool and destinations, all in one process and with a clock that the test moves."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from receipt_watcher.config.schedule import Window
from receipt_watcher.delivery.destinations import Accepted, Concluded, Deferred, Lost, Outcome, Refused
from receipt_watcher.delivery.outcomes import Outcomes
from receipt_watcher.delivery.pauses import DeliverySettings
from receipt_watcher.delivery.worker import Deliveries
from receipt_watcher.examine.judge import FileLimits
from receipt_watcher.jobs.job import Job, new_job_id
from receipt_watcher.jobs.log.holds import DestinationState
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.wakeup import Bell
from tests.conftest import ANSWERING, AUTO, FakeClock, make_branch, make_job

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
            route.branches = tuple(replace(branch, accept=ANSWERING if is_so else AUTO) for branch in route.branches)

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
            self.holds.called_back(route.branches[-1].webhook_url, self.clock.now)

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
    branch = make_branch(name, webhook_url=destination.url, notion_database_id="", done_subfolder="", window=window)
    return RouteToFake(name, spool, (branch,), FileLimits(10**9, 10**9), is_ready=True, destination=destination)


@contextlib.contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[None]:
    """Do work beside the test."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


@contextlib.contextmanager
def while_sending(world: World, outcome: Outcome) -> Iterator[None]:
    """Have a receipt on its way to the destination, which answers with the outcome at the end."""
    is_out, answer = threading.Event(), threading.Event()

    def slow(_: Job) -> Outcome:
        is_out.set()
        assert answer.wait(10)
        return outcome

    world.destination.script = slow
    with in_thread(world.delivery.deliver_due):
        assert is_out.wait(10)
        yield
        answer.set()


def resend(world: World, job: Job) -> None:
    """Send a job again for which no callback came, once its destination may be asked."""
    world.clock.now = max(world.clock.now, world.standing.probe_at or 0.0)
    now = world.clock.now
    assert world.log.jobs.advance(job.job_id, Event.RESEND, now, next_attempt_at=now)
    assert world.delivery.deliver_due()
