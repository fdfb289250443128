"""`config show --origins` says where each value comes from, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.cli.typed_commands import API_KEY, WEBHOOK, Command


def test_origins(command: Command, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value says where it comes from: environment, credential, line of the file, default; no secret is told."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "callback_secret_token").write_text("a-secret-of-systemd-0123")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("RECEIPT_WATCHER_N8N__WORKERS", "7")
    config_file.write_text(
        f"inboxes:\n  - name: office\n    path: {tmp_path / 'inbox'}\n    recursive: true\n"
        "    routes:\n      travel: {duplicates: send}\n"
        f"n8n:\n  webhook_url: {WEBHOOK}\n\n  api_key: {API_KEY}\n"
    )
    said = command("config", "show")
    assert said.code == 0
    lines = {line.strip() for line in said.out.splitlines()}
    assert lines >= {
        "workers: 7  # environment variable RECEIPT_WATCHER_N8N__WORKERS",
        "secret_token: '********'  # credential callback_secret_token",
        f"- path: {tmp_path / 'inbox'}  # {config_file}:3",
        f"duplicates: send  # {config_file}:6",
        f"api_key: '********'  # {config_file}:10",
        "max_attempts: 8  # default",
        "settle_seconds: 2  # default",
    }
    assert API_KEY not in said.out
    assert "systemd" not in said.out
    shown = command("config", "show", "--json").json
    assert yaml.safe_load(said.out) == shown
    rows = {row["option"]: row for row in command("config", "show", "--json", "--origins").json}
    assert rows["n8n.workers"]["value"] == 7
    assert rows["inboxes[0].name"]["origin"] == f"{config_file}:2"
