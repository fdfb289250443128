"""After any changes by hand a balance names exactly what was changed."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.report.balance.findings import Finding
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from tests.conftest import INSTALLATION, FakeClock, open_log
from tests.fakes.daemons.process import RunningDaemon, digest
from tests.unit.inbox.test_take_in import route_on
from tests.unit.report.balance.balance_office import CONTENTS, proof
from tests.unit.spool.filing.office import Office

ENDS = ("succeed", "fail", "cancel", "open", "refused")
TAMPERINGS = ("delete", "change", "rename", "copy", "move", "put back", "foreign", "drop back")


class Tampered:
    """An office whose folders somebody goes through; what is on disk is the only thing that it remembers."""

    def __init__(self, root: Path, ends: list[tuple[str, int]]) -> None:
        self.log = open_log(root / "receipts.db")
        (root / "inbox").mkdir()
        self.folders = SpoolFolders(*(root / name for name in ("inbox", "processing", "done", "failed")))
        self.spool = Spool("office", self.folders)
        self.spool.open(INSTALLATION)
        self.office = Office(self.log, route_on(self.spool), FakeClock())
        for number, (end, picture) in enumerate(ends):
            content = b"no picture %d" % picture if end == "refused" else CONTENTS[picture]
            job = self.office.drop_in(f"{number}.jpg", content)
            if job.state is State.QUEUED and end != "open":
                event = {"succeed": Event.SUCCEED, "fail": Event.FAIL, "cancel": Event.CANCEL}[end]
                self.office.tell(job, event, **({"reason": Reason.N8N_FAILURE} if end == "fail" else {}))
            self.office.file()
        self.jobs = self.office.recorded()
        self.places = [self.office.route.path_of(job) for job in self.jobs]
        self.originals = [path.read_bytes() for path in self.places]

    def close(self) -> None:
        """End it."""
        self.spool.close()
        self.log.database.close()

    def tamper(self, how: str, which: int, number: int) -> None:
        """Do one thing by hand; what is not possible any more is left undone."""
        path, original = self.places[which % len(self.places)], self.originals[which % len(self.places)]
        folder = (self.folders.done, self.folders.failed)[number % 2]
        if how == "foreign":
            (folder / f"foreign {number}").write_bytes(b"foreign %d" % number)
        elif how == "put back":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(original)
        elif not path.exists():
            return
        elif how == "delete":
            path.unlink()
        elif how == "change":
            path.write_bytes(b"%06d" % number + path.read_bytes()[6:])
        elif how == "rename":
            path.rename(path.with_name(f"renamed {number}"))
        elif how == "copy":
            shutil.copy(path, folder / f"copied {number}")
        elif how == "move":
            path.rename(folder / f"moved {number}")
        elif how == "drop back":
            path.rename(self.folders.inbox / path.name)

    def expected(self) -> tuple[set[str], set[str], Counter[str]]:
        """Return by what is on disk: the jobs whose file is not there, foreign files, and spare copies by digest."""
        back = {path.name: digest(path.read_bytes()) for path in self.folders.inbox.iterdir()}
        lacking = {
            job.job_id
            for job, path in zip(self.jobs, self.places, strict=True)
            if (not path.exists() or digest(path.read_bytes()) != job.sha256)
        }
        returned = {
            job.job_id
            for job in self.jobs
            if job.folder is Folder.FAILED and back.get(job.stored_path.name) == job.sha256
        }
        known = {job.sha256 for job in self.jobs}
        foreign: set[str] = set()
        spare: Counter[str] = Counter()
        for path in {path for folder in Folder for path in RunningDaemon.files(self.folders.path_of(folder))}:
            if path not in self.places:
                sha256 = digest(path.read_bytes())
                if sha256 in known:
                    spare[sha256] += 1
                else:
                    foreign.add(str(path))
        return lacking - returned, foreign, spare

    def kind(self, job: Job) -> Finding:
        """Return what is wrong with a job whose file is not there, and nowhere else."""
        if self.office.route.path_of(job).exists():
            return Finding.CHANGED
        return Finding.ARCHIVED if job.folder is Folder.DONE else Finding.MISSING


@settings(max_examples=40)
@given(
    ends=st.lists(st.tuples(st.sampled_from(ENDS), st.integers(0, 5)), min_size=1, max_size=6),
    steps=st.lists(st.tuples(st.sampled_from(TAMPERINGS), st.integers(0, 5)), max_size=6),
)
def test_it_names_what_was_tampered_with(ends: list[tuple[str, int]], steps: list[tuple[str, int]]) -> None:
    """After any jobs and any changes by hand it names exactly the receipts and files that are not as they were."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Tampered(Path(folder), ends)
        try:
            for number, (how, which) in enumerate(steps):
                scene.tamper(how, which, number)
            sums = proof(scene.office)
            lacking, foreign, spare = scene.expected()
            found = {each.job_id: each.finding for each in sums.named if each.job_id}
            assert {each.path for each in sums.named if each.finding is Finding.UNKNOWN} == foreign
            assert lacking <= found.keys()
            for sha256 in {job.sha256 or "" for job in scene.jobs}:
                of_bytes = [job for job in scene.jobs if job.sha256 == sha256]
                missing = [job for job in of_bytes if job.job_id in lacking]
                elsewhere = [job for job in missing if found[job.job_id] is Finding.ELSEWHERE]
                assert len(elsewhere) == min(spare[sha256], len(missing))
                assert all(found[job.job_id] is scene.kind(job) for job in missing if job not in elsewhere)
                copied = [job for job in of_bytes if job not in missing and job.job_id in found]
                assert len(copied) == (spare[sha256] > len(missing) and len(missing) < len(of_bytes))
                assert all(found[job.job_id] is Finding.TWO_PLACES for job in copied)
            assert sums.received == len(scene.jobs) == sum(sums.summands().values())
        finally:
            scene.close()
