"""The watch over an inbox: files that it notices, and their settling; on a clock that only moves when told."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs
from watchdog.observers import Observer, inotify_c

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.watching import watch as inbox
from receipt_watcher.inbox.watching.event_source import RETRY_WATCHES_SECONDS
from receipt_watcher.inbox.watching.kernel_events import _reader_of
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.spool.reason_file import write_note
from receipt_watcher.system.mounts import Mount, mount_of
from tests.conftest import FakeClock
from tests.fakes.daemons.process import wait_until
from tests.unit.inbox.watching.test_ignored import IGNORED, TAKEN
from tests.unit.system.disk_faults import AT_ONCE

SETTLE = 2.0
PATIENCE = 60.0
ALL = 1000


# --- a real folder ---


def watch_on(path: Path, **options: Any) -> InboxWatch:
    """Return a watch on a folder that is scanned at every look."""
    return InboxWatch(Inbox(path=path, settle_seconds=SETTLE, patience_seconds=PATIENCE, poll_seconds=0.1, **options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An inbox."""
    path = tmp_path / "inbox"
    path.mkdir()
    return path


def look(watch: InboxWatch, now: float, limit: int = ALL) -> list[str]:
    """Do one round, and return the names of what has settled."""
    return [each.relative for each in watch.settled(now, limit)]


def settled(watch: InboxWatch, clock: FakeClock) -> list[str]:
    """Let what is there settle, and return it."""
    return sorted([*look(watch, clock.now), *look(watch, clock.advance(SETTLE))])


def test_what_was_there_at_start_settles_as_any_other(folder: Path, clock: FakeClock) -> None:
    """A file that was there before us may still be being written: it waits for its settle time."""
    (folder / "scan.pdf").write_bytes(b"content")
    os.utime(folder / "scan.pdf", (1, 1))
    watch = watch_on(folder)
    assert look(watch, clock.now) == []
    assert look(watch, clock.advance(SETTLE)) == ["scan.pdf"]


def test_a_copy_in_twenty_pieces_is_seen_whole(folder: Path, clock: FakeClock) -> None:
    """A copy on a real folder is reported once, after its last piece."""
    watch = watch_on(folder)
    for piece in range(20):
        with (folder / "scan.pdf").open("ab") as file:
            file.write(b"piece %d" % piece)
        assert look(watch, clock.advance(SETTLE - 0.1)) == []
    assert settled(watch, clock) == ["scan.pdf"]


def test_a_temporary_name_that_becomes_the_real_one(folder: Path, clock: FakeClock) -> None:
    """What rsync and browsers do: the hidden name is never reported, the real one after its settle time."""
    watch = watch_on(folder)
    (folder / ".scan.pdf.part").write_bytes(b"content")
    assert settled(watch, clock) == []
    (folder / ".scan.pdf.part").rename(folder / "scan.pdf")
    assert look(watch, clock.advance(1)) == []
    assert settled(watch, clock) == ["scan.pdf"]


def test_another_file_under_the_name_starts_again(folder: Path, clock: FakeClock) -> None:
    """A file that is replaced by one of the same size and time is another file, by its inode."""
    for name in ("scan.pdf", ".other"):
        (folder / name).write_bytes(b"content")
        os.utime(folder / name, (1, 1))
    watch = watch_on(folder)
    assert look(watch, clock.now) == []
    (folder / ".other").replace(folder / "scan.pdf")
    assert look(watch, clock.advance(SETTLE)) == []
    assert look(watch, clock.advance(SETTLE)) == ["scan.pdf"]


def test_ignored_names_are_not_even_waited_for(folder: Path, clock: FakeClock) -> None:
    """Whatever bears an ignored name is not looked at, by scan or by event, however long it lies there."""
    for relative in IGNORED:
        if relative != "." and "\udce9" not in relative:
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / relative).write_bytes(b"content")
    watch = watch_on(folder, recursive=True)
    for relative in IGNORED:
        watch.source.on_file(f"{folder}/{relative}")
    assert settled(watch, clock) == []
    assert len(watch.settler) == 0


def test_every_other_file_is_reported(folder: Path, clock: FakeClock) -> None:
    """Names of any bytes are reported as the file system has them."""
    for relative in TAKEN:
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_bytes(b"content")
    assert settled(watch_on(folder, recursive=True), clock) == sorted(TAKEN)


def test_our_notes_are_not_taken_and_others_are(folder: Path, clock: FakeClock) -> None:
    """A note of ours that came along with its file is left alone; somebody's receipt of such a name is taken."""
    write_note(folder / "scan.pdf.reason.txt", "01900000-0000-7000-8000-000000000001", "text")
    (folder / "x.reason.txt").write_text("Receipt of the Reason Ltd")
    watch = watch_on(folder)
    for name in ("scan.pdf.reason.txt", "x.reason.txt"):
        watch.source.on_file(f"{folder}/{name}")
    assert settled(watch, clock) == ["x.reason.txt"]


@pytest.mark.parametrize(("recursive", "expected"), [(False, ["a.pdf"]), (True, ["a.pdf", "sub/b.pdf", "sub/x/c.pdf"])])
def test_subfolders_only_where_they_are_wanted(
    folder: Path, clock: FakeClock, *, recursive: bool, expected: list[str]
) -> None:
    """Subfolders are read where the inbox is recursive, and are no receipts themselves."""
    (folder / "sub/x").mkdir(parents=True)
    for relative in ("a.pdf", "sub/b.pdf", "sub/x/c.pdf"):
        (folder / relative).write_bytes(b"content")
    assert settled(watch_on(folder, recursive=recursive), clock) == expected


@AT_ONCE
def test_links_and_pipes_are_never_taken(folder: Path, tmp_path: Path, clock: FakeClock) -> None:
    """A link leads out of the inbox and a pipe never ends: neither is followed, read or reported."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file.pdf").write_bytes(b"secret")
    (folder / "file.pdf").symlink_to(tmp_path / "secret/file.pdf")
    (folder / "folder").symlink_to(tmp_path / "secret")
    (folder / "dangling.pdf").symlink_to("nowhere")
    for name in ("pipe.pdf", "pipe.reason.txt"):
        os.mkfifo(folder / name)
    watch = watch_on(folder, recursive=True)
    for name in ("file.pdf", "folder/file.pdf", "dangling.pdf", "pipe.pdf", "pipe.reason.txt"):
        if name != "folder/file.pdf":  # an event never comes from behind a link
            watch.source.on_file(f"{folder}/{name}")
    assert settled(watch, clock) == []


def test_an_unreadable_subfolder_delays_nobody(folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subfolder that shuts us out, or went away meanwhile, is passed over; the rest is reported."""
    for relative in ("a/1.pdf", "b/2.pdf"):
        (folder / relative).parent.mkdir()
        (folder / relative).write_bytes(b"content")
    _shut(folder / "a", monkeypatch)
    assert settled(watch_on(folder, recursive=True), clock) == ["b/2.pdf"]


def test_an_inbox_that_cannot_be_read_is_not_empty(
    folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inbox that is gone, or shuts us out, is an error: never taken for one without files."""
    watch = watch_on(folder)
    with monkeypatch.context() as patch:
        _shut(folder, patch)
        with pytest.raises(PermissionError):
            watch.settled(clock.now, ALL)
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        watch.settled(clock.now, ALL)
    folder.mkdir()
    (folder / "scan.pdf").write_bytes(b"content")
    assert settled(watch, clock) == ["scan.pdf"]


def _shut(shut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path) == shut:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_parked_files_that_go_are_forgotten_by_the_scan(folder: Path, clock: FakeClock) -> None:
    """An empty file that was removed is not waited for."""
    (folder / "scan.pdf").touch()
    watch = watch_on(folder)
    assert settled(watch, clock) == []
    assert list(watch.settler.parked) == ["scan.pdf"]
    (folder / "scan.pdf").unlink()
    assert settled(watch, clock) == []
    assert watch.settler.parked == {}


def test_a_polled_inbox_is_listed_at_its_interval(folder: Path, clock: FakeClock) -> None:
    """Between two listings nothing is read: a share is asked no more often than it was configured."""
    watch = InboxWatch(Inbox(path=folder, settle_seconds=SETTLE, poll_seconds=5))
    assert look(watch, clock.now) == []
    (folder / "scan.pdf").write_bytes(b"content")
    assert look(watch, clock.advance(4.9)) == []
    assert len(watch.settler) == 0
    assert watch.next_due() == pytest.approx(clock.now + 0.1)
    assert look(watch, clock.advance(0.1)) == []
    assert watch.next_due() == clock.now + SETTLE
    assert look(watch, clock.advance(SETTLE)) == ["scan.pdf"]


# --- whatever writers do ---

NAMES = ("a.pdf", "b.pdf", "sub/a.pdf")


class Writers(RuleBasedStateMachine):
    """Writers do what they like with real files; what is reported was left alone for its time, and nothing is lost."""

    def __init__(self) -> None:
        super().__init__()
        self._root = Path(tempfile.mkdtemp())
        self._inbox = self._root / "inbox"
        (self._inbox / "sub").mkdir(parents=True)
        self._clock = FakeClock()
        self._watch = watch_on(self._inbox, recursive=True)
        self._changed: dict[str, float] = {}  # what is in the inbox, and when it was last changed
        self._whole: dict[str, bytes] = {}
        self._reported: list[bytes] = []
        self._dropped: list[bytes] = []
        self._ticks = 0

    def _did(self, name: str, content: bytes, *, told: bool) -> None:
        """Note a change; every one moves the file's time, as it does while time goes by."""
        self._ticks += 1
        stamp = int(self._clock.now * 1_000_000_000) + self._ticks
        os.utime(self._inbox / name, ns=(stamp, stamp))
        self._changed[name] = self._clock.now
        self._whole[name] = content
        self._tell(name, told=told)

    def _tell(self, name: str, *, told: bool) -> None:
        if told:
            self._watch.source.on_file(f"{self._inbox}/{name}")

    def _forget(self, name: str) -> None:
        del self._changed[name], self._whole[name]

    @rule(name=st.sampled_from(NAMES), content=st.binary(max_size=3), told=st.booleans())
    def write(self, name: str, content: bytes, *, told: bool) -> None:
        """Write a file, over whatever was there."""
        (self._inbox / name).write_bytes(content)
        self._did(name, content, told=told)

    @rule(name=st.sampled_from(NAMES), more=st.binary(min_size=1, max_size=3), told=st.booleans())
    def append(self, name: str, more: bytes, *, told: bool) -> None:
        """Write the next piece of a file, or its first."""
        with (self._inbox / name).open("ab") as file:
            file.write(more)
        self._did(name, self._whole.get(name, b"") + more, told=told)

    @rule(name=st.sampled_from(NAMES), content=st.binary(max_size=3), told=st.booleans())
    def move_in(self, name: str, content: bytes, *, told: bool) -> None:
        """Put a whole file into its place by one rename."""
        (self._root / "temporary").write_bytes(content)
        (self._root / "temporary").replace(self._inbox / name)
        self._did(name, content, told=told)

    @precondition(lambda self: self._changed)
    @rule(picked=st.data(), to=st.sampled_from(NAMES), told=st.booleans())
    def rename(self, picked: st.DataObject, to: str, *, told: bool) -> None:
        """Give a file another name."""
        name = picked.draw(st.sampled_from(sorted(self._changed)))
        if name == to:
            return
        (self._inbox / name).replace(self._inbox / to)
        content = self._whole[name]
        self._forget(name)
        self._tell(name, told=told)
        self._did(to, content, told=told)

    @precondition(lambda self: self._changed)
    @rule(picked=st.data(), told=st.booleans())
    def delete(self, picked: st.DataObject, *, told: bool) -> None:
        """Take a file back."""
        name = picked.draw(st.sampled_from(sorted(self._changed)))
        (self._inbox / name).unlink()
        self._forget(name)
        self._tell(name, told=told)

    @rule(
        seconds=st.sampled_from([0.0, 0.05, 0.5, SETTLE / 2, SETTLE - 0.05, SETTLE, PATIENCE]),
        limit=st.integers(1, 3),
    )
    def look(self, seconds: float, limit: int) -> None:
        """Let time pass, and take what is reported."""
        self._clock.advance(seconds)
        for name in look(self._watch, self._clock.now, limit):
            content = (self._inbox / name).read_bytes()
            assert name in self._changed, f"{name} is not there, or was reported before"
            assert content == self._whole[name]
            quiet = self._clock.now - self._changed[name]
            assert quiet >= (SETTLE if content else PATIENCE) - 1e-6, f"{name} was changed {quiet} s ago"
            (self._inbox / name).unlink()
            self._forget(name)

    @invariant()
    def nothing_else_is_there(self) -> None:
        """The inbox holds what was put there and not taken."""
        there = {str(path.relative_to(self._inbox)) for path in self._inbox.rglob("*.pdf")}
        assert there == set(self._changed)

    def teardown(self) -> None:
        """Check that after all have stopped, every file is reported whole."""
        try:
            for _ in range(4):
                self.look(SETTLE, ALL)
            self.look(PATIENCE, ALL)
            assert self._changed == {}, "never reported"
            assert self._watch.settler.parked == {}
        finally:
            shutil.rmtree(self._root)


Writers.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
test_whatever_writers_do = Writers.TestCase


# --- file systems ---


def mounted(tmp_path: Path, *mounts: tuple[str, str]) -> Path:
    """Return a mountinfo with these mounts, the last one being the newest."""
    lines = [
        f"{20 + number} {19 + number} 0:{number} / {point} rw,relatime shared:{number} master:1 - {kind} source rw"
        for number, (point, kind) in enumerate(mounts)
    ]
    path = tmp_path / "mountinfo"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8", "surrogateescape")
    return path


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ([("/", "ext4")], "ext4"),
        ([("/", "ext4"), ("{}", "cifs")], "cifs"),
        ([("/", "ext4"), ("{}/office", "nfs4")], "nfs4"),
        ([("/", "ext4"), ("{}/office/inbox", "fuse.sshfs")], "fuse.sshfs"),
        ([("/", "ext4"), ("{}/office/in", "cifs")], "ext4"),
        ([("/", "ext4"), ("{}/office/inbox/sub", "cifs")], "ext4"),
        ([("/", "ext4"), ("{}/office2", "cifs"), ("{}/off", "cifs")], "ext4"),
        ([("/", "ext4"), ("{}", "xfs"), ("{}/office", "cifs")], "cifs"),
        ([("/", "ext4"), ("{}/office", "cifs"), ("{}", "xfs"), ("/proc", "proc")], "cifs"),
        ([("/", "ext4"), ("{}/office", "xfs"), ("{}/office", "cifs")], "cifs"),
        ([("/", "rootfs"), ("/", "ext4")], "ext4"),
        ([], ""),
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(
    tmp_path: Path, mounts: list[tuple[str, str]], expected: str
) -> None:
    """A path is on the innermost mount above it; of two on one place the newer one is on top."""
    table = mounted(tmp_path, *((point.format(tmp_path), kind) for point, kind in mounts))
    assert mount_of(tmp_path / "office/inbox", table).file_system == expected


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("Scan Eingang", r"Scan\040Eingang"),
        ("a\tb", r"a\011b"),
        ("a\\b", r"a\134b"),
        ("a\nb", r"a\012b"),
        ("Ü", "Ü"),
        ("a\u2028b", "a\u2028b"),
    ],
)
def test_names_in_the_mount_table_are_escaped(tmp_path: Path, name: str, escaped: str) -> None:
    """Blanks and the like are written in octal in the mount table."""
    table = mounted(tmp_path, ("/", "ext4"), (f"{tmp_path}/{escaped}", "cifs"))
    assert mount_of(tmp_path / name / "inbox", table).file_system == "cifs"


def test_a_link_to_a_share_is_on_the_share(tmp_path: Path) -> None:
    """What counts is where a path leads, not how it is written."""
    (tmp_path / "share").mkdir()
    (tmp_path / "inbox").symlink_to(tmp_path / "share")
    table = mounted(tmp_path, ("/", "ext4"), (f"{tmp_path}/share", "cifs"))
    assert mount_of(tmp_path / "inbox", table).file_system == "cifs"


def test_without_a_mount_table_it_cannot_be_told(tmp_path: Path) -> None:
    """Where there is no /proc, the file system is unknown, and that is no error."""
    assert mount_of(tmp_path, tmp_path / "nowhere").file_system == ""


@pytest.mark.parametrize(
    ("file_system", "observer", "mode"),
    [
        *((kind, "auto", "polling") for kind in ("cifs", "smb3", "nfs", "nfs4", "9p", "virtiofs")),
        *((kind, "auto", "polling") for kind in ("fuse.sshfs", "fuse.rclone", "fuse")),
        *((kind, "auto", "native") for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "")),
        ("cifs", "native", "native"),
        ("ext4", "polling", "polling"),
    ],
)
def test_events_are_expected_where_they_can_come(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file_system: str, observer: str, mode: str
) -> None:
    """Where the other side's writes cause no event the inbox is polled; what is configured goes before."""
    monkeypatch.setattr(inbox, "mount_of", lambda _: Mount("/", file_system))
    watch = watch_on(folder, observer=observer)
    with capture_logs() as lines:
        watch.start()
    watch.stop()
    assert watch.source.mode == mode
    assert [(line["event"], line["mode"]) for line in lines] == [("inbox.watched", mode)]


def _too_many(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EMFILE, "inotify instance limit reached")


@pytest.mark.parametrize("part", ["made", "scheduled", "started"])
def test_without_inotify_an_inbox_is_polled(
    folder: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock, part: str
) -> None:
    """Used-up limits of inotify, wherever they show, cost the events, not the receipts; no thread stays behind."""

    def observer() -> Any:
        if part == "made":
            _too_many()
        found = Observer()
        monkeypatch.setattr(found, "schedule" if part == "scheduled" else "start", _too_many)
        return found

    monkeypatch.setattr("receipt_watcher.inbox.watching.kernel_events.Observer", observer)
    watch = watch_on(folder, observer="native")
    watch.source.mode = "native"  # as it was before the inbox was away for a while
    with capture_logs() as lines:
        watch.start()
    assert watch.source.mode == "polling"
    assert lines[:-1] == [
        {
            "event": "inbox.polled",
            "log_level": "warning",
            "inbox": "inbox",
            "why": "no events ([Errno 24] inotify instance limit reached); listing the folder instead",
        }
    ]
    (folder / "scan.pdf").write_bytes(b"content")
    assert settled(watch, clock) == ["scan.pdf"]
    watch.stop()


# --- watches that run out ------------------------------------------------------------------------------------------


class Kernel:
    """The kernel's inotify_add_watch, which gives only some watches more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._add = inotify_c.inotify_add_watch
        self.left = 1000
        monkeypatch.setattr(inotify_c, "inotify_add_watch", self.add)

    def add(self, descriptor: int, path: bytes, mask: int) -> int:
        """Add a watch, or fail as it does at fs.inotify.max_user_watches."""
        if self.left <= 0:
            ctypes.set_errno(errno.ENOSPC)
            return -1
        self.left -= 1
        return self._add(descriptor, path, mask)


def test_subfolders_without_a_watch_are_told_and_listed(
    folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When watches run out after the start, it is said where one looks, and nothing waits longer than by polling."""
    kernel = Kernel(monkeypatch)
    watch = watch_on(folder, observer="native", recursive=True)
    watch.start()
    try:
        (folder / "before").mkdir()
        wait_until(lambda: watch.source._new_folders, "the new folder is heard of")
        look(watch, clock.advance(61))
        look(watch, clock.advance(2))
        assert watch.source.degraded is None
        kernel.left = 0
        with capture_logs() as lines:
            (folder / "after").mkdir()
            (folder / "after" / "later").mkdir()
            wait_until(lambda: watch.source._new_folders, "the new folder is heard of")
            look(watch, clock.advance(2))
            early = watch.source.degraded  # it may be watched in a moment
            look(watch, clock.advance(2))
            assert str(watch.source.degraded).startswith("1 subfolder is not watched; ")
            look(watch, clock.advance(2))
            look(watch, clock.advance(2))
        assert early is None
        assert watch.source.why_mode.startswith(
            "2 subfolders are not watched, such as after: raise fs.inotify.max_user_watches"
        )
        assert [line["event"] for line in lines] == ["inbox.watches_lacking"]
        assert (watch.source.mode, watch.next_due() <= clock() + 0.2) == ("native", True)
        (folder / "after" / "later" / "scan.pdf").write_bytes(b"content")
        clock.advance(1)
        assert settled(watch, clock) == ["after/later/scan.pdf"]
        kernel.left = 1000
        with capture_logs() as lines:
            look(watch, clock.advance(RETRY_WATCHES_SECONDS))
        assert [line["event"] for line in lines] == ["inbox.watches_back"]
        assert watch.source.degraded is None
    finally:
        watch.stop()


@pytest.mark.parametrize(("is_recursive", "name"), [(False, "sub"), (True, ".stfolder"), (True, "@eaDir/sub")])
def test_subfolders_that_are_not_looked_into_need_no_watch(
    folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, is_recursive: bool, name: str
) -> None:
    """A subfolder of an inbox that is not recursive, or one that is ignored, is nobody's loss without a watch."""
    kernel = Kernel(monkeypatch)
    watch = watch_on(folder, observer="native", recursive=is_recursive)
    watch.start()
    try:
        kernel.left = 0
        (folder / name).mkdir(parents=True)
        wait_until(lambda: watch.source._new_folders, "the new folder is heard of")
        for _ in range(3):
            look(watch, clock.advance(2))
        assert (watch.source.degraded, watch.source.why_mode) == (None, "configured")
    finally:
        watch.stop()


def test_a_watch_that_could_not_be_had_is_tried_again(
    folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An inbox that is listed for want of a watch has events again when one can be had."""
    kernel = Kernel(monkeypatch)
    kernel.left = 0
    watch = watch_on(folder, observer="native")
    watch.start()
    try:
        assert (watch.source.mode, bool(watch.source.degraded)) == ("polling", True)
        look(watch, clock.advance(1))
        assert watch.source.mode == "polling"
        kernel.left = 10
        with capture_logs() as lines:
            look(watch, clock.advance(RETRY_WATCHES_SECONDS))
        assert (watch.source.mode, watch.source.degraded) == ("native", None)
        assert [line["event"] for line in lines] == ["inbox.watches_back"]
    finally:
        watch.stop()


def test_a_dead_reader_of_events_is_noticed(folder: Path, clock: FakeClock) -> None:
    """If an error ends the thread that reads the kernel's events, the inbox opens anew, with another one."""
    watch = watch_on(folder, observer="native")
    watch.start()
    try:
        observer = watch.source._events._observer if watch.source._events else None
        assert observer is not None
        (reader,) = map(_reader_of, observer.emitters)
        assert reader is not None
        reader.stop()  # type: ignore[attr-defined]  # watchdog's own kind of thread
        reader.join()
        with pytest.raises(OSError, match="was removed and made anew"):
            look(watch, clock.advance(1))
        watch.start()
        assert watch.source.mode == "native"
        look(watch, clock.advance(1))
    finally:
        watch.stop()
