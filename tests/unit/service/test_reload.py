"""A reload loses nothing, and a configuration that is wrong changes nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.inbox.watching.ignored import STATUS_FILE_NAME
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, jpegs, merge, wait_until
from tests.unit.service.systemd_service import FakeSystemd, service


def change(daemon: RunningDaemon, **changes: Any) -> None:
    """Write other options into the configuration."""
    before = yaml.safe_load(daemon.config_file.read_text())
    daemon.config_file.write_text(yaml.safe_dump(merge(before, changes)))


def reload(daemon: RunningDaemon) -> None:
    """Ask for a reload."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)


def failing(daemon: RunningDaemon) -> dict[str, str]:
    """Return the checks that fail, with why."""
    found: dict[str, str] = httpx.get(f"{daemon.url}/health/ready").json().get("failing", {})
    return found


def wait_reloaded(daemon: RunningDaemon, times: int) -> None:
    """Wait until so many reloads have succeeded."""
    wait_until(lambda: daemon.count("configuration.reloaded") == times, f"{times} reloads have succeeded")


def reload_and_wait(daemon: RunningDaemon, event: str) -> None:
    """Reload, and wait until the log says what became of it."""
    before = daemon.count(event)
    reload(daemon)
    wait_until(lambda: daemon.count(event) > before, event)


def test_a_reload_amid_receipts(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """Reloads while receipts come, go out and are called back lose none and send none twice; a new inbox is watched."""
    contents = jpegs(61)
    with service(tmp_path, n8n, systemd) as daemon:
        for number, content in enumerate(contents[:60]):
            daemon.drop(f"scan-{number}.jpg", content)
            if number % 20 == 19:
                wait_until(lambda: len(n8n.deliveries) >= 5, "some are on their way")
                change(daemon, n8n={"workers": 2 + number % 3}, limits={"max_file_mb": 30})
                reload_and_wait(daemon, "configuration.reloaded")
        daemon.wait_quiet(60)
        extra = tmp_path / "second" / "inbox"
        extra.mkdir(parents=True)
        first = yaml.safe_load(daemon.config_file.read_text())["inboxes"]
        change(daemon, inboxes=[*first, {"path": str(extra), "name": "second", "settle_seconds": 0.2}])
        reload_and_wait(daemon, "configuration.reloaded")
        assert [line["inbox"] for line in daemon.events("inbox.watched")][-2:].count("second") == 1
        (extra / "new.jpg").write_bytes(contents[60])
        wait_until(lambda: list((tmp_path / "second" / "done").rglob("new.jpg")), "the new inbox's receipt is filed")
        assert daemon.terminate() == 0
    assert_consistent_but(daemon, n8n, contents[:60])
    assert systemd.count("RELOADING=1") == 4
    assert systemd.count("READY=1") == 5
    assert all(
        int(message.partition("MONOTONIC_USEC=")[2]) > 0 for message in systemd.messages if "RELOADING=1" in message
    )


def assert_consistent_but(daemon: RunningDaemon, n8n: StandIn, contents: list[bytes]) -> None:
    """Each of the first inbox's receipts arrived once, whole; the second inbox's job is not looked at."""
    sent = [delivery for delivery in n8n.deliveries if delivery.inbox == "office"]
    assert Counter(delivery.content for delivery in sent) == Counter(contents)
    jobs = [job for job in daemon.recorded() if job.inbox == "office"]
    assert {job.state for job in jobs} == {State.SUCCESS}
    assert len(jobs) == len(contents)
    assert {job.attempts for job in jobs} == {1}


def test_a_delivery_in_flight_ends_first(tmp_path: Path, n8n: StandIn) -> None:
    """A reload waits for the answer to a delivery, longer than a stop would: it counts, and is not repeated."""
    answer = threading.Event()
    n8n.behave = lambda _: Behaviour(hang=answer)
    content = samples.jpeg(1)
    with service(tmp_path, n8n, changes={"limits": {"stop_timeout_seconds": 0.1}}) as daemon:
        daemon.drop("scan.jpg", content)
        wait_until(lambda: len(n8n.deliveries) == 1, "it is sent")
        reload(daemon)
        wait_until(lambda: "stopping" in failing(daemon), "the reload has begun")
        answer.set()
        wait_reloaded(daemon, 1)
        daemon.wait_quiet(1)
    assert_consistent(daemon, n8n.deliveries, [content])
    assert daemon.count("job.accepted") == 1


def test_a_stop_amid_a_reload(tmp_path: Path, n8n: StandIn) -> None:
    """SIGTERM while a reload waits for N8N's answer stops within the time of a stop, with exit status 0."""
    answer = threading.Event()
    n8n.behave = lambda _: Behaviour(hang=answer)
    with service(tmp_path, n8n, changes={"limits": {"stop_timeout_seconds": 0.5}}) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        wait_until(lambda: len(n8n.deliveries) == 1, "it is sent")
        reload(daemon)
        assert daemon.terminate() == 0
        answer.set()
        assert daemon.count("configuration.reloaded") == 0
        assert daemon.job("scan.jpg").state in (State.DELIVERING, State.PROCESSING)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"n8n": {"workers": 0}}, "n8n.workers"),
        ({"nonsense": {}}, "nonsense"),
        ({"http": {"port": 1}}, "http.port"),
        ({"state_dir": "/var/empty/other"}, "state_dir"),
        ({"n8n": {"ca_file": "/nonexistent.pem"}}, "n8n.ca_file"),
    ],
    ids=["out of bounds", "unknown", "the port", "the state folder", "found while building"],
)
def test_a_wrong_configuration_is_refused(
    tmp_path: Path, n8n: StandIn, systemd: FakeSystemd, changes: dict[str, Any], key: str
) -> None:
    """A reload with a mistake says it, in the log and in the status, and the service goes on as before."""
    content = samples.jpeg(1)
    with service(tmp_path, n8n, systemd) as daemon:
        change(daemon, **changes)
        reload_and_wait(daemon, "configuration.refused")
        assert key in daemon.events("configuration.refused")[0]["why"]
        wait_until(lambda: systemd.count("READY=1") == 2, "the reload has ended")
        assert systemd.status.startswith("the new configuration was refused: ")
        assert key in systemd.status
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        assert daemon.count("daemon.stopped") == 0
    assert_consistent(daemon, n8n.deliveries, [content])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could become somebody else")
def test_a_reload_changes_nobodys_rights(tmp_path: Path, n8n: StandIn) -> None:
    """A daemon that runs as root stays root through a reload, whoever owns its state folder, or the one it is shown."""
    with service(tmp_path, n8n) as daemon:
        assert daemon.process is not None
        ids = Path(f"/proc/{daemon.process.pid}/status")
        before = [line for line in ids.read_text().splitlines() if line.startswith(("Uid:", "Gid:"))]
        os.chown(daemon.state, 65534, 65534)
        reload_and_wait(daemon, "configuration.reloaded")
        other = tmp_path / "other-state"
        other.mkdir()
        os.chown(other, 65534, 65534)
        change(daemon, state_dir=str(other))
        reload_and_wait(daemon, "configuration.refused")
        assert [line for line in ids.read_text().splitlines() if line.startswith(("Uid:", "Gid:"))] == before


def test_a_configuration_that_cannot_be_started_with(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """Where the new daemon cannot start, the old configuration starts again; mended, the next reload succeeds."""
    content = samples.jpeg(1)
    other = tmp_path / "other"
    (other / "inbox").mkdir(parents=True)
    (other / "processing").mkdir()
    (other / "processing" / ".owner").write_text("5f0c6b9e-0000-4000-8000-000000000000\n")
    with service(tmp_path, n8n, systemd) as daemon:
        first = yaml.safe_load(daemon.config_file.read_text())["inboxes"]
        change(daemon, inboxes=[*first, {"path": str(other / "inbox"), "name": "other"}])
        reload_and_wait(daemon, "configuration.refused")
        assert "another installation" in daemon.events("configuration.refused")[0]["why"]
        wait_until(lambda: systemd.count("READY=1") == 2, "the old one is ready again")
        assert "another installation" in systemd.status
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        change(daemon, inboxes=first)
        reload_and_wait(daemon, "configuration.reloaded")
        wait_until(lambda: systemd.status == "0 waiting, 0 at N8N", "the refusal is forgotten")
        assert daemon.terminate() == 0
    assert_consistent(daemon, n8n.deliveries, [content])


def test_a_reload_is_no_stop(tmp_path: Path, n8n: StandIn) -> None:
    """A reload, done or refused, is logged as that, and neither as a stop and a start nor in the status file."""
    with service(tmp_path, n8n, changes={"limits": {"max_file_mb": 20}}) as daemon:
        first = yaml.safe_load(daemon.config_file.read_text())["inboxes"][0]
        change(daemon, inboxes=[first | {"status_file": True}])
        reload_and_wait(daemon, "configuration.reloaded")
        told = daemon.inbox / STATUS_FILE_NAME
        wait_until(lambda: told.exists() and "All is well" in told.read_text(), "the status file is there")
        before = told.read_text()
        reload_and_wait(daemon, "configuration.reloaded")
        change(daemon, nonsense={})
        reload_and_wait(daemon, "configuration.refused")
        assert told.read_text() == before
        assert (daemon.count("daemon.started"), daemon.count("daemon.stopped")) == (1, 0)
        assert daemon.terminate() == 0
        assert (daemon.count("daemon.started"), daemon.count("daemon.stopped")) == (1, 1)
        assert "has been stopped" in told.read_text()


def test_the_command_for_a_reload_tells_what_became_of_it(tmp_path: Path, n8n: StandIn) -> None:
    """What systemctl reload runs waits for the reload, and ends in an error with the mistakes when it was refused."""
    runtime = {"RUNTIME_DIRECTORY": str(tmp_path / "run")}
    (tmp_path / "run").mkdir()
    with service(tmp_path, n8n, variables=runtime) as daemon:
        assert daemon.process is not None
        pid = str(daemon.process.pid)

        def asked() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "receipt_watcher", "service", "reload", pid],
                env={name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"} | runtime,
                capture_output=True,
                text=True,
                check=False,
            )

        good = daemon.config_file.read_text()
        change(daemon, limits={"max_file_mb": 20})
        done = asked()
        assert (done.returncode, done.stderr, daemon.count("configuration.reloaded")) == (0, "", 1)
        change(daemon, n8n={"workers": 0}, nonsense={})
        refused = asked()
        assert refused.returncode == 1
        assert refused.stderr.count("refused: ") == 2
        assert "n8n.workers" in refused.stderr
        daemon.config_file.write_text(good)
        assert asked().returncode == 0
        assert daemon.terminate() == 0
        gone = asked()
        assert gone.returncode == 1
        assert "the daemon ended" in gone.stderr


def test_a_hang_leaves_the_stacks(tmp_path: Path, n8n: StandIn) -> None:
    """The watchdog's signal has each thread's stack written before the process ends."""
    daemon = service(tmp_path, n8n)
    daemon.is_forked = False  # a stack that begins in the fork server is not one that a service has
    with daemon:
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGABRT)
        assert daemon.process.wait(20) == -signal.SIGABRT
        said = daemon.log_file.read_text()
    assert "Fatal Python error: Aborted" in said
    assert said.count("Thread 0x") > 3
    assert "loops.py" in said


class StumblingDaemon(RunningDaemon):
    """One with a defect; see tests.fakes.daemons.failing_reload."""

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command with this configuration."""
        return [
            "tests.fakes.daemons.failing_reload" if word == "receipt_watcher" else word
            for word in super().command(*arguments)
        ]


@pytest.mark.parametrize("where", ["build", "start"])
def test_a_defect_of_ours_at_a_reload(tmp_path: Path, n8n: StandIn, where: str) -> None:
    """Whatever the next daemon ends in, be it before its start or after, the configuration before goes on."""
    contents = jpegs(2)
    with StumblingDaemon(tmp_path, n8n.webhook_url, TOKEN, environment={"STUMBLES": where}) as daemon:
        reload_and_wait(daemon, "configuration.refused")
        assert "can't start new thread" in daemon.events("configuration.refused")[0]["why"]
        daemon.drop("scan.jpg", contents[0])
        daemon.wait_quiet(1)
        reload_and_wait(daemon, "configuration.reloaded")
        daemon.drop("next.jpg", contents[1])
        daemon.wait_quiet(2)
        assert daemon.terminate() == 0
    assert_consistent(daemon, n8n.deliveries, contents)


class ImpatientDaemon(RunningDaemon):
    """One that waits for less; see tests.fakes.daemons.short_timeouts."""

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command with this configuration."""
        return [
            "tests.fakes.daemons.short_timeouts" if word == "receipt_watcher" else word
            for word in super().command(*arguments)
        ]


def test_a_reload_without_a_log_is_refused(tmp_path: Path, n8n: StandIn) -> None:
    """While the job log cannot be written no daemon could start in this one's place, which goes on, and mends."""
    content = samples.jpeg(1)
    with ImpatientDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        with contextlib.closing(sqlite3.connect(daemon.state / "receipts.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            reload_and_wait(daemon, "configuration.refused")
            assert "another program keeps it locked" in daemon.events("configuration.refused")[0]["why"]
            other.execute("ROLLBACK")
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        reload_and_wait(daemon, "configuration.reloaded")
    assert_consistent(daemon, n8n.deliveries, [content])


def test_callbacks_wait_for_a_reload(tmp_path: Path, n8n: StandIn) -> None:
    """Callbacks that come while the service reloads, again and again, are all answered 200."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    contents = jpegs(20)
    with service(tmp_path, n8n) as daemon:
        daemon.drop("first.jpg", contents[0])
        wait_until(lambda: [job.state for job in daemon.recorded()] == [State.PROCESSING], "the first is accepted")
        assert daemon.call(daemon.job("first.jpg").job_id, {"status": "success"}, TOKEN).status_code == 200
        for number, content in enumerate(contents[1:]):
            daemon.drop(f"scan-{number}.jpg", content)
        wait_until(
            lambda: [job.state for job in daemon.recorded()].count(State.PROCESSING) == 19, "the rest is accepted"
        )
        url, waiting = daemon.url, daemon.recorded()[1:]
        for first in range(0, 19, 5):
            reload(daemon)
            answers = [daemon.call(job.job_id, {"status": "success"}, TOKEN) for job in waiting[first : first + 5]]
            assert {answer.status_code for answer in answers} == {200}
            wait_reloaded(daemon, first // 5 + 1)
        assert daemon.url == url
        daemon.wait_quiet(20)
    assert_consistent(daemon, n8n.deliveries, contents)
