"""The watched folder is torn away and given back, in each way that a folder can be; seen from outside."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.inbox.gate import RETRY_SECONDS
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, jpegs, wait_until, without_capabilities
from tests.fakes.mounts import Mounts, Share

NEVER = 3600.0
PATIENCE = 60.0  # for commands, which have time limits of their own
STRAY = jpegs(1, first=1000)[0]


# --- the ways ------------------------------------------------------------------------------------------------------


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


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """A mount namespace of its own."""
    try:
        namespace = Mounts()
    except OSError as error:
        pytest.skip(str(error.strerror))
    with namespace:
        yield namespace


# --- the daemon ----------------------------------------------------------------------------------------------------


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


# --- torn away and given back --------------------------------------------------------------------------------------


def test_folders_torn_away_and_given_back(tmp_path: Path, n8n: StandIn) -> None:
    """Inboxes that are deleted, renamed or shut: nothing is lost, and each is watched again when it is back."""
    ways = [
        Away(tmp_path, "deleted"),
        Away(tmp_path, "deleted-listed", "polling"),
        Renamed(tmp_path, "renamed"),
        RenamedAbove(tmp_path, "renamed-above"),
        Unreadable(tmp_path, "unreadable"),
        Unreadable(tmp_path, "unreadable-listed", "polling"),
    ]
    with Offices(tmp_path, n8n, *ways, prefix=without_capabilities("dac_override", "dac_read_search")) as daemon:
        tear_and_give_back(daemon)


def test_mounts_torn_away_and_given_back(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """Inboxes that are unmounted or mounted over: nothing is lost, and nothing is taken from what is in their place."""
    ways = [
        Unmounted(tmp_path, "bound", mounts),
        Unmounted(tmp_path, "bound-listed", mounts, "polling"),
        UnmountedSpool(tmp_path, "bound-spool", mounts),
        MemoryUnmounted(tmp_path, "memory", mounts),
        MountedOver(tmp_path, "covered", mounts),
        MountedOver(tmp_path, "covered-listed", mounts, "polling"),
        BoundOver(tmp_path, "covered-by-its-like", mounts),
    ]
    with Offices(tmp_path, n8n, *ways, prefix=mounts.prefix) as daemon:
        tear_and_give_back(daemon)
        assert list((tmp_path / "bound-spool").iterdir()) == []  # nothing was made in the empty mount point


@pytest.mark.long
def test_shares_torn_away_and_given_back(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """Inboxes whose server is silent or gone hold up nobody else, and go on when it is back."""
    ways = [
        Silent(tmp_path, "silent", mounts),
        SilentSpool(tmp_path, "silent-spool", mounts),
        Disconnected(tmp_path, "disconnected", mounts),
        DisconnectedSpool(tmp_path, "disconnected-spool", mounts),
    ]
    with Offices(tmp_path, n8n, *ways, prefix=mounts.prefix) as daemon:
        tear_and_give_back(daemon)


def tear_and_give_back(daemon: Offices) -> None:
    """Let all be torn away at once, drop what can be dropped, then give them back."""
    daemon.n8n.behave = lambda _: Behaviour(callback_delay_seconds=1)  # some verdicts come when the spool is away
    for way in daemon.ways.values():
        daemon.put(way)
    daemon.wait_delivered()
    strays = []
    for way in daemon.ways.values():
        way.tear()
        name = daemon.put(way, way.inside_meanwhile) if way.inside_meanwhile is not None else "stray.jpg"
        if way.instead is not None:
            strays.append(way.instead / name)
            put(strays[-1], STRAY)
    daemon.wait_away()
    daemon.put(daemon.desk)
    daemon.wait_delivered(daemon.desk)
    if strays:
        threading.Event().wait(RETRY_SECONDS + 0.5)  # so that the inboxes are looked for while the strays lie there
    assert [stray.read_bytes() for stray in strays] == [STRAY] * len(strays)
    assert daemon.failing().keys() == {f"inbox:{name}" for name in daemon.ways}
    for way in daemon.ways.values():
        way.give_back()
    daemon.wait_back()
    daemon.wait_delivered()
    for way in daemon.ways.values():
        daemon.put(way)
    daemon.assert_all_well(absences=1, returns=1)


def recreate(folder: Path) -> None:
    """Delete a folder and make it anew, until the new one has the old one's inode number."""
    for _ in range(100):
        inode = folder.stat().st_ino
        folder.rmdir()
        folder.mkdir()
        if folder.stat().st_ino == inode:
            return
    pytest.skip("this file system does not give a deleted folder's inode number to the next one")


def test_recreated_under_the_same_inode_number(tmp_path: Path, n8n: StandIn) -> None:
    """A folder that only events tell from the old one is watched anew, whether it was seen to be away or not."""
    way = Away(tmp_path, "office", "native")
    with Offices(tmp_path, n8n, way) as daemon:
        daemon.put(way)
        daemon.wait_delivered()
        recreate(way.path)
        daemon.put(way)
        daemon.wait_delivered()
        daemon.put(way)
        daemon.wait_delivered()
        wait_until(lambda: daemon.failing() == {}, "all is well")
        times = min(1, len(daemon.told("inbox.unavailable", "office")))
        daemon.assert_all_well(absences=times, returns=times)


def test_started_while_unmounted(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """Inboxes that have given receipts are known over a restart: their empty mount points are no empty inboxes."""
    bound, memory = Unmounted(tmp_path, "bound", mounts), MemoryUnmounted(tmp_path, "memory", mounts)
    with Offices(tmp_path, n8n, bound, memory, prefix=mounts.prefix) as daemon:
        daemon.put(bound)
        daemon.put(memory)
        daemon.assert_all_well(absences=0, returns=0)
        assert daemon.terminate() == 0
        strays = [tmp_path / name / "inbox" / "stray.jpg" for name in ("bound", "memory")]
        for way, stray in zip((bound, memory), strays, strict=True):
            way.tear()
            put(stray, STRAY)
        daemon.put(bound)
        daemon.start()
        daemon.wait_away()
        daemon.put(daemon.desk)
        daemon.wait_delivered(daemon.desk)
        assert [stray.read_bytes() for stray in strays] == [STRAY, STRAY]
        bound.give_back()
        memory.give_back()
        daemon.wait_back()
        daemon.put(memory)
        daemon.assert_all_well(absences=1, returns=1)


# --- a share that does not answer ----------------------------------------------------------------------------------


def test_whoever_asks_a_silent_share_waits(tmp_path: Path, mounts: Mounts) -> None:
    """What these tests rest on: a silent share keeps who asks waiting, until it is killed or the share speaks."""
    share = Silent(tmp_path, "share", mounts)
    put(share.inside / "scan.jpg", STRAY)
    assert mounts.run("cmp", str(share.inside / "scan.jpg"), str(share.path / "scan.jpg")) == ""
    assert mounts.run("cmp", str(share.inside / "scan.jpg"), str(share.path)) != ""
    share.tear()
    listing, looking = (subprocess.Popen([*mounts.prefix, tool, str(share.path)]) for tool in ("ls", "stat"))
    for waiting in (listing, looking):
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
    looking.kill()
    assert looking.wait(PATIENCE) == -signal.SIGKILL
    share.give_back()
    assert listing.wait(PATIENCE) == 0


@pytest.mark.long
def test_a_start_does_not_wait_for_a_silent_share(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """A share that hangs at the start delays no other inbox and no command, and is watched as soon as it answers."""
    way = Silent(tmp_path, "office", mounts)
    way.tear()
    with contextlib.closing(Offices(tmp_path, n8n, way, prefix=mounts.prefix)) as daemon:
        daemon.put(way)
        daemon.start(wait=False)
        wait_until(lambda: daemon.told("inbox.watched", "desk"), "the desk is watched")
        with asked(daemon, "check", "status") as answers:
            wait_until(lambda: daemon.count("daemon.started"), "the daemon starts")
            daemon.put(daemon.desk)
            daemon.wait_delivered(daemon.desk)
            daemon.wait_away()
            check, status = answers()
        assert_checked(check, way)
        assert_looked(status, way)
        way.give_back()
        daemon.wait_back()
        daemon.put(way)
        daemon.assert_all_well(absences=1, returns=1)


@pytest.mark.long
def test_a_stop_does_not_wait_for_a_silent_share(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """SIGTERM ends the daemon in its time though a share hangs; the next start finds what came meanwhile."""
    way = Silent(tmp_path, "office", mounts)
    with Offices(tmp_path, n8n, way, prefix=mounts.prefix, limits={"stop_timeout_seconds": 1}) as daemon:
        daemon.put(way)
        daemon.wait_delivered()
        way.tear()
        daemon.put(way)
        daemon.wait_away()
        assert daemon.terminate() == 0
        way.give_back()
        daemon.start()
        daemon.assert_all_well(absences=1, returns=0)


@pytest.mark.long
def test_a_reload_while_a_share_falls_silent(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """A thread that hangs through a reload gives its spool back when the share answers, and the inbox goes on."""
    way = Silent(tmp_path, "office", mounts)
    with Offices(tmp_path, n8n, way, prefix=mounts.prefix, limits={"stop_timeout_seconds": 1}) as daemon:
        settings = yaml.safe_load(daemon.config_file.read_text())
        settings["n8n"]["timeout_seconds"] = 4  # for so long a reload waits for it, so that it is known to hang
        daemon.config_file.write_text(yaml.safe_dump(settings))
        assert daemon.terminate() == 0
        daemon.start()
        daemon.put(way)
        daemon.wait_delivered()
        way.tear()
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.count("configuration.reloaded"), "the next daemon runs")
        daemon.put(way)
        daemon.put(daemon.desk)
        daemon.wait_delivered(daemon.desk)
        way.give_back()
        daemon.wait_delivered()
        wait_until(lambda: daemon.failing() == {}, "all is well")
        assert daemon.terminate() == 0


@contextlib.contextmanager
def asked(daemon: Offices, *commands: str) -> Iterator[Callable[[], list[Any]]]:
    """Run commands at the same time; what is yielded waits for them and returns what each said is wrong, as JSON."""
    running = [
        subprocess.Popen(daemon.command(command, "--json"), stdout=subprocess.PIPE, cwd=REPOSITORY)
        for command in commands
    ]

    def answers() -> list[Any]:
        said = [json.loads(one.communicate(timeout=PATIENCE)[0]) for one in running]
        assert [one.returncode for one in running] == [1] * len(running)
        return said

    try:
        yield answers
    finally:
        for one in running:
            one.kill()
            one.communicate()


def assert_checked(findings: Sequence[Mapping[str, str]], way: Away) -> None:
    """See that `check` found what is wrong with this inbox, and looked at the desk all the same."""
    wrong = [found["what"] for found in findings if found["level"] == "error" and way.name in found["what"]]
    assert wrong, findings
    for what in wrong:
        way.assert_named(what)
    assert any(re.fullmatch(r"inbox desk: \d files wait", found["what"]) for found in findings), findings


def assert_looked(status: Mapping[str, Any], way: Away) -> None:
    """See that `status` found what is wrong with this inbox, and looked at the desk all the same."""
    desk, office = status["inboxes"]
    assert (desk["name"], desk["trouble"]) == ("desk", None)
    assert desk["waiting"] in {0, 1}  # one is just passing through
    assert (office["name"], office["waiting"]) == (way.name, None)
    way.assert_named(office["trouble"])
