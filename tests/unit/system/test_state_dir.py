"""The state directory: one daemon at a time, and secrets that are made once."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from receipt_watcher.errors import LockedError, ReceiptWatcherError
from receipt_watcher.system import state_dir as module
from receipt_watcher.system.disk import flush_folder
from receipt_watcher.system.state_dir import Installation, new_token
from tests.fakes.daemons.process import REPOSITORY, wait_until
from tests.fakes.unprivileged import ordinary_permissions
from tests.unit.system.disk_faults import refusing

_HOLDER = """
import sys
from pathlib import Path
from receipt_watcher.system.state_dir import Installation

installation = Installation(Path(sys.argv[1]))
installation.lock()
print("locked", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A state directory that nobody has locked."""
    installation = Installation(tmp_path / "state")
    installation.make_folder()
    yield installation
    installation.unlock()


@pytest.fixture
def holder(installation: Installation) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lock."""
    command = [sys.executable, "-c", _HOLDER, str(installation.state_dir)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Files are made with all permissions that are asked for."""
    before = os.umask(0)
    yield
    os.umask(before)


# --- the folder ----------------------------------------------------------------------------------------------------


def test_the_folder_is_ours_alone(no_umask: None, tmp_path: Path) -> None:
    """The state directory is made with its parents, and nobody else may look into it."""
    installation = Installation(tmp_path / "a" / "state")
    installation.make_folder()
    assert mode_of(tmp_path / "a" / "state") == 0o700


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    """A state directory that an admin made stays as it is."""
    (tmp_path / "state").mkdir(mode=0o750)
    Installation(tmp_path / "state").make_folder()
    assert mode_of(tmp_path / "state") == 0o750


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Where the state directory cannot be made, the text names it and the key to change."""
    (tmp_path / "file").touch()
    with pytest.raises(ReceiptWatcherError) as caught:
        Installation(tmp_path / "file" / "state").make_folder()
    assert str(caught.value) == (
        f"the state directory {tmp_path}/file/state cannot be used (Not a directory); "
        "set state_dir to a folder that the service's user may write"
    )


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Where the lock cannot be made in the state directory, that is told in words as well."""
    (tmp_path / "state" / "lock").mkdir(parents=True)
    with pytest.raises(ReceiptWatcherError, match=r"cannot be used .*; set state_dir to a folder"):
        Installation(tmp_path / "state").lock()


def test_a_read_only_folder_is_told(installation: Installation) -> None:
    """Where the state directory may only be read, that is told in words."""
    installation.state_dir.chmod(0o500)
    with ordinary_permissions(), pytest.raises(ReceiptWatcherError, match=r"cannot be used \(Permission denied\)"):
        installation.lock()


# --- the lock ------------------------------------------------------------------------------------------------------


def test_a_second_daemon_is_refused(installation: Installation) -> None:
    """A second daemon on one state directory is refused, by a text that names the first one's process."""
    installation.lock()
    with pytest.raises(LockedError) as caught:
        Installation(installation.state_dir).lock()
    assert str(caught.value) == (
        f"another receipt-watcher (process {os.getpid()}) is running on {installation.state_dir}; "
        "stop it, or set state_dir to another folder"
    )


def test_a_second_process_is_refused(installation: Installation, holder: subprocess.Popen[str]) -> None:
    """A lock that another process holds is in force here, and the text names that process."""
    with pytest.raises(LockedError, match=rf"\(process {holder.pid}\)"):
        installation.lock()
    assert installation.is_running()


def test_a_kill_releases_the_lock(installation: Installation, holder: subprocess.Popen[str]) -> None:
    """A daemon that was killed keeps nobody out, whatever its lock file says."""
    holder.kill()
    holder.wait(timeout=10)
    assert (installation.state_dir / "lock").read_text() == f"{holder.pid}\n"
    installation.lock()
    assert (installation.state_dir / "lock").read_text() == f"{os.getpid()}\n"


def test_a_refused_daemon_leaves_the_lock(installation: Installation, holder: subprocess.Popen[str]) -> None:
    """Being refused takes nothing from the daemon that runs: not the lock, and not its number in the file."""
    for _ in range(2):
        with pytest.raises(LockedError):
            installation.lock()
        installation.unlock()
        assert (installation.state_dir / "lock").read_text() == f"{holder.pid}\n"


def test_unlocking_lets_others_in(installation: Installation) -> None:
    """After an unlock another daemon may run; a second unlock does not take its lock away."""
    other = Installation(installation.state_dir)
    installation.lock()
    installation.unlock()
    other.lock()
    installation.unlock()
    with pytest.raises(LockedError):
        installation.lock()
    other.unlock()


def test_a_child_does_not_inherit_the_lock(installation: Installation) -> None:
    """A program that the daemon starts does not keep the lock after the daemon has ended."""
    installation.lock()
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    assert child.stdout is not None
    child.stdout.readline()  # it runs: exec, which closes what is not to be inherited, is over
    try:
        installation.unlock()
        Installation(installation.state_dir).lock()
    finally:
        child.kill()
        child.communicate()


def test_whether_a_daemon_runs(installation: Installation) -> None:
    """It is known whether a daemon runs, and asking takes nothing from one that starts later."""
    asking = Installation(installation.state_dir)
    assert not Installation(installation.state_dir / "missing").is_running()
    assert not asking.is_running()
    installation.lock()
    assert asking.is_running()
    installation.unlock()
    assert not asking.is_running()
    assert (installation.state_dir / "lock").exists()
    installation.lock()


def test_the_end_of_a_daemon_is_seen(installation: Installation, holder: subprocess.Popen[str]) -> None:
    """That a daemon has ended is seen as soon as its process is gone."""
    assert installation.is_running()
    assert holder.stdin is not None
    holder.stdin.close()
    wait_until(lambda: not installation.is_running(), "the lock is free", 10)


# --- what is made once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["installation_id", "callback_token"])
def test_a_secret_is_made_once(installation: Installation, name: str) -> None:
    """The name and the token are made at the first call, and are the same after every restart."""
    made = getattr(installation, name)()
    assert getattr(installation, name)() == made
    assert getattr(Installation(installation.state_dir), name)() == made


def test_two_installations_differ(tmp_path: Path) -> None:
    """No two installations have the same name or token."""
    found = set()
    for folder in ("a", "b"):
        installation = Installation(tmp_path / folder)
        installation.make_folder()
        found |= {installation.installation_id(), installation.callback_token()}
    assert len(found) == 4


def test_a_name_and_a_token(installation: Installation) -> None:
    """The name is a UUID; the token is of 32 random bytes and fits into a header and a URL."""
    assert str(uuid.UUID(installation.installation_id())) == installation.installation_id()
    for token in (installation.callback_token(), new_token()):
        assert len(token) == 43
        assert token.isascii()
        assert token.replace("-", "").replace("_", "").isalnum()


def test_secrets_are_ours_alone(no_umask: None, installation: Installation) -> None:
    """The files may be read by nobody else, from their first byte on."""
    installation.installation_id()
    installation.callback_token()
    assert [mode_of(installation.state_dir / name) for name in ("installation", "callback_token")] == [0o600, 0o600]


def test_nothing_else_is_left(installation: Installation) -> None:
    """Making the secrets leaves no temporary file."""
    installation.installation_id()
    installation.callback_token()
    assert sorted(path.name for path in installation.state_dir.iterdir()) == ["callback_token", "installation"]


def test_an_admins_own_token_is_kept(installation: Installation) -> None:
    """A token that an admin wrote into the file is taken as it is, without the end of its line."""
    (installation.state_dir / "callback_token").write_text("from-the-old-machine\n")
    assert installation.callback_token() == "from-the-old-machine"


@pytest.mark.parametrize("content", ["", "\n", "  \n"])
def test_an_empty_token_is_no_token(installation: Installation, content: str) -> None:
    """A file that is empty does not make an empty token, which any caller without one would match."""
    (installation.state_dir / "callback_token").write_text(content)
    assert len(installation.callback_token()) == 43


def test_a_crash_while_writing_makes_no_half_token(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before the token is durable leaves none, so that the next start makes a whole one."""

    def crash(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(KeyboardInterrupt):
            installation.callback_token()
    assert not (installation.state_dir / "callback_token").exists()
    token = installation.callback_token()
    assert len(token) == 43
    assert (installation.state_dir / "callback_token").read_text() == f"{token}\n"


def test_a_token_is_durable_before_it_is_used(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token's bytes are flushed before it gets its name, and the folder after."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def record_fsync(descriptor: int) -> None:
        steps.append("file")
        fsync(descriptor)

    def record_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    def record_folder(path: Path) -> None:
        flush_folder(path)
        steps.append(f"folder {path.name}")

    monkeypatch.setattr(module, "flush_folder", record_folder)
    monkeypatch.setattr(Path, "rename", record_rename)
    monkeypatch.setattr(os, "fsync", record_fsync)
    installation.callback_token()
    assert steps == ["file", "rename", "file", "folder state"]


# --- a folder that is deleted while it is used ---------------------------------------------------------------------


@pytest.fixture
def used(installation: Installation) -> Installation:
    """A state directory that we have locked, with a name and a token."""
    installation.lock()
    installation.installation_id()
    installation.callback_token()
    return installation


def kept(installation: Installation) -> dict[str, str]:
    """Return the folder's files with what they hold."""
    return {path.name: path.read_text() for path in installation.state_dir.iterdir()}


@pytest.mark.parametrize("gone", ["lock", "installation", "callback_token", ""])
def test_what_was_deleted_is_made_again_the_same(used: Installation, gone: str) -> None:
    """Whatever goes, the folder is as it was: the same name and token, and others are kept out until we end."""
    before = kept(used)
    if gone:
        (used.state_dir / gone).unlink()
    else:
        shutil.rmtree(used.state_dir)
    used.restore()
    assert kept(used) == before
    assert mode_of(used.state_dir) == 0o700
    assert mode_of(used.state_dir / "callback_token") == 0o600
    with pytest.raises(LockedError):
        Installation(used.state_dir).lock()
    used.unlock()
    other = Installation(used.state_dir)
    other.lock()
    other.unlock()


def test_restoring_what_is_there_changes_nothing(used: Installation) -> None:
    """Nothing is written, no descriptor is left open, and the lock is ours all the time."""
    before = {path.name: path.stat() for path in used.state_dir.iterdir()}
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        used.restore()
    assert {path.name: path.stat() for path in used.state_dir.iterdir()} == before
    shutil.rmtree(used.state_dir)
    used.restore()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_what_nobody_asked_for_is_not_made(installation: Installation) -> None:
    """Where the configuration sets the token, none is made; who holds no lock gets none."""
    installation.installation_id()
    shutil.rmtree(installation.state_dir)
    installation.restore()
    assert [path.name for path in installation.state_dir.iterdir()] == ["installation"]


def test_a_folder_that_another_daemon_uses_by_now_is_left_to_it(used: Installation) -> None:
    """Its lock, name and token stay its own."""
    shutil.rmtree(used.state_dir)
    used.make_folder()
    command = [sys.executable, "-c", _HOLDER, str(used.state_dir)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        before = kept(used)
        for _ in range(2):
            with pytest.raises(LockedError, match=f"process {other.pid}"):
                used.restore()
        assert kept(used) == before
        other.kill()
    used.restore()
    with pytest.raises(LockedError):
        Installation(used.state_dir).lock()


def test_a_folder_that_cannot_be_restored_is_told(used: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full is an error in words, not a defect of ours; the next try makes all of it."""
    before = kept(used)
    shutil.rmtree(used.state_dir)
    with monkeypatch.context() as context:
        context.setattr(os, "fsync", refusing(errno.ENOSPC))
        with pytest.raises(ReceiptWatcherError, match=r"cannot be used \(No space left on device\); set state_dir"):
            used.restore()
    used.restore()
    assert {name: text for name, text in kept(used).items() if not name.startswith(".")} == before
