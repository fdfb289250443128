"""The examiners: whatever a file does to one, it says so in words, and harms nothing else."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.sections.limits import Limits
from receipt_watcher.examine import pool as examinerpool
from receipt_watcher.examine import worker as examiner
from receipt_watcher.examine.examiners import Bounds, Examiners
from receipt_watcher.examine.judge import _KINDS, examine
from receipt_watcher.examine.pool import ExaminerPool
from receipt_watcher.examine.process import Examiner
from receipt_watcher.examine.result import (
    ACCEPTED_MIME_TYPES,
    MAX_DIGEST_BYTES,
    READY,
    Examination,
    FileLimits,
    Judgement,
    Refusal,
    failed,
    judged,
    question,
    read_answer,
    read_question,
    troubled,
)
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.system import cpu, disk
from receipt_watcher.system.cpu import processors
from tests.conftest import TOKEN
from tests.fakes.daemons import hostile_examiner
from tests.fakes.daemons.fork_server import server_pids
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, jpegs, wait_until
from tests.unit.examine.test_judge import KINDS, MIME_TYPES, sample

LIMITS = FileLimits(max_file_bytes=50_000_000, max_pixels=250_000_000)
BOUNDS = Bounds(cpu_seconds=1, memory_bytes=300 * 1024 * 1024)


@pytest.fixture
def genuine() -> Iterator[Examiners]:
    """Examiners as the daemon has them."""
    with Examiners(Bounds(cpu_seconds=20, memory_bytes=1024**3)) as found:
        yield found


@pytest.fixture
def plugged() -> Iterator[Examiners]:
    """Examiners that do what the files say."""
    with Examiners(BOUNDS, module=hostile_examiner.MODULE) as found:
        yield found


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started, and that have not been waited for, without the fork server."""
    listed = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [child for children in listed for child in map(int, children) if child not in server_pids()]


def is_running(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- the same as ever ---


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_a_direct_examination_says(kind: str, genuine: Examiners, tmp_path: Path) -> None:
    """Of a whole, a cut and a disguised receipt of each kind the examiner says the same, with the same digest."""
    contents = {"scan.jpg": sample(kind), "cut": sample(kind)[:-9], "large": sample(kind) + bytes(600_000)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert genuine.examine(tmp_path / name, LIMITS) == examine(tmp_path / name, LIMITS)
    assert genuine.examine(tmp_path / "scan.jpg", LIMITS).mime_type == MIME_TYPES[kind]


def test_odd_files(genuine: Examiners, tmp_path: Path) -> None:
    """An empty file, text, and names that are no UTF-8, or as long as a name may be, pass through as they are."""
    for name in (b"caf\xe9.jpg", b"a\nb.pdf", "é".encode() * 125 + b".jpg", b"\xff" * 255):
        path = tmp_path / os.fsdecode(name)
        for content in (b"", b"Only words.\n" * 9, bytes(99), sample("jpeg")):
            path.write_bytes(content)
            assert genuine.examine(path, LIMITS) == examine(path, LIMITS)


def test_a_file_that_may_not_be_read(genuine: Examiners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions are the daemon's own to meet: the file is unreadable, as ever, and no examiner is asked."""
    path = tmp_path / "scan.jpg"
    path.write_bytes(b"12345")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(disk, "open_plainly", refuse)
    found = genuine.examine(path, LIMITS)
    assert (found.size, found.sha256, found.refusal and found.refusal.reason) == (5, None, Reason.UNREADABLE)
    assert children_of(os.getpid()) == []


def test_the_systems_trouble_passes_through(
    genuine: Examiners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is gone, a link, or a disk that does not give it, is an OSError and nobody's fault."""
    with pytest.raises(FileNotFoundError):
        genuine.examine(tmp_path / "gone.jpg", LIMITS)
    (tmp_path / "link.jpg").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        genuine.examine(tmp_path / "link.jpg", LIMITS)
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "read_digest", refuse)
        with pytest.raises(OSError, match="Input/output"):
            genuine.examine(tmp_path / "scan.jpg", LIMITS)
    assert genuine.examine(tmp_path / "scan.jpg", LIMITS).refusal is None


@pytest.mark.long
def test_one_examiner_for_many_files(genuine: Examiners, tmp_path: Path) -> None:
    """Ten thousand tiny files take one process after the other, no descriptor stays open, and each has its reason."""
    path = tmp_path / "tiny"
    pids: set[int] = set()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(10_000):
        path.write_bytes(number.to_bytes(3, "big") * (number % 7 + 1))
        found = genuine.examine(path, LIMITS)
        assert found.refusal is not None
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        pids.update(children_of(os.getpid()) if number % 1000 == 0 else ())
    assert len(pids) == 1
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 10


def test_several_at_once(genuine: Examiners, tmp_path: Path) -> None:
    """Several threads examine at once, and there are never more examiners than processors and one."""
    for number in range(24):
        (tmp_path / str(number)).write_bytes(sample(KINDS[number % len(KINDS)])[: -1 if number % 3 == 0 else None])
    paths = [tmp_path / str(number) for number in range(24)]
    alone = [examine(path, LIMITS) for path in paths]
    barrier = threading.Barrier(4)

    def start(_: int) -> list[Examination]:
        barrier.wait()
        return [genuine.examine(path, LIMITS) for path in paths]

    with ThreadPoolExecutor(4) as pool:
        assert all(found == alone for found in pool.map(start, range(4)))
    assert 1 <= len(children_of(os.getpid())) <= processors() + 1


def test_an_examiner_is_replaced_in_time(genuine: Examiners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some thousands of files a fresh one takes over, unheard."""
    monkeypatch.setattr(examinerpool, "FILES_EACH", 2)
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    pids: list[int] = []
    with capture_logs() as lines:
        for _ in range(4):
            assert genuine.examine(tmp_path / "scan.jpg", LIMITS).refusal is None
            pids += children_of(os.getpid())
    assert len(pids) == len(set(pids)) == 2
    assert lines == []


def test_an_idle_examiner_that_was_killed_is_no_files_fault(genuine: Examiners, tmp_path: Path) -> None:
    """One that the system killed while it had nothing to do is replaced, and nothing is said of the next file."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    with capture_logs() as lines:
        genuine.examine(tmp_path / "scan.jpg", LIMITS)
        (pid,) = children_of(os.getpid())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), "it is gone")
        assert genuine.examine(tmp_path / "scan.jpg", LIMITS).refusal is None
    assert lines == []


# --- what breaks one ---

BREAKS = {
    "segfault": "The examiner was ended by SIGSEGV, as by a fault in a library.",
    "abort": "The examiner was ended by SIGABRT, "
    "as by libraries that get no more memory (limits.examination_mb), or find themselves in disorder.",
    "loop": "The examiner computed for more than 1 seconds (limits.examination_seconds) without coming to an end.",
    "allocate": "The examiner needed more than 300 MB of memory (limits.examination_mb).",
    "leave": "The examiner ended with exit code 3.",
    "garble": "The examiner said something that makes no sense.",
    "flood": "The examiner said something that makes no sense.",
    "stumble": "The examiner failed: RecursionError('maximum recursion depth\\nexceeded').",
    "core": "The examiner ended with exit code 10.",
}


@pytest.mark.parametrize("deed", BREAKS)
def test_a_file_that_breaks_the_examiner_is_refused(
    deed: str, plugged: Examiners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crash, loop, memory, silence, nonsense: tried once more, then refused in words, with size and digest."""
    monkeypatch.setenv("SECRET", "nobody's business")
    content = f"{deed}\n".encode() * 3
    (tmp_path / "bad.jpg").write_bytes(content)
    (tmp_path / "good.jpg").write_bytes(sample("jpeg"))
    with capture_logs() as lines:
        assert plugged.examine(tmp_path / "good.jpg", LIMITS).refusal is None
        found = plugged.examine(tmp_path / "bad.jpg", LIMITS)
        assert plugged.examine(tmp_path / "good.jpg", LIMITS).refusal is None
    refusal = Refusal(Reason.UNEXAMINABLE, BREAKS[deed])
    assert found == Examination(len(content), hashlib.sha256(content).hexdigest(), None, refusal)
    assert [(line["event"], line["log_level"], line["why"]) for line in lines] == [
        ("examiner.broke", "warning", BREAKS[deed])
    ] * 2
    assert len(children_of(os.getpid())) == 1


def test_a_file_at_which_it_broke_once_is_tried_again(plugged: Examiners, tmp_path: Path) -> None:
    """What a crash leaves is a second try in a fresh examiner: it may have been the file before, or an accident."""
    (tmp_path / "bad.jpg").write_text(f"once {tmp_path / 'memory'}\nand these are only words\n")
    with capture_logs() as lines:
        found = plugged.examine(tmp_path / "bad.jpg", LIMITS)
    assert found.refusal == Refusal(
        Reason.UNSUPPORTED_TYPE, "It is plain text (text/plain), although its name ends in .jpg."
    )
    assert [line["event"] for line in lines] == ["examiner.broke"]


def test_a_file_at_which_it_falls_asleep_is_refused(tmp_path: Path) -> None:
    """An examiner that neither computes nor reads nor answers, as in a deadlock, was hung by the file."""
    (tmp_path / "bad.jpg").write_bytes(b"sleep\n")
    with Examiners(replace(BOUNDS, hang_seconds=1.0), module=hostile_examiner.MODULE) as found:
        refusal = found.examine(tmp_path / "bad.jpg", LIMITS).refusal
    assert refusal == Refusal(Reason.UNEXAMINABLE, "The examiner hung: it neither computed nor read the file.")


def test_a_disk_that_never_gives_the_file_is_not_its_fault(tmp_path: Path) -> None:
    """Where the examiner waits in a read of the file, the disk hangs: the system's error, and nothing is refused."""
    (tmp_path / "scan.jpg").write_bytes(b"read\n")
    said = pytest.raises(TimeoutError, match="takes too long to be read")
    with Examiners(replace(BOUNDS, hang_seconds=1.0), module=hostile_examiner.MODULE) as found, said:
        found.examine(tmp_path / "scan.jpg", LIMITS)


def test_a_library_that_is_missing_is_not_the_files_fault(plugged: Examiners, tmp_path: Path) -> None:
    """A library that cannot be loaded is the installation's trouble, and its words reach the admin."""
    (tmp_path / "scan.heic").write_bytes(b"lack\n")
    with pytest.raises(OSError, match="libheif") as caught:
        plugged.examine(tmp_path / "scan.heic", LIMITS)
    assert caught.value.errno == errno.EIO


def test_an_answer_about_other_bytes(plugged: Examiners, tmp_path: Path) -> None:
    """Size and digest are the daemon's own: an examiner that says another size lets that file wait, and no more."""
    (tmp_path / "scan.jpg").write_bytes(b"lie\n")
    found = plugged.examine(tmp_path / "scan.jpg", LIMITS)
    assert (found.size, found.sha256) == (4, hashlib.sha256(b"lie\n").hexdigest())
    assert found.refusal == Refusal(Reason.INCOMPLETE, "It changed while it was examined.")


def test_it_writes_no_file(plugged: Examiners, tmp_path: Path) -> None:
    """An examiner can write nothing to disk: no core, no file."""
    (tmp_path / "scan.jpg").write_text(f"write {tmp_path / 'written'}\n")
    with pytest.raises(OSError, match="File too large"):
        plugged.examine(tmp_path / "scan.jpg", LIMITS)
    assert (tmp_path / "written").read_bytes() == b""


# --- what is no fault of the file ---


def test_a_file_whose_examiner_is_killed_is_never_refused(plugged: Examiners, tmp_path: Path) -> None:
    """Killed from outside, even twice, an examiner says nothing about the file: that waits, and passes later."""
    path = tmp_path / "scan.jpg"
    path.write_bytes(b"killed\n")
    with capture_logs() as lines, pytest.raises(ChildProcessError, match="ended by SIGKILL from outside") as caught:
        plugged.examine(path, LIMITS)
    assert caught.value.errno == errno.ECHILD
    assert [(line["event"], "memory is short" in line["why"]) for line in lines] == [("examiner.ended", True)] * 2
    assert children_of(os.getpid()) == []
    path.write_bytes(sample("jpeg"))
    assert plugged.examine(path, LIMITS).refusal is None


@pytest.mark.parametrize(
    ("number", "is_of_the_file"),
    [
        *((number, True) for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS)),
        *((number, False) for number in (signal.SIGKILL, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM)),
    ],
)
def test_signals_tell_whose_fault_it_is(
    number: signal.Signals, is_of_the_file: bool, plugged: Examiners, tmp_path: Path
) -> None:
    """A signal that code can cause is the file's doing, and any other one somebody else's."""
    path = tmp_path / "scan.jpg"
    path.write_text(f"signal_itself {number.value}\n")
    if is_of_the_file:
        refusal = plugged.examine(path, LIMITS).refusal
        assert refusal is not None
        assert (refusal.reason, number.name in refusal.detail) == (Reason.UNEXAMINABLE, True)
    else:
        with pytest.raises(ChildProcessError, match=number.name):
            plugged.examine(path, LIMITS)


def test_an_examiner_that_is_killed_costs_no_picture(
    genuine: Examiners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If somebody ends the examiner that is to draw a picture, another one draws it."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    ask = Examiner.ask_for_picture
    killed: list[int] = []

    def kill_the_first(examiner: Examiner, descriptor: int, mime_type: str, max_pixels: int) -> None:
        if not killed:
            killed.append(examiner.pid)
            os.kill(examiner.pid, signal.SIGKILL)
            wait_until(lambda: not is_running(killed[0]), "it is gone")
        ask(examiner, descriptor, mime_type, max_pixels)

    monkeypatch.setattr(Examiner, "ask_for_picture", kill_the_first)
    with (tmp_path / "scan.jpg").open("rb") as file:
        assert genuine.draw(file.fileno(), "image/jpeg", LIMITS.max_pixels)
    assert killed


# --- how many there are ---


def test_many_threads_share_few_examiners(tmp_path: Path) -> None:
    """Judging and drawing share one bound, each thread has its answer, and what is kept is within the bound."""
    path = tmp_path / "scan.jpg"
    path.write_bytes(sample("jpeg"))
    pool = ExaminerPool(threading.Event(), most=2)
    seen: list[int] = []
    with (
        Examiners(Bounds(20, 1024**3), pool=pool) as judging,
        Examiners(Bounds(20, 1024**3), pool=pool, is_logged=False) as drawing,
        ThreadPoolExecutor(12) as threads,
    ):

        def work(number: int) -> bool:
            seen.append(len(children_of(os.getpid())))
            if number % 4:
                return judging.examine(path, LIMITS).refusal is None
            with path.open("rb") as file:
                return bool(drawing.draw(file.fileno(), "image/jpeg", LIMITS.max_pixels))

        assert all(threads.map(work, range(24)))
        assert 1 <= len(children_of(os.getpid())) <= 2
    assert max(seen) <= 2
    assert children_of(os.getpid()) == []


def test_idle_examiners_end_after_a_minute(tmp_path: Path) -> None:
    """An examiner serves the next file for a minute, and ends when none came."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    now = [1000.0]
    pool = ExaminerPool(threading.Event(), most=2, monotonic=lambda: now[0])
    with Examiners(Bounds(20, 1024**3), pool=pool) as found:
        found.examine(tmp_path / "scan.jpg", LIMITS)
        (pid,) = children_of(os.getpid())
        now[0] += 59
        pool.end_idle()
        found.examine(tmp_path / "scan.jpg", LIMITS)
        now[0] += 59
        pool.end_idle()
        assert children_of(os.getpid()) == [pid]
        now[0] += 1
        pool.end_idle()
        assert children_of(os.getpid()) == []
        assert found.examine(tmp_path / "scan.jpg", LIMITS).refusal is None


def test_an_examiner_that_waits_for_a_disk_keeps_nobody_waiting(tmp_path: Path) -> None:
    """With one place, a file that the disk never gives lets others be examined meanwhile."""
    (tmp_path / "hangs.jpg").write_bytes(b"read\n")
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    stopping = threading.Event()
    bounds = Bounds(cpu_seconds=20, memory_bytes=1024**3, hang_seconds=600.0)
    pool = ExaminerPool(stopping, most=1)
    with (
        Examiners(bounds, stopping=stopping, module=hostile_examiner.MODULE, pool=pool) as found,
        ThreadPoolExecutor(1) as threads,
    ):
        hanging = threads.submit(found.examine, tmp_path / "hangs.jpg", LIMITS)
        wait_until(lambda: children_of(os.getpid()), "it is asked")
        for _ in range(3):
            assert found.examine(tmp_path / "scan.jpg", LIMITS).refusal is None
        assert not hanging.done()
        stopping.set()
        with pytest.raises(OSError, match="stopping"):
            hanging.result()
    assert children_of(os.getpid()) == []


def test_no_thread_can_be_had(genuine: Examiners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a thread to start examiners with, the file waits; the place is free again afterwards."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    for _ in range(processors() + 3):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(ChildProcessError, match="no examiner can be started: can't start new thread"):
                genuine.examine(tmp_path / "scan.jpg", LIMITS)
    assert genuine.examine(tmp_path / "scan.jpg", LIMITS).refusal is None


@pytest.mark.parametrize(
    ("lines", "quota", "number"),
    [("0::/", "max 100000", 8), ("0::/", "150000 100000", 2), ("0::/unit", "50000 100000", 1), ("12:cpu:/", "", 8)],
)
def test_a_quota_counts_as_processors(
    lines: str, quota: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's or unit's CPU quota, rounded up, bounds the processors that examiners are counted by."""
    group = tmp_path / lines.partition("::/")[2]
    group.mkdir(exist_ok=True)
    (group / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(cpu, "_CONTROL_GROUPS", str(tmp_path))
    monkeypatch.setattr(cpu, "_ALLOWED", set(range(8)))
    monkeypatch.setattr(cpu, "_own_groups", lambda: lines)
    assert cpu.processors() == number


# --- when none can be started ---


@pytest.mark.parametrize("module", ["tests.nowhere", "tests.fakes.unprivileged"])
def test_an_examiner_that_does_not_start(module: str, tmp_path: Path) -> None:
    """One that ends before it says that it is ready is the installation's trouble; nothing is refused."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    with (
        Examiners(BOUNDS, module=module) as found,
        pytest.raises(ChildProcessError, match="no examiner can be started"),
    ):
        found.examine(tmp_path / "scan.jpg", LIMITS)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.ENOENT, errno.EACCES])
def test_no_process_can_be_had(
    number: int, genuine: Examiners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives no process, it says so under a number that is not the file's; then it goes on."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(ChildProcessError, match=os.strerror(number)):
            genuine.examine(tmp_path / "scan.jpg", LIMITS)
    assert genuine.examine(tmp_path / "scan.jpg", LIMITS).refusal is None


# --- the end ---


def test_a_stop_waits_for_no_hung_examiner(tmp_path: Path) -> None:
    """When the daemon stops, whoever waits for an examiner hears so, and nothing is said about the file."""
    (tmp_path / "scan.jpg").write_bytes(b"sleep\n")
    stopping = threading.Event()
    bounds = Bounds(cpu_seconds=20, memory_bytes=1024**3, hang_seconds=600.0)
    with Examiners(bounds, stopping=stopping, module=hostile_examiner.MODULE) as found, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(found.examine, tmp_path / "scan.jpg", LIMITS)
        wait_until(lambda: children_of(os.getpid()), "it is asked")
        stopping.set()
        with pytest.raises(OSError, match="stopping") as caught:
            waiting.result()
    assert caught.value.errno == errno.ECANCELED
    assert children_of(os.getpid()) == []


def test_nothing_is_examined_after_the_end(genuine: Examiners, tmp_path: Path) -> None:
    """Closed twice it is closed once; then no examiner is started any more."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    genuine.examine(tmp_path / "scan.jpg", LIMITS)
    genuine.close()
    genuine.close()
    assert children_of(os.getpid()) == []
    with pytest.raises(OSError, match="stopping"):
        genuine.examine(tmp_path / "scan.jpg", LIMITS)


def test_it_does_not_outlive_a_parent_that_is_gone() -> None:
    """An examiner whose parent went before it could be bound to its life ends at once."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        command = [sys.executable, "-m", "receipt_watcher.examine.worker", str(1024**3), "1", "1"]
        ended = subprocess.run(command, stdin=theirs.fileno(), capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"the daemon is gone\n")


# --- the words between the two ---


def test_what_is_asked_arrives() -> None:
    """A question is read as it was asked, whatever the bytes of the name."""
    for name in ("scan.jpg", "caf\udce9.jpg", "a\nb", "é" * 127):
        assert read_question(question(name, FileLimits(1, 2**40))) == (name, FileLimits(1, 2**40))


def test_what_is_answered_arrives() -> None:
    """Each answer is read as it was given; a long one is cut."""
    for judgement in (
        Judgement(5, "image/jpeg", None),
        Judgement(0, None, Refusal(Reason.EMPTY, "The file has 0 bytes.")),
        Judgement(2**40, "text/plain", Refusal(Reason.TOO_LARGE, "«Grüße»")),
    ):
        assert read_answer(judged(judgement)) == judgement
    trouble = read_answer(troubled(OSError(errno.EIO, "Input/output error")))
    assert isinstance(trouble, OSError)
    assert (trouble.errno, trouble.strerror) == (errno.EIO, "Input/output error")
    assert read_answer(failed(ValueError("no\nsuch"))) == "ValueError('no\\nsuch')"
    assert len(failed(ValueError("x" * 10_000))) < 1000


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        READY,
        b"judged",
        b"judged\x005\0image/svg+xml\0\0",  # accepted, but of no kind that passes
        b"judged\x005\0\0\0",
        b"judged\x00-5\0image/jpeg\0\0",
        b"judged\x001e9\0image/jpeg\0\0",
        b"judged\0" + b"9" * 5000 + b"\0image/jpeg\0\0",
        b"judged\x005\0image/jpeg\0unexaminable\0why",  # only the daemon says so
        b"judged\x005\0image/jpeg\0n8n_failure\0why",
        b"judged\x005\0image/jpeg\0broken\0\x1b[2J",
        b"judged\x005\0image/\xff\0broken\0why",
        b"judged\x005\0image/jpeg\0broken\0why\0and more",
        b"troubled\0none\0why",
        b"troubled\x00123456\0why",
        b"troubled\x005\0a\nb",
        b"failed\0\x07",
    ],
)
def test_no_nonsense_is_believed(answer: bytes) -> None:
    """What no sound examiner says is a ValueError, and nothing else."""
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its text
        read_answer(answer)


def test_the_tables_agree() -> None:
    """The kinds and the sizes that the two sides speak of are the same."""
    assert _KINDS.keys() == ACCEPTED_MIME_TYPES
    largest_mb = next(rule.le for rule in Limits.model_fields["max_file_mb"].metadata if hasattr(rule, "le"))
    assert largest_mb * 1024 * 1024 == MAX_DIGEST_BYTES
    assert Reason.UNEXAMINABLE in EXAMINATION_REASONS


# --- the real daemon ---


class HostileDaemon(RunningDaemon):
    """The daemon with examiners that do what the files say."""

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command with this configuration."""
        whole = super().command(*arguments)
        return (
            [hostile_examiner.MODULE if word == "receipt_watcher" else word for word in whole]
            if "run" in whole
            else whole
        )


CHANGES = {"limits": {"examination_seconds": 1, "examination_mb": 300}}


@pytest.mark.long
def test_bad_files_among_good_ones(n8n: StandIn, tmp_path: Path) -> None:
    """Files that break examiners are failed with a reason and a note; all others get through the same daemon.

    Dropped in again, such a file is examined again, under its old job.
    """
    good = jpegs(20)
    bad = [f"{deed}\n".encode() for deed in ("segfault", "loop", "allocate", "leave")]
    with HostileDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=CHANGES) as daemon:
        for number, content in enumerate(good):
            daemon.drop(f"good {number}.jpg", content)
            if number < len(bad):
                daemon.drop(f"bad {number}.jpg", bad[number])
        daemon.wait_quiet(24)
        assert daemon.process is not None
        assert daemon.process.poll() is None
        jobs = assert_consistent(daemon, n8n.deliveries, [*good, *bad])
        failures = {job.filename: job for job in jobs.values() if job.state is State.FAILURE}
        assert {(name, job.reason) for name, job in failures.items()} == {
            (f"bad {number}.jpg", Reason.UNEXAMINABLE) for number in range(4)
        }
        note = (daemon.failed / "bad 0.jpg.reason.txt").read_text()
        assert Reason.UNEXAMINABLE.meaning in note
        assert "The examiner was ended by SIGSEGV" in note
        assert daemon.count("examiner.broke") == 8
        (daemon.failed / "bad 0.jpg").rename(daemon.inbox / "bad 0.jpg")
        wait_until(
            lambda: daemon.count("examiner.broke") == 12, "it is examined again, as it comes and for its old job"
        )
        daemon.wait_quiet(24)
        assert daemon.job("bad 0.jpg").job_id == failures["bad 0.jpg"].job_id
        assert daemon.terminate() == 0
    assert daemon.count("stage.failed") == 0


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_no_examiner_is_left_behind(end: str, n8n: StandIn, tmp_path: Path) -> None:
    """However the daemon ends while a file hangs an examiner, that ends as well, and the file stays where it was."""
    with HostileDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"limits": {"examination_seconds": 25}}) as daemon:
        daemon.drop("good.jpg", sample("jpeg"))
        daemon.wait_quiet(1)
        daemon.drop("bad.jpg", b"loop\n")
        assert daemon.process is not None
        (pid,) = children_of(daemon.process.pid)
        wait_until(lambda: _state(pid) == "R", "the examiner loops")
        assert getattr(daemon, end)() == (0 if end == "terminate" else None)
        wait_until(lambda: not is_running(pid), "the examiner is gone")
        assert [path.name for path in daemon.files(daemon.inbox)] == ["bad.jpg"]
        assert len(daemon.recorded()) == 1
        assert daemon.count("daemon.cut_off") == 0


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_signals_that_stop_the_service_do_not_stop_examiners(n8n: StandIn, tmp_path: Path) -> None:
    """A service manager signals every process of the service, and the daemon needs its examiners to stop in order."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("1.jpg", sample("jpeg"))
        daemon.wait_quiet(1)
        assert daemon.process is not None
        (pid,) = children_of(daemon.process.pid)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        daemon.drop("2.pdf", sample("pdf"))
        daemon.wait_quiet(2)
        assert children_of(daemon.process.pid) == [pid]
        assert daemon.count("examiner.broke") == 0


def test_fifty_inboxes_share_the_examiners(n8n: StandIn, tmp_path: Path) -> None:
    """However many inboxes are full, there are processors and one examiners, and all receipts get through."""
    inboxes = [{"path": str(tmp_path / f"{number}" / "inbox"), "name": f"i{number}"} for number in range(50)]
    good = jpegs(150)
    for number, content in enumerate(good):
        folder = Path(inboxes[number % 50]["path"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(content)
    changes = {"inboxes": [{**each, "settle_seconds": 0.2} for each in inboxes]}
    started: set[int] = set()
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes) as daemon:
        assert daemon.process is not None
        pid = daemon.process.pid

        def all_done() -> bool:
            now = children_of(pid)
            assert len(now) <= processors() + 1
            started.update(now)
            return len(daemon.recorded()) == len(good)

        wait_until(all_done, "all are taken in", 120)
        assert daemon.terminate() == 0
    assert len(started) <= processors() + 1
    assert daemon.count("inbox.unavailable") == 0


# --- the examiner itself, in this process ---


def test_an_examiner_answers_until_the_channel_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers each question about the file that came with it, and holds no file open in between."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(examiner, "_limit_cpu", lambda _seconds: None)
    number = os.dup(ours.fileno())  # a place of its own in this process
    monkeypatch.setattr(examiner, "FILE_DESCRIPTOR", number)
    with ours, theirs, (tmp_path / "scan.jpg").open("rb") as file:
        for _ in range(2):
            socket.send_fds(ours, [question("scan.jpg", LIMITS)], [file.fileno()])
            assert examiner._answer_one(theirs, 1)
            assert read_answer(ours.recv(4096)) == Judgement(len(sample("jpeg")), "image/jpeg", None)
            assert os.fstat(number).st_ino != os.fstat(file.fileno()).st_ino
        ours.close()
        assert not examiner._answer_one(theirs, 1)
    os.close(number)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), (errno.ESTALE, "Stale file handle")),
        (ImportError("libheif"), (errno.EIO, "ImportError('libheif')")),
        (ValueError("no"), "ValueError('no')"),
    ],
)
def test_an_examiner_says_what_went_wrong(
    error: Exception, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's trouble and a defect of ours are told apart."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(examiner, "judge", fail)
    with (tmp_path / "scan.jpg").open("wb+") as file:
        monkeypatch.setattr(examiner, "FILE_DESCRIPTOR", file.fileno())
        found = read_answer(next(iter(examiner._answer(question("scan.jpg", LIMITS)))))
    assert ((found.errno, found.strerror) if isinstance(found, OSError) else found) == expected
