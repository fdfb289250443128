"""The life of a job: states, events, reasons and the retry schedule. Pure: no I/O, no clock.

`TRANSITIONS` is the only place that says which event may leave which state. The job log applies it in one
guarded UPDATE; the README shows the same table and a test compares the two.

Verdicts only rise: open < failure < success. Therefore the order in which verdicts arrive does not matter, a
repeated one changes nothing, and a success is never taken back.
"""

from __future__ import annotations

import os
import random
import uuid
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from receipt_watcher.jobs.codes import Code


class State(StrEnum):
    """Where a job stands; the same words in the log, the API, the metrics and SQL."""

    #: The file is in processing/, examined, and waits for its turn.
    QUEUED = "queued"
    #: A worker has claimed it; the request may be on the wire.
    DELIVERING = "delivering"
    #: N8N has it, or may have it; its callback is awaited until the deadline.
    PROCESSING = "processing"
    #: N8N said success. Final: nothing takes it back.
    SUCCESS = "success"
    #: Refused by us or by N8N, or never answered. A retry or a late success can still change it.
    FAILURE = "failure"
    #: An admin ended it. A retry or a late success can still change it.
    CANCELLED = "cancelled"
    #: The same bytes for the same target were here before; the row names that job.
    DUPLICATE = "duplicate"


OPEN_STATES = frozenset({State.QUEUED, State.DELIVERING, State.PROCESSING})
CLOSED_STATES = frozenset(State) - OPEN_STATES


class Event(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    ACCEPT = "accept"
    LOSE = "lose"
    DEFER = "defer"
    RELEASE = "release"
    RESEND = "resend"
    EXPIRE = "expire"
    SUCCEED = "succeed"
    FAIL = "fail"
    GIVE_UP = "give_up"
    SETTLE_DELIVERED = "settle_delivered"
    SETTLE_NOT_DELIVERED = "settle_not_delivered"
    RETRY = "retry"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Transition:
    """From which states an event leads to which state, and when it happens."""

    sources: frozenset[State]
    target: State
    when: str


TRANSITIONS: dict[Event, Transition] = {
    Event.CLAIM: Transition(
        frozenset({State.QUEUED}), State.DELIVERING, "due, its destination is not held, and a worker is free"
    ),
    Event.ACCEPT: Transition(frozenset({State.DELIVERING}), State.PROCESSING, "N8N took it and will call back"),
    Event.LOSE: Transition(
        frozenset({State.DELIVERING}),
        State.PROCESSING,
        "the request may have been read, but no answer came (timeout, reset, stop, crash): the callback is awaited",
    ),
    Event.DEFER: Transition(
        frozenset({State.DELIVERING}), State.QUEUED, "N8N said «later», or the request certainly did not reach it"
    ),
    Event.RELEASE: Transition(frozenset({State.DELIVERING}), State.QUEUED, "a clean stop before anything was sent"),
    Event.RESEND: Transition(
        frozenset({State.PROCESSING}), State.QUEUED, "no callback by the deadline; sent again under the same id"
    ),
    Event.EXPIRE: Transition(
        frozenset({State.PROCESSING}), State.FAILURE, "no callback by the deadline, and no resend is left"
    ),
    Event.SUCCEED: Transition(
        OPEN_STATES | {State.FAILURE, State.CANCELLED}, State.SUCCESS, "N8N's success, however early or late"
    ),
    Event.FAIL: Transition(OPEN_STATES, State.FAILURE, "N8N's failure, or a refusal that is the receipt's own"),
    Event.GIVE_UP: Transition(
        frozenset({State.DELIVERING, State.PROCESSING}),
        State.FAILURE,
        "it may have been booked and no callback can tell, or the verdict cannot be read; never sent again by itself",
    ),
    Event.SETTLE_DELIVERED: Transition(
        frozenset({State.FAILURE}), State.SUCCESS, "an admin says that a receipt that may have been booked was booked"
    ),
    Event.SETTLE_NOT_DELIVERED: Transition(
        frozenset({State.FAILURE}), State.FAILURE, "an admin, or N8N's late failure, says that it was not booked"
    ),
    Event.RETRY: Transition(
        frozenset({State.FAILURE, State.CANCELLED}), State.QUEUED, "an admin, or the file dropped into the inbox again"
    ),
    Event.CANCEL: Transition(frozenset({State.QUEUED, State.PROCESSING}), State.CANCELLED, "an admin"),
}

#: What a row may begin as.
INITIAL_STATES = frozenset({State.QUEUED, State.FAILURE, State.DUPLICATE})


class Folder(StrEnum):
    """In which folder of its spool a job's file is; the inbox holds no job's file."""

    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"


#: Where the file of a job in this state belongs. A duplicate is filed where the job that it copies is filed.
HOME_FOLDER: dict[State, Folder] = {
    State.QUEUED: Folder.PROCESSING,
    State.DELIVERING: Folder.PROCESSING,
    State.PROCESSING: Folder.PROCESSING,
    State.SUCCESS: Folder.DONE,
    State.FAILURE: Folder.FAILED,
    State.CANCELLED: Folder.FAILED,
}


class Reason(Code):
    """Why a job ended where it did. One code, one sentence, one piece of advice; the README lists them all."""

    UNSUPPORTED_TYPE = (
        "unsupported_type",
        "The content is none of the accepted kinds, whatever the name says.",
        "Scan or save it again as PDF, JPEG, PNG, TIFF, WebP, GIF, BMP or HEIC.",
    )
    EMPTY = (
        "empty",
        "The file has no content.",
        "Scan or copy it again; if it happens often, look at the scanner's connection.",
    )
    INCOMPLETE = (
        "incomplete",
        "The file ends before its format says that it should: the end is missing.",
        "Scan or copy it again; if it happens often, raise settle_seconds of this inbox.",
    )
    BROKEN = (
        "broken",
        "The content cannot be read as what it claims to be.",
        "Open it in a viewer; if that fails too, scan it again.",
    )
    ENCRYPTED = (
        "encrypted",
        "The document asks for a password.",
        "Save it without a password and drop it in again.",
    )
    TOO_LARGE = (
        "too_large",
        "The file is larger than limits.max_file_mb allows.",
        "Scan with a lower resolution, or ask the admin to raise limits.max_file_mb.",
    )
    TOO_MANY_PIXELS = (
        "too_many_pixels",
        "The picture has more pixels than limits.max_megapixels allows.",
        "Scan with a lower resolution, or ask the admin to raise limits.max_megapixels.",
    )
    UNREADABLE = (
        "unreadable",
        "The file may be moved but not read: its permissions shut the service out.",
        "Let the scanner or share create files that the service's user can read, then drop it in again.",
    )
    UNEXAMINABLE = (
        "unexaminable",
        "Reading this file broke or exhausted the program that examines receipts, twice.",
        "Be careful with it if you do not know where it comes from; else scan it again, or print it to a new PDF.",
    )
    ALREADY_SEEN = (
        "already_seen",
        "The same bytes for the same target are under way or have succeeded, and duplicates is set to fail.",
        "Nothing, if this was a second copy; otherwise set duplicates to send.",
    )
    TOO_LARGE_FOR_JSON = (
        "too_large_for_json",
        "As JSON the message would pass n8n.max_json_mb, above which n8n answers with an error.",
        "Set n8n.payload to auto or multipart, and let the workflow read the form's file; then retry.",
    )
    REFUSED_TOO_LARGE = (
        "refused_too_large",
        "N8N, or a proxy before it, answered 413: too large.",
        "Raise the limit there (N8N_PAYLOAD_SIZE_MAX, N8N_FORMDATA_FILE_SIZE_MAX, the proxy's body size), then retry.",
    )
    REFUSED_TYPE = (
        "refused_type",
        "N8N answered 415: it does not take this kind of content.",
        "Look at the workflow's webhook node, then retry.",
    )
    REFUSED = (
        "refused",
        "N8N answered 422: it could read the request and will not take it.",
        "Read the answer, mend the workflow or the receipt, then retry.",
    )
    ATTEMPTS_EXHAUSTED = (
        "attempts_exhausted",
        "This receipt failed n8n.max_attempts times while others passed.",
        "Look at the failed executions in N8N; then retry.",
    )
    N8N_FAILURE = (
        "n8n_failure",
        "The N8N workflow reported a failure.",
        "Read its message; mend the cause; then retry or drop the file in again.",
    )
    NO_CALLBACK = (
        "no_callback",
        "N8N took the receipt but never reported back in time.",
        "Look at the executions in N8N, and whether it can reach the callback URL; then retry or mark it delivered.",
    )
    OUTCOME_UNKNOWN = (
        "outcome_unknown",
        "N8N's answer was lost and no callback can come: the receipt may have been booked.",
        "Look for its execution in N8N; then mark it delivered, or retry it if it was not booked.",
    )
    UNREADABLE_VERDICT = (
        "unreadable_verdict",
        "N8N reported back in a form that cannot be read: the workflow ran, so the receipt may have been booked.",
        "Look for its execution in N8N and fix what the workflow reports; then mark it delivered, or retry it.",
    )
    NOT_DELIVERED = (
        "not_delivered",
        "An admin looked in N8N and found that the receipt was not booked.",
        "Retry it, or move the file back into the inbox.",
    )
    CHANGED = (
        "changed",
        "The file changed after it was taken in: its bytes are no longer those that were recorded.",
        "Drop it into the inbox again once it is complete.",
    )
    FILE_MISSING = (
        "file_missing",
        "The file is no longer where the job log says; somebody moved or deleted it.",
        "If you find it, drop it into the inbox again.",
    )
    CANCELLED = (
        "cancelled",
        "An admin cancelled the job.",
        "Drop the file into the inbox again, or retry the job, if that was a mistake.",
    )


#: Refusals that examination decides; a retry examines the file again before it is queued.
EXAMINATION_REASONS = frozenset(
    {
        Reason.UNSUPPORTED_TYPE,
        Reason.EMPTY,
        Reason.INCOMPLETE,
        Reason.BROKEN,
        Reason.ENCRYPTED,
        Reason.TOO_LARGE,
        Reason.TOO_MANY_PIXELS,
        Reason.UNREADABLE,
        Reason.UNEXAMINABLE,
    }
)


#: N8N may have booked such a receipt: it is not sent again unless a person insists, and a person may settle it.
MAY_BE_BOOKED = frozenset({Reason.OUTCOME_UNKNOWN, Reason.UNREADABLE_VERDICT, Reason.NO_CALLBACK})

#: Why such a receipt is not simply sent again.
MAY_BE_BOOKED_WORDS = "N8N may have booked it, and sending it again may book it twice: look for it in N8N first."


#: What the ids of `check --live`'s made-up receipts begin with; they are no jobs, and are in no log.
REHEARSAL_PREFIX = "check-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One receipt on its way, as the job log knows it. Times are Unix seconds, sizes bytes.

    `stored_path` is where the file is, relative to `folder`; `moving_to_…` is where it is being moved to, written
    down before the move; `move_due` says that it is not where it belongs. `note_path` is the note beside a
    failed file, relative to failed/. `branch` is the inbox, or the subfolder of it that has settings of its own.
    `revision_of` is the job of an earlier, shorter version under the same name; `original_path` is what a conflict
    copy of a sync client is a copy of, and `conflict_of` the job of that file, where there is one. `removed_at` is when
    retention removed the file; `folder` and `stored_path` then say where it was. `execution_id` is the execution of N8N
    that had the receipt last, where N8N named one.
    """

    job_id: str
    state: State
    reason: Reason | None = None
    inbox: str
    filename: str
    relative_path: Path
    folder: Folder
    stored_path: Path
    moving_to_folder: Folder | None = None
    moving_to_path: Path | None = None
    move_due: bool = False
    note_path: Path | None = None
    mime_type: str | None
    size: int
    sha256: str | None
    target: str
    notion_database_id: str
    attempts: int = 0
    failures: int = 0
    resends: int = 0
    created_at: float
    updated_at: float
    next_attempt_at: float | None = None
    deadline_at: float | None = None
    completed_at: float | None = None
    destination_failed_at: float | None = None
    message: str | None = None
    notion_page_url: str | None = None
    duplicate_of: str | None = None
    branch: str = ""
    revision_of: str | None = None
    original_path: Path | None = None
    conflict_of: str | None = None
    removed_at: float | None = None
    execution_id: str | None = None


def subfolder_of(job: Job) -> str:
    """Return the subfolder of the inbox that a receipt was dropped into, as safe text; "" for none."""
    parent = job.relative_path.parent
    return "" if parent == Path() else os.fsencode(parent).decode("utf-8", "backslashreplace")


def may_be_booked(job: Job) -> bool:
    """Return whether a job has failed without a word on whether N8N booked it."""
    return job.state is State.FAILURE and job.reason in MAY_BE_BOOKED


def standing_of(job: Job) -> str:
    """Return how a job stands, in words that go on after a semicolon."""
    return f"this one is {job.state.value}" + (f" ({job.reason.value})" if job.reason else "")


def unknown_outcome(job: Job, why: str) -> str:
    """Return what to tell of a job whose outcome nobody knows, and where to look for it in N8N."""
    execution = f"execution {job.execution_id}" if job.execution_id else f"the execution of job {job.job_id}"
    why = why[:1].upper() + why[1:].removesuffix(".")
    return f"{why}. It may have been booked. Look in N8N for {execution}, then retry or mark it delivered."


def next_state(state: State, event: Event) -> State | None:
    """Return the state that `event` leads to from `state`, or None where it must not happen."""
    transition = TRANSITIONS[event]
    return transition.target if state in transition.sources else None


def backoff_seconds(failures: int, initial_seconds: float, max_seconds: float, jitter: random.Random) -> float:
    """Return how long to wait after the `failures`-th failure in a row (1 is the first), in seconds.

    `min(max, initial * 2 ** (failures - 1))`, of which a random half to whole is taken, so that many receipts
    that failed together do not come back together.
    """
    exponent = min(max(failures, 1) - 1, 62)  # beyond 2**62 a float is as good as infinite, and int ** grows
    ceiling = min(max_seconds, initial_seconds * 2.0**exponent)
    return ceiling * jitter.uniform(0.5, 1.0)


def job_id_prefix(at: float) -> str:
    """Return how job ids of that time begin: those of earlier ones are smaller, those of later ones greater."""
    text = f"{int(at * 1000) & (2**48 - 1):012x}"
    return f"{text[:8]}-{text[8:]}"


def new_job_id(now: float) -> str:
    """Return a fresh UUID of version 7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then 74 random bits.

    Ids that sort by time keep the log's primary key compact and make `ls processing/` read in order of arrival.
    """
    milliseconds = int(now * 1000) & (2**48 - 1)
    rest = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (rest >> 62 & 0xFFF) << 64 | 0b10 << 62 | rest & (2**62 - 1)
    return str(uuid.UUID(int=value))


def is_job_id(text: str) -> bool:
    """Whether a text has the form of a job's id."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
