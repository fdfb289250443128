"""A spool is opened by its owner only, and its missing folders are made."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receipt_watcher.errors import ForeignSpoolError, LockedError, SpoolError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from tests.conftest import INSTALLATION
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.system.disk_faults import record_flushes, refusing

OTHER_INSTALLATION = "99999999-2222-4333-8444-555555555555"


def owner_of(folders: SpoolFolders) -> list[str]:
    """Return the words of the owner's mark, of which there is one line."""
    (line,) = (folders.processing / ".owner").read_text().splitlines()
    return line.split()


def test_an_inbox_on_a_disk_that_fails_is_not_said_to_be_missing(
    folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error is told as such: there is nothing to create or to mount. Nothing is made."""
    with monkeypatch.context() as context:
        context.setattr(Path, "stat", refusing(errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            Spool("office", folders).open(INSTALLATION)
    assert not folders.processing.exists()


def test_an_inbox_that_is_not_there_is_no_empty_inbox(folders: SpoolFolders) -> None:
    """A share that is not mounted is said so, with what to do; nothing is made in its place."""
    folders.inbox.rmdir()
    with pytest.raises(SpoolError, match=f"the inbox {folders.inbox} is not there; create the folder, or mount") as got:
        Spool("office", folders).open(INSTALLATION)
    assert got.value.path == folders.inbox
    assert list(folders.inbox.parent.iterdir()) == []


def test_a_dead_mount_is_an_inbox_that_is_not_there(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount whose server is gone fails even to be looked at: it is waited for like one that is absent."""
    _kill_mount(folders.inbox, monkeypatch)
    with pytest.raises(SpoolError, match="is not there"):
        Spool("office", folders).open(INSTALLATION)


def _kill_mount(dead: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behave as FUSE does when its process has ended."""
    look = os.stat

    def stat(path: str | Path | int, **options: bool) -> os.stat_result:
        if not isinstance(path, int) and Path(path).is_relative_to(dead):
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), str(path))
        return look(path, **options)

    monkeypatch.setattr(os, "stat", stat)


def test_missing_siblings_are_made(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other three folders are made, durably, beside the inbox."""
    flushed = record_flushes(monkeypatch)
    spool = Spool("office", folders)
    spool.open(INSTALLATION)
    assert all(folder.is_dir() for folder in (folders.processing, folders.done, folders.failed))
    assert flushed.count(folders.inbox.parent) == 3
    spool.close()


def test_no_tree_of_folders_is_made(tmp_path: Path, folders: SpoolFolders) -> None:
    """A sibling whose parent is missing is on a share that is away: it is not made beside the mount."""
    away = SpoolFolders(folders.inbox, folders.processing, tmp_path / "share/done", folders.failed)
    with pytest.raises(SpoolError, match=r"share/done cannot be made: No such file.*; create it, owned by") as got:
        Spool("office", away).open(INSTALLATION)
    assert got.value.path == away.done
    assert not (tmp_path / "share").exists()


def test_a_file_in_a_siblings_place_is_told(folders: SpoolFolders) -> None:
    """A file where a folder should be stops the spool, and stays."""
    folders.done.write_text("a file")
    with pytest.raises(SpoolError, match="cannot be made"):
        Spool("office", folders).open(INSTALLATION)
    assert folders.done.read_text() == "a file"


def test_a_folder_that_we_may_not_write_is_told(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the owner's mark cannot be written, the admin reads whose the folder must be."""
    for folder in (folders.processing, folders.done, folders.failed):
        folder.mkdir()
    monkeypatch.setattr(os, "open", refusing(errno.EACCES))
    with pytest.raises(
        SpoolError, match=r"\.owner cannot be opened: Permission denied: .*; the service's user must own"
    ):
        Spool("office", folders).open(INSTALLATION)


def test_the_spool_names_its_owner(spool: Spool) -> None:
    """processing/.owner names the installation, and the process that has the spool open, for whoever looks."""
    assert owner_of(spool.folders)[:3] == [INSTALLATION, os.uname().nodename, str(os.getpid())]
    assert spool.presence.is_complete()
    spool.close()
    assert (spool.folders.processing / ".owner").read_text() == f"{INSTALLATION}\n"


def test_a_foreign_spool_is_refused(folders: SpoolFolders, spool: Spool) -> None:
    """A spool of another installation is not touched; the text names both and the way out."""
    spool.close()
    other = Spool("office", folders)
    with pytest.raises(ForeignSpoolError, match=f"{INSTALLATION}, we are {OTHER_INSTALLATION}.*take-over office$"):
        other.open(OTHER_INSTALLATION)
    assert (folders.processing / ".owner").read_text() == f"{INSTALLATION}\n"
    spool.open(INSTALLATION)


def test_a_spool_can_be_taken_over(folders: SpoolFolders, spool: Spool) -> None:
    """After a move to a new machine one start with --take-over makes the spool ours, whatever the lengths of names."""
    spool.close()
    other = Spool("office", folders)
    other.open("short", take_over=True)
    assert owner_of(folders)[0] == "short"
    other.close()
    assert (folders.processing / ".owner").read_text() == "short\n"
    other.open("short")
    other.close()
    with pytest.raises(ForeignSpoolError):
        spool.open(INSTALLATION)


def test_a_mark_that_a_crash_left_empty_is_written_again(folders: SpoolFolders) -> None:
    """A crash between making the owner's mark and writing it stops nobody."""
    folders.processing.mkdir()
    (folders.processing / ".owner").touch()
    spool = Spool("office", folders)
    spool.open(INSTALLATION)
    assert owner_of(folders)[0] == INSTALLATION
    spool.close()


def test_another_process_is_locked_out(folders: SpoolFolders, spool: Spool) -> None:
    """While one process has the spool open another cannot, not even by taking over; afterwards it can."""
    program = (
        "import sys; from pathlib import Path; from receipt_watcher.spool.folders import Spool\n"
        "from receipt_watcher.spool.paths import SpoolFolders\n"
        "from receipt_watcher.errors import LockedError\n"
        "spool = Spool('office', SpoolFolders(*map(Path, sys.argv[1:])))\n"
        f"try: spool.open('{INSTALLATION}', take_over=True)\n"
        "except LockedError as error: sys.exit(str(error))\n"
    )
    places = [str(folder) for folder in (folders.inbox, folders.processing, folders.done, folders.failed)]
    command = [sys.executable, "-c", program, *places]
    second = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert f"another receipt-watcher is running on {folders.processing}" in second.stderr
    assert second.returncode == 1
    spool.close()
    subprocess.run(command, cwd=REPOSITORY, check=True)


def test_a_refused_opening_locks_nobody_out(folders: SpoolFolders, spool: Spool) -> None:
    """Who was refused holds no lock afterwards."""
    spool.close()
    with pytest.raises(ForeignSpoolError):
        Spool("office", folders).open(OTHER_INSTALLATION)
    spool.open(INSTALLATION)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_mount_without_locks_can_be_used(folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Some network mounts know no locks: the owner's mark still keeps others out."""
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    spool = Spool("office", folders)
    spool.open(INSTALLATION)
    assert spool.presence.is_complete()
    spool.close()


def test_closing_is_harmless(folders: SpoolFolders) -> None:
    """A spool may be closed twice, or before it was opened, and opened again."""
    spool = Spool("office", folders)
    spool.close()
    spool.open(INSTALLATION)
    spool.close()
    spool.close()
    spool.open(INSTALLATION)
    with pytest.raises(LockedError):
        Spool("office", folders).open(INSTALLATION)
    spool.close()


def test_opening_twice_is_harmless(folders: SpoolFolders, spool: Spool) -> None:
    """A spool that was left open is opened again: our own lock keeps others out, never ourselves."""
    spool.open(INSTALLATION)
    with pytest.raises(LockedError):
        Spool("office", folders).open(INSTALLATION)
    spool.close()
    other = Spool("office", folders)
    other.open(INSTALLATION)
    other.close()


@pytest.mark.parametrize("folder", list(Folder))
def test_who_is_still_at_work_after_a_close_finds_another_folder_out(spool: Spool, folder: Folder, taken: Path) -> None:
    """The inbox's thread closes a spool when a folder went away; what another thread moves then stays where it is."""
    path = spool.folders.path_of(folder)
    path.rename(path.with_name("away"))
    shutil.copytree(path.with_name("away"), path)
    spool.close()
    with pytest.raises(SpoolError, match=f"{path} is another folder now"):
        spool.move(taken, Folder.DONE, Path("a.jpg"))
    assert not (spool.folders.done / "a.jpg").exists()
    spool.open(INSTALLATION)
    assert spool.presence.is_complete()


def test_an_unmounted_spool_is_not_present(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty mount point, a missing folder and a dead mount are all a spool that is away."""
    with monkeypatch.context() as patch:
        _kill_mount(spool.folders.processing, patch)
        assert not spool.presence.is_complete()
    assert spool.presence.is_complete()
    (spool.folders.processing / ".owner").unlink()
    assert not spool.presence.is_complete()
    spool.folders.processing.rmdir()
    assert not spool.presence.is_complete()
