"""Two daemons on one state directory, one spool, one inbox, and on two hosts that see one share: never twice."""

from __future__ import annotations

import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, digest, folder_on_another_device, jpegs, wait_until
from tests.fakes.mounts import TOOLS, Mounts, Share

#: Inboxes that are listed, as those on shares are, are listed often.
OFTEN = {"poll_seconds": 0.3}


def daemon_at(root: Path, n8n: StandIn, inbox: Mapping[str, Any], **options: Any) -> RunningDaemon:
    """Return a daemon with a state directory of its own, which lists its inbox often."""
    root.mkdir(parents=True, exist_ok=True)
    return RunningDaemon(root, n8n.webhook_url, TOKEN, inbox=inbox, **options)


def assert_refused(daemon: RunningDaemon, *words: str, arguments: tuple[str, ...] = ()) -> None:
    """Try to run it: it must end at once by itself, with exit code 1 and a line that says these words."""
    ended = daemon.run("run", *arguments)
    assert ended.returncode == 1, ended.stderr
    said = ended.stderr.splitlines()[-1]
    assert all(word in said for word in ("receipt-watcher: ", *words)), said
    assert "Traceback" not in ended.stderr


def assert_goes_on(daemon: RunningDaemon, n8n: StandIn, number: int) -> None:
    """See that a daemon still does its work: a receipt that is dropped now is delivered once and filed."""
    name = f"later-{number}.jpg"
    content = jpegs(1, first=10_000 + number)[0]
    daemon.drop(name, content)
    wait_until(lambda: any(path.name == name for path in daemon.files(daemon.done)), f"{name} is filed")
    assert [one.filename for one in n8n.deliveries].count(name) == 1


def assert_each_once(n8n: StandIn, contents: list[bytes]) -> None:
    """See that each of these receipts arrived, once, whole."""
    assert Counter(one.sha256 for one in n8n.deliveries) == Counter(digest(content) for content in contents)


# --- one machine ---------------------------------------------------------------------------------------------------


def test_one_state_directory(tmp_path: Path, n8n: StandIn) -> None:
    """A second daemon with the same configuration is refused, by a text that names the first, which goes on."""
    with daemon_at(tmp_path, n8n, {}) as first:
        assert first.process is not None
        for arguments in ((), ("--once", "--take-over")):
            assert_refused(
                first,
                f"(process {first.process.pid}) is running on {first.state}; stop it, or set state_dir",
                arguments=arguments,
            )
        assert_goes_on(first, n8n, 1)
        first.kill()
        first.start()
        assert first.count("spool.asked") == 0  # the kernel gave the locks back: a restart costs no time
        assert_goes_on(first, n8n, 2)


def test_a_daemon_that_is_kept_out_takes_nothing_along(tmp_path: Path, n8n: StandIn) -> None:
    """A second one that is started by mistake leaves what `status` shows of the first one's inboxes."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as first:
        shown = first.state / "inboxes" / "office.json"
        wait_until(shown.exists, "the inbox is shown")
        second = first.run("run")
        assert second.returncode == 1
        assert "is running on" in second.stderr
        assert shown.exists()
        assert first.terminate() == 0
        assert not shown.exists()


def test_one_spool(tmp_path: Path, n8n: StandIn) -> None:
    """A second installation is refused a spool that is in use, and one that is not its own until it takes that over."""
    first = daemon_at(tmp_path / "first", n8n, {})
    second = daemon_at(tmp_path / "second", n8n, {"path": str(first.inbox)})
    with first:
        assert first.process is not None
        says = f"is running on {first.processing} (process {first.process.pid} on"
        assert_refused(second, says, "stop it", arguments=("--take-over",))
        assert_goes_on(first, n8n, 1)
        assert first.terminate() == 0
    assert_refused(second, f"{first.processing} belongs to another installation", "take-over office")
    try:
        second.start("--take-over")
        assert_goes_on(second, n8n, 2)
        assert second.terminate() == 0
    finally:
        second.close()
    assert_refused(first, f"{first.processing} belongs to another installation")


def test_started_while_the_other_stops(tmp_path: Path, n8n: StandIn) -> None:
    """A daemon that comes too early is refused; once the first has ended the next one starts; nothing goes twice."""
    may_answer = threading.Event()
    n8n.behave = lambda _: Behaviour(hang=may_answer, callback_before_answer=True)
    contents = jpegs(3)
    with daemon_at(tmp_path, n8n, {}) as first:
        assert first.process is not None
        first.drop("first.jpg", contents[0])
        wait_until(lambda: first.count("job.concluded"), "the first is booked, though N8N has not answered yet")
        first.process.send_signal(signal.SIGTERM)
        first.drop("meanwhile.jpg", contents[1])
        assert_refused(first, f"(process {first.process.pid}) is running on {first.state}")
        may_answer.set()
        assert first.ended() == 0
        first.start()
        first.drop("afterwards.jpg", contents[2])
        first.wait_quiet(3)
        assert_each_once(n8n, contents)


# --- one inbox, two spools -----------------------------------------------------------------------------------------


@contextmanager
def two_on_one_inbox(
    root: Path, inbox: Path, spools: Path, n8n: StandIn, **options: Any
) -> Iterator[tuple[RunningDaemon, RunningDaemon]]:
    """Two installations that take from one inbox, each into a spool of its own below `spools`."""
    daemons = []
    for name in ("one", "two"):
        (spools / name).mkdir(exist_ok=True)
        place: dict[str, Any] = {"path": str(inbox), "observer": "polling", **OFTEN}
        place |= {f"{folder}_dir": str(spools / name / folder) for folder in ("processing", "done", "failed")}
        daemons.append(daemon_at(root / name, n8n, place, **options))
    with daemons[0], daemons[1]:
        yield daemons[0], daemons[1]


def assert_shared(
    inbox: Path, daemons: tuple[RunningDaemon, RunningDaemon], n8n: StandIn, done: list[Path], files: int
) -> None:
    """Drop many files at once; each is delivered once and filed by one of the two, and nobody complains."""
    contents = jpegs(files)
    store = inbox.parent / "store"
    store.mkdir()
    for number, content in enumerate(contents):
        (store / f"scan-{number}.jpg").write_bytes(content)
    for path in store.iterdir():
        path.rename(inbox / path.name)
    wait_until(lambda: sum(len(RunningDaemon.files(folder)) for folder in done) >= files, "all are filed")
    wait_until(lambda: not RunningDaemon.files(inbox), "the inbox is empty")
    assert_each_once(n8n, contents)
    filed = [digest(path.read_bytes()) for folder in done for path in RunningDaemon.files(folder)]
    assert Counter(filed) == Counter(digest(content) for content in contents)
    for daemon in daemons:
        assert [line for line in daemon.events() if line["level"] not in ("debug", "info")] == []


def test_one_inbox_by_rename(tmp_path: Path, n8n: StandIn) -> None:
    """Who renames a file first has it; the other one finds nothing."""
    inbox = tmp_path / "inbox"
    with two_on_one_inbox(tmp_path, inbox, tmp_path, n8n) as daemons:
        assert_shared(inbox, daemons, n8n, [daemon.done for daemon in daemons], 200)


def test_one_inbox_by_copies(tmp_path: Path, n8n: StandIn) -> None:
    """Across file systems who locks a file first may copy it; the other one leaves it alone."""
    inbox = tmp_path / "inbox"
    with (
        folder_on_another_device(tmp_path) as memory,
        two_on_one_inbox(tmp_path, inbox, memory, n8n) as daemons,
    ):
        assert_shared(inbox, daemons, n8n, [daemon.done for daemon in daemons], 100)


def test_one_inbox_by_links(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """On a share that cannot rename without replacing both may link a file; who removes its old name has it."""
    far_side, point = tmp_path / "far", tmp_path / "share"
    for folder in (far_side / "inbox", far_side / "one", far_side / "two", point):
        folder.mkdir(parents=True)
    share(mounts, far_side, point)
    with two_on_one_inbox(tmp_path, point / "inbox", point, n8n, prefix=mounts.prefix) as daemons:
        assert_shared(far_side / "inbox", daemons, n8n, [far_side / "one/done", far_side / "two/done"], 40)


# --- two hosts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """A mount namespace of its own: the other host."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not on this system: {', '.join(missing)}")
    try:
        namespace = Mounts()
    except OSError as error:
        pytest.skip(str(error.strerror))
    with namespace:
        yield namespace


def share(mounts: Mounts, far_side: Path, point: Path) -> Share:
    """Mount a share, which hands no locks on."""
    try:
        return mounts.share(far_side, point)
    except OSError as error:
        pytest.skip(str(error.strerror))


class Hosts:
    """A file server with a daemon of its own, and another host that has mounted its folder: no lock is shared."""

    def __init__(self, root: Path, n8n: StandIn, mounts: Mounts) -> None:
        self.server = daemon_at(root / "server", n8n, {"path": str(root / "far/inbox"), **OFTEN})
        point = root / "share"
        point.mkdir()
        boot_id = root / "boot_id"
        boot_id.write_text("00000000-0000-4000-8000-000000000000\n")
        try:
            mounts.bind(boot_id, Path("/proc/sys/kernel/random/boot_id"))
        except OSError as error:
            pytest.skip(str(error.strerror))
        share(mounts, root / "far", point)
        self.client = daemon_at(root / "client", n8n, {"path": str(point / "inbox"), **OFTEN}, prefix=mounts.prefix)

    def copy_state(self) -> None:
        """Let the other host be a copy of the server, as after a restored backup or a cloned machine."""
        shutil.copytree(self.server.state, self.client.state)


@pytest.fixture
def hosts(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> Iterator[Hosts]:
    """Both, not started."""
    hosts = Hosts(tmp_path, n8n, mounts)
    yield hosts
    hosts.server.close()
    hosts.client.close()


def test_another_installation_on_another_host(hosts: Hosts, n8n: StandIn) -> None:
    """It is refused by the name in processing/.owner, and may not take over either while the other one runs."""
    hosts.server.start()
    assert hosts.server.process is not None
    assert_refused(hosts.client, "belongs to another installation", "take-over office")
    assert_refused(
        hosts.client,
        "another receipt-watcher is running on",
        f"(process {hosts.server.process.pid} on",
        arguments=("--take-over",),
    )
    assert_goes_on(hosts.server, n8n, 1)
    assert hosts.server.count("inbox.unavailable") == 0


def test_a_copied_installation_on_another_host(hosts: Hosts, n8n: StandIn) -> None:
    """A copy of the state directory makes no second daemon: the running one answers, and the copy is refused."""
    hosts.server.start()
    assert hosts.server.process is not None
    assert_goes_on(hosts.server, n8n, 1)
    hosts.copy_state()
    assert_refused(hosts.client, "is running on", f"(process {hosts.server.process.pid} on")
    assert_goes_on(hosts.server, n8n, 2)
    assert hosts.server.count("inbox.unavailable") == 0


def test_a_host_that_does_not_answer_loses_its_spool(hosts: Hosts, n8n: StandIn) -> None:
    """The copy takes over from a host that hangs; when that one wakes it leaves the spool alone, and says why."""
    hosts.server.start()
    assert hosts.server.process is not None
    assert_goes_on(hosts.server, n8n, 1)
    hosts.copy_state()
    hosts.server.process.send_signal(signal.SIGSTOP)
    hosts.client.start()
    wait_until(lambda: hosts.client.count("inbox.watched"), "nobody answers, so that the inbox opens")
    assert hosts.client.count("spool.asked") == 1
    hosts.server.process.send_signal(signal.SIGCONT)
    wait_until(lambda: hosts.server.count("inbox.unavailable"), "the first finds that it has lost its spool")
    assert "was taken over by another receipt-watcher" in hosts.server.events("inbox.unavailable")[-1]["why"]
    assert_goes_on_far(hosts, n8n)
    assert hosts.client.count("inbox.unavailable") == 0


def assert_goes_on_far(hosts: Hosts, n8n: StandIn) -> None:
    """See that one of the two, and only one, takes what comes."""
    contents = jpegs(20, first=20_000)
    for number, content in enumerate(contents):
        hosts.server.drop(f"shared-{number}.jpg", content)
    wait_until(lambda: len(hosts.server.files(hosts.server.done)) == len(contents) + 1, "all are filed")
    assert_each_once(n8n, [*jpegs(1, first=10_001), *contents])
    assert hosts.client.count("job.recorded") == len(contents)


def test_a_clean_stop_hands_the_spool_on(hosts: Hosts, n8n: StandIn) -> None:
    """Where the first has stopped, its copy on the other host starts at once: that is how a machine is replaced."""
    with hosts.server:
        assert_goes_on(hosts.server, n8n, 1)
        assert hosts.server.terminate() == 0
    hosts.copy_state()
    hosts.client.start()
    wait_until(lambda: hosts.client.count("inbox.watched"), "the inbox opens")
    assert hosts.client.count("spool.asked") == 0
    assert_refused(hosts.server, "another receipt-watcher is running on")
    assert_goes_on_far(hosts, n8n)
