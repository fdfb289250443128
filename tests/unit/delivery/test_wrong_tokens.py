"""Callbacks with a wrong token, for receipts that wait for one: noted once, and a reason to hold."""

from __future__ import annotations

import hashlib

import pytest

from receipt_watcher.config.secrets import MASK
from receipt_watcher.delivery.callbacks import Reception
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from tests.conftest import FakeClock
from tests.unit.delivery.test_callbacks import SUCCESS, Concluding
from tests.unit.delivery.worker_world import URL


@pytest.fixture
def world(log: JobLog, clock: FakeClock, spool: Spool) -> Concluding:
    """One inbox, whose destination has called back before."""
    world = Concluding(log, clock, spool)
    world.heard()
    return world


def refused(world: Concluding, job: Job) -> list[str]:
    """Return what the history of a job says of callbacks with a wrong token."""
    lines = world.log.histories.lines(job.job_id)
    return [line["detail"] for line in lines if line["event"] == "callback.refused"]


def test_a_wrong_token_is_noted_once(world: Concluding) -> None:
    """The first callback with a wrong token is kept with digest and beginning, escaped; the job goes on waiting."""
    (job,) = world.accepted()
    body = b'{"status": "success"}\x1b[31m' + b"x" * 500
    for _ in range(3):
        world.conclusion.note_wrong_token(job.job_id, body, "its token is wrong")
    (detail,) = refused(world, job)
    assert detail.startswith(f"its token is wrong; {len(body)} bytes, SHA-256 {hashlib.sha256(body).hexdigest()}: ")
    assert "\x1b" not in detail
    assert detail.count("x" * 100) == 1
    assert len(detail) < 400
    assert world.job(job).state is State.PROCESSING


@pytest.mark.parametrize("state", [State.QUEUED, State.SUCCESS])
def test_only_what_is_awaited_is_noted(state: State, world: Concluding) -> None:
    """Of a job that waits for no callback nothing is kept, nor of one that nobody knows."""
    (job,) = world.record() if state is State.QUEUED else world.accepted()
    if state is State.SUCCESS:
        world.conclude(job, SUCCESS)
    for job_id in (job.job_id, "nobody"):
        assert not world.conclusion.awaits(job_id)
        world.conclusion.note_wrong_token(job_id, b"{}", "its token is wrong")
    assert refused(world, job) == []


def test_three_wrong_tokens_hold(world: Concluding) -> None:
    """Three different jobs whose callbacks bear a wrong token hold the destination; a good callback ends it."""
    jobs = world.accepted(4)
    for job in (jobs[0], jobs[0], jobs[1]):
        world.conclusion.note_wrong_token(job.job_id, b"{}", "its token is wrong")
    assert not world.standing.is_held
    assert world.holds.was_refused(URL)
    world.conclusion.note_wrong_token(jobs[2].job_id, b"{}", "its token is wrong")
    assert "callbacks bear a wrong token" in (world.standing.hold_message or "")
    assert world.conclude(jobs[3], SUCCESS) is Reception.RECEIVED
    assert not world.standing.is_held
    assert not world.holds.was_refused(URL)


def test_no_secret_is_kept(world: Concluding) -> None:
    """A secret in the body of such a callback is masked in the history, also where the text is cut."""
    (job,) = world.accepted()
    world.conclusion._secrets = frozenset({SECRET})
    world.conclusion.note_wrong_token(job.job_id, b"x" * 190 + SECRET.encode(), "its token is wrong")
    (detail,) = refused(world, job)
    assert SECRET[:8] not in detail
    assert MASK[:3] in detail


SECRET = "Tr0ub4dor-and-3-horses"
