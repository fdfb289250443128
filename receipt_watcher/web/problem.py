"""Answers to requests that cannot be answered as asked: application/problem+json (RFC 9457).

What it promises: each problem has a correlation id that is in the log, at level debug, too: that of the request, where
it has one (`request_id`). Called in uvicorn's thread; nothing is kept.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from http import HTTPStatus

import structlog
from starlette.responses import JSONResponse, Response

logger = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

#: The id of the request that is being answered, its sender's or ours; "" outside of requests.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_TITLES = {401: "Unauthorised", 413: "Content too large", 422: "Unprocessable content", 500: "Internal error"}


def problem(status: int, detail: str, correlation_id: str | None = None) -> dict[str, object]:
    """Return a problem as JSON takes it, and log it under its correlation id; `code` is for programs."""
    correlation_id = correlation_id or request_id.get() or uuid.uuid4().hex
    logger.debug("http.refused", status=status, detail=detail, correlation_id=correlation_id)
    title = _TITLES.get(status) or HTTPStatus(status).phrase.capitalize()
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": re.sub("[^a-z]+", "_", title.lower()),
        "detail": detail,
        "correlation_id": correlation_id,
    }


def problem_response(
    status: int,
    detail: str,
    correlation_id: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> Response:
    """Return a problem as an answer; `more` are further fields of it."""
    return JSONResponse(problem(status, detail, correlation_id) | dict(more or {}), status, headers, MEDIA_TYPE)


class RefusedError(Exception):
    """A request that is answered with a problem; `more` are further fields of it."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: object) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more


class NeverTakenError(RefusedError):
    """A file that no inbox takes, by its name."""
