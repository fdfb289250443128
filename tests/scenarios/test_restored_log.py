"""A job log that was restored from a backup: what came after the backup is found, and nothing is booked twice."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool import rebuild
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.identity.start_counter import Starts
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.state_dir import Installation
from tests.conftest import INSTALLATION, TOKEN, FakeClock
from tests.fakes.daemons.process import RunningDaemon, digest, jpegs, wait_until
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.test_rebuild import Lost


class Home:
    """A state folder with a job log, and a spool, at some start."""

    def __init__(self, root: Path, folders: SpoolFolders) -> None:
        root.mkdir(exist_ok=True)
        self.root, self.path = root, root / "receipts.db"
        self.spool = Spool("office", folders)
        self.installation = Installation(root)

    def start(self, *, crash: str = "") -> bool:
        """Start and stop; return whether the spool was found to hold more than the log. A crash comes after `crash`."""
        log = JobLog(self.path)
        log.database.open()
        starts = Starts(log, self.installation)
        try:
            if crash == "log":
                vars(self.installation)["keep_counter"] = lambda _counter: None
            starts.begin()
            starts.expect(self.spool)
            is_behind = starts.is_behind(self.spool, INSTALLATION)
            assert starts.is_rebuilding <= is_behind
            if crash in ("log", "state"):
                return is_behind
            self.spool.open(INSTALLATION)
            if crash == "open":
                return is_behind
            if crash == "agreed":
                vars(self.spool)["keep_counter"] = lambda _counter: None
            starts.agree(self.spool)
            return is_behind
        finally:
            self.spool.close()
            log.database.close()

    def backup(self, *, by_us: bool) -> Path:
        """Make a backup, by our command or by a plain copy while nothing runs."""
        target = self.root / f"backup-{by_us}.db"
        if not by_us:
            shutil.copyfile(self.path, target)
            return target
        log = JobLog(self.path, read_only=True)
        log.database.open()
        log.backup.write(target)
        log.database.close()
        return target

    def restore(self, backup: Path) -> None:
        """Put a backup in the log's place."""
        shutil.copyfile(backup, self.path)


@pytest.fixture
def home(tmp_path: Path, folders: SpoolFolders) -> Home:
    """A home that was in use."""
    home = Home(tmp_path / "state", folders)
    assert not home.start()
    assert not home.start()
    return home


def test_a_restored_log_is_known_by_its_counter(home: Home) -> None:
    """Our backup is one at once; a plain copy is one as soon as there was a start after it. It is noticed once."""
    home.restore(home.backup(by_us=True))
    assert home.start()
    assert not home.start()
    copy = home.backup(by_us=False)
    assert not home.start()
    home.restore(copy)
    assert home.start()
    assert not home.start()


@pytest.mark.parametrize("by_us", [True, False])
def test_a_state_folder_that_was_restored_with_it_is_known_by_the_spool(home: Home, *, by_us: bool) -> None:
    """With the state folder of that time, or without any, the spool still knows better."""
    counter, backup = home.installation.counter(), home.backup(by_us=by_us)
    assert not home.start()
    home.restore(backup)
    home.installation.keep_counter(counter)
    assert home.start()
    assert not home.start()
    home.restore(backup)
    (home.root / "log_counter").unlink()
    assert home.start()
    home.restore(backup)
    assert home.start()


@pytest.mark.parametrize("crash", ["log", "state", "open", "agreed"])
def test_a_crash_never_makes_a_good_log_look_restored(home: Home, crash: str) -> None:
    """Wherever a start dies between its writes, the log is ahead; a restored one stays one until a start ends."""
    for _ in range(3):
        assert not home.start(crash=crash)
    fresh = Home(home.root, home.spool.folders)
    assert not fresh.start()
    fresh.restore(fresh.backup(by_us=True))
    if crash != "agreed":
        assert Home(home.root, home.spool.folders).start(crash=crash)
    assert Home(home.root, home.spool.folders).start()
    assert not Home(home.root, home.spool.folders).start()


def test_each_place_is_written_once_for_each_start(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start counts once in the log, the state folder and the spool; a spool that opens again does not count."""
    written: list[int] = []
    monkeypatch.setattr(home.installation, "keep_counter", written.append)
    log = JobLog(home.path)
    log.database.open()
    starts = Starts(log, home.installation)
    starts.begin()
    owner = home.spool.folders.processing / ".owner"
    home.spool.open(INSTALLATION)
    starts.agree(home.spool)
    assert owner.read_text().splitlines()[1] == f"counter {written[0]}"
    changes = log.database.select("SELECT total_changes()")
    for _ in range(3):
        home.spool.open(INSTALLATION)
        starts.agree(home.spool)
    assert log.database.select("SELECT total_changes()") == changes
    assert len(written) == 1
    home.spool.close()
    assert owner.read_text() == f"{INSTALLATION}\ncounter {written[0]}\n"
    log.database.close()


@pytest.mark.parametrize("counter", ["", "counter 1\n"])
def test_what_another_installation_did_is_not_known(home: Home, counter: str) -> None:
    """A spool that is taken over is compared, whatever its counter says, and again if a crash came in between."""
    (home.spool.folders.processing / ".owner").write_text(f"another\n{counter}")
    assert not home.start(crash="state")
    log = JobLog(home.path)
    log.database.open()
    starts = Starts(log, home.installation)
    starts.begin()
    assert starts.is_behind(home.spool, INSTALLATION, takes_over=True)
    home.spool.open(INSTALLATION, take_over=True)
    home.spool.close()
    log.database.close()
    assert home.start()
    assert not home.start()


def test_a_log_of_an_older_version_is_not_behind(home: Home) -> None:
    """A log, a state folder and a spool that have no counter yet agree; the first start gives them one."""
    with closing(sqlite3.connect(home.path)) as log, log:
        log.execute("DELETE FROM fact")
    (home.root / "log_counter").unlink()
    (home.spool.folders.processing / ".owner").write_text(f"{INSTALLATION}\n")
    assert not home.start()
    assert home.installation.counter() == 1


def test_a_backup_leaves_the_log_alone(home: Home) -> None:
    """Who may only read the log may back it up: the copy is counted down, and nothing else is changed."""
    before = home.path.read_bytes()
    backup = home.backup(by_us=True)
    assert home.path.read_bytes() == before
    with closing(sqlite3.connect(backup)) as copy:
        facts = dict(copy.execute("SELECT name, value FROM fact"))
    assert facts["log_counter"] == str(home.installation.counter() - 1)


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.fixture
def office(log: JobLog, spool: Spool, clock: FakeClock) -> Lost:
    """An office with one inbox, and an empty log."""
    return Lost(log, route_on(spool), clock)


def compare(office: Lost) -> int:
    """Do what the gate does on a restored log."""
    found = rebuild.rebuild(office.route, office.log, office.clock.now, lambda: None, reads_all=True)
    rebuild.await_open_jobs(office.route, office.log, office.clock.now)
    return found


@pytest.mark.parametrize("event", [None, Event.CLAIM, Event.FAIL, Event.CANCEL])
def test_a_job_that_has_ended_since_gets_its_end(office: Lost, event: Event | None) -> None:
    """A job that the log takes for open or failed, and whose bytes lie in done/, has succeeded; it is the only row."""
    content = samples.jpeg(1)
    job = office.drop_in("scan.jpg", content)
    if event is not None:
        office.tell(job, event)
    office.route.path_of(office.now(job)).unlink()
    path = office.put("2023-07/scan.jpg", content)
    assert compare(office) == 1
    (after,) = office.recorded()
    assert (after.job_id, after.state, after.stored_path, after.move_due) == (job.job_id, State.SUCCESS, path, False)
    assert compare(office) == 0


def test_what_waits_by_a_restored_log_may_have_been_sent(office: Lost) -> None:
    """A receipt that the log takes for never sent is not sent: its callback is awaited first."""
    job = office.drop_in("scan.jpg", samples.jpeg(1))
    compare(office)
    assert office.now(job).state is State.DELIVERING
    assert office.log.jobs.claim(["office"], office.clock.now + 10**6) is None


def test_what_lies_in_failed_keeps_its_id_and_sends_no_copy(office: Lost) -> None:
    """A failed receipt is known by its note; nobody knows whether it was booked, so a copy of it is not sent."""
    content = samples.jpeg(1)
    job = office.tell(office.drop_in("scan.jpg", content), Event.FAIL)
    office.file()
    office.log.database.change("DELETE FROM history")
    office.log.database.change("DELETE FROM job")
    assert compare(office) == 1
    (after,) = office.recorded()
    assert (after.job_id, after.state, after.reason) == (job.job_id, State.FAILURE, Reason.OUTCOME_UNKNOWN)
    assert (after.folder, after.note_path) == (Folder.FAILED, Path("scan.jpg.reason.txt"))
    again = office.drop_in("again.jpg", content)
    assert (again.state, again.duplicate_of) == (State.DUPLICATE, job.job_id)


def test_one_job_has_one_file_however_many_have_its_bytes(office: Lost) -> None:
    """A receipt that was booked stays so if a copy of it lies in failed/: that one gets a row of its own."""
    content = samples.jpeg(1)
    job = office.drop_in("scan.jpg", content)
    office.route.path_of(office.now(job)).unlink()
    path = office.put("2023-07/scan.jpg", content)
    (office.route.spool.folders.failed / "copy.jpg").write_bytes(content)
    assert compare(office) == 2
    after = office.now(job)
    assert (after.state, after.folder, after.stored_path) == (State.SUCCESS, Folder.DONE, path)
    assert {str(each.stored_path) for each in office.recorded()} == {str(path), "copy.jpg"}
    assert compare(office) == 0


def test_a_copy_of_a_note_names_no_second_job(office: Lost) -> None:
    """A person may have copied a failed receipt together with its note: each file has a row, and the inbox opens."""
    failed = office.route.spool.folders.failed
    job = office.tell(office.drop_in("scan.jpg", samples.jpeg(1)), Event.FAIL)
    office.file()
    shutil.copytree(failed, failed.with_name("copy"))
    failed.with_name("copy").rename(failed / "copy")
    office.log.database.change("DELETE FROM history")
    office.log.database.change("DELETE FROM job")
    assert compare(office) == 2
    assert {str(each.stored_path) for each in office.recorded()} == {"scan.jpg", "copy/scan.jpg"}
    assert job.job_id in {each.job_id for each in office.recorded()}
    assert compare(office) == 0


def test_a_path_that_another_receipt_has_now_tells_nothing(office: Lost) -> None:
    """Files are told by their bytes: one that has the name of an older receipt gets a row of its own."""
    job = office.tell(office.drop_in("scan.jpg", samples.jpeg(1)), Event.SUCCEED)
    office.file()
    other = samples.jpeg(2)
    office.route.path_of(office.now(job)).write_bytes(other)
    assert compare(office) == 1
    assert {each.sha256 for each in office.recorded()} == {job.sha256, digest(other)}
    assert compare(office) == 0


def test_a_job_that_was_retried_since_goes_on_with_its_file(office: Lost) -> None:
    """A failed receipt whose file lies in processing/ was retried after the backup: its callback is awaited."""
    job = office.tell(office.drop_in("scan.jpg", samples.jpeg(1)), Event.FAIL)
    office.file()
    file = office.route.path_of(office.now(job))
    target = office.route.spool.folders.processing / job.job_id / "scan.jpg"
    target.parent.mkdir(parents=True)
    file.rename(target)
    compare(office)
    with capture_logs() as lines:
        office.take_in.recovery.recover(office.route, may_have_been_sent=True)
    after = office.now(job)
    assert (after.state, after.folder, after.attempts) == (State.DELIVERING, Folder.PROCESSING, 1)
    assert "file.unknown" not in [line["event"] for line in lines]
    assert office.route.path_of(after) == target


# --- the program -----------------------------------------------------------------------------------------------------


def test_nothing_is_booked_twice_after_a_restore(tmp_path: Path, n8n: StandIn) -> None:
    """What came after the backup is known again: dropped in again it is a copy, and what was out is awaited."""
    contents = jpegs(4)
    names = ["before.jpg", "after.jpg", "out.jpg", "failed.jpg"]

    def behave(delivery: ReceivedPost) -> Behaviour:
        kind = delivery.filename.partition(".")[0]
        return Behaviour(verdict={"out": None, "failed": "failure"}.get(kind, "success"))

    n8n.behave = behave
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop(names[0], contents[0])
        daemon.wait_quiet(1)
        backup = tmp_path / "backup.db"
        assert daemon.run("backup", str(backup)).returncode == 0
        for name, content in zip(names[1:], contents[1:], strict=True):
            daemon.drop(name, content)
        states = {"after.jpg": State.SUCCESS, "out.jpg": State.PROCESSING, "failed.jpg": State.FAILURE}
        wait_until(lambda: states.items() <= now(daemon).items() and len(daemon.files(daemon.failed)) == 1, "all are")
        out = daemon.job("out.jpg").job_id
        assert daemon.terminate() == 0
        shutil.copyfile(backup, daemon.state / "receipts.db")
        daemon.start()
        for number, content in enumerate(contents):
            daemon.drop(f"again-{number}.jpg", content)
        wait_until(lambda: sum(name.startswith("again") for name in now(daemon)) == 4, "the copies are recorded")
        wait_until(lambda: now(daemon).get("out.jpg") is State.PROCESSING, "what was out is awaited")
        assert daemon.job("out.jpg").job_id == out
        assert now(daemon)["after.jpg"] is State.SUCCESS
        assert daemon.job("failed.jpg").reason is Reason.OUTCOME_UNKNOWN
        assert daemon.call(out, {"status": "success"}, TOKEN).status_code == 200
        daemon.wait_quiet(8)
        assert {name: state for name, state in now(daemon).items() if name.startswith("again")} == dict.fromkeys(
            (f"again-{number}.jpg" for number in range(4)), State.DUPLICATE
        )
        assert sorted(delivery.filename for delivery in n8n.deliveries) == sorted(names)
        assert daemon.count("job_log.behind") == 1
        unknown = "01890a5d-ac96-774b-bcce-b302099a8057"
        assert daemon.call(unknown, {"status": "success"}, TOKEN).status_code == 404


def test_a_backup_on_a_new_machine_books_nothing_twice(tmp_path: Path, n8n: StandIn) -> None:
    """A backup in a new state folder, whose installation takes the spool over, is compared with it, too."""
    contents = jpegs(3)
    n8n.behave = lambda delivery: Behaviour(verdict=None if delivery.filename == "out.jpg" else "success")
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("before.jpg", contents[0])
        daemon.wait_quiet(1)
        backup = tmp_path / "backup.db"
        assert daemon.run("backup", str(backup)).returncode == 0
        daemon.drop("out.jpg", contents[1])
        daemon.drop("after.jpg", contents[2])
        wait_until(lambda: now(daemon).get("out.jpg") is State.PROCESSING, "it is out")
        wait_until(lambda: len(daemon.files(daemon.done)) == 2, "the other one is filed")
        out = daemon.job("out.jpg").job_id
        assert daemon.terminate() == 0
        shutil.rmtree(daemon.state)
        daemon.state.mkdir(mode=0o700)
        shutil.copyfile(backup, daemon.state / "receipts.db")
        daemon.start("--take-over")
        daemon.drop("again.jpg", contents[2])
        wait_until(lambda: now(daemon).get("again.jpg") is State.DUPLICATE, "it is known to be a copy")
        wait_until(lambda: now(daemon).get("out.jpg") is State.PROCESSING, "what was out is awaited")
        assert daemon.job("out.jpg").job_id == out
        assert sorted(delivery.filename for delivery in n8n.deliveries) == ["after.jpg", "before.jpg", "out.jpg"]


def test_an_inbox_that_is_away_is_compared_when_it_is_back(tmp_path: Path, n8n: StandIn) -> None:
    """An inbox whose folder is away keeps nobody waiting; a callback for what it holds is kept until it is back."""
    far = tmp_path / "far"
    n8n.behave = lambda delivery: Behaviour(verdict=None if delivery.filename == "out.jpg" else "success")
    daemon = RunningDaemon(
        tmp_path,
        n8n.webhook_url,
        TOKEN,
        changes={
            "inboxes": [
                {"path": str(tmp_path / name / "inbox"), "name": name, "settle_seconds": 0.2, "patience_seconds": 1}
                for name in ("far", "near")
            ]
        },
    )
    for name in ("far", "near"):
        (tmp_path / name / "inbox").mkdir(parents=True)
    content, other = jpegs(2)
    with daemon:
        (far / "inbox" / "done.jpg").write_bytes(content)
        wait_until(lambda: now(daemon).get("done.jpg") is State.SUCCESS, "it is delivered")
        backup = tmp_path / "backup.db"
        assert daemon.run("backup", str(backup)).returncode == 0
        (far / "inbox" / "out.jpg").write_bytes(other)
        wait_until(lambda: now(daemon).get("out.jpg") is State.PROCESSING, "it is out")
        out = daemon.job("out.jpg").job_id
        assert daemon.terminate() == 0
        shutil.copyfile(backup, daemon.state / "receipts.db")
        far.rename(tmp_path / "away")
        daemon.start()
        (tmp_path / "near" / "inbox" / "near.jpg").write_bytes(jpegs(1, 7)[0])
        wait_until(lambda: now(daemon).get("near.jpg") is State.SUCCESS, "the other inbox goes on")
        assert daemon.call(out, {"status": "success"}, TOKEN).json() == {"status": "received"}
        (tmp_path / "away").rename(far)
        wait_until(lambda: now(daemon).get("out.jpg") is State.SUCCESS, "the kept callback is applied")
        assert [delivery.filename for delivery in n8n.deliveries] == ["done.jpg", "out.jpg", "near.jpg"]
        assert httpx.get(f"{daemon.url}/health/ready", timeout=30).status_code == 200


def now(daemon: RunningDaemon) -> dict[str, State]:
    """Return the state of each receipt by its name."""
    jobs: list[Job] = daemon.recorded()
    return {job.filename: job.state for job in jobs}
