"""Examiners find what an examination in this process finds, and are reused."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.examine import pool as examinerpool
from receipt_watcher.examine.examiners import Examiners
from receipt_watcher.examine.judge import examine
from receipt_watcher.examine.result import Examination
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.system import disk
from receipt_watcher.system.cpu import processors
from tests.fakes.daemons.process import wait_until
from tests.unit.examine.examiner_processes import LIMITS, children_of, is_running
from tests.unit.examine.test_judge import KINDS, MIME_TYPES, sample


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
