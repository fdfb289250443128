"""Traces of real clients in a watched folder, replayed step by step: on a fake clock, and against the real daemon.

The steps were recorded with inotify; C is create, m modify, a attributes, W close after writing, T moved to.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.examine.judge import FileLimits, examine
from receipt_watcher.inbox.take_in import TakeIn
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system.wakeup import Bell
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import DEADLINE_SECONDS, RunningDaemon, assert_consistent, digest, jpegs, wait_until
from tests.scenarios.test_slow_writers import KINDS, LONG_AGO, knows_writer, tiff
from tests.unit.inbox.test_take_in import route_on, take_in

SETTLE_SECONDS = 2.0
PATIENCE_SECONDS = 60.0

#: A pause that is longer than the settle time; the longest that was seen inside one upload; another that was.
LONG_PAUSE_SECONDS, CIFS_PAUSE_SECONDS, STALL_SECONDS = 3.0, 2.85, 1.05

#: Interval at which the inbox is listed on the fake clock.
LOOK_SECONDS = 0.25

#: Time after the settle time until a second look at a file that was open when it had settled.
AFTERWARDS_SECONDS = 5.0

#: The real daemon settles, and all pauses pass, so many times as fast.
SPEED = 4

Pause = Callable[[float], None]
Play = Callable[[Path, bytes, Pause], None]


# --- clients that succeed ------------------------------------------------------------------------------------------


def copied(path: Path, content: bytes, pause: Pause) -> None:
    """C m m W: cp, mv between file systems, curl, scp, sftp put, vsftpd, pyftpdlib."""
    with path.open("wb", buffering=0) as file:
        write_halves(file, content, pause, STALL_SECONDS)


def copied_with_its_time(path: Path, content: bytes, pause: Pause) -> None:
    """C m m a W: cp -p, mv between file systems."""
    with path.open("wb", buffering=0) as file:
        write_halves(file, content, pause, STALL_SECONDS)
        os.utime(file.fileno(), (LONG_AGO, LONG_AGO))


def timed_afterwards(path: Path, content: bytes, pause: Pause) -> None:
    """C m m W a: sftp put -p, rsync --inplace, rclone copy the time when all is written."""
    with path.open("wb", buffering=0) as file:
        reader = os.open(path, os.O_RDONLY)
        write_halves(file, content, pause, STALL_SECONDS)
    os.utime(reader, (LONG_AGO, LONG_AGO))
    os.close(reader)


def moved(path: Path, content: bytes, pause: Pause) -> None:
    """T and nothing else, with an old time: mv on the same file system."""
    source = path.parent.parent / f"source-{path.name}"
    source.write_bytes(content)
    os.utime(source, (LONG_AGO, LONG_AGO))
    source.rename(path)


def linked(path: Path, content: bytes, pause: Pause) -> None:
    """C and nothing else: ln."""
    source = path.parent.parent / f"source-{path.name}"
    source.write_bytes(content)
    path.hardlink_to(source)


def put_by_smbclient(path: Path, content: bytes, pause: Pause) -> None:
    """C a m m a W, mode 0744: smbclient put."""
    with path.open("wb", buffering=0) as file:
        path.chmod(0o744)
        write_halves(file, content, pause, STALL_SECONDS)
        os.utime(file.fileno())


def copied_by_explorer(path: Path, content: bytes, pause: Pause) -> None:
    """C, the full size at once, (m a)…, W: as Windows copies to a share."""
    with path.open("wb", buffering=0) as file:
        file.truncate(len(content))
        for start, end in itertools.pairwise((0, len(content) // 2, len(content))):
            pause(LONG_PAUSE_SECONDS)
            file.write(content[start:end])
            os.utime(file.fileno(), (LONG_AGO, LONG_AGO))
        pause(LONG_PAUSE_SECONDS)
        assert_left_alone(path, file)


def touched_first(path: Path, content: bytes, pause: Pause) -> None:
    """C W, a while later m W: touch over SMB, ImageMagick, WebDAV PUT."""
    path.write_bytes(b"")
    pause(LONG_PAUSE_SECONDS)
    path.write_bytes(content)


def resumed(path: Path, content: bytes, pause: Pause) -> None:
    """C m W, any time later m W: SMB that opens the file anew, a resumed upload by FTP or SFTP."""
    path.write_bytes(content[: len(content) // 2])
    pause(LONG_PAUSE_SECONDS)
    resume(path, content, pause)


def written_over_cifs(path: Path, content: bytes, pause: Pause) -> None:
    """C of 0 bytes, silence, m, a second later W: a Linux client that has the share mounted by CIFS."""
    with path.open("wb", buffering=0) as file:
        pause(CIFS_PAUSE_SECONDS)
        file.write(content)
        pause(1.0)
        assert_left_alone(path, file)


def renamed_from(pattern: str) -> Play:
    """Return what writes under a temporary name, and renames: C m m W a T."""

    def play(path: Path, content: bytes, pause: Pause) -> None:
        temporary = path.parent / pattern.format(path.name)
        temporary.parent.mkdir(exist_ok=True)
        with temporary.open("wb", buffering=0) as file:
            write_halves(file, content, pause, STALL_SECONDS)
        os.utime(temporary, (LONG_AGO, LONG_AGO))
        pause(LONG_PAUSE_SECONDS)
        temporary.rename(path)

    return play


CLIENTS: dict[str, Play] = {
    "cp": copied,
    "cp-p": copied_with_its_time,
    "sftp-p": timed_afterwards,
    "mv": moved,
    "ln": linked,
    "smbclient": put_by_smbclient,
    "explorer": copied_by_explorer,
    "touch-first": touched_first,
    "resume": resumed,
    "cifs": written_over_cifs,
    "proftpd": renamed_from(".in.{}."),
    "rsync": renamed_from(".{}.Xy12Ab"),
    "rsync-delay-updates": renamed_from(".~tmp~/{}"),
    "syncthing": renamed_from(".syncthing.{}.tmp"),
    "syncthing-windows": renamed_from("~syncthing~{}.tmp"),
    "unison": renamed_from(".unison.{}.1f2e3d4c.unison.tmp"),
    "nextcloudcmd": renamed_from(".{}.~1a2b3c4d"),
    "rclone": renamed_from("{}.1a2b3c4d.partial"),
    "scanimage": renamed_from("{}.part"),
}

#: Those whose file is whole for a while before they close it.
CLOSED_LATE = frozenset({"explorer", "cifs"})


# --- clients that are cut off ----------------------------------------------------------------------------------------


def aborted(path: Path, content: bytes, pause: Pause) -> None:
    """C m W, and never more: SMB, FTP, SFTP, WebDAV."""
    path.write_bytes(content[: len(content) // 2])


def aborted_explorer(path: Path, content: bytes, pause: Pause) -> None:
    """C, the full size, m W, and never more: the size proves nothing."""
    with path.open("wb", buffering=0) as file:
        file.truncate(len(content))
        file.write(content[: len(content) // 2])


def aborted_hidden_store(path: Path, content: bytes, pause: Pause) -> None:
    """C m W T: proftpd with HiddenStores gives a torso its final name."""
    torso = path.with_name(f".in.{path.name}.")
    torso.write_bytes(content[: len(content) // 2])
    torso.rename(path)


def partial_rsync(path: Path, content: bytes, pause: Pause) -> None:
    """C m W a T: rsync --partial gives a torso its final name, with the time 0."""
    undated_rsync(path, content[: len(content) // 2], pause)


def undated_rsync(path: Path, content: bytes, pause: Pause) -> None:
    """C m W a T, the time being 0, of what happens to be well-formed as far as it goes."""
    torso = path.with_name(f".{path.name}.Zz98Yy")
    torso.write_bytes(content)
    os.utime(torso, (0, 0))
    torso.rename(path)


def touched_only(path: Path, content: bytes, pause: Pause) -> None:
    """C W, and never more: a client that fails after it has made the file."""
    path.write_bytes(b"")


def resume(path: Path, content: bytes, pause: Pause) -> None:
    """Append what is missing."""
    with path.open("ab", buffering=0) as file:
        file.write(content[path.stat().st_size :])


@dataclass(frozen=True, slots=True)
class Torso:
    """A client that is cut off; how it, or a person, comes back; and why the torso fails where nobody does."""

    play: Play
    repeat: Play
    reason: Reason


TORSOS = {
    "ftp": Torso(aborted, resume, Reason.INCOMPLETE),
    "smb": Torso(aborted, copied, Reason.INCOMPLETE),
    "explorer": Torso(aborted_explorer, copied_by_explorer, Reason.INCOMPLETE),
    "proftpd": Torso(aborted_hidden_store, renamed_from(".in.{}."), Reason.INCOMPLETE),
    "rsync": Torso(partial_rsync, renamed_from(".{}.Xy12Ab"), Reason.INCOMPLETE),
    "touch": Torso(touched_only, copied, Reason.EMPTY),
}

#: Well-formed, but the time tells.
UNDATED = Torso(undated_rsync, renamed_from(".{}.Xy12Ab"), Reason.INCOMPLETE)


# --- steps ---------------------------------------------------------------------------------------------------------


def write_halves(file: RawIOBase, content: bytes, pause: Pause, seconds: float) -> None:
    """Write a file with a pause in its middle."""
    file.write(content[: len(content) // 2])
    pause(seconds)
    file.write(content[len(content) // 2 :])


def assert_left_alone(path: Path, file: RawIOBase) -> None:
    """A file that is whole but still open is where it was, if the file system can tell that it is open."""
    if knows_writer(file):
        assert path.stat().st_ino == os.fstat(file.fileno()).st_ino


# --- on a fake clock -------------------------------------------------------------------------------------------------


class Office:
    """One inbox that is listed, and what is taken in from it, on a clock that only moves when told."""

    def __init__(self, spool: Spool, log: JobLog, clock: FakeClock) -> None:
        self.inbox, self.clock = spool.folders.inbox, clock
        self.jobs: list[Job] = []
        self._route = route_on(spool, limits=FileLimits(max_file_bytes=10**9, max_pixels=10**9))
        self._watch = InboxWatch(
            Inbox(
                path=self.inbox,
                observer="polling",
                poll_seconds=LOOK_SECONDS,
                settle_seconds=SETTLE_SECONDS,
                patience_seconds=PATIENCE_SECONDS,
            )
        )
        self._take_in = TakeIn(
            log, [self._route], examine=examine, deliveries=Bell(), filings=Bell(), clock=clock, monotonic=clock
        )
        self._watch.start()

    def pause(self, seconds: float) -> None:
        """Let time pass, and take in what has settled."""
        steps = math.ceil(seconds / LOOK_SECONDS)
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            self._look()

    def _look(self) -> None:
        settled = self._watch.settled(self.clock.now, 100)
        park = self._watch.settler.park
        self.jobs += take_in(
            self._take_in,
            self._route,
            settled,
            lambda one: park(one.settled, one.why, one.detail, self.clock.now),
        )

    def close(self) -> None:
        """Stop watching."""
        self._watch.stop()


@pytest.fixture
def office(spool: Spool, log: JobLog, clock: FakeClock) -> Iterator[Office]:
    """An office with one inbox."""
    with contextlib.closing(Office(spool, log, clock)) as office:
        yield office


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_succeeds(office: Office, client: str, suffix: str) -> None:
    """What a client wrote is taken in once, and whole; not while it writes."""
    content = KINDS[suffix](1)
    CLIENTS[client](office.inbox / f"scan.{suffix}", content, office.pause)
    office.pause(SETTLE_SECONDS + AFTERWARDS_SECONDS)
    assert [(job.sha256, job.state) for job in office.jobs] == [(digest(content), State.QUEUED)]


@pytest.mark.parametrize("client", sorted(CLIENTS.keys() - CLOSED_LATE))
def test_a_file_is_taken_when_it_has_settled(office: Office, client: str) -> None:
    """After a client's last step a file stays for the settle time, and not much longer."""
    content = KINDS["jpg"](1)
    CLIENTS[client](office.inbox / "scan.jpg", content, office.pause)
    office.pause(SETTLE_SECONDS - LOOK_SECONDS)
    assert office.jobs == []
    office.pause(3 * LOOK_SECONDS)
    assert [job.sha256 for job in office.jobs] == [digest(content)]


def test_pages_that_are_appended(office: Office) -> None:
    """C m W m W m W: tiffcp -a, well-formed after each page; taken with all its pages if none is late."""
    path = office.inbox / "scan.tif"
    for before, state in itertools.pairwise([b"", *(tiff(1, pages) for pages in (1, 2, 3))]):
        office.pause(SETTLE_SECONDS - LOOK_SECONDS)
        with path.open("r+b" if before else "wb", buffering=0) as file:
            os.pwrite(file.fileno(), state[len(before) :], len(before))
            os.pwrite(file.fileno(), state[: len(before)], 0)
    assert office.jobs == []
    office.pause(SETTLE_SECONDS + 2 * LOOK_SECONDS)
    assert [job.sha256 for job in office.jobs] == [digest(tiff(1, 3))]


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("client", TORSOS)
def test_a_torso_waits_for_its_client(office: Office, client: str, suffix: str) -> None:
    """A torso stays in the inbox; when its client comes back, the whole file is taken, once."""
    torso, content, path = TORSOS[client], KINDS[suffix](1), office.inbox / f"scan.{suffix}"
    torso.play(path, content, office.pause)
    office.pause(PATIENCE_SECONDS / 2)
    assert office.jobs == []
    assert path.read_bytes() != content
    torso.repeat(path, content, office.pause)
    office.pause(SETTLE_SECONDS + AFTERWARDS_SECONDS)
    assert [(job.sha256, job.state) for job in office.jobs] == [(digest(content), State.QUEUED)]


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("client", TORSOS)
def test_a_torso_that_nobody_completes(office: Office, client: str, suffix: str) -> None:
    """A torso fails when the patience with it is over, and says why."""
    torso, content, path = TORSOS[client], KINDS[suffix](1), office.inbox / f"scan.{suffix}"
    torso.play(path, content, office.pause)
    written = path.read_bytes()
    office.pause(PATIENCE_SECONDS - 1)
    assert office.jobs == []
    office.pause(SETTLE_SECONDS)
    assert [(job.sha256, job.state, job.reason) for job in office.jobs] == [
        (digest(written), State.FAILURE, torso.reason)
    ]


@pytest.mark.parametrize("suffix", KINDS)
def test_the_time_0_tells_a_torso(office: Office, suffix: str) -> None:
    """A file with the time 0 waits for its client, although it is well-formed; with a time it is taken, once."""
    content, path = KINDS[suffix](1), office.inbox / f"scan.{suffix}"
    UNDATED.play(path, content, office.pause)
    office.pause(PATIENCE_SECONDS / 2)
    assert office.jobs == []
    UNDATED.repeat(path, content, office.pause)
    office.pause(SETTLE_SECONDS + AFTERWARDS_SECONDS)
    assert [(job.sha256, job.state) for job in office.jobs] == [(digest(content), State.QUEUED)]


# --- against the real daemon ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of all the clients at once, when the daemon has ended."""

    daemon: RunningDaemon
    clients: Mapping[str, Future[None]]
    contents: Mapping[str, bytes]
    deliveries: Sequence[ReceivedPost]
    torsos: Mapping[str, bytes]  # what was left alone in the inbox while other files were taken
    others: Sequence[bytes]

    def assert_arrived(self, name: str) -> None:
        """A client ran to its end, and its file was delivered once, whole."""
        self.clients[name].result()
        arrived = [delivery.sha256 for delivery in self.deliveries if delivery.filename == name]
        assert arrived == [digest(self.contents[name])]


def pause_for_real(seconds: float) -> None:
    """Let time pass, as fast as the daemon of these tests settles."""
    threading.Event().wait(seconds / SPEED)


def has_arrived(sha256: str, n8n: StandIn) -> bool:
    """Return whether a receipt with this digest was delivered."""
    return any(delivery.sha256 == sha256 for delivery in n8n.deliveries)


def name_of(client: str, number: int) -> str:
    """Return the name of a client's file; the kinds take turns."""
    return f"{client}.{list(KINDS)[number % len(KINDS)]}"


SUCCEEDING = {name_of(client, number): play for number, (client, play) in enumerate(CLIENTS.items())}
CUT_OFF = {
    name_of(f"{client}-aborted", number): torso
    for number, (client, torso) in enumerate((TORSOS | {"undated": UNDATED}).items())
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All clients at once; those that were cut off come back at the end."""
    root = tmp_path_factory.mktemp("traces")
    options = {"settle_seconds": SETTLE_SECONDS / SPEED, "patience_seconds": 600}
    contents = {name: KINDS[Path(name).suffix[1:]](seed) for seed, name in enumerate([*SUCCEEDING, *CUT_OFF])}
    others = jpegs(2)
    with (
        StandIn(token=TOKEN) as n8n,
        RunningDaemon(root, n8n.webhook_url, TOKEN, inbox=options) as daemon,
        ThreadPoolExecutor(64) as pool,
    ):

        def begin(plays: Mapping[str, Play]) -> dict[str, Future[None]]:
            return {
                name: pool.submit(play, daemon.inbox / name, contents[name], pause_for_real)
                for name, play in plays.items()
            }

        torsos = begin({name: torso.play for name, torso in CUT_OFF.items()})
        clients = begin(SUCCEEDING)
        for future in [*torsos.values(), *clients.values()]:
            future.exception()  # each test tells its own
        for number, content in enumerate(others):  # what was there before them had time enough
            daemon.drop(f"other-{number}.jpg", content)
            n8n.wait_for(functools.partial(has_arrived, digest(content)), DEADLINE_SECONDS)
        left = {path.name: path.read_bytes() for path in daemon.files(daemon.inbox)}
        clients |= begin({name: torso.repeat for name, torso in CUT_OFF.items()})
        with contextlib.suppress(AssertionError):  # each test says what is missing
            wait_until(lambda: daemon.is_quiet(len(contents) + len(others)), "all are done")
        return Outcome(daemon, clients, contents, n8n.deliveries, left, others)


@pytest.mark.parametrize("name", SUCCEEDING)
def test_what_a_client_wrote_arrives(outcome: Outcome, name: str) -> None:
    """What a client wrote is delivered once, and whole."""
    outcome.assert_arrived(name)


@pytest.mark.parametrize("name", CUT_OFF)
def test_a_torso_does_not_arrive(outcome: Outcome, name: str) -> None:
    """A torso is left in the inbox, while files that came later are taken; completed, it is delivered once, whole."""
    assert name in outcome.torsos
    outcome.assert_arrived(name)


def test_nothing_else_arrives(outcome: Outcome) -> None:
    """All receipts are in done/ and nothing else is anywhere: no torso, and nothing under a temporary name."""
    assert outcome.daemon.is_quiet(len(outcome.contents) + len(outcome.others))
    jobs = assert_consistent(outcome.daemon, outcome.deliveries, [*outcome.contents.values(), *outcome.others])
    assert {job.folder for job in jobs.values()} == {Folder.DONE}


def test_what_a_link_was_made_of_stays(outcome: Outcome) -> None:
    """A receipt that was linked into the inbox is still whole where it was linked from."""
    (name,) = (name for name in SUCCEEDING if name.startswith("ln."))
    assert (outcome.daemon.root / f"source-{name}").read_bytes() == outcome.contents[name]
