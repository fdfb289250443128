"""Mistakes in the configuration are all named, and `config` shows and prints it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from receipt_watcher.config.sources.load import load
from tests.conftest import TOKEN
from tests.unit.cli.typed_commands import API_KEY, WEBHOOK, Command


@pytest.mark.parametrize("words", [("run",), ("check",), ("jobs",), ("status",), ("config", "show")], ids=" ".join)
def test_five_mistakes(words: tuple[str, ...], command: Command, config_file: Path) -> None:
    """A configuration with five mistakes has them all told at once, a line each, with exit code 2."""
    config_file.write_text(
        "inboxes: [{path: /x/inbox, settle_secs: 2, poll_seconds: fast}]\n"
        "n8n: {webhook_url: n8n.example.com/hook, workers: 0}\n"
        "callback: {secret_token: short}\n"
    )
    said = command(*words)
    assert (said.code, said.out) == (2, "")
    first, *lines = said.err.splitlines()
    assert first == "receipt-watcher: the configuration has 5 mistakes:"
    keys = ("settle_secs", "poll_seconds", "webhook_url", "workers", "secret_token")
    assert len(lines) == len(keys)
    assert all(str(config_file) in line for line in lines)
    assert all(sum(f"{key}: " in line for line in lines) == 1 for key in keys)
    assert "short" not in said.err.replace("shorter", "")


def test_a_configuration_that_is_not_there(command: Command, tmp_path: Path) -> None:
    """A configuration file that is not there is named, with exit code 2."""
    said = command("jobs", "--config", str(tmp_path / "nothing.yaml"))
    assert said.code == 2
    assert str(tmp_path / "nothing.yaml") in said.err


@pytest.mark.parametrize("as_json", [False, True])
def test_config_show(as_json: bool, command: Command, config_file: Path) -> None:
    """The configuration is shown whole, from all its sources, and without secrets."""
    said = command("config", "show", *(["--json"] if as_json else []))
    assert said.code == 0
    shown = said.json if as_json else yaml.safe_load(said.out)
    assert shown["n8n"]["webhook_url"] == WEBHOOK
    assert shown["limits"]["max_file_mb"] == 50
    assert TOKEN not in said.out
    assert API_KEY not in said.out


def test_config_example(command: Command, tmp_path: Path) -> None:
    """The example is a configuration that can be used as it is."""
    said = command("config", "example")
    path = tmp_path / "example.yaml"
    path.write_text(said.out)
    assert load(path, {}).limits.max_file_mb == 50
