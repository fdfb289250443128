"""Counts requests by route and status, and callbacks and uploads by their outcome.

What it promises: each answer is counted once, also one to a defect of ours. A request that nobody answered, since its
caller went, is not counted. Runs in uvicorn's thread; nothing is kept here.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receipt_watcher.report.http_counts import HttpCounts

CALLBACK_PATH = "/api/v1/jobs/{job_id}/callback"
_UPLOAD_PATHS = ("/api/v1/receipts/upload", "/upload")

#: The outcome of a callback by the status of its answer; any other one means that it failed.
_CALLBACK_OUTCOMES = {
    200: "received",
    401: "wrong_token",
    404: "unknown_job",
    408: "unreadable",
    409: "contrary",
    413: "unreadable",
    422: "unreadable",
    429: "wrong_token",
}
#: The same of an upload.
_UPLOAD_OUTCOMES = {
    200: "known",
    202: "taken",
    401: "not_allowed",
    403: "not_allowed",
    413: "refused",
    415: "refused",
    422: "refused",
}


class CountRequests:
    """ASGI middleware, outside of what answers defects."""

    def __init__(self, app: ASGIApp, counts: HttpCounts, routes: Sequence[Route]) -> None:
        self._app = app
        self._counts = counts
        self._paths = {route.endpoint: route.path for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                endpoint = scope.get("endpoint")  # the router has put it there; middlewares inside answer without it
                path = self._paths.get(endpoint, "none") if endpoint else "none"
                self._count(scope["method"], path, message["status"])
            await send(message)

        await self._app(scope, receive, answer)

    def _count(self, method: str, path: str, status: int) -> None:
        self._counts.count_request(path, status)
        if method == "POST" and path == CALLBACK_PATH:
            self._counts.count_callback(_CALLBACK_OUTCOMES.get(status, "failed"))
        if method == "POST" and path in _UPLOAD_PATHS:
            self._counts.count_upload(_UPLOAD_OUTCOMES.get(status, "failed"))
