"""A job as other programs see it: the JSON of the API and of every `--json`. Times are UTC, ISO 8601."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from receipt_watcher.jobs.job import Job, subfolder_of
from receipt_watcher.jobs.states import State
from receipt_watcher.system.display import display_name


def iso_time(seconds: float | None) -> str | None:
    """Return Unix seconds as UTC, ISO 8601; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_view(job: Job, path: Path | None) -> dict[str, Any]:
    """Return a job with its contract's fields; `path` is where its file is now, by the log."""
    return {
        "job_id": job.job_id,
        "status": job.state.value,
        "reason": job.reason.value if job.reason else None,
        "inbox": job.inbox,
        "subfolder": subfolder_of(job),
        "filename": job.filename,
        "mime_type": job.mime_type,
        "size": job.size,
        "sha256": job.sha256,
        "notion_database_id": job.notion_database_id,
        "attempts": job.attempts,
        "created_at": iso_time(job.created_at),
        "updated_at": iso_time(job.updated_at),
        "next_attempt_at": iso_time(job.next_attempt_at),
        "deadline_at": iso_time(job.deadline_at) if job.state is State.PROCESSING else None,
        "completed_at": iso_time(job.completed_at),
        "message": job.message,
        "notion_page_url": job.notion_page_url,
        "execution_id": job.execution_id,
        "duplicate_of": job.duplicate_of,
        "revision_of": job.revision_of,
        "conflict_of": job.conflict_of,
        "path": None if path is None or job.removed_at is not None else display_name(path),
        "removed_at": iso_time(job.removed_at),
    }


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
    return {
        "started_at": iso_time(row["started_at"]),
        "ended_at": iso_time(row["ended_at"]),
        "outcome": row["outcome"],
        "counted": bool(row["counted"]),
        "status_code": row["status_code"],
        "message": row["message"],
    }


def history_view(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one thing that happened to a job."""
    return {
        "at": iso_time(row["at"]),
        "event": row["event"],
        "from": row["from_state"],
        "to": row["to_state"],
        "detail": row["detail"],
    }
