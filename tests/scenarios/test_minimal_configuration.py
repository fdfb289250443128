"""A configuration of the options without a default is enough."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from tests.scenarios.one_office import assert_arrived, office


def test_a_minimal_configuration(tmp_path: Path, n8n: StandIn) -> None:
    """An inbox and a webhook URL are enough; a token is made, kept over restarts, and readable to nobody else."""
    content = samples.jpeg(1)
    # The port is set since another program may have the default one.
    environment = {"XDG_STATE_HOME": str(tmp_path / "home"), "RECEIPT_WATCHER_HTTP__PORT": "0"}
    daemon = office(tmp_path, n8n, environment=environment)
    daemon.state = tmp_path / "home" / "receipt-watcher"
    daemon.config_file.write_text(f"inboxes: [path: {daemon.inbox}]\nn8n: {{webhook_url: {n8n.webhook_url}}}\n")
    kept = daemon.state / "callback_token"
    with daemon:
        n8n.token = kept.read_text().strip()
        assert len(n8n.token) >= 32
        assert kept.stat().st_mode & 0o777 == 0o600
        daemon.drop("scan.jpg", content)
        assert_arrived(daemon, n8n, [content])
        assert daemon.terminate() == 0
        daemon.start()
        assert kept.read_text().strip() == n8n.token
        assert n8n.token not in daemon.log_file.read_text()
