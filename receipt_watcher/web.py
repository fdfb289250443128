"""The HTTP side: N8N's callbacks, health, and one job for whoever asks from this machine.

What it promises: a verdict is durable before its callback is answered 200. The token is compared in constant time
and before the body is looked at; a body is read up to a limit and never kept in memory beyond it. Errors are
application/problem+json (RFC 9457) with a correlation id that is in the log too.

Runs in uvicorn's thread; whatever touches the job log runs in a worker thread, so that a slow disk does not stop
the event loop. Nothing is kept here: a crash leaves what the job log has.
"""

from __future__ import annotations

import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receipt_watcher.conclusion import Conclusion, Reception, Verdict
from receipt_watcher.config import is_loopback
from receipt_watcher.errors import JobLogError

logger = structlog.get_logger()

#: A callback carries a few words and perhaps extracted fields; more than this is a mistake or an attack.
CALLBACK_MAX_BYTES = 1024 * 1024

#: How much of a body that is too large is read and thrown away, so that its sender can read our answer.
_DRAINED_MAX_BYTES = 32 * 1024 * 1024

_FORWARDING_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")

JobLookup = Callable[[str], dict[str, Any] | None]
HealthCheck = Callable[[], Mapping[str, str | None]]


class Web:
    """The Starlette application. `check_health` names each check, with what is wrong or None."""

    def __init__(self, conclusion: Conclusion, token: str, *, find_job: JobLookup, check_health: HealthCheck) -> None:
        self._conclusion = conclusion
        self._token = token.encode()
        self._find_job = find_job
        self._check_health = check_health
        self.app = Starlette(
            routes=[
                Route("/api/v1/jobs/{job_id}/callback", self._callback, methods=["POST"]),
                Route("/api/v1/jobs/{job_id}", self._job, methods=["GET"]),
                Route("/health/live", self._live, methods=["GET"]),
                Route("/health/ready", self._ready, methods=["GET"]),
            ],
            exception_handlers={
                HTTPException: _answer_http_error,
                JobLogError: _answer_trouble,
                Exception: _answer_defect,
            },
        )

    # --- callback ----------------------------------------------------------------------------------------------

    async def _callback(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        is_authentic = hmac.compare_digest(request.headers.get("x-callback-token", "").encode(), self._token)
        try:
            body = await _read_body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        if not is_authentic:
            logger.warning("callback.unauthorised", job_id=job_id[:40], client=request.client and request.client.host)
            return _problem(
                401, "The header X-Callback-Token is missing or wrong; compare it with callback.secret_token."
            )
        if body is None:
            return await self._keep_unreadable(job_id, b"", 413, f"The body is larger than {CALLBACK_MAX_BYTES} bytes.")
        try:
            verdict = parse_verdict(body)
        except ValueError as error:
            return await self._keep_unreadable(job_id, body, 422, str(error))
        return _answer_reception(await run_in_threadpool(self._conclusion.conclude, job_id, verdict), job_id)

    async def _keep_unreadable(self, job_id: str, body: bytes, status: int, why: str) -> Response:
        """Keep what N8N said, for it says it only once, and answer why it is no verdict."""
        if await run_in_threadpool(self._conclusion.keep_unreadable, job_id, body, why):
            kept = "It" if body else "That it came"
            return _problem(status, f"{why} {kept} is kept in the job's history.")
        return _problem(404, f"There is no job {job_id}.")

    # --- health ------------------------------------------------------------------------------------------------

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, _request: Request) -> Response:
        checks = await run_in_threadpool(self._check_health)
        failing = {name: wrong for name, wrong in checks.items() if wrong is not None}
        if failing:
            return JSONResponse({"status": "not ready", "failing": failing}, status_code=503)
        return JSONResponse({"status": "ok", "checks": sorted(checks)})

    # --- jobs --------------------------------------------------------------------------------------------------

    async def _job(self, request: Request) -> Response:
        if not is_local(request):
            return _problem(403, "Jobs are shown to callers on this machine only.")
        job_id = request.path_params["job_id"]
        view = await run_in_threadpool(self._find_job, job_id)
        return _problem(404, f"There is no job {job_id}.") if view is None else JSONResponse(view)


def parse_verdict(body: bytes) -> Verdict:
    """Read a callback's body.

    Raises:
        ValueError: it is no verdict; the text says what it should be.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("The body is no JSON.") from error
    if not isinstance(said, dict) or said.get("status") not in ("success", "failure"):
        raise ValueError('The body must be a JSON object with "status": "success" or "failure".')
    page_url = said.get("notion_page_url")
    return Verdict(
        success=said["status"] == "success",
        message=_as_text(said.get("message")),
        notion_page_url=page_url if isinstance(page_url, str) and page_url.isprintable() else None,
        details=said.get("data"),
    )


def _as_text(message: Any) -> str | None:
    """Workflows put anything into `message`; a verdict is not lost for that. Lone surrogates cannot be stored."""
    if message is None:
        return None
    text = message if isinstance(message, str) else json.dumps(message)
    return text.encode("utf-8", "backslashreplace").decode()


async def _read_body(request: Request) -> bytes | None:
    """Read the body; None where it is larger than the limit. Then it is read on, in bounds, and thrown away."""
    body = bytearray()
    total = 0
    async for piece in request.stream():
        total += len(piece)
        if total <= CALLBACK_MAX_BYTES:
            body += piece
        elif total > _DRAINED_MAX_BYTES:
            break
    return bytes(body) if total <= CALLBACK_MAX_BYTES else None


def is_local(request: Request) -> bool:
    """Whether the caller is on this machine and came straight.

    A proxy's request comes from loopback, too; and a page in a browser here may point a name of its own at loopback,
    so the Host that is asked for must be this machine as well.
    """
    if request.client is None or any(name in request.headers for name in _FORWARDING_HEADERS):
        return False
    return is_loopback(request.client.host) and is_loopback(request.url.hostname or "")


def _answer_reception(reception: Reception, job_id: str) -> Response:
    match reception:
        case Reception.RECEIVED:
            return JSONResponse({"status": "received"})
        case Reception.UNKNOWN:
            return _problem(404, f"There is no job {job_id}.")
        case Reception.CONTRARY:
            return _problem(409, "The job has succeeded; a success is not taken back. The callback is in its history.")
        case Reception.NEVER_SENT:
            return _problem(409, "The job is a copy of another one and was never sent.")


_TITLES = {
    400: "Bad request",
    401: "Unauthorised",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Content too large",
    422: "Unprocessable content",
    500: "Internal error",
    503: "Service unavailable",
}


def _problem(status: int, detail: str, correlation_id: str | None = None) -> Response:
    correlation_id = correlation_id or uuid.uuid4().hex
    logger.debug("http.refused", status=status, detail=detail, correlation_id=correlation_id)
    content = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "correlation_id": correlation_id,
    }
    return JSONResponse(content, status_code=status, media_type="application/problem+json")


async def _answer_http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    answer = _problem(status, "There is nothing here." if status == 404 else str(error))  # noqa: PLR2004
    if isinstance(error, HTTPException) and error.headers:
        answer.headers.update(error.headers)  # 405 must say what is allowed
    return answer


async def _answer_trouble(_request: Request, error: Exception) -> Response:
    """The verdict could not be written down: whoever sent it is to send it again."""
    answer = _problem(503, f"Nothing was written down, so send it again in a minute: {error}")
    answer.headers["Retry-After"] = "60"
    return answer


async def _answer_defect(_request: Request, error: Exception) -> Response:
    correlation_id = uuid.uuid4().hex
    logger.error("http.failed", correlation_id=correlation_id, exc_info=error)
    return _problem(500, "An error of receipt-watcher itself; its log has more.", correlation_id)
