"""The balance: what was received, what became of it, and whether log and folders agree about each single receipt.

What it promises: received = succeeded + failed + cancelled + duplicates + open. Each job's file is looked for where
the log says, with the recorded size and digest; each file in done/, failed/ and processing/ is looked for in the log.
Each difference is named, once, with what to do. Nothing is changed, neither on disk nor in the log.

It goes by pages, so its memory does not grow with the log, and it never holds up the daemon: a receipt that moves on
meanwhile is looked at again, after a moment, before it is named. The log tells where a file is about to be moved
before it is moved, so each is sought in its old place first, then in its new one. A share that answers nothing is
named, and left out from there on.

Called by the command line and by the daemon's own thread (`audit`); a crash leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.inbox.watching.ignored import Ignored
from receipt_watcher.jobs.job import HOME_FOLDER, Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.files import Claim
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.report.balance.findings import AGREEING, BalanceSums, Disagreement, Finding
from receipt_watcher.spool.bindings import Bindings
from receipt_watcher.spool.contents import difference, digests, files_below, hashing, is_there, status_of
from receipt_watcher.spool.folders import SpoolFolders
from receipt_watcher.system.display import display_name
from receipt_watcher.system.time_limit import answering

#: How long one answer of a file system is waited for: one stat(2), one piece of a file.
ANSWER_SECONDS = 20.0

#: Jobs of one page, and files of one look-up. By taste.
_PAGE = 200

#: How long a moment is, and how many of them one balance takes at the most.
_MOMENT_SECONDS = 1.0
_MOMENTS = 5

#: So many files without a job are settled at once. By taste: it bounds the memory.
_STRANGERS = 10_000

#: The file is in a place of its own; what else has its bytes is a copy.
_THERE = frozenset({Finding.OK, Finding.RETURNED, Finding.WRONG_FOLDER})

#: One file may have been recorded so often; by taste.
_SAME_BYTES = 100


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found where one job's file should be."""

    job: Job
    finding: Finding
    is_hashed: bool = False
    detail: str = ""


@contextlib.contextmanager
def progress_on(stream: TextIO) -> Iterator[Callable[[int], None]]:
    """Show on a terminal, and only there, how many receipts were looked at."""
    if not stream.isatty():
        yield lambda _count: None
        return

    def tell(count: int) -> None:
        stream.write(f"\r{count} receipts looked at")
        stream.flush()

    try:
        yield tell
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


class Balance:
    """One balance: made, run once, thrown away.

    `is_hash_due` tells which files are to be hashed (all, by default); `wait` waits so many seconds; `tell_row` is
    called with each job of the selection, its path by the log and its finding; `tell_progress` with how many so far.
    """

    def __init__(
        self,
        log: JobLog,
        inboxes: Sequence[Inbox],
        *,
        wait: Callable[[float], object],
        stopping: threading.Event | None = None,
        is_hash_due: Callable[[Job, os.stat_result], bool] = lambda _job, _status: True,
        tell_row: Callable[[Job, str, Finding], None] = lambda _job, _path, _finding: None,
        tell_progress: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._log = log
        self._inboxes = {inbox.name: inbox for inbox in inboxes}
        self._wait = wait
        self._stopping = stopping or threading.Event()
        self._is_hash_due = is_hash_due
        self._tell_row = tell_row
        self._tell_progress = tell_progress
        self._sums = BalanceSums()
        self._moments = _MOMENTS
        self._spools: dict[str, dict[Folder, str]] = {}  # of every configured inbox: where its folders really are
        self._away: set[str] = set()  # folders that are not there, or that answer nothing
        self._elsewhere: dict[str, list[str]] = {}  # by job id: files that no job claims, with its bytes

    def run(self, selection: Selection) -> BalanceSums:
        """Prove the jobs of a selection; what it returns is not whole where `stopping` was set meanwhile."""
        self._look_at_folders(selection)
        self._look_for_strangers(selection)
        self._look_at_jobs(selection)
        self._name_the_rest()
        return self._sums

    def _chosen(self, selection: Selection) -> list[str]:
        """Return the configured inboxes of a selection."""
        names = self._inboxes if selection.inbox is None else {selection.inbox} & self._inboxes.keys()
        return [name for name in names if name not in selection.but]

    # --- folders -----------------------------------------------------------------------------------------------

    def _look_at_folders(self, selection: Selection) -> None:
        for name, inbox in self._inboxes.items():
            folders = {
                Folder.PROCESSING: inbox.processing_dir,
                Folder.DONE: inbox.done_dir,
                Folder.FAILED: inbox.failed_dir,
            }
            self._spools[name] = {
                folder: str(path) if name in selection.but else self._real(path) for folder, path in folders.items()
            }
        looked_at = {root for name in self._inboxes if name not in selection.but for root in self._roots(name)}
        self._away = {root for name in selection.but & self._inboxes.keys() for root in self._roots(name)} - looked_at
        for name in self._chosen(selection):
            for folder, root in self._spools[name].items():
                if root in self._away:
                    continue
                self._look_at_folder(name, folder, root)

    def _look_at_folder(self, name: str, folder: Folder, root: str) -> None:
        """Name a folder that is not there, does not answer, or is another one than was used."""
        inbox = self._inboxes[name]
        folders = SpoolFolders(inbox.path, inbox.processing_dir, inbox.done_dir, inbox.failed_dir)
        bindings = Bindings(self._log, name, folders)

        def look() -> str:
            if not is_there(folder, root):
                return "it is not there, or not ours"
            return bindings.trouble_of_bound(folder, is_ours=True) or ""

        try:
            whys = self._answered(root, (each() for each in (look,)))
        except OSError as error:
            whys = [error.strerror or str(error)]
        for why in filter(None, whys):
            self._lose(name, root, why)

    def _look_again(self, job: Job, root: str) -> None:
        """See whether a folder where a file is missing went away since the balance began."""
        if job.inbox in self._spools:
            self._look_at_folder(job.inbox, job.folder, root)

    def _real(self, path: Path) -> str:
        """Return where a folder really is; one that answers nothing counts by its name, and is told then."""
        try:
            return next(iter(self._answered(str(path), map(os.path.realpath, [path]))), str(path))
        except OSError:
            return os.path.normpath(path)

    def _roots(self, name: str) -> Iterable[str]:
        return self._spools[name].values()

    def _lose(self, inbox: str, root: str, why: str) -> None:
        """Name a folder that cannot be looked at, once; of its receipts nothing more is said than that."""
        if root not in self._away:
            self._away.add(root)
            self._sums.findings[Finding.UNREACHABLE] += 1
            self._sums.name(Disagreement(Finding.UNREACHABLE, inbox, display_name(root), detail=why))

    # --- files without a job -----------------------------------------------------------------------------------

    def _look_for_strangers(self, selection: Selection) -> None:
        for folder in Folder:
            roots = {self._spools[name][folder]: name for name in reversed(self._chosen(selection))}
            for root, name in roots.items():
                is_inner = any(root.startswith(f"{other}/") for other in roots)  # its files are met in the outer one
                if root not in self._away and not is_inner:
                    self._look_below(name, folder, root)

    def _look_below(self, name: str, folder: Folder, root: str) -> None:
        inbox = self._inboxes[name]
        ignored = Ignored(inbox.ignore_packs, inbox.ignore)
        shut: list[OSError] = []
        files = files_below(root, folder, shut)
        suspects: list[str] = []
        try:
            while (paths := self._answered(root, itertools.islice(files, _PAGE))) and not self._stopping.is_set():
                suspects += [
                    path
                    for path in self._unclaimed(folder, paths)
                    if folder is Folder.PROCESSING or not ignored.ignores(path[len(root) + 1 :])
                ]
                if len(suspects) >= _STRANGERS:
                    self._settle_strangers(name, folder, root, suspects)
                    suspects = []
            self._settle_strangers(name, folder, root, suspects)
        except OSError as error:
            self._lose(name, root, error.strerror or str(error))
        for refused in shut:
            self._sums.findings[Finding.UNREADABLE] += 1
            path = display_name(str(refused.filename))
            self._sums.name(Disagreement(Finding.UNREADABLE, name, path, detail=refused.strerror or ""))

    def _unclaimed(self, folder: Folder, paths: Sequence[str]) -> list[str]:
        """Return the files that no job has, or is being given, there."""
        roots = {spool[folder] for spool in self._spools.values()}
        below = {path[len(root) + 1 :] for root in roots for path in paths if path.startswith(f"{root}/")}
        claimed = {
            place for claim in self._log.files.claims_to(list(map(Path, below))) for place in self._places_of(claim)
        }
        return [path for path in paths if path not in claimed]

    def _settle_strangers(self, name: str, folder: Folder, root: str, suspects: Sequence[str]) -> None:
        """Look again at what no job claimed a moment ago, and find out whose bytes it has.

        Raises:
            OSError: the folder answers nothing any more.
        """
        if not suspects or self._stopping.is_set():
            return
        self._moment()
        for start in range(0, len(suspects), _PAGE):
            paths = self._unclaimed(folder, suspects[start:][:_PAGE])
            found = dict(filter(None, self._answered(root, digests(paths))))
            for path, (digest, detail) in found.items():
                owner = self._owner_of(digest) if digest else None
                if owner is not None:
                    self._elsewhere.setdefault(owner, []).append(path)
                else:
                    self._sums.findings[Finding.UNKNOWN] += 1
                    self._sums.name(Disagreement(Finding.UNKNOWN, name, display_name(path), detail=detail))

    def _owner_of(self, digest: str) -> str | None:
        """Return the job whose file this may be: one whose own is missing, else the one that it is a copy of."""
        jobs = [job for job in self._log.lookups.with_bytes(digest, _SAME_BYTES) if job.removed_at is None]
        looks = [look for job in jobs for look in self._looks([job], is_hash_due=_always)]
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
            self._tell_progress(self._sums.received)

    def _add(self, look: _Look) -> None:
        """Count one receipt, and name it where log and folders disagree."""
        finding, detail = self._final(look)
        self._sums.states[look.job.state] += 1
        self._sums.hashed += look.is_hashed
        self._name(look.job, finding, detail)
        self._tell_row(look.job, self._path(look.job), finding)

    def _final(self, look: _Look) -> tuple[Finding, str]:
        """Return what is found of a job in the end: a file without a job may have its bytes."""
        copies = self._elsewhere.pop(look.job.job_id, None)
        if copies is None:
            return look.finding, look.detail
        finding = Finding.TWO_PLACES if look.finding in _THERE else Finding.ELSEWHERE
        return finding, f"found at {', '.join(map(display_name, copies))}"

    def _name(self, job: Job, finding: Finding, detail: str) -> None:
        self._sums.findings[finding] += 1
        if finding not in AGREEING | {Finding.UNREACHABLE}:  # of a folder that is away only that is told
            self._sums.name(Disagreement(finding, job.inbox, self._path(job), job.job_id, job.filename, detail))

    def _path(self, job: Job) -> str:
        """Return where a job's file is by the log, as text."""
        if job.inbox in self._spools:
            return display_name(self._places(job)[0])
        return display_name(Path(job.folder, job.stored_path))

    def _name_the_rest(self) -> None:
        """Name the receipts outside of the selection whose bytes lie about in its folders."""
        for job_id in list(self._elsewhere):
            job = self._log.lookups.get(job_id)
            for look in self._judged([job] if job else [], _always):
                finding, detail = self._final(look)
                self._name(look.job, finding, detail)

    def _settled(self, looks: Iterable[_Look]) -> Iterator[_Look]:
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
        """Give the daemon the time to finish what it has begun; not for ever, where much is amiss."""
        if self._moments:
            self._moments -= 1
            self._wait(_MOMENT_SECONDS)

    def _judged(self, jobs: Sequence[Job], is_hash_due: Callable[[Job, os.stat_result], bool]) -> list[_Look]:
        """Look at the files of jobs, and judge what was found by what the log knows besides."""
        newer = self._newer_claims(jobs)
        looks = self._looks(jobs, is_hash_due=lambda job, status: job.job_id in newer or is_hash_due(job, status))
        return [self._judge(look, newer.get(look.job.job_id)) for look in looks]

    def _judge(self, look: _Look, newer: Claim | None) -> _Look:
        job, finding = look.job, look.finding
        if newer is not None and (finding is Finding.CHANGED or newer.sha256 == job.sha256):
            finding = Finding.MISSING  # people took the file away, and the next one of that name got its place
        if finding in (Finding.MISSING, Finding.CHANGED) and job.reason in (Reason.FILE_MISSING, Reason.CHANGED):
            finding = Finding.KNOWN
        elif finding is Finding.MISSING and job.folder is Folder.DONE and job.moving_to_folder is None:
            finding = Finding.ARCHIVED
        elif finding is Finding.OK and not job.move_due and self._home_of(job) is not job.folder:
            finding = Finding.WRONG_FOLDER
        return _Look(job, finding, look.is_hashed, look.detail)

    def _home_of(self, job: Job) -> Folder:
        return self._log.files.home_of(job) if job.state is State.DUPLICATE else HOME_FOLDER[job.state]

    def _newer_claims(self, jobs: Sequence[Job]) -> dict[str, Claim]:
        """Return, by job id, the newest other job that says that its file is in the same place."""
        claims = sorted(self._log.files.claims_to({job.stored_path for job in jobs}), key=lambda claim: claim.job_id)
        newest = {place: claim for claim in claims for place in self._places_of(claim)}
        found = {job.job_id: newest.get(place) for job in jobs for place in self._places(job)[:1]}
        return {job_id: claim for job_id, claim in found.items() if claim is not None and claim.job_id > job_id}

    # --- places ------------------------------------------------------------------------------------------------

    def _places(self, job: Job) -> list[str]:
        """Return where a job's file may be: where it is by the log, then where it is being moved to."""
        places = self._below(job.inbox, job.folder, job.stored_path)
        if job.moving_to_folder is not None and job.moving_to_path is not None:
            places += self._below(job.inbox, job.moving_to_folder, job.moving_to_path)
        return places

    def _places_of(self, claim: Claim) -> list[str]:
        return self._below(claim.inbox, claim.folder, claim.path)

    def _below(self, inbox: str, folder: Folder, path: Path) -> list[str]:
        """Return a path below a folder of an inbox; of one that is no longer configured, in every spool."""
        if inbox in self._spools:
            return [f"{self._spools[inbox][folder]}/{path}"]
        roots = dict.fromkeys(spool[folder] for spool in self._spools.values())
        return [f"{root}/{path}" for root in roots if root not in self._away]

    def _looks(self, jobs: Sequence[Job], *, is_hash_due: Callable[[Job, os.stat_result], bool]) -> list[_Look]:
        """Look at the files of jobs, folder by folder, so that one that answers nothing is known by its name."""
        found: dict[str, _Look] = {}
        for root, group in itertools.groupby(sorted(jobs, key=self._root_of), key=self._root_of):
            of_root = list(group)
            if root not in self._away:
                try:
                    looks = filter(None, self._answered(root, self._look_at(of_root, is_hash_due)))
                    found |= {look.job.job_id: look for look in looks}
                    if any(found[job.job_id].finding is Finding.MISSING for job in of_root if job.job_id in found):
                        self._look_again(of_root[0], root)
                except TimeoutError as error:
                    self._lose(of_root[0].inbox, root, error.strerror or "")
            if root in self._away:
                found |= {job.job_id: _Look(job, Finding.UNREACHABLE) for job in of_root}
        return [found[job.job_id] for job in jobs if job.job_id in found]  # all, unless it was stopped

    def _root_of(self, job: Job) -> str:
        return self._spools[job.inbox][job.folder] if job.inbox in self._spools else f"inbox {job.inbox}"

    def _answered(self, what: str, steps: Iterable[Any]) -> list[Any]:
        return answering(ANSWER_SECONDS, steps, what, self._stopping)

    # --- on disk: what follows runs in a thread of its own, step by step ---------------------------------------

    def _look_at(
        self, jobs: Sequence[Job], is_hash_due: Callable[[Job, os.stat_result], bool]
    ) -> Iterator[_Look | None]:
        """Look at the files of jobs; None after each piece of one that is read, as a sign of life."""
        for job in jobs:
            try:
                yield from self._look_at_one(job, is_hash_due)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise
                yield _Look(job, Finding.UNREADABLE, detail=error.strerror or str(error))

    def _look_at_one(self, job: Job, is_hash_due: Callable[[Job, os.stat_result], bool]) -> Iterator[_Look | None]:
        if job.removed_at is not None:
            yield _Look(job, Finding.REMOVED)
            return
        detail, is_hashed = "", False
        for place in self._places(job):
            status = status_of(place)
            if status is None:
                continue
            detail = difference(status, job)
            if not detail and job.sha256 is not None and is_hash_due(job, status):
                is_hashed = True
                digest = yield from hashing(place)
                detail = "" if digest == job.sha256 else f"its digest is {digest}, not {job.sha256}"
            if not detail:
                yield _Look(job, Finding.OK, is_hashed)
                return
        if job.folder is Folder.FAILED and (yield from self._is_in_inbox(job)):
            yield _Look(job, Finding.RETURNED, is_hashed=True)
        elif job.inbox not in self._spools:
            yield _Look(job, Finding.UNCONFIGURED, is_hashed)
        else:
            yield _Look(job, Finding.CHANGED if detail else Finding.MISSING, is_hashed, detail)

    def _is_in_inbox(self, job: Job) -> Generator[None, None, bool]:
        """Tell, by returning it, whether a failed job's file lies in the inbox again."""
        if job.inbox not in self._inboxes:
            return False
        inbox = self._inboxes[job.inbox].path
        for place in {inbox / job.relative_path, inbox / job.stored_path, inbox / job.stored_path.name}:
            status = status_of(str(place))
            if status is not None and not difference(status, job) and job.sha256 == (yield from hashing(str(place))):
                return True
        return False


def _always(_job: Job, _status: os.stat_result) -> bool:
    return True
