"""Readiness: each check by name, degraded parts, the one line of it, and the command that asks."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.config.sources.load import load
from receipt_watcher.errors import ConfigError
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.report import metrics_file
from receipt_watcher.report.health import checks as health
from receipt_watcher.report.health.checks import Health
from receipt_watcher.report.health.readiness import Readiness
from receipt_watcher.report.metrics_file import TEXTFILE_SECONDS, Textfile
from receipt_watcher.service.daemon_parts import DaemonParts
from receipt_watcher.system.disk import trouble_of_disk
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import RunningDaemon, wait_until
from tests.fakes.http_listener import Listener

ENDLESS = float("inf")


def health_of(parts: DaemonParts, min_free_mb: float = 0) -> Health:
    """Return the health of a daemon with this floor."""
    return Health(
        parts.shared.log,
        parts.shared.holds,
        parts.stages.gates,
        parts.stages.filing,
        parts.shared.names,
        state_folders=[parts.shared.config.state_dir],
        min_free_mb=min_free_mb,
        stopping=threading.Event(),
    )


def failing(found: Health) -> dict[str, str]:
    """Return the checks that fail."""
    return {name: wrong for name, wrong in found.checks().items() if wrong is not None}


# --- checks --------------------------------------------------------------------------------------------------------


def test_each_check_has_a_name(parts: DaemonParts) -> None:
    """All is well, and each thing that was looked at is named."""
    checks = parts.reports.health.checks()
    names = ["stopping", "job_log", "disk:state_dir", "inbox:office", "filing:office", "disk:office"]
    assert checks == dict.fromkeys(names)
    assert parts.reports.health.degraded() == {}


def test_too_little_room_fails(parts: DaemonParts) -> None:
    """With less room than the floor each disk fails, with what is there and the key that says so."""
    found = failing(health_of(parts, ENDLESS))
    assert list(found) == ["disk:state_dir", "disk:office"]
    assert "limits.min_free_mb" in found["disk:state_dir"]
    assert str(parts.shared.config.state_dir) in found["disk:state_dir"]
    assert "processing" in found["disk:office"]


def disk(**changes: int) -> os.statvfs_result:
    """Return what statvfs(3) may say: 10 MiB are free for us, and 40 for root."""
    fields = {"f_bsize": 4096, "f_frsize": 1024, "f_blocks": 99999, "f_bfree": 40960, "f_bavail": 10240} | changes
    names = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail", "f_flag")
    return os.statvfs_result([*(fields.get(name, 0) for name in names), 255])


@pytest.mark.parametrize(
    ("said", "floor", "trouble"),
    [
        (disk(), 10, None),
        (disk(), 10.01, "10 MB are free"),
        (disk(f_bavail=0), 0, None),
        (disk(f_bavail=0), 1, "0 MB are free"),
        (disk(f_blocks=0, f_bavail=0), 100, None),
        (disk(f_flag=os.ST_RDONLY), 0, "is read-only"),
    ],
    ids=["enough", "less than the floor", "no floor", "full", "a file system that knows no sizes", "read-only"],
)
def test_what_a_disk_says(
    said: os.statvfs_result, floor: float, trouble: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the room for us, not root's; a size that nobody knows is no trouble, being read-only always is."""
    monkeypatch.setattr(os, "statvfs", lambda _: said)
    found = trouble_of_disk(tmp_path, floor)
    assert found is None if trouble is None else trouble in (found or "")


def test_a_folder_that_is_away_is_the_inboxs_trouble(parts: DaemonParts) -> None:
    """Where an inbox is unavailable its disk is not asked: one trouble is told once."""
    assert trouble_of_disk(Path("/nowhere/at/all"), ENDLESS) is None
    parts.stages.filing.troubles["office"] = "done/ is full"
    assert failing(health_of(parts)) == {"filing:office": "done/ is full"}
    parts.stages.gates[0].observer.lose("the share is not mounted")
    assert failing(health_of(parts, ENDLESS)).keys() == {"disk:state_dir", "inbox:office"}


def test_a_disk_that_does_not_answer(parts: DaemonParts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that hangs is told in time; it is not asked once more until it answers, and then all is well."""
    asked, may_answer, ask = [], threading.Event(), os.statvfs

    def hang(folder: Path) -> os.statvfs_result:
        if folder.name == "processing":
            asked.append(folder)
            may_answer.wait()
        return ask(folder)

    monkeypatch.setattr(os, "statvfs", hang)
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.05)
    found = health_of(parts)
    for _ in range(3):
        assert list(failing(found)) == ["disk:office"]
    assert len(asked) == 1
    monkeypatch.setattr(health, "ANSWER_SECONDS", 30.0)
    may_answer.set()
    wait_until(lambda: not failing(found), "the disk is asked again")


def test_a_log_that_fails(parts: DaemonParts) -> None:
    """It is said by one check; who asks what is degraded gets an answer all the same."""
    parts.shared.log.database.close()
    parts.shared.log.database.connection.trouble = "its disk is full"
    assert failing(health_of(parts)) == {"job_log": "its disk is full"}
    assert health_of(parts).degraded() == {}


def test_a_hold_is_degraded(parts: DaemonParts, clock: FakeClock) -> None:
    """A webhook that is held fails nothing; it is named by its host, and N8N's words are not told to anybody."""
    parts.shared.holds.hold(
        "http://n8n.office.lan/webhook/secret", HoldKind.ANSWERS, "401: secret", clock.now, clock.now + 9
    )
    assert failing(health_of(parts)) == {}
    (name, said), *more = health_of(parts).degraded().items()
    assert (name, more) == ("hold:n8n.office.lan", [])
    assert said.startswith("held since 2023-11-14T22:13:20")
    assert "secret" not in said


# --- how it is told ------------------------------------------------------------------------------------------------

WELL = Readiness({"a": None, "b": None}, {}, {})


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (WELL, "ok"),
        (replace(WELL, degraded={"hold:n8n": "held"}), "ok | degraded: hold:n8n: held"),
        (replace(WELL, waiting={"w": "3 wait"}), "ok | waiting: w: 3 wait"),
        (replace(WELL, checks={"a": "gone", "b": "full"}), "not ready: a: gone; b: full"),
        (replace(WELL, checks={"a": "gone"}, degraded={"h": "held"}), "not ready: a: gone | degraded: h: held"),
    ],
)
def test_the_line(found: Readiness, line: str) -> None:
    """It begins with ok or not ready, and names everything with its reason."""
    assert found.line() == line


@given(st.dictionaries(st.text(), st.none() | st.text()), st.dictionaries(st.text(), st.text()))
def test_it_is_one_line_whatever_it_says(checks: dict[str, str | None], degraded: dict[str, str]) -> None:
    """Whatever names and reasons are made of, it is one printable line, and it agrees with the JSON."""
    found = Readiness(checks, degraded, {})
    assert found.line().isprintable()
    assert found.line().startswith("not ready") is (found.as_json()["status"] == "not ready")
    assert found.is_ready is all(wrong is None for wrong in checks.values())


# --- the command ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that nobody has just now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def on_port(root: Path, n8n: StandIn, port: int, **changes: Any) -> RunningDaemon:
    """Return a daemon that listens on this port."""
    return RunningDaemon(root, n8n.webhook_url, TOKEN, changes={"http": {"port": port}, **changes})


def test_the_command_asks_the_daemon(tmp_path: Path, n8n: StandIn) -> None:
    """It prints the line and exits with 0 while all is well, with 1 and the reason where not, or where nobody runs."""
    daemon = on_port(tmp_path, n8n, free_port())
    away = daemon.run("health")
    assert (away.returncode, away.stdout) == (1, "")
    assert "does it run?" in away.stderr
    with daemon:
        fine = daemon.run("health")
        assert (fine.returncode, fine.stdout) == (0, "ok\n")
        assert httpx.get(f"{daemon.url}/health/ready").text == daemon.run("health", "--json").stdout.strip()
        daemon.inbox.rename(tmp_path / "moved")
        wait_until(lambda: daemon.count("inbox.unavailable"), "the inbox is gone")
        wrong = daemon.run("health")
        assert wrong.returncode == 1
        assert wrong.stdout.startswith("not ready: inbox:office: ")
        assert wrong.stdout.count("\n") == 1


def test_the_command_knows_another_program(tmp_path: Path, n8n: StandIn) -> None:
    """What answers otherwise is another program; a port that nobody knows is a mistake of the configuration."""
    with Listener() as listener:  # which knows no GET, and says 501
        other = on_port(tmp_path, n8n, int(listener.address.rpartition(":")[2])).run("health")
    assert (other.returncode, other.stdout) == (1, "")
    assert "says 501, so it is another program" in other.stderr
    unknown = on_port(tmp_path, n8n, 0).run("health")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "http.port" in unknown.stderr


# --- the text file -------------------------------------------------------------------------------------------------


def test_a_text_file_has_its_ending(tmp_path: Path) -> None:
    """A name that node_exporter would not read is a mistake of the configuration, with the right one beside it."""
    daemon = RunningDaemon(tmp_path, "http://n8n/hook", TOKEN, changes={"metrics": {"textfile": "/x/receipts.txt"}})
    with pytest.raises(ConfigError, match=r"metrics\.textfile: .*does not end in \.prom; name it so"):
        load(daemon.config_file, {})


def test_the_text_file_is_replaced_whole(tmp_path: Path) -> None:
    """Each round replaces it, by a rename; a link under the temporary name is not followed."""
    path, victim = tmp_path / "a.prom", tmp_path / "victim"
    victim.write_text("kept")
    texts = iter([b"one 1\n", b"two 2\n"])
    written = Textfile(path, lambda: next(texts))
    assert written.run_once() == TEXTFILE_SECONDS
    with path.open() as reader:
        (tmp_path / ".a.prom.new").symlink_to(victim)
        written.run_once()
        assert reader.read() == "one 1\n"
    assert path.read_text() == "two 2\n"
    assert victim.read_text() == "kept"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.prom", "victim"]
    written.remove()
    written.remove()
    assert not path.exists()


def test_a_text_file_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """Its trouble costs the file, and one log line until it is written again."""
    written = Textfile(tmp_path / "later" / "a.prom", lambda: b"one 1\n")
    with capture_logs() as lines:
        for _ in range(2):
            assert written.run_once() == metrics_file.TEXTFILE_SECONDS
        (tmp_path / "later").mkdir()
        written.run_once()
        (tmp_path / "later" / "a.prom").unlink()
        (tmp_path / "later").rmdir()
        written.run_once()
    assert [line["event"] for line in lines] == ["textfile.not_written"] * 2
    assert lines[0]["why"] == "No such file or directory"


def test_what_ran_out_after_the_start_is_degraded(parts: DaemonParts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watches that could not be had, and log lines that nobody reads, are told by name, and fail nothing."""
    found = Health(
        parts.shared.log,
        parts.shared.holds,
        parts.stages.gates,
        parts.stages.filing,
        parts.shared.names,
        state_folders=[],
        min_free_mb=0,
        stopping=threading.Event(),
        output_trouble=lambda: "nobody reads it",
    )
    assert found.degraded() == {"log_output": "nobody reads it"}
    monkeypatch.setattr(parts.stages.gates[0].watch.source, "_unwatched", {"secret/a", "secret/b"})
    told = "2 subfolders are not watched; the inbox is listed instead, and status says more"
    name = parts.stages.gates[0].route.name
    assert found.degraded() == {f"watch:{name}": told, "log_output": "nobody reads it"}
    assert failing(found) == {}


def test_without_threads_health_still_answers(parts: DaemonParts, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started to ask a disk in, that is what the check says; afterwards it asks again."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    found = health_of(parts)
    name = f"disk:{parts.stages.gates[0].route.name}"
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert failing(found) == {
            name: "can't start new thread; look at TasksMax= of the service, and at ulimit -u",
        }
    assert failing(found) == {}


# --- what strangers are told ----------------------------------------------------------------------------------------


def test_strangers_learn_no_paths_and_no_hosts(tmp_path: Path) -> None:
    """From elsewhere, by a proxy or with a wrong token, health names what fails in few words; a viewer is told all."""
    viewer = {"http": {"tokens": {"eye": {"role": "viewer", "hash": hash_of("seen")}}}}
    inbox = {"path": str(tmp_path / "share" / "inbox")}
    with RunningDaemon(tmp_path, "http://n8n.office.lan/webhook/x", TOKEN, inbox=inbox, changes=viewer) as daemon:
        daemon.inbox.rename(tmp_path / "away")
        ready = f"{daemon.url}/health/ready"
        wait_until(lambda: httpx.get(ready).status_code == 503, "the inbox is away")
        assert str(daemon.inbox) in httpx.get(ready).text
        by_proxy = {"X-Forwarded-For": "192.0.2.1"}
        for headers in (by_proxy, by_proxy | {"Authorization": "Bearer wrong"}, {"Host": "evil.example"}):
            for accept in ("application/json", "text/plain"):
                told = httpx.get(ready, headers=headers | {"Accept": accept})
                assert told.status_code == 503
                assert "inbox:office" in told.text
                assert "the inbox cannot be used" in told.text
                assert str(tmp_path) not in told.text
        known = httpx.get(ready, headers=by_proxy | {"Authorization": "Bearer seen"})
        assert str(daemon.inbox) in known.text


def test_strangers_learn_no_hosts_of_destinations() -> None:
    """A held destination is degraded for strangers, too, by a number instead of its host; what waits is not told."""
    degraded = {"watch:office": "1 subfolder is not watched", "hold:n8n.office.lan": "held"}
    found = Readiness({"job_log": None}, degraded, {"office": "3 receipts wait"})
    assert found.without_details().as_json() == {
        "status": "degraded",
        "checks": ["job_log"],
        "degraded": {"hold:1": "its receipts wait", "watch:office": "1 subfolder is not watched"},
    }
