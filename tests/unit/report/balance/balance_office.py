"""A balance of an office, and receipts for it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.states import Event
from receipt_watcher.report.balance.balance import Balance
from receipt_watcher.report.balance.csv_export import unguarded
from receipt_watcher.report.balance.findings import BalanceSums
from receipt_watcher.spool.paths import SpoolFolders
from tests.fakes.daemons.process import jpegs
from tests.unit.spool.filing.office import Office

EVERYTHING = Selection()
CONTENTS = jpegs(12)


def inbox_of(folders: SpoolFolders, name: str = "office", **options: Any) -> Inbox:
    """Return the configuration of an inbox with its usual folders."""
    return Inbox.model_validate({"path": str(folders.inbox), "name": name, **options})


def proof(office: Office, selection: Selection = EVERYTHING, **options: Any) -> BalanceSums:
    """Make a balance of an office; a moment takes no time."""
    options = {"wait": lambda _seconds: None} | options
    return Balance(office.log, [inbox_of(office.route.spool.folders)], **options).run(selection)


def named(sums: BalanceSums) -> list[tuple[str, str]]:
    """Return what was named: the finding, and the receipt's name, or else the last part of the path."""
    return sorted((each.finding.value, each.filename or Path(each.path).name) for each in sums.named)


def path_of(office: Office, job: Job) -> Path:
    """Return where the log says that a job's file is now."""
    return office.route.path_of(office.now(job))


def one_of_each(office: Office) -> dict[str, Job]:
    """Return a receipt for each way that one can end, filed; and one that is open."""
    jobs = {name: office.drop_in(f"{name}.jpg", content) for name, content in zip("abcd", CONTENTS, strict=False)}
    office.tell(jobs["a"], Event.SUCCEED)
    office.fail(jobs["b"])
    office.tell(jobs["c"], Event.CANCEL)
    jobs["copy"] = office.drop_in("copy.jpg", CONTENTS[0])
    jobs["refused"] = office.drop_in("refused.jpg", b"no picture")
    office.file()
    return jobs


def read_back(path: Path) -> list[dict[str, str]]:
    """Read an export as Python's csv does, without the guards."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [{name: unguarded(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
