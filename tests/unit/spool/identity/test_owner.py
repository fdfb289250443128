"""The owner of a spool: the mark in processing/.owner, and the question that a lock cannot answer."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.errors import ForeignSpoolError, LockedError
from receipt_watcher.spool.identity import owner as module
from receipt_watcher.spool.identity.owner import Mark, Owner
from tests.conftest import INSTALLATION
from tests.fakes.daemons.process import wait_until
from tests.unit.system.disk_faults import refusing

OTHER = "99999999-2222-4333-8444-555555555555"
ELSEWHERE = Mark(INSTALLATION, "otherhost", "4711", "another-boot")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a spool's mark."""
    return tmp_path / ".owner"


@pytest.fixture(autouse=True)
def short_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for an owner that does not answer."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)


@contextmanager
def another_process() -> Iterator[str]:
    """A process that runs, by its number."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield str(process.pid)
        process.kill()


@contextmanager
def looking(owner: Owner) -> Iterator[list[Exception]]:
    """Let a daemon look at its mark again and again; what is yielded are its errors."""
    errors: list[Exception] = []
    ends = threading.Event()

    def look() -> None:
        while not ends.wait(0.05):
            try:
                owner.check()
            except ForeignSpoolError as error:
                errors.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    yield errors
    ends.set()
    thread.join()


# --- the mark ------------------------------------------------------------------------------------------------------


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """Whatever somebody wrote there, it is read as some mark, and what was written of that is the same mark."""
    mark = Mark.read(text)
    assert Mark.read(str(mark)) == mark


def test_the_mark_of_older_versions_is_understood() -> None:
    """A file with nothing but an installation is one that no daemon has open."""
    mark = Mark.read(f"{INSTALLATION}\n")
    assert (mark.installation, mark.is_open) == (INSTALLATION, False)


def test_only_the_same_boot_can_tell_that_a_process_is_gone() -> None:
    """A process number says something on the machine, and in the boot, where it was given."""
    ours = Mark.ours(INSTALLATION)
    assert ours.is_gone()  # it is our own number: who had it before us has ended
    assert not Mark(INSTALLATION, ours.host, ours.pid, "another-boot").is_gone()
    with another_process() as pid:
        assert not Mark(INSTALLATION, ours.host, pid, ours.boot).is_gone()
    assert Mark(INSTALLATION, ours.host, pid, ours.boot).is_gone()


def test_an_unknown_boot_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system does not say which boot it is, two unknown ones are not the same."""
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "missing")
    ours = Mark.ours(INSTALLATION)
    assert ours.is_open
    assert not ours.is_gone()


# --- taking and giving back ----------------------------------------------------------------------------------------


def test_a_stop_leaves_the_installation_only(path: Path) -> None:
    """While it is open the file names our process, and afterwards nothing but the installation."""
    owner = Owner(path)
    assert owner.take(INSTALLATION, take_over=False) is False
    assert Mark.read(path.read_text()) == Mark.ours(INSTALLATION)
    owner.release()
    owner.release()
    assert path.read_text() == f"{INSTALLATION}\n"
    assert owner.installation == INSTALLATION


def test_a_crash_on_this_machine_costs_no_time(path: Path) -> None:
    """The lock is free and the process gone: nobody is asked."""
    with another_process() as pid:
        pass
    ours = Mark.ours(INSTALLATION)
    path.write_text(str(Mark(INSTALLATION, ours.host, pid, ours.boot)))
    owner = Owner(path)
    assert owner.take(INSTALLATION, take_over=False) is False
    owner.release()


def test_who_does_not_answer_is_gone(path: Path) -> None:
    """A daemon of another machine, or of before a power cut, that answers nothing is not waited for for ever."""
    path.write_text(str(ELSEWHERE))
    owner = Owner(path)
    assert owner.take(INSTALLATION, take_over=False) is True
    assert Mark.read(path.read_text()) == Mark.ours(INSTALLATION)
    owner.release()


def test_who_answers_keeps_its_spool(path: Path) -> None:
    """A daemon that runs where our lock does not reach takes the question away, and the one who asked is refused."""
    first, second = Owner(path), Owner(path)
    first.take(INSTALLATION, take_over=False)
    mark = path.read_text()
    with looking(first) as errors, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
        for take_over in (False, True):
            with pytest.raises(LockedError, match=rf"is running on {path.parent} \(process {os.getpid()} on "):
                second.take(INSTALLATION, take_over=take_over)
        with pytest.raises(LockedError, match="is running on"):
            second.take(OTHER, take_over=True)
    assert errors == []
    assert path.read_text() == mark
    first.release()


def test_who_stops_while_it_is_asked_leaves_the_spool(path: Path) -> None:
    """A daemon that ends cleanly in the meantime has nothing against its successor."""
    first, second = Owner(path), Owner(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
        patch.setattr(module, "ANSWER_SECONDS", 60.0)
        first.take(INSTALLATION, take_over=False)
        taking = threading.Thread(target=second.take, args=[INSTALLATION], kwargs={"take_over": False})
        taking.start()
        wait_until(lambda: "asked by" in path.read_text(), "it asks")
        first.release()
        taking.join(30)
    assert not taking.is_alive()
    assert Mark.read(path.read_text()) == Mark.ours(INSTALLATION)
    second.release()


def test_a_mount_without_locks_asks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a lock even a process that is gone here may run in another container: it is asked."""
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EOPNOTSUPP))
    path.write_text(str(Mark.ours(INSTALLATION)))
    owner = Owner(path)
    assert owner.take(INSTALLATION, take_over=False) is True
    owner.release()


# --- losing it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "whose"),
    [(str(ELSEWHERE), "process 4711 on otherhost"), (f"{OTHER}\n", OTHER), ("whatever somebody wrote", "whatever")],
)
def test_a_spool_that_was_taken_is_lost(path: Path, text: str, whose: str) -> None:
    """Who finds another name there is told whose, and does not write over it, not even at the end."""
    owner = Owner(path)
    owner.take(INSTALLATION, take_over=False)
    path.write_text(text)
    with pytest.raises(ForeignSpoolError, match=rf"was taken over by another receipt-watcher \(.*{whose}"):
        owner.check()
    owner.release()
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["", "\n", f"{INSTALLATION}\n"])
def test_a_mark_that_was_emptied_is_written_again(path: Path, text: str) -> None:
    """A file that names nobody else takes no spool away."""
    owner = Owner(path)
    owner.take(INSTALLATION, take_over=False)
    mark = path.read_text()
    path.write_text(text)
    owner.check()
    assert path.read_text() == mark
    owner.release()


def test_nothing_is_written_while_nobody_asks(path: Path) -> None:
    """A look alone writes nothing: a disk may sleep."""
    owner = Owner(path)
    owner.take(INSTALLATION, take_over=False)
    before = path.stat().st_mtime_ns, path.stat().st_ctime_ns
    owner.check()
    assert (path.stat().st_mtime_ns, path.stat().st_ctime_ns) == before
    owner.release()


def test_before_it_is_taken_there_is_nothing_to_lose(path: Path) -> None:
    """A look before the spool was taken says nothing, and what is not there names nobody."""
    owner = Owner(path)
    assert owner.installation == ""
    path.write_text(str(ELSEWHERE))
    owner.check()
    owner.release()
    assert path.read_text() == str(ELSEWHERE)
