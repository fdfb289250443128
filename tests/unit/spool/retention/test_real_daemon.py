"""The real daemon removes what is old, and a run once removes nothing."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Job
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.unit.spool.retention.archive import DAY

FAILING = Behaviour(verdict="failure", message="The supplier is unknown.")


def grow_old(daemon: RunningDaemon, days: float) -> None:
    """Let the jobs so far be recorded and concluded so many days ago."""
    with daemon.job_log() as log:
        log.database.change(
            "UPDATE job SET created_at = created_at - ?, completed_at = completed_at - ?", *[days * DAY] * 2
        )


def with_retention(daemon: RunningDaemon, **days: float) -> None:
    """Add the section to a daemon's configuration."""
    text = daemon.config_file.read_text()
    daemon.config_file.write_text(f"{text}\nretention: {days}\n")


def test_the_daemon_removes_what_is_old(tmp_path: Path, n8n: StandIn) -> None:
    """The real daemon removes old files at its start, says so in a line, stops at once, and still knows them."""
    good, bad, fresh = jpegs(3)
    n8n.behave = lambda job: FAILING if job.filename == "bad.jpg" else Behaviour()
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("good.jpg", good)
        daemon.drop("bad.jpg", bad)
        daemon.wait_quiet(2)
        daemon.kill()
        grow_old(daemon, 400)
        with_retention(daemon, done_days=365, failed_days=365, log_days=3650)
        found = daemon.run("check").stdout
        size = len(good)
        assert f"retention would remove 1 files ({size:,} bytes) from {daemon.done}" in found
        assert "the oldest is bad.jpg" in found
        assert daemon.files(daemon.done)
        daemon.start()
        wait_until(lambda: daemon.count("retention.removed"), "the old files are removed")
        [line] = daemon.events("retention.removed")
        assert (line["inbox"], line["files"], line["bytes"]) == ("office", 2, len(good) + len(bad))
        assert [list(folder.iterdir()) for folder in (daemon.done, daemon.failed)] == [[], []]
        removed = daemon.job("bad.jpg")
        assert_words_about(daemon, removed)
        daemon.drop("again.jpg", good)
        daemon.drop("fresh.jpg", fresh)
        daemon.wait_quiet(4)
        assert daemon.job("again.jpg").duplicate_of == daemon.job("good.jpg").job_id
        assert daemon.job("fresh.jpg").removed_at is None
        assert daemon.terminate() == 0
        assert daemon.count("daemon.cut_off") == 0


def assert_words_about(daemon: RunningDaemon, removed: Job) -> None:
    """Each command says that the file of a failed job was removed, and what to do."""
    shown = daemon.run("show", removed.job_id).stdout
    assert "removed_at:" in shown
    assert "path:" not in shown
    retried = daemon.run("retry", removed.job_id)
    assert retried.returncode == 1
    assert "its file was removed at" in retried.stdout
    assert "drop it into the inbox again" in retried.stdout
    assert "Nothing has failed." in daemon.run("retry", "--failed").stdout
    explained = daemon.run("explain", removed.job_id).stdout
    assert "Retention removed its file at" in explained
    assert "drop it into the inbox again" in explained
    assert daemon.run("explain", str(daemon.failed / "bad.jpg")).stdout == explained
    assert "Removed by retention: the files of 2 jobs" in daemon.run("status").stdout


def test_a_run_once_removes_nothing(tmp_path: Path, n8n: StandIn) -> None:
    """`run --once` lives too briefly to believe the clock, and removes nothing."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        assert daemon.terminate() == 0
        grow_old(daemon, 400)
        with_retention(daemon, done_days=1, log_days=1)
        assert daemon.run("run", "--once").returncode == 0
        assert len(daemon.files(daemon.done)) == 1
        job = daemon.job("scan.jpg")
        assert job.removed_at is None
        with daemon.job_log() as log:
            assert log.histories.lines(job.job_id)
