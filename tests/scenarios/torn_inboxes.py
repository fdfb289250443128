"""Inboxes that are torn away and given back, each in a way of its own, and a daemon that watches them."""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.fakes.mounts import Mounts, Share

NEVER = 3600.0
STRAY = jpegs(1, first=1000)[0]


class Inbox:
    """An inbox, and its spool, as they are reached from outside. This one stays where it is."""

    native = True  # whether events can be expected there

    def __init__(self, root: Path, name: str, observer: str = "auto") -> None:
        self.name = name
        self.observer = observer
        self.mode = "native" if self.native and observer != "polling" else "polling"  # how it is watched in the end
        self.path = root / name / "inbox"
        self.path.mkdir(parents=True)

    @property
    def inside(self) -> Path:
        """The folder that receipts are dropped into while it is there."""
        return self.path

    @property
    def spool(self) -> Path:
        """The folder that holds done/ and failed/."""
        return self.path.parent


class Away(Inbox):
    """One that is torn away and given back; here, it is deleted and recreated."""

    why = "is not there|No such file"  # what the reason has to say

    @property
    def inside_meanwhile(self) -> Path | None:
        """The path to its inside while it is away; None if there is none."""
        return None

    @property
    def instead(self) -> Path | None:
        """The folder that is seen in its place meanwhile, if any; what is dropped there is no receipt."""
        return None

    def assert_named(self, said: str) -> None:
        """Check that the cause is named; not by the words of the path, which are the test's own."""
        assert re.search(self.why, said.replace(str(self.path), "")), said

    def tear(self) -> None:
        """Tear it away."""
        shutil.rmtree(self.path)

    def give_back(self) -> None:
        """Give it back."""
        self.path.mkdir()


class Renamed(Away):
    """It gets another name, and its own again."""

    @property
    def inside_meanwhile(self) -> Path:
        """Under the other name."""
        return self.path.with_name("elsewhere")

    def tear(self) -> None:
        """Rename it."""
        self.path.rename(self.inside_meanwhile)

    def give_back(self) -> None:
        """Rename it back."""
        self.inside_meanwhile.rename(self.path)


class RenamedAbove(Away):
    """The folder around it gets another name: no event tells of that, and the whole spool goes with it."""

    @property
    def inside_meanwhile(self) -> Path:
        """Under the other name."""
        return self.path.parent.with_name("elsewhere") / "inbox"

    def tear(self) -> None:
        """Rename the folder around it."""
        self.path.parent.rename(self.inside_meanwhile.parent)

    def give_back(self) -> None:
        """Rename that back."""
        self.inside_meanwhile.parent.rename(self.path.parent)


class Unreadable(Away):
    """Its permissions shut the daemon out, and let it in again."""

    why = "Permission denied|cannot be read|may not"

    @property
    def inside_meanwhile(self) -> Path | None:
        """It is there, for root."""
        return self.path if os.geteuid() == 0 else None

    def tear(self) -> None:
        """Shut everybody out."""
        self.path.chmod(0)

    def give_back(self) -> None:
        """Let its owner in."""
        self.path.chmod(0o700)


class Mounted(Away):
    """The base of those that need mounts: seen in a namespace only, so that the path itself shows what is below."""

    why = "mount"
    holds_spool = False  # whether the mount holds the whole spool, and not the inbox alone

    def __init__(self, root: Path, name: str, mounts: Mounts, observer: str = "auto") -> None:
        super().__init__(root, name, observer)
        self.mounts = mounts
        self.point = self.path.parent if self.holds_spool else self.path
        self.far_side = root / "far-sides" / name
        self.far_inbox = self.far_side / "inbox" if self.holds_spool else self.far_side
        self.far_inbox.mkdir(parents=True)

    @property
    def spool(self) -> Path:
        """The folder that holds done/ and failed/."""
        return self.far_side if self.holds_spool else self.path.parent

    def unmount(self) -> None:
        """Unmount what is on top; where the daemon has its lock there, it goes only like this."""
        wait_until(lambda: self.mounts.is_unmounted(self.point, lazily=self.holds_spool), "it is unmounted")


class Unmounted(Mounted):
    """A folder of the same file system is bound there; it is unmounted, and mounted again."""

    def __init__(self, root: Path, name: str, mounts: Mounts, observer: str = "auto") -> None:
        super().__init__(root, name, mounts, observer)
        self.give_back()

    @property
    def inside(self) -> Path:
        """The folder that is bound."""
        return self.far_inbox

    @property
    def inside_meanwhile(self) -> Path | None:
        """Likewise."""
        return self.far_inbox

    @property
    def instead(self) -> Path | None:
        """The empty mount point."""
        return self.path

    def tear(self) -> None:
        """Unmount it."""
        self.unmount()

    def give_back(self) -> None:
        """Mount it."""
        self.mounts.bind(self.far_side, self.point)


class MemoryUnmounted(Unmounted):
    """A file system of its own is unmounted, and a new one of its kind mounted."""

    @property
    def inside(self) -> Path:
        """The mounted folder, seen from outside."""
        return self.mounts.seen(self.path)

    @property
    def inside_meanwhile(self) -> Path | None:
        """It is gone for good."""
        return None

    def give_back(self) -> None:
        """Mount it."""
        self.mounts.mount_memory(self.point)


class MountedOver(Mounted):
    """Something else is mounted over it, and unmounted: no event tells of that."""

    @property
    def inside_meanwhile(self) -> Path | None:
        """It is below the mount."""
        return self.path

    @property
    def instead(self) -> Path | None:
        """The folder that was mounted."""
        return self.mounts.seen(self.path)

    def tear(self) -> None:
        """Mount over it."""
        self.mounts.mount_memory(self.point)

    def give_back(self) -> None:
        """Unmount that."""
        self.unmount()


class BoundOver(MountedOver):
    """Another folder of the same file system is bound over it, so that not even the device differs."""

    def tear(self) -> None:
        """Bind it over."""
        self.mounts.bind(self.far_side, self.point)


class Silent(Mounted):
    """It is a share whose server does not answer for a while: whoever asks waits."""

    why = "does not answer|did not answer"
    native = False

    def __init__(self, root: Path, name: str, mounts: Mounts, observer: str = "auto") -> None:
        super().__init__(root, name, mounts, observer)
        self.share = self.mount()

    @property
    def inside(self) -> Path:
        """The far side."""
        return self.far_inbox

    @property
    def inside_meanwhile(self) -> Path | None:
        """Others reach it."""
        return self.far_inbox

    def mount(self) -> Share:
        """Mount it."""
        return mount_share(self.mounts, self.far_side, self.point)

    def tear(self) -> None:
        """Fall silent."""
        self.share.freeze()

    def give_back(self) -> None:
        """Speak again."""
        self.share.thaw()


class Disconnected(Silent):
    """The connection to its server is lost, so that each call is an error, until somebody mounts it again."""

    why = "not connected|is not there|connection abort"

    def tear(self) -> None:
        """End its server."""
        self.share.die()

    def give_back(self) -> None:
        """Mount it again."""
        self.unmount()
        self.share = self.mount()


class UnmountedSpool(Unmounted):
    """The mount that is unmounted holds the whole spool, so that there is not even a folder in the inbox's place."""

    why = "is not there|No such file"
    holds_spool = True

    def __init__(self, root: Path, name: str, mounts: Mounts, observer: str = "auto") -> None:
        super().__init__(root, name, mounts, observer)
        self.path.rmdir()  # below the mount

    @property
    def instead(self) -> Path | None:
        """There is none."""
        return None


class SilentSpool(Silent):
    """The share that does not answer holds the whole spool: receipts cannot be read, nor filed."""

    holds_spool = True


class DisconnectedSpool(Disconnected):
    """The share whose connection is lost holds the whole spool."""

    holds_spool = True


def mount_share(mounts: Mounts, far_side: Path, point: Path) -> Share:
    """Mount a share that can fall silent."""
    try:
        return mounts.share(far_side, point)
    except OSError as error:
        pytest.skip(str(error.strerror))


class Offices(RunningDaemon):
    """A daemon with an inbox `desk`, which stays, and others, which are torn away. Native ones live by events alone."""

    def __init__(
        self,
        root: Path,
        n8n: StandIn,
        *ways: Away,
        prefix: Sequence[str] = (),
        limits: Mapping[str, Any] | None = None,
    ) -> None:
        self.n8n = n8n
        self.desk = Inbox(root, "desk")
        self.ways = {way.name: way for way in ways}
        self.expected: Counter[tuple[str, str, bytes]] = Counter()
        self._contents = iter(jpegs(1000))
        inboxes = [
            {
                "name": inbox.name,
                "path": str(inbox.path),
                "observer": inbox.observer,
                "settle_seconds": 0.2,
                "scan_seconds": NEVER,
                "poll_seconds": 0.2,
            }
            for inbox in (self.desk, *ways)
        ]
        super().__init__(
            root,
            n8n.webhook_url,
            TOKEN,
            inbox=inboxes[0],
            changes={"inboxes": inboxes, "limits": dict(limits or {})},
            prefix=prefix,
        )

    def put(self, inbox: Inbox, folder: Path | None = None) -> str:
        """Put a new receipt there, or into the folder that is its inside now; it is to be delivered once, whole."""
        content = next(self._contents)
        name = f"{inbox.name}-{len(self.expected)}.jpg"
        self.expected[inbox.name, name, content] = 1
        put((folder or inbox.inside) / name, content)
        return name

    def delivered(self) -> Counter[tuple[str, str, bytes | None]]:
        """Return what N8N was sent."""
        return Counter((delivery.inbox, delivery.filename, delivery.content) for delivery in self.n8n.deliveries)

    def wait_delivered(self, *inboxes: Inbox) -> None:
        """Wait until all that was put, into these inboxes or any, was sent to N8N."""
        names = {inbox.name for inbox in inboxes}
        wanted = {one for one in self.expected if not names or one[0] in names}
        try:
            wait_until(lambda: wanted <= self.delivered().keys(), "all is delivered")
        except AssertionError as error:
            missing = sorted(name for _, name, _ in wanted - self.delivered().keys())
            raise AssertionError(f"not delivered: {missing}\n{self.log_file.read_text()}") from error

    def told(self, event: str, name: str) -> list[dict[str, Any]]:
        """Return the log lines of an event about one inbox."""
        return [line for line in self.events(event) if line.get("inbox") == name]

    def failing(self) -> dict[str, str]:
        """Return what /health/ready says is wrong, by its name."""
        answer = httpx.get(f"{self.url}/health/ready", timeout=30)
        failing: dict[str, str] = answer.json().get("failing", {})
        assert answer.status_code == (503 if failing else 200)
        return failing

    def wait_away(self) -> None:
        """Wait until all these inboxes, and no others, are known to be away, for a reason that names the cause."""
        for name, way in self.ways.items():
            wait_until(functools.partial(self.told, "inbox.unavailable", name), f"{name} is known to be away")
            way.assert_named(self.told("inbox.unavailable", name)[0]["why"])
        failing = self.failing()
        assert failing.keys() == {f"inbox:{name}" for name in self.ways}
        for name, way in self.ways.items():
            way.assert_named(failing[f"inbox:{name}"])

    def wait_back(self) -> None:
        """Wait until all inboxes are known to be back."""
        for name in self.ways:
            wait_until(functools.partial(self.told, "inbox.available", name), f"{name} is known to be back")
        wait_until(lambda: self.failing() == {}, "all is well")

    def assert_all_well(self, absences: int, returns: int) -> None:
        """Wait until nothing is left to do; all that was put was delivered once, whole, and nothing else was.

        Each of the ways was said to be away, and to be back, so often; the desk never.
        """
        self.wait_delivered()
        wait_until(self._is_filed, f"all is concluded and filed: {self.recorded()}")
        assert self.delivered() == self.expected
        recorded = Counter((job.inbox, job.filename) for job in self.recorded())
        assert recorded == Counter((whose, name) for whose, name, _ in self.expected)
        for inbox in (self.desk, *self.ways.values()):
            done = Counter((path.name, path.read_bytes()) for path in self.files(inbox.spool / "done"))
            assert done == Counter((name, content) for whose, name, content in self.expected if whose == inbox.name)
            assert self.files(inbox.spool / "failed") == []
            assert self.told("inbox.watched", inbox.name)[-1]["mode"] == inbox.mode
            times = (0, 0) if inbox is self.desk else (absences, returns)
            told = [self.told(f"inbox.{event}", inbox.name) for event in ("unavailable", "available")]
            assert tuple(map(len, told)) == times, told
        assert self.events("stage.failed") == []
        assert self.events("task.failed") == []

    def _is_filed(self) -> bool:
        jobs = self.recorded()
        return len(jobs) >= len(self.expected) and not any(
            job.move_due or job.state is not State.SUCCESS for job in jobs
        )


def put(path: Path, content: bytes) -> None:
    """Write a file under a hidden name and rename it, as a careful program does."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(content)
    temporary.rename(path)
