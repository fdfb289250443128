"""A job as other programs see it: the JSON of the API and of every `--json`. Times are UTC, ISO 8601.

The API documents these values themselves (`web.api.schemas`), so no answer has a field that is not documented. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from receipt_watcher.jobs.job import Job, subfolder_of
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.system.display import display_name


def moment(seconds: float) -> datetime:
    """Return Unix seconds as a moment in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def optional_moment(seconds: float | None) -> datetime | None:
    """Return Unix seconds as a moment in UTC; None stays None."""
    return None if seconds is None else moment(seconds)


def iso_text(at: datetime) -> str:
    """Return a moment of UTC as ISO 8601."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_time(seconds: float | None) -> str | None:
    """Return Unix seconds as UTC, ISO 8601; None stays None."""
    return None if seconds is None else iso_text(moment(seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAnswer:
    """A job."""

    job_id: str
    status: State
    reason: Reason | None
    inbox: str
    subfolder: str
    filename: str
    mime_type: str | None
    size: int
    sha256: str | None
    notion_database_id: str
    attempts: int
    created_at: datetime
    updated_at: datetime
    next_attempt_at: datetime | None
    deadline_at: datetime | None
    completed_at: datetime | None
    message: str | None
    notion_page_url: str | None
    execution_id: str | None
    duplicate_of: str | None
    revision_of: str | None
    conflict_of: str | None
    path: str | None
    removed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAnswer:
    """One delivery with an outcome."""

    started_at: datetime
    ended_at: datetime
    outcome: str
    counted: bool
    status_code: int | None
    message: str | None


def json_of(answer: JobAnswer | DeliveryAnswer) -> dict[str, Any]:
    """Return an answer as JSON takes it, its fields in their order."""
    return {field.name: _json_value(getattr(answer, field.name)) for field in fields(answer)}


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return iso_text(value)
    return value.value if isinstance(value, Enum) else value


def job_view(job: Job, path: Path | None) -> dict[str, Any]:
    """Return a job with its contract's fields; `path` is where its file is now, by the log."""
    return json_of(
        JobAnswer(
            job_id=job.job_id,
            status=job.state,
            reason=job.reason,
            inbox=job.inbox,
            subfolder=subfolder_of(job),
            filename=job.filename,
            mime_type=job.mime_type,
            size=job.size,
            sha256=job.sha256,
            notion_database_id=job.notion_database_id,
            attempts=job.attempts,
            created_at=moment(job.created_at),
            updated_at=moment(job.updated_at),
            next_attempt_at=optional_moment(job.next_attempt_at),
            deadline_at=optional_moment(job.deadline_at) if job.state is State.PROCESSING else None,
            completed_at=optional_moment(job.completed_at),
            message=job.message,
            notion_page_url=job.notion_page_url,
            execution_id=job.execution_id,
            duplicate_of=job.duplicate_of,
            revision_of=job.revision_of,
            conflict_of=job.conflict_of,
            path=None if path is None or job.removed_at is not None else display_name(path),
            removed_at=optional_moment(job.removed_at),
        )
    )


def full_view(
    job: Job, path: Path | None, deliveries: Sequence[Mapping[str, Any]], history: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a job with each of its deliveries and all that happened to it."""
    return job_view(job, path) | {
        "deliveries": [attempt_view(row) for row in deliveries],
        "history": [history_view(row) for row in history],
    }


def attempt_view(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one delivery."""
    return json_of(
        DeliveryAnswer(
            started_at=moment(row["started_at"]),
            ended_at=moment(row["ended_at"]),
            outcome=row["outcome"],
            counted=bool(row["counted"]),
            status_code=row["status_code"],
            message=row["message"],
        )
    )


def history_view(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one thing that happened to a job."""
    return {
        "at": iso_time(row["at"]),
        "event": row["event"],
        "from": row["from_state"],
        "to": row["to_state"],
        "detail": row["detail"],
    }
