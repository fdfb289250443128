"""A job as other programs see it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.jobs.json_view import full_view, iso_time, job_view
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job

NOW = 1_700_000_000.0

#: The contract's fields of a job.
CONTRACT = {
    "job_id",
    "status",
    "reason",
    "inbox",
    "filename",
    "mime_type",
    "size",
    "sha256",
    "notion_database_id",
    "attempts",
    "created_at",
    "next_attempt_at",
    "completed_at",
    "message",
    "notion_page_url",
    "duplicate_of",
    "path",
}


@pytest.fixture
def in_kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine stands where the clocks are five and a half hours ahead."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "IST-5:30")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (NOW, "2023-11-14T22:13:20.000Z"),
        (NOW + 0.5, "2023-11-14T22:13:20.500Z"),
        (None, None),
    ],
)
def test_times_are_utc(in_kolkata: None, seconds: float | None, text: str | None) -> None:
    """Times are UTC in ISO 8601 with milliseconds, wherever the machine stands; no time is null."""
    assert iso_time(seconds) == text


def test_a_job_has_the_contracts_fields() -> None:
    """A job in JSON has every field of the contract, also those without a value."""
    assert job_view(make_job(), None).keys() >= CONTRACT


def test_a_job_as_json() -> None:
    """Each field of a job is what other programs expect: words, numbers, times, or null."""
    job = make_job(
        NOW,
        state=State.FAILURE,
        reason=Reason.REFUSED,
        filename="Überweisung.jpg",
        attempts=2,
        next_attempt_at=None,
        deadline_at=NOW + 1,
        completed_at=NOW + 2,
        message="N8N answered 422",
        notion_page_url="https://notion.so/1",
        duplicate_of="018b",
        revision_of="018c",
        conflict_of="018d",
        relative_path=Path("sub/Überweisung.jpg"),
        notion_database_id="0f3c",
        execution_id="1042",
    )
    assert job_view(job, Path("failed/Überweisung.jpg")) == {
        "job_id": job.job_id,
        "status": "failure",
        "reason": "refused",
        "inbox": "office",
        "filename": "Überweisung.jpg",
        "mime_type": "image/jpeg",
        "size": 3,
        "sha256": job.sha256,
        "notion_database_id": "0f3c",
        "attempts": 2,
        "created_at": "2023-11-14T22:13:20.000Z",
        "updated_at": "2023-11-14T22:13:20.000Z",
        "next_attempt_at": None,
        "deadline_at": None,  # nothing is awaited any more
        "completed_at": "2023-11-14T22:13:22.000Z",
        "message": "N8N answered 422",
        "notion_page_url": "https://notion.so/1",
        "duplicate_of": "018b",
        "revision_of": "018c",
        "conflict_of": "018d",
        "subfolder": "sub",
        "path": "failed/Überweisung.jpg",
        "removed_at": None,
        "execution_id": "1042",
    }


def test_a_removed_file_has_no_path() -> None:
    """A job whose file retention removed says when, and no path, at which another file may lie by now."""
    view = job_view(make_job(removed_at=NOW), Path("done/scan.jpg"))
    assert (view["path"], view["removed_at"]) == (None, "2023-11-14T22:13:20.000Z")


@pytest.mark.parametrize("state", State)
def test_a_view_is_plain(state: State) -> None:
    """What is shown is made of plain JSON values, so that any program can print it."""
    view = job_view(make_job(state=state), Path("x"))
    assert view["status"] == state.value
    assert all(type(value) in (str, int, float, bool, type(None)) for value in view.values())


def test_a_path_of_any_bytes_can_be_shown() -> None:
    """A path that is no UTF-8 is shown with those bytes written out, and can be encoded."""
    view = job_view(make_job(), Path(os.fsdecode(b"failed/caf\xe9.jpg")))
    assert view["path"] == "failed/caf\\xe9.jpg"
    json.dumps(view, ensure_ascii=False).encode()


def test_a_job_without_a_route_has_no_path() -> None:
    """Where the inbox is no longer configured the path is unknown, and says so by null."""
    assert job_view(make_job(), None)["path"] is None


def test_a_job_whole(log: JobLog) -> None:
    """A job can be shown with each of its deliveries and all that happened to it, in order."""
    job = log.jobs.insert(make_job(NOW))
    log.jobs.advance(job.job_id, Event.CLAIM, NOW + 1)
    log.jobs.add_attempt(
        job.job_id, NOW + 3, Attempt(NOW + 1, "deferred", counted=False, status_code=503, message="busy")
    )
    after = log.jobs.advance(job.job_id, Event.DEFER, NOW + 3, detail="busy", next_attempt_at=NOW + 8)
    assert after is not None
    view: dict[str, Any] = full_view(after, None, log.histories.attempts(job.job_id), log.histories.lines(job.job_id))
    deliveries, history = view.pop("deliveries"), view.pop("history")
    assert view == job_view(after, None)
    assert deliveries == [
        {
            "started_at": "2023-11-14T22:13:21.000Z",
            "ended_at": "2023-11-14T22:13:23.000Z",
            "outcome": "deferred",
            "counted": False,
            "status_code": 503,
            "message": "busy",
        }
    ]
    assert history == [
        {"at": "2023-11-14T22:13:20.000Z", "event": "record", "from": None, "to": "queued", "detail": None},
        {"at": "2023-11-14T22:13:21.000Z", "event": "claim", "from": "queued", "to": "delivering", "detail": None},
        {"at": "2023-11-14T22:13:23.000Z", "event": "defer", "from": "delivering", "to": "queued", "detail": "busy"},
    ]
    json.dumps([deliveries, history])
