"""Subfolders with settings of their own, from the file to the far side and back to its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, jpegs, wait_until


def routed(root: Path, n8n: StandIn, routes: dict[str, Any], **options: Any) -> RunningDaemon:
    """Return a daemon with one inbox and these routes."""
    inbox = {"recursive": True, "notion_database_id": "usual", "scan_seconds": 3600, "routes": routes}
    return RunningDaemon(root, n8n.webhook_url, TOKEN, inbox=inbox, **options)


def test_each_subfolder_goes_its_way(tmp_path: Path, n8n: StandIn) -> None:
    """The innermost route counts: database, workflow, folder in done/; the rest goes as its inbox; N8N is told where.

    The subfolders are made while the daemon runs, so they are watched at once or not at all.
    """
    elsewhere = n8n.webhook_url.replace("receipts", "travel")
    routes = {
        "travel": {"webhook_url": elsewhere, "done_subfolder": "paid"},
        "travel/hotels": "hotels",
        "suppliers": {"notion_database_id": "suppliers"},
    }
    names = ("a.jpg", "travel/b.jpg", "travel/hotels/c.jpg", "suppliers/new/d.jpg", "x/e.jpg")
    contents = dict(zip(names, jpegs(5), strict=True))
    with routed(tmp_path, n8n, routes) as daemon:
        for name, content in contents.items():
            daemon.drop(name, content)
        daemon.wait_quiet(len(contents))
        jobs = assert_consistent(daemon, n8n.deliveries, contents.values())
    found = {
        delivery.filename: (delivery.path, delivery.notion_database_id, delivery.subfolder)
        for delivery in n8n.deliveries
    }
    assert found == {
        "a.jpg": ("/webhook/receipts", "usual", ""),
        "b.jpg": ("/webhook/travel", "usual", "travel"),
        "c.jpg": ("/webhook/receipts", "hotels", "travel/hotels"),
        "d.jpg": ("/webhook/receipts", "suppliers", "suppliers/new"),
        "e.jpg": ("/webhook/receipts", "usual", "x"),
    }
    stored = {job.filename: str(job.stored_path) for job in jobs.values()}
    assert stored["b.jpg"] == "paid/travel/b.jpg"
    assert stored["c.jpg"].endswith("/travel/hotels/c.jpg")
    assert {job.branch for job in jobs.values()} == {
        "office",
        "office/travel",
        "office/travel/hotels",
        "office/suppliers",
    }


def test_a_held_workflow_holds_its_subfolder_only(tmp_path: Path, n8n: StandIn) -> None:
    """While one subfolder's workflow is away the others go on; without its route its receipts go as the rest."""
    routes = {"travel": {"webhook_url": "http://127.0.0.1:9/webhook/away"}}
    one, two, three = jpegs(3)
    with routed(tmp_path, n8n, routes) as daemon:
        daemon.drop("travel/1.jpg", one)
        wait_until(lambda: daemon.count("destination.held"), "the workflow is held")
        daemon.drop("2.jpg", two)
        wait_until(lambda: len(n8n.callbacks) == 1, "the other one goes on")
        wait_until(lambda: daemon.job("2.jpg").state is State.SUCCESS, "it succeeds")
        assert daemon.job("1.jpg").state in (State.QUEUED, State.DELIVERING)
        assert daemon.terminate() == 0
        options = yaml.safe_load(daemon.config_file.read_text())
        del options["inboxes"][0]["routes"]
        daemon.config_file.write_text(yaml.safe_dump(options))
        daemon.start()
        daemon.drop("travel/3.jpg", three)
        daemon.wait_quiet(3)
        jobs = assert_consistent(daemon, n8n.deliveries, [one, two, three])
    assert {job.branch for job in jobs.values()} == {"office"}
    assert {str(job.stored_path.parent.name) for job in jobs.values() if job.filename != "2.jpg"} == {"travel"}


def test_a_slow_scanner_has_its_own_settle_time(tmp_path: Path, n8n: StandIn) -> None:
    """A subfolder's own settle time holds up nobody else's."""
    one, two = jpegs(2)
    with routed(tmp_path, n8n, {"slow": {"settle_seconds": 3600}}) as daemon:
        daemon.drop("slow/1.jpg", one)
        daemon.drop("2.jpg", two)
        wait_until(lambda: [job.filename for job in daemon.recorded()] == ["2.jpg"], "the other one is taken")
        assert (daemon.inbox / "slow/1.jpg").exists()
