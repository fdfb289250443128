from __future__ import annotations

import base64
import ctypes
import io
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pikepdf
import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, assert_consistent, jpegs, wait_until

API_KEY = "the-key-that-nobody-may-read"
ACCEPTED = Behaviour(verdict=None)
FAILING = Behaviour(verdict="failure", message="The supplier is unknown.")
FAILED_VERDICT = {"status": "failure", "message": "The supplier is unknown."}


def office(root: Path, n8n: StandIn, **options: Any) -> RunningDaemon:
    """Return a daemon with one inbox that sends to the stand-in."""
    return RunningDaemon(root, n8n.webhook_url, TOKEN, **options)


def assert_arrived(daemon: RunningDaemon, n8n: StandIn, contents: Sequence[bytes]) -> None:
    """Each arrived exactly once, byte for byte, and is in done/."""
    daemon.wait_quiet(len(contents))
    jobs = assert_consistent(daemon, n8n.deliveries, contents)
    assert Counter(delivery.content for delivery in n8n.deliveries) == Counter(contents)
    assert {job.folder for job in jobs.values()} == {Folder.DONE}


def drip(path: Path, content: bytes, chunks: int, seconds: float) -> None:
    """Write a file as a slow scanner does: a piece now and then."""
    size = -(-len(content) // chunks)
    pace = threading.Event()
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), size):
            file.write(content[start:][:size])
            pace.wait(seconds / chunks)


# --- arrivals ------------------------------------------------------------------------------------------------------


def test_a_file_that_is_written_slowly(tmp_path: Path, n8n: StandIn) -> None:
    """A file written in 20 chunks over 3 seconds is sent once, whole."""
    content = samples.jpeg(1, 200_000)
    with office(tmp_path, n8n, inbox={"settle_seconds": 1}) as daemon:
        drip(daemon.inbox / "scan.jpg", content, chunks=20, seconds=3)
        assert_arrived(daemon, n8n, [content])


def test_a_file_that_is_renamed_into_place(tmp_path: Path, n8n: StandIn) -> None:
    """A file that gets its name when it is whole is sent once, and under that name only."""
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        (daemon.inbox / "scan.jpg.part").write_bytes(content)
        (daemon.inbox / "scan.jpg.part").rename(daemon.inbox / "scan.jpg")
        assert_arrived(daemon, n8n, [content])
    assert [delivery.filename for delivery in n8n.deliveries] == ["scan.jpg"]


def test_a_file_with_an_old_time(tmp_path: Path, n8n: StandIn) -> None:
    """A copy that keeps its modification time of years ago (cp -p) is sent once, and keeps that time in done/."""
    content = samples.jpeg(1)
    source = tmp_path / "old.jpg"
    source.write_bytes(content)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    with office(tmp_path / "spool", n8n) as daemon:
        shutil.copy2(source, daemon.inbox / "old.jpg")
        assert_arrived(daemon, n8n, [content])
        (filed,) = daemon.files(daemon.done)
    assert filed.stat().st_mtime == 1_000_000_000


def test_many_at_once(tmp_path: Path, n8n: StandIn) -> None:
    """500 files that appear together each arrive once."""
    contents = jpegs(500)
    with office(tmp_path, n8n, changes={"logging": {"level": "info"}}) as daemon:
        for number, content in enumerate(contents):
            daemon.drop(f"scan-{number}.jpg", content)
        assert_arrived(daemon, n8n, contents)


def test_files_from_before_the_start(tmp_path: Path, n8n: StandIn) -> None:
    """50 files that are in the inbox before the daemon starts each arrive once."""
    contents = jpegs(50)
    daemon = office(tmp_path, n8n)
    for number, content in enumerate(contents):
        daemon.drop(f"scan-{number}.jpg", content)
    with daemon:
        assert_arrived(daemon, n8n, contents)


def test_what_n8n_is_sent(tmp_path: Path, n8n: StandIn) -> None:
    """A delivery carries what the contract names, and names the same receipt in body and headers."""
    content = samples.jpeg(1)
    n8n.api_key = API_KEY
    changes = {"n8n": {"api_key": API_KEY}}
    with office(tmp_path, n8n, inbox={"notion_database_id": "0f3c"}, changes=changes) as daemon:
        daemon.drop("scan.jpg", content)
        assert_arrived(daemon, n8n, [content])
        (delivery,) = n8n.deliveries
        assert delivery.callback_url == f"{daemon.url}/api/v1/jobs/{delivery.job_id}/callback"
    assert (delivery.filename, delivery.inbox, delivery.notion_database_id) == ("scan.jpg", "office", "0f3c")
    assert (delivery.mime_type, delivery.size, delivery.attempt) == ("image/jpeg", len(content), 1)


def test_multipart(tmp_path: Path, n8n: StandIn) -> None:
    """With payload: multipart a receipt arrives byte for byte as a form's file."""
    content = samples.jpeg(1, 2_000_000)
    with office(tmp_path, n8n, changes={"n8n": {"payload": "multipart"}}) as daemon:
        daemon.drop("scan.jpg", content)
        assert_arrived(daemon, n8n, [content])
    assert [delivery.payload for delivery in n8n.deliveries] == ["multipart"]


# --- stop ----------------------------------------------------------------------------------------------------------


def is_stopping(daemon: RunningDaemon) -> bool:
    """Return whether the daemon says that it is stopping."""
    return "stopping" in httpx.get(f"{daemon.url}/health/ready").json().get("failing", {})


def test_sigterm_lets_a_delivery_end(tmp_path: Path, n8n: StandIn) -> None:
    """SIGTERM waits for the answer of a receipt that is being sent, writes it down, and exits with 0."""
    answer = threading.Event()
    n8n.behave = lambda _: replace(ACCEPTED, hang=answer)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 1, 30)
        assert daemon.process is not None
        daemon.process.terminate()
        wait_until(lambda: is_stopping(daemon), "the daemon stops")
        assert daemon.process.poll() is None
        answer.set()
        assert daemon.ended() == 0
        assert daemon.job("scan.jpg").state is State.PROCESSING
        assert daemon.count("job.accepted") == 1
        assert daemon.count("daemon.cut_off") == 0


def test_sigterm_does_not_wait_for_ever(tmp_path: Path, n8n: StandIn) -> None:
    """SIGTERM ends within its time although N8N hangs; the next start awaits the callback of what was being sent."""
    n8n.behave = lambda _: replace(ACCEPTED, hang=threading.Event())
    with office(tmp_path, n8n, changes={"limits": {"stop_timeout_seconds": 0.5}}) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 1, 30)
        assert daemon.terminate(timeout_seconds=5) == 0
        assert daemon.count("daemon.cut_off") == 1
        assert daemon.job("scan.jpg").state is State.DELIVERING
        daemon.start()
        job = daemon.job("scan.jpg")
        assert job.state is State.PROCESSING
        assert daemon.call(job.job_id, {"status": "success"}, TOKEN).status_code == 200
        daemon.wait_quiet(1)
    assert len(n8n.deliveries) == 1


def test_sigterm_that_reaches_another_thread(tmp_path: Path, n8n: StandIn) -> None:
    """The kernel may give a signal to any thread; the daemon ends whichever it is."""
    tell = getattr(ctypes.CDLL(None), "tgkill", None)
    if tell is None:
        pytest.skip("this C library has no tgkill")
    with office(tmp_path, n8n) as daemon:
        assert daemon.process is not None
        pid = daemon.process.pid
        other = next(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid))
        assert tell(pid, other, signal.SIGTERM) == 0
        assert daemon.ended() == 0
        assert daemon.count("daemon.stopped") == 1


def test_sigterm_takes_no_new_files(tmp_path: Path, n8n: StandIn) -> None:
    """What arrives during a stop stays in the inbox, and is sent after the next start."""
    answer = threading.Event()
    n8n.behave = lambda _: Behaviour(hang=answer)
    contents = jpegs(2)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("one.jpg", contents[0])
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 1, 30)
        assert daemon.process is not None
        daemon.process.terminate()
        wait_until(lambda: is_stopping(daemon), "the daemon stops")
        daemon.drop("two.jpg", contents[1])
        answer.set()
        assert daemon.ended() == 0
        assert (daemon.inbox / "two.jpg").read_bytes() == contents[1]
        daemon.start()
        assert n8n.wait_for(lambda n8n: len(n8n.deliveries) == 2, 30)
    assert n8n.deliveries[1].content == contents[1]


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


# --- N8N that is down ----------------------------------------------------------------------------------------------


def test_an_outage_of_n8n(tmp_path: Path, n8n: StandIn) -> None:
    """While N8N cannot be reached nothing fails and no attempt is used; afterwards everything goes through."""
    contents = jpegs(5)
    n8n.stop_listening()
    with office(tmp_path, n8n) as daemon:
        for number, content in enumerate(contents):
            daemon.drop(f"scan-{number}.jpg", content)
        wait_until(lambda: daemon.count("job.deferred") >= 4, "it was tried, and tried again")
        assert daemon.count("destination.held") == 1
        n8n.listen_again()
        assert_arrived(daemon, n8n, contents)
        assert {job.attempts for job in daemon.recorded()} == {1}
        assert daemon.count("destination.resumed") == 1
        assert not daemon.files(daemon.failed)


def test_a_lost_answer_is_waited_for_then_sent_again(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt whose answer was lost is sent again after the deadline, under its id, even if it is the only one."""
    content = samples.jpeg(1)
    n8n.behave = lambda _: Behaviour(reset=True, verdict=None) if len(n8n.deliveries) == 1 else Behaviour()
    with office(tmp_path, n8n, changes={"callback": {"deadline_seconds": 0.5}}) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content], resent=1)
        assert daemon.job("scan.jpg").state is State.SUCCESS


def test_no_callback_at_all(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt that N8N takes and never speaks of fails after its resends, with the reason no_callback."""
    n8n.behave = lambda _: ACCEPTED
    changes = {"callback": {"deadline_seconds": 0.1, "max_resends": 0}}
    with office(tmp_path, n8n, changes=changes) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        job = daemon.job("scan.jpg")
        assert (job.state, job.reason) == (State.FAILURE, Reason.NO_CALLBACK)
        assert Reason.NO_CALLBACK.advice in (daemon.failed / "scan.jpg.reason.txt").read_text()


# --- callbacks -----------------------------------------------------------------------------------------------------


def test_callbacks_that_are_wrong(tmp_path: Path, n8n: StandIn) -> None:
    """A callback with a wrong token, no JSON, an unknown job or 10 MB gets a clear error; a good one still counts."""
    n8n.behave = lambda _: ACCEPTED
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", content)
        wait_until(lambda: daemon.count("job.accepted"), "it is at N8N")
        job_id = daemon.job("scan.jpg").job_id
        url, token = f"{daemon.url}/api/v1/jobs/{job_id}/callback", {"X-Callback-Token": TOKEN}
        success = {"status": "success"}
        answers = {
            401: daemon.call(job_id, success, "not-the-token"),
            404: daemon.call("0" * 8, success, TOKEN),
            413: httpx.post(url, content=b"x" * 10_000_000, headers=token),
            422: httpx.post(url, content=b"it went well", headers=token),
        }
        for status, answer in answers.items():
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["correlation_id"]
        job = daemon.job("scan.jpg")
        assert (job.state, job.reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)
        with daemon.job_log() as log:
            kept = [row["detail"] for row in log.histories.lines(job_id) if row["event"] == "callback.unreadable"]
        assert len(kept) == 2
        assert any(line.endswith(": it went well") for line in kept)
        assert any("larger than" in line for line in kept)
        assert daemon.call(job_id, success, TOKEN).json() == {"status": "received"}
        assert_arrived(daemon, n8n, [content])
        assert daemon.call(job_id, {"status": "failure"}, TOKEN).status_code == 409
        assert daemon.job("scan.jpg").state is State.SUCCESS


def test_a_success_after_a_failure(tmp_path: Path, n8n: StandIn) -> None:
    """A success that comes after a failure wins: the file goes from failed/ to done/, and its note goes."""
    n8n.behave = lambda _: FAILING
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        job = daemon.job("scan.jpg")
        assert "The supplier is unknown." in (daemon.failed / "scan.jpg.reason.txt").read_text()
        assert daemon.call(job.job_id, {"status": "success"}, TOKEN).status_code == 200
        wait_until(lambda: not list(daemon.failed.iterdir()), "file and note have gone")
        assert_arrived(daemon, n8n, [content])


def test_one_job_over_http(tmp_path: Path, n8n: StandIn) -> None:
    """Whoever asks from this machine is shown a job with its deliveries and its history, and 404 for no job."""
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        job = daemon.job("scan.jpg")
        shown = httpx.get(f"{daemon.url}/api/v1/jobs/{job.job_id}").json()
        assert (shown["status"], shown["attempts"], len(shown["deliveries"])) == ("success", 1, 1)
        assert [row["event"] for row in shown["history"]][:2] == ["record", "claim"]
        assert shown["path"] == str(daemon.done / job.stored_path)
        assert httpx.get(f"{daemon.url}/api/v1/jobs/nothing").status_code == 404
        assert httpx.get(f"{daemon.url}/health/live").json() == {"status": "ok"}


# --- the same file again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "states", "deliveries"),
    [
        ("skip", [State.SUCCESS, State.DUPLICATE], 1),
        ("send", [State.SUCCESS, State.SUCCESS], 2),
        ("fail", [State.SUCCESS, State.FAILURE], 1),
    ],
)
def test_duplicates(policy: str, states: list[State], deliveries: int, tmp_path: Path, n8n: StandIn) -> None:
    """A second copy is filed with the first, sent under an id of its own, or failed, as `duplicates` says."""
    content = samples.jpeg(1)
    with office(tmp_path, n8n, changes={"duplicates": policy}) as daemon:
        for number, name in enumerate(("first.jpg", "second.jpg"), 1):
            daemon.drop(name, content)
            daemon.wait_quiet(number)
        jobs = [daemon.job("first.jpg"), daemon.job("second.jpg")]
        files = [path.name for folder in (daemon.done, daemon.failed) for path in daemon.files(folder)]
    assert [job.state for job in jobs] == states
    assert len({delivery.job_id for delivery in n8n.deliveries}) == len(n8n.deliveries) == deliveries
    assert files == ["first.jpg", "second.jpg"]
    assert jobs[1].duplicate_of == (jobs[0].job_id if policy == "skip" else None)
    assert jobs[1].folder is (Folder.FAILED if policy == "fail" else Folder.DONE)


def test_a_copy_of_a_receipt_under_way(tmp_path: Path, n8n: StandIn) -> None:
    """A copy of a receipt that is under way waits for it, is never sent, and is filed where that one is filed."""
    n8n.behave = lambda _: ACCEPTED
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("first.jpg", content)
        wait_until(lambda: daemon.count("job.accepted"), "it is at N8N")
        daemon.drop("second.jpg", content)
        wait_until(lambda: daemon.count("job.recorded") == 2, "the copy is recorded")
        assert daemon.job("second.jpg").folder is Folder.PROCESSING
        assert daemon.call(daemon.job("first.jpg").job_id, FAILED_VERDICT, TOKEN).status_code == 200
        daemon.wait_quiet(2)
        assert [path.name for path in daemon.files(daemon.failed)] == ["first.jpg", "second.jpg"]
        assert daemon.job("first.jpg").job_id in (daemon.failed / "second.jpg.reason.txt").read_text()
    assert len(n8n.deliveries) == 1


def test_a_failed_file_that_is_dropped_back(tmp_path: Path, n8n: StandIn) -> None:
    """A failed file that somebody moves back retries its old job; its note comes along and is no receipt, and goes."""
    n8n.behave = lambda _: FAILING if len(n8n.deliveries) == 1 else Behaviour()
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        first = daemon.job("scan.jpg")
        assert first.reason is Reason.N8N_FAILURE
        for name in ("scan.jpg.reason.txt", "scan.jpg"):
            (daemon.failed / name).rename(daemon.inbox / name)
        wait_until(lambda: len(n8n.deliveries) == 2, "it is sent again")
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content], resent=1)
        after = daemon.job("scan.jpg")
        assert (after.job_id, after.state, after.attempts) == (first.job_id, State.SUCCESS, 2)
        wait_until(lambda: not [*daemon.failed.iterdir(), *daemon.inbox.iterdir()], "the note is gone")


# --- configuration -------------------------------------------------------------------------------------------------


def test_a_minimal_configuration(tmp_path: Path, n8n: StandIn) -> None:
    """An inbox and a webhook URL are enough; a token is made, kept over restarts, and readable to nobody else."""
    content = samples.jpeg(1)
    # The port is set since another program may have the default one.
    environment = {"XDG_STATE_HOME": str(tmp_path / "home"), "RECEIPT_WATCHER_HTTP__PORT": "0"}
    daemon = office(tmp_path, n8n, environment=environment)
    daemon.state = tmp_path / "home" / "receipt-watcher"
    daemon.config_file.write_text(f"inboxes: [path: {daemon.inbox}]\nn8n: {{webhook_url: {n8n.webhook_url}}}\n")
    kept = daemon.state / "callback_token"
    with daemon:
        n8n.token = kept.read_text().strip()
        assert len(n8n.token) >= 32
        assert kept.stat().st_mode & 0o777 == 0o600
        daemon.drop("scan.jpg", content)
        assert_arrived(daemon, n8n, [content])
        assert daemon.terminate() == 0
        daemon.start()
        assert kept.read_text().strip() == n8n.token
        assert n8n.token not in daemon.log_file.read_text()


# --- logs ----------------------------------------------------------------------------------------------------------


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


# --- bad input -----------------------------------------------------------------------------------------------------


def pdf(pages: int, **options: Any) -> bytes:
    """Return a PDF of empty pages."""
    written, document = io.BytesIO(), pikepdf.new()
    for _ in range(pages):
        document.add_blank_page()
    document.save(written, **options)
    return written.getvalue()


def bad_files() -> dict[str, tuple[bytes, Reason]]:
    """Return files of each kind that is refused, by name, with the reason."""
    whole = samples.jpeg(1)
    return {
        "words.jpg": (b"These are only words.\n" * 10, Reason.UNSUPPORTED_TYPE),
        "empty.pdf": (b"", Reason.EMPTY),
        "truncated.jpg": (whole[: len(whole) * 2 // 3], Reason.INCOMPLETE),
        "broken.pdf": (pdf(pages=0), Reason.BROKEN),
        "encrypted.pdf": (pdf(1, encryption=pikepdf.Encryption(owner="owner", user="user")), Reason.ENCRYPTED),
        "large.jpg": (samples.jpeg(2, 600_000), Reason.TOO_LARGE),
        "wide.gif": (samples.bmp(3), Reason.TOO_MANY_PIXELS),
    }


def test_bad_files(tmp_path: Path, n8n: StandIn) -> None:
    """Each kind of bad file ends in failed/ with its reason in the log and beside it; a good one goes through."""
    bad = bad_files()
    changes = {"limits": {"max_file_mb": 0.5, "max_megapixels": 0.2}}
    good = samples.jpeg(9)
    with office(tmp_path, n8n, inbox={"patience_seconds": 0.3}, changes=changes) as daemon:
        for name, (content, _) in bad.items():
            daemon.drop(name, content)
        daemon.wait_quiet(len(bad))
        daemon.drop("good.jpg", good)
        daemon.wait_quiet(len(bad) + 1)
        assert {name: daemon.job(name).reason for name in bad} == {name: reason for name, (_, reason) in bad.items()}
        for name, (content, reason) in bad.items():
            assert (daemon.failed / name).read_bytes() == content
            note = (daemon.failed / f"{name}.reason.txt").read_text()
            assert reason.meaning in note
            assert reason.advice in note
    assert [delivery.content for delivery in n8n.deliveries] == [good]


def test_json_that_n8n_would_not_take(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt that is too large as JSON is not posted; its note advises multipart, with which a retry succeeds."""
    content = samples.jpeg(1, 100_000)
    with office(tmp_path, n8n, changes={"n8n": {"max_json_mb": 0.05}}) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        assert daemon.job("scan.jpg").reason is Reason.TOO_LARGE_FOR_JSON
        assert "multipart" in (daemon.failed / "scan.jpg.reason.txt").read_text()
        assert n8n.deliveries == []
        assert daemon.terminate() == 0
        daemon.environment["RECEIPT_WATCHER_N8N__PAYLOAD"] = "multipart"
        assert daemon.run("retry", "scan.jpg").returncode == 0
        daemon.start()
        assert_arrived(daemon, n8n, [content])
