"""`backup` copies the job log, and never over a file that is there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from tests.unit.cli.typed_commands import Command, add


@pytest.mark.parametrize("as_json", [False, True])
def test_backup(as_json: bool, command: Command, job_log: JobLog, tmp_path: Path) -> None:
    """`backup FILE` writes the job log to a file, which holds the same jobs, and says how many, how large and where."""
    ids = {add(job_log, f"{number}.jpg") for number in range(3)}
    target = tmp_path / "backup.db"
    said = command("backup", str(target), *(["--json"] if as_json else []))
    size = target.stat().st_size
    assert (said.code, said.err) == (0, "")
    if as_json:
        assert said.json == {"file": str(target), "jobs": 3, "bytes": size}
    else:
        assert said.out == f"{target}: 3 jobs, {size:,} bytes\n"
    copy = JobLog(target)
    copy.database.open()
    assert {job.job_id for job in copy.lookups.listing()} == ids
    copy.database.close()


def test_backup_into_a_folder(command: Command, job_log: JobLog, tmp_path: Path) -> None:
    """In a folder the copy is named by the local time, so that one a night needs no script."""
    add(job_log, "scan.jpg")
    (tmp_path / "backups").mkdir()
    said = command("backup", str(tmp_path / "backups"), "--json")
    (path,) = (tmp_path / "backups").iterdir()
    assert said.json["file"] == str(path)
    named_at = time.mktime(time.strptime(path.name, "receipts-%Y-%m-%d-%H%M%S.db"))
    assert abs(named_at - path.stat().st_mtime) < 60


def test_backup_that_is_refused(command: Command, job_log: JobLog, tmp_path: Path) -> None:
    """Nothing is overwritten, and a folder that is missing is told; the exit code is 1."""
    taken = tmp_path / "taken.db"
    taken.write_text("precious")
    said = command("backup", str(taken))
    assert (said.code, said.out) == (1, "")
    assert f"{taken} is there already; nothing was overwritten" in said.err
    assert taken.read_text() == "precious"
    said = command("backup", str(tmp_path / "missing" / "backup.db"))
    assert (said.code, said.out) == (1, "")
    assert "cannot be written" in said.err
