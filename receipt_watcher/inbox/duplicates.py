"""Decide which job an arriving file belongs to: a new one, a copy of an earlier one, or one that failed and is retried.

What it promises: the decision and the row are one transaction, so that two copies that arrive together are not
both sent; every file gets a row; a failed receipt that is dropped in again goes on under its old id. A copy of one that
may have been booked sends nothing: only the file itself, moved out of failed/, does.

Called by the inbox threads. A crash before the commit leaves the files in processing/ without a row: recovery
records them then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receipt_watcher.config.sections.inbox import Duplicates
from receipt_watcher.examine.result import Examination
from receipt_watcher.jobs.job import Folder, Job, may_be_booked
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import CLOSED_STATES, ORIGINAL_STATES, Event, State

#: Among how many jobs of the same bytes such an upload is looked for.
_MOST_JOBS = 100

_NO_COPIES = frozenset(State) - {State.DUPLICATE}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that is in processing/<job_id>/ and was examined, about to be recorded."""

    job_id: str
    inbox: str
    filename: str
    relative_path: Path
    target: str
    notion_database_id: str
    duplicates: Duplicates
    examination: Examination
    branch: str = ""
    has_own_database: bool = False
    revision_of: str | None = None
    original_path: Path | None = None

    @property
    def refusal(self) -> Reason | None:
        """Why the examination refused the file; None where it did not."""
        return self.examination.refusal.reason if self.examination.refusal else None

    @property
    def message(self) -> str | None:
        """The findings of the examination, in a sentence."""
        return self.examination.refusal.detail if self.examination.refusal else None


class DuplicateCheck:
    """Records arrivals; `is_in_failed` tells whether a failed job's file still lies in failed/."""

    def __init__(self, log: JobLog, is_in_failed: Callable[[Job], bool]) -> None:
        self._log = log
        self._is_in_failed = is_in_failed

    def record(self, arrivals: Sequence[Arrival], now: float) -> list[Job]:
        """Give each arrival its row, all in one commit, and return the job that each file now belongs to."""
        with self._log.database.transaction():
            return [
                self._record_one(arrival, now) if uploaded is None else self._retry_with(arrival, uploaded, now)
                for arrival in arrivals
                for uploaded in [self._failed_upload(arrival)]
            ]

    def _record_one(self, arrival: Arrival, now: float) -> Job:
        seen = self._seen(arrival)
        earlier = [job for job in seen if job.state in ORIGINAL_STATES]
        lacking = [job for job in earlier if self._lacks_file(job)]
        if lacking and len(lacking) == len(earlier):
            return self._give_file_back(arrival, lacking[0], now)
        if earlier and arrival.refusal is None and arrival.duplicates != "send":
            return self._record_copy(arrival, next(job for job in reversed(earlier) if job not in lacking), now)
        failed = [] if earlier and arrival.duplicates != "send" else [job for job in seen if _was_to_be_sent(job)]
        gone = [job for job in failed if not (_was_removed_by_us(job) or self._is_in_failed(job))]
        if gone:  # moved back by somebody, on purpose: the note beside it said what that means
            return self._retry_with(arrival, gone[0], now)
        if arrival.refusal is not None:
            return self._insert(arrival, now, State.FAILURE, reason=arrival.refusal, message=arrival.message)
        return self._copy_of_failed(arrival, failed, now) or self._insert(arrival, now, State.QUEUED)

    def _copy_of_failed(self, arrival: Arrival, failed: Sequence[Job], now: float) -> Job | None:
        """Record a copy of what lies in failed/, which then is sent; None if there is none, or each copy is sent."""
        unknown = [job for job in failed if may_be_booked(job)]
        if unknown:  # nobody has asked for it to be sent again
            return None if arrival.duplicates == "send" else self._record_copy(arrival, unknown[0], now)
        if failed and self._log.jobs.advance(
            failed[0].job_id, Event.RETRY, now, detail="a copy was dropped in", next_attempt_at=now
        ):
            return self._insert(arrival, now, State.DUPLICATE, duplicate_of=failed[0].job_id)
        return None

    def _lacks_file(self, job: Job) -> bool:
        """Whether a job that has failed before lacks its file: somebody dropped it in again, and it is this one.

        Meanwhile an admin has retried it, or N8N's success has come late.
        """
        has_failed_before = job.folder is Folder.FAILED and job.state in (State.QUEUED, State.SUCCESS)
        return has_failed_before and job.removed_at is None and not self._is_in_failed(job)

    def _seen(self, arrival: Arrival) -> list[Job]:
        """Return the jobs that these bytes had before for the same target, but for copies, the newest first."""
        sha256 = arrival.examination.sha256
        return [] if sha256 is None else self._log.lookups.same_receipts(sha256, arrival.target, _NO_COPIES)

    def _failed_upload(self, arrival: Arrival) -> Job | None:
        """Return the failed upload whose file was dropped in again, if it had a database of its own.

        A file in the inbox cannot say that database, so it would be booked in another one.
        """
        sha256 = arrival.examination.sha256
        if sha256 is None or arrival.has_own_database:
            return None
        for job in reversed(self._log.lookups.with_bytes(sha256, _MOST_JOBS)):
            is_other = job.inbox == arrival.inbox and job.target != arrival.target and _was_to_be_sent(job)
            if (
                is_other
                and self._log.facts.upload_database.of(job.job_id).get() is not None
                and not self._is_in_failed(job)
            ):
                return job
        return None

    def _record_copy(self, arrival: Arrival, original: Job, now: float) -> Job:
        if arrival.duplicates == "skip":
            return self._insert(arrival, now, State.DUPLICATE, duplicate_of=original.job_id)
        message = f"The same receipt came before, as {original.filename} (job {original.job_id})."
        return self._insert(arrival, now, State.FAILURE, reason=Reason.ALREADY_SEEN, message=message)

    def _retry_with(self, arrival: Arrival, failed: Job, now: float) -> Job:
        """Continue a failed job with its file, which was dropped in again: it is moved to the job's folder."""
        detail = f"dropped in again as {arrival.filename}"
        place = self._place_of(arrival, failed)
        job = self._log.jobs.advance(failed.job_id, Event.RETRY, now, detail=detail, next_attempt_at=now, **place)
        return self._refused_again(arrival, failed, job, now)

    def _give_file_back(self, arrival: Arrival, before: Job, now: float) -> Job:
        """Give a job its file back, from the inbox and not from failed/."""
        place = self._place_of(arrival, before)
        if before.state is State.SUCCESS:  # nothing is sent, so it goes straight to done/
            place |= {"moving_to_folder": None, "moving_to_path": None}
        detail = f"dropped in again as {arrival.filename}"
        job = self._log.moves.relocate(before, now, detail, place)
        return job if before.state is State.SUCCESS else self._refused_again(arrival, before, job, now)

    def _place_of(self, arrival: Arrival, job: Job) -> dict[str, Any]:
        """Return where a job's file is that was dropped in again, and where it goes."""
        return {
            "inbox": arrival.inbox,
            "filename": arrival.filename,
            "relative_path": arrival.relative_path,
            "branch": arrival.branch or arrival.inbox,
            "folder": Folder.PROCESSING,
            "stored_path": Path(arrival.job_id) / arrival.relative_path,
            "moving_to_folder": Folder.PROCESSING,
            "moving_to_path": Path(job.job_id) / arrival.relative_path,
            "removed_at": None,
        }

    def _refused_again(self, arrival: Arrival, before: Job, job: Job | None, now: float) -> Job:
        if job is not None and arrival.refusal is not None:
            job = self._log.jobs.advance(job.job_id, Event.FAIL, now, reason=arrival.refusal, message=arrival.message)
        if job is None:  # inside one transaction only a wrong table of transitions can cause it
            raise RuntimeError(f"job {before.job_id} could not be retried")
        return job

    def _insert(
        self,
        arrival: Arrival,
        now: float,
        state: State,
        *,
        reason: Reason | None = None,
        message: str | None = None,
        duplicate_of: str | None = None,
    ) -> Job:
        closed = state in CLOSED_STATES
        job = Job(
            job_id=arrival.job_id,
            state=state,
            reason=reason,
            inbox=arrival.inbox,
            filename=arrival.filename,
            relative_path=arrival.relative_path,
            folder=Folder.PROCESSING,
            stored_path=Path(arrival.job_id) / arrival.relative_path,
            mime_type=arrival.examination.mime_type,
            size=arrival.examination.size,
            sha256=arrival.examination.sha256,
            target=arrival.target,
            notion_database_id=arrival.notion_database_id,
            created_at=now,
            updated_at=now,
            next_attempt_at=None if closed else now,
            completed_at=now if closed else None,
            message=message,
            duplicate_of=duplicate_of,
            branch=arrival.branch,
            revision_of=arrival.revision_of,
            original_path=arrival.original_path,
            conflict_of=self._conflict_of(arrival),
        )
        inserted = self._log.jobs.insert(job)
        self._log.jobs.link_conflicts(inserted)
        return inserted

    def _conflict_of(self, arrival: Arrival) -> str | None:
        """Return the job of the file that a conflict copy is a copy of; where it comes later, it is linked then."""
        if arrival.original_path is None:
            return None
        original = self._log.lookups.latest_of(arrival.inbox, arrival.original_path)
        return original.job_id if original else None


def _was_to_be_sent(job: Job) -> bool:
    """Whether a job has failed, or was cancelled, that was meant to be sent: no copy itself."""
    return job.state in (State.FAILURE, State.CANCELLED) and job.reason is not Reason.ALREADY_SEEN


def _was_removed_by_us(job: Job) -> bool:
    """Whether retention removed the file of a job that may have been booked: nobody can have moved it back."""
    return may_be_booked(job) and job.removed_at is not None
