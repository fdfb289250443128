"""A success is filed in done/, by the office's day and under a free name."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.filing import BATCH_FILES
from receipt_watcher.spool.reason_file import is_note
from receipt_watcher.system.display import NAME_MAX_BYTES
from tests.fakes.daemons.process import jpegs
from tests.unit.spool.filing.office import MONTH, Office, failed_folder, with_branch


def test_a_success_goes_to_done(office: Office) -> None:
    """A receipt that N8N has dealt with is in done/, in the month's folder; nothing is left behind."""
    job = office.tell(office.drop_in(), Event.SUCCEED)
    with capture_logs() as lines:
        assert office.file() == 1
    assert office.place(job) == f"done/{MONTH}/scan.jpg"
    assert office.all_files() == [f"done/{MONTH}/scan.jpg"]
    assert [(line["event"], line["folder"], line["path"]) for line in lines] == [
        ("file.filed", "done", f"{MONTH}/scan.jpg")
    ]
    assert office.file() == 0


@pytest.mark.parametrize(
    ("subfolder", "expected"),
    [
        ("", "done/sub/deeper/scan.jpg"),
        ("%Y/%m/%d", "done/2023/11/14/sub/deeper/scan.jpg"),
        ("paid", "done/paid/sub/deeper/scan.jpg"),
    ],
)
def test_done_keeps_the_inboxs_subfolders(office: Office, subfolder: str, expected: str) -> None:
    """The day of filing comes first, then the path below the inbox."""
    office.route = with_branch(office.route, done_subfolder=subfolder)
    office.filing = office.new_filing()
    job = office.tell(office.drop_in("sub/deeper/scan.jpg"), Event.SUCCEED)
    assert office.file() == 1
    assert office.place(job) == expected


def test_the_day_is_that_of_the_office(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The month is the local one on the day of filing, not that of Greenwich or of the scan."""
    job = office.drop_in()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # UTC+14
    time.tzset()
    office.clock.now = 1_701_352_800.0  # 2023-11-30 14:00 UTC
    office.tell(job, Event.SUCCEED)
    office.file()
    assert office.place(job) == "done/2023-12/scan.jpg"


def test_a_name_that_is_taken_gets_a_number(office: Office) -> None:
    """Scanners count from one again: nothing in done/ is overwritten, within a round and over many."""
    one, two, three = jpegs(3)
    jobs = [office.tell(office.drop_in(content=one), Event.SUCCEED)]
    assert office.file() == 1
    jobs += [office.tell(office.drop_in(content=content), Event.SUCCEED) for content in (two, three)]
    assert office.filing.file_away_due() == 2
    assert [office.place(job) for job in jobs] == [
        f"done/{MONTH}/scan.jpg",
        f"done/{MONTH}/scan (2).jpg",
        f"done/{MONTH}/scan (3).jpg",
    ]


@pytest.mark.parametrize("name", ["x" * 251 + ".jpg", "ü" * 125 + ".jpg", "x" * 255, "1. " + "x" * 252])
@pytest.mark.parametrize("event", [Event.SUCCEED, Event.FAIL])
def test_the_longest_names_are_filed(office: Office, name: str, event: Event) -> None:
    """Names of 255 bytes are filed, numbered and, where they failed, explained, as any other."""
    jobs = []
    for content in jpegs(2):
        jobs.append(office.drop_in(name, content))
        office.tell(jobs[-1], event, **({"reason": Reason.N8N_FAILURE} if event is Event.FAIL else {}))
        office.file()
    places = [office.place(job) for job in jobs]
    assert len(set(places)) == 2
    assert all(len(os.fsencode(Path(place).name)) <= NAME_MAX_BYTES for place in places)
    if event is Event.FAIL:
        assert all(is_note(failed_folder(office) / (office.now(job).note_path or "")) for job in jobs)


def test_many_are_filed_in_rounds(office: Office) -> None:
    """However many verdicts came at once: a round takes a batch, and rounds follow until none is due."""
    jobs = [
        office.tell(office.drop_in(f"{number}.jpg", content), Event.SUCCEED)
        for number, content in enumerate(jpegs(BATCH_FILES + 3))
    ]
    assert office.filing.file_away_due() == BATCH_FILES
    assert office.filing.file_away_due() == 3
    assert office.filing.file_away_due() == 0
    assert [office.place(job) for job in jobs] == [f"done/{MONTH}/{number}.jpg" for number in range(BATCH_FILES + 3)]
