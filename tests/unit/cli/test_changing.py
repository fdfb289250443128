"""`retry`, `cancel` and `settle` change only what may be changed."""

from __future__ import annotations

import os
import pwd
import time

import pytest

from receipt_watcher.cli.context import person
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.unit.cli.typed_commands import Command, add, state_of


@pytest.mark.parametrize(
    ("word", "state", "after", "text"),
    [
        ("retry", State.FAILURE, State.QUEUED, "queued; a running daemon goes on with it within seconds"),
        ("retry", State.CANCELLED, State.QUEUED, "queued; a running daemon goes on with it within seconds"),
        ("retry", State.SUCCESS, State.SUCCESS, "not possible, it is success"),
        ("retry", State.QUEUED, State.QUEUED, "not possible, it is queued"),
        ("cancel", State.QUEUED, State.CANCELLED, "cancelled; a running daemon goes on with it within seconds"),
        ("cancel", State.PROCESSING, State.CANCELLED, "cancelled; a running daemon goes on with it within seconds"),
        ("cancel", State.DELIVERING, State.DELIVERING, "not possible, it is delivering; it is being delivered"),
        ("cancel", State.FAILURE, State.FAILURE, "not possible, it is failure"),
    ],
)
def test_retry_and_cancel(  # noqa: PLR0917 - four columns and two fixtures
    word: str, state: State, after: State, text: str, command: Command, job_log: JobLog
) -> None:
    """They do what the job's state allows, with exit code 0, or say why it cannot be, with 1."""
    job_id = add(job_log, "scan.jpg", state)
    said = command(word, "scan.jpg")
    assert said.out.startswith(f"{job_id}  scan.jpg: {text}")
    assert said.code == (0 if state is not after else 1)
    assert state_of(job_log, job_id) is after
    again = command(word, job_id, "--json")
    assert (again.code, again.json) == (1, [{"job_id": job_id, "filename": "scan.jpg", "done": False}])


def test_retry_of_all_that_failed(command: Command, job_log: JobLog) -> None:
    """--failed retries each failed job and no other."""
    ids = {name: add(job_log, f"{name}.jpg", State(name), 5) for name in ("failure", "success", "cancelled")}
    said = command("retry", "--failed", "--json")
    assert (said.code, said.json) == (0, [{"job_id": ids["failure"], "filename": "failure.jpg", "done": True}])
    assert [state_of(job_log, job_id) for job_id in ids.values()] == [State.QUEUED, State.SUCCESS, State.CANCELLED]


def test_retry_of_what_is_overdue(command: Command, job_log: JobLog) -> None:
    """A receipt whose callback is overdue may have been booked: --force has it sent again, and nothing else does."""
    job_id = add(job_log, "scan.jpg", State.PROCESSING)
    job_log.database.change("UPDATE job SET deadline_at = 1, resends = 2")
    refused = command("retry", "scan.jpg")
    assert refused.code == 1
    assert "its callback is overdue since 1970-01-01T00:00:01" in refused.out
    assert command("retry", "scan.jpg", "--force").code == 0
    job = job_log.lookups.get(job_id)
    assert job is not None
    assert (job.state, job.resends) == (State.QUEUED, 0)


def test_retry_of_what_is_not_overdue(command: Command, job_log: JobLog) -> None:
    """A receipt that N8N has, and may still report, is not sent again, not even by force."""
    job_id = add(job_log, "scan.jpg", State.PROCESSING)
    job_log.database.change("UPDATE job SET deadline_at = ?", time.time() + 900)
    assert command("retry", "scan.jpg", "--force").out.endswith("not possible, it is processing\n")
    assert state_of(job_log, job_id) is State.PROCESSING


@pytest.mark.parametrize("word", ["retry", "cancel"])
def test_who_typed_it_is_in_the_history(
    word: str, command: Command, job_log: JobLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change by a command bears the login of the person, and through sudo that of its caller."""
    job_id = add(job_log, "scan.jpg", State.FAILURE if word == "retry" else State.QUEUED)
    monkeypatch.setenv("SUDO_USER", "ann\x1b")
    assert command(word, "scan.jpg").code == 0
    assert "by ann" in str(job_log.histories.lines(job_id)[-1]["detail"])
    assert "\x1b" not in str(job_log.histories.lines(job_id)[-1]["detail"])
    monkeypatch.delenv("SUDO_USER")
    other = add(job_log, "other.jpg", State.QUEUED)
    assert command("cancel", "other.jpg").code == 0
    assert job_log.histories.lines(other)[-1]["detail"] == f"by {pwd.getpwuid(os.getuid()).pw_name}"


MAYBE = [Reason.OUTCOME_UNKNOWN, Reason.UNREADABLE_VERDICT, Reason.NO_CALLBACK]


def unknown(log: JobLog, reason: Reason = Reason.OUTCOME_UNKNOWN) -> str:
    """Put a job into the log that may have been booked, and return its id."""
    job_id = add(log, "scan.jpg", State.DELIVERING)
    assert log.jobs.advance(job_id, Event.GIVE_UP, time.time(), reason=reason)
    return job_id


@pytest.mark.parametrize("reason", MAYBE)
def test_retry_of_what_may_have_been_booked(reason: Reason, command: Command, job_log: JobLog) -> None:
    """It needs --force, be it named or among all that failed; without it the command says why and what else to do."""
    job_id = unknown(job_log, reason)
    for words in (["scan.jpg"], ["--failed"]):
        said = command("retry", *words)
        assert said.code == 1
        assert f"not retried ({reason}). N8N may have booked it" in said.out
        assert "settle" in said.out
        assert "--force" in said.out
    assert state_of(job_log, job_id) is State.FAILURE
    assert command("retry", "scan.jpg", "--force").code == 0
    assert state_of(job_log, job_id) is State.QUEUED


@pytest.mark.parametrize(
    ("word", "state", "text"),
    [("--delivered", State.SUCCESS, "success"), ("--not-delivered", State.FAILURE, "marked as not delivered")],
)
def test_settle(word: str, state: State, text: str, command: Command, job_log: JobLog) -> None:
    """An admin who has looked in N8N says what became of a job; once, and of no job that cannot be settled."""
    job_id = unknown(job_log)
    assert command("settle", job_id).code == 2
    said = command("settle", "scan.jpg", word)
    assert (said.code, state_of(job_log, job_id)) == (0, state)
    assert said.out.startswith(f"{job_id}  scan.jpg: {text}")
    assert job_log.database.select("SELECT detail FROM history ORDER BY id DESC LIMIT 1")[0] == (f"by {person()}",)
    again = command("settle", "scan.jpg", word)
    assert again.code == 1
    assert "can be settled; this one is" in again.out
    assert command("retry", "scan.jpg").code == (1 if state is State.SUCCESS else 0)
