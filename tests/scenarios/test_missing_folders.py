"""A spool that is foreign or away delays no other inbox, and is used once it is back."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from tests.fakes.daemons.process import jpegs, wait_until
from tests.scenarios.one_office import assert_arrived, office

# --- one daemon per spool ------------------------------------------------------------------------------------------


def test_a_foreign_spool(tmp_path: Path, n8n: StandIn) -> None:
    """A spool of another installation is refused, until a start with --take-over makes it ours for good."""
    daemon = office(tmp_path, n8n)
    with daemon:
        assert daemon.terminate() == 0
        shutil.rmtree(daemon.state)
        refused = daemon.run("run")
        assert refused.returncode == 1
        assert "belongs to another installation" in refused.stderr
        assert "take-over office" in refused.stderr
        content = samples.jpeg(1)
        daemon.drop("scan.jpg", content)
        daemon.start("--take-over")
        assert_arrived(daemon, n8n, [content])
        assert daemon.terminate() == 0
        daemon.start()


# --- folders that come and go --------------------------------------------------------------------------------------


def test_a_missing_inbox_delays_no_other(tmp_path: Path, n8n: StandIn) -> None:
    """An inbox that is not there at start keeps no other one waiting, and is picked up when it appears."""
    late = tmp_path / "share" / "inbox"
    inboxes = [
        {"path": str(tmp_path / "inbox"), "name": "office", "settle_seconds": 0.2},
        {"path": str(late), "name": "share", "settle_seconds": 0.2},
    ]
    contents = jpegs(2)
    with office(tmp_path, n8n, changes={"inboxes": inboxes}) as daemon:
        daemon.drop("one.jpg", contents[0])
        daemon.wait_quiet(1)
        ready = httpx.get(f"{daemon.url}/health/ready")
        assert ready.status_code == 503
        assert f"the inbox {late} is not there" in ready.json()["failing"]["inbox:share"]
        late.mkdir(parents=True)
        (late / "two.jpg").write_bytes(contents[1])
        daemon.wait_quiet(2)
        assert httpx.get(f"{daemon.url}/health/ready").status_code == 200
        assert daemon.count("inbox.available") == 1
    assert [delivery.content for delivery in n8n.deliveries] == contents


def test_an_inbox_that_goes_and_comes_back(tmp_path: Path, n8n: StandIn) -> None:
    """An inbox that is removed while the daemon runs is said to be away, and is picked up when it is there again."""
    content = samples.jpeg(1)
    with office(tmp_path, n8n, inbox={"scan_seconds": 0.2}) as daemon:
        daemon.inbox.rmdir()
        wait_until(lambda: daemon.count("inbox.unavailable"), "it is missed")
        daemon.inbox.mkdir()
        daemon.drop("scan.jpg", content)
        assert_arrived(daemon, n8n, [content])
        assert daemon.count("inbox.available") == 1


def test_a_spool_that_goes_and_comes_back(tmp_path: Path, n8n: StandIn) -> None:
    """While processing/ is away, as after an unmount, receipts stay in the inbox; none goes into a folder made anew."""
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        away = daemon.processing.rename(tmp_path / "away")
        daemon.drop("scan.jpg", content)
        wait_until(lambda: daemon.count("inbox.unavailable"), "it is missed")
        assert (daemon.inbox / "scan.jpg").read_bytes() == content
        assert not daemon.files(daemon.processing)
        shutil.rmtree(daemon.processing, ignore_errors=True)
        away.rename(daemon.processing)
        assert_arrived(daemon, n8n, [content])


def test_the_backlog_of_the_first_start(tmp_path: Path, n8n: StandIn) -> None:
    """More old files than limits.backlog_files wait at the very first start, until they are accepted, and only then."""
    contents = jpegs(5)
    daemon = office(tmp_path, n8n, changes={"limits": {"backlog_files": 3}})
    for number, content in enumerate(contents[:4]):
        daemon.drop(f"scan-{number}.jpg", content)
    with daemon:
        wait_until(lambda: daemon.count("inbox.unavailable"), "the old files are noticed")
        (told,) = daemon.events("inbox.unavailable")
        assert "4 files were here before the first start, more than limits.backlog_files (3)" in told["why"]
        assert "accept-backlog office" in told["why"]
        assert len(daemon.files(daemon.inbox)) == 4
        assert daemon.terminate() == 0
        daemon.start("--accept-backlog")
        daemon.wait_quiet(4)
        assert daemon.terminate() == 0
        daemon.drop("scan-4.jpg", contents[4])
        daemon.start()
        assert_arrived(daemon, n8n, contents)
