"""`check --live` against the stand-in; with a real n8n it is a scenario of `tests.real.n8n`."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.check import live
from receipt_watcher.cli.context import open_log
from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.sources.load import load
from receipt_watcher.jobs.log.holds import HoldKind
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon
from tests.real.n8n.server import free_port


@pytest.fixture
def ours() -> Iterator[StandIn]:
    """A stand-in that says that it is a workflow of ours."""
    with StandIn(token=TOKEN, api_key="key", workflow="echo") as standin:
        yield standin


@pytest.fixture
def daemon(tmp_path: Path, ours: StandIn) -> Iterator[RunningDaemon]:
    """A daemon that has not been started, on a fixed port."""
    changes = {"http": {"port": free_port()}, "n8n": {"api_key": "key"}}
    daemon = RunningDaemon(tmp_path, ours.webhook_url, TOKEN, changes=changes)
    yield daemon
    daemon.close()


def look(daemon: RunningDaemon, *arguments: str, **variables: str) -> tuple[int, list[dict[str, str]]]:
    """Check, and return the exit code and the findings."""
    ran = daemon.run("check", "--live", "--json", *arguments, **variables)
    return ran.returncode, json.loads(ran.stdout)


def test_round_trip_without_the_daemon(daemon: RunningDaemon, ours: StandIn) -> None:
    """Each leg is told; the receipt that is sent is marked as a test, and no job is left."""
    code, found = look(daemon)
    assert code == 0
    legs = ("DNS: 127.0.0.1", "connection (", "'echo' of ours", "accepted: 200", "callback: it reached us")
    assert [leg for leg in legs if not any(leg in one["what"] for one in found)] == []
    [delivery] = ours.deliveries
    assert delivery.job_id.startswith("check-")
    assert delivery.sha256 == delivery.claimed_sha256
    assert ours.callbacks == [(delivery.job_id, {"status": "success"}, 200)]
    assert not (daemon.state / "receipts.db").exists()


@pytest.mark.parametrize("payload", ["json", "multipart"])
def test_round_trip_through_the_daemon(daemon: RunningDaemon, ours: StandIn, payload: str) -> None:
    """While the daemon runs it is the one who hears the callback, with a token of the job's own, too."""
    daemon.environment = {"RECEIPT_WATCHER_CALLBACK__PER_JOB_TOKENS": "true", "RECEIPT_WATCHER_N8N__PAYLOAD": payload}
    with daemon:
        code, found = look(daemon)
        assert (code, found[-1]["level"]) == (0, "ok")
        assert "it reached us" in found[-1]["what"]
        assert daemon.recorded() == []
    assert [delivery.payload for delivery in ours.deliveries] == [payload]


def test_a_passing_test_ends_a_hold_for_missing_callbacks(daemon: RunningDaemon, ours: StandIn) -> None:
    """A callback that reaches us shows that callbacks arrive, so the hold ends; one for N8N's answers stays."""
    now, config = time.time(), load(daemon.config_file, {})
    with daemon:
        with open_log(config, writing=True) as log:
            log.holds.hold(ours.webhook_url, HoldKind.SILENCE, "no callback arrives", now, now + 900)
        _, found = look(daemon)
        assert found[-1]["what"] == "the hold for missing callbacks is ended; what waits goes on within seconds"
        with open_log(config, writing=True) as log:
            assert not log.holds.of(ours.webhook_url).is_held
            log.holds.hold(ours.webhook_url, HoldKind.ANSWERS, "503", now, now + 900)
        assert "it reached us" in look(daemon)[1][-1]["what"]
        with open_log(config, writing=True) as log:
            assert log.holds.of(ours.webhook_url).is_held


def test_a_workflow_that_is_none_of_ours(daemon: RunningDaemon, ours: StandIn) -> None:
    """Nothing is sent to it, since it might book; --may-book sends it all the same."""
    ours.workflow = None
    code, found = look(daemon)
    assert code == 1
    assert "nothing was sent" in found[-1]["what"]
    assert ours.deliveries == []
    assert look(daemon, "--may-book")[0] == 0
    assert len(ours.deliveries) == 1


def test_a_wrong_key(daemon: RunningDaemon, ours: StandIn) -> None:
    """The key is tried before anything is sent."""
    code, found = look(daemon, N8N_API_KEY="wrong")
    assert (code, found[-1]["what"]) == (1, "the key is refused (403)")
    assert ours.deliveries == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/webhook/receipts", "N8N cannot be reached: no connection"),
        ("http://nobody.invalid/webhook/receipts", "DNS: nobody.invalid is not found"),
    ],
)
def test_nobody_there(daemon: RunningDaemon, url: str, said: str) -> None:
    """A name that is not found, and a machine that does not answer, are told apart."""
    code, found = look(daemon, N8N_WEBHOOK_URL=url)
    assert code == 1
    assert found[-1]["what"].startswith(said)


def test_an_unpublished_workflow(daemon: RunningDaemon, ours: StandIn) -> None:
    """A path that nobody listens at is told as such."""
    code, found = look(daemon, N8N_WEBHOOK_URL=ours.webhook_url.replace("/webhook/", "/elsewhere/"))
    assert code == 1
    assert "no workflow is published" in found[-1]["what"]


def test_a_failure_comes_back(daemon: RunningDaemon, ours: StandIn) -> None:
    """What the workflow says of the test is told."""
    ours.behave = lambda _delivery: Behaviour(verdict="failure", message="The disk is full.")
    code, found = look(daemon)
    assert code == 1
    assert "The disk is full." in found[-1]["what"]


def test_no_callback(daemon: RunningDaemon, ours: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing comes back it is said what N8N's side must reach, and by which setting of ours."""
    ours.behave = lambda _delivery: Behaviour(verdict=None)
    monkeypatch.setattr(live, "CALLBACK_SECONDS", 0.2)
    found = list(live.check_live(load(daemon.config_file, {})))
    assert found[-1].what == "no callback within 0.2 s"
    assert "http.public_url" in found[-1].advice
    assert "N8N_SSRF_ALLOWED_IP_RANGES" in found[-1].advice


def test_other_callbacks_are_asked_to_come_again(daemon: RunningDaemon, ours: StandIn) -> None:
    """While the daemon does not run, a real verdict that comes to the test's server is not taken for received."""
    answers: list[Any] = []

    def call_for_another_job(delivery: ReceivedPost) -> Behaviour:
        other = dataclasses.replace(delivery, callback_url=delivery.callback_url.replace("check-", ""))
        ours._call_back(other, Behaviour())
        answers.append(ours.callbacks[-1][2])
        return Behaviour()

    ours.behave = call_for_another_job
    assert look(daemon)[0] == 0
    assert answers == [503]


def test_how_large_a_receipt_may_be(daemon: RunningDaemon, ours: StandIn) -> None:
    """Larger and larger tests go out until one is not accepted; each is marked, so nothing is booked."""
    ours.max_json_bytes = 6 * 2**20
    code, found = look(daemon, "--find-size")
    assert code == 0
    assert "a receipt of 4 MB is accepted, one of 8 MB is not" in found[-1]["what"]


@pytest.mark.parametrize("option", ["--may-book", "--find-size"])
def test_options_of_live_alone(daemon: RunningDaemon, option: str) -> None:
    """What has no meaning without --live is a mistake."""
    ran = daemon.run("check", option)
    assert ran.returncode == 2
    assert "--live" in ran.stderr


def test_a_port_that_is_not_fixed(daemon: RunningDaemon) -> None:
    """Nobody finds us at a port that is another one each time."""
    ran = daemon.run("check", "--live", RECEIPT_WATCHER_HTTP__PORT="0")
    assert ran.returncode == 1
    assert "http.port is 0" in ran.stderr
