"""An inbox with its job log and its holds, and a channel that keeps what it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from receipt_watcher.config.schedule import window_of
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.errors import NotToldError
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.notify.notices import Kind, Notice
from receipt_watcher.notify.settings import NotificationSettings
from receipt_watcher.notify.watcher import LOOK_SECONDS, NoticeWatcher
from receipt_watcher.report.health.troubles import Trouble
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock, make_job
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
        self.troubles: list[Trouble] = []
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
            names=DestinationNames([URL]),
            inboxes=lambda: self.inboxes,
            troubles=lambda: self.troubles,
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


def moment(text: str) -> float:
    """Return a time in UTC as Unix seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NIGHT = window_of("mon-sun", "22:00-07:00", "Europe/Berlin")
