"""`hold` and `resume` name what they hold, and give time."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
import yaml

from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.states import State
from tests.unit.cli.typed_commands import WEBHOOK, Command, add

#: The id of the webhook in the API of earlier versions.
OLD_ID = hashlib.sha256(WEBHOOK.encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", ["n8n", WEBHOOK, "127.0.0.1", "127.0.0.1#1", "127.0.0.1:9#1", OLD_ID])
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


def test_resume_of_missing_callbacks(command: Command, job_log: JobLog) -> None:
    """Where callbacks were missing, a resume ends the hold: nothing else may ever prove that they arrive."""
    job_id = add(job_log, "scan.pdf", State.PROCESSING)
    job_log.database.change("UPDATE job SET deadline_at = 1, resends = 2")
    job_log.holds.hold(WEBHOOK, HoldKind.SILENCE, "no callback", time.time(), time.time() + 900)
    assert command("resume", "n8n").out == "N8N at 127.0.0.1 goes on within seconds\n"
    assert not job_log.holds.of(WEBHOOK).is_held
    job = job_log.lookups.get(job_id)
    assert job is not None
    assert (job.deadline_at, job.resends) == (1, 0)


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


def test_resume_of_a_webhook_whose_path_was_changed(command: Command, job_log: JobLog) -> None:
    """A hold of the old URL ends under the host's name, as `status` advises, with that of the new URL."""
    job_log.manual_holds.hold(HoldTarget.DESTINATION, f"{WEBHOOK}-before", "", time.time())
    assert "receipt-watcher resume 127.0.0.1\n" in command("status").out
    assert command("resume", "127.0.0.1").code == 0
    assert job_log.manual_holds.all() == []


def test_a_host_that_is_called_n8n(command: Command, job_log: JobLog, config_file: Path) -> None:
    """Where a webhook's host is n8n itself, n8n is still every webhook, and n8n#1 the first one alone."""
    options = yaml.safe_load(config_file.read_text())
    first, second = "http://n8n:5678/webhook/first", "http://n8n:5678/webhook/second"
    options["n8n"]["webhook_url"] = first
    options["inboxes"][0] |= {"recursive": True, "routes": {"travel": {"webhook_url": second}}}
    config_file.write_text(yaml.safe_dump(options))
    assert command("hold", "n8n#1").out == "N8N at n8n is held\n"
    assert [hold.name for hold in job_log.manual_holds.all()] == [first]
    assert command("hold", "n8n").out == "N8N at n8n was held before\nN8N at n8n#2 is held\n"
    assert command("resume", "n8n#2").out == "N8N at n8n#2 goes on within seconds\n"
