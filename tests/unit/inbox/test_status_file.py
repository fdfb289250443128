"""The status file in the inbox: its words, when it is written, and that it is nobody's receipt."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from receipt_watcher.config.schedule import window_of
from receipt_watcher.config.sections.inbox import IgnorePack
from receipt_watcher.errors import JobLogError
from receipt_watcher.inbox.state import InboxState, Waiting
from receipt_watcher.inbox.status_file import PAUSE_SECONDS, StatusFile
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.ignored import STATUS_FILE_NAME, Ignored
from receipt_watcher.inbox.watching.listing import Listing
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.folders import Spool
from tests.conftest import INSTALLATION, FakeClock, make_job
from tests.unit.delivery.worker_world import URL, FakeDestination, route_to

SECRET = "Tr0ub4dor-and-3-horses"
NO_PACKS: tuple[IgnorePack, ...] = ()
FINE = """\
receipt-watcher wrote this file. It is no receipt, and is never taken as one.

Inbox office, since 2026-11-20 14:05:

All is well: nothing waits, and nothing failed today.
"""


class Share:
    """An inbox with a status file; it is 14:05 in Berlin."""

    def __init__(self, log: JobLog, spool: Spool, clock: FakeClock) -> None:
        clock.now = datetime(2026, 11, 20, 13, 5, tzinfo=UTC).timestamp()
        self.log = log
        self.clock = clock
        self.holds = log.holds
        self.route = route_to(FakeDestination(), spool)
        self.path = spool.folders.inbox / STATUS_FILE_NAME
        self.unavailable: str | None = None
        self.waiting: tuple[Waiting, ...] = ()
        self.filing: str | None = None
        self.file = self.restarted()

    def restarted(self) -> StatusFile:
        """Begin anew, as after a restart."""
        zone = ZoneInfo("Europe/Berlin")
        self.file = StatusFile(self.route, self.log, self.holds, zone=zone, secrets=frozenset({SECRET}))
        return self.file

    def after(self, seconds: float) -> str:
        """Let time pass, look, and return what the file says then."""
        self.clock.advance(seconds)
        self.file.update(self.state(), self.clock.now)
        return self.path.read_text("utf-8")

    def state(self) -> InboxState:
        """Return the inbox as its gate knows it."""
        return InboxState(
            name="office",
            path=str(self.path.parent),
            failed_dir="",
            mode="native",
            why_mode="",
            is_ready=True,
            unavailable=self.unavailable,
            unavailable_since=None,
            waiting=self.waiting,
            filing=self.filing,
        )

    def identity(self) -> tuple[int, int]:
        """Return what changes whenever the file is written anew."""
        status = self.path.stat()
        return status.st_ino, status.st_mtime_ns


@pytest.fixture
def share(log: JobLog, spool: Spool, clock: FakeClock) -> Share:
    """An inbox where nothing waits."""
    return Share(log, spool, clock)


def test_all_is_well(share: Share) -> None:
    """The file says so when nothing waits, and is not written again for as long as that is so."""
    assert share.after(0) == FINE
    before = share.identity()
    for _ in range(20):
        assert share.after(3600) == FINE
    assert share.identity() == before


def test_everything_at_once(share: Share) -> None:
    """What waits and why, since when N8N is on hold, and what failed today, word for word."""
    now = share.clock.now
    share.holds.hold(URL, HoldKind.ANSWERS, f"403: {SECRET} is wrong", now - 3600, now)
    share.waiting = (
        Waiting("sub/a\nb.pdf", WaitReason.OPEN, "", 3, 0, now - 600, now, None),
        Waiting("new.pdf", WaitReason.GROWING, "", 3, 0, now - 10, now, None),
    )
    for age in (7200, 3600, 10):
        share.log.jobs.insert(make_job(now - age))
    for age, name in ((60, "scan_0042.pdf"), (20 * 3600, "yesterday.pdf")):
        job = share.log.jobs.insert(make_job(now - age, filename=name))
        share.log.jobs.advance(job.job_id, Event.FAIL, now - age, reason=Reason.ENCRYPTED)
    assert share.after(0) == (
        """\
receipt-watcher wrote this file. It is no receipt, and is never taken as one.

Inbox office, since 2026-11-20 14:05:

N8N is on hold since 13:05: 403: ******** is wrong
Nothing is lost: receipts are taken as ever, wait, and go out by themselves when N8N is back.
Not taken yet (1):
  sub/a\\nb.pdf, since 13:55: A program has it open for writing.
    → Wait until that program closes it; lsof names it.
2 receipts were taken and not answered by N8N yet, the oldest since 12:05.
Failed today (1); each lies in the failed folder, with a note beside it:
  scan_0042.pdf, 14:04: The document asks for a password.
    → Save it without a password and drop it in again.
"""
    )


def test_a_window_that_is_closed(share: Share) -> None:
    """What waits for deliver_when is told with when that is."""
    window = window_of("mon-sun", "18:00-06:00", "Europe/Berlin")
    share.route = replace(share.route, branches=(replace(share.route.branches[0], window=window),))
    share.restarted()
    share.log.jobs.insert(make_job(share.clock.now))
    assert share.after(0) == FINE
    assert (
        "1 receipt was taken and not answered by N8N yet, the oldest since 14:05.\n"
        "Receipts are sent to N8N from 18:00 on; until then they wait."
    ) in share.after(120)
    assert "from 18:00 on" not in share.after(4 * 3600)


def test_a_change_is_written_within_seconds(share: Share) -> None:
    """What changes is seen at the next look; and what ended as well."""
    assert share.after(0) == FINE
    share.unavailable = "300 files were here before the first start"
    assert share.after(1) == FINE
    assert "Nothing is taken from here: 300 files were here" in share.after(PAUSE_SECONDS)
    share.unavailable = None
    assert "All is well" in share.after(PAUSE_SECONDS)


def test_what_flows_writes_nothing(share: Share) -> None:
    """While receipts come and go within a minute the file stays as it is."""
    assert share.after(0) == FINE
    before = share.identity()
    for _ in range(10):
        job = share.log.jobs.insert(make_job(share.clock.now))
        assert share.after(30) == FINE
        share.log.jobs.advance(job.job_id, Event.SUCCEED, share.clock.now)
    assert share.identity() == before


def test_a_new_day(share: Share) -> None:
    """What failed yesterday is gone from it after midnight."""
    job = share.log.jobs.insert(make_job(share.clock.now))
    share.log.jobs.advance(job.job_id, Event.FAIL, share.clock.now, reason=Reason.ENCRYPTED)
    assert "Failed today (1)" in share.after(0)
    assert "Failed today (1)" in share.after(9 * 3600)
    assert "All is well" in share.after(3600)


def test_the_stop_is_told(share: Share) -> None:
    """A daemon that stops says so, and since when; the next start writes what is so then."""
    assert share.after(0) == FINE
    share.file.stopped(share.clock.advance(60))
    stopped = share.path.read_text("utf-8")
    assert "Inbox office, since 2026-11-20 14:06:\n\nreceipt-watcher has been stopped, so nothing is taken." in stopped
    share.restarted()
    assert "All is well" in share.after(60)


def test_a_file_that_was_removed_comes_back(share: Share) -> None:
    """Somebody who empties the inbox does not end the status file."""
    assert share.after(0) == FINE
    share.path.unlink()
    assert "All is well" in share.after(PAUSE_SECONDS)


@pytest.mark.parametrize("kind", ["file", "link", "folder", "dangling"])
def test_what_is_not_ours_is_left_alone(
    share: Share, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A receipt, a link or a folder of that name is never replaced; that is said once."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("a receipt" if kind != "link" else FINE)
    match kind:
        case "file":
            share.path.write_text("a receipt")
        case "folder":
            share.path.mkdir()
        case _:
            share.path.symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    before = os.lstat(share.path)
    for _ in range(3):
        share.clock.advance(PAUSE_SECONDS)
        share.unavailable = "a change"
        share.file.update(share.state(), share.clock.now)
    assert os.lstat(share.path) == before
    assert elsewhere.read_text() == ("a receipt" if kind != "link" else FINE)
    assert capsys.readouterr().out.count("statusfile.not_written") == 1


def test_what_needs_a_person_is_named_at_once(share: Share) -> None:
    """A file that only a person can help is named without waiting for a minute."""
    now = share.clock.now
    share.waiting = (Waiting("scan.pdf", WaitReason.UNREADABLE, "", 3, 0, now, now, None),)
    assert "scan.pdf" in share.after(0)


def test_what_the_admin_must_know(share: Share) -> None:
    """Files that cannot be filed, and a job log that cannot be asked, are no good news for the share either."""
    share.filing = "done/ is full"
    text = share.after(0)
    assert "Tell your admin: done/ is full" in text
    assert "All is well" not in text
    share.log.database.close()
    share.clock.advance(PAUSE_SECONDS)
    with pytest.raises(JobLogError):
        share.file.update(share.state(), share.clock.now)
    assert "Nothing is taken or sent now" in share.path.read_text("utf-8")


def test_what_a_crash_leaves(share: Share) -> None:
    """An empty file of its name, and a temporary one, are what a power cut leaves; both are written over."""
    share.path.touch()
    temporary = share.path.with_name(".receipt-watcher-status.tmp")
    temporary.write_text("half of")
    assert share.after(0) == FINE
    assert not temporary.exists()


def test_a_folder_that_is_shut(share: Share, capsys: pytest.CaptureFixture[str]) -> None:
    """An inbox that is gone costs the status file, once a line of the log, and nothing else."""
    assert share.after(0) == FINE
    share.path.unlink()
    share.path.parent.rmdir()
    for _ in range(3):
        share.clock.advance(PAUSE_SECONDS)
        share.file.update(share.state(), share.clock.now)
    assert capsys.readouterr().out.count("statusfile.not_written") == 1
    share.path.parent.mkdir()
    share.route.spool.open(INSTALLATION)
    assert "All is well" in share.after(PAUSE_SECONDS)


def test_it_is_no_receipt(share: Share) -> None:
    """Neither the file nor its temporary name is ever taken, whatever packs are switched off, nor is a copy of it."""
    share.after(0)
    share.path.with_name(".receipt-watcher-status.tmp").touch()
    listing = Listing(share.path.parent, Ignored(NO_PACKS, ()), recursive=True)
    assert list(listing.files()) == []
    rule = listing.rule_for(f"sub/{STATUS_FILE_NAME.upper()}")
    assert rule is not None
    assert replace(rule, pattern="") == replace(rule, pattern="", pack="receipt-watcher")


def test_many_are_counted(share: Share) -> None:
    """A thousand files that wait make no file that nobody reads."""
    now = share.clock.now
    share.waiting = tuple(Waiting(f"{n}.pdf", WaitReason.OPEN, "", 1, 0, now - 99, now, None) for n in range(1000))
    text = share.after(0)
    assert text.count(".pdf") == 20
    assert "… and 980 more" in text
