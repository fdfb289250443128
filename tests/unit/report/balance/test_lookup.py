"""A file that is moved or recorded meanwhile is looked for again before it is named."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.report.balance import balance
from receipt_watcher.report.balance.findings import Finding
from tests.conftest import make_job
from tests.unit.report.balance.balance_office import CONTENTS, named, path_of, proof
from tests.unit.spool.filing.office import Office


def test_the_daemon_files_away_meanwhile(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts that are filed after their row was read, and before their file is looked for, are no disagreement."""
    jobs = [office.drop_in(f"{number}.jpg", CONTENTS[number]) for number in range(4)]
    page = office.log.lookups.page

    def then_filed(selection: Selection, after: str, limit: int) -> list[Job]:
        found = page(selection, after, limit)
        for job in found:
            office.tell(job, Event.SUCCEED)
        assert office.file() == len(found)
        return found

    monkeypatch.setattr(office.log.lookups, "page", then_filed)
    sums = proof(office)
    assert (sums.states, named(sums)) == (Counter({State.SUCCESS: 4}), [])
    assert {path_of(office, job).parent.parent.name for job in jobs} == {"done"}


def test_a_move_that_was_begun(office: Office) -> None:
    """While a file is being moved it may be in either place, or, copied across file systems, in both."""
    job = office.drop_in("scan.jpg", CONTENTS[0])
    office.tell(job, Event.SUCCEED)
    target = office.processing.parent / "done" / "scan.jpg"
    assert office.log.moves.intend_moves([(office.now(job), Folder.DONE, Path("scan.jpg"))])
    source = path_of(office, job)
    assert named(proof(office)) == []
    shutil.copy(source, target)
    assert named(proof(office)) == []
    source.unlink()
    assert named(proof(office)) == []
    target.unlink()
    assert named(proof(office)) == [("missing", "scan.jpg")]


def test_a_file_that_is_just_recorded(office: Office) -> None:
    """What lies in processing/ without a row is looked at again, after a moment, before it is named."""
    place = office.processing / make_job().job_id / "scan.jpg"
    place.parent.mkdir()
    place.write_bytes(CONTENTS[0])
    assert named(proof(office)) == [("unknown", "scan.jpg")]
    waited: list[float] = []

    def recover_meanwhile(seconds: float) -> None:
        waited.append(seconds)
        office.recover()

    sums = proof(office, wait=recover_meanwhile)
    assert (sums.received, named(sums), len(waited)) == (1, [], 1)


def test_moments_have_an_end(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is amiss, a balance does not wait for ever."""
    monkeypatch.setattr(balance, "_PAGE", 1)
    for number in range(8):
        path_of(office, office.drop_in(f"{number}.jpg", CONTENTS[number])).unlink()
    waited: list[float] = []
    assert proof(office, wait=waited.append).findings == Counter({Finding.MISSING: 8})
    assert len(waited) == 5
