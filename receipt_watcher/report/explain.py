"""`receipt-watcher explain`: one answer to «why not yet» for a file, and to «what became of it» for a job.

What it promises: it works while the daemon runs and while it does not; it changes nothing; a file system that answers
nothing is said so within seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from receipt_watcher.config.branches import branch_named, near_miss
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.examine.examiners import Examiners, bounds_of
from receipt_watcher.inbox import state as snapshots
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.inbox.wait_reasons import NEVER, WAITS_FOR_PATIENCE, WaitReason
from receipt_watcher.jobs.job import Folder, Job, is_overdue, job_id_prefix
from receipt_watcher.jobs.json_view import full_view, iso_time
from receipt_watcher.jobs.log.holds import REFUSED_EVENT, REFUSED_WORDS, DestinationState
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import OPEN_STATES, State
from receipt_watcher.report.file_causes import Cause, InboxContext, duplicate_of, look_at
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from receipt_watcher.system.display import as_sentence, display_name
from receipt_watcher.system.permissions import owner_of
from receipt_watcher.system.runtime_dir import noted_runtime_folder
from receipt_watcher.system.time_limit import within

#: A file system may answer nothing for so long: a person waits.
ANSWER_SECONDS = 5.0

#: A file is watched for so long, to see whether it grows.
_WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer: what it is about, in one sentence what there is to say, why, what to do, and the facts."""

    about: str
    code: str
    answer: str
    causes: tuple[Cause, ...] = ()
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] | None = None

    @property
    def is_fine(self) -> bool:
        """Whether nobody has to do anything."""
        return not self.causes and self.code not in (State.FAILURE, WaitReason.UNAVAILABLE)

    def lines(self) -> Iterator[str]:
        """Yield the explanation in lines."""
        yield self.about
        yield f"  {self.answer}"
        for cause in self.causes:
            yield f"  {cause.why.value}: {cause.why.meaning}"
            if cause.detail:
                yield f"    {cause.detail}"
            yield f"    → {cause.what_to_do}"
            if cause.until:
                ends = "the patience with it ends" if cause.why in WAITS_FOR_PATIENCE else "it is looked at again"
                yield f"    {ends} at {iso_time(cause.until)}"
        if self.advice:
            yield f"  → {self.advice}"
        for name, value in self.facts.items():
            if value not in (None, ""):
                yield f"  {name.replace('_', ' ')}: {value}"
        if self.job is not None:
            yield from _timeline(self.job)

    def as_json(self) -> dict[str, Any]:
        """Return the explanation as JSON takes it."""
        return {
            "about": self.about,
            "code": self.code,
            "answer": self.answer,
            "causes": [
                {
                    "code": cause.why.value,
                    "meaning": cause.why.meaning,
                    "detail": cause.detail,
                    "advice": cause.what_to_do,
                    "until": iso_time(cause.until),
                }
                for cause in self.causes
            ],
            "advice": self.advice,
            "facts": self.facts,
            "job": self.job,
        }


def _timeline(job: dict[str, Any]) -> Iterator[str]:
    """Yield a job's history and deliveries, in the order in which they happened."""
    rows = [
        (row["at"], row["event"], f"{row['from'] or ''} → {row['to']}" if row["to"] else "", row["detail"] or "")
        for row in job["history"]
    ]
    rows += [
        (row["ended_at"], "delivery", row["outcome"], f"{row['status_code'] or ''} {row['message'] or ''}".strip())
        for row in job["deliveries"]
    ]
    yield "  timeline:"
    for at, event, change, detail in sorted(rows, key=lambda row: row[0]):
        yield f"    {at}  {event:12} {change:24} {detail}".rstrip()


class Explainer:
    """Answers for one configuration. `log` is None before the first start, `wait` pauses for some seconds."""

    def __init__(
        self, config: Config, log: JobLog | None, *, is_running: bool, now: float, wait: Callable[[float], object]
    ) -> None:
        self._config = config
        self._log = log
        self._is_running = is_running
        self._now = now
        self._wait = wait

    # --- what is meant -----------------------------------------------------------------------------------------

    def about_path(self, name: str, cwd: Path) -> Explanation | None:
        """Explain what lies, or lay, at a path; None if it is in no folder of ours.

        A relative path counts from here, and then from each inbox.

        Raises:
            TimeoutError: a file system does not answer.
        """
        paths = [cwd / name, *(inbox.path / name for inbox in self._config.inboxes)]
        return within(ANSWER_SECONDS, lambda: next(filter(None, map(self._about, paths)), None), name)

    def _about(self, path: Path) -> Explanation | None:
        place = Path(os.path.realpath(path.parent)) / path.name
        for inbox in self._config.inboxes:
            relative = _below(place, inbox.path)
            if relative is not None:
                return self._in_inbox(inbox, str(relative))
            job = self._job_at(inbox, place)
            if job is not None and self._log is not None:
                return self.about_job(job, self._log)
        return None

    def _job_at(self, inbox: Inbox, place: Path) -> Job | None:
        for folder in Folder:
            relative = _below(place, SpoolFolders.of(inbox).path_of(folder))
            if relative is not None and self._log is not None:
                receipt = relative.with_name(relative.name.removesuffix(NOTE_SUFFIX))
                return self._log.files.stored_at(inbox.name, folder, relative) or self._log.files.stored_at(
                    inbox.name, folder, receipt
                )
        return None

    # --- a file ------------------------------------------------------------------------------------------------

    def _snapshot_of(self, inbox: Inbox) -> InboxState | None:
        if not self._is_running:
            return None
        folder = noted_runtime_folder(self._config.state_dir)
        return snapshots.read(snapshots.snapshot_file(folder, inbox.name))

    def _in_inbox(self, inbox: Inbox, relative: str) -> Explanation | None:
        path = inbox.path / relative
        about = f"{display_name(path)}, in the inbox {inbox.name}"
        snapshot = self._snapshot_of(inbox)
        if snapshot is not None and snapshot.unavailable and not os.path.lexists(path):
            cause = Cause(WaitReason.UNAVAILABLE, snapshot.unavailable)
            since = iso_time(snapshot.unavailable_since)
            return Explanation(about, WaitReason.UNAVAILABLE, f"The inbox is unavailable since {since}.", (cause,))
        try:
            status = os.lstat(path)
        except OSError:
            job = self._log.lookups.latest_of(inbox.name, Path(relative)) if self._log else None
            return self.about_job(job, self._log) if job and self._log else None
        with Examiners(bounds_of(self._config).brief(), is_logged=False) as examiners:
            context = InboxContext(self._config, inbox, snapshot, self._log, examiners.examine)
            looked = look_at(context, relative, status)
        facts = self._facts(status)
        if looked.seen is not None:
            facts |= {
                "first_seen_at": iso_time(looked.seen.first_seen_at),
                "changed_at": iso_time(looked.seen.changed_at),
                "grown_bytes": looked.seen.grown_bytes,
            }
        if looked.examination is not None:
            facts["mime_type"] = looked.examination.mime_type
            facts["duplicate_of"] = duplicate_of(context, relative, looked.examination)
        causes = looked.causes
        if not causes or causes[0].why in (
            WaitReason.GROWING,
            WaitReason.INCOMPLETE,
            WaitReason.DOUBTFUL,
            WaitReason.OPEN,
            WaitReason.NOT_RUNNING,
        ):
            grown = self._grown_bytes(path, status)
            facts["grown_within_a_second_bytes"] = grown
            if grown and all(cause.why is not WaitReason.GROWING for cause in causes):
                causes = (Cause(WaitReason.GROWING, f"{grown:+,} bytes within a second"), *causes)
        if causes:
            answer = "It is not taken." if causes[0].why in NEVER else "It has not been taken yet."
            return Explanation(about, causes[0].why, answer, causes, facts=facts)
        settle = f"It is whole; it is taken as soon as it has not changed for {inbox.settle_seconds:g} seconds."
        refusal = looked.examination.refusal if looked.examination else None
        if refusal is not None:
            settle = f"It is taken in a moment, and then fails ({refusal.reason.value}): {refusal.detail}"
        return Explanation(about, WaitReason.GROWING, settle, facts=facts)

    def _grown_bytes(self, path: Path, before: os.stat_result) -> int | None:
        """Watch a file for a second, and return by how much it grew; None if it went meanwhile."""
        self._wait(_WATCH_SECONDS)
        try:
            return os.lstat(path).st_size - before.st_size
        except OSError:
            return None

    @staticmethod
    def _facts(status: os.stat_result) -> dict[str, Any]:
        return {
            "size": status.st_size,
            "modified_at": iso_time(status.st_mtime),
            "came_at": iso_time(status.st_ctime),
            "owner": owner_of(status),
        }

    def about_job(self, job: Job, log: JobLog) -> Explanation:
        """Explain what became of a job, and what it waits for."""
        inbox = next((inbox for inbox in self._config.inboxes if inbox.name == job.inbox), None)
        path = SpoolFolders.of(inbox).file_of(job) if inbox else None
        view = full_view(job, path, log.histories.attempts(job.job_id), log.histories.lines(job.job_id))
        facts = {name: value for name, value in view.items() if name not in ("deliveries", "history")}
        if inbox is None:
            answer = f"Its inbox {job.inbox} is not configured any more; configure it again, and it goes on."
        elif job.state is State.QUEUED:
            answer = _why_queued(self._config, inbox, log, job, self._now)
        else:
            answer = _what_became(job, self._now)
            first = log.lookups.get(job.duplicate_of or "") if job.state is State.DUPLICATE else None
            if first is not None:
                answer = _copy_of(first)
            if job.state is State.PROCESSING and log.histories.has(job.job_id, REFUSED_EVENT):
                answer += f" N8N's {REFUSED_WORDS}."
        subfolder = near_miss(self._config.branches(inbox), job.relative_path) if inbox else None
        if subfolder is not None:
            answer += f" Its folder is not the configured {subfolder}: capitals count."
        if job.state in OPEN_STATES and not self._is_running:
            answer += " The daemon is not running, so nothing goes on."
        advice = job.reason.advice if job.reason else ""
        if job.removed_at is not None:
            answer += f" Retention removed its file at {iso_time(job.removed_at)}."
            advice = advice and "Its file is gone: to try again, drop it into the inbox again."
        about = f"{job.filename}, job {job.job_id}"
        return Explanation(about, job.state.value, answer, advice=advice, facts=facts, job=view)


def _what_became(job: Job, now: float) -> str:
    ended_at = iso_time(job.completed_at)
    awaited = "is overdue since" if is_overdue(job, now) else "is awaited until"
    meaning = f"{job.reason.meaning if job.reason else ''} {job.message or ''}".strip()
    return {
        State.DELIVERING: "It is being sent to N8N.",
        State.PROCESSING: f"N8N has it; its callback {awaited} {iso_time(job.deadline_at)}.",
        State.DUPLICATE: f"It is a copy of job {job.duplicate_of}, and was not sent.",
        State.SUCCESS: f"It succeeded at {ended_at}.",
        State.CANCELLED: f"An admin cancelled it at {ended_at}.",
        State.FAILURE: f"It failed at {ended_at}: {meaning}",
    }[job.state]


def _copy_of(first: Job) -> str:
    page = f", see {first.notion_page_url}" if first.notion_page_url else ""
    came = f"{first.filename} (job {first.job_id}), which came at {iso_time(first.created_at)}"
    return f"It is a copy of {came} and is {first.state.value}{page}; so it was not sent."


def _why_queued(config: Config, inbox: Inbox, log: JobLog, job: Job, now: float) -> str:
    branch = branch_named(config.branches(inbox), job.branch)
    standing = log.holds.of(branch.webhook_url)
    window = branch.window
    is_open = window is None or window.is_open(now)
    hold = log.manual_holds.of_destination(standing.url)
    sentences = []
    if hold is not None:
        sentences.append(as_sentence(f"An admin holds what goes to N8N since {iso_time(hold.since)}{hold.words}"))
    if window is not None and not is_open:
        sentences.append(f"Receipts are sent {window.text}; it waits until {iso_time(window.opens_at(now))}.")
    if standing.is_held:
        sentences.append(as_sentence(f"N8N is held since {iso_time(standing.held_since)}: {standing.hold_message}"))
        probe_at = standing.next_probe_at(now)
        probe = "is due now" if probe_at is None else f"is at {iso_time(probe_at)}"
        sentences += [f"The next probe {probe}."] if is_open and not hold else []
    elif job.move_due:
        sentences.append("Its file is being moved back.")
    elif is_open and not hold:
        sentences.append(_why_not_sent(config, standing, job, now))
    return " ".join(sentences)


def _why_not_sent(config: Config, standing: DestinationState, job: Job, now: float) -> str:
    """Say why a receipt is not sent, although N8N is not held and its window is open."""
    if standing.probe_at is not None and standing.probe_at > now:
        return as_sentence(f"N8N asks for patience until {iso_time(standing.probe_at)}: {standing.hold_message}")
    if job.next_attempt_at is not None and job.next_attempt_at > now:
        why = as_sentence(f" N8N {standing.trouble}") if standing.trouble else ""
        return f"It waits for N8N until {iso_time(job.next_attempt_at)}.{why}"
    pace, resumed_at = config.n8n.drain_per_minute, standing.resumed_at
    if pace and resumed_at is not None and job.job_id < job_id_prefix(resumed_at):
        return f"N8N is back since {iso_time(resumed_at)}; what has waited is sent in order, {pace:g} a minute."
    return "It is sent as soon as a worker is free."


def _below(path: Path, folder: Path) -> Path | None:
    """Return a path relative to a folder, links resolved; None if it does not lie in it."""
    real = Path(os.path.realpath(folder))
    return path.relative_to(real) if path.is_relative_to(real) and path != real else None
