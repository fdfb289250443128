"""The calls of the API: one table, which the routes, openapi.json and the README are made from.

What it promises: what is not in this table is not answered, and each answer that is given is in it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from receipt_watcher.config.roles import Right
from receipt_watcher.web.api import schemas

BINARY, EVENTS = "application/octet-stream", "text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call.

    `tag` is the group that it belongs to, and `right` is None if nobody needs one. `answers` are the good ones, by
    status, `problems` the others' statuses. `curl` is what follows `curl` in a shell, $AT being where we listen.
    """

    tag: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    right: Right | None
    summary: str
    answers: Mapping[int, type[Any] | str | None]
    problems: tuple[int, ...] = ()
    query: type[schemas.Taken] = schemas.Nothing
    body: type[schemas.Taken] | None = None
    media: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    curl: str = ""


_JOB = "/api/v1/jobs/{job_id}"
_HOLD = "/api/v1/holds/{destination}"
_INBOX = "/api/v1/inboxes/{inbox}"

#: The meaning of the names in paths that need a word.
PATH_NAMES = {"destination": "Its name, as `GET /api/v1/holds` gives it, with `#` written as `%23`."}

#: The groups of calls, in the order of a reader.
TAGS = {
    "Jobs": "One job is one receipt: find jobs, follow them, retry, cancel or settle them, and get their files.",
    "Receipts": "Hand in receipts.",
    "Inboxes": "The folders that receipts come from: their state, and holds by hand.",
    "Destinations": "The workflows of N8N: their holds, and whether they can be reached.",
    "Events": "What happens to all jobs, as a stream.",
    "Sessions": "Sign in and out with a browser.",
    "Callbacks": "What N8N calls to report the outcome of a job.",
    "Monitoring": "Health, metrics and this document.",
}

OPERATIONS: dict[str, Operation] = {
    "jobs": Operation(
        tag="Jobs",
        method="GET",
        path="/api/v1/jobs",
        right=Right.READ,
        summary="A page of jobs, the newest first; go on with `next_cursor` until it is null, also after a short page.",
        query=schemas.JobsQuery,
        answers={200: schemas.JobsAnswer},
        curl='"$AT/api/v1/jobs?status=failure&status=cancelled&limit=10"',
    ),
    "job": Operation(
        tag="Jobs",
        method="GET",
        path=_JOB,
        right=Right.FOLLOW,
        summary="A job with its deliveries and its history.",
        answers={200: schemas.FullJobAnswer},
        problems=(404,),
        curl="$AT/api/v1/jobs/$JOB",
    ),
    "attempts": Operation(
        tag="Jobs",
        method="GET",
        path=f"{_JOB}/attempts",
        right=Right.FOLLOW,
        summary="A page of a job's deliveries.",
        query=schemas.RowsQuery,
        answers={200: schemas.AttemptsAnswer},
        problems=(404,),
        curl="$AT/api/v1/jobs/$JOB/attempts",
    ),
    "history": Operation(
        tag="Jobs",
        method="GET",
        path=f"{_JOB}/history",
        right=Right.FOLLOW,
        summary="A page of what happened to a job.",
        query=schemas.RowsQuery,
        answers={200: schemas.HistoryPage},
        problems=(404,),
        curl="$AT/api/v1/jobs/$JOB/history",
    ),
    "file": Operation(
        tag="Jobs",
        method="GET",
        path=f"{_JOB}/file",
        right=Right.READ,
        summary="A job's file, wherever it is now; parts of it by Range.",
        answers={200: BINARY, 206: BINARY},
        problems=(404, 410, 416),
        headers={"Range": "Such as bytes=0-1023."},
        curl="-OJ $AT/api/v1/jobs/$JOB/file",
    ),
    "retry": Operation(
        tag="Jobs",
        method="POST",
        path=f"{_JOB}/retry",
        right=Right.CHANGE,
        summary="Try a failed or cancelled job again; with `force` also one that may have been booked, or was refused.",
        body=schemas.RetryRequest,
        answers={202: schemas.ChangedAnswer},
        problems=(404, 409),
        curl="-X POST $AT/api/v1/jobs/$JOB/retry",
    ),
    "settle": Operation(
        tag="Jobs",
        method="POST",
        path=f"{_JOB}/settle",
        right=Right.CHANGE,
        summary="Say whether N8N has booked a job that failed as outcome_unknown, unreadable_verdict or no_callback.",
        body=schemas.SettleRequest,
        answers={202: schemas.ChangedAnswer},
        problems=(404, 409),
        curl="""--json '{"delivered": true}' $AT/api/v1/jobs/$JOB/settle""",
    ),
    "cancel": Operation(
        tag="Jobs",
        method="POST",
        path=f"{_JOB}/cancel",
        right=Right.CHANGE,
        summary="End a job that waits; a success that still comes wins.",
        answers={202: schemas.ChangedAnswer},
        problems=(404, 409),
        curl="-X POST $AT/api/v1/jobs/$JOB/cancel",
    ),
    "retry_all": Operation(
        tag="Jobs",
        method="POST",
        path="/api/v1/jobs/retry",
        right=Right.CHANGE,
        summary="Try all again that match, 500 at a time, none that may have been booked; go on with `cursor` while "
        "there is a `next_cursor`.",
        body=schemas.RetryChoice,
        answers={202: schemas.RetriedAnswer},
        curl="""--json '{"status": ["failure"], "inbox": "office"}' $AT/api/v1/jobs/retry""",
    ),
    "upload": Operation(
        tag="Receipts",
        method="POST",
        path="/api/v1/receipts/upload",
        right=Right.UPLOAD,
        summary="Hand in a receipt: 202 once it is durable, with Location; 200 with the first job of the same bytes; "
        "422 with `reason` and `job_id` where the examination refuses it. With an Idempotency-Key the same call again "
        "gets the same answer for a day, or 409 with Retry-After while the first is still under way.",
        body=schemas.UploadForm,
        media="multipart/form-data",
        answers={202: schemas.UploadedAnswer, 200: schemas.UploadedAnswer},
        problems=(409, 507),
        headers={"Idempotency-Key": "Whatever is the same when the call is repeated."},
        curl="-F file=@receipt.jpg -F inbox=office -H 'Idempotency-Key: scan-0042' $AT/api/v1/receipts/upload",
    ),
    "inboxes": Operation(
        tag="Inboxes",
        method="GET",
        path="/api/v1/inboxes",
        right=Right.READ,
        summary="Each inbox: how it is watched, whether it can be used, what waits in it, how many jobs are open.",
        answers={200: schemas.InboxesAnswer},
        curl="$AT/api/v1/inboxes",
    ),
    "hold_inbox": Operation(
        tag="Inboxes",
        method="POST",
        path=f"{_INBOX}/hold",
        right=Right.CHANGE,
        summary="Take nothing from an inbox until it is resumed.",
        body=schemas.HoldRequest,
        answers={202: schemas.InboxAnswer},
        problems=(404,),
        curl="""--json '{"why": "the scanner is being moved"}' $AT/api/v1/inboxes/office/hold""",
    ),
    "resume_inbox": Operation(
        tag="Inboxes",
        method="POST",
        path=f"{_INBOX}/resume",
        right=Right.CHANGE,
        summary="Let an inbox that is held go on.",
        answers={202: schemas.InboxAnswer},
        problems=(404, 409),
        curl="-X POST $AT/api/v1/inboxes/office/resume",
    ),
    "holds": Operation(
        tag="Destinations",
        method="GET",
        path="/api/v1/holds",
        right=Right.READ,
        summary="Each destination: whether it is held, by its answers or by hand, since when and why.",
        answers={200: schemas.HoldsAnswer},
        curl="$AT/api/v1/holds",
    ),
    "hold": Operation(
        tag="Destinations",
        method="POST",
        path=_HOLD,
        right=Right.CHANGE,
        summary="Send a destination nothing until it is resumed; in the path, `#` is written `%23`.",
        body=schemas.HoldRequest,
        answers={202: schemas.HoldAnswer},
        problems=(404,),
        curl="""--json '{"why": "n8n is being updated"}' $AT/api/v1/holds/$DESTINATION""",
    ),
    "resume": Operation(
        tag="Destinations",
        method="POST",
        path=f"{_HOLD}/resume",
        right=Right.CHANGE,
        summary="End a hold by hand; probe a destination that is held for its answers now, not when its time comes.",
        answers={202: schemas.HoldAnswer},
        problems=(404, 409),
        curl="-X POST $AT/api/v1/holds/$DESTINATION/resume",
    ),
    "test_connection": Operation(
        tag="Destinations",
        method="POST",
        path="/api/v1/test-connection",
        right=Right.ADMINISTER,
        summary="Ask each destination's server whether it is there; nothing is posted to a webhook.",
        answers={200: schemas.ReachesAnswer},
        curl="-X POST $AT/api/v1/test-connection",
    ),
    "events": Operation(
        tag="Events",
        method="GET",
        path="/api/v1/events",
        right=Right.READ,
        summary="What happens to all jobs, as it happens (server-sent events); after a break from Last-Event-ID on.",
        query=schemas.EventsQuery,
        answers={200: EVENTS},
        headers={"Last-Event-ID": "The id of the last event that is known."},
        curl='-N -m 2 "$AT/api/v1/events?after=0"',
    ),
    "session": Operation(
        tag="Sessions",
        method="GET",
        path="/api/v1/session",
        right=Right.FOLLOW,
        summary="Who asks, by which role; and the form token of who is signed in.",
        answers={200: schemas.SessionAnswer},
        curl="$AT/api/v1/session",
    ),
    "sign_in": Operation(
        tag="Sessions",
        method="POST",
        path="/api/v1/session",
        right=None,
        summary="Sign in with a token: sets a cookie.",
        body=schemas.SignIn,
        answers={201: schemas.SessionAnswer},
        problems=(401, 403, 429),
        curl="""-c cookies --json "{\\"token\\": \\"$TOKEN\\"}" $AT/api/v1/session""",
    ),
    "sign_out": Operation(
        tag="Sessions",
        method="DELETE",
        path="/api/v1/session",
        right=Right.FOLLOW,
        summary="Sign out: no copy of the cookie is good any more.",
        answers={204: None},
        curl="-X DELETE $AT/api/v1/session",
    ),
    "openapi": Operation(
        tag="Monitoring",
        method="GET",
        path="/openapi.json",
        right=None,
        summary="This table, for programs (OpenAPI 3.1).",
        answers={200: schemas.Given},
        curl="$AT/openapi.json",
    ),
}

#: Operations that other parts of `web` answer, for the sake of openapi.json.
BESIDE: dict[str, Operation] = {
    "callback": Operation(
        tag="Callbacks",
        method="POST",
        path=f"{_JOB}/callback",
        right=None,
        summary="N8N's verdict: status success or failure, message, notion_page_url, data.",
        headers={"X-Callback-Token": "callback.secret_token, and nothing else."},
        answers={200: schemas.StatusAnswer},
        problems=(401, 404, 408, 409, 413, 422, 429),
    ),
    "live": Operation(
        tag="Monitoring",
        method="GET",
        path="/health/live",
        right=None,
        summary="The process turns.",
        answers={200: schemas.StatusAnswer},
    ),
    "ready": Operation(
        tag="Monitoring",
        method="GET",
        path="/health/ready",
        right=None,
        summary="Whether all is well, or which checks fail.",
        answers={200: schemas.StatusAnswer, 503: schemas.StatusAnswer},
    ),
    "metrics": Operation(
        tag="Monitoring",
        method="GET",
        path="/metrics",
        right=Right.READ,
        summary="For Prometheus.",
        answers={200: "text/plain"},
    ),
}
