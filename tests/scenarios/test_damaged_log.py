"""A job log that is damaged, as by a wrong restore: each read says so in the same words, and nothing is sent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.engine.last_closed import LastClosed
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.log.queries.search import Wanted
from receipt_watcher.jobs.log.tables import SELECT_JOB, job_of
from receipt_watcher.jobs.states import OPEN_STATES, State
from tests.conftest import TOKEN, make_job
from tests.fakes.daemons.process import RunningDaemon, wait_until

WORDS = "move the file away together with the -wal and -shm beside it, and put the last backup in its place"


def fill(log: JobLog, first: int, beyond: int) -> None:
    """Record failed receipts of long ago."""
    with log.database.transaction():
        for number in range(first, beyond):
            log.jobs.insert(
                make_job(
                    1_700_000_000.0 + number,
                    filename=f"scan-{number}.jpg",
                    sha256=f"{number:064x}",
                    state=State.FAILURE,
                    folder=Folder.FAILED,
                    completed_at=1.0,
                )
            )


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wrong restore: a backup as `receipts.db`, and the -wal of the newer log; and with `backup.db`."""
    folder = tmp_path_factory.mktemp("damaged")
    newer = JobLog(folder / "newer.db")
    for first, beyond in ((0, 400), (400, 900)):
        newer.database.open()
        fill(newer, first, beyond)
        newer.database.close()
        if first == 0:
            shutil.copyfile(newer.database.path, folder / "backup.db")
    newer.database.open()
    fill(newer, 900, 1500)
    shutil.copyfile(f"{newer.database.path}-wal", folder / "receipts.db-wal")
    newer.database.close()
    shutil.copyfile(folder / "backup.db", folder / "receipts.db")
    return folder


def restore_wrongly(damaged: Path, state: Path) -> None:
    """Put the backup in the log's place, and leave the -wal of the newer one beside it."""
    for name in ("receipts.db", "receipts.db-wal"):
        shutil.copyfile(damaged / name, state / name)
    (state / "receipts.db-shm").unlink(missing_ok=True)


@pytest.fixture
def log(damaged: Path, tmp_path: Path) -> Iterator[JobLog]:
    """A job log that was restored wrongly."""
    restore_wrongly(damaged, tmp_path)
    log = JobLog(tmp_path / "receipts.db")
    log.database.open()
    yield log
    log.database.close()


# --- reads -------------------------------------------------------------------------------------------------------


def reads(log: JobLog) -> dict[str, Callable[[], object]]:
    """Return reads of jobs of each kind, by name."""
    job_id = "00000000-0000-0000-0000-000000000000"
    job = make_job()
    return {
        "get": lambda: [
            log.lookups.get(each) for (each,) in log.database.select("SELECT job_id FROM job ORDER BY job_id")
        ],
        "listing": lambda: log.lookups.listing(limit=None),
        "page": lambda: log.lookups.page(Selection(), "", 10_000),
        "find": lambda: [log.lookups.find(f"scan-{number}.jpg") for number in range(1500)],
        "same_receipts": lambda: log.lookups.same_receipts(job.sha256 or "", job.target, frozenset(State)),
        "changed_since": lambda: log.lookups.changed_since(0),
        "history": lambda: [
            log.histories.lines(each) for (each,) in log.database.select("SELECT job_id FROM job ORDER BY job_id")
        ],
        "events": lambda: log.histories.events_after(0, 10_000),
        "counts_between": lambda: log.statistics.counts_between(0, 9e9),
        "counts": log.statistics.counts,
        "due": lambda: log.files.due_moves(["office"], 10_000),
        "claims_to": lambda: log.files.claims_to([each.stored_path for each in log.lookups.listing(limit=None)]),
        "search": lambda: log.search.page(Wanted(), None, 500),
        "open": lambda: log.database.select_as(job_of, SELECT_JOB),
        "attempts": lambda: log.histories.attempts(job_id),
        "oldest_due": lambda: log.lookups.oldest_due(["office"], 9e9),
        "failures": lambda: log.histories.failures_after(0),
        "oldest_open": lambda: log.lookups.oldest_open(9e9, 100),
    }


def test_reads_of_a_wrong_restore_say_what_to_do(log: JobLog) -> None:
    """Each read succeeds or says that the log is damaged and what to do, never anything else; some do say it."""
    said = []
    for read in reads(log).values():
        try:
            read()
        except JobLogError as error:
            said.append(str(error))
    assert len(said) > 2
    assert all(WORDS in each for each in said)
    assert log.database.trouble in said


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "'so-so'"),
        ("reason", "'so-so'"),
        ("folder", "NULL || 'x'"),
        ("stored_path", "7"),
        ("filename", "CAST(X'ff' AS TEXT)"),
    ],
)
def test_a_row_that_cannot_be_read_is_damage(tmp_path: Path, column: str, value: str) -> None:
    """A word that nobody writes, a number for a path, a text of wrong bytes: the same words, for whoever asks."""
    log = JobLog(tmp_path / "receipts.db")
    log.database.open()
    log.jobs.insert(make_job(state=State.QUEUED))
    log.database.change("PRAGMA ignore_check_constraints = 1")
    value = "'so-so'" if column == "folder" else value
    log.database.change(f"UPDATE job SET {column} = {value}")
    for name in ("get", "listing", "page", "changed_since", "open", "search"):
        with pytest.raises(JobLogError) as caught:
            reads(log)[name]()
        assert WORDS in str(caught.value), name
    log.database.close()


@pytest.mark.parametrize("table", ["destination", "hand_hold"])
def test_so_is_one_of_another_table(tmp_path: Path, table: str) -> None:
    """Holds are read with the same care as jobs."""
    log = JobLog(tmp_path / "receipts.db")
    log.database.open()
    holds, by_hand = log.holds, log.manual_holds
    holds.accepted("http://n8n", 1.0)
    by_hand.hold(HoldTarget.INBOX, "office", "", 1.0)
    log.database.change(f"UPDATE {table} SET {'silent_jobs' if table == 'destination' else 'kind'} = 'so-so'")
    with pytest.raises(JobLogError, match="put the last backup in its place"):
        holds.all() if table == "destination" else by_hand.all()
    log.database.close()


def test_a_log_that_is_read_through_is_not_written_any_more(log: JobLog) -> None:
    """What is found is said once, and keeps everybody from writing; a log that is whole is left as it is."""
    log.database.read_through()
    assert log.database.trouble is not None
    assert WORDS in log.database.trouble
    with pytest.raises(JobLogError, match="is damaged"):
        log.database.prove_writable()


# --- which log is read through at a start ---------------------------------------------------------------------------


def change_nothing(_log: JobLog) -> None:
    """Leave it."""


def write(log: JobLog) -> None:
    """Write as another program of ours does while no daemon runs."""
    log.database.open()
    log.facts.table.put("fact", "value")
    log.database.close()


def put_back(log: JobLog) -> None:
    """Restore it from a copy with the same times."""
    copy = log.database.path.with_name("copy")
    shutil.copy2(log.database.path, copy)
    copy.replace(log.database.path)


def leave_wal(log: JobLog) -> None:
    """Leave a -wal beside it."""
    log.database.path.with_name("receipts.db-wal").write_bytes(b"frames")


def forget(log: JobLog) -> None:
    """Lose the record, or have a damaged one."""
    log.database.path.with_name("log.json").write_text("{")


@pytest.mark.parametrize(
    ("change", "is_same"),
    [(change_nothing, True), (write, False), (put_back, False), (leave_wal, False), (forget, False), (None, False)],
)
def test_only_a_log_that_somebody_changed_is_another(
    tmp_path: Path, change: Callable[[JobLog], None] | None, *, is_same: bool
) -> None:
    """A log that is as its daemon left it is known to be whole; after any change of others it is read through."""
    log = JobLog(tmp_path / "receipts.db")
    log.database.open()
    fill(log, 0, 10)
    log.database.close()
    if change is None:
        log.database.path.unlink()
        LastClosed(tmp_path, log.database.path).note()
    else:
        LastClosed(tmp_path, log.database.path).note()
        change(log)
    assert LastClosed(tmp_path, log.database.path).is_same() == is_same


# --- the program -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("show", "scan-3.jpg"), ("balance",), ("explain", "scan-3.jpg"), ("retry", "scan-3.jpg"), ("backup", "b")],
)
def test_a_command_on_a_damaged_log_ends_with_what_to_do(
    damaged: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """It ends with 1 and one message, and no traceback."""
    daemon = RunningDaemon(tmp_path, "http://127.0.0.1:9/webhook", TOKEN)
    daemon.state.mkdir()
    restore_wrongly(damaged, daemon.state)
    done = daemon.run(*command)
    assert done.returncode == 1
    assert WORDS in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_daemon_on_a_damaged_log_takes_nothing_and_loses_no_callback(
    damaged: Path, tmp_path: Path, n8n: StandIn
) -> None:
    """It says so on every screen, takes and sends nothing, and keeps callbacks; with the backup all of it goes on."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN)
    daemon.state.mkdir()
    restore_wrongly(damaged, daemon.state)
    for folder in (daemon.processing, daemon.done, daemon.failed):
        folder.mkdir()  # folders that the log knows are never made again
    daemon.drop("new.jpg", samples.jpeg(1))
    backup = JobLog(damaged / "backup.db", read_only=True)
    backup.database.open()
    job: Job = backup.lookups.listing(limit=1)[0]
    backup.database.close()
    with daemon:
        failing = httpx.get(f"{daemon.url}/health/ready", timeout=30).json()["failing"]
        assert failing.keys() == {"job_log", "inbox:office"}
        assert all(WORDS in words for words in failing.values())
        for path in ("/", "/receipts", "/failed", "/api/v1/jobs?limit=500", "/metrics"):
            answer = httpx.get(daemon.url + path, timeout=30)
            assert answer.status_code == 200 or (answer.status_code, WORDS in answer.text) == (503, True), path
        assert daemon.call(job.job_id, {"status": "success"}, TOKEN).json() == {"status": "received"}
        assert daemon.terminate() == 0
        assert [path.name for path in daemon.files(daemon.inbox)] == ["new.jpg"]
        (daemon.state / "receipts.db-wal").unlink(missing_ok=True)
        (daemon.state / "receipts.db-shm").unlink(missing_ok=True)
        shutil.copyfile(damaged / "backup.db", daemon.state / "receipts.db")
        daemon.start()
        wait_until(
            lambda: ("new.jpg", State.SUCCESS) in [(each.filename, each.state) for each in daemon.recorded()],
            "what waited is delivered",
        )
        assert daemon.job(job.filename).state is State.SUCCESS
        assert [delivery.filename for delivery in n8n.deliveries] == ["new.jpg"]
        assert {each.state for each in daemon.recorded()}.isdisjoint(OPEN_STATES)
        assert "Traceback" not in daemon.log_file.read_text()
