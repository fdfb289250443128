"""Retention keeps files that changed, that are open, or that something open depends on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.retention import Tally
from tests.fakes.daemons.process import jpegs
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.retention.archive import CHANGES, DAY, Archive
from tests.unit.system.disk_faults import refusing


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_stays(archive: Archive, change: Callable[[Path], None]) -> None:
    """What is no longer what was recorded is never removed; a warning a day names it, and others go meanwhile."""
    changed = archive.conclude(Event.SUCCEED, "a.jpg", jpegs(1)[0])
    other = archive.conclude(Event.SUCCEED, "b.jpg", jpegs(1, 1)[0])
    change(archive.path(changed))
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally(removed=1, size=other.size, kept=1)
        assert archive.look_after(0.1) == Tally()
    [line] = [line for line in lines if line["event"] == "retention.kept"]
    assert (line["job_id"], line["log_level"]) == (changed.job_id, "warning")
    assert str(archive.path(changed)) in line["why"]
    assert os.path.lexists(archive.path(changed))
    assert archive.now(changed) == changed
    assert archive.look_after(1).kept == 1


def test_what_people_took_away_is_not_ours(archive: Archive) -> None:
    """A file that somebody took out of the folder was not removed by us; nothing is said, and the row stays."""
    job = archive.conclude(Event.SUCCEED)
    archive.path(job).rename(archive.inbox.parent / "taken home.jpg")
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally(missing=1)
    assert (lines, archive.now(job)) == ([], job)


def test_a_file_without_a_digest_stays(archive: Archive) -> None:
    """A file that could never be read cannot be told from another one, and stays."""
    job = archive.conclude(Event.FAIL)
    archive.log.jobs.complete(job.job_id, None, None, job.size)
    assert archive.look_after(31) == Tally()
    assert not archive.is_removed(job)


@pytest.mark.parametrize("state", [State.QUEUED, State.DELIVERING, State.PROCESSING])
def test_nothing_open_is_touched(archive: Archive, state: State) -> None:
    """A receipt without a verdict stays, however long N8N is down."""
    job = archive.drop_in()
    if state is not State.QUEUED:
        assert archive.log.jobs.claim(["office"], archive.clock.now) is not None
    if state is State.PROCESSING:
        archive.tell(job, Event.ACCEPT)
    assert archive.look_after(3000) == Tally()
    assert archive.now(job).state is state
    assert not archive.is_removed(job)


def test_what_is_not_filed_stays(archive: Archive) -> None:
    """A verdict whose file has not been moved yet, or is to be moved elsewhere, is not removed."""
    late = archive.conclude(Event.FAIL, "late.jpg", jpegs(1, 1)[0])
    job = archive.tell(archive.drop_in(), Event.SUCCEED)
    archive.tell(late, Event.SUCCEED)
    assert archive.look_after(31) == Tally()
    assert [archive.is_removed(each) for each in (job, late)] == [False, False]


def test_a_copy_stays_while_its_original_is_tried_again(archive: Archive) -> None:
    """A copy in failed/ waits there for its original, which an admin retries after months; then both are in done/."""
    original, copy = archive.drop_in("a.jpg"), archive.drop_in("b.jpg")
    archive.fail(original)
    archive.file()
    archive.clock.advance(3000 * DAY)
    archive.tell(original, Event.RETRY, next_attempt_at=0.0)
    assert archive.remover.remove_due() == Tally()
    assert not archive.is_removed(copy)
    archive.tell(original, Event.SUCCEED)
    archive.file()
    assert archive.place(copy).startswith("done/")


@pytest.mark.parametrize("link", ["duplicate_of", "revision_of", "conflict_of"])
def test_what_something_open_depends_on_stays(archive: Archive, link: str) -> None:
    """An earlier version, an original, a copied receipt stays while the job that names it is open or to be filed."""
    first = archive.conclude(Event.SUCCEED, "a.jpg", jpegs(1)[0])
    second = archive.drop_in("b.jpg", jpegs(1, 1)[0])
    archive.log.database.change(f"UPDATE job SET {link} = ? WHERE job_id = ?", first.job_id, second.job_id)
    assert archive.look_after(31) == Tally()
    archive.tell(second, Event.SUCCEED)
    assert archive.look_after(1) == Tally()
    archive.file()
    assert archive.look_after(1.1).removed == 1
    assert [archive.is_removed(job) for job in (first, second)] == [True, False]


@pytest.mark.parametrize("other_inbox", [False, True], ids=["one-inbox", "a-shared-folder"])
def test_a_name_that_came_again_is_the_younger_ones(archive: Archive, other_inbox: bool) -> None:
    """Where people emptied done/ and the same receipt came again under its name, the file is as old as that one."""
    first = archive.conclude(Event.SUCCEED)
    archive.path(first).unlink()
    archive.clock.advance(10 * DAY)
    second = archive.drop_in()  # a copy, filed with the first
    archive.file()
    second = archive.now(second)
    assert second.stored_path == first.stored_path
    if other_inbox:
        archive.log.database.change("UPDATE job SET inbox = 'annex' WHERE job_id = ?", second.job_id)
        folders = archive.route.spool.folders
        annex = route_on(Spool("annex", replace(folders, inbox=folders.inbox.parent / "annex")))
        archive.remover = archive.new_remover(annex)
        assert archive.look_after(31) == Tally()
        return
    assert archive.look_after(21) == Tally()
    assert archive.path(second).exists()
    assert archive.look_after(10).removed == 1
    assert (archive.is_removed(second), archive.now(first).removed_at) == (True, None)


def test_a_share_that_is_away(archive: Archive) -> None:
    """While the folders are away nothing is missing and nothing is removed; it is said once, and goes on by itself."""
    job = archive.conclude(Event.SUCCEED)
    done = archive.route.spool.folders.done
    done.rename(done.with_name("away"))
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally()
        assert archive.look_after(1) == Tally()
    assert [line["event"] for line in lines] == ["retention.put_off"]
    assert "mount the share" in lines[0]["why"]
    done.with_name("away").rename(done)
    assert archive.look_after(1).removed == 1
    assert archive.is_removed(job)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO])
def test_what_the_system_refuses_is_taken_back(archive: Archive, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file that we may not remove is not called removed; it is said once, and tried again after the next start."""
    job = archive.conclude(Event.FAIL)
    monkeypatch.setattr(Path, "unlink", refusing(number))
    with capture_logs() as lines:
        assert archive.look_after(31) == Tally(kept=1)
        assert archive.look_after(2) == Tally()
    assert [line["event"] for line in lines] == ["retention.kept"]
    assert os.strerror(number) in lines[0]["why"]
    assert not archive.is_removed(job)
    assert archive.events(job)[-2:] == ["file.removed", "file.kept"]
    monkeypatch.undo()
    assert archive.now(archive.tell(job, Event.RETRY, next_attempt_at=0.0)).state is State.QUEUED
    archive.file()
    assert archive.place(job).startswith("processing/")
