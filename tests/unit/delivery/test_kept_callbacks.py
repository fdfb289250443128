"""Callbacks that the job log could not take: durable before they are answered, applied before anything else."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from receipt_watcher.delivery import kept_callbacks
from receipt_watcher.delivery.callbacks import Reception
from receipt_watcher.delivery.kept_callbacks import UNKNOWN_SECONDS, KeptCallback, KeptCallbacks, conclude_kept
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock, make_job, refusing_commits
from tests.unit.delivery.test_callbacks import DEADLINE_SECONDS
from tests.unit.system.disk_faults import refusing
from tests.unit.web.callback_site import SUCCESS, Site, assert_problem

FAILURE = b'{"status": "failure", "message": "no total"}'


class Keeping(Site):
    """The application, with callbacks kept beside its job log."""

    def __init__(self, log: JobLog, clock: FakeClock, spool: Spool, root: Path) -> None:
        super().__init__(log, clock, spool)
        self.folder = root / "callbacks"
        self.kept = self.another()

    def another(self) -> KeptCallbacks:
        """Return what the next process has of what is kept."""
        kept = KeptCallbacks(self.folder, self.log, clock=self.clock)
        kept.load()
        return kept

    def take(self, callback: KeptCallback) -> Reception:
        """Write one down, as the daemon does."""
        return conclude_kept(self.conclusion, callback)

    def files(self) -> list[Path]:
        """Return the files that are kept, the oldest first."""
        return sorted(self.folder.glob("*")) if self.folder.exists() else []


@pytest.fixture
def keeping(log: JobLog, spool: Spool, clock: FakeClock, tmp_path: Path) -> Keeping:
    """The application whose destination has called back before."""
    keeping = Keeping(log, clock, spool, tmp_path)
    keeping.heard()
    return keeping


def events(lines: list[Any]) -> list[str]:
    """Return the events of log lines, without those of the log file itself."""
    return [line["event"] for line in lines if line["event"].startswith("callback.")]


def test_it_is_on_the_disk_before_it_is_answered(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """File and folder are flushed, and nobody else may read them; the next process has it as it came."""
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _fd: flushed.append("file"))
    monkeypatch.setattr(kept_callbacks, "flush_folder", lambda folder: flushed.append(folder.name))
    job_id = new_job_id(keeping.clock.now)
    assert keeping.kept.store(job_id, b"\xff\x00 no text", "The body is no JSON.")
    assert flushed == [keeping.folder.parent.name, "file", "callbacks"]
    (path,) = keeping.files()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keeping.folder.stat().st_mode) == 0o700
    taken: list[KeptCallback] = []

    def take(callback: KeptCallback) -> Reception:
        taken.append(callback)
        return Reception.RECEIVED

    later = KeptCallbacks(keeping.folder, keeping.log, clock=keeping.clock)
    later.load()
    later.apply(take)
    assert taken == [KeptCallback(job_id, b"\xff\x00 no text", "The body is no JSON.", keeping.clock.now)]
    assert not later.are_due
    assert keeping.files() == []


def test_the_oldest_is_applied_first(keeping: Keeping) -> None:
    """A success that came after a failure stays the last word, as it would have been; a second start finds nothing."""
    (job,) = keeping.accepted()
    for body in (FAILURE, SUCCESS, FAILURE):
        assert keeping.kept.store(job.job_id, body, None)
        keeping.clock.advance(1)
    with capture_logs() as lines:
        keeping.another().apply(keeping.take)
    assert keeping.job(job).state is State.SUCCESS
    assert events(lines) == ["callback.applied", "callback.applied", "callback.contrary", "callback.applied"]
    assert not keeping.another().are_due


def test_nothing_is_claimed_or_expired_before(keeping: Keeping) -> None:
    """While a callback is kept no receipt goes out, first or again, and no deadline gives one up."""
    (sent,) = keeping.accepted()
    (queued,) = keeping.record()
    keeping.delivery._must_wait = keeping.deadlines._must_wait = lambda: keeping.kept.are_due
    assert keeping.kept.store(sent.job_id, SUCCESS, None)
    keeping.clock.advance(DEADLINE_SECONDS + 1)
    assert keeping.deadlines.expire_due() == []
    assert not keeping.delivery.deliver_due()
    assert [keeping.job(job).state for job in (sent, queued)] == [State.PROCESSING, State.QUEUED]
    keeping.kept.apply(keeping.take)
    assert keeping.deadlines.expire_due() == []
    assert keeping.delivery.deliver_due()
    assert [keeping.job(job).state for job in (sent, queued)] == [State.SUCCESS, State.PROCESSING]


@pytest.mark.parametrize(("body", "status"), [(SUCCESS, 200), (b"so-so", 422)])
def test_what_a_failing_log_does_not_take_is_kept(keeping: Keeping, body: bytes, status: int) -> None:
    """A full disk or any other fault of the log costs no callback, be it readable or not; the answer is as ever."""
    keeping.keep_callback = keeping.kept.store
    (job,) = keeping.accepted()
    with refusing_commits(keeping.log):
        assert keeping.call_back(job.job_id, body).status_code == status
        with pytest.raises(JobLogError):
            keeping.kept.apply(keeping.take)
        assert len(keeping.files()) == 1
    keeping.kept.apply(keeping.take)
    assert keeping.files() == []
    last = keeping.log.histories.lines(job.job_id)[-1]["event"]
    assert last == ("succeed" if status == 200 else "callback.unreadable")


def test_what_cannot_be_kept_either_is_asked_for_again(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the state folder does not take it, or has too many, N8N gets 503 with Retry-After, and nothing is left."""
    keeping.keep_callback = keeping.kept.store
    (job,) = keeping.accepted()
    with refusing_commits(keeping.log):
        with monkeypatch.context() as context, capture_logs() as lines:
            context.setattr(os, "fsync", refusing(28))
            answer = keeping.call_back(job.job_id)
            assert_problem(answer, 503)
            assert answer.headers["retry-after"] == "60"
        assert events(lines) == ["callback.not_kept"]
        assert keeping.files() == []
        assert not keeping.kept.are_due
        monkeypatch.setattr(kept_callbacks, "MOST_CALLBACKS", 1)
        assert keeping.call_back(job.job_id).status_code == 200
        assert_problem(keeping.call_back(job.job_id), 503)
        monkeypatch.setattr(kept_callbacks, "MOST_CALLBACKS", 10)
        monkeypatch.setattr(kept_callbacks, "MOST_BYTES", keeping.files()[0].stat().st_size + 1)
        assert_problem(keeping.call_back(job.job_id), 503)
    assert len(keeping.files()) == 1


@pytest.mark.parametrize("job_id", ["scan.jpg", "..", "F47AC10B-58CC-4372-A567-0E02B2C3D479", "x" * 36])
def test_what_is_no_id_is_not_kept(keeping: Keeping, job_id: str) -> None:
    """No job has such an id: it is not kept, and the caller is told that the log cannot be asked."""
    assert not keeping.kept.store(job_id, SUCCESS, None)
    assert keeping.files() == []


def test_a_callback_waits_for_its_job_for_a_day(keeping: Keeping) -> None:
    """One for a job that is not there stays, holds nothing up, and is applied when the job is back within a day."""
    there, lost = (make_job(keeping.clock.now), make_job(keeping.clock.now))
    for job in (there, lost):
        assert keeping.kept.store(job.job_id, SUCCESS, None)
    with capture_logs() as lines:
        keeping.kept.apply(keeping.take)
        assert not keeping.kept.are_due
        keeping.log.jobs.insert(there)
        keeping.kept.apply_to_new_jobs(keeping.take)
        assert keeping.job(there).state is State.SUCCESS
        keeping.clock.advance(UNKNOWN_SECONDS - 1)
        keeping.kept.apply_to_new_jobs(keeping.take)
        assert len(keeping.files()) == 1
        keeping.clock.advance(1)
        keeping.kept.apply_to_new_jobs(keeping.take)
    assert keeping.files() == []
    assert events(lines) == ["callback.unknown_job", "callback.unknown_job", "callback.applied", "callback.dropped"]


def test_a_clock_that_was_set_back_drops_none(keeping: Keeping) -> None:
    """One that seems to come from the future is not old: it still waits for its job."""
    job = make_job(keeping.clock.now)
    assert keeping.kept.store(job.job_id, SUCCESS, None)
    keeping.clock.advance(-3600)
    keeping.kept.apply(keeping.take)
    keeping.kept.apply_to_new_jobs(keeping.take)
    keeping.log.jobs.insert(job)
    keeping.kept.apply_to_new_jobs(keeping.take)
    assert keeping.job(job).state is State.SUCCESS


def test_one_that_cannot_be_read_for_a_while_stays(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many files are open it is due until it can be read: it was answered, so nothing goes out again."""
    (job,) = keeping.accepted()
    assert keeping.kept.store(job.job_id, SUCCESS, None)
    with monkeypatch.context() as context:
        context.setattr(Path, "read_bytes", refusing(errno.EMFILE))
        with pytest.raises(OSError, match="open files"):
            keeping.kept.apply(keeping.take)
    assert keeping.kept.are_due
    keeping.kept.apply(keeping.take)
    assert keeping.job(job).state is State.SUCCESS
    assert keeping.files() == []


def test_few_wait_for_jobs_that_nobody_knows(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those whose job is not there the latest are kept, so that they cost next to nothing."""
    monkeypatch.setattr(kept_callbacks, "MOST_UNKNOWN", 2)
    for _ in range(4):
        assert keeping.kept.store(new_job_id(keeping.clock.now), SUCCESS, None)
        keeping.clock.advance(1)
    last = keeping.files()[2:]
    keeping.kept.apply(keeping.take)
    keeping.kept.apply_to_new_jobs(keeping.take)
    assert keeping.files() == last


def test_all_wait_while_a_folder_may_hold_their_jobs(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log may have been damaged for days before a backup came in its place, whose folders are still compared."""
    monkeypatch.setattr(kept_callbacks, "MOST_UNKNOWN", 2)
    monkeypatch.setattr(kept_callbacks, "MOST_CALLBACKS", 5)
    jobs = [make_job(keeping.clock.now, filename=f"{number}.jpg") for number in range(5)]
    for job in jobs:
        assert keeping.kept.store(job.job_id, SUCCESS, None)
        keeping.clock.advance(1)
    keeping.clock.advance(UNKNOWN_SECONDS * 3)
    keeping.kept.apply(keeping.take)
    keeping.kept.apply_to_new_jobs(keeping.take, may_still_come=True)
    assert len(keeping.files()) == 5
    keeping.log.jobs.insert(jobs[0])
    keeping.kept.apply_to_new_jobs(keeping.take)
    assert keeping.job(jobs[0]).state is State.SUCCESS
    assert keeping.files() == []


def test_what_is_damaged_holds_nothing_up(keeping: Keeping) -> None:
    """A part that a crash left is removed; a file that cannot be read is told, left where it is, and passed over."""
    (job,) = keeping.accepted()
    assert keeping.kept.store(job.job_id, SUCCESS, None)
    (keeping.folder / "000-part.partial").write_bytes(b"{")
    damaged = keeping.folder / "000-damaged.json"
    damaged.write_bytes(b"{")
    (keeping.folder / "notes.txt").write_text("not ours")
    later = keeping.another()
    with capture_logs() as lines:
        later.apply(keeping.take)
    assert events(lines) == ["callback.dropped", "callback.applied"]
    assert keeping.job(job).state is State.SUCCESS
    assert not later.are_due
    assert [path.name for path in keeping.files()] == ["000-damaged.json", "notes.txt"]


def test_one_that_was_applied_and_not_removed_changes_nothing(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the commit and the removal is harmless: the next start applies it again."""
    (job,) = keeping.accepted()
    assert keeping.kept.store(job.job_id, SUCCESS, None)
    with monkeypatch.context() as context:
        context.setattr(Path, "unlink", lambda *_a, **_k: None)
        keeping.kept.apply(keeping.take)
    before = keeping.log.histories.lines(job.job_id)
    keeping.another().apply(keeping.take)
    assert keeping.log.histories.lines(job.job_id) == before
    assert keeping.files() == []
