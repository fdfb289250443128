"""A job log that was lost: what is in done/ is never sent again, what is in processing/ only after its callback."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool import rebuild
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.reason_file import note_path, write_note
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import RunningDaemon, digest, jpegs, wait_until
from tests.unit.inbox.test_take_in import URL, route_on
from tests.unit.spool.filing.office import Office
from tests.unit.system.disk_faults import Crash

CAME_AT = 1_690_000_000.0


class Lost(Office):
    """An office whose job log knows nothing of what lies in its spool."""

    def put(self, path: str, content: bytes, at: float = CAME_AT) -> Path:
        """Put a file into done/, as it was filed, and return where it stands there."""
        file = self.route.spool.folders.done / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (at, at))
        return Path(path)

    def rebuild(self, progress: Callable[[], None] = lambda: None) -> int:
        """Do what the daemon does when the log was lost."""
        return rebuild.rebuild(self.route, self.log, self.clock.now, progress, reads_all=False)

    def found(self) -> dict[str, Job]:
        """Return the jobs by where their files are; no file has two."""
        jobs = self.recorded()
        by_path = {str(job.stored_path): job for job in jobs}
        assert len(by_path) == len(jobs)
        return by_path


@pytest.fixture
def office(log: JobLog, spool: Spool, clock: FakeClock) -> Lost:
    """An office with one inbox, and an empty log."""
    return Lost(log, route_on(spool), clock)


# --- done/ ---------------------------------------------------------------------------------------------------------


def test_a_file_in_done_has_succeeded(office: Lost) -> None:
    """Its row says where it is, what it is, and when it came; it is due to be neither sent nor moved.

    It is concluded now: retention must not count from a time that is a guess.
    """
    content = samples.jpeg(1)
    path = office.put("2023-07/sub/scan.jpg", content)
    with capture_logs() as lines:
        assert office.rebuild() == 1
    (job,) = office.recorded()
    assert job == Job(
        job_id=job.job_id,
        state=State.SUCCESS,
        inbox="office",
        branch="office",
        filename="scan.jpg",
        relative_path=Path("sub/scan.jpg"),
        folder=Folder.DONE,
        stored_path=path,
        mime_type=None,
        size=len(content),
        sha256=digest(content),
        target=f"{URL} 0f3c",
        notion_database_id="0f3c",
        created_at=CAME_AT,
        updated_at=office.clock.now,
        completed_at=office.clock.now,
    )
    assert [(row["event"], row["to_state"], row["detail"]) for row in office.log.histories.lines(job.job_id)] == [
        ("record", "queued", None),
        ("succeed", "success", "found in done/: the job log had been lost"),
    ]
    assert office.log.jobs.claim(["office"], office.clock.now + 10**6) is None
    assert office.file() == 0
    assert office.deliveries.count == 0
    assert [(line["event"], line["jobs"]) for line in lines] == [("job_log.rebuilt", 1)]


def test_each_file_in_done_gets_one_row_however_often_it_is_read(office: Lost) -> None:
    """More files than a batch holds, two with the same bytes: each has one row, and reading again adds none."""
    paths = {str(office.put(f"2023-07/{number}.jpg", content)) for number, content in enumerate(jpegs(130))}
    paths.add(str(office.put("2023-07/0 (2).jpg", jpegs(1)[0])))
    assert office.rebuild() == len(paths)
    assert office.found().keys() == paths
    late = str(office.put("2023-08/late.jpg", b"late"))
    for expected in (1, 0):
        with capture_logs() as lines:
            assert office.rebuild() == expected
        assert [line["event"] for line in lines] == ["job_log.rebuilt"] * expected
        assert office.found().keys() == paths | {late}
        assert {job.state for job in office.recorded()} == {State.SUCCESS}


def test_what_the_log_knows_is_left_as_it_is(office: Lost) -> None:
    """A file that was filed by a job of the log gets no second one."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    office.file()
    before = office.now(job)
    assert office.rebuild() == 0
    assert office.recorded() == [before]


def test_notes_links_and_unfinished_copies_are_no_receipts(office: Lost, tmp_path: Path) -> None:
    """What lies in done/ beside receipts gets no row; a file that is only named like a note does."""
    done = office.route.spool.folders.done
    office.put("2023-07/scan.jpg", jpegs(1)[0])
    write_note(note_path(done / "2023-07/scan.jpg"), "an-id", "why")
    (done / "link.jpg").symlink_to(done / "2023-07/scan.jpg")
    (done / "dangling.jpg").symlink_to(done / "nowhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/other.jpg").touch()
    (done / "folder").symlink_to(tmp_path / "elsewhere")
    office.put(f"2023-07/.0123456789abcdef{PARTIAL_SUFFIX}", b"half")
    os.mkfifo(done / "pipe.jpg")
    office.put("2023-07/other.reason.txt", b"not ours")
    assert office.rebuild() == 2
    assert office.found().keys() == {"2023-07/scan.jpg", "2023-07/other.reason.txt"}


@pytest.mark.parametrize(
    ("subfolder", "path", "relative"),
    [
        ("%Y-%m", "2023-07/a/scan.jpg", "a/scan.jpg"),
        ("%Y-%m", "scan.jpg", "scan.jpg"),
        ("", "a/scan.jpg", "a/scan.jpg"),
        ("%Y/%m/%d", "2023/07/22/a/scan.jpg", "a/scan.jpg"),
        ("%Y/%m/%d", "2023/scan.jpg", "scan.jpg"),
        ("paid/%Y", "paid/2023/scan.jpg", "scan.jpg"),
        ("%D", "07/22/23/a/scan.jpg", "a/scan.jpg"),
    ],
)
def test_done_subfolder_is_no_part_of_the_path_in_the_inbox(
    office: Lost, subfolder: str, path: str, relative: str
) -> None:
    """The path below the inbox is what comes after the day; where there is no day, somebody put the file there."""
    office.route = replace(office.route, branches=(replace(office.route.branches[-1], done_subfolder=subfolder),))
    office.put(path, b"scan")
    assert office.rebuild() == 1
    assert office.found()[path].relative_path == Path(relative)


def test_a_file_of_a_subfolder_keeps_its_target(office: Lost) -> None:
    """What came by a subfolder with settings of its own has its target, whatever is before it in done/."""
    own = {"notion_database_id": "travel-db", "subfolder": "travel"}
    for subfolder, path in [("", "travel/scan.jpg"), ("%Y/%m", "2023/07/travel/scan.jpg"), ("%Y-%m", "07/travel/s")]:
        inner = replace(office.route.branches[-1], done_subfolder=subfolder, **own)  # type: ignore[arg-type]
        office.route = replace(office.route, branches=(inner, office.route.branches[-1]))
        office.put(path, path.encode())
        assert office.rebuild() == 1
        job = office.found()[path]
        assert (job.branch, job.notion_database_id) == ("office/travel", "travel-db")
        assert job.target == f"{URL} travel-db"
        assert job.relative_path.parent == Path("travel")
    office.put("2023-07/scan.jpg", b"of the inbox itself")
    assert office.rebuild() == 1
    assert office.found()["2023-07/scan.jpg"].target == f"{URL} 0f3c"


def test_the_time_of_a_file_may_be_anything(office: Lost) -> None:
    """A modification time before 1970 or after today is none of when a receipt came, and is shown without an error."""
    office.put("old.jpg", b"old", -(10**9))
    office.put("new.jpg", b"new", office.clock.now + 10**9)
    assert office.rebuild() == 2
    assert {path: job.created_at for path, job in office.found().items()} == {
        "old.jpg": 0.0,
        "new.jpg": office.clock.now,
    }
    assert {job.completed_at for job in office.recorded()} == {office.clock.now}


def test_any_name_may_be_in_done(office: Lost) -> None:
    """A name that is no UTF-8 is kept as it is."""
    path = office.put(os.fsdecode(b"2023-07/\xff\xfe\n.jpg"), b"scan")
    assert office.rebuild() == 1
    (job,) = office.recorded()
    assert job.stored_path == path
    assert office.route.path_of(job).read_bytes() == b"scan"


def test_a_folder_that_cannot_be_read_is_an_error(office: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    """What done/ does not give is not taken for nothing: it would be sent again."""
    office.put("2023-07/scan.jpg", b"scan")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("2023-07"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        office.rebuild()


def test_a_crash_between_two_batches_goes_on(office: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before a crash stays, and the next start reads the rest; each file has one row in the end."""
    monkeypatch.setattr(rebuild, "_BATCH_ROWS", 2)
    paths = {str(office.put(f"2023-07/{number}.jpg", content)) for number, content in enumerate(jpegs(7))}
    left = iter([True] * 5)

    def die() -> None:
        if not next(left, False):
            raise Crash

    with pytest.raises(Crash):
        office.rebuild(die)
    assert len(office.found()) == 4
    assert office.rebuild() == 3
    assert office.found().keys() == paths


def test_progress_is_told_before_each_file(office: Lost) -> None:
    """Whoever watches over a file system that may hang hears of each file, before it is read."""
    for number in range(3):
        office.put(f"{number}.jpg", bytes(number))
    seen: list[int] = []
    office.rebuild(lambda: seen.append(len(office.recorded())))
    assert seen == [0, 0, 0]


def test_a_copy_of_what_is_in_done_is_a_duplicate(office: Lost) -> None:
    """The same bytes, dropped into the inbox afterwards, are sent nowhere: they follow the receipt in done/."""
    content = samples.jpeg(1)
    office.put("2023-07/scan.jpg", content)
    office.rebuild()
    job = office.drop_in("again.jpg", content)
    assert (job.state, job.duplicate_of) == (State.DUPLICATE, office.found()["2023-07/scan.jpg"].job_id)
    assert office.log.jobs.claim(["office"], office.clock.now + 10**6) is None


# --- processing/ ---------------------------------------------------------------------------------------------------


def orphan(office: Lost, content: bytes, name: str = "scan.jpg") -> str:
    """Leave a file in processing/ that no row knows, and return its id."""
    job = office.drop_in(name, content)
    office.log.database.change("DELETE FROM history")
    office.log.database.change("DELETE FROM job")
    return job.job_id


def test_what_may_have_been_sent_is_awaited_first(office: Lost) -> None:
    """After a lost log a file in processing/ keeps its id, and begins as a claim, of which the callback is awaited."""
    job_id = orphan(office, samples.jpeg(1))
    (job,) = office.take_in.recovery.recover(office.route, may_have_been_sent=True)
    assert (job.job_id, job.state, job.attempts) == (job_id, State.DELIVERING, 1)
    assert office.recorded() == [job]
    assert office.log.jobs.claim(["office"], office.clock.now + 10**6) is None
    assert [row["event"] for row in office.log.histories.lines(job_id)] == ["record", "claim"]
    (awaited,) = office.log.jobs.lose_claims(office.clock.now, office.clock.now + 900, "lost", but=frozenset())
    assert (awaited.state, awaited.deadline_at) == (State.PROCESSING, office.clock.now + 900)


def test_an_orphan_of_a_log_that_is_there_is_sent_at_once(office: Lost) -> None:
    """Where the log was not lost, an orphan was never sent: it waits for nothing."""
    job_id = orphan(office, samples.jpeg(1))
    (job,) = office.recover()
    assert (job.job_id, job.state, job.attempts) == (job_id, State.QUEUED, 0)


def test_what_is_never_sent_is_no_claim(office: Lost) -> None:
    """A copy of what is in done/, and a file that is no receipt, are recorded as such after a lost log, too."""
    content = samples.jpeg(1)
    jobs = [office.drop_in("copy.jpg", content), office.drop_in("letter.txt", b"no receipt")]
    office.log.database.change("DELETE FROM history")
    office.log.database.change("DELETE FROM job")
    office.put("2023-07/scan.jpg", content)
    office.rebuild()
    found = {job.job_id: job.state for job in office.take_in.recovery.recover(office.route, may_have_been_sent=True)}
    assert found == {jobs[0].job_id: State.DUPLICATE, jobs[1].job_id: State.FAILURE}


# --- the daemon ----------------------------------------------------------------------------------------------------


def test_an_inbox_that_is_renamed_is_not_lost(tmp_path: Path, n8n: StandIn) -> None:
    """With another name for the inbox the log still knows what is in done/, and no receipt gets a second row."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN)
    with daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        daemon.terminate()
    config = yaml.safe_load(daemon.config_file.read_text())
    config["inboxes"][0]["name"] = "bureau"
    daemon.config_file.write_text(yaml.safe_dump(config))
    with daemon:
        daemon.drop("next.jpg", samples.jpeg(2))
        daemon.wait_quiet(2)
    assert daemon.count("job_log.rebuilt") == 0


def test_a_first_start_rebuilds_nothing(tmp_path: Path, n8n: StandIn) -> None:
    """A spool that nobody used before was not lost: its receipts are sent at once, and done/ is not read."""
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "of-somebody-else.jpg").write_bytes(samples.jpeg(1))
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(2))
        wait_until(lambda: n8n.deliveries, "it is sent")
        daemon.wait_quiet(1)
        assert daemon.count("job_log.rebuilt") == 0
