"""Log lines are complete, hold no secret, and stop nothing if nobody reads them."""

from __future__ import annotations

import base64
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from tests.conftest import TOKEN
from tests.fakes.daemons.process import REPOSITORY, jpegs
from tests.scenarios.one_office import API_KEY, FAILING, assert_arrived, office


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_and_images_stay_out_of_the_log(log_format: str, tmp_path: Path, n8n: StandIn) -> None:
    """Neither the token nor the key nor anything of a picture is ever logged, whatever goes wrong."""
    content = samples.jpeg(1)
    n8n.api_key = "another-key"  # so that ours is wrong, and N8N complains of it
    changes = {"n8n": {"api_key": API_KEY}, "logging": {"level": "debug", "format": log_format}}
    daemon = office(tmp_path, n8n, changes=changes)
    try:
        daemon.start(wait=False)
        daemon.drop("scan.jpg", content)
        assert n8n.wait_for(lambda n8n: len(n8n.refused) >= 2, 30)
        n8n.api_key = API_KEY
        daemon.wait_quiet(1)
        assert daemon.terminate() == 0
    finally:
        daemon.kill()
    logged = daemon.log_file.read_bytes()
    assert b"job.concluded" in logged
    assert b"scan.jpg" in logged
    middle = content[len(content) // 2 :][:30]
    for secret in (TOKEN.encode(), API_KEY.encode(), middle, base64.b64encode(content)[3000:3040]):
        assert secret not in logged
    assert not re.search(rb"[A-Za-z0-9+/]{120}", logged)


def test_log_lines(tmp_path: Path, n8n: StandIn) -> None:
    """Each line about a job bears its id, each job that ends has one job.concluded, and each line is JSON."""
    n8n.behave = lambda delivery: FAILING if delivery.filename == "b.jpg" else Behaviour()
    one, two = jpegs(2)
    with office(tmp_path, n8n) as daemon:
        for name, content in (("a.jpg", one), ("b.jpg", two), ("c.jpg", b"no picture")):
            daemon.drop(name, content)
        daemon.wait_quiet(3)
        daemon.drop("d.jpg", one)
        daemon.wait_quiet(4)
        assert daemon.terminate() == 0
        jobs = {job.job_id: job for job in daemon.recorded()}
        events = daemon.events()
        assert len(events) == len(daemon.log_file.read_text().splitlines())
    concluded = {event["job_id"]: event for event in events if event["event"] == "job.concluded"}
    assert Counter(event["event"] for event in events)["job.concluded"] == len(jobs) == 4
    assert {job_id: event["status"] for job_id, event in concluded.items()} == {
        job_id: job.state for job_id, job in jobs.items()
    }
    for event in events:
        if event["event"].startswith("job."):
            assert event["job_id"] in jobs
        assert event["timestamp"].endswith("Z")


def test_nobody_reads_the_log(tmp_path: Path, n8n: StandIn) -> None:
    """A reader of stderr that left, such as a log collector that died, costs log lines and never a receipt."""
    daemon, contents = office(tmp_path, n8n), jpegs(3)
    daemon.log_file.touch()
    for number, content in enumerate(contents):
        daemon.drop(f"scan-{number}.jpg", content)
    daemon.process = subprocess.Popen(daemon.command("run"), cwd=REPOSITORY, stderr=subprocess.PIPE)
    try:
        assert daemon.process.stderr is not None
        daemon.process.stderr.close()
        assert_arrived(daemon, n8n, contents)
        assert daemon.terminate() == 0
    finally:
        daemon.close()
