"""`hold` and `resume` name what they hold, and give time."""

from __future__ import annotations

import time

import pytest

from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.states import State
from tests.unit.cli.typed_commands import WEBHOOK, Command, add


@pytest.mark.parametrize("name", ["n8n", WEBHOOK, "127.0.0.1"])
def test_hold_and_resume(name: str, command: Command, job_log: JobLog) -> None:
    """A destination is held by any of its names; a second hold and a second resume say that nothing changed."""
    assert command("hold", name, "--why", "moves").out == "N8N at 127.0.0.1 is held\n"
    assert command("hold", name).out == "N8N at 127.0.0.1 was held before\n"
    assert [hold.name for hold in job_log.manual_holds.all()] == [WEBHOOK]
    assert command("resume", name).out == "N8N at 127.0.0.1 goes on within seconds\n"
    again = command("resume", name)
    assert (again.code, again.out) == (1, "N8N at 127.0.0.1 is not held\n")


def test_resume_of_what_the_daemon_holds(command: Command, job_log: JobLog) -> None:
    """Where the daemon holds N8N, a resume has it probed now, and does not believe that all is well."""
    job_log.holds.hold(WEBHOOK, HoldKind.ANSWERS, "no connection", time.time(), time.time() + 900)
    assert command("resume", "n8n").code == 0
    standing = job_log.holds.of(WEBHOOK)
    assert standing.is_held
    assert (standing.probe_at or 0) <= time.time()


def test_resume_gives_time(command: Command, job_log: JobLog) -> None:
    """What N8N was given before the hold has its whole time for the callback again."""
    job_id = add(job_log, "scan.pdf", State.PROCESSING)
    job_log.database.change("UPDATE job SET deadline_at = 1")
    command("hold", "n8n")
    command("resume", "n8n")
    job = job_log.lookups.get(job_id)
    assert job is not None
    assert (job.deadline_at or 0) > time.time() + 800


def test_resume_of_what_is_configured_no_more(command: Command, job_log: JobLog) -> None:
    """A hold whose inbox or webhook left the configuration can still be ended."""
    job_log.manual_holds.hold(HoldTarget.INBOX, "closed", "", time.time())
    assert command("hold", "cellar").code == 2
    assert command("resume", "closed", "--json").json == [{"kind": "inbox", "name": "closed", "done": True}]
    assert job_log.manual_holds.all() == []
