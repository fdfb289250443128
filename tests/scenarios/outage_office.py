"""A worker with deadlines and callbacks; its destination answers as told, and days pass in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from receipt_watcher.delivery.callbacks import Callbacks
from receipt_watcher.delivery.deadlines import Deadlines, DeadlineSettings
from receipt_watcher.delivery.destinations import Concluded, Deferred
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.states import State
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.notify.watcher import NoticeWatcher
from receipt_watcher.system.wakeup import Bell
from tests.unit.delivery.worker_world import SETTINGS, World
from tests.unit.notify.notice_office import OFFICE, FakeChannel
from tests.unit.notify.notice_office import SETTINGS as TOLD

DEFAULTS = replace(SETTINGS, hold_after=3, max_attempts=8)
BUSY = Deferred("N8N answered 429", 429, retry_after_seconds=120)
BOOKED = Concluded(
    Verdict(success=True, message="booked", notion_page_url="https://notion.example/1", details={"total": 12}),
    "200 {}",
    200,
)


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
        names = DestinationNames(branch.webhook_url for route in self.routes for branch in route.branches)
        return NoticeWatcher(
            self.log,
            self.holds,
            self.routes,
            [channel],
            TOLD,
            names=names,
            inboxes=lambda: [OFFICE],
            troubles=list,
            clock=self.clock,
        )

    def states(self, jobs: list[Job]) -> set[State]:
        """Return the states that jobs are in."""
        return {self.job(job).state for job in jobs}


def with_settings(world: Office, **changes: float) -> None:
    """Change settings, as by a restart with another configuration."""
    world.settings = replace(world.settings, **changes)  # type: ignore[arg-type]  # a test names what it means
    world.delivery = world.another_delivery()
