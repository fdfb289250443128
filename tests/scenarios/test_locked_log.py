"""Another program keeps the job log locked: nobody who asks by HTTP queues, and no callback is lost."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.errors import JobLogError
from receipt_watcher.inbox import turns
from receipt_watcher.jobs.log.engine import connection as log_connection
from receipt_watcher.jobs.log.engine import locked
from receipt_watcher.jobs.log.engine.locked import holders_of, patience_seconds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN, make_job
from tests.fakes.daemons.process import RunningDaemon, wait_until
from tests.unit.inbox.test_gate import Porch, porch

__all__ = ["porch"]

_HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


class Holder:
    """Another process that has a SQLite file locked."""

    def __init__(self, path: Path, statement: str = "BEGIN EXCLUSIVE") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(path), statement], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"locked\n"
        self.pid = self._process.pid

    def end(self) -> None:
        """Give the lock back, by ending; harmless when called twice."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def holder(log: JobLog) -> Iterator[Holder]:
    """Another process that has the log locked."""
    log.jobs.insert(make_job())
    holder = Holder(log.database.path)
    yield holder
    holder.end()


@contextlib.contextmanager
def patient_for(seconds: float) -> Iterator[None]:
    """Wait for so long at most, as a request does."""
    before = patience_seconds.set(seconds)
    try:
        yield
    finally:
        patience_seconds.reset(before)


@contextlib.contextmanager
def writing(log: JobLog) -> Iterator[threading.Thread]:
    """A thread that wants to write, and waits for the lock for as long as it takes."""
    thread = threading.Thread(target=log.facts.table.put, args=["waited", "yes"])
    thread.start()
    wait_until(lambda: log.database.locked.seconds > 0, "the lock is met")
    try:
        yield thread
    finally:
        thread.join()


# --- the file ----------------------------------------------------------------------------------------------------


def test_the_program_that_keeps_it_locked_is_named(
    log: JobLog, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trouble says that it is a lock, and names the process by the kernel's table; without that it says how to."""
    monkeypatch.setattr(log_connection, "BUSY_TIMEOUT_SECONDS", 0)
    with pytest.raises(JobLogError) as caught:
        log.facts.table.put("fact", "value")
    name = Path("/proc", str(holder.pid), "comm").read_text().strip()
    assert f"another program keeps it locked (database is locked); end process {holder.pid} ({name})" in str(
        caught.value
    )
    monkeypatch.setattr(locked, "_LOCKS", Path("/nowhere"))
    with pytest.raises(JobLogError, match=r"fuser .* names it"):
        log.facts.table.put("fact", "value")


@pytest.mark.parametrize(
    "line", ["", "1: POSIX", "1: -> POSIX ADVISORY WRITE 77 {file} 0 0", "1: OFDLCK ADVISORY WRITE -1 {file} 0 0"]
)
def test_a_line_of_locks_that_names_nobody_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """A process that only waits for the lock, one of another container, and what cannot be read are nobody."""
    file = tmp_path / "receipts.db"
    file.touch()
    status = file.stat()
    named = f"{status.st_dev >> 8:02x}:{status.st_dev & 255:02x}:{status.st_ino}"
    table = tmp_path / "locks"
    monkeypatch.setattr(locked, "_LOCKS", table)
    table.write_text(line.format(file=named) + "\n")
    assert holders_of([file]) == []
    table.write_text(f"1: POSIX  ADVISORY  WRITE 77 {named} 120 120\n")
    assert holders_of([file, tmp_path / "missing"]) == [77]


def test_the_impatient_are_told_while_others_wait(log: JobLog, holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread waits for the lock, all that are less patient are told, readers too; it succeeds in the end."""
    monkeypatch.setattr(log_connection, "BUSY_TIMEOUT_SECONDS", 600)

    def ask(number: int) -> str:
        with patient_for(0.1), pytest.raises(JobLogError) as caught:
            log.statistics.open_jobs() if number % 2 else log.facts.table.put(str(number), "value")
        return str(caught.value)

    with writing(log) as writer, ThreadPoolExecutor(8) as pool:
        said = list(pool.map(ask, range(40)))
        assert writer.is_alive()
        holder.end()
    assert all("another program keeps it locked" in each for each in said)
    assert log.database.trouble is None  # the one that waited has written
    assert log.facts.table.get("waited") == "yes"
    with patient_for(0.1):
        assert log.statistics.open_jobs() == 1


def test_a_lock_that_is_gone_is_noticed_by_who_asks_next(log: JobLog, holder: Holder) -> None:
    """Nobody has to write first: the next one who asks finds out that the log is free again."""
    for _ in range(2):
        with patient_for(0), pytest.raises(JobLogError, match="keeps it locked"):
            log.database.prove_writable()
    with patient_for(0), pytest.raises(JobLogError, match="keeps it locked"):
        log.statistics.open_jobs()
    holder.end()
    with patient_for(0):
        assert log.statistics.open_jobs() == 1
    assert log.database.locked.seconds == 0


def test_a_fault_that_shows_up_then_keeps_the_turn_for_nobody(
    log: JobLog, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the file turns out to be damaged as an impatient caller asks for the lock, others have their turn."""
    with patient_for(0), pytest.raises(JobLogError, match="keeps it locked"):
        log.database.prove_writable()
    holder.end()
    connection, asked = log.database.connection.raw(), []

    class Damaged:
        """The connection to a log that was damaged meanwhile."""

        def execute(self, statement: str) -> sqlite3.Cursor:
            """Refuse to begin."""
            asked.append(statement)
            if statement.startswith("BEGIN"):
                raise sqlite3.DatabaseError("database disk image is malformed")
            return connection.execute(statement)

    with monkeypatch.context() as context, patient_for(0):
        context.setattr(log.database.connection, "raw", Damaged)
        assert log.database._turns._has_taken_turn()
        log.database._turns._lock.release()
        context.setattr(log.database._turns, "_is_still_locked", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            log.database._turns._has_taken_turn()
    assert "BEGIN IMMEDIATE" in asked
    with ThreadPoolExecutor(1) as others:
        assert others.submit(log.statistics.open_jobs).result(30) == 1


def test_who_gives_up_leaves_no_commit_behind(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that leaves its commit to one that waits is not left alone when that one gives up."""
    is_inside, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with log.database.transaction():
            log.facts.table.put("left", "yes")
            is_inside.set()
            may_end.wait(30)

    real = log.database._turns._has_taken_turn

    def give_up() -> bool:
        if threading.current_thread() is writer:
            return real()
        may_end.set()  # the writer ends its turn while this one is counted among those who wait
        with log.database._turns._lock:
            assert log.database._turns._group is not None
        return False

    writer = threading.Thread(target=write)
    monkeypatch.setattr(log.database._turns, "_has_taken_turn", give_up)
    writer.start()
    is_inside.wait(30)
    with pytest.raises(JobLogError):
        log.facts.table.get("anything")
    writer.join(30)
    assert not writer.is_alive()
    monkeypatch.undo()
    assert log.facts.table.get("left") == "yes"


def test_a_lock_that_ends_in_time_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads that wait for the log get it, and nothing is said of it."""
    monkeypatch.setattr(log_connection, "BUSY_TIMEOUT_SECONDS", 600)
    log = JobLog(tmp_path / "receipts.db")
    log.database.open()
    holder = Holder(log.database.path)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(log.facts.table.put, f"fact {number}", "value") for number in range(2)]
        wait_until(lambda: log.database.locked.seconds > 0, "the lock is met")
        holder.end()
        for each in waiting:
            each.result(30)
    assert log.database.trouble is None
    log.database.close()


# --- the daemon --------------------------------------------------------------------------------------------------


class Impatient(RunningDaemon):
    """One that waits for less; see `impatient`."""

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command."""
        return [
            "tests.fakes.daemons.short_timeouts" if word == "receipt_watcher" else word
            for word in super().command(*arguments)
        ]


def unavailable(url: str) -> dict[str, Any] | None:
    """Return what readiness says while the log is locked; None while it says something else."""
    answer = httpx.get(f"{url}/health/ready", timeout=30)
    failing: dict[str, Any] = answer.json().get("failing", {})
    return failing if answer.status_code == 503 and "job_log" in failing else None


def test_a_locked_log_stops_no_answer_and_costs_no_callback(tmp_path: Path, n8n: StandIn) -> None:
    """Pages, API and health answer 503 in true words; the callback is kept, survives a kill, and nothing is resent."""
    n8n.behave = lambda _delivery: Behaviour(verdict=None)
    with Impatient(tmp_path, n8n.webhook_url, TOKEN, changes={"callback": {"deadline_seconds": 3}}) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        wait_until(lambda: daemon.recorded() and daemon.job("scan.jpg").state is State.PROCESSING, "it is accepted")
        job_id = daemon.job("scan.jpg").job_id
        holder = Holder(daemon.state / "receipts.db")
        try:
            wait_until(lambda: unavailable(daemon.url), "readiness says that the log is locked")
            for path in ("/", "/receipts", "/api/v1/jobs", f"/api/v1/jobs/{job_id}", "/api/v1/inboxes"):
                answer = httpx.get(daemon.url + path, timeout=30)
                assert (answer.status_code, "keeps it locked" in answer.text) == (503, True), (path, answer.text)
            failing = unavailable(daemon.url)
            assert failing is not None
            assert failing.keys() == {"job_log"}
            assert f"end process {holder.pid} (" in failing["job_log"]
            answer = daemon.call(job_id, {"status": "success", "message": "booked"}, TOKEN)
            assert (answer.status_code, answer.json()) == (200, {"status": "received"})
            assert daemon.call(job_id, {"status": "so-so"}, TOKEN).status_code in (200, 422)
            kept = list((daemon.state / "callbacks").iterdir())
            assert [oct(path.stat().st_mode & 0o777) for path in kept] == ["0o600"] * 2
            daemon.kill()
        finally:
            holder.end()
        daemon.start()
        daemon.wait_quiet(1)
        assert daemon.job("scan.jpg").state is State.SUCCESS
        assert daemon.job("scan.jpg").message == "booked"
        assert [delivery.job_id for delivery in n8n.deliveries] == [job_id]
        assert daemon.files(daemon.state / "callbacks") == []
        assert daemon.count("callback.kept") == daemon.count("callback.applied") == 2
        assert not any("server" in line.get("why", "") for line in daemon.events("inbox.unavailable"))


def test_a_lock_is_told_of_although_nothing_is_to_be_written(tmp_path: Path, n8n: StandIn) -> None:
    """An idle daemon notices the lock by itself, says so, and says when it is over."""
    with Impatient(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        holder = Holder(daemon.state / "receipts.db")
        try:
            wait_until(lambda: daemon.count("job_log.failing"), "the lock is told")
        finally:
            holder.end()
        assert f"end process {holder.pid} (" in daemon.events("job_log.failing")[0]["why"]
        wait_until(lambda: daemon.count("job_log.mended"), "its end is told")


def test_a_gate_that_waits_for_the_log_does_not_blame_the_share(porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an upload waits for the log, and not for the share, its inbox stays open, and the receipt is taken then."""
    monkeypatch.setattr(log_connection, "BUSY_TIMEOUT_SECONDS", 600)
    monkeypatch.setattr(turns, "LOOK_LIMIT_SECONDS", 1.0)
    monkeypatch.setattr(turns, "MOVE_LIMIT_SECONDS", 1.0)
    monkeypatch.setattr(porch.gate.limit, "_monotonic", time.monotonic)
    holder = Holder(porch.log.database.path)
    try:
        upload = porch.bring(porch.uploads(), samples.jpeg(1))
        wait_until(
            lambda: porch.log.database.locked.seconds > 1.5,
            "the log has been locked for longer than any share may take",
        )
        assert porch.gate.limit._answers_by is not None
        porch.gate.supervise()
        assert porch.gate.state.unavailable is None
    finally:
        holder.end()
    assert upload.result(30).status == 202
