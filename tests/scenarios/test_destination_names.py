"""Two webhooks of one host have one public name each, which every screen, command and call uses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon

FIRST, SECOND = "127.0.0.1", "127.0.0.1#2"


@pytest.fixture
def daemon(tmp_path: Path, n8n: StandIn) -> RunningDaemon:
    """An inbox whose subfolder travel goes to a second webhook of the same N8N; it is not started."""
    second = n8n.webhook_url.replace("/webhook/", "/webhook/second-")
    changes = {
        "http": {"local_role": "admin"},
        "inboxes": [{"path": "inbox", "recursive": True, "routes": {"travel": {"webhook_url": second}}}],
    }
    return RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes)


def test_one_name_everywhere(daemon: RunningDaemon, n8n: StandIn) -> None:
    """The second webhook is held, shown and resumed under one name; the API's old id is accepted."""
    with daemon, httpx.Client(base_url=daemon.url, trust_env=False) as client:
        held = daemon.run("hold", SECOND, "--json")
        assert json.loads(held.stdout) == [{"kind": "destination", "name": SECOND, "done": True}]
        assert list(client.get("/health/ready").json()["waiting"]) == [f"hold:{SECOND}"]
        status = daemon.run("status").stdout
        assert f"N8N at {SECOND}" in status
        assert f"receipt-watcher resume {SECOND}" in status
        assert [hold["name"] for hold in json.loads(daemon.run("status", "--json").stdout)["held_by_hand"]] == [SECOND]
        metrics = client.get("/metrics").text
        assert f'destination_hold{{destination="{FIRST}"}}' in metrics
        assert f'destination_hold{{destination="{SECOND}"}}' in metrics
        answer = client.get("/api/v1/holds").json()["destinations"]
        assert {state["destination"]: state["by_hand"] is not None for state in answer} == {FIRST: False, SECOND: True}
        assert f'action="/destinations/{SECOND.replace("#", "%23")}/resume"' in client.get("/").text
        old_id = hashlib.sha256(n8n.webhook_url.encode()).hexdigest()[:12]
        by_id = client.post(f"/api/v1/holds/{old_id}", json={"why": "by its old id"})
        assert (by_id.status_code, by_id.json()["destination"]) == (202, FIRST)
        for name in (FIRST, SECOND):
            resumed = client.post(f"/api/v1/holds/{name.replace('#', '%23')}/resume")
            assert (resumed.status_code, resumed.json()["by_hand"]) == (202, None)


def test_labels_of_earlier_versions(daemon: RunningDaemon, n8n: StandIn) -> None:
    """Labels of metrics numbered a subfolder before its inbox; each is accepted for the webhook that it named."""
    place = n8n.webhook_url.split("/")[2]
    with daemon:
        held = json.loads(daemon.run("hold", f"{place}#1", f"{place}#2", "--json").stdout)
    assert [hold["name"] for hold in held] == [SECOND, FIRST]


def test_a_name_that_is_none_is_refused_with_those_that_are(daemon: RunningDaemon) -> None:
    """Who types a wrong name is told the right ones."""
    with daemon:
        refused = daemon.run("hold", "127.0.0.1#3")
    assert refused.returncode == 2
    assert f"it may be one of: inbox, n8n, {FIRST}, {SECOND}" in refused.stderr
