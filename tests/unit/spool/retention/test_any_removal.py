"""Of any files, rows and ages only the old ones go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool import retention
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from tests.conftest import INSTALLATION, FakeClock, make_job, open_log
from tests.fakes.daemons.process import digest, jpegs
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.retention.archive import DAY, Archive, a_folder, a_link, more_bytes, other_bytes
from tests.unit.system.disk_faults import Crash, crash

# --- any files, rows and ages --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A receipt: how it ended, how many days then pass, and what somebody does to its file at last."""

    end: str
    days: int
    change: Callable[[Path], None] | None


ENDS = ("success", "failure", "cancelled", "copy", "open", "claimed", "not filed", "retried")
PLANS = st.builds(
    Plan,
    st.sampled_from(ENDS),
    st.integers(0, 50),
    st.sampled_from([None, None, None, other_bytes, more_bytes, a_link, a_folder, Path.unlink]),
)
DAYS = st.one_of(st.none(), st.integers(1, 60))


def carry_out(archive: Archive, number: int, plan: Plan) -> Job:
    """Let a receipt go as far as planned."""
    if plan.end == "copy":
        archive.conclude(Event.SUCCEED, f"original-{number}.jpg", jpegs(1, number)[0])
    job = archive.drop_in(f"{number}.jpg", jpegs(1, number)[0])
    match plan.end:
        case "success" | "not filed":
            archive.tell(job, Event.SUCCEED)
        case "failure" | "retried":
            archive.fail(job)
        case "cancelled":
            archive.tell(job, Event.CANCEL)
        case "claimed":
            assert archive.log.jobs.claim(["office"], archive.clock.now + 1e9)
    if plan.end != "not filed":
        archive.file()
    if plan.end == "retried":
        archive.tell(job, Event.RETRY, next_attempt_at=1e12)
    archive.clock.advance(plan.days * DAY)
    return job


@settings(max_examples=40)
@given(plans=st.lists(PLANS, max_size=6), done_days=DAYS, failed_days=DAYS, dead=st.booleans())
def test_nothing_else_is_ever_removed(
    plans: list[Plan], done_days: int | None, failed_days: int | None, dead: bool
) -> None:
    """Whatever there is: exactly what is concluded, filed, old enough and unchanged goes, and the log says so."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "inbox").mkdir()
        spool = Spool("office", SpoolFolders(root / "inbox", root / "processing", root / "done", root / "failed"))
        spool.open(INSTALLATION)
        log = open_log(root / "receipts.db")
        try:
            days = Retention(done_days=done_days, failed_days=failed_days)
            archive = Archive(log, route_on(spool), FakeClock(), days=days)
            assert_only_the_old_goes(archive, plans, dead=dead)
        finally:
            log.database.close()
            spool.close()


def assert_only_the_old_goes(archive: Archive, plans: list[Plan], *, dead: bool) -> None:
    """Carry plans out, look, and compare with what must have gone; `dead`: the first look ends before a removal."""
    jobs = [carry_out(archive, number, plan) for number, plan in enumerate(plans)]
    for job, plan in zip(jobs, plans, strict=True):
        if plan.change is not None:
            plan.change(archive.path(job))
    rows = {job.job_id: job for job in archive.recorded()}
    files = {job_id: archive.route.path_of(job) for job_id, job in rows.items()}
    there = {job_id for job_id, path in files.items() if os.path.lexists(path)}
    changed = {job.job_id for job, plan in zip(jobs, plans, strict=True) if plan.change is not None}
    keep = {Folder.DONE: archive.days.done_days, Folder.FAILED: archive.days.failed_days, Folder.PROCESSING: None}
    expected = {
        job_id
        for job_id, job in rows.items()
        if job.completed_at is not None
        and not job.move_due
        and (limit := keep[job.folder]) is not None
        and archive.clock.now - job.completed_at >= limit * DAY
        and job_id not in changed
    }
    if dead:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retention, "_unlink", crash)
            try:
                archive.remover.remove_due()
            except Crash:
                archive.remover = archive.new_remover()
    archive.remover.remove_due()
    assert there - {job_id for job_id, path in files.items() if os.path.lexists(path)} == expected
    assert {job.job_id for job in archive.recorded() if job.removed_at is not None} == expected
    archive.file()
    for job_id in rows.keys() - expected - changed:
        assert digest(archive.route.path_of(archive.now(rows[job_id])).read_bytes()) == rows[job_id].sha256


# --- as a whole ----------------------------------------------------------------------------------------------------


_TIMES = st.integers(0, 9).map(float)
_NOW = 7.0  # what is later lies in the future


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_TIMES, _TIMES), max_size=6), st.integers(0, 7).map(float))
def test_what_is_old(log: JobLog, rows: list[tuple[float, float]], before: float) -> None:
    """A job is old by its own times, if no row up to its own was recorded since, but for those of the future."""
    for table in ("history", "job"):
        log.database.change(f"DELETE FROM {table}")
    ids = []
    for created_at, completed_at in rows:
        changes = {
            "state": State.FAILURE,
            "folder": Folder.FAILED,
            "completed_at": completed_at,
            "reason": Reason.EMPTY,
        }
        ids.append(log.jobs.insert(make_job(created_at, job_id=new_job_id(1_700_000_000.0), **changes)).job_id)
    old = [
        (completed_at, job_id)
        for number, (job_id, (created_at, completed_at)) in enumerate(zip(ids, rows, strict=True))
        if max(created_at, completed_at) <= before
        and not any(before < earlier <= _NOW for earlier, _ in rows[: number + 1])
    ]
    found = log.files.old("office", Folder.FAILED, before, _NOW, 9)
    assert [job.job_id for job in found] == [job_id for _, job_id in sorted(old)]
    assert log.files.sum_of_old("office", Folder.FAILED, before, _NOW) == (len(old), 3 * len(old))
    assert log.files.old_histories(before, _NOW) == sorted(job_id for _, job_id in old)
