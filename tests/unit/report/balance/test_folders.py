"""A folder or file that does not answer is named, and the others are proven."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.jobs.job import Folder
from receipt_watcher.report.balance import folders, lookup
from receipt_watcher.report.balance.findings import Finding
from receipt_watcher.spool import contents
from receipt_watcher.system.time_limit import answering
from tests.unit.report.balance.balance_office import named, one_of_each, path_of, proof
from tests.unit.spool.filing.office import Office


@pytest.mark.parametrize("folder", list(Folder))
def test_a_folder_that_is_away(office: Office, folder: Folder) -> None:
    """Of a folder that is not there, or that is not ours, that is named, and not each receipt in it."""
    one_of_each(office)
    root = office.route.spool.folders.path_of(folder)
    root.rename(root.with_name("unmounted"))
    if folder is Folder.PROCESSING:
        root.mkdir()  # the empty folder under a mount
    sums = proof(office)
    in_folder = sum(job.folder is folder for job in office.recorded())
    assert in_folder > 0
    assert named(sums) == [("unreachable", folder.value)]
    assert sums.findings == Counter({Finding.UNREACHABLE: in_folder + 1, Finding.OK: 6 - in_folder})


def test_a_share_that_does_not_answer(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that falls silent costs its own receipts their proof, once the time is over, and nobody else's."""
    jobs = one_of_each(office)
    monkeypatch.setattr(folders, "ANSWER_SECONDS", 0.3)
    speaks = threading.Event()
    status_of = contents.stat_of

    def silent_in_done(path: str) -> os.stat_result | None:
        if "/done/" in path:
            speaks.wait(60)
        return status_of(path)

    monkeypatch.setattr(lookup, "stat_of", silent_in_done)
    sums = proof(office)
    speaks.set()
    assert sums.findings == Counter({Finding.UNREACHABLE: 3, Finding.OK: 4})
    (found,) = sums.named
    assert (Path(found.path).name, "did not answer" in found.detail) == ("done", True)
    assert sums.received == len(jobs)


def test_what_cannot_be_read(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not give a file is said of that file; the others are proven all the same."""
    jobs = one_of_each(office)
    bad = str(path_of(office, jobs["b"]))
    hashing = contents.hashing

    def failing(path: str) -> Any:
        if path == bad:
            raise OSError(5, "Input/output error")
        return hashing(path)

    monkeypatch.setattr(lookup, "hashing", failing)
    sums = proof(office)
    assert named(sums) == [("unreadable", "b.jpg")]
    assert sums.named[0].detail == "Input/output error"


def test_steps_that_answer() -> None:
    """Many steps may take long together; one that does not end is given up, and so is everything after a stop."""
    assert answering(5, iter(range(1000)), "it") == list(range(1000))
    speaks = threading.Event()

    def silent() -> Iterator[int]:
        yield 1
        speaks.wait(60)

    with pytest.raises(TimeoutError, match="did not answer within"):
        answering(0.2, silent(), "it")
    stopping = threading.Event()
    stopping.set()
    assert answering(60, silent(), "it", stopping) in ([], [1])
    speaks.set()

    def broken() -> Iterator[int]:
        yield 1
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        answering(5, broken(), "it")
