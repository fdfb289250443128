"""The long run's command in short, what it finds when something grows, and a daemon that starts with a backlog."""

from __future__ import annotations

import os
import re
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from receipt_watcher.cli.demo import stand_in
from receipt_watcher.jobs.states import State
from tests.benchmarks.start import queue_jobs
from tests.conftest import TOKEN
from tests.fakes.daemons.fork_server import fork_server
from tests.fakes.daemons.process import RunningDaemon, wait_until
from tests.scenarios.bounds import GROWTH, Sample, problems_of

STEADY = Sample(receipts=0, megabytes=70, descriptors=25, threads=17, log_bytes_per_job=1500, per_second=200)


def run_of(samples: int, **a_receipt: float) -> list[Sample]:
    """Return the samples of a run in which something grows by so much with each receipt."""
    return [
        replace(STEADY, receipts=number * 1000)
        if not a_receipt
        else replace(
            STEADY,
            receipts=number * 1000,
            **{name: getattr(STEADY, name) + growth * number * 1000 for name, growth in a_receipt.items()},
        )
        for number in range(1, samples + 1)
    ]


def test_the_command_runs_and_verifies() -> None:
    """A short run ends well, says what it verified, and prints every figure of every sample."""
    command = [sys.executable, "-m", "tests.scenarios.bounds", "--receipts", "180", "--every", "30"]
    code, printed, wrong = fork_server().run(command, os.environ, timeout=100)
    assert code == 0, printed + wrong
    head, *rows, verdict = printed.splitlines()
    assert re.split(r"\s{2,}", head.strip()) == [
        "receipts",
        "memory, MB",
        "descriptors",
        "threads",
        "log, B/job",
        "a second",
    ]
    assert [len(row.split()) for row in rows] == [6] * 7
    assert rows[-1].split()[0] == "180"
    assert verdict == "180 receipts: each arrived once; too few samples to tell what grows"


def test_what_is_flat_is_within_bounds() -> None:
    """A run in which nothing grows, or no more than noise, is fine."""
    assert problems_of(run_of(100)) == []
    assert problems_of(run_of(100, megabytes=3e-5)) == []


@pytest.mark.parametrize(("name", "a_receipt"), [("megabytes", 1.2e-4), ("descriptors", 1e-3), ("threads", 1e-4)])
def test_what_grows_is_found(name: str, a_receipt: float) -> None:
    """An id kept for each receipt, a descriptor for a thousand, or a thread for ten thousand, are found."""
    problems = problems_of(run_of(100, **{name: a_receipt}))
    assert len(problems) == 1
    assert problems[0].startswith(name)
    assert GROWTH[name].reason in problems[0]


def test_a_short_run_is_no_verdict() -> None:
    """What grows while everything warms up says nothing: a verdict needs a run of some length."""
    assert problems_of(run_of(19, megabytes=1.0)) == []
    assert problems_of(run_of(20, megabytes=1.0)) != []


def test_a_backlog_drains_in_order(tmp_path: Path, n8n: stand_in.StandIn) -> None:
    """Jobs of two inboxes that waited through a stop go out after the start: in turn, the oldest of each first."""
    daemon = RunningDaemon(
        tmp_path,
        n8n.webhook_url,
        TOKEN,
        changes={
            "inboxes": [
                {"path": str(tmp_path / "inbox"), "name": "office"},
                {"path": str(tmp_path / "cellar/inbox"), "name": "cellar"},
            ],
            "n8n": {"workers": 1},
        },
    )
    cellar = tmp_path / "cellar"
    (cellar / "inbox").mkdir(parents=True)
    many = queue_jobs(daemon, 30)
    few = queue_jobs(daemon, 5, "cellar", cellar / "processing")
    both_open = threading.Event()
    n8n.behave = lambda _: stand_in.Behaviour(hang=both_open)
    with daemon:
        wait_until(lambda: daemon.count("inbox.watched") == 2, "both inboxes are open")
        both_open.set()
        wait_until(lambda: len(n8n.deliveries) == 35, "all are sent")
        wait_until(lambda: set(states_of(daemon)) == {State.SUCCESS}, "all are booked")
    order = [delivery.job_id for delivery in n8n.deliveries]
    assert [job_id for job_id in order if job_id in many] == many
    assert [job_id for job_id in order if job_id in few] == few
    assert max(order.index(job_id) for job_id in few) <= 2 * len(few)


def states_of(daemon: RunningDaemon) -> list[State]:
    """Return the states of all jobs."""
    return [job.state for job in daemon.recorded()]
