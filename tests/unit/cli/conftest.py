"""Typing commands, with a configuration and its job log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from receipt_watcher.cli import main
from receipt_watcher.jobs.log.job_log import JobLog
from tests.conftest import TOKEN
from tests.unit.cli.typed_commands import API_KEY, WEBHOOK, Command, Said


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Type a command, in an empty folder that is home, too."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))

    def typed(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["receipt-watcher", *words])
        with pytest.raises(SystemExit) as left:
            main.main()
        said = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Said(code, said.out, said.err)

    return typed


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with an inbox and no daemon; the commands find it by themselves."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "state").mkdir()
    path = tmp_path / "watcher.yaml"
    options = {
        "inboxes": [{"path": str(tmp_path / "inbox"), "name": "office"}],
        "n8n": {"webhook_url": WEBHOOK, "api_key": API_KEY},
        "callback": {"secret_token": TOKEN},
        "state_dir": str(tmp_path / "state"),
    }
    path.write_text(yaml.safe_dump(options))
    monkeypatch.setenv("RECEIPT_WATCHER_CONFIG", str(path))
    return path


@pytest.fixture
def job_log(config_file: Path) -> Iterator[JobLog]:
    """The job log of that configuration, open."""
    log = JobLog(config_file.parent / "state" / "receipts.db")
    log.database.open()
    yield log
    log.database.close()
