"""The real daemon tells: notices, the heartbeat and the status file, seen from outside."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import UNAVAILABLE, Behaviour, StandIn, succeed_if_intact
from receipt_watcher.inbox.watching.ignored import STATUS_FILE_NAME
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.fakes.http_listener import Listener

SECRET = "Tr0ub4dor-and-3-horses"
SOON = {"after_seconds": 0.1, "throttle_minutes": 0}
FAILING = Behaviour(verdict="failure", message=f"The token {TOKEN} and the supplier are unknown.")
#: A daemon that is hindered on a busy machine still tells, in the end.
PATIENCE_SECONDS = 60.0


def telling(root: Path, n8n: StandIn, notify: dict[str, Any], **inbox: Any) -> RunningDaemon:
    """Return a daemon that tells at once."""
    return RunningDaemon(root, n8n.webhook_url, TOKEN, inbox=inbox, changes={"notify": SOON | notify})


def kinds(listener: Listener) -> list[str]:
    """Return what a listener was told about, by ids: a kill in the moment of sending sends a notice twice."""
    notices = [json.loads(heard.body) for heard in tuple(listener.heard)]
    return list({notice["id"]: notice["kind"] for notice in notices}.values())


def wait_told(listener: Listener, *expected: str) -> None:
    """Wait until these kinds of notices came, and no others."""
    wait_until(lambda: len(kinds(listener)) >= len(expected), f"{expected} are told", PATIENCE_SECONDS)
    assert kinds(listener) == list(expected)


def test_a_failure_and_an_outage_are_told_once(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt that fails is told of, and N8N's outage with its end; a kill and a start repeat nothing."""
    n8n.behave = lambda _: FAILING
    with Listener() as listener, telling(tmp_path, n8n, {"webhook_url": f"http://{listener.address}/told"}) as daemon:
        daemon.drop("scan_0042.jpg", samples.jpeg(1))
        wait_told(listener, "failed")
        text = json.loads(listener.heard[0].body)["text"]
        assert "scan_0042.jpg (inbox office)\n  The N8N workflow reported a failure." in text
        assert str(daemon.failed) in text
        n8n.behave = lambda _: UNAVAILABLE
        for number, content in enumerate(jpegs(4)):
            daemon.drop(f"{number}.jpg", content)
        wait_told(listener, "failed", "held")
        daemon.kill()
        daemon.start()
        n8n.behave = succeed_if_intact
        daemon.wait_quiet(5)
        wait_told(listener, "failed", "held", "resumed")
        daemon.drop("broken.pdf", b"%PDF-1.4 broken")
        wait_told(listener, "failed", "held", "resumed", "failed")
        assert daemon.terminate() == 0
        assert all(TOKEN.encode() not in heard.body for heard in listener.heard)
        assert TOKEN not in "".join(str(line) for line in daemon.events() if line["event"].startswith("notice."))


def test_a_channel_that_hangs_holds_up_nothing(tmp_path: Path, n8n: StandIn) -> None:
    """While a channel answers nothing, receipts and verdicts go on as ever, and the next start tells what is due."""
    release = threading.Event()

    def hang(_: object) -> int:
        release.wait(PATIENCE_SECONDS)
        return 500

    with Listener(hang) as listener, telling(tmp_path, n8n, {"webhook_url": f"http://{listener.address}/"}) as daemon:
        daemon.drop("broken.pdf", b"%PDF-1.4 broken")
        wait_until(lambda: any(job.state is State.FAILURE for job in daemon.recorded()), "it has failed")
        for number, content in enumerate(jpegs(20)):
            daemon.drop(f"{number}.jpg", content)
        daemon.wait_quiet(21)
        assert len(list(daemon.done.rglob("*.jpg"))) == 20
        release.set()
        wait_until(lambda: daemon.count("notice.not_sent"), "the channel's failure is logged", PATIENCE_SECONDS)
        assert daemon.terminate() == 0
        with daemon.job_log() as log:
            assert log.database.select("SELECT COUNT(*), MAX(tries) FROM notice") == [(1, 1)]
            log.database.change("UPDATE notice SET due_at = 0")
        listener.answer = lambda _: 200
        before = len(listener.heard)
        daemon.start()
        wait_until(lambda: len(listener.heard) > before, "it is told after the restart", PATIENCE_SECONDS)
        assert kinds(listener)[-1] == "failed"


def test_an_inbox_that_goes_and_comes_back(tmp_path: Path, n8n: StandIn) -> None:
    """An inbox that is gone is told, by the notice and by the heartbeat, and so is that it is back."""
    with Listener() as listener, Listener() as pinged, Listener() as third:
        notify = {
            "webhook_url": f"http://{listener.address}/{SECRET}",
            "heartbeat_url": f"http://{pinged.address}/ping?{SECRET}",
            "urls": [f"json://user:{SECRET}@{third.address}/{SECRET}"],
        }
        with telling(tmp_path, n8n, notify) as daemon:
            wait_until(lambda: len(pinged.heard) >= 2, "the heartbeat beats", PATIENCE_SECONDS)
            assert pinged.paths == [f"/ping/start?{SECRET}", f"/ping?{SECRET}"]
            daemon.inbox.rename(tmp_path / "away")
            wait_told(listener, "inbox_away")
            wait_until(lambda: len(pinged.heard) >= 3, "the heartbeat fails", PATIENCE_SECONDS)
            assert pinged.paths[2] == f"/ping/fail?{SECRET}"
            assert b"inbox office: unavailable" in pinged.heard[2].body
            (tmp_path / "away").rename(daemon.inbox)
            wait_told(listener, "inbox_away", "inbox_back")
            wait_until(lambda: len(pinged.heard) >= 4, "the heartbeat beats again", PATIENCE_SECONDS)
            assert pinged.paths[3] == f"/ping?{SECRET}"
            wait_until(lambda: len(third.heard) == 2, "the third is told as well", PATIENCE_SECONDS)
            assert daemon.terminate() == 0
        assert [json.loads(heard.body)["title"] for heard in third.heard] == [
            "The inbox office is unavailable",
            "The inbox office is back",
        ]
        kept = [daemon.log_file, *(path for path in daemon.state.rglob("*") if path.is_file())]
        assert [path.name for path in kept if SECRET.encode() in path.read_bytes()] == []


def test_the_status_file_of_a_share(tmp_path: Path, n8n: StandIn) -> None:
    """It says what failed and that the daemon stopped, is no receipt, and no stranger to the balance."""
    n8n.behave = lambda _: FAILING
    with telling(tmp_path, n8n, {}, status_file=True, recursive=True, ignore_packs=[]) as daemon:
        path = daemon.inbox / STATUS_FILE_NAME

        def says(text: str) -> bool:
            return path.exists() and text in path.read_text("utf-8")

        wait_until(lambda: says("All is well: nothing waits, and nothing failed today."), "all is well")
        daemon.drop("scan_0042.jpg", samples.jpeg(1))
        wait_until(lambda: says("Failed today (1)"), "the failure is shown", PATIENCE_SECONDS)
        assert "scan_0042.jpg" in path.read_text("utf-8")
        found = daemon.run("balance", "--json")
        assert found.returncode == 0, found.stdout
        assert daemon.terminate() == 0
        assert says("receipt-watcher has been stopped, so nothing is taken.")
        assert [entry.name for entry in daemon.inbox.iterdir()] == [STATUS_FILE_NAME]
        assert [job.filename for job in daemon.recorded()] == ["scan_0042.jpg"]
        daemon.start()
        wait_until(lambda: says("Failed today (1)"), "the next start says what is so", PATIENCE_SECONDS)
    assert "statusfile.not_written" not in daemon.log_file.read_text()


def test_a_file_that_was_changed_is_told(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt that somebody changed in done/ is told of after the next balance, with its name."""
    with Listener() as listener, telling(tmp_path, n8n, {"webhook_url": listener.url}) as daemon:
        daemon.drop("scan_0042.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        assert daemon.terminate() == 0
        (filed,) = daemon.done.rglob("*.jpg")
        filed.write_bytes(samples.jpeg(2))
        daemon.start()
        wait_told(listener, "disagrees")
        assert "scan_0042.jpg" in listener.said[0]["text"]
