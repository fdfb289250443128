"""The bell that wakes the stages, where a job's file is, and the one line that sums a job up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from receipt_watcher.examine.judge import FileLimits
from receipt_watcher.inbox.duplicates import DuplicateCheck
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.route import InboxRoute, log_concluded
from receipt_watcher.system.wakeup import Bell
from tests.conftest import make_branch, make_job
from tests.fakes.daemons.process import wait_until
from tests.unit.inbox.test_duplicates import arrival

NOW = 1_700_000_000.0


@pytest.fixture
def route(spool: Spool) -> InboxRoute:
    """An inbox that is ready."""
    return InboxRoute("office", spool, (make_branch(),), FileLimits(1_000_000, 1_000_000), is_ready=True)


# --- the bell ------------------------------------------------------------------------------------------------------


def test_a_ring_wakes_all_who_wait() -> None:
    """One ring wakes every loop that waits."""
    bell = Bell()
    heard = bell.count
    threads = [threading.Thread(target=bell.wait, args=[heard, 60.0]) for _ in range(4)]
    for thread in threads:
        thread.start()
    bell.ring()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)


def test_a_ring_for_few_wakes_no_more() -> None:
    """Where there is work for one, one is woken; the others wait on, and hear the next ring for all."""
    bell = Bell()
    woken: deque[int] = deque()

    def wait(number: int) -> None:
        bell.wait(0, 60.0)
        woken.append(number)

    threads = [threading.Thread(target=wait, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(bell._condition._waiters) == 4, "all of them wait")  # type: ignore[attr-defined]
    bell.ring(1)
    wait_until(lambda: woken, "one is woken")
    assert (len(woken), bell.count) == (1, 1)
    bell.ring()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(woken) == [0, 1, 2, 3]


def test_a_ring_before_the_wait_is_heard() -> None:
    """A ring between the look for work and the wait is not lost: the wait returns at once."""
    bell = Bell()
    heard = bell.count
    bell.ring()
    waiting = threading.Thread(target=bell.wait, args=[heard, 60.0])
    waiting.start()
    waiting.join(timeout=10)
    assert not waiting.is_alive()


def test_an_old_ring_wakes_nobody() -> None:
    """A ring that was heard before is over: only the timeout ends the wait."""
    bell = Bell()
    bell.ring()
    done = threading.Event()

    def wait() -> None:
        bell.wait(bell.count, 60.0)
        done.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not done.wait(0.05)
    bell.ring()
    assert done.wait(10)
    waiting.join(timeout=10)


@pytest.mark.parametrize("seconds", [0.0, -3.0, 0.001])
def test_a_wait_ends_with_its_time(seconds: float) -> None:
    """Without a ring the wait ends with its time, at once where that is over already."""
    bell = Bell()
    bell.wait(bell.count, seconds)
    assert bell.count == 0


def test_no_ring_is_lost_between_two_loops() -> None:
    """Two loops that wake each other a thousand times with no timeout to save them never both wait."""
    ping, pong = Bell(), Bell()
    turns = 1000
    done: list[int] = []

    def answer() -> None:
        for turn in range(turns):
            ping.wait(turn, 60.0)
            done.append(turn)
            pong.ring()

    answering = threading.Thread(target=answer)
    answering.start()
    for turn in range(turns):
        ping.ring()
        pong.wait(turn, 60.0)
        assert pong.count == turn + 1
    answering.join(timeout=10)
    assert done == list(range(turns))


def test_each_ring_counts() -> None:
    """Rings from many threads are all counted."""
    bell = Bell()

    def ring() -> None:
        for _ in range(200):
            bell.ring()

    threads = [threading.Thread(target=ring) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert bell.count == 1600


# --- where the files are -------------------------------------------------------------------------------------------


def test_the_target_is_where_it_is_sent_and_booked(route: InboxRoute) -> None:
    """Two receipts with the same bytes are the same where webhook and Notion database are the same."""
    [branch] = route.branches
    assert branch.target == "http://127.0.0.1/webhook/receipts 0f3c"
    assert replace(branch, notion_database_id="beef").target != branch.target


@pytest.mark.parametrize("folder", Folder)
def test_a_file_is_where_the_log_says(route: InboxRoute, tmp_path: Path, folder: Folder) -> None:
    """The path of a job's file is made of its folder and its place in it."""
    job = make_job(folder=folder, stored_path=Path("2026-01/sub/scan.jpg"))
    assert route.path_of(job) == tmp_path / folder.value / "2026-01" / "sub" / "scan.jpg"


def put(route: InboxRoute, folder: Folder, path: Path) -> Path:
    """Put a file below a folder of the spool."""
    target = route.spool.folders.path_of(folder) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"abc")
    return target


@pytest.mark.parametrize("folder", [Folder.PROCESSING, Folder.FAILED])
def test_a_failed_file_is_found(route: InboxRoute, folder: Folder) -> None:
    """A failed job's file is there while it lies where the log says, be it filed already or not yet."""
    job = make_job(state=State.FAILURE, folder=folder)
    assert not route.is_in_failed(job)
    put(route, folder, job.stored_path).with_name("other.jpg").touch()
    assert route.is_in_failed(job)


@pytest.mark.parametrize("reached", [False, True])
def test_a_failed_file_is_found_on_its_way(route: InboxRoute, reached: bool) -> None:
    """A failed file that is just being moved is there, on whichever side of the move it is."""
    job = make_job(state=State.FAILURE, moving_to_folder=Folder.FAILED, moving_to_path=Path("scan (2).jpg"))
    put(route, Folder.FAILED, Path("scan (2).jpg")) if reached else put(route, Folder.PROCESSING, job.stored_path)
    assert route.is_in_failed(job)


def test_a_file_that_went_missing_can_be_dropped_in_again(route: InboxRoute, log: JobLog) -> None:
    """A receipt whose file was missing goes on with the file that is found and dropped in, as its advice says."""
    came = arrival()
    job = log.jobs.insert(make_job(target=came.target))
    log.jobs.advance(job.job_id, Event.FAIL, NOW, reason=Reason.FILE_MISSING, message="it is not there any more")
    log.moves.abandon_move(job.job_id, NOW, "nothing to file")
    [found] = DuplicateCheck(log, route.is_in_failed).record([came], NOW)
    assert (found.job_id, found.state) == (job.job_id, State.QUEUED)
    assert found.stored_path.parts[0] == came.job_id


# --- the one line --------------------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """The log lines of a test."""
    with capture_logs() as captured:
        yield captured
    structlog.reset_defaults()


def test_a_job_is_summed_up_in_one_line(lines: list[Any]) -> None:
    """One line says all that the accountant will ask for: what, how it ended, why, and how long it took."""
    job = make_job(
        NOW,
        job_id="018bcfe5-6800-7000-8000-000000000000",
        state=State.FAILURE,
        reason=Reason.N8N_FAILURE,
        message="no total found",
        attempts=2,
    )
    log_concluded(job, NOW + 12.3456)
    assert lines == [
        {
            "event": "job.concluded",
            "log_level": "warning",
            "job_id": "018bcfe5-6800-7000-8000-000000000000",
            "inbox": "office",
            "filename": "scan.jpg",
            "status": "failure",
            "reason": "n8n_failure",
            "message": "no total found",
            "attempts": 2,
            "seconds": 12.346,
            "duplicate_of": None,
            "notion_page_url": None,
        }
    ]


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (State.SUCCESS, "info"),
        (State.DUPLICATE, "info"),
        (State.FAILURE, "warning"),
        (State.CANCELLED, "warning"),
    ],
)
def test_only_what_went_wrong_warns(lines: list[Any], state: State, level: str) -> None:
    """A receipt that ended well is told as news, one that did not as a warning."""
    log_concluded(make_job(NOW, state=state, notion_page_url="https://notion.so/1"), NOW)
    assert [(line["log_level"], line["status"], line["notion_page_url"]) for line in lines] == [
        (level, state.value, "https://notion.so/1")
    ]
