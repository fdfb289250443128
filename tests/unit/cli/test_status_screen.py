"""`status` shows all on one screen, beside an older daemon as well."""

from __future__ import annotations

import time

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.states import State
from tests.unit.cli.typed_commands import Command, add


def test_one_screen(command: Command, job_log: JobLog) -> None:
    """Holds by hand, the last failures, disks and versions are told; with a thousand of each it still fits a screen."""
    for number in range(30):
        add(job_log, f"failed_{number}.pdf", State.FAILURE, age_seconds=1000 - number)
        add(job_log, f"open_{number}.pdf", age_seconds=5000)
    job_log.manual_holds.hold(HoldTarget.INBOX, "office", "sorting", time.time())
    said = command("status")
    for part in (
        "the inbox office: sorting",
        "→ receipt-watcher resume office",
        "failed_29.pdf (n8n_failure, ",
        "Disk of ",
        "Versions: receipt-watcher ",
    ):
        assert part in said.out
    assert "failed_24.pdf" not in said.out
    assert len(said.out.splitlines()) <= 24
    shown = command("status", "--json").json
    assert [job["filename"] for job in shown["failed"]] == [f"failed_{number}.pdf" for number in range(29, 24, -1)]
    assert shown["disks"][0]["total_bytes"] > shown["disks"][0]["free_bytes"] > 0
    assert shown["versions"]["schema"].startswith("00")
    assert shown["held_by_hand"] == [
        {"kind": "inbox", "name": "office", "since": shown["held_by_hand"][0]["since"], "why": "sorting"}
    ]


def test_an_older_daemon(command: Command, job_log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was upgraded while the daemon runs on is told: it needs a restart."""
    job_log.facts.version.put("0.0.1")
    monkeypatch.setattr("receipt_watcher.system.state_dir.Installation.is_running", lambda _: True)
    said = command("status")
    assert said.code == 1
    assert "Look at this: the daemon was started as version 0.0.1, and this is" in said.out
