"""A file that breaks its examiner is refused, unless the fault lies elsewhere."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.examine.examiners import Bounds, Examiners
from receipt_watcher.examine.process import Examiner
from receipt_watcher.examine.result import Examination, Refusal
from receipt_watcher.jobs.reasons import Reason
from tests.fakes.daemons import hostile_examiner
from tests.fakes.daemons.process import wait_until
from tests.unit.examine.examiner_processes import LIMITS, children_of, is_running
from tests.unit.examine.test_judge import sample

BOUNDS = Bounds(cpu_seconds=1, memory_bytes=300 * 1024 * 1024)


@pytest.fixture
def plugged() -> Iterator[Examiners]:
    """Examiners that do what the files say."""
    with Examiners(BOUNDS, module=hostile_examiner.MODULE) as found:
        yield found


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
