"""The balance: what was received, what became of it, and whether log and folders agree about each single receipt.

What it promises: received = succeeded + failed + cancelled + duplicates + open. Each job's file is looked for where
the log says, with the recorded size and digest; each file in done/, failed/ and processing/ is looked for in the log.
Each difference is named, once, with what to do. Nothing is changed, neither on disk nor in the log.

It goes by pages, so its memory does not grow with the log, and it never holds up the daemon: a receipt that moves on
meanwhile is looked at again, after a moment, before it is named. The log tells where a file is about to be moved
before it is moved, so each is sought in its old place first, then in its new one. A share that answers nothing is
named, and left out from there on.

Called by the command line and by the daemon's own thread (`daily`); a crash leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.watching.ignored import Ignored
from receipt_watcher.jobs.job import HOME_FOLDER, Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.files import FileClaim
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.report.balance.findings import AGREEING, BalanceSums, Disagreement, Finding
from receipt_watcher.report.balance.folders import BalanceFolders
from receipt_watcher.report.balance.lookup import FileLook, FileLookup
from receipt_watcher.spool.contents import digests, files_below
from receipt_watcher.system.display import display_name

#: Jobs of one page, and files of one look-up. By taste.
_PAGE = 200

#: The length of one pause for the daemon, and the most pauses of one balance.
_MOMENT_SECONDS = 1.0
_MOMENTS = 5

#: The most files without a job that are settled at once. By taste: it bounds the memory.
_MOST_UNCLAIMED = 10_000

#: The file is in a place of its own; what else has its bytes is a copy.
_THERE = frozenset({Finding.OK, Finding.RETURNED, Finding.WRONG_FOLDER})

#: One file may have been recorded so often; by taste.
_SAME_BYTES = 100


@contextlib.contextmanager
def progress_on(stream: TextIO) -> Iterator[Callable[[int], None]]:
    """Show on a terminal, and only there, how many receipts were looked at."""
    if not stream.isatty():
        yield lambda _count: None
        return

    def show(count: int) -> None:
        stream.write(f"\r{count} receipts looked at")
        stream.flush()

    try:
        yield show
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


class Balance:
    """One balance: made, run once, thrown away.

    `is_hash_due` says which files are to be hashed (all, by default); `wait` takes seconds; `write_row` is
    called with each job of the selection, its path by the log and its finding; `show_progress` with how many so far.
    """

    def __init__(
        self,
        log: JobLog,
        inboxes: Sequence[Inbox],
        *,
        wait: Callable[[float], object],
        stopping: threading.Event | None = None,
        is_hash_due: Callable[[Job, os.stat_result], bool] = lambda _job, _status: True,
        write_row: Callable[[Job, str, Finding], None] = lambda _job, _path, _finding: None,
        show_progress: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._log = log
        self._wait = wait
        self._stopping = stopping or threading.Event()
        self._is_hash_due = is_hash_due
        self._write_row = write_row
        self._show_progress = show_progress
        self._sums = BalanceSums()
        self._folders = BalanceFolders(log, inboxes, self._sums, self._stopping)
        self._lookup = FileLookup(self._folders)
        self._moments = _MOMENTS
        self._elsewhere: dict[str, list[str]] = {}  # by job id: files that no job claims, with its bytes

    def run(self, selection: Selection) -> BalanceSums:
        """Prove the jobs of a selection; the result is not whole if `stopping` was set meanwhile."""
        self._folders.look_at_all(selection)
        self._look_for_unclaimed(selection)
        self._look_at_jobs(selection)
        self._name_the_rest()
        return self._sums

    # --- files without a job -----------------------------------------------------------------------------------

    def _look_for_unclaimed(self, selection: Selection) -> None:
        for folder in Folder:
            roots = {self._folders.spools[name][folder]: name for name in reversed(self._folders.chosen(selection))}
            for root, name in roots.items():
                is_inner = any(root.startswith(f"{other}/") for other in roots)  # its files are met in the outer one
                if root not in self._folders.away and not is_inner:
                    self._look_below(name, folder, root)

    def _look_below(self, name: str, folder: Folder, root: str) -> None:
        inbox = self._folders.inboxes[name]
        ignored = Ignored(inbox.ignore_packs, inbox.ignore)
        shut: list[OSError] = []
        files = files_below(root, folder, shut)
        suspects: list[str] = []
        try:
            while (
                paths := self._folders.answered(root, itertools.islice(files, _PAGE))
            ) and not self._stopping.is_set():
                suspects += [
                    path
                    for path in self._unclaimed(folder, paths)
                    if folder is Folder.PROCESSING or not ignored.ignores(path[len(root) + 1 :])
                ]
                if len(suspects) >= _MOST_UNCLAIMED:
                    self._settle_unclaimed(name, folder, root, suspects)
                    suspects = []
            self._settle_unclaimed(name, folder, root, suspects)
        except OSError as error:
            self._folders.lose(name, root, error.strerror or str(error))
        for refused in shut:
            self._sums.findings[Finding.UNREADABLE] += 1
            path = display_name(str(refused.filename))
            self._sums.name(Disagreement(Finding.UNREADABLE, name, path, detail=refused.strerror or ""))

    def _unclaimed(self, folder: Folder, paths: Sequence[str]) -> list[str]:
        """Return the files that no job has, or is being given, there."""
        roots = {spool[folder] for spool in self._folders.spools.values()}
        below = {path[len(root) + 1 :] for root in roots for path in paths if path.startswith(f"{root}/")}
        claimed = {
            place
            for claim in self._log.files.claims_to(list(map(Path, below)))
            for place in self._folders.places_of(claim)
        }
        return [path for path in paths if path not in claimed]

    def _settle_unclaimed(self, name: str, folder: Folder, root: str, suspects: Sequence[str]) -> None:
        """Look again at what no job claimed a moment ago, and find out whose bytes it has.

        Raises:
            OSError: the folder answers nothing any more.
        """
        if not suspects or self._stopping.is_set():
            return
        self._moment()
        for start in range(0, len(suspects), _PAGE):
            paths = self._unclaimed(folder, suspects[start:][:_PAGE])
            digests_by_path = dict(filter(None, self._folders.answered(root, digests(paths))))
            for path, (digest, detail) in digests_by_path.items():
                owner = self._owner_of(digest) if digest else None
                if owner is not None:
                    self._elsewhere.setdefault(owner, []).append(path)
                else:
                    self._sums.findings[Finding.UNKNOWN] += 1
                    self._sums.name(Disagreement(Finding.UNKNOWN, name, display_name(path), detail=detail))

    def _owner_of(self, digest: str) -> str | None:
        """Return the job whose file this may be: one whose own is missing, else the one that it is a copy of."""
        jobs = [job for job in self._log.lookups.with_bytes(digest, _SAME_BYTES) if job.removed_at is None]
        looks = [look for job in jobs for look in self._lookup.looks([job], is_hash_due=_always)]
        lacking = [
            look.job.job_id for look in looks if look.finding not in _THERE and look.job.job_id not in self._elsewhere
        ]
        there = [look.job.job_id for look in looks if look.finding in _THERE]
        return next(iter((*lacking, *there, *(job.job_id for job in jobs))), None)

    # --- jobs --------------------------------------------------------------------------------------------------

    def _look_at_jobs(self, selection: Selection) -> None:
        after = ""
        while (jobs := self._log.lookups.page(selection, after, _PAGE)) and not self._stopping.is_set():
            after = jobs[-1].job_id
            for look in self._settled(self._judged(jobs, self._is_hash_due)):
                self._add(look)
            self._show_progress(self._sums.received)

    def _add(self, look: FileLook) -> None:
        """Count one receipt, and name it if log and folders disagree."""
        finding, detail = self._final(look)
        self._sums.states[look.job.state] += 1
        self._sums.hashed += look.is_hashed
        self._name(look.job, finding, detail)
        self._write_row(look.job, self._folders.path_of(look.job), finding)

    def _final(self, look: FileLook) -> tuple[Finding, str]:
        """Return what is found of a job in the end: a file without a job may have its bytes."""
        copies = self._elsewhere.pop(look.job.job_id, None)
        if copies is None:
            return look.finding, look.detail
        finding = Finding.TWO_PLACES if look.finding in _THERE else Finding.ELSEWHERE
        return finding, f"found at {', '.join(map(display_name, copies))}"

    def _name(self, job: Job, finding: Finding, detail: str) -> None:
        self._sums.findings[finding] += 1
        if finding not in AGREEING | {Finding.UNREACHABLE}:  # a folder that is away is named alone, without its files
            self._sums.name(
                Disagreement(finding, job.inbox, self._folders.path_of(job), job.job_id, job.filename, detail)
            )

    def _name_the_rest(self) -> None:
        """Name the receipts outside of the selection whose bytes lie about in its folders."""
        for job_id in list(self._elsewhere):
            job = self._log.lookups.get(job_id)
            for look in self._judged([job] if job else [], _always):
                finding, detail = self._final(look)
                self._name(look.job, finding, detail)

    def _settled(self, looks: Iterable[FileLook]) -> Iterator[FileLook]:
        """Yield what was found; what disagrees only after a second look, since receipts move on meanwhile."""
        first = list(looks)
        doubtful = {look.job.job_id for look in first if look.finding not in AGREEING | {Finding.UNREACHABLE}}
        if doubtful and not self._stopping.is_set():
            self._moment()
        jobs = [job for job_id in sorted(doubtful) if (job := self._log.lookups.get(job_id))]
        again = {look.job.job_id: look for look in self._judged(jobs, _always)}
        for look in first:
            yield again.get(look.job.job_id, look)

    def _moment(self) -> None:
        """Give the daemon time to finish its moves; a bounded number of times, in case much is wrong."""
        if self._moments:
            self._moments -= 1
            self._wait(_MOMENT_SECONDS)

    def _judged(self, jobs: Sequence[Job], is_hash_due: Callable[[Job, os.stat_result], bool]) -> list[FileLook]:
        """Look at the files of jobs, and judge what was found by what the log knows besides."""
        newer = self._newer_claims(jobs)
        looks = self._lookup.looks(
            jobs, is_hash_due=lambda job, status: job.job_id in newer or is_hash_due(job, status)
        )
        return [self._judge(look, newer.get(look.job.job_id)) for look in looks]

    def _judge(self, look: FileLook, newer: FileClaim | None) -> FileLook:
        job, finding = look.job, look.finding
        if newer is not None and (finding is Finding.CHANGED or newer.sha256 == job.sha256):
            finding = Finding.MISSING  # people took the file away, and the next one of that name got its place
        if finding in (Finding.MISSING, Finding.CHANGED) and job.reason in (Reason.FILE_MISSING, Reason.CHANGED):
            finding = Finding.KNOWN
        elif finding is Finding.MISSING and job.folder is Folder.DONE and job.moving_to_folder is None:
            finding = Finding.ARCHIVED
        elif finding is Finding.OK and not job.move_due and self._home_of(job) is not job.folder:
            finding = Finding.WRONG_FOLDER
        return FileLook(job, finding, look.is_hashed, look.detail)

    def _home_of(self, job: Job) -> Folder:
        return self._log.files.home_of(job) if job.state is State.DUPLICATE else HOME_FOLDER[job.state]

    def _newer_claims(self, jobs: Sequence[Job]) -> dict[str, FileClaim]:
        """Return, by job id, the newest other job that says that its file is in the same place."""
        claims = sorted(self._log.files.claims_to({job.stored_path for job in jobs}), key=lambda claim: claim.job_id)
        newest = {place: claim for claim in claims for place in self._folders.places_of(claim)}
        claim_of = {job.job_id: newest.get(place) for job in jobs for place in self._folders.places(job)[:1]}
        return {job_id: claim for job_id, claim in claim_of.items() if claim is not None and claim.job_id > job_id}


def _always(_job: Job, _status: os.stat_result) -> bool:
    return True
