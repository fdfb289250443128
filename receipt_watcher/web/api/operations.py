"""The calls of the API: one table, which the routes, openapi.json and the README are made from.

What it promises: what is not in this table is not answered, and each answer that is given is in it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from receipt_watcher.config.roles import Right
from receipt_watcher.web.api import schemas

BINARY, EVENTS = "application/octet-stream", "text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call.

    `right` is None where nobody needs one; `answers` are the good ones, by status, `problems` the others' statuses.
    `curl` is what follows `curl` in a shell, $AT being where we listen.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    right: Right | None
    summary: str
    answers: Mapping[int, type[BaseModel] | str | None]
    problems: tuple[int, ...] = ()
    query: type[schemas.Taken] = schemas.Nothing
    body: type[schemas.Taken] | None = None
    media: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    curl: str = ""


_JOB = "/api/v1/jobs/{job_id}"
_HOLD = "/api/v1/holds/{destination}"
_INBOX = "/api/v1/inboxes/{inbox}"

OPERATIONS: dict[str, Operation] = {
    "jobs": Operation(
        method="GET",
        path="/api/v1/jobs",
        right=Right.READ,
        summary="A page of jobs, the newest first; go on with `next_cursor` until it is null, also after a short page.",
        query=schemas.JobsQuery,
        answers={200: schemas.JobsAnswer},
        curl='"$AT/api/v1/jobs?status=failure&status=cancelled&limit=10"',
    ),
    "job": Operation(
        method="GET",
        path=_JOB,
        right=Right.FOLLOW,
        summary="A job with its deliveries and its history.",
        answers={200: schemas.FullJobAnswer},
        problems=(404,),
        curl="$AT/api/v1/jobs/$JOB",
    ),
    "attempts": Operation(
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
        method="POST",
        path=f"{_JOB}/retry",
        right=Right.CHANGE,
        summary="Try a failed or cancelled job again; with `force` also one that may have been booked.",
        body=schemas.RetryRequest,
        answers={202: schemas.ChangedAnswer},
        problems=(404, 409),
        curl="-X POST $AT/api/v1/jobs/$JOB/retry",
    ),
    "settle": Operation(
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
        method="POST",
        path=f"{_JOB}/cancel",
        right=Right.CHANGE,
        summary="End a job that waits; a success that still comes wins.",
        answers={202: schemas.ChangedAnswer},
        problems=(404, 409),
        curl="-X POST $AT/api/v1/jobs/$JOB/cancel",
    ),
    "retry_all": Operation(
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
        method="GET",
        path="/api/v1/inboxes",
        right=Right.READ,
        summary="Each inbox: how it is watched, whether it can be used, what waits in it, how many jobs are open.",
        answers={200: schemas.InboxesAnswer},
        curl="$AT/api/v1/inboxes",
    ),
    "hold_inbox": Operation(
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
        method="POST",
        path=f"{_INBOX}/resume",
        right=Right.CHANGE,
        summary="Let an inbox that is held go on.",
        answers={202: schemas.InboxAnswer},
        problems=(404, 409),
        curl="-X POST $AT/api/v1/inboxes/office/resume",
    ),
    "holds": Operation(
        method="GET",
        path="/api/v1/holds",
        right=Right.READ,
        summary="Each destination: whether it is held, by its answers or by hand, since when and why.",
        answers={200: schemas.HoldsAnswer},
        curl="$AT/api/v1/holds",
    ),
    "hold": Operation(
        method="POST",
        path=_HOLD,
        right=Right.CHANGE,
        summary="Send a destination nothing until it is resumed.",
        body=schemas.HoldRequest,
        answers={202: schemas.HoldAnswer},
        problems=(404,),
        curl="""--json '{"why": "n8n is being updated"}' $AT/api/v1/holds/$DESTINATION""",
    ),
    "resume": Operation(
        method="POST",
        path=f"{_HOLD}/resume",
        right=Right.CHANGE,
        summary="End a hold by hand; probe a destination that is held for its answers now, not when its time comes.",
        answers={202: schemas.HoldAnswer},
        problems=(404, 409),
        curl="-X POST $AT/api/v1/holds/$DESTINATION/resume",
    ),
    "test_connection": Operation(
        method="POST",
        path="/api/v1/test-connection",
        right=Right.ADMINISTER,
        summary="Ask each destination's server whether it is there; nothing is posted to a webhook.",
        answers={200: schemas.ReachesAnswer},
        curl="-X POST $AT/api/v1/test-connection",
    ),
    "events": Operation(
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
        method="GET",
        path="/api/v1/session",
        right=Right.FOLLOW,
        summary="Who asks, by which role; and the form token of who is signed in.",
        answers={200: schemas.SessionAnswer},
        curl="$AT/api/v1/session",
    ),
    "sign_in": Operation(
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
        method="DELETE",
        path="/api/v1/session",
        right=Right.FOLLOW,
        summary="Sign out: no copy of the cookie is good any more.",
        answers={204: None},
        curl="-X DELETE $AT/api/v1/session",
    ),
    "openapi": Operation(
        method="GET",
        path="/openapi.json",
        right=None,
        summary="This table, for programs (OpenAPI 3.1).",
        answers={200: schemas.Given},
        curl="$AT/openapi.json",
    ),
}

#: What is answered elsewhere (`web`), for the sake of openapi.json.
BESIDE: dict[str, Operation] = {
    "callback": Operation(
        method="POST",
        path=f"{_JOB}/callback",
        right=None,
        summary="N8N's verdict: status success or failure, message, notion_page_url, data.",
        headers={"X-Callback-Token": "callback.secret_token, and nothing else."},
        answers={200: schemas.StatusAnswer},
        problems=(401, 404, 408, 409, 413, 422, 429),
    ),
    "live": Operation(
        method="GET", path="/health/live", right=None, summary="The process turns.", answers={200: schemas.StatusAnswer}
    ),
    "ready": Operation(
        method="GET",
        path="/health/ready",
        right=None,
        summary="Whether all is well, or which checks fail.",
        answers={200: schemas.StatusAnswer, 503: schemas.StatusAnswer},
    ),
    "metrics": Operation(
        method="GET", path="/metrics", right=Right.READ, summary="For Prometheus.", answers={200: "text/plain"}
    ),
}


def problems_of(operation: Operation) -> list[int]:
    """Return the statuses of all problems that a call may be answered with."""
    found = {400, 503, *operation.problems}
    if operation.right is not None:
        found |= {401, 403, 429}
    if operation.query is not schemas.Nothing:
        found |= {422}
    if operation.body is not None:
        found |= {408, 413, 415, 422}
    return sorted(found - operation.answers.keys())


def openapi(version: str, root_path: str) -> dict[str, Any]:
    """Return the table as OpenAPI 3.1 has it."""
    parts: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for name, operation in {**OPERATIONS, **BESIDE}.items():
        paths.setdefault(operation.path, {})[operation.method.lower()] = _said(name, operation, parts)
    return {
        "openapi": "3.1.0",
        "info": {"title": "receipt-watcher", "version": version},
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": parts,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "receipt_watcher_session"},
            },
        },
    }


def _said(name: str, operation: Operation, parts: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": name,
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_headers(operation), *_query(operation, parts)],
        "responses": {},
        # What runs on this machine may need neither, so that nothing is one of the alternatives.
        "security": [] if operation.right is None else [{"bearer": []}, {"session": []}, {}],
    }
    if operation.body is not None:
        schema = _reference(operation.body, parts, "validation")
        is_needed = any(part.is_required() for part in operation.body.model_fields.values())
        said["requestBody"] = {"required": is_needed, "content": {operation.media: {"schema": schema}}}
    for status, answer in operation.answers.items():
        said["responses"][str(status)] = _answer(answer, parts)
    problem = {"application/problem+json": {"schema": _reference(schemas.ProblemAnswer, parts, "serialization")}}
    for status in problems_of(operation):
        said["responses"][str(status)] = {"description": "A problem (RFC 9457).", "content": problem}
    return said


def _answer(answer: type[BaseModel] | str | None, parts: dict[str, Any]) -> dict[str, Any]:
    if answer is None:
        return {"description": "Done."}
    if isinstance(answer, str):
        media = "*/*" if answer == BINARY else answer
        return {"description": "As it is.", "content": {media: {}}}
    schema = {"type": "object"} if answer is schemas.Given else _reference(answer, parts, "serialization")
    description = (answer.__doc__ or "").strip() if answer is not schemas.Given else "The table."
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _headers(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    ]


def _query(operation: Operation, parts: dict[str, Any]) -> list[dict[str, Any]]:
    schema = schemas.schema_of(operation.query, "#/components/schemas/{model}", "validation")
    parts |= schema.get("$defs", {})
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": each.get("description", ""),
            "schema": _bare(each),
        }
        for name, each in schema.get("properties", {}).items()
    ]


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter: one that is left out is no null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    bare = kinds[0] if kinds else schema
    return {name: text for name, text in bare.items() if name not in ("title", "description", "default")}


def _reference(model: type[BaseModel], parts: dict[str, Any], mode: Literal["validation", "serialization"]) -> Any:
    schema = schemas.schema_of(model, "#/components/schemas/{model}", mode)
    parts |= schema.pop("$defs", {})
    parts[model.__name__] = schema
    return {"$ref": f"#/components/schemas/{model.__name__}"}
