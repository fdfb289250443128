"""The spool: a file is in exactly one folder, nothing is overwritten, and what a crash began is finished."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.errors import FileVanishedError, ForeignSpoolError, LockedError, SpoolError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system import disk
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from tests.conftest import INSTALLATION
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.system.disk_faults import (
    AT_ONCE,
    UNTOLD,
    Crash,
    another_file_system,
    behind_a_bind_mount,
    crash,
    neither_renameat2_nor_links,
    only_links,
    record_flushes,
    refusing,
)

JOB = "01900000-0000-7000-8000-000000000001"
OTHER_JOB = "01900000-0000-7000-8000-000000000002"
OTHER_INSTALLATION = "99999999-2222-4333-8444-555555555555"
SCAN = Path("scan.pdf")
CONTENT = b"%PDF-1.7 a receipt" * 100


def drop(folders: SpoolFolders, name: str | Path = SCAN, content: bytes = CONTENT) -> Path:
    """Put a file into the inbox."""
    path = folders.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(folder: Path) -> list[str]:
    """Return what is below a folder, folders too, but not the owner's mark."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".owner")


def owner_of(folders: SpoolFolders) -> list[str]:
    """Return the words of the owner's mark, of which there is one line."""
    (line,) = (folders.processing / ".owner").read_text().splitlines()
    return line.split()


# --- opening ---


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


# --- taking ---


def test_a_taken_file_is_in_its_jobs_folder_only(spool: Spool) -> None:
    """A file is taken to processing/<job id>/ under its own name, and is not in the inbox any more."""
    drop(spool.folders)
    assert spool.take(SCAN, JOB) == spool.folders.processing / JOB / SCAN
    assert (spool.folders.processing / JOB / SCAN).read_bytes() == CONTENT
    assert files(spool.folders.inbox) == []


@pytest.mark.parametrize("name", ["sub/deeper/scan.pdf", "x" * 255, os.fsdecode(b"caf\xe9.pdf"), "a\nb.pdf"])
def test_any_name_can_be_taken(spool: Spool, name: str) -> None:
    """Subfolders of the inbox are kept below the job's folder; names may be 255 bytes long, and of any bytes."""
    drop(spool.folders, name)
    assert spool.take(Path(name), JOB) == spool.folders.processing / JOB / name
    assert (spool.folders.processing / JOB / name).read_bytes() == CONTENT


def test_the_same_name_twice_is_two_files(spool: Spool) -> None:
    """Scanners count from one again: the same name under way twice is kept apart by the jobs' folders."""
    for job_id, content in ((JOB, b"first"), (OTHER_JOB, b"second")):
        drop(spool.folders, SCAN, content)
        spool.take(SCAN, job_id)
    assert (spool.folders.processing / JOB / SCAN).read_bytes() == b"first"
    assert (spool.folders.processing / OTHER_JOB / SCAN).read_bytes() == b"second"


def test_a_file_that_vanished_leaves_nothing(spool: Spool) -> None:
    """Somebody took the file back: that is said, and the folder that was made for it goes."""
    with pytest.raises(FileVanishedError, match="taken away before it was moved"):
        spool.take(Path("sub/scan.pdf"), JOB)
    assert files(spool.folders.processing) == []


@AT_ONCE
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_only_a_file_is_taken(spool: Spool, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]) -> None:
    """A folder, a pipe or a link that took the file's place stays where it is, and is not even moved for a moment."""
    make(spool.folders.inbox / SCAN)
    monkeypatch.setattr(disk, "move_file", crash)
    with pytest.raises(FileVanishedError, match="no regular file any more"):
        spool.take(SCAN, JOB)
    assert os.path.lexists(spool.folders.inbox / SCAN)
    assert files(spool.folders.processing) == []


@AT_ONCE
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_what_takes_the_files_place_at_the_last_moment_is_given_back(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    """A link that is slipped in between the look and the move is not followed later: it goes back to the inbox."""
    move, path = disk.move_file, drop(spool.folders)

    def replace_and_move(source: Path, target: Path) -> None:
        monkeypatch.setattr(disk, "move_file", move)
        path.unlink()
        make(path)
        move(source, target)

    monkeypatch.setattr(disk, "move_file", replace_and_move)
    with pytest.raises(FileVanishedError, match="no regular file any more"):
        spool.take(SCAN, JOB)
    assert os.path.lexists(path)
    assert files(spool.folders.processing) == []


def test_a_file_that_cannot_be_moved_stays_in_the_inbox(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is passed on with its reason, and no empty folder is left."""
    drop(spool.folders)
    monkeypatch.setattr(disk, "_renameat2", refusing(errno.EACCES))
    with pytest.raises(PermissionError):
        spool.take(SCAN, JOB)
    assert files(spool.folders.inbox) == ["scan.pdf"]
    assert files(spool.folders.processing) == []


@pytest.mark.parametrize("unmounted", [False, True])
def test_processing_is_not_made_anew(spool: Spool, *, unmounted: bool) -> None:
    """Where processing/ is away nothing is taken: its folder is not made in its place, nor filled under a mount."""
    drop(spool.folders)
    shutil.rmtree(spool.folders.processing)
    if unmounted:
        spool.folders.processing.mkdir()
    why = "processing is another folder now" if unmounted else "processing is not there"
    with pytest.raises(SpoolError, match=why):
        spool.take(SCAN, JOB)
    assert files(spool.folders.inbox) == ["scan.pdf"]
    assert spool.folders.processing.exists() is unmounted
    assert not unmounted or files(spool.folders.processing) == []


def test_the_file_is_flushed_first_and_processing_last(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, then every folder that names it, the innermost first, are flushed, each once however many files."""
    for name in ("sub/deeper/a.pdf", "sub/b.pdf"):
        drop(spool.folders, name)
    first, second = spool.take(Path("sub/deeper/a.pdf"), JOB), spool.take(Path("sub/b.pdf"), OTHER_JOB)
    flushed = record_flushes(monkeypatch)
    spool.flush([first, second])
    processing = spool.folders.processing
    assert flushed[:2] == [first, second]
    assert flushed[-1] == processing
    one, two = processing / JOB, processing / OTHER_JOB
    assert sorted(flushed[2:]) == [processing, one, one / "sub", one / "sub/deeper", two, two / "sub"]
    places = {path: number for number, path in enumerate(flushed)}
    assert all(places[path] < places[path.parent] for path in flushed if path != processing)


def test_flushing_nothing_flushes_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty batch costs no flush."""
    flushed = record_flushes(monkeypatch)
    spool.flush([])
    assert flushed == []


# --- what a crash left ---


def test_orphans_are_found_with_their_subfolders(spool: Spool) -> None:
    """What lies in processing/<job id>/ is told with its job id and its path below the inbox."""
    for name, job_id in (("scan.pdf", OTHER_JOB), ("sub/deeper/scan.pdf", JOB)):
        drop(spool.folders, name)
        spool.take(Path(name), job_id)
    assert list(spool.processing.orphans(set)) == [(JOB, Path("sub/deeper/scan.pdf")), (OTHER_JOB, Path("scan.pdf"))]


def test_what_is_recorded_is_no_orphan(spool: Spool) -> None:
    """The folders of jobs that have their file there are not even looked into."""
    for job_id in (JOB, OTHER_JOB):
        drop(spool.folders)
        spool.take(SCAN, job_id)
    (spool.folders.processing / JOB / f".abc{PARTIAL_SUFFIX}").touch()
    assert list(spool.processing.orphans(lambda names: {*names} - {JOB})) == [(OTHER_JOB, SCAN)]
    assert files(spool.folders.processing / JOB) == [f".abc{PARTIAL_SUFFIX}", "scan.pdf"]


@pytest.mark.parametrize("name", [f"scan.pdf{PARTIAL_SUFFIX}", f".scan{PARTIAL_SUFFIX}", PARTIAL_SUFFIX])
def test_a_receipt_of_that_name_is_no_unfinished_copy(spool: Spool, name: str) -> None:
    """A receipt whose name only ends as those of our copies do was moved, and is the only one there is."""
    drop(spool.folders, name)
    spool.take(Path(name), JOB)
    assert list(spool.processing.orphans(set)) == [(JOB, Path(name))]
    assert (spool.folders.processing / JOB / name).read_bytes() == CONTENT


def test_unfinished_copies_and_empty_folders_are_removed(spool: Spool) -> None:
    """A copy that is not whole is no orphan: it goes, with its folder, since the original is still in the inbox."""
    torso = spool.folders.processing / JOB / "sub" / f".abc{PARTIAL_SUFFIX}"
    torso.parent.mkdir(parents=True)
    torso.write_bytes(CONTENT[:10])
    (spool.folders.processing / OTHER_JOB / "empty").mkdir(parents=True)
    assert list(spool.processing.orphans(set)) == []
    assert files(spool.folders.processing) == []


def test_strangers_are_told_and_left_alone(spool: Spool) -> None:
    """What people put into processing/ is not ours: it is told, and not taken for a receipt."""
    strange = ["letter.pdf", "folder", "0190ABCD-0000-7000-8000-000000000001", JOB.replace("-", "")]
    for name in strange[1:]:
        (spool.folders.processing / name).mkdir()
        (spool.folders.processing / name / "scan.pdf").touch()
    (spool.folders.processing / strange[0]).touch()
    (spool.folders.processing / OTHER_JOB).touch()  # a file under a job's name
    assert sorted(path.name for path in spool.processing.foreign_entries()) == sorted([*strange, OTHER_JOB])
    assert list(spool.processing.orphans(set)) == []
    assert len(list(spool.folders.processing.iterdir())) == len(strange) + 2


def _crash_while_removing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take a file, and end just before the original would have been removed; return the original."""
    original = drop(spool.folders)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(Crash):
            spool.take(SCAN, JOB)
    assert original.exists()
    assert list(spool.processing.orphans(set)) == [(JOB, SCAN)]
    return original


@pytest.fixture(params=["copied to another file system", "copied to a bind mount", "linked"])
def interrupted(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Spool, Path]]:
    """A spool whose taking ended just before the original was removed, and that original."""
    with contextlib.ExitStack() as stack:
        inbox = tmp_path / "inbox"
        if request.param == "copied to another file system":
            inbox = stack.enter_context(another_file_system(tmp_path, monkeypatch)) / "inbox"
        elif request.param == "copied to a bind mount":
            inbox = stack.enter_context(behind_a_bind_mount(tmp_path, monkeypatch)) / "inbox"
        else:
            only_links(monkeypatch)
        inbox.mkdir()
        spool = Spool("office", SpoolFolders(inbox, tmp_path / "processing", tmp_path / "done", tmp_path / "failed"))
        spool.open(INSTALLATION)
        stack.callback(spool.close)
        yield spool, _crash_while_removing(spool, monkeypatch)


def test_the_original_of_a_whole_copy_is_removed(interrupted: tuple[Spool, Path]) -> None:
    """A crash between the copy and the removal of its original leaves both: recovery removes the original, once."""
    spool, original = interrupted
    assert spool.processing.drop_copied_original(JOB, SCAN)
    assert not original.exists()
    assert (spool.folders.processing / JOB / SCAN).read_bytes() == CONTENT
    assert not spool.processing.drop_copied_original(JOB, SCAN)


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", CONTENT + b"more"])
def test_another_file_under_the_originals_name_stays(interrupted: tuple[Spool, Path], content: bytes) -> None:
    """Where the scanner wrote another file of that name since then, it stays, even with the same time."""
    spool, original = interrupted
    status = original.stat()
    original.unlink()
    original.write_bytes(content)
    os.utime(original, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not spool.processing.drop_copied_original(JOB, SCAN)
    assert original.read_bytes() == content


def test_the_same_bytes_of_another_time_stay(interrupted: tuple[Spool, Path]) -> None:
    """A second copy that somebody dropped in since then is a file of its own, and is not removed unseen."""
    spool, original = interrupted
    original.unlink()
    original.write_bytes(CONTENT)
    assert not spool.processing.drop_copied_original(JOB, SCAN)
    assert original.exists()


def test_a_link_to_the_copy_stays(interrupted: tuple[Spool, Path]) -> None:
    """A symbolic link in the original's place is not the original."""
    spool, original = interrupted
    original.unlink()
    original.symlink_to(spool.folders.processing / JOB / SCAN)
    assert not spool.processing.drop_copied_original(JOB, SCAN)
    assert original.is_symlink()


# --- names that are free ---


def test_a_free_name_is_neither_there_nor_chosen(spool: Spool) -> None:
    """A name is free when no file has it, not even a dangling link, and no other file of the round is to get it."""
    month = spool.folders.done / "2026-11"
    month.mkdir()
    assert spool.free_path(Folder.DONE, Path("2026-11/scan.pdf"), set()) == Path("2026-11/scan.pdf")
    (month / "scan.pdf").touch()
    (month / "scan (2).pdf").symlink_to("nowhere")
    chosen = {Path("2026-11/scan (3).pdf")}
    assert spool.free_path(Folder.DONE, Path("2026-11/scan.pdf"), chosen) == Path("2026-11/scan (4).pdf")


@AT_ONCE
def test_a_free_name_can_be_found_for_the_longest_name(spool: Spool) -> None:
    """A name of 255 bytes that is taken gets its number too, with and without a suffix."""
    for name in ("x" * 251 + ".pdf", "x" * 255, "1. " + "x" * 252):
        (spool.folders.failed / name).touch()
        free = spool.free_path(Folder.FAILED, Path(name), set())
        (spool.folders.failed / free).touch(exist_ok=False)


def test_a_file_in_a_folders_place_is_gone_around(spool: Spool) -> None:
    """Where a file has the name of the subfolder that is needed, the subfolder gets a number: nobody is stuck."""
    (spool.folders.failed / "office").write_text("a file")
    free = spool.free_path(Folder.FAILED, Path("office/new/scan.pdf"), set())
    assert free == Path("office (2)/new/scan.pdf")
    source = drop(spool.folders)
    spool.move(source, Folder.FAILED, free)
    assert (spool.folders.failed / free).read_bytes() == CONTENT
    assert (spool.folders.failed / "office").read_text() == "a file"


# --- moving out ---


@pytest.fixture
def taken(spool: Spool) -> Path:
    """A file in processing/."""
    drop(spool.folders)
    return spool.take(SCAN, JOB)


FILED = Path("2026-11/scan.pdf")


def test_a_moved_file_is_under_its_new_name_only(spool: Spool, taken: Path) -> None:
    """A file is moved below a folder, whose subfolders are made as needed."""
    spool.move(taken, Folder.DONE, FILED)
    assert (spool.folders.done / FILED).read_bytes() == CONTENT
    assert not taken.exists()


def test_a_name_that_is_taken_is_said_to_be(spool: Spool, taken: Path) -> None:
    """A different file under the new name stays, and so does ours: the caller chooses another name."""
    other = spool.folders.done / FILED
    other.parent.mkdir()
    other.write_bytes(b"another receipt")
    with pytest.raises(FileExistsError):
        spool.move(taken, Folder.DONE, FILED)
    assert other.read_bytes() == b"another receipt"
    assert taken.read_bytes() == CONTENT


def test_a_move_that_is_done_is_not_done_again(spool: Spool, taken: Path) -> None:
    """A move that a crash caught after the rename is found finished, however often it is asked for."""
    for _ in range(3):
        spool.move(taken, Folder.DONE, FILED)
    assert (spool.folders.done / FILED).read_bytes() == CONTENT
    assert files(spool.folders.done) == ["2026-11", "2026-11/scan.pdf"]


def test_a_move_onto_itself_leaves_the_file(spool: Spool, taken: Path) -> None:
    """A file that is already where it is to go is no leftover of its own move."""
    spool.move(taken, Folder.PROCESSING, Path(JOB) / SCAN)
    assert taken.read_bytes() == CONTENT


def test_a_file_that_is_in_neither_place_has_vanished(spool: Spool, taken: Path) -> None:
    """A file that somebody removed is said to be gone, and nothing is made in its place."""
    taken.unlink()
    with pytest.raises(FileVanishedError, match="not there any more"):
        spool.move(taken, Folder.DONE, FILED)
    assert files(spool.folders.done) == []


def test_two_names_of_one_file_become_one(spool: Spool, taken: Path) -> None:
    """A crash between link and unlink is finished: the old name goes."""
    target = spool.folders.done / FILED
    target.parent.mkdir()
    target.hardlink_to(taken)
    spool.move(taken, Folder.DONE, FILED)
    assert target.read_bytes() == CONTENT
    assert not taken.exists()


@pytest.fixture(params=[another_file_system, behind_a_bind_mount])
def divided(
    request: pytest.FixtureRequest, folders: SpoolFolders, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Spool, Path]]:
    """A spool whose done/ no rename reaches, and a file in its processing/."""
    with request.param(folders.inbox.parent, monkeypatch) as other:
        spool = Spool("office", SpoolFolders(folders.inbox, folders.processing, other / "done", folders.failed))
        spool.open(INSTALLATION)
        drop(spool.folders)
        yield spool, spool.take(SCAN, JOB)
        spool.close()


def test_a_file_is_moved_across(divided: tuple[Spool, Path]) -> None:
    """done/ may be on another file system than processing/."""
    spool, taken = divided
    spool.move(taken, Folder.DONE, FILED)
    assert files(spool.folders.done) == ["2026-11", "2026-11/scan.pdf"]
    assert (spool.folders.done / FILED).read_bytes() == CONTENT
    assert not taken.exists()


def test_a_copy_that_was_finished_is_not_copied_again(
    divided: tuple[Spool, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the copy and the removal of its original is finished: the copy is durable, the original goes."""
    spool, taken = divided
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash)
        with pytest.raises(Crash):
            spool.move(taken, Folder.DONE, FILED)
    assert taken.exists()
    flushed = record_flushes(monkeypatch)
    spool.move(taken, Folder.DONE, FILED)
    assert flushed == [(spool.folders.done / FILED).parent]
    assert files(spool.folders.done) == ["2026-11", "2026-11/scan.pdf"]
    assert not taken.exists()


def test_a_copy_that_was_interrupted_is_made_again(
    divided: tuple[Spool, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the middle of the copy leaves the original; the next time the file comes over whole."""
    spool, taken = divided
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", crash)
        with pytest.raises(Crash):
            spool.move(taken, Folder.DONE, FILED)
    assert taken.read_bytes() == CONTENT
    spool.move(taken, Folder.DONE, FILED)
    assert (spool.folders.done / FILED).read_bytes() == CONTENT


def test_a_different_file_across_is_not_taken_for_a_copy(divided: tuple[Spool, Path]) -> None:
    """A file of the same size and time with other bytes is another receipt, on another file system too."""
    spool, taken = divided
    other = spool.folders.done / FILED
    other.parent.mkdir()
    other.write_bytes(CONTENT[::-1])
    shutil.copystat(taken, other)
    with pytest.raises(FileExistsError):
        spool.move(taken, Folder.DONE, FILED)
    assert other.read_bytes() == CONTENT[::-1]
    assert taken.read_bytes() == CONTENT


def test_a_folder_that_is_away_is_not_made_in_its_place(spool: Spool, taken: Path) -> None:
    """A done/ that is not mounted is told; the file waits in processing/, and nothing is written beside the mount."""
    spool.folders.done.rmdir()
    with pytest.raises(SpoolError, match=f"the folder {spool.folders.done} is not there") as caught:
        spool.move(taken, Folder.DONE, FILED)
    assert caught.value.path == spool.folders.done
    assert not spool.folders.done.exists()
    assert taken.read_bytes() == CONTENT


def test_a_file_on_a_folder_that_is_away_has_not_vanished(spool: Spool, taken: Path) -> None:
    """A file cannot be said to be gone while the folder that it lies in is away: a retry must not fail by that."""
    spool.move(taken, Folder.FAILED, SCAN)
    spool.folders.failed.rename(spool.folders.failed.with_name("elsewhere"))
    for folder in (Folder.PROCESSING, Folder.DONE):
        with pytest.raises(SpoolError, match=f"the folder {spool.folders.failed} is not there"):
            spool.move(spool.folders.failed / SCAN, folder, Path(JOB) / SCAN)


@pytest.mark.parametrize(("way", "number"), UNTOLD)
def test_a_file_that_the_disk_does_not_tell_of_has_not_vanished(spool: Spool, way: Any, number: int) -> None:
    """Where the disk does not say whether the file is there, the error is the disk's, and nothing is made."""
    with way(spool.folders.failed) as path, pytest.raises(OSError, match=os.strerror(number)) as caught:
        spool.move(path, Folder.DONE, FILED)
    assert caught.value.errno == number
    assert files(spool.folders.done) == []


@pytest.mark.parametrize(("way", "number"), [one for one in UNTOLD if one[1] != errno.ELOOP])  # a link is a name
def test_a_name_that_the_disk_does_not_tell_of_is_not_free(spool: Spool, way: Any, number: int) -> None:
    """A name is only free when the disk says so: a file there might be overwritten by those without renameat2."""
    with way(spool.folders.done) as path, pytest.raises(OSError, match=os.strerror(number)):
        spool.free_path(Folder.DONE, path.relative_to(spool.folders.done), set())


def test_moves_share_their_flushes(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that many moves gave are flushed once for each folder."""
    flushed = record_flushes(monkeypatch)
    for name in ("a", "b"):
        (spool.folders.done / name).mkdir()
    spool.flush_moves([spool.folders.done / name for name in ("a/1.pdf", "a/2.pdf", "b/3.pdf")])
    assert sorted(flushed) == [spool.folders.done / "a", spool.folders.done / "b"]


@pytest.mark.parametrize("way", [only_links, neither_renameat2_nor_links])
def test_an_interrupted_take_loses_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, way: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Wherever the system refuses in the middle of a move, the file is in the inbox, whole, and nowhere else."""
    drop(spool.folders)
    way(monkeypatch)
    monkeypatch.setattr(Path, "unlink", _refusing_in(spool.folders.inbox, Path.unlink))
    monkeypatch.setattr(Path, "rename", _refusing_in(spool.folders.inbox, Path.rename))
    with pytest.raises(PermissionError):
        spool.take(SCAN, JOB)
    assert (spool.folders.inbox / SCAN).read_bytes() == CONTENT
    assert files(spool.folders.processing) == []


def _refusing_in(folder: Path, call: Callable[..., object]) -> Callable[..., object]:
    def refuse(path: Path, *more: object) -> object:
        if path.parent == folder:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return call(path, *more)

    return refuse


def test_tidying_removes_only_what_is_empty(spool: Spool, taken: Path) -> None:
    """A job's empty folders go, also below each other; whatever holds a file stays; a job without folders is fine."""
    (taken.parent / "a/b").mkdir(parents=True)
    spool.processing.tidy(JOB)
    assert files(spool.folders.processing) == [JOB, f"{JOB}/scan.pdf"]
    taken.unlink()
    spool.processing.tidy(JOB)
    spool.processing.tidy(JOB)
    assert files(spool.folders.processing) == []
