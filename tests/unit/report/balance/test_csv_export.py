"""An export holds every receipt, and any text comes back from it."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.report.balance.csv_export import COLUMNS, exporting, guarded, row_of, unguarded
from receipt_watcher.report.balance.findings import Finding
from receipt_watcher.system.display import display_name
from tests.conftest import make_job
from tests.unit.report.balance.balance_office import one_of_each, path_of, proof, read_back
from tests.unit.spool.filing.office import Office

WILD = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="=+-@\t\r\n'\",;＝ a", max_size=8),
    st.binary(max_size=12).map(lambda name: display_name(os.fsdecode(name))),
)


@given(filename=WILD, message=st.none() | WILD, page_url=st.none() | WILD)
def test_any_text_comes_back(filename: str, message: str | None, page_url: str | None) -> None:
    """Whatever a name or a message is, the row comes back by Python's csv, and no cell begins a formula."""
    job = make_job(filename=filename, message=message, notion_page_url=page_url, execution_id="1042")
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\r\n").writerow(row_of(job, f"/srv/{filename}", Finding.OK))
    (cells,) = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    assert all(cell[:1] not in set("=+-@\t\r\n＝＋－＠") for cell in cells)
    row = dict(zip(COLUMNS, map(unguarded, cells), strict=True))
    assert (row["filename"], row["path"]) == (filename, f"/srv/{filename}")
    assert (row["message"], row["notion_page_url"]) == (message or "", page_url or "")
    assert row["execution_id"] == "1042"


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=1+1", "'=1+1"), ("'=1+1", "''=1+1"), ("-5.jpg", "'-5.jpg"), ("'tis.jpg", "'tis.jpg"), ("a=b", "a=b")],
)
def test_guards(text: str, cell: str) -> None:
    """Only what begins as a formula gets an apostrophe, and which one is ours can always be told."""
    assert guarded(text) == cell
    assert unguarded(cell) == text


def test_an_export(office: Office, tmp_path: Path) -> None:
    """One row per receipt in the order of their arrival, with times in UTC and local, and what was found."""
    jobs = one_of_each(office)
    path_of(office, jobs["b"]).unlink()
    target = tmp_path / "out" / "november.csv"
    target.parent.mkdir()
    with exporting(target) as write_row:
        proof(office, write_row=write_row)
    raw = target.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbfjob_id,status,reason,inbox,subfolder,filename,received_utc,received_local,")
    assert raw.count(b"\r\n") == raw.count(b"\n") == 7
    rows = read_back(target)
    assert [row["filename"] for row in rows] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "copy.jpg", "refused.jpg"]
    assert [row["finding"] for row in rows] == ["ok", "missing", "ok", "ok", "ok", "ok"]
    first, copy = rows[0], rows[4]
    assert first["path"] == str(path_of(office, jobs["a"]))
    assert (first["received_utc"], first["received_local"]) == ("2023-11-14T22:13:21.000Z", "2023-11-14 22:13:21")
    assert (copy["status"], copy["duplicate_of"]) == ("duplicate", jobs["a"].job_id)
    assert rows[3]["completed_local"] == ""
    assert list(target.parent.iterdir()) == [target]


def test_an_export_that_breaks_off(tmp_path: Path) -> None:
    """What is not whole never gets its name, and nothing is left lying about."""

    def interrupted() -> None:
        with exporting(tmp_path / "november.csv") as write_row:
            write_row(make_job(), "", Finding.OK)
            assert len(list(tmp_path.iterdir())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
