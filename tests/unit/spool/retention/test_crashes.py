"""A crash leaves no file removed without a word in the log."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.jobs.log.moves import Moves
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool import reason_file, retention
from receipt_watcher.system import disk
from tests.unit.spool.retention.archive import CHANGES, Archive, with_days
from tests.unit.system.disk_faults import Crash, crash

STEPS: dict[str, tuple[Any, str]] = {
    "unlink": (Path, "unlink"),
    "note": (reason_file, "remove_note"),
    "flush": (disk, "flush_folder"),
    "written": (Moves, "finish_removals"),
    "tidied": (retention, "_remove_empty"),
}

#: There is no note about a success.
NONE = (Event.SUCCEED, "note")


def cut_off(archive: Archive, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let the process end instead of a step, after 31 days, and start the next one."""
    with monkeypatch.context() as patch:
        patch.setattr(*STEPS[step], crash)
        with pytest.raises(Crash):
            archive.look_after(31)
    archive.remover = archive.new_remover()


@pytest.mark.parametrize(
    ("event", "step"),
    [(event, step) for event in (Event.FAIL, Event.SUCCEED) for step in STEPS if (event, step) != NONE],
)
def test_a_crash_leaves_no_file_gone_without_a_word(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, event: Event, step: str
) -> None:
    """Wherever a removal is cut off, the log calls the file removed; the next start finishes it, note and all."""
    job = archive.conclude(event)
    cut_off(archive, monkeypatch, step)
    assert archive.now(job).removed_at is not None
    assert archive.path(job).exists() is (step == "unlink")
    assert archive.log.jobs.advance(job.job_id, Event.RETRY, archive.clock.now, next_attempt_at=0.0) is None
    archive.remover.remove_due()
    assert archive.is_removed(job)
    assert [name for name in archive.all_files() if name.endswith(("g", "txt"))] == []
    assert archive.events(job).count("file.removed") == 1
    assert archive.log.files.begun_removals("office") == []


def test_a_crash_before_the_commit_removes_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends before the removal was committed leaves the file, and a log that knows of nothing."""
    job = archive.conclude(Event.SUCCEED)
    table = archive.log.facts.table
    keep = table.put

    def crash_at_removals(name: str, value: str) -> None:
        if name == archive.log.facts.removing.of(job.inbox).name:
            raise Crash
        keep(name, value)

    with monkeypatch.context() as patch:
        patch.setattr(table, "put", crash_at_removals)
        with pytest.raises(Crash):
            archive.look_after(31)
    assert archive.now(job) == job
    assert not archive.is_removed(job)


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_after_a_crash_stays(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """A file that a crash left, and that is another one by the next start, stays, and the log takes its word back."""
    job = archive.conclude(Event.SUCCEED)
    cut_off(archive, monkeypatch, "unlink")
    change(archive.path(job))
    assert archive.remover.remove_due().kept == 1
    assert os.path.lexists(archive.path(job))
    assert archive.now(job).removed_at is None
    assert archive.events(job)[-1] == "file.kept"


def test_retention_that_is_switched_off_after_a_crash(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever switches retention off after a crash keeps the file that was about to go."""
    job = archive.conclude(Event.SUCCEED)
    cut_off(archive, monkeypatch, "unlink")
    with_days(archive)
    assert archive.remover.is_needed
    assert archive.remover.remove_due().kept == 1
    assert not archive.is_removed(job)
    assert not archive.remover.is_needed


def test_another_receipt_in_the_place_after_a_crash(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another job's file has the same bytes and the same place by the next start, it is that job's, and stays."""
    job = archive.conclude(Event.SUCCEED)
    cut_off(archive, monkeypatch, "flush")
    other = archive.drop_in("other.jpg")
    archive.file()
    archive.path(other).rename(place := archive.path(other).parent / "scan.jpg")
    if place.parent != archive.path(job).parent:
        place.parent.rename(archive.path(job).parent)
    archive.log.database.change("UPDATE job SET stored_path = ? WHERE job_id = ?", job.stored_path, other.job_id)
    archive.remover.remove_due()
    assert archive.path(other).exists()
    assert archive.now(other).removed_at is None
