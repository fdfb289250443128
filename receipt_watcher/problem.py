"""What a caller is told when a request cannot be answered as asked: application/problem+json (RFC 9457).

What it promises: each problem has a correlation id that is in the log, at level debug, too. Called in uvicorn's
thread; nothing is kept.
"""

from __future__ import annotations

import uuid
from http import HTTPStatus

import structlog

logger = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

_TITLES = {401: "Unauthorised", 413: "Content too large", 422: "Unprocessable content", 500: "Internal error"}


def problem(status: int, detail: str, correlation_id: str | None = None) -> dict[str, object]:
    """Return a problem as JSON takes it, and log it under its correlation id."""
    correlation_id = correlation_id or uuid.uuid4().hex
    logger.debug("http.refused", status=status, detail=detail, correlation_id=correlation_id)
    return {
        "type": "about:blank",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase.capitalize(),
        "status": status,
        "detail": detail,
        "correlation_id": correlation_id,
    }
