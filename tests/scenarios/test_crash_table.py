from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.crash_at_point import BOUNDARIES, POINTS
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, folder_on_another_device, jpegs, wait_until

SOON = {"callback": {"deadline_seconds": 1, "max_resends": 3}}
NO_JPEG = b"These are only words, whatever the name says.\n"
UNHEARD = Behaviour(callback_delay_seconds=5)
FAILING = Behaviour(verdict="failure", message="The supplier is unknown.")

#: Points on the straight way of a receipt that succeeds, and how many deliveries are repetitions then: an answer or
#: a callback that nobody heard is asked for once more, under the same id.
ON_THE_WAY = {
    "taken": 0,
    "examined": 0,
    "recorded": 0,
    "claimed": 0,
    "posting": 0,
    "answered": 1,
    "accepted": 1,
    "concluded": 0,
    "done-intended": 0,
    "done-renamed": 0,
    "done-flushed": 0,
    "done-written": 0,
    "done-linked": 0,
    "done-reserved": 0,
}


def points(word: str) -> list[str]:
    """Return the points whose names begin so."""
    return [name for name in POINTS if name.startswith(word)]


def die_and_start(daemon: RunningDaemon, point: str) -> None:
    """Start a daemon that dies at a point, and then one that does not."""
    daemon.start(wait=False, crash_at=point)
    assert daemon.ended() == -signal.SIGKILL, daemon.log_file.read_text()
    daemon.start()


@contextlib.contextmanager
def restarted(
    root: Path, n8n: StandIn, point: str, dropped: Mapping[str, bytes], **options: Any
) -> Iterator[RunningDaemon]:
    """A daemon that died at a point while it dealt with these files, and was started again."""
    daemon = RunningDaemon(root, n8n.webhook_url, TOKEN, **options)
    for name, content in dropped.items():
        daemon.drop(name, content)
    try:
        die_and_start(daemon, point)
        yield daemon
    finally:
        daemon.close()


@contextlib.contextmanager
def failed_once(root: Path, n8n: StandIn, content: bytes) -> Iterator[RunningDaemon]:
    """A daemon that was killed after N8N had failed its only receipt, scan.jpg; N8N takes it from now on."""
    n8n.behave = lambda _: FAILING
    with RunningDaemon(root, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        daemon.kill()
        n8n.behave = None
        yield daemon


@pytest.fixture
def other_device(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the temporary folder."""
    with folder_on_another_device(tmp_path) as folder:
        yield folder


def test_no_boundary_is_left_out() -> None:
    """Each boundary of the crash table has its points, and each point is crashed at by a test below."""
    assert {point.boundary for point in POINTS.values()} == set(BOUNDARIES)
    tested = [*ON_THE_WAY, *points("failed"), *points("retry"), *points("again"), *points("removal"), *points("cop")]
    assert sorted(tested) == sorted(POINTS)


@pytest.mark.parametrize(("point", "resent"), ON_THE_WAY.items(), ids=list(ON_THE_WAY))
def test_on_the_way_to_done(point: str, resent: int, tmp_path: Path, n8n: StandIn) -> None:
    """A receipt that a crash catches anywhere on its way ends in done/, whole, once, under one id."""
    n8n.behave = lambda _: UNHEARD if resent and len(n8n.deliveries) == 1 else Behaviour()
    content = samples.jpeg(1, 1_300_000)
    with restarted(tmp_path, n8n, point, {"scan.jpg": content}, changes=SOON) as daemon:
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content], resent=resent)
        assert daemon.job("scan.jpg").state is State.SUCCESS
    assert n8n.torn == (point == "posting")


@pytest.mark.parametrize("point", ["taken", "examined", "recorded", "claimed"])
def test_several_at_once(point: str, tmp_path: Path, n8n: StandIn) -> None:
    """Receipts that were taken in together and share a crash each go their own way to done/."""
    dropped = {f"scan-{number}.jpg": content for number, content in enumerate(jpegs(20))}
    with restarted(tmp_path, n8n, point, dropped, changes=SOON) as daemon:
        daemon.wait_quiet(len(dropped))
        jobs = assert_consistent(daemon, n8n.deliveries, dropped.values())
    assert {job.state for job in jobs.values()} == {State.SUCCESS}


@pytest.mark.parametrize("point", points("failed"))
@pytest.mark.parametrize(
    ("content", "said"),
    [(NO_JPEG, Reason.UNSUPPORTED_TYPE.meaning), (samples.jpeg(1), "The supplier is unknown.")],
    ids=["by-examination", "by-n8n"],
)
def test_on_the_way_to_failed(content: bytes, said: str, point: str, tmp_path: Path, n8n: StandIn) -> None:
    """A file that examination or N8N refuses ends in failed/ with its note, whatever a crash interrupts there."""
    n8n.behave = lambda _: FAILING
    with restarted(tmp_path, n8n, point, {"scan.jpg": content}) as daemon:
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content])
        assert daemon.job("scan.jpg").state is State.FAILURE
        assert sorted(path.name for path in daemon.failed.iterdir()) == ["scan.jpg", "scan.jpg.reason.txt"]
        assert said in (daemon.failed / "scan.jpg.reason.txt").read_text()


@pytest.mark.parametrize("point", points("retry"))
def test_in_a_retry(point: str, tmp_path: Path, n8n: StandIn) -> None:
    """A retry whose move back is interrupted goes on under its id, and its note goes when it succeeds."""
    content = samples.jpeg(1)
    with failed_once(tmp_path, n8n, content) as daemon:
        assert daemon.run("retry", "scan.jpg").returncode == 0
        die_and_start(daemon, point)
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content], resent=1)
        assert daemon.job("scan.jpg").folder is Folder.DONE
        assert list(daemon.failed.iterdir()) == []


@pytest.mark.parametrize("point", points("again"))
def test_in_dropping_a_failed_file_back(point: str, tmp_path: Path, n8n: StandIn) -> None:
    """A failed file that is dropped back goes on under its old id, whatever a crash interrupts on the way there."""
    content = samples.jpeg(1)
    with failed_once(tmp_path, n8n, content) as daemon:
        first = daemon.job("scan.jpg").job_id
        (daemon.failed / "scan.jpg").rename(daemon.inbox / "scan.jpg")
        die_and_start(daemon, point)
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content], resent=1)
        assert daemon.job("scan.jpg").job_id == first
        assert daemon.job("scan.jpg").folder is Folder.DONE
        assert list(daemon.failed.iterdir()) == []


@pytest.mark.parametrize("point", points("removal"))
def test_in_a_removal(point: str, tmp_path: Path, n8n: StandIn) -> None:
    """A removal by retention that a crash interrupts is finished, note and all; the log never lacks the word for it."""
    content = samples.jpeg(1)
    with failed_once(tmp_path, n8n, content) as daemon:
        with daemon.job_log() as log:
            log.database.change("UPDATE job SET created_at = created_at - 1e6, completed_at = completed_at - 1e6")
        daemon.config_file.write_text(f"{daemon.config_file.read_text()}\nretention: {{failed_days: 10}}\n")
        daemon.start(wait=False, crash_at=point)
        assert daemon.ended() == -signal.SIGKILL, daemon.log_file.read_text()
        assert daemon.job("scan.jpg").removed_at is not None
        assert (daemon.failed / "scan.jpg").exists() is (point == "removal-intended")
        daemon.start()
        wait_until(lambda: list(daemon.failed.iterdir()) == [], "file and note are removed")
        wait_until(lambda: daemon.count("retention.removed"), "the removal is finished")
        assert daemon.job("scan.jpg").state is State.FAILURE


@pytest.mark.parametrize("point", points("cop"))
def test_in_a_copy_from_the_inbox(point: str, tmp_path: Path, other_device: Path, n8n: StandIn) -> None:
    """A copy from an inbox on another file system that a crash interrupts leaves one receipt, not two, none torn."""
    content = samples.jpeg(1)
    places = {f"{name}_dir": str(tmp_path / name) for name in Folder}
    inbox = {"path": str(other_device / "inbox"), **places}
    with restarted(tmp_path, n8n, point, {"scan.jpg": content}, inbox=inbox) as daemon:
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content])
        assert daemon.job("scan.jpg").state is State.SUCCESS


@pytest.mark.parametrize("point", points("cop"))
def test_in_a_copy_to_done(point: str, tmp_path: Path, other_device: Path, n8n: StandIn) -> None:
    """A copy to a done folder on another file system that a crash interrupts is finished, and leaves no part behind."""
    content = samples.jpeg(1)
    inbox = {"done_dir": str(other_device / "done")}
    with restarted(tmp_path, n8n, point, {"scan.jpg": content}, inbox=inbox) as daemon:
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content])
        assert daemon.job("scan.jpg").state is State.SUCCESS


def test_a_callback_after_the_restart(tmp_path: Path, n8n: StandIn) -> None:
    """The callback of a receipt whose answer a crash swallowed is heard after the restart: nothing is sent again."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    content = samples.jpeg(1)
    with restarted(tmp_path, n8n, "answered", {"scan.jpg": content}) as daemon:
        job = daemon.job("scan.jpg")
        assert job.state is State.PROCESSING
        assert daemon.call(job.job_id, {"status": "success"}, TOKEN).status_code == 200
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content])


def test_a_verdict_that_was_not_answered(tmp_path: Path, n8n: StandIn) -> None:
    """N8N that repeats a callback, since a crash kept it from its answer, gets 200, and nothing changes."""
    content = samples.jpeg(1)
    with restarted(tmp_path, n8n, "concluded", {"scan.jpg": content}) as daemon:
        daemon.wait_quiet(1)
        before = daemon.job("scan.jpg")
        assert daemon.call(before.job_id, {"status": "success"}, TOKEN).status_code == 200
        assert daemon.job("scan.jpg") == before


def test_killed_from_outside(tmp_path: Path, n8n: StandIn) -> None:
    """A kill -9 among many receipts loses none, and sends none again whose callback was answered."""
    dropped = jpegs(24)
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=SOON) as daemon:
        for number, content in enumerate(dropped):
            daemon.drop(f"scan-{number}.jpg", content)
        wait_until(lambda: len(n8n.callbacks) >= 8, "a third is concluded")
        daemon.kill()
        answered = {job_id for job_id, _, outcome in n8n.callbacks if outcome == 200}
        daemon.start()
        daemon.wait_quiet(len(dropped))
        counts = Counter(delivery.job_id for delivery in n8n.deliveries)
        again = {job_id for job_id, count in counts.items() if count > 1}
        assert_consistent(daemon, n8n.deliveries, dropped, resent=counts.total() - len(counts))
    assert len(answered) >= 8
    assert not answered & again
