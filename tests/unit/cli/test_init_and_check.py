"""`init` makes what `check` and `run` need."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.sources.load import load
from tests.fakes.daemons.process import RunningDaemon
from tests.unit.cli.typed_commands import WEBHOOK, Command

# --- init ----------------------------------------------------------------------------------------------------------


def test_init(command: Command, tmp_path: Path) -> None:
    """It makes the folders and a configuration that only its owner may read, with a fresh token in it."""
    tokens = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        said = command("init", str(folder), "--webhook-url", WEBHOOK)
        assert said.code == 0
        assert f"receipt-watcher check --config {folder / 'watcher.yaml'}" in said.out
        assert (folder / "watcher.yaml").stat().st_mode & 0o777 == 0o600
        assert (folder / "state").stat().st_mode & 0o777 == 0o700
        assert all((folder / part).is_dir() for part in ("inbox", "processing", "done", "failed"))
        config = load(folder / "watcher.yaml", {})
        assert config.webhook_urls() == [WEBHOOK]
        assert config.inboxes[0].path == folder / "inbox"
        assert config.http.local_role == "none"
        assert "receipt-watcher token create" in said.out
        assert config.callback.secret_token is not None
        tokens.add(config.callback.secret_token.get_secret_value())
    assert len(tokens) == 2


def test_init_as_json(command: Command, tmp_path: Path) -> None:
    """A set-up that a program makes: it is told where the configuration and the folders are."""
    folder = tmp_path / "office"
    said = command("init", str(folder), "--json")
    names = ("inbox", "processing", "done", "failed", "state")
    assert said.json == {"config": str(folder / "watcher.yaml"), "folders": [str(folder / name) for name in names]}
    assert all((folder / name).is_dir() for name in names)


def test_init_changes_nothing_that_is_there(command: Command, tmp_path: Path) -> None:
    """A second init is refused and changes nothing."""
    assert command("init", str(tmp_path / "office")).code == 0
    before = (tmp_path / "office" / "watcher.yaml").read_bytes()
    said = command("init", str(tmp_path / "office"))
    assert said.code == 2
    assert "is there already; nothing was changed" in said.err
    assert (tmp_path / "office" / "watcher.yaml").read_bytes() == before


def test_init_then_check_then_run(command: Command, tmp_path: Path, n8n: StandIn) -> None:
    """What init makes passes the check and runs as it is."""
    folder = tmp_path / "office"
    assert command("init", str(folder), "--webhook-url", n8n.webhook_url).code == 0
    # The port and the settle time are the test's: another program may have the port.
    daemon = RunningDaemon(tmp_path / "elsewhere", "", "", environment={"RECEIPT_WATCHER_HTTP__PORT": "0"})
    daemon.config_file = folder / "watcher.yaml"
    daemon.config_file.write_text(daemon.config_file.read_text().replace("settle_seconds: 2.0", "settle_seconds: 0.2"))
    daemon.inbox, daemon.done = folder / "inbox", folder / "done"
    checked = command("check", "--config", str(daemon.config_file))
    assert checked.code == 0, checked.out
    token = load(daemon.config_file, {}).callback.secret_token
    assert token is not None
    n8n.token = token.get_secret_value()
    daemon.drop("scan.jpg", samples.jpeg(1))
    ended = daemon.run("run", "--once")
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in daemon.files(daemon.done)] == ["scan.jpg"]


# --- check ---------------------------------------------------------------------------------------------------------


def test_check(command: Command, config_file: Path) -> None:
    """Findings are a line each, with advice below; an error makes the exit code 1, in JSON as in text."""
    said = command("check")
    assert said.code == 1
    assert "error    N8N at http://127.0.0.1:9 cannot be reached" in said.out
    assert "         → is it running, and the URL right?" in said.out
    found = command("check", "--json")
    assert found.code == 1
    assert {"ok", "error"} == {finding["level"] for finding in found.json}
    assert all(set(finding) == {"level", "what", "advice"} for finding in found.json)
