"""The command tells by its exit code whether all agrees, and exports."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.report.balance.findings import Finding
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from tests.conftest import INSTALLATION, FakeClock
from tests.unit.cli.typed_commands import Command
from tests.unit.inbox.test_take_in import route_on
from tests.unit.report.balance.balance_office import one_of_each, path_of, read_back
from tests.unit.spool.filing.office import Office


def test_the_command(command: Command, job_log: JobLog, config_file: Path) -> None:
    """It exits with 0 where all agrees, with 1 where a receipt is to be named, and says so as text and as JSON."""
    spool = Spool("office", SpoolFolders(*(config_file.parent / name for name in ("inbox", *Folder))))
    spool.open(INSTALLATION)
    office = Office(job_log, route_on(spool), FakeClock(time.time()))
    jobs = one_of_each(office)
    fine = command("balance")
    assert (fine.code, "\n6 received = 1 succeeded + 2 failed" in fine.out) == (0, True)
    assert fine.err == ""  # no terminal, no progress
    assert command("balance", "--until", "yesterday", "--json").json["received"] == 0
    path_of(office, jobs["a"]).unlink()
    said = command("balance", "--json")
    (found,) = said.json["disagreements"]
    assert (said.code, said.json["agrees"], found["job_id"]) == (1, False, jobs["a"].job_id)
    assert (found["finding"], found["advice"]) == ("archived", Finding.ARCHIVED.advice)
    assert command("balance", "--allow-absent").code == 0
    path_of(office, jobs["b"]).unlink()
    said = command("balance", "--allow-absent", "--inbox", "office")
    assert (said.code, f"b.jpg (job {jobs['b'].job_id})" in said.out) == (1, True)
    spool.close()


def test_the_command_exports(command: Command, job_log: JobLog, config_file: Path, tmp_path: Path) -> None:
    """--csv never replaces a file unless told; on standard output the sums go to standard error."""
    spool = Spool("office", SpoolFolders(*(config_file.parent / name for name in ("inbox", *Folder))))
    spool.open(INSTALLATION)
    one_of_each(Office(job_log, route_on(spool), FakeClock(time.time())))
    spool.close()
    target = tmp_path / "november.csv"
    target.write_text("precious")
    refused = command("balance", "--csv", str(target))
    assert (refused.code, "give --force" in refused.err, target.read_text()) == (1, True, "precious")
    assert command("balance", "--csv", str(target), "--force").code == 0
    assert len(read_back(target)) == 6
    nowhere = command("balance", "--csv", str(tmp_path / "no" / "such.csv"))
    assert (nowhere.code, "cannot be written" in nowhere.err) == (1, True)


@pytest.mark.usefixtures("job_log")
@pytest.mark.parametrize(
    "words",
    [
        ["--since", "soon"],
        ["--inbox", "nobody"],
        ["--csv", "-", "--json"],
        ["--since", "today", "--until", "yesterday"],
    ],
)
def test_usage(command: Command, words: list[str]) -> None:
    """What is asked wrongly is exit code 2."""
    assert command("balance", *words).code == 2
