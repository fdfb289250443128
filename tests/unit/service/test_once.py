from __future__ import annotations

import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, jpegs


def office(root: Path, n8n: StandIn, **options: Any) -> RunningDaemon:
    """Return a daemon that is not started."""
    return RunningDaemon(root, n8n.webhook_url, TOKEN, **options)


def rows(ended: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Return the words of each line of the summary but its title."""
    title, *lines = ended.stdout.splitlines()
    assert title.split() == ["recorded", "status", "inbox", "file", "reason", "job"]
    return [line.split()[2:] for line in lines]


def test_everything_goes_through(tmp_path: Path, n8n: StandIn) -> None:
    """It takes in and delivers what is there, waits for the verdicts, lists the receipts, and exits with 0."""
    daemon, contents = office(tmp_path, n8n), jpegs(3)
    for number, content in enumerate(contents):
        daemon.drop(f"scan-{number}.jpg", content)
    n8n.behave = lambda _: Behaviour(callback_delay_seconds=0.3)
    ended = daemon.run("run", "--once")
    assert ended.returncode == 0, ended.stderr
    assert sorted(row[:3] for row in rows(ended)) == [["success", "office", f"scan-{n}.jpg"] for n in range(3)]
    assert daemon.is_quiet(3)
    assert_consistent(daemon, n8n.deliveries, contents)


def test_nothing_to_do(tmp_path: Path, n8n: StandIn) -> None:
    """An empty inbox is fine."""
    ended = office(tmp_path, n8n).run("run", "--once")
    assert (ended.returncode, rows(ended)) == (0, [])


def test_one_that_fails(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt that fails makes the exit code 1, with its reason in the summary; the others are filed all the same."""
    daemon = office(tmp_path, n8n)
    daemon.drop("good.jpg", samples.jpeg(1))
    daemon.drop("words.jpg", b"These are only words.\n")
    ended = daemon.run("run", "--once")
    assert ended.returncode == 1
    assert min(row[:4] for row in rows(ended)) == ["failure", "office", "words.jpg", "unsupported_type"]
    assert daemon.is_quiet(2)


def test_n8n_is_down(tmp_path: Path, n8n: StandIn) -> None:
    """An N8N that is down keeps it no longer than a callback may take; it says so, and the next run goes on."""
    daemon = office(tmp_path, n8n, changes={"n8n": {"hold_after": 1}, "callback": {"deadline_seconds": 2}})
    content = samples.jpeg(1)
    daemon.drop("scan.jpg", content)
    n8n.stop_listening()
    ended = daemon.run("run", "--once")
    assert ended.returncode == 1
    assert "receipt-watcher: N8N at 127.0.0.1 is held: no connection" in ended.stderr
    assert "receipt-watcher: 1 receipts have no verdict yet; the next run goes on with them" in ended.stderr
    assert daemon.job("scan.jpg").state is State.QUEUED
    n8n.listen_again()
    assert daemon.run("run", "--once").returncode == 0
    assert_consistent(daemon, n8n.deliveries, [content])


def test_secrets_of_the_url_are_not_printed(tmp_path: Path, n8n: StandIn) -> None:
    """A hold is told by the host of the webhook, without user, password, path and query."""
    url = f"{n8n.webhook_url.replace('//', '//hush-user:hush-password@')}?key=hush-key&hush-flag"
    daemon = RunningDaemon(
        tmp_path, url, TOKEN, changes={"n8n": {"hold_after": 1}, "callback": {"deadline_seconds": 2}}
    )
    daemon.drop("scan.jpg", samples.jpeg(1))
    n8n.stop_listening()
    ended = daemon.run("run", "--once")
    assert ended.returncode == 1
    assert "receipt-watcher: N8N at 127.0.0.1 is held: no connection" in ended.stderr
    assert "hush" not in ended.stdout + ended.stderr


def test_a_hold_of_a_url_that_is_gone_from_the_configuration(tmp_path: Path, n8n: StandIn) -> None:
    """A destination that was held when the configuration still named it makes no run fail."""
    daemon = office(tmp_path, n8n)
    assert daemon.run("run", "--once").returncode == 0
    with daemon.job_log() as log:
        log.holds.hold("http://gone.example.com/webhook", HoldKind.ANSWERS, "no connection", 0.0, 1.0)
    daemon.drop("scan.jpg", samples.jpeg(1))
    ended = daemon.run("run", "--once")
    assert (ended.returncode, rows(ended)[0][0]) == (0, "success"), ended.stderr
    assert "is held" not in ended.stderr


def test_n8n_and_an_inbox_are_away(tmp_path: Path, n8n: StandIn) -> None:
    """A missing inbox beside an N8N that is down does not keep it for ever either."""
    inboxes = [
        {"path": str(tmp_path / "inbox"), "name": "office", "settle_seconds": 0.2},
        {"path": str(tmp_path / "share" / "inbox"), "name": "share"},
    ]
    daemon = office(
        tmp_path, n8n, changes={"inboxes": inboxes, "n8n": {"hold_after": 1}, "callback": {"deadline_seconds": 2}}
    )
    daemon.drop("scan.jpg", samples.jpeg(1))
    n8n.stop_listening()
    ended = daemon.run("run", "--once")
    assert ended.returncode == 1
    assert "is held" in ended.stderr
    assert "share: the inbox" in ended.stderr


def test_a_missing_inbox(tmp_path: Path, n8n: StandIn) -> None:
    """An inbox that is not there makes the exit code 1 and is named."""
    daemon = office(tmp_path, n8n)
    daemon.inbox.rmdir()
    ended = daemon.run("run", "--once")
    assert ended.returncode == 1
    assert f"receipt-watcher: office: the inbox {daemon.inbox} is not there" in ended.stderr


def test_a_file_that_stays(tmp_path: Path, n8n: StandIn) -> None:
    """A file that cannot be taken yet is named, and makes the exit code 1."""
    daemon = office(tmp_path, n8n)
    daemon.drop("empty.pdf", b"")
    ended = daemon.run("run", "--once")
    assert ended.returncode == 1
    assert "receipt-watcher: office: empty.pdf is still in the inbox (empty: " in ended.stderr
    assert (daemon.inbox / "empty.pdf").exists()


def test_the_backlog(tmp_path: Path, n8n: StandIn) -> None:
    """Old files wait for --accept-backlog here too."""
    daemon = office(tmp_path, n8n, changes={"limits": {"backlog_files": 1}})
    for number, content in enumerate(jpegs(2)):
        daemon.drop(f"scan-{number}.jpg", content)
    refused = daemon.run("run", "--once")
    assert refused.returncode == 1
    assert "accept-backlog office" in refused.stderr
    assert n8n.deliveries == []
    assert daemon.run("run", "--once", "--accept-backlog").returncode == 0
    assert daemon.is_quiet(2)


def test_beside_a_daemon(tmp_path: Path, n8n: StandIn) -> None:
    """It is refused while a daemon runs, without a traceback."""
    with office(tmp_path, n8n) as daemon:
        ended = daemon.run("run", "--once")
    assert ended.returncode == 1
    assert "is running on" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sigterm(tmp_path: Path, n8n: StandIn) -> None:
    """SIGTERM ends it once the receipt that is being sent has its answer; what has no verdict makes the exit code 1."""
    answer = threading.Event()
    n8n.behave = lambda _: replace(Behaviour(verdict=None), hang=answer)
    daemon = office(tmp_path, n8n)
    daemon.drop("scan.jpg", samples.jpeg(1))
    try:
        daemon.start("--once", wait=False)
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 1, 30)
        assert daemon.process is not None
        daemon.process.terminate()
        answer.set()
        assert daemon.ended() == 1
    finally:
        daemon.kill()
    assert daemon.job("scan.jpg").state is State.PROCESSING, "its answer is not written down"
