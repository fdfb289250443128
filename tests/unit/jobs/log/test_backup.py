"""The job log's file when it fails: told in words, once; nothing half written; restored, copied, never overwritten."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from peewee import IntegrityError, OperationalError
from structlog.testing import capture_logs

from receipt_watcher.errors import JobLogError, LockedError
from receipt_watcher.jobs.log.engine import backup as module
from receipt_watcher.jobs.log.engine import connection as log_connection
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from tests.conftest import make_job
from tests.fakes.daemons.process import wait_until
from tests.unit.system.disk_faults import refusing

NOW = 1_700_000_000.0


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobLog]:
    """An open job log with one job, that waits for no lock."""
    monkeypatch.setattr(log_connection, "BUSY_TIMEOUT_SECONDS", 0)
    (tmp_path / "state").mkdir()
    log = JobLog(tmp_path / "state" / "receipts.db")
    log.database.open()
    log.jobs.insert(make_job())
    yield log
    log.database.close()


def pragma(log: JobLog, text: str) -> Any:
    """Say a PRAGMA on the log's own connection, and return what it answers."""
    return log.database.select(f"PRAGMA {text}")[0][0] if "=" not in text else log.database.select(f"PRAGMA {text}")


def ids(path: Path) -> set[str]:
    """Return the jobs that a file holds, which must be whole, as another program sees it."""
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {job_id for (job_id,) in other.execute("SELECT job_id FROM job")}


def known(log: JobLog) -> set[str]:
    """Return the jobs of the log, as it sees them itself."""
    return {job.job_id for job in log.lookups.listing(limit=None)}


def beside(log: JobLog) -> list[str]:
    """Return the names in the log's folder."""
    return sorted(path.name for path in log.database.path.parent.iterdir())


def is_in_trouble(log: JobLog) -> bool:
    """Return whether the log says that it cannot be used."""
    return log.database.trouble is not None


# --- troubles ------------------------------------------------------------------------------------------------------


@contextmanager
def full(log: JobLog) -> Iterator[None]:
    """The log may not grow any more."""
    before = pragma(log, "max_page_count")
    pragma(log, f"max_page_count = {pragma(log, 'page_count')}")
    yield
    pragma(log, f"max_page_count = {before}")


@contextmanager
def locked(log: JobLog) -> Iterator[None]:
    """Another program writes, and does not end."""
    with closing(sqlite3.connect(log.database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def read_only(log: JobLog) -> Iterator[None]:
    """The log may only be read."""
    pragma(log, "query_only = 1")
    yield
    pragma(log, "query_only = 0")


TROUBLES = [
    (full, "its disk is full (database or disk is full); make room in {folder}"),
    (locked, "another program keeps it locked (database is locked); end that program; fuser {path} names it"),
    (
        read_only,
        "it cannot be written (attempt to write a readonly database); "  # noqa: ISC004
        "let the service's user write {path} and in {folder}",
    ),
]

Fault = Callable[[JobLog], Any]


def write_much(log: JobLog) -> None:
    """Write more rows in one transaction than fit into the pages that are there."""
    with log.database.transaction():
        for _ in range(200):
            log.jobs.insert(make_job(message="x" * 1000))


@pytest.mark.parametrize(("fault", "words"), TROUBLES)
def test_a_trouble_is_told_once_and_its_end_once(log: JobLog, fault: Fault, words: str) -> None:
    """What fails is a JobLogError with advice each time; the log has a line when it begins and one when it ends."""
    said = words.format(path=log.database.path, folder=log.database.path.parent)
    before = known(log)
    with capture_logs() as lines:
        with fault(log):
            for _ in range(3):
                with pytest.raises(JobLogError) as caught:
                    write_much(log)
                assert str(caught.value) == f"the job log {log.database.path} cannot be used now: {said}"
                assert log.database.trouble == str(caught.value)
                assert known(log) == before  # reading goes on, and does not end the trouble
        log.database.change("UPDATE job SET message = 'x' WHERE job_id = 'nobody'")
        assert log.database.trouble == str(caught.value)  # nothing was written by that
        log.facts.table.put("fact", "value")
        assert not is_in_trouble(log)
        write_much(log)
    assert lines == [
        {"event": "job_log.failing", "log_level": "error", "path": str(log.database.path), "why": caught.value.args[0]},
        {"event": "job_log.mended", "log_level": "info", "path": str(log.database.path)},
    ]
    assert len(ids(log.database.path)) == 201


@pytest.mark.parametrize(("fault", "words"), TROUBLES)
def test_nothing_of_a_failed_transaction_stays(log: JobLog, fault: Fault, words: str) -> None:
    """Neither the rows that still fitted nor the transaction itself are there after it, and the next one is whole."""
    before = ids(log.database.path)
    with fault(log), pytest.raises(JobLogError, match=words[:15]):
        write_much(log)
    assert ids(log.database.path) == before == known(log)
    job = log.jobs.insert(make_job())
    assert ids(log.database.path) == before | {job.job_id}


def test_a_trouble_inside_of_a_group_is_told_by_its_cause(log: JobLog) -> None:
    """SQLite rolls back by itself when the disk is full, and that our own rollback then fails hides nothing."""

    def write_in_a_group() -> None:
        with log.database.transaction():
            log.facts.table.put("fact", "value")
            write_much(log)

    with full(log), pytest.raises(JobLogError, match="its disk is full"):
        write_in_a_group()
    assert log.facts.table.get("fact") is None


def test_a_defect_of_ours_is_no_trouble(log: JobLog) -> None:
    """A wrong statement or a broken constraint stays what it is, also in a group, and is told as no trouble."""
    job = log.lookups.listing()[0]
    with capture_logs() as lines:
        with pytest.raises(OperationalError, match="no such table"):
            log.database.select("SELECT * FROM nonsense")
        with pytest.raises(OperationalError, match="no such table"), log.database.transaction():
            log.database.change("DELETE FROM nonsense")
        with pytest.raises(IntegrityError):
            log.jobs.insert(job)
    assert (log.database.trouble, lines) == (None, [])


def damage(log: JobLog) -> None:
    """Overwrite the beginning of the jobs, and open the log again."""
    page = log.database.select("SELECT rootpage FROM sqlite_master WHERE name = 'job'")[0][0]
    overwrite(log, (page - 1) * 4096, b"\xff" * 4096)


def miscount(log: JobLog) -> None:
    """Let the log's header tell of free pages that it has not; only a check finds that."""
    overwrite(log, 36, b"\0\0\0\5")


def overwrite(log: JobLog, at: int, content: bytes) -> None:
    """Close the log, overwrite a piece of its file, and open it again."""
    log.database.close()
    with log.database.path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    log.database.open()


def test_a_log_that_is_damaged_in_use_is_not_written_any_more(log: JobLog) -> None:
    """It says so, with what to do; nothing is added to the damage, and it is told once, not by each write anew."""
    damage(log)
    with capture_logs() as lines:
        with pytest.raises(JobLogError, match=r"it is damaged \(.*\); stop the daemon, move the file away .* -wal"):
            log.lookups.listing(limit=None)
        for _ in range(2):
            with pytest.raises(JobLogError, match="it is damaged"):
                log.facts.table.put("fact", "value")
    assert [line["event"] for line in lines] == ["job_log.failing"]
    assert log.database.trouble is not None


# --- deleted, replaced ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffixes", [[""], ["-wal"], ["-shm"], ["", "-wal", "-shm"]])
def test_a_log_that_was_deleted_is_restored_with_all_its_rows(log: JobLog, suffixes: list[str]) -> None:
    """Whatever of its files is deleted: every row is in a whole file again, and goes on being written there."""
    assert not log.database.is_displaced()
    before = known(log)
    for suffix in suffixes:
        log.database.path.with_name(log.database.path.name + suffix).unlink()
    late = log.jobs.insert(make_job())
    assert log.database.is_displaced()
    with capture_logs() as lines:
        log.backup.restore()
    assert [line["event"] for line in lines] == ["job_log.restored"]
    assert not log.database.is_displaced()
    job = log.jobs.insert(make_job())
    assert ids(log.database.path) == known(log) == before | {late.job_id, job.job_id}
    log.database.close()
    assert ids(log.database.path) == before | {late.job_id, job.job_id}
    assert beside(log) == ["receipts.db"]


def test_use_and_other_programs_do_not_displace_a_log(log: JobLog) -> None:
    """Neither a checkpoint nor a program that opens and closes the file is taken for a deletion."""
    assert not log.database.is_displaced()
    for _ in range(3):
        other = JobLog(log.database.path)
        other.database.open()
        other.jobs.insert(make_job())
        other.database.close()
        log.database.select("PRAGMA wal_checkpoint(TRUNCATE)")
        assert not log.database.is_displaced()
        log.jobs.insert(make_job())
        assert not log.database.is_displaced()
    log.database.close()
    assert not log.database.is_displaced()


def test_a_disk_that_does_not_tell_is_no_deletion(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error about the file is not taken for its absence."""
    with monkeypatch.context() as context:
        context.setattr(Path, "stat", refusing(errno.EIO))
        assert not log.database.is_displaced()
    assert not log.database.is_displaced()


def test_a_folder_that_was_deleted_is_made_first(log: JobLog) -> None:
    """Where the folder went too, whoever restores makes it, before the file is written."""
    before = known(log)
    shutil.rmtree(log.database.path.parent)
    assert log.database.is_displaced()
    log.backup.restore(log.database.path.parent.mkdir)
    assert ids(log.database.path) == before


def test_a_log_that_cannot_be_restored_is_kept_until_it_can(log: JobLog) -> None:
    """It is told once, and not as mended by what is written meanwhile; the open file loses nothing."""
    before = known(log)
    shutil.rmtree(log.database.path.parent)

    def refuse() -> None:
        raise LockedError("another receipt-watcher is running on it")

    why = (
        f"the job log {log.database.path} was deleted while it was in use, and cannot be written anew:"
        " another receipt-watcher"
    )
    with capture_logs() as lines:
        for _ in range(2):
            assert log.database.is_displaced()
            with pytest.raises(JobLogError, match=why):
                log.backup.restore(refuse)
            with pytest.raises(JobLogError, match=r"cannot be written anew: .*is there room for it\?"):
                log.backup.restore()
            log.facts.table.put("fact", "value")
        assert log.database.trouble is not None
        log.backup.restore(log.database.path.parent.mkdir)
        log.facts.table.put("fact", "another")
    assert [line["event"] for line in lines] == ["job_log.failing", "job_log.restored", "job_log.mended"]
    assert ids(log.database.path) == before
    assert log.database.trouble is None


def test_a_name_that_cannot_be_taken_back_costs_no_row(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the new file cannot get the name, the open one is still there for the next try; no part is left."""
    before = known(log)
    log.database.path.unlink()
    assert log.database.is_displaced()
    with monkeypatch.context() as context:
        context.setattr(Path, "replace", refusing(errno.EROFS))
        with pytest.raises(JobLogError, match="Read-only file system"):
            log.backup.restore()
    assert known(log) == before
    assert ".receipts.db.restored" not in beside(log)
    log.backup.restore()
    assert ids(log.database.path) == before


def test_a_log_that_cannot_be_opened_anew_says_so_until_it_can(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the file is there again and cannot be opened, each use says why; opened, it goes on."""
    before = known(log)
    log.database.path.unlink()
    assert log.database.is_displaced()
    with monkeypatch.context() as context:
        context.setattr(log.database.connection, "_migrate", refusing(errno.ENOSPC))
        with pytest.raises(JobLogError, match="cannot be written anew"):
            log.backup.restore()
    for use in (
        lambda: log.facts.table.put("fact", "value"),
        lambda: log.facts.table.get("fact"),
        log.lookups.listing,
    ):
        with pytest.raises(JobLogError, match="cannot be written anew"):
            use()
    log.database.open()
    log.facts.table.put("fact", "value")
    assert log.database.trouble is None
    assert known(log) == before


@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_log_that_was_replaced_is_left_alone(log: JobLog, tmp_path: Path, *, is_noticed: bool) -> None:
    """Nothing is written any more, which would be lost; and nothing of ours gets into the file that replaced it."""
    job = log.lookups.listing()[0]
    backup = tmp_path / "backup.db"
    log.backup.write(backup)
    assert log.jobs.advance(job.job_id, Event.CANCEL, NOW) is not None
    write_much(log)
    before = len(known(log))
    os.replace(backup, log.database.path)  # noqa: PTH105 - as mv does
    if is_noticed:
        with capture_logs() as lines:
            for _ in range(2):
                assert not log.database.is_displaced()
                with pytest.raises(JobLogError, match="was replaced by another file while it was in use; restart"):
                    log.jobs.insert(make_job())
        assert [line["event"] for line in lines] == ["job_log.failing"]
        assert len(known(log)) == before
    log.database.close()
    assert beside(log) == ["receipts.db"]
    log.database.open()
    assert log.lookups.listing() == [job]
    log.jobs.insert(make_job())
    assert log.database.trouble is None
    assert len(ids(log.database.path)) == 2


# --- backup --------------------------------------------------------------------------------------------------------


def test_a_backup_is_of_one_moment(log: JobLog, tmp_path: Path) -> None:
    """Copied while others write, it is whole and has all rows of each transaction or none, as the count says."""
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        other = JobLog(log.database.path)
        other.database.open()
        while not stop.is_set():
            with log.database.transaction() if len(written) % 2 else other.database.transaction():
                for _ in range(5):
                    (log if len(written) % 2 else other).jobs.insert(make_job())
            written.append(5)
        other.database.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            count = len(written)
            wait_until(lambda count=count: len(written) >= count + 2, "it is being written")  # type: ignore[misc]
            before = 1 + sum(written)
            jobs = log.backup.write(tmp_path / f"{number}.db")
            assert before <= jobs <= 1 + sum(written) + 5
            assert len(ids(tmp_path / f"{number}.db")) == jobs
            assert (jobs - 1) % 5 == 0
    finally:
        stop.set()
        writer.join()
    assert len(known(log)) == 1 + sum(written)


def test_a_backup_is_a_job_log_in_one_file(log: JobLog, tmp_path: Path) -> None:
    """What was copied can be read where nothing can be written, and opened as a job log with all that it had."""
    target = tmp_path / "backup.db"
    assert log.backup.write(target) == 1
    assert target.read_bytes()[18:20] == b"\1\1"  # sqlite.org/fileformat.html: no file is needed beside it to read it
    copied = JobLog(target)
    copied.database.open()
    assert copied.lookups.listing() == log.lookups.listing()
    job = log.lookups.listing()[0]
    assert copied.histories.lines(job.job_id) == log.histories.lines(job.job_id)
    copied.database.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.db", "state"]


def test_a_backup_overwrites_nothing(log: JobLog, tmp_path: Path) -> None:
    """A name that is taken is refused, be it another file's, a link's, or the log's own; no part is left."""
    taken, link = tmp_path / "taken.db", tmp_path / "link.db"
    taken.write_text("precious")
    link.symlink_to(tmp_path / "nowhere")
    before = known(log)
    for target in (taken, link, log.database.path):
        with pytest.raises(JobLogError) as caught:
            log.backup.write(target)
        assert str(caught.value) == f"{target} is there already; nothing was overwritten"
    assert taken.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()
    assert ids(log.database.path) == known(log) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.db", "state", "taken.db"]
    assert beside(log) == ["receipts.db", "receipts.db-shm", "receipts.db-wal"]


@pytest.mark.parametrize("step", ["flush_file", "move_file", "flush_folder"])
def test_a_backup_that_fails_leaves_no_part(
    log: JobLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Where the disk refuses a step of it, that is told; a part of a copy is not left, and no trouble of the log's."""
    monkeypatch.setattr(module, step, refusing(errno.ENOSPC))
    with pytest.raises(JobLogError, match=r"backup\.db.* cannot be written \(.*No space left"):
        log.backup.write(tmp_path / "backup.db")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(PARTIAL_SUFFIX)] == []
    assert log.database.trouble is None


def test_a_backup_needs_a_folder(log: JobLog, tmp_path: Path) -> None:
    """Where the folder is missing, the error names the file."""
    with pytest.raises(JobLogError, match=r"missing/.*backup\.db.* cannot be written"):
        log.backup.write(tmp_path / "missing" / "backup.db")


@pytest.mark.parametrize("spoil", [damage, miscount])
def test_a_damaged_log_has_no_backup(log: JobLog, tmp_path: Path, spoil: Callable[[JobLog], None]) -> None:
    """A copy that would be damaged is not kept, and the words are about the log, not about the copy's disk."""
    spoil(log)
    with pytest.raises(JobLogError, match=rf"the job log {log.database.path} is damaged \(.*\); stop the daemon"):
        log.backup.write(tmp_path / "backup.db")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


# --- opening -------------------------------------------------------------------------------------------------------


def test_a_log_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    """A damaged file is told with how it is replaced: without what SQLite kept beside it, which belongs to it alone."""
    path = tmp_path / "receipts.db"
    path.write_bytes(b"\xff" * 50_000)
    with pytest.raises(JobLogError) as caught:
        JobLog(path).database.open()
    assert str(caught.value) == (
        f"the job log {path} cannot be used: it is damaged (file is not a database); stop the daemon, move the file "
        "away together with the -wal and -shm beside it, and put the last backup in its place, or nothing: then what "
        "is in processing/ and done/ is recorded anew"
    )
    assert path.read_bytes() == b"\xff" * 50_000


# --- who may read it -----------------------------------------------------------------------------------------------


def modes(folder: Path) -> dict[str, int]:
    """Return the mode of each file."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


@pytest.fixture
def lax_umask() -> Iterator[None]:
    """The umask of most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("lax_umask")
def test_nobody_else_reads_the_log(tmp_path: Path) -> None:
    """The log, what SQLite keeps beside it, a backup and a log that was written again are for their owner only."""
    log = JobLog(tmp_path / "receipts.db")
    log.database.open()
    log.jobs.insert(make_job())
    log.backup.write(tmp_path / "copy.db")
    log.backup.restore()
    log.jobs.insert(make_job())
    assert {"receipts.db", "receipts.db-wal", "copy.db"} <= modes(tmp_path).keys()
    assert set(modes(tmp_path).values()) == {0o600}
    log.database.close()


@pytest.mark.usefixtures("lax_umask")
@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o640, 0o640), (0o666, 0o600)])
def test_a_log_that_all_could_read_is_closed_to_them(tmp_path: Path, before: int, after: int) -> None:
    """A log that an older version made for all to read becomes its owner's; a mode for a group stays."""
    path = tmp_path / "receipts.db"
    path.touch(mode=0o600)
    path.chmod(before)
    log = JobLog(path)
    log.database.open()
    log.jobs.insert(make_job())
    assert set(modes(tmp_path).values()) == {after}
    log.database.close()
