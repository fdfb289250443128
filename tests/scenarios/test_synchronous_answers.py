"""The real daemon with an N8N that answers with its verdict, and with a delivery window that is closed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import STARTING_UP, Behaviour, StandIn
from receipt_watcher.config.schedule import DAYS
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, jpegs, wait_until

CLOSED = {
    "days": DAYS[(datetime.now(UTC).weekday() + 3) % 7],  # far from any midnight
    "hours": "08:00-12:00",
    "time_zone": "Etc/UTC",
}


def booked(page: str) -> Behaviour:
    """Return an answer that is the verdict, with no callback after it."""
    said = {"status": "success", "message": "booked", "notion_page_url": page, "data": {"total": 12}}
    return Behaviour(body=json.dumps(said).encode(), verdict=None)


def test_a_verdict_as_the_answer(tmp_path: Path, n8n: StandIn) -> None:
    """With n8n.accept respond, answers are verdicts: good ones go to done, a bad one to failed, without a callback."""
    contents = jpegs(4)

    def behave(delivery: ReceivedPost) -> Behaviour:
        if delivery.filename == "scan-2.jpg":
            return Behaviour(body=b'{"status":"failure","message":"no total found"}', verdict=None)
        return booked(f"https://notion.example/{delivery.filename}")

    n8n.behave = behave
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"n8n": {"accept": "respond"}}) as daemon:
        for number, content in enumerate(contents):
            daemon.drop(f"scan-{number}.jpg", content)
        daemon.wait_quiet(4)
        assert_consistent(daemon, n8n.deliveries, contents)
        bad, good = daemon.job("scan-2.jpg"), daemon.job("scan-0.jpg")
        assert (bad.state, bad.reason, bad.message) == (State.FAILURE, Reason.N8N_FAILURE, "no total found")
        assert (good.state, good.notion_page_url) == (State.SUCCESS, "https://notion.example/scan-0.jpg")
        assert "no total found" in (daemon.failed / "scan-2.jpg.reason.txt").read_text()
        assert daemon.count("job.accepted") == 0
        late = daemon.call(good.job_id, {"status": "failure"}, TOKEN)
        assert late.status_code == 409
        assert daemon.call(bad.job_id, {"status": "success"}, TOKEN).status_code == 200
        daemon.wait_quiet(4)
        assert daemon.job("scan-2.jpg").state is State.SUCCESS
    assert n8n.callbacks == []


@pytest.mark.parametrize("accept", ["respond", "any_2xx", {"status": 200}], ids=str)
def test_the_start_up_page_takes_nothing(tmp_path: Path, n8n: StandIn, accept: object) -> None:
    """However acceptances are configured, a receipt that n8n's start-up page answers is sent again, under its id."""
    (content,) = jpegs(1)
    n8n.behave = lambda _: STARTING_UP if len(n8n.deliveries) < 5 else Behaviour()
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"n8n": {"accept": accept}}) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        job = daemon.job("scan.jpg")
        assert (job.state, job.attempts) == (State.SUCCESS, 1)
        assert daemon.count("destination.held") == 1
    assert {delivery.job_id for delivery in n8n.deliveries} == {job.job_id}


def test_an_inbox_has_its_own_rule(tmp_path: Path, n8n: StandIn) -> None:
    """One inbox's workflow answers with verdicts, the other's with callbacks: each by its own accept."""
    contents = jpegs(2)
    n8n.behave = lambda delivery: booked("") if delivery.inbox == "office" else Behaviour()
    second = tmp_path / "second" / "inbox"
    second.mkdir(parents=True)
    inboxes = [
        {"path": str(tmp_path / "inbox"), "name": "office", "settle_seconds": 0.2, "accept": "last_node"},
        {"path": str(second), "name": "second", "settle_seconds": 0.2},
    ]
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"inboxes": inboxes}) as daemon:
        daemon.drop("scan.jpg", contents[0])
        (second / "other.jpg").write_bytes(contents[1])
        wait_until(lambda: len(daemon.recorded()) == 2, "both are recorded")
        wait_until(lambda: {job.state for job in daemon.recorded()} == {State.SUCCESS}, "both have succeeded")
        wait_until(lambda: len(n8n.callbacks) > 0, "the callback's answer is noted")  # after the verdict is kept
        assert [callback[0] for callback in n8n.callbacks] == [daemon.job("other.jpg").job_id]


# --- a delivery window that is closed ------------------------------------------------------------------------------


@pytest.fixture
def closed(tmp_path: Path, n8n: StandIn) -> Iterator[RunningDaemon]:
    """A daemon whose only inbox delivers on another day, with one receipt taken in."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox={"deliver_when": CLOSED})
    with daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: daemon.count("job.recorded"), "it is taken in")
        yield daemon


def test_a_closed_window_is_told(closed: RunningDaemon, n8n: StandIn) -> None:
    """Outside deliver_when a receipt is taken in and waits; status, explain and health say until when; all is well."""
    text = f"{CLOSED['days']}, 08:00-12:00, Etc/UTC"
    ready = httpx.get(f"{closed.url}/health/ready")
    assert ready.status_code == 200
    assert text in ready.json()["waiting"]["deliver_when:office"]
    assert ready.json()["waiting"]["deliver_when:office"].startswith("1 receipts of office wait for deliver_when")
    status = closed.run("status", "--json")
    assert status.returncode == 0
    (told,) = json.loads(status.stdout)["inboxes"][0]["closed"]
    assert (told["branch"], told["deliver_when"], told["queued"]) == ("office", text, 1)
    assert told["opens_at"].endswith("T08:00:00.000Z")
    assert f"1 receipts of office wait for deliver_when ({text})" in closed.run("status").stdout
    explained = json.loads(closed.run("explain", "scan.jpg", "--json").stdout)
    assert explained["answer"] == f"Receipts are sent {text}; it waits until {told['opens_at']}."
    assert n8n.deliveries == []


def test_a_window_that_is_taken_away(closed: RunningDaemon, n8n: StandIn) -> None:
    """What waited for a window goes out when there is none any more: nothing was dropped."""
    closed.terminate()
    closed.config_file.write_text(closed.config_file.read_text().replace(f"days: {CLOSED['days']}", "days: mon-sun"))
    closed.config_file.write_text(closed.config_file.read_text().replace("08:00-12:00", "00:00-24:00"))
    closed.start()
    closed.wait_quiet(1)
    assert_consistent(closed, n8n.deliveries, jpegs(1))
    assert "waiting" not in httpx.get(f"{closed.url}/health/ready").json()


def test_run_once_outside_the_window(tmp_path: Path, n8n: StandIn) -> None:
    """Run --once takes in what is there and does not wait for a window: it ends with 1 and says what waits."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox={"deliver_when": CLOSED})
    daemon.drop("scan.jpg", jpegs(1)[0])
    ended = daemon.run("run", "--once")
    assert ended.returncode == 1
    assert "1 receipts of office wait for deliver_when" in ended.stderr
    assert daemon.job("scan.jpg").state is State.QUEUED
    assert n8n.deliveries == []
