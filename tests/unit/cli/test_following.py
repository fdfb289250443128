"""`tail` and `watch` show events as they come."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from tests.conftest import make_job
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.cli.typed_commands import add


@contextlib.contextmanager
def following(config: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that follows, and end it by Ctrl-C, which is no error."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "receipt_watcher", *words],
        cwd=REPOSITORY,
        env=os.environ | {"RECEIPT_WATCHER_CONFIG": str(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert (process.wait(30), process.stderr.read()) == (0, b"")
    finally:
        process.kill()
        process.communicate()


def next_lines(process: subprocess.Popen[bytes], count: int) -> list[str]:
    """Return the next lines that a process prints."""
    assert process.stdout is not None
    found: list[str] = []
    for _ in range(count):
        assert select.select([process.stdout], [], [], 30)[0], f"only {found}"
        found.append(process.stdout.readline().decode())
        assert found[-1], f"it ended after {found}"
    return found


def test_tail(config_file: Path, job_log: JobLog) -> None:
    """It begins with what happened last, then shows what happens, and nothing of other inboxes."""
    add(job_log, "first.pdf")
    second = add(job_log, "second.pdf", State.FAILURE)
    with following(config_file, "tail", "-n", "2", "--json", "--inbox", "office") as process:
        before = [json.loads(line) for line in next_lines(process, 2)]
        assert [(row["filename"], row["event"], row["to"]) for row in before] == [
            ("second.pdf", "record", "queued"),
            ("second.pdf", "fail", "failure"),
        ]
        assert before[1]["job_id"] == second
        job_log.jobs.insert(make_job(time.time(), inbox="cellar"))
        add(job_log, "third\x1b[2J.pdf", State.CANCELLED)
        after = [json.loads(line) for line in next_lines(process, 2)]
        assert [row["event"] for row in after] == ["record", "cancel"]


def test_tail_for_people(config_file: Path, job_log: JobLog) -> None:
    """A line says when, where, what; a name cannot steer the terminal."""
    add(job_log, "evil\x1b[2J.pdf", State.CANCELLED)
    with following(config_file, "tail") as process:
        recorded, cancelled = next_lines(process, 2)
    assert recorded.endswith("office: evil\\x1b[2J.pdf: record → queued\n")
    assert cancelled.endswith("office: evil\\x1b[2J.pdf: cancel → cancelled\n")


def test_tail_after_retention(job_log: JobLog) -> None:
    """Old histories may have been removed, and their numbers may come again: what comes is still seen."""
    job_id = add(job_log, "first.pdf")
    (happening,) = job_log.histories.last_events(5)
    assert (happening.job_id, job_log.histories.events_after(happening.number, 5)) == (job_id, [])
    assert job_log.histories.events_after(happening.number - 1, 5) == [happening]


def test_watch(config_file: Path, job_log: JobLog) -> None:
    """`status --watch` shows what changed, again and again."""
    with following(config_file, "status", "--watch") as process:
        line = ""
        while "Jobs: " not in line:
            (line,) = next_lines(process, 1)
        assert "0 queued" in line
        add(job_log, "scan.pdf")
        while "1 queued" not in line:
            (line,) = next_lines(process, 1)
