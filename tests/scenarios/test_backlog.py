"""Receipts that wait cost room in the job log and on disk, and none in memory: a start goes through them in pieces."""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from receipt_watcher.jobs.job import Folder, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.contents import files_below
from receipt_watcher.spool.folders import Spool
from tests.conftest import make_job

_FEW, _MANY = 200, 1200
#: The id of a job alone takes more.
_BYTES_FOR_EACH = 20


def wait_in_processing(log: JobLog, spool: Spool, count: int) -> None:
    """Let so many receipts wait, each with its folder."""
    with log.database.transaction():
        for number in range(count):
            job_id = new_job_id(1_700_000_000.0 + number)
            (spool.folders.processing / job_id).mkdir()
            log.jobs.insert(make_job(job_id=job_id))


def assign(log: JobLog, _spool: Spool) -> None:
    """Do what the start of the daemon does."""
    log.jobs.assign_branches("office", lambda _: "office")


def look_for_orphans(log: JobLog, spool: Spool) -> None:
    """Do what the opening of an inbox does."""
    assert list(spool.processing.orphans(partial(log.files.unrecorded_in_processing, "office"))) == []


def look_for_strangers(_log: JobLog, spool: Spool) -> None:
    """Do what each balance does."""
    shut: list[OSError] = []
    deque(files_below(str(spool.folders.processing), Folder.PROCESSING, shut), maxlen=0)
    assert shut == []


def peak_bytes(call: Callable[[], None]) -> int:
    """Return how much memory is taken at the most meanwhile."""
    call()  # what is kept for the next time, such as a statement, is not meant
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("step", [assign, look_for_orphans, look_for_strangers])
def test_a_backlog_is_held_nowhere(
    log: JobLog, spool: Spool, monkeypatch: pytest.MonkeyPatch, step: Callable[[JobLog, Spool], None]
) -> None:
    """Six times as many receipts that wait take no more memory: not even their ids are listed."""
    monkeypatch.setattr("receipt_watcher.spool.processing._FOLDERS_AT_ONCE", 50)
    wait_in_processing(log, spool, _FEW)
    few = peak_bytes(partial(step, log, spool))
    wait_in_processing(log, spool, _MANY - _FEW)
    many = peak_bytes(partial(step, log, spool))
    assert (many - few) / (_MANY - _FEW) < _BYTES_FOR_EACH


def test_a_folder_below_a_folder_is_found(tmp_path: Path) -> None:
    """However deep a file lies, it is found, and so are those beside it; a folder that is gone is no error."""
    for name in ("a.pdf", "one/b.pdf", "one/two/three/c.pdf", "four/d.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shut: list[OSError] = []
    found = {path.removeprefix(f"{tmp_path}/") for path in files_below(str(tmp_path), Folder.DONE, shut)}
    assert found == {"a.pdf", "one/b.pdf", "one/two/three/c.pdf", "four/d.pdf"}
    assert list(files_below(str(tmp_path / "gone"), Folder.DONE, shut)) == []
    assert shut == []
