"""The fixtures of filing and of commands, and a balance without pauses."""

from __future__ import annotations

import os

import pytest

from receipt_watcher.report.balance import balance, daily
from tests.unit.cli import conftest as cli
from tests.unit.spool.filing import conftest as filing

#: Fixtures of others.
command, config_file, job_log = cli.command, cli.config_file, cli.job_log
office, universal_time = filing.office, filing.universal_time


@pytest.fixture(autouse=True)
def same_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that runs the tests keeps its priority, and nobody pauses."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)
    monkeypatch.setattr(daily, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(balance, "_MOMENT_SECONDS", 0)
