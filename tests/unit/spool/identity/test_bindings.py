"""The folder of a spool: bindings by identity and mount, and by files that the job log says are there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from receipt_watcher.errors import SpoolError
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.identity import bindings as module
from receipt_watcher.spool.identity.bindings import Bindings
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.display import display_name
from receipt_watcher.system.folder_identity import FolderPlace, Identity
from receipt_watcher.system.mounts import Mount
from tests.conftest import INSTALLATION, make_job

NOW = 1_700_000_000.0
COMMAND = "receipt-watcher take-over office"

Remount = Callable[[Path, str], None]


@pytest.fixture
def remount(monkeypatch: pytest.MonkeyPatch) -> Remount:
    """Have paths seem to be on mounts of their own, by the identity of their disks; "" unmounts."""
    disks: dict[Path, str] = {}

    def place_of(path: Path) -> FolderPlace | None:
        found = FolderPlace.of(path)
        if found is None or not disks.get(path):
            return found
        root = Identity(2, 0, sum(disks[path].encode()))
        return FolderPlace(str(path), "ext4", "/dev/sdb1", root, root)

    class FakePlace:
        of = staticmethod(place_of)
        from_json = FolderPlace.from_json

    monkeypatch.setattr(module, "FolderPlace", FakePlace)
    return disks.__setitem__


@pytest.fixture
def bindings(log: JobLog, spool: Spool) -> Bindings:
    """The bindings of an open spool, nothing being bound yet."""
    return Bindings(log, "office", spool.folders)


def file_away(log: JobLog, folders: SpoolFolders, name: str, event: Event, now: float = NOW) -> Job:
    """Record a receipt that was concluded at a time and filed."""
    folder = Folder.DONE if event is Event.SUCCEED else Folder.FAILED
    path = folders.path_of(folder) / name
    path.write_bytes(b"a receipt")
    job = log.jobs.insert(make_job(now, filename=name, size=len(b"a receipt")))
    after = log.jobs.advance(job.job_id, event, now)
    assert after is not None
    log.moves.finish_moves(log.moves.intend_moves([(after, folder, Path(name))]), now)
    return after


def why_away(bindings: Bindings, *, is_ours: bool = True) -> str:
    """Return why a folder is away, or "" if none is."""
    try:
        bindings.check(is_ours=is_ours, take_over=COMMAND)
    except SpoolError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("folder", list(Folder))
def test_before_it_is_used_any_folder_will_do(
    bindings: Bindings, spool: Spool, folder: Folder, remount: Remount
) -> None:
    """A share may be mounted only after the first start: until a receipt has come nothing is bound."""
    bindings.store(NOW)
    remount(spool.folders.path_of(folder), "mounted later")
    assert why_away(bindings) == ""


@pytest.mark.parametrize(
    ("folder", "instead"), [(folder, instead) for folder in Folder for instead in ("nothing", "mount point", "disk")]
)
def test_a_folder_that_was_used_is_bound(
    bindings: Bindings, spool: Spool, folder: Folder, instead: str, remount: Remount
) -> None:
    """Nothing, the folder below the mount and another disk are told apart from it; the text says what to type."""
    path, log = spool.folders.path_of(folder), bindings._log
    remount(path, "its own")
    bindings.store(NOW)
    file_away(log, spool.folders, "a.jpg", Event.SUCCEED)
    file_away(log, spool.folders, "b.jpg", Event.FAIL)
    bindings.store(NOW)
    assert why_away(bindings) == ""
    if instead == "disk":
        remount(path, "other")
        for file in path.iterdir():
            file.unlink()
    else:
        remount(path, "")
        shutil.rmtree(path)
    if instead == "mount point":
        path.mkdir()
    why = why_away(bindings, is_ours=folder is not Folder.PROCESSING)
    assert str(path) in why
    assert ("is not there" in why) if instead == "nothing" else why.endswith(COMMAND)


def test_an_exchanged_disk_is_accepted_once_taken_over(
    bindings: Bindings, log: JobLog, spool: Spool, remount: Remount
) -> None:
    """What `take-over` accepts is bound from then on, and the disk before it is another one."""
    remount(spool.folders.done, "first")
    bindings.store(NOW)
    file_away(log, spool.folders, "a.jpg", Event.SUCCEED)
    (spool.folders.done / "a.jpg").unlink()
    remount(spool.folders.done, "second")
    assert "is another folder" in why_away(bindings)
    bindings.store(NOW, is_taken_over=True)
    assert why_away(bindings) == ""
    remount(spool.folders.done, "first")
    assert "is another folder" in why_away(bindings)


def test_a_disk_with_the_files_of_the_log_is_the_same_place(
    bindings: Bindings, log: JobLog, spool: Spool, remount: Remount
) -> None:
    """Another disk at the same mount point to which the files were copied needs no command."""
    remount(spool.folders.done, "first")
    bindings.store(NOW)
    file_away(log, spool.folders, "a.jpg", Event.SUCCEED)
    remount(spool.folders.done, "a copy")
    assert why_away(bindings) == ""


def test_people_may_replace_done_on_the_same_mount(bindings: Bindings, log: JobLog, spool: Spool) -> None:
    """Renaming done/ and making a new one is how people archive; its mount is there."""
    bindings.store(NOW)
    file_away(log, spool.folders, "a.jpg", Event.SUCCEED)
    spool.folders.done.rename(spool.folders.done.with_name("done-2025"))
    assert "done is not there" in why_away(bindings)
    spool.folders.done.mkdir()
    assert why_away(bindings) == ""


def test_a_processing_that_was_replaced_lacks_its_receipts(bindings: Bindings, log: JobLog, spool: Spool) -> None:
    """On the same mount, too, processing/ must hold our .owner and a receipt of the log; then it is the same place."""
    processing = spool.folders.processing
    job = log.jobs.insert(make_job(NOW))
    file = processing / job.stored_path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a receipt")
    bindings.store(NOW)
    processing.rename(processing.with_name("elsewhere"))
    processing.mkdir()
    assert "is another folder" in why_away(bindings, is_ours=False)
    assert "is another folder" in why_away(bindings, is_ours=True)
    shutil.copytree(processing.with_name("elsewhere"), processing, dirs_exist_ok=True)
    assert why_away(bindings, is_ours=True) == ""


# --- a job log of an older version -----------------------------------------------------------------------------------


def test_an_older_installation_binds_when_a_file_is_found(
    bindings: Bindings, log: JobLog, spool: Spool, remount: Remount
) -> None:
    """While the log's files are not found nothing is bound or refused; when they are, the folder is bound."""
    file_away(log, spool.folders, "a.jpg", Event.SUCCEED, NOW - 100)
    real = spool.folders.done.rename(spool.folders.done.with_name("real"))
    spool.folders.done.mkdir()
    bindings.store(NOW)
    assert why_away(bindings) == ""
    spool.folders.done.rmdir()
    real.rename(spool.folders.done)
    remount(spool.folders.done, "its own")
    assert why_away(bindings) == ""
    bindings.store(NOW)
    remount(spool.folders.done, "another")
    (spool.folders.done / "a.jpg").unlink()
    assert "is another folder" in why_away(bindings)


def test_what_is_filed_below_a_mount_point_does_not_shut_out_the_mount(
    bindings: Bindings, log: JobLog, spool: Spool, remount: Remount
) -> None:
    """After an upgrade with done/ away, files land below it once more; the real folder is bound when it appears."""
    done = spool.folders.done
    file_away(log, spool.folders, "old.jpg", Event.SUCCEED, NOW - 100)
    old = (done / "old.jpg").rename(done.with_name("old.jpg"))
    bindings.store(NOW)
    file_away(log, spool.folders, "new.jpg", Event.SUCCEED, NOW + 100)
    bindings.store(NOW + 200)
    shutil.rmtree(done)
    done.mkdir()
    old.rename(done / "old.jpg")
    remount(done, "its own")
    assert why_away(bindings) == ""
    bindings.store(NOW + 300)
    remount(done, "")
    (done / "old.jpg").rename(done / "new.jpg")
    assert "is another folder" in why_away(bindings)


def test_an_older_installation_whose_owner_file_is_gone(bindings: Bindings, log: JobLog, spool: Spool) -> None:
    """A processing/ that was in use has our .owner in it; without that its mount is away."""
    log.jobs.insert(make_job(NOW))
    log.facts.spool_recovered.of(display_name(spool.folders.processing)).put("yes")
    assert "has no .owner" in why_away(bindings, is_ours=False)


def test_an_older_installation_whose_receipts_are_gone(bindings: Bindings, log: JobLog, spool: Spool) -> None:
    """An .owner that was once made below the mount point proves nothing while no receipt of the log is there."""
    log.jobs.insert(make_job(NOW))
    assert "none of the receipts" in why_away(bindings)


# --- identities ------------------------------------------------------------------------------------------------------


def place(
    point: str, kind: str = "ext4", inode: int = 2, born: int = 0, *, number: int = 0, source: str = "a"
) -> FolderPlace:
    """Return a place that is the root of its mount."""
    return FolderPlace(point, kind, source, Identity(inode, born, number), Identity(inode, born, number))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (place("/a", born=5), place("/b", born=5, number=9), True),  # through another mount, on a renamed device
        (place("/a", born=5), place("/a", born=6), False),  # another disk, whose root has the same inode
        (place("/a", number=5), place("/a", number=5, source="b"), True),
        (place("/a", number=5), place("/a", number=6), False),
        (place("/a", "nfs4", 7), place("/b", "nfs4", 7), True),  # no birth and no identifier: by its source
        (place("/a", "nfs4", 7), place("/a", "nfs4", 7, source="b"), False),
        (place("/a", "nfs4", 7), place("/a", "nfs4", 8), False),  # the server's own disk is away
        (place("/a", "fuse.sshfs", 7), place("/a", "fuse.sshfs", 8), True),  # numbers that were made up
        (place("/a", "fuse.sshfs", 7), place("/a", "fuse.sshfs", 7, source="b"), False),
        (place("/a", "xfs", 7, 5), place("/a", "ext4", 7, 5), False),
    ],
)
def test_how_a_folder_is_recognised(one: FolderPlace, other: FolderPlace, *, is_same: bool) -> None:
    """By inode and birth, else the file system's identifier, else its source; FUSE by mount point and source."""
    assert one.is_same_folder(other) is is_same
    assert other.is_same_folder(one) is is_same
    assert FolderPlace.from_json(one.as_json()) == one


def test_the_place_of_a_folder(tmp_path: Path) -> None:
    """A folder that was made again in the same place is another one, and what is no folder has no place."""
    folder = tmp_path / "folder"
    folder.mkdir()
    before = FolderPlace.of(folder)
    assert before is not None
    assert str(before) == str(Mount(before.point, before.file_system))
    folder.rename(tmp_path / "elsewhere")
    assert FolderPlace.of(folder) is None
    folder.touch()
    assert FolderPlace.of(folder) is None
    folder.unlink()
    folder.mkdir()
    after = FolderPlace.of(folder)
    assert after is not None
    assert not before.is_same_folder(after)
    assert before.is_same_mount(after)
    assert before == FolderPlace.of(tmp_path / "elsewhere")
    assert INSTALLATION not in str(after)
