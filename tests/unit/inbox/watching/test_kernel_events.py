"""The real observer on a real folder: what its events tell, without a scan to help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.system.wakeup import Bell
from tests.fakes.daemons.process import REPOSITORY, wait_until

SETTLE = 0.1
NEVER = 3600.0
ALL = 1000

pytestmark = pytest.mark.skipif(not Path("/proc/sys/fs/inotify").is_dir(), reason="this system has no inotify")


class Watcher:
    """An inbox that is watched as the daemon does it: a round whenever the bell rings or something is due."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.bell = Bell()
        settings: dict[str, Any] = {"observer": "native", "settle_seconds": SETTLE, "scan_seconds": NEVER} | options
        self.watch = InboxWatch(Inbox(path=path, **settings), self.bell.ring)
        self.seen: list[str] = []

    def start(self) -> None:
        """Begin to listen, and do the first scan: everything after it is told by events, or by the next scan."""
        self.watch.start()
        self.round()

    def round(self) -> None:
        """Do one round."""
        self.seen += [each.relative for each in self.watch.settled(time.monotonic(), ALL)]

    def wait_for(self, *names: str) -> None:
        """Do rounds until exactly these files have been reported."""

        def is_so() -> bool:
            heard = self.bell.count
            self.round()
            if len(self.seen) >= len(names):
                return True
            self.bell.wait(heard, min(self.watch.next_due() - time.monotonic(), 1.0))
            return False

        wait_until(is_so, f"{names} are reported; so far {self.seen}")
        assert sorted(self.seen) == sorted(names)
        self.seen.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An inbox."""
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def watcher(folder: Path, request: pytest.FixtureRequest) -> Iterator[Watcher]:
    """A watched inbox that is scanned once, at the start, and never again."""
    watcher = Watcher(folder, **getattr(request, "param", {}))
    watcher.start()
    assert watcher.watch.source.mode == "native"
    yield watcher
    watcher.watch.stop()


def write(path: Path) -> None:
    """Write a file as cp does."""
    path.write_bytes(b"content")


def move_in(path: Path) -> None:
    """Move a whole file in from another folder."""
    temporary = path.parent.parent / f"{path.name}.temporary"
    write(temporary)
    temporary.rename(path)


def link(path: Path) -> None:
    """Link a file in, as `ln` does: there is no close and no move."""
    origin = path.parent.parent / f"{path.name}.origin"
    write(origin)
    path.hardlink_to(origin)


def rename(path: Path) -> None:
    """Write under an ignored name and rename, as rsync does."""
    temporary = path.with_name(f".{path.name}.temporary")
    write(temporary)
    temporary.rename(path)


@pytest.mark.parametrize("arrive", [write, move_in, link, rename])
def test_each_way_to_arrive_is_heard(watcher: Watcher, arrive: Callable[[Path], None]) -> None:
    """A file that is closed, moved in, linked in or renamed is reported by its events alone."""
    arrive(watcher.path / "scan.pdf")
    watcher.wait_for("scan.pdf")


def test_a_name_of_any_bytes_is_heard(watcher: Watcher) -> None:
    """An event's name need not be UTF-8."""
    name = os.fsdecode(b"caf\xe9\n.pdf")
    write(watcher.path / name)
    watcher.wait_for(name)


def test_a_file_that_was_there_before_is_found(folder: Path) -> None:
    """Files that lie there at the start cause no event: the first scan finds them."""
    write(folder / "scan.pdf")
    watcher = Watcher(folder)
    watcher.start()
    watcher.wait_for("scan.pdf")
    watcher.watch.stop()


def test_each_write_is_heard(watcher: Watcher) -> None:
    """Each piece that is written to an open file is heard by itself: a slow scan starts its settle time again."""
    heard = _heard_names(watcher)
    with (watcher.path / "scan.pdf").open("wb", buffering=0) as file:
        _wait_for_events(heard, 1)
        for number in (2, 3, 4):
            file.write(b"piece")
            _wait_for_events(heard, number)
    _wait_for_events(heard, 5)
    assert set(heard) == {"scan.pdf"}


def _wait_for_events(heard: list[str], number: int) -> None:
    wait_until(lambda: len(heard) >= number, f"{number} events are heard")
    assert len(heard) == number


@pytest.mark.parametrize("watcher", [{"recursive": True}], indirect=True)
def test_folders_that_come_later_are_heard_too(watcher: Watcher) -> None:
    """Where the inbox is recursive, a subfolder that is made or moved in later is watched, with what is in it."""
    (watcher.path / "new").mkdir()
    write(watcher.path / "new/1.pdf")
    watcher.wait_for("new/1.pdf")
    (watcher.path / "new/deeper/still").mkdir(parents=True)
    write(watcher.path / "new/deeper/still/2.pdf")
    watcher.wait_for("new/deeper/still/2.pdf")
    outside = watcher.path.with_name("outside")
    outside.mkdir()
    write(outside / "3.pdf")
    outside.rename(watcher.path / "moved")
    watcher.wait_for("moved/3.pdf")
    write(watcher.path / "moved/4.pdf")
    watcher.wait_for("moved/4.pdf")


@pytest.mark.parametrize("watcher", [{"recursive": True}], indirect=True)
def test_a_folder_that_is_renamed_takes_its_files_along(watcher: Watcher) -> None:
    """A subfolder that gets another name is heard of, and its files are reported under the new one."""
    (watcher.path / "old").mkdir()
    write(watcher.path / "old/.part")
    (watcher.path / "old/.part").rename(watcher.path / "old/1.pdf")
    (watcher.path / "old").rename(watcher.path / "new")
    watcher.wait_for("new/1.pdf")


def test_without_recursion_subfolders_are_not_heard(watcher: Watcher) -> None:
    """What happens in a subfolder is no receipt's where the inbox is not recursive."""
    (watcher.path / "sub").mkdir()
    write(watcher.path / "sub/1.pdf")
    write(watcher.path / "2.pdf")
    watcher.wait_for("2.pdf")


def test_a_file_that_was_moved_away_holds_up_nothing(watcher: Watcher) -> None:
    """Each receipt that we take is moved away; watchdog would hold everything behind it for half a second."""
    assert InotifyMoveEventGrouper().delay == 0
    heard = _heard_names(watcher)
    for number in range(20):
        path = watcher.path / f"{number}.pdf"
        write(path)
        path.rename(watcher.path.parent / path.name)
    write(watcher.path / "last.pdf")
    wait_until(lambda: "last.pdf" in heard, "the event behind the moves is heard")
    assert list(dict.fromkeys(heard)) == [*(f"{number}.pdf" for number in range(20)), "last.pdf"]
    watcher.wait_for("last.pdf")


def _heard_names(watcher: Watcher) -> list[str]:
    """Return a list that each name is added to as its event comes."""
    names: list[str] = []
    hint = watcher.watch.source.on_file

    def listen(path: str) -> None:
        names.append(Path(path).name)
        hint(path)

    watcher.watch.source.on_file = listen  # type: ignore[method-assign]
    return names


def test_events_are_heard_in_watchdogs_thread_and_decided_in_ours(watcher: Watcher) -> None:
    """The observer's thread only rings: nothing is decided, and nothing of the settler changed, by it."""
    heard = watcher.bell.count
    write(watcher.path / "scan.pdf")
    wait_until(lambda: watcher.bell.count > heard, "the event is heard")
    assert len(watcher.watch.settler) == 0
    watcher.round()
    assert len(watcher.watch.settler) == 1


def test_events_that_were_lost_are_made_good_by_the_scan(folder: Path) -> None:
    """Events are hints: a file whose events all got lost is found by the next scan."""
    watcher = Watcher(folder, scan_seconds=0.1)
    watcher.start()
    watcher.watch.stop()
    write(folder / "scan.pdf")
    watcher.wait_for("scan.pdf")


def test_a_polled_inbox_needs_no_events(folder: Path) -> None:
    """Where no events come, files are found by listing the folder; no observer runs."""
    threads = set(threading.enumerate())
    watcher = Watcher(folder, observer="polling", poll_seconds=0.1)
    watcher.start()
    assert watcher.watch.source.mode == "polling"
    assert set(threading.enumerate()) == threads
    for arrive in (write, move_in, link, rename):
        arrive(folder / f"{arrive.__name__}.pdf")
    watcher.wait_for("write.pdf", "move_in.pdf", "link.pdf", "rename.pdf")
    watcher.watch.stop()


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_stopping_is_harmless_and_leaves_nothing(folder: Path, observer: str) -> None:
    """A watch may be stopped twice or unstarted, and started again; each time its threads and descriptors go."""
    threads, descriptors = set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))
    watch = InboxWatch(Inbox(path=folder, observer=observer))  # type: ignore[arg-type]  # parametrised
    watch.stop()
    for _ in range(3):
        watch.start()
        watch.stop()
        watch.stop()
    assert set(threading.enumerate()) == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_an_inbox_that_is_not_there_costs_no_thread(folder: Path) -> None:
    """Where the folder went away just before it was to be watched, the scan says so, and no thread stays behind."""
    folder.rmdir()
    watcher = Watcher(folder)
    with pytest.raises(FileNotFoundError):
        watcher.start()
    assert watcher.watch.source.mode == "polling"


def test_a_watch_goes_on_after_the_folder_was_away(folder: Path) -> None:
    """Stopped and started again, as after an unmount, it hears what comes to the folder that is there now."""
    watcher = Watcher(folder)
    watcher.start()
    watcher.watch.stop()
    folder.rename(folder.with_name("old"))
    folder.mkdir()
    watcher.start()
    write(folder / "scan.pdf")
    watcher.wait_for("scan.pdf")
    watcher.watch.stop()


OVERFLOW_FILES = 20_000  # the kernel keeps 16,384 events (fs.inotify.max_queued_events)

READER = """
import sys, time
from pathlib import Path
from receipt_watcher.config.options import Inbox
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.system.wakeup import Bell

bell, seen = Bell(), set()
watch = InboxWatch(
    Inbox(path=Path(sys.argv[1]), observer="native", settle_seconds=0.1, scan_seconds=3600), bell.ring
)
watch.start()
while len(seen) < int(sys.argv[2]):
    heard = bell.count
    seen.update(each.relative for each in watch.settled(time.monotonic(), 1000))
    print("ready", flush=True)
    bell.wait(heard, min(watch.next_due() - time.monotonic(), 1.0))
watch.stop()
print("all", flush=True)
"""


def test_nothing_is_missed_when_the_kernel_drops_events(tmp_path: Path) -> None:
    """Of 20,000 files that come while the reader stands still, the kernel drops events; a scan at once finds all."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    count = max(OVERFLOW_FILES, limit + 100)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path), str(count)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert reader.stdout is not None
        assert any(line == "ready\n" for line in reader.stdout)
        reader.send_signal(signal.SIGSTOP)
        for number in range(count):
            (tmp_path / f"{number}.pdf").write_bytes(b"x")
        reader.send_signal(signal.SIGCONT)
        said, _ = reader.communicate(timeout=60)
        assert said.endswith("all\n")
        assert "inbox.overflowed" in said
    finally:
        reader.kill()
        reader.communicate()
