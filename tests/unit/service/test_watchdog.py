"""The watchdog is fed while all parts work, and the part that hangs is named."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.service.systemd import Systemd
from receipt_watcher.service.watchdog import WorkWatchdog
from tests.conftest import TOKEN
from tests.fakes.daemons.hanging import COPY_HANGS, SIGNALS
from tests.fakes.daemons.process import RunningDaemon, wait_until
from tests.unit.service.systemd_service import FakeSystemd, service

#: Half of it is how long a part may stand still: three seconds, where each goes on every second or two.
_WATCHED = {"WATCHDOG_USEC": "6000000"}


def test_the_watchdog_is_fed(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """While all goes on the watchdog is fed, idle or not."""
    with service(tmp_path, n8n, systemd, variables=_WATCHED) as daemon:
        wait_until(lambda: systemd.count("READY=1"), "it is ready")
        fed = systemd.count("WATCHDOG=1")
        wait_until(lambda: systemd.count("WATCHDOG=1") >= fed + 2, "it is fed")
        assert daemon.process is not None
        assert daemon.process.poll() is None


class HangingDaemon(RunningDaemon):
    """One whose parts hang at signals; see tests.fakes.daemons.hanging."""

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command with this configuration."""
        return [
            "tests.fakes.daemons.hanging" if word == "receipt_watcher" else word for word in super().command(*arguments)
        ]


def test_what_hangs_is_named_and_not_fed(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """When the event loop, an inbox's thread or the job log hangs, the log says which, and the watchdog is not fed."""
    variables = {"NOTIFY_SOCKET": systemd.address} | _WATCHED
    named: list[str] = []
    with HangingDaemon(tmp_path, n8n.webhook_url, TOKEN, environment=variables) as daemon:
        wait_until(lambda: systemd.count("WATCHDOG=1"), "it is fed")
        for number, part in enumerate(["HTTP", "the inbox office", "the job log"]):
            assert daemon.process is not None
            daemon.process.send_signal(SIGNALS[part])
            wait_until(lambda part=part: any(part in line for line in hanging_parts(daemon)), f"{part} is named")  # type: ignore[misc]
            if number == 0:
                fed, named = systemd.count("WATCHDOG=1"), hanging_parts(daemon)
        assert systemd.count("WATCHDOG=1") == fed
    assert named == ["HTTP"]


def test_the_watchdog_lets_the_log_be_rescued(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """While a log that was deleted is written anew nobody else can use it, however long: only this process has it."""
    variables = {"NOTIFY_SOCKET": systemd.address} | _WATCHED
    with HangingDaemon(tmp_path, n8n.webhook_url, TOKEN, environment=variables) as daemon:
        wait_until(lambda: systemd.count("WATCHDOG=1"), "it is fed")
        assert daemon.process is not None
        daemon.process.send_signal(COPY_HANGS)
        (daemon.state / "receipts.db").unlink()
        wait_until(lambda: daemon.count("test.copy_hangs"), "it is being written anew")
        fed = systemd.count("WATCHDOG=1")
        wait_until(lambda: systemd.count("WATCHDOG=1") >= fed + 4, "it is fed for longer than a part may stand still")
        assert hanging_parts(daemon) == []


def hanging_parts(daemon: RunningDaemon) -> list[str]:
    """Return what the log says that hangs, a text for each line."""
    return [line["hanging"] for line in daemon.events("watchdog.withheld")]


def test_what_is_granted_is_fed() -> None:
    """A start or a reload is fed for as long as it was granted, and asks for time; then what goes on counts."""
    now, standing = [0.0], [["the job log"]]
    address = f"@receipt-watcher-{uuid.uuid4().hex}"
    with contextlib.closing(FakeSystemd(address)) as fake:
        dumped: list[float] = []
        watchdog = WorkWatchdog(Systemd(address, 60.0), lambda: now[0], lambda: dumped.append(now[0]))
        watchdog.follow(lambda _: standing[0])
        watchdog.check_work()
        watchdog.grant(20)
        watchdog.check_work()
        now[0] = 21
        watchdog.check_work()
        standing[0] = []
        watchdog.check_work()
        wait_until(lambda: len(fake.messages) == 4, "all was said")
        assert fake.messages == [
            "EXTEND_TIMEOUT_USEC=20000000",
            "EXTEND_TIMEOUT_USEC=30000000",
            "WATCHDOG=1",
            "WATCHDOG=1",
        ]
        assert dumped == [0.0]  # once for what hangs
