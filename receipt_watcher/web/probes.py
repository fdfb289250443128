"""Probes: whether the process turns, whether all is well, and its metrics.

What it promises: whoever may not read learns whether all is well, but no path and no host. Those who only look never
keep a callback waiting. Runs in uvicorn's thread; what may wait runs in a few worker threads. Nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from receipt_watcher.config.roles import Right
from receipt_watcher.errors import JobLogError
from receipt_watcher.report.health.readiness import Readiness
from receipt_watcher.web.access.authorization import Access, is_local
from receipt_watcher.web.problem import RefusedError, problem_response

#: Most threads that probes may occupy.
_LOOKING_THREADS = 4

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSources:
    """The sources of the answers.

    `checks` names each check, with what is wrong or None; `degraded` what works by halves, such as a destination that
    is held; `waiting` what waits as it should, such as for a delivery window; `troubles` what a person should look at.
    `metrics` are in Prometheus' text format.
    """

    checks: Callable[[], Mapping[str, str | None]]
    degraded: Callable[[], Mapping[str, str]] = dict
    waiting: Callable[[], Mapping[str, str]] = dict
    troubles: Callable[[], Mapping[str, str]] = dict
    metrics: Callable[[], bytes] = bytes


class Probes:
    """Answers probes. `access` judges who may read; without it callers on this machine may."""

    def __init__(self, sources: ProbeSources, access: Access | None = None) -> None:
        self._sources = sources
        self._access = access
        self._looking = asyncio.Semaphore(_LOOKING_THREADS)

    def routes(self) -> list[Route]:
        """Return their routes."""
        return [
            Route("/health/live", self._live, methods=["GET"]),
            Route("/health/ready", self._ready, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        async with self._looking:
            readiness = await run_in_threadpool(self._readiness)
        status = 200 if readiness.is_ready else 503
        if not await self._may_read(request):
            readiness = readiness.without_details()
        if _wants_a_line(request):
            return PlainTextResponse(f"{readiness.line()}\n", status)
        return JSONResponse(readiness.as_json(), status)

    async def _may_read(self, request: Request) -> bool:
        """Return whether the caller may know paths and hosts; with a wrong token the answer has none of them."""
        if self._access is None:
            return is_local(request)
        try:
            caller = await self._access.caller(request)
        except RefusedError:
            return False
        return caller is not None and caller.has_right(Right.READ)

    def _readiness(self) -> Readiness:
        checks, degraded = self._sources.checks(), self._sources.degraded()
        try:
            return Readiness(checks, degraded, self._sources.waiting(), self._sources.troubles())
        except JobLogError as error:  # also when it fails only now
            return Readiness({**checks, "job_log": str(error)}, degraded, {})

    async def _metrics(self, request: Request) -> Response:
        if self._access is not None:
            await self._access.require(request, Right.READ)
        elif not is_local(request):
            return problem_response(403, "Metrics are shown to callers on this machine only.")
        async with self._looking:
            page = await run_in_threadpool(self._sources.metrics)
        return Response(page, media_type=_METRICS_TYPE)


def _wants_a_line(request: Request) -> bool:
    """Return whether a caller asks for plain text; who takes anything gets JSON."""
    accepted = request.headers.get("accept", "")
    wanted = "text" if "text/plain" in accepted and "application/json" not in accepted else "json"
    return request.query_params.get("format", wanted) == "text"
