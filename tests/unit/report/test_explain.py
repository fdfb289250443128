"""«Why not yet?» is answered in the same words by explain, by status and by the log, daemon or no daemon."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.sources.load import load
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.ignored import OWN_PREFIX
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.report.status import Status, collect_status
from receipt_watcher.system.state_dir import Installation
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, wait_until

JPEG = samples.jpeg(1)
LONG = {"patience_seconds": 3600}


def explained(daemon: RunningDaemon, what: object, code: int | None = None) -> dict[str, Any]:
    """Return what `explain --json` says, whose exit code is `code`."""
    ended = daemon.run("explain", str(what), "--json")
    assert code is None or ended.returncode == code, ended
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def codes(found: dict[str, Any]) -> list[str]:
    """Return the codes of all causes."""
    return [cause["code"] for cause in found["causes"]]


@contextlib.contextmanager
def waiting_files(inbox: Path) -> Iterator[Mapping[str, str]]:
    """Put one file of each kind that waits or is never taken into an inbox; yield names with their codes."""
    (inbox / "cut.jpg").write_bytes(JPEG[:-50])
    (inbox / "empty.pdf").touch()
    (inbox / "undated.jpg").write_bytes(samples.jpeg(2))
    os.utime(inbox / "undated.jpg", (0, 0))
    with (inbox / "hole.jpg").open("wb") as file:
        file.truncate(100_000)
    (inbox / "half.pdf.part").write_bytes(b"x")
    (inbox / "sub").mkdir()
    (inbox / "sub" / "low.jpg").write_bytes(JPEG)
    (inbox / "link.jpg").symlink_to("/etc/hostname")
    os.mkfifo(inbox / "pipe.jpg")
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(inbox)  # a socket's name may be no longer than 108 bytes
    listener.bind("socket.jpg")
    os.chdir(here)
    expected = {
        "cut.jpg": WaitReason.INCOMPLETE,
        "empty.pdf": WaitReason.EMPTY,
        "undated.jpg": WaitReason.UNDATED,
        "hole.jpg": WaitReason.PLACEHOLDER,
        "half.pdf.part": WaitReason.IGNORED,
        "sub/low.jpg": WaitReason.SUBFOLDER,
        "link.jpg": WaitReason.NO_FILE,
        "pipe.jpg": WaitReason.NO_FILE,
        "socket.jpg": WaitReason.NO_FILE,
    }
    with listener, (inbox / "open.jpg").open("wb") as writer:
        writer.write(samples.jpeg(3))
        writer.flush()
        yield expected | {"open.jpg": WaitReason.OPEN}


def test_each_reason_to_wait_is_told(tmp_path: Path, n8n: StandIn) -> None:
    """While the daemon runs, each file that it leaves lying is explained, with what to do; status counts them."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox=LONG) as daemon, waiting_files(daemon.inbox) as expected:
        parked = {"cut.jpg", "empty.pdf", "undated.jpg", "hole.jpg", "open.jpg"}
        wait_until(
            lambda: {event["filename"] for event in daemon.events("file.waiting")} >= parked, "all that waits is told"
        )
        for name, code in expected.items():
            found = explained(daemon, daemon.inbox / name, 1)
            assert code in codes(found), (name, found)
            assert found["causes"][0]["meaning"]
            assert found["causes"][0]["advice"]
        causes = explained(daemon, daemon.inbox / "open.jpg", 1)["causes"]
        assert any(f"(process {os.getpid()}) has it open for writing" in cause["detail"] for cause in causes), causes
        told = {event["filename"]: event["reason"] for event in daemon.events("file.waiting")}
        assert {name: told[name] for name in parked} == {name: expected[name] for name in parked}
        (status,) = json.loads(daemon.run("status", "--json").stdout)["inboxes"]
        assert (status["mode"], status["why_mode"][:12]) == ("native", "a probe file")
        assert status["waiting"] == len(parked)
        assert status["long_waits"] == []


def test_without_the_daemon_the_same_is_told(tmp_path: Path, n8n: StandIn) -> None:
    """Where no daemon runs that is the first cause, and the files are judged by the same rules."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox=LONG)
    with waiting_files(daemon.inbox) as expected:
        for name, code in expected.items():
            found = codes(explained(daemon, daemon.inbox / name, 1))
            assert code in found, (name, found)
            never = code in (WaitReason.IGNORED, WaitReason.NO_FILE, WaitReason.SUBFOLDER)
            assert (WaitReason.NOT_RUNNING in found) is not never
        (daemon.inbox / "whole.jpg").write_bytes(JPEG)
        assert codes(explained(daemon, "whole.jpg", 1)) == [WaitReason.NOT_RUNNING]


def test_old_files_are_in_the_status(tmp_path: Path, n8n: StandIn) -> None:
    """Whatever waits for longer than ten minutes is listed with its reason; litter is not, and neither are notes."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox=LONG)
    with waiting_files(daemon.inbox) as expected:
        (daemon.inbox / ".DS_Store").touch()
        (daemon.inbox / f"{OWN_PREFIX}probe-x").touch()
        assert _status(daemon, time.time() + 500).inboxes[0].long_waits == []
        found = _status(daemon, time.time() + 700)
    waits = found.inboxes[0].long_waits
    assert {wait.path for wait in waits} == set(expected)
    text = "\n".join(found.lines())
    for wait in waits:
        assert f"waits for 12 minutes: {wait.path}" in text
    assert "files wait for more than ten minutes" in "\n".join(found.troubles)
    assert len(found.as_json()["inboxes"][0]["long_waits"]) == len(expected)


def _status(daemon: RunningDaemon, now: float) -> Status:
    config = load(daemon.config_file, dict(os.environ))
    Installation(config.state_dir).make_folder()
    log = JobLog(config.database_path)
    log.database.open()
    with contextlib.closing(log.database):
        return collect_status(config, log, log.holds, Installation(config.state_dir), now)


def test_growth_is_told(tmp_path: Path, n8n: StandIn) -> None:
    """Of a file that is still written it is told by how much it grew, and since when."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, inbox={**LONG, "settle_seconds": 30}) as daemon:
        path = daemon.inbox / "scan.jpg"
        (tmp_path / "scan.jpg").write_bytes(JPEG[:1000])
        (tmp_path / "scan.jpg").rename(path)  # it is first seen with 1,000 bytes, never with none
        snapshot = daemon.state / "inboxes" / "office.json"
        wait_until(lambda: snapshot.exists() and "scan.jpg" in snapshot.read_text(), "the file is known")
        with path.open("ab") as file:  # to write it anew would truncate it first, which may be seen
            file.write(JPEG[1000:5000])
        wait_until(lambda: "4000" in snapshot.read_text(), "its growth is known")
        found = explained(daemon, path, 1)
    assert "growing" in codes(found)
    assert found["facts"]["grown_bytes"] == 4000
    assert found["facts"]["first_seen_at"].endswith("Z")


def test_a_job_is_explained_by_any_of_its_names(tmp_path: Path, n8n: StandIn) -> None:
    """A path where the file is or was, its name, its note, or its id: each leads to the job with its timeline."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("good.jpg", JPEG)
        daemon.wait_quiet(1)
        daemon.drop("bad.jpg", b"no picture at all, and never one")
        daemon.drop("copy.jpg", JPEG)
        daemon.wait_quiet(3)
        good, bad, copy = (daemon.job(name) for name in ("good.jpg", "bad.jpg", "copy.jpg"))
        for what in (good.job_id, daemon.inbox / "good.jpg", "good.jpg", daemon.done / good.stored_path):
            found = explained(daemon, what, 0)
            assert (found["code"], found["job"]["job_id"]) == ("success", good.job_id)
        text = daemon.run("explain", good.job_id[:30]).stdout
        assert "timeline:" in text
        assert "delivery" in text
        for what in (daemon.failed / "bad.jpg", daemon.failed / "bad.jpg.reason.txt", bad.job_id):
            found = explained(daemon, what, 1)
            assert (found["code"], found["job"]["reason"]) == ("failure", "unsupported_type")
            assert found["advice"]
        answer = explained(daemon, copy.job_id)["answer"]
        assert f"It is a copy of good.jpg (job {good.job_id}), which came at " in answer
        assert "and is success" in answer
        unknown = daemon.run("explain", "nobody.jpg")
        assert (unknown.returncode, unknown.stdout) == (2, "")


def test_a_copy_in_the_inbox_names_the_job(tmp_path: Path, n8n: StandIn) -> None:
    """A file that is about to be taken says whose copy it is."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("good.jpg", JPEG)
        daemon.wait_quiet(1)
        good = daemon.job("good.jpg")
        daemon.terminate()
        daemon.drop("again.jpg", JPEG)
        assert explained(daemon, "again.jpg")["facts"]["duplicate_of"] == good.job_id


def test_what_waits_for_n8n_says_until_when(tmp_path: Path) -> None:
    """While N8N is away a job says since when, why, and when it is tried next; or that no daemon runs."""
    patient = {"n8n": {"backoff_initial_seconds": 60, "backoff_max_seconds": 60, "hold_after": 1}}
    with RunningDaemon(tmp_path, "http://127.0.0.1:9/webhook/receipts", TOKEN, changes=patient) as daemon:
        daemon.drop("scan.jpg", JPEG)
        wait_until(lambda: daemon.count("destination.held"), "N8N is held")
        wait_until(lambda: "held since" in explained(daemon, "scan.jpg", 0)["answer"], "it is told")
        assert "next probe" in explained(daemon, "scan.jpg")["answer"]
        daemon.terminate()
        assert "not running" in explained(daemon, "scan.jpg")["answer"]


def test_an_inbox_that_is_away_is_told(tmp_path: Path, n8n: StandIn) -> None:
    """Of a file in an inbox that is gone it is said that the inbox is, since when and why; status says so, too."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.inbox.rename(daemon.inbox.with_name("away"))
        wait_until(lambda: daemon.count("inbox.unavailable"), "it is away")
        found = explained(daemon, daemon.inbox / "scan.jpg", 1)
        assert (found["code"], codes(found)) == ("unavailable", ["unavailable"])
        assert "since 20" in found["answer"]
        status = json.loads(daemon.run("status", "--json").stdout)["inboxes"][0]
        assert status["unavailable_since"].endswith("Z")
        assert "is not there" in status["trouble"]
        daemon.inbox.with_name("away").rename(daemon.inbox)
        wait_until(lambda: daemon.count("inbox.available"), "it is back")


@pytest.mark.parametrize(
    "name", ["a\nb.jpg", "-x.jpg", "\x1b[31mred.jpg", os.fsdecode(b"caf\xe9.jpg"), "x" * 240 + ".jpg"]
)
def test_odd_names_are_safe(tmp_path: Path, n8n: StandIn, name: str) -> None:
    """Any name can be asked for, is shown so that no terminal is steered, and is valid in JSON."""
    if sys.getfilesystemencoding() != "utf-8":
        pytest.skip("arguments are no UTF-8 here")
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN)
    (daemon.inbox / name).write_bytes(JPEG[:-20])
    found = explained(daemon, daemon.inbox / name, 1)
    assert "incomplete" in codes(found)
    text = daemon.run("explain", str(daemon.inbox / name))
    assert text.returncode == 1
    assert "\x1b" not in text.stdout
    for said in (found["answer"], *(cause["meaning"] for cause in found["causes"])):
        assert said in text.stdout
