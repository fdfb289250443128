"""`jobs`, `show` and `status` tell what is in the job log, without a daemon as well."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.conftest import make_job
from tests.unit.cli.typed_commands import WEBHOOK, Command, add, state_of

JOB_FIELDS = (
    *("job_id", "status", "reason", "inbox", "filename", "mime_type", "size", "sha256", "notion_database_id"),
    *(
        "attempts",
        "created_at",
        "next_attempt_at",
        "completed_at",
        "message",
        "notion_page_url",
        "duplicate_of",
        "path",
    ),
)


@pytest.mark.parametrize(
    "words",
    [
        ("jobs",),
        ("show", "scan.jpg"),
        ("retry", "scan.jpg"),
        ("retry", "--failed"),
        ("cancel", "scan.jpg"),
        ("status",),
    ],
    ids=" ".join,
)
def test_no_job_log_yet(words: tuple[str, ...], command: Command, config_file: Path) -> None:
    """Before the first run there is no job log: that is said, with exit code 1, and none is made."""
    said = command(*words)
    assert (said.code, said.out) == (1, "")
    database = config_file.parent / "state" / "receipts.db"
    assert said.err.startswith(f"receipt-watcher: there is no job log at {database} yet")
    assert not database.exists()


def test_jobs(command: Command, job_log: JobLog) -> None:
    """Jobs are listed with what people ask for, the newest first, and those that are asked for only."""
    ids = [add(job_log, "a.jpg", State.SUCCESS, 20), add(job_log, "b.jpg", State.FAILURE, 10), add(job_log, "c.jpg")]
    title, *lines = command("jobs").out.splitlines()
    assert title.split() == ["recorded", "status", "inbox", "file", "reason", "job"]
    assert [line.split()[2:] for line in lines] == [
        ["queued", "office", "c.jpg", ids[2]],
        ["failure", "office", "b.jpg", "n8n_failure", ids[1]],
        ["success", "office", "a.jpg", ids[0]],
    ]
    for words, expected in (
        (("--status", "failure"), ["b.jpg"]),
        (("--status", "failure", "--status", "success"), ["b.jpg", "a.jpg"]),
        (("--inbox", "elsewhere"), []),
        (("--inbox", "office", "--limit", "1"), ["c.jpg"]),
    ):
        assert [job["filename"] for job in command("jobs", "--json", *words).json] == expected


def test_a_job_as_json(command: Command, job_log: JobLog, tmp_path: Path) -> None:
    """A job's JSON has the fields of the contract, and its path is where the file is."""
    job_id = add(job_log, "a.jpg")
    (job,) = command("jobs", "--json").json
    assert set(JOB_FIELDS) <= set(job)
    assert job["path"] == str(tmp_path / "processing" / job_id / "scan.jpg")
    assert job["created_at"].endswith("Z")


def test_show(command: Command, job_log: JobLog) -> None:
    """A job is shown by its id, by the beginning of it, or by its file's name, with its history and what to do."""
    job_id = add(job_log, "scan.jpg", State.FAILURE)
    said = command("show", "scan.jpg")
    assert said.code == 0
    for part in (job_id, "failure", Reason.N8N_FAILURE.meaning, Reason.N8N_FAILURE.advice, "queued → failure"):
        assert part in said.out
    assert command("show", job_id).out == command("show", job_id[:13]).out == said.out
    shown = command("show", job_id, "--json").json
    assert [row["event"] for row in shown["history"]] == ["record", "fail"]
    assert shown["deliveries"] == []


@pytest.mark.parametrize("word", ["show", "retry", "cancel"])
def test_names_of_several_jobs(word: str, command: Command, job_log: JobLog) -> None:
    """A name that may be several jobs changes none; their ids are listed to choose from."""
    ids = [add(job_log, "scan.jpg", State.FAILURE, age) for age in (20, 10)]
    said = command(word, "scan.jpg")
    assert (said.code, said.out) == (2, "")
    assert "may be several jobs" in said.err
    assert all(job_id in said.err for job_id in ids)
    assert [state_of(job_log, job_id) for job_id in ids] == [State.FAILURE] * 2


@pytest.mark.parametrize("word", ["show", "retry", "cancel"])
def test_names_of_no_job(word: str, command: Command, job_log: JobLog) -> None:
    """A name that no job has is an error that repeats it."""
    said = command(word, "nothing.jpg")
    assert (said.code, said.out) == (2, "")
    assert "'nothing.jpg'" in said.err


def test_names_cannot_steer_the_terminal(command: Command, job_log: JobLog) -> None:
    """A file's name with control characters is shown with them written out."""
    add(job_log, "scan\x1b[2J.jpg")
    for words in (("jobs",), ("show", "scan\x1b[2J.jpg"), ("cancel", "scan\x1b[2J.jpg"), ("status",)):
        assert "\x1b" not in command(*words).out


def test_status_without_a_daemon(command: Command, job_log: JobLog, config_file: Path) -> None:
    """Status says that nothing runs, what waits, what is old, what is held and what nobody serves; that is trouble."""
    (config_file.parent / "inbox" / "new.jpg").write_bytes(b"a receipt")
    add(job_log, "old.jpg", State.PROCESSING, age_seconds=3600)
    job_log.jobs.insert(make_job(time.time(), inbox="closed", filename="lost.jpg"))
    job_log.holds.hold(WEBHOOK, HoldKind.ANSWERS, "no connection", time.time(), time.time() + 5)
    said = command("status")
    assert said.code == 1
    for part in (
        "The daemon is not running.",
        "office: 1 waiting",
        "1 queued, 0 delivering, 1 processing",
        "Open for 60 minutes: old.jpg (processing",
        "Look at this: the daemon is not running",
        "Look at this: N8N at 127.0.0.1 is on hold since ",
        " (office: 0 waiting; next try ",
        "Look at this: 1 open jobs belong to inboxes that are no longer configured",
    ):
        assert part in said.out
    shown = command("status", "--json")
    assert shown.code == 1
    assert (shown.json["running"], shown.json["inboxes"][0]["waiting"]) == (False, 1)
    assert (shown.json["jobs"]["processing"], len(shown.json["holds"]), len(shown.json["old"])) == (1, 1, 1)
    assert len(shown.json["troubles"]) == 3


def test_status_of_a_missing_inbox(command: Command, job_log: JobLog, config_file: Path) -> None:
    """An inbox that cannot be read is said."""
    (config_file.parent / "inbox").rmdir()
    said = command("status")
    assert "Look at this: inbox office: cannot be read: No such file or directory" in said.out
