"""The application: its routes, its middlewares in one list, and how errors are answered.

What it promises: errors are application/problem+json (RFC 9457) with a correlation id that is in the log too, or a page
for a person with a browser. Each answer, also to a defect of ours, has its headers (`server.headers`).

Runs in uvicorn's thread. Nothing is kept here: a crash leaves what the job log has.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receipt_watcher.config.secrets import without_paths
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.log.engine.locked import patience_seconds
from receipt_watcher.report.http_counts import HttpCounts
from receipt_watcher.web.pages.base import ErrorPages
from receipt_watcher.web.problem import RefusedError, problem_response, request_id
from receipt_watcher.web.server.bodies import BodyDrain
from receipt_watcher.web.server.counting import CountRequests
from receipt_watcher.web.server.headers import AnswerHeaders
from receipt_watcher.web.server.targets import AbsoluteTargets

logger = structlog.get_logger()

#: For how long an answer waits while another program keeps the job log locked; then the caller is told to come again.
_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOptions:
    """The options for all answers.

    `origins` may call the API from a browser; `root_path` and `hsts_seconds` are for `AnswerHeaders`.
    """

    origins: Sequence[str] = ()
    root_path: str = ""
    hsts_seconds: int = 0


def application(
    routes: Sequence[Route],
    options: SiteOptions | None = None,
    error_pages: ErrorPages | None = None,
    counts: HttpCounts | None = None,
) -> Starlette:
    """Return the application of some routes; with `error_pages` people get errors as pages."""
    options = options or SiteOptions()
    errors = _Errors(error_pages)
    app = Starlette(
        routes=routes,
        middleware=[  # the first is the outermost
            Middleware(AnswerHeaders, root_path=options.root_path, hsts_seconds=options.hsts_seconds),
            Middleware(AbsoluteTargets),
            Middleware(CountRequests, counts=counts or HttpCounts(), routes=routes),
            Middleware(LogPatience),
            # Starlette has one of its own, outside of all others, where an answer to a defect would have no headers.
            Middleware(ServerErrorMiddleware, handler=errors.answer_defect),
            *_cors(options.origins),
            Middleware(BodyDrain),
        ],
        exception_handlers={
            RefusedError: errors.answer_refused,
            HTTPException: errors.answer_http_error,
            JobLogError: errors.answer_log_trouble,
        },
    )
    app.router.redirect_slashes = False  # a POST that is redirected is lost
    return app


class LogPatience:
    """ASGI middleware: bound how long an answer waits while another program keeps the job log locked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        patience_seconds.set(_PATIENCE_SECONDS)  # of this request's task, and of the threads that work for it
        await self._app(scope, receive, send)


def _cors(origins: Sequence[str]) -> list[Middleware]:
    """Return what lets other sites' scripts call the API: with a token, never with a cookie."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID"],
            expose_headers=["Location", "Retry-After", "Server-Timing", "X-Request-ID"],
        )
    ]


def _allowed(request: Request) -> set[str]:
    """Return the methods of all routes of a path (RFC 9110, 10.2.1): Starlette knows those of the first one."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return methods


class _Errors:
    """The answers to errors."""

    def __init__(self, pages: ErrorPages | None) -> None:
        self._pages = pages

    async def answer_refused(self, request: Request, error: Exception) -> Response:
        """Answer a request that was refused."""
        if not isinstance(error, RefusedError):
            raise error
        pages = self._pages_for(request)
        if pages is not None:
            return pages.refused(request, error)
        return problem_response(error.status, error.detail, headers=error.headers, more=error.more)

    async def answer_http_error(self, request: Request, error: Exception) -> Response:
        """Answer what Starlette refuses, such as a path that is not there."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        pages = self._pages_for(request)
        if pages is not None:
            return pages.error(request, status)
        headers = error.headers if isinstance(error, HTTPException) else None
        if status == 405:  # noqa: PLR2004
            headers = {"Allow": ", ".join(sorted(_allowed(request)))}
        detail = "There is nothing here." if status == 404 else str(error)  # noqa: PLR2004
        return problem_response(status, detail, headers=headers)

    async def answer_defect(self, request: Request, error: Exception) -> Response:
        """Answer a defect of ours, and log it."""
        correlation_id = request_id.get() or uuid.uuid4().hex
        logger.error("http.failed", correlation_id=correlation_id, exc_info=error)
        pages = self._pages_for(request)
        if pages is not None:
            return pages.error(request, 500, correlation_id)
        return problem_response(500, "An error of receipt-watcher itself; its log has more.", correlation_id)

    @staticmethod
    async def answer_log_trouble(request: Request, error: Exception) -> Response:
        """Answer what cannot be read or written now; after a change the caller must know that nothing was written."""
        again = (
            "Ask again in a minute"
            if request.method in ("GET", "HEAD")
            else "Nothing was written; send it again in a minute"
        )
        answer = problem_response(503, f"{again}: {without_paths(str(error))}")
        answer.headers["Retry-After"] = "60"
        return answer

    def _pages_for(self, request: Request) -> ErrorPages | None:
        """Return the pages if a person asks, with a browser, and not a program."""
        accepts_html = "text/html" in request.headers.get("accept", "")
        return self._pages if accepts_html and not request.url.path.startswith(("/api/", "/health/")) else None
