"""A refusal that an admin overrules: the file is sent as it is, once, and within the bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.fakes.daemons.process import digest
from tests.unit.spool.filing.office import Office

REFUSED = {
    Reason.INCOMPLETE: samples.jpeg(1)[:-20],
    Reason.UNSUPPORTED_TYPE: b"Total: 12.50\n" * 20,
}


def refused(office: Office, content: bytes) -> Job:
    """Return a job whose file was refused, filed in failed/."""
    job = office.drop_in(content=content)
    office.file()
    assert office.now(job).state is State.FAILURE
    return office.now(job)


def retry(office: Office, job: Job, *, is_forced: bool) -> Job:
    """Retry a job as Ann, let its file come back, and return it."""
    office.log.jobs.retry(job.job_id, office.clock.advance(60), "by Ann", is_forced=is_forced)
    office.file()
    return office.now(job)


@pytest.mark.parametrize("reason", [Reason.INCOMPLETE, Reason.UNSUPPORTED_TYPE])
def test_a_refused_file_is_sent_by_force(office: Office, reason: Reason) -> None:
    """The note says how; without force it is refused again; with it the job is due, and its history says by whom."""
    job = refused(office, REFUSED[reason])
    assert job.reason is reason
    assert f"receipt-watcher retry --force {job.job_id}" in office.note()
    assert retry(office, job, is_forced=False).reason is reason
    after = retry(office, job, is_forced=True)
    assert (after.state, after.sha256, after.size) == (State.QUEUED, digest(REFUSED[reason]), len(REFUSED[reason]))
    assert after.mime_type == ("image/jpeg" if reason is Reason.INCOMPLETE else "text/plain")
    details = [row["detail"] for row in office.log.histories.lines(job.job_id) if row["event"] == "retry"]
    assert details == ["by Ann", f"by Ann, although it was refused as {reason}"]
    assert office.log.jobs.claim(["office"], office.clock.now) is not None


def test_force_lasts_until_the_next_retry_without_it(office: Office) -> None:
    """A file that N8N failed after it was forced is examined again when it is retried like any other."""
    job = retry(office, refused(office, REFUSED[Reason.INCOMPLETE]), is_forced=True)
    failed = office.fail(job)
    office.file()
    assert retry(office, failed, is_forced=False).reason is Reason.INCOMPLETE


def test_force_outlives_a_restart(office: Office) -> None:
    """A daemon that ends before the file came back goes on as the admin wanted it."""
    job = refused(office, REFUSED[Reason.INCOMPLETE])
    office.log.jobs.retry(job.job_id, office.clock.advance(60), "by Ann", is_forced=True)
    office.restart()
    office.file()
    assert office.now(job).state is State.QUEUED


def test_the_bounds_stay(office: Office) -> None:
    """No force sends a file that is too large, or has too many pixels."""
    route = office.route
    office.route = replace(route, limits=replace(route.limits, max_file_bytes=100))
    office.__post_init__()
    job = office.drop_in()
    office.file()
    assert office.now(job).reason is Reason.TOO_LARGE
    assert "--force" not in office.note()
    assert retry(office, job, is_forced=True).reason is Reason.TOO_LARGE


def test_other_bytes_are_not_sent_by_force(office: Office) -> None:
    """Force is for the bytes that were recorded, not for whatever lies in failed/ by now."""
    job = refused(office, REFUSED[Reason.INCOMPLETE])
    (office.route.spool.folders.failed / "scan.jpg").write_bytes(samples.jpeg(2)[:-20])
    assert retry(office, job, is_forced=True).reason is Reason.CHANGED
