"""The sums agree when every receipt is where the log says."""

from __future__ import annotations

from collections import Counter

import pytest

from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.report.balance import balance
from receipt_watcher.report.balance.findings import Finding
from tests.unit.report.balance.balance_office import CONTENTS, named, one_of_each, path_of, proof
from tests.unit.spool.filing.office import Office


def test_all_agrees(office: Office) -> None:
    """Received is the sum of what became of the receipts; each file was read, and nothing is named."""
    one_of_each(office)
    sums = proof(office)
    assert sums.received == 6
    assert sums.summands() == {"succeeded": 1, "failed": 2, "cancelled": 1, "duplicates": 1, "open": 1}
    assert (sums.findings, sums.hashed, named(sums)) == (Counter({Finding.OK: 6}), 6, [])
    assert next(sums.lines()) == "6 received = 1 succeeded + 2 failed + 1 cancelled + 1 duplicates + 1 open"
    assert sums.as_json()["agrees"] is True


def test_nothing_was_received(office: Office) -> None:
    """An empty log and empty folders agree."""
    assert (proof(office).received, proof(office).findings) == (0, Counter())


def test_more_than_a_page(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages leave nothing out, neither of the log nor of the folders, and progress is told after each."""
    monkeypatch.setattr(balance, "_PAGE", 2)
    one_of_each(office)
    path_of(office, office.recorded()[0]).unlink()
    (office.processing.parent / "done" / "foreign.txt").write_text("foreign")
    told: list[int] = []
    sums = proof(office, show_progress=told.append)
    assert (sums.received, told) == (6, [2, 4, 6])
    assert named(sums) == [("archived", "a.jpg"), ("unknown", "foreign.txt")]


def test_a_selection(office: Office) -> None:
    """Only what was recorded in the range, from its first moment to before its last, is counted; or of one inbox."""
    first, second, third = (office.drop_in(f"{number}.jpg", CONTENTS[number]) for number in range(3))
    rows: list[str] = []
    selection = Selection(since=second.created_at, until=third.created_at)
    sums = proof(office, selection, write_row=lambda job, _path, _finding: rows.append(job.job_id))
    assert (sums.received, rows) == (1, [second.job_id])
    assert first.created_at < second.created_at < third.created_at
    assert proof(office, Selection(inbox="office")).received == 3
    assert proof(office, Selection(inbox="elsewhere")).received == 0
    assert proof(office, Selection(but=frozenset({"office"}))).received == 0
