"""The HTTP side for those who need no role: N8N's callbacks, health, a file for who has a link to it.

The rest, for people and their programs, comes as routes of `api`.

What it promises: a verdict is durable before its callback is answered 200. The token is looked at before the body;
a right one is never slowed or refused, whatever else comes from its address. A file is streamed, never held, and
its end comes only when it is proven; who has no link of ours learns nothing, not even whether there is such a job.
Errors are application/problem+json (RFC 9457) with a correlation id that is in the log too.

Runs in uvicorn's thread; whatever touches the job log runs in a worker thread, so that a slow disk does not stop
the event loop. Nothing is kept here: a crash leaves what the job log has.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receipt_watcher.config.roles import Right
from receipt_watcher.config.secrets import without_paths
from receipt_watcher.delivery.callbacks import Callbacks, Reception
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import REHEARSAL_PREFIX
from receipt_watcher.jobs.log.engine.locked import patience_seconds
from receipt_watcher.jobs.verdict import parse_verdict
from receipt_watcher.report.readiness import Readiness
from receipt_watcher.web.access.callback_tokens import CallbackTokens, TokenWorth
from receipt_watcher.web.access.callers import TOO_MANY, Access, is_local
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.links import FileLinks, LinkStanding
from receipt_watcher.web.pages.receipts import Pages
from receipt_watcher.web.problem import MEDIA_TYPE, RefusedError, problem, request_id
from receipt_watcher.web.server.bodies import BODY_SECONDS, Drained, read_body
from receipt_watcher.web.server.connections import tell_connection
from receipt_watcher.web.server.headers import Envelope

logger = structlog.get_logger()

#: A callback carries a few words and perhaps extracted fields; more than this is a mistake or an attack.
CALLBACK_MAX_BYTES = 1024 * 1024

#: From this size on reading a callback's JSON takes milliseconds, and the event loop does not wait for it.
_LONG_BYTES = 16 * 1024

#: How many threads callbacks and lookups may occupy: those who only look never keep a callback waiting.
_CONCLUDING_THREADS = 8
_LOOKING_THREADS = 4

_SHOWN_CHARACTERS = 80

#: For how long an answer waits while another program keeps the job log locked. A callback comes only once, and is kept
#: when it has waited for longer; all others are told to come again.
_PATIENCE_SECONDS = 1.0
_CALLBACK_PATIENCE_SECONDS = 5.0

#: Where the log keeps what was last called back for a made-up receipt of `check --live`.
REHEARSAL_FACT = "rehearsal"

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Written = TypeVar("Written")
HealthCheck = Callable[[], Mapping[str, str | None]]
Answering = Callable[[Request], Awaitable[Response]]


class Web:
    """The Starlette application. `check_health` names each check, with what is wrong or None.

    `tell_degraded` names what works by halves, such as a destination that is held; `tell_waiting` what waits as it
    should, such as for a delivery window. `show_metrics` returns them in Prometheus' text format.
    `keep_callback` keeps a callback that the job log does not take now, durably: its job's id, its body, and why it is
    no verdict, if it is none; it returns False if it cannot. So is one of a job that the log does not know while
    `may_know_more` says that a folder may still hold it.
    `keep_rehearsal` keeps what was called back for a made-up receipt of `check --live`, which is no job.
    `access` judges who may see the metrics; without it callers on this machine may. `more` are the API's routes,
    `file_of_known` its answer to who has no link; `origins` may call it from a browser. `pages` are the status page.
    """

    def __init__(
        self,
        conclusion: Callbacks,
        tokens: CallbackTokens,
        strangers: WrongTokens,
        *,
        links: FileLinks,
        downloads: Downloads,
        check_health: HealthCheck,
        tell_degraded: Callable[[], Mapping[str, str]] = dict,
        tell_waiting: Callable[[], Mapping[str, str]] = dict,
        show_metrics: Callable[[], bytes] = bytes,
        keep_rehearsal: Callable[[str], None] = lambda _said: None,
        keep_callback: Callable[[str, bytes, str | None], bool] = lambda _job_id, _body, _why: False,
        may_know_more: Callable[[], bool] = lambda: False,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        access: Access | None = None,
        more: Sequence[Route] = (),
        file_of_known: Answering | None = None,
        origins: Sequence[str] = (),
        root_path: str = "",
        hsts_seconds: int = 0,
        pages: Pages | None = None,
    ) -> None:
        self._pages = pages
        self._conclusion = conclusion
        self._tokens = tokens
        self._slowness = Slowness(strangers, pause)
        self._links = links
        self._downloads = downloads
        self._access = access
        self._file_of_known = file_of_known
        self._check_health = check_health
        self._tell_degraded = tell_degraded
        self._tell_waiting = tell_waiting
        self._show_metrics = show_metrics
        self._keep_rehearsal = keep_rehearsal
        self._keep_callback = keep_callback
        self._may_know_more = may_know_more
        self._concluding = asyncio.Semaphore(_CONCLUDING_THREADS)
        self._looking = asyncio.Semaphore(_LOOKING_THREADS)
        inner = Starlette(
            routes=[
                Route("/api/v1/jobs/{job_id}/callback", self._callback, methods=["POST"]),
                Route("/api/v1/jobs/{job_id}/file", self._file, methods=["GET", "HEAD"]),
                Route("/health/live", self._live, methods=["GET"]),
                Route("/health/ready", self._ready, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
                *more,
                *(pages.routes if pages else []),
            ],
            middleware=[*_cors(origins), Middleware(Drained)],
            exception_handlers={
                RefusedError: self._answer_refused,
                HTTPException: self._answer_http_error,
                JobLogError: _answer_trouble,
                Exception: self._answer_defect,
            },
        )
        inner.router.redirect_slashes = False  # a POST that is redirected is lost
        self.app = Envelope(
            _Impatient(inner), root_path, hsts_seconds
        )  # outside of it, so that an error of ours has its headers, too

    # --- errors ------------------------------------------------------------------------------------------------

    async def _answer_refused(self, request: Request, error: Exception) -> Response:
        if self._pages is not None and _wants_page(request) and isinstance(error, RefusedError):
            return self._pages.refused(request, error)
        return await _answer_refused(request, error)

    async def _answer_http_error(self, request: Request, error: Exception) -> Response:
        if self._pages is not None and _wants_page(request) and isinstance(error, HTTPException):
            return self._pages.error(request, error.status_code)
        return await _answer_http_error(request, error)

    async def _answer_defect(self, request: Request, error: Exception) -> Response:
        correlation_id = request_id.get() or uuid.uuid4().hex
        logger.error("http.failed", correlation_id=correlation_id, exc_info=error)
        if self._pages is not None and _wants_page(request):
            return self._pages.error(request, 500, correlation_id)
        return _problem(500, "An error of receipt-watcher itself; its log has more.", correlation_id)

    # --- callback ----------------------------------------------------------------------------------------------

    async def _callback(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        standing = self._tokens.judge(job_id, request.headers.getlist("x-callback-token"))
        match standing:
            case TokenWorth.WRONG:
                return await self._refuse(request, job_id, 401, _WRONG_TOKEN)
            case TokenWorth.SHARED:
                logger.warning("callback.shared_token", job_id=job_id[:_SHOWN_CHARACTERS])
                return _problem(401, _WHY_NOT_SHARED)
            case TokenWorth.PREVIOUS:
                logger.info("callback.previous_token", job_id=job_id[:_SHOWN_CHARACTERS])
        return await self._hear(request, job_id)

    async def _hear(self, request: Request, job_id: str) -> Response:
        """Read and write down what came with a right token."""
        tell_connection(request, "trust")
        patience_seconds.set(_CALLBACK_PATIENCE_SECONDS)
        try:
            body = await read_body(request, CALLBACK_MAX_BYTES)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except TimeoutError:
            why = f"The body did not arrive whole within {BODY_SECONDS:g} seconds."
            return await self._keep_unreadable(job_id, b"", 408, why)
        if body is None:
            return await self._keep_unreadable(job_id, b"", 413, f"The body is larger than {CALLBACK_MAX_BYTES} bytes.")
        try:
            verdict = await run_in_threadpool(parse_verdict, body) if len(body) > _LONG_BYTES else parse_verdict(body)
        except ValueError as error:
            return await self._keep_unreadable(job_id, body, 422, f"{error}{_as_it_came(request)}")
        if job_id.startswith(REHEARSAL_PREFIX):
            said = {"job_id": job_id, "success": verdict.success, "message": verdict.message}
            await run_in_threadpool(self._keep_rehearsal, json.dumps(said))
            return _answer_reception(Reception.RECEIVED, job_id)
        reception = await self._written_down(
            lambda: self._conclusion.conclude(job_id, verdict), job_id, body, None, Reception.RECEIVED
        )
        return _answer_reception(reception, job_id)

    async def _written_down(
        self, write: Callable[[], Written], job_id: str, body: bytes, why: str | None, if_kept: Written
    ) -> Written:
        """Return what `write` returns; or `if_kept`, if the job log does not take the callback and it is kept instead.

        Raises:
            JobLogError: the log does not take it, and it cannot be kept either.
        """
        async with self._concluding:
            try:
                found = await run_in_threadpool(write)
            except JobLogError:
                if not await run_in_threadpool(self._keep_callback, job_id, body, why):
                    raise
                return if_kept
            if found in (Reception.UNKNOWN, False) and self._may_know_more():
                is_kept = await run_in_threadpool(self._keep_callback, job_id, body, why)
                return if_kept if is_kept else found
            return found

    async def _refuse(self, request: Request, job_id: str, status: int, detail: str) -> Response:
        """Answer a wrong token, or a wrong link: the more of them, the later; nobody's thread waits meanwhile."""
        retry_after = await self._slowness.wait(request.client.host if request.client else None, job_id)
        if retry_after is not None:
            return _problem(429, TOO_MANY, headers={"Retry-After": str(retry_after)})
        return _problem(status, detail)

    async def _keep_unreadable(self, job_id: str, body: bytes, status: int, why: str) -> Response:
        """Keep what N8N said, for it says it only once, and answer why it is no verdict."""
        if not await self._written_down(
            lambda: self._conclusion.keep_unreadable(job_id, body, why), job_id, body, why, if_kept=True
        ):
            return _no_job(job_id)
        kept = "It" if body else "That it came"
        # Whoever was too slow is not waited for once more.
        headers = {"Connection": "close"} if status == 408 else None  # noqa: PLR2004
        return _problem(status, f"{why} {kept} is kept in the job's history.", headers=headers)

    # --- files -------------------------------------------------------------------------------------------------

    async def _file(self, request: Request) -> Response:
        """Serve the file of a job to who has a link to it. Parts of it are not: its end is proven by its beginning.

        Who has no link at all may be known otherwise.
        """
        job_id = request.path_params["job_id"]
        if not request.query_params and self._file_of_known is not None:
            return await self._file_of_known(request)
        link = self._links.judge(job_id, request.query_params.multi_items())
        if link.standing is LinkStanding.WRONG:
            return await self._refuse(request, job_id, 403, _WRONG_LINK)
        if link.standing is LinkStanding.EXPIRED:
            return _problem(410, "This link has expired; n8n.link_seconds says for how long one is good.")
        tell_connection(request, "prefer")
        return await self._downloads.answer(request, job_id, link.sha256)

    # --- health ------------------------------------------------------------------------------------------------

    async def _live(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        async with self._looking:
            found = await run_in_threadpool(self._readiness)
        status = 200 if found.is_ready else 503
        if not await self._may_read(request):
            found = found.for_strangers()
        if _wants_a_line(request):
            return PlainTextResponse(f"{found.line()}\n", status)
        return JSONResponse(found.as_json(), status)

    async def _may_read(self, request: Request) -> bool:
        """Whether the caller may know paths and hosts; one with a wrong token may not, but is answered all the same."""
        if self._access is None:
            return is_local(request)
        try:
            caller = await self._access.caller(request)
        except RefusedError:
            return False
        return caller is not None and caller.may(Right.READ)

    def _readiness(self) -> Readiness:
        checks, degraded = self._check_health(), self._tell_degraded()
        try:
            return Readiness(checks, degraded, self._tell_waiting())
        except JobLogError as error:  # also when it fails only now
            return Readiness({**checks, "job_log": str(error)}, degraded, {})

    async def _metrics(self, request: Request) -> Response:
        if self._access is not None:
            await self._access.require(request, Right.READ)
        elif not is_local(request):
            return _problem(403, "Metrics are shown to callers on this machine only.")
        async with self._looking:
            page = await run_in_threadpool(self._show_metrics)
        return Response(page, media_type=_METRICS_TYPE)


class _Impatient:
    """ASGI middleware: nobody who asks waits for long while another program keeps the job log locked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        patience_seconds.set(_PATIENCE_SECONDS)  # of this request's task, and of the threads that work for it
        await self._app(scope, receive, send)


_WRONG_TOKEN = "The header X-Callback-Token is missing or wrong; compare it with callback.secret_token."  # noqa: S105 - no token
_WRONG_LINK = "This is no link to a file, or not as it was sent: fetch the file_url of the message, unchanged."

#: Who reads this knows the shared token.
_WHY_NOT_SHARED = (
    "This is the shared token, and callback.per_job_tokens is on: send the callback_token that came with this job. "
    "In n8n, as the value of the header X-Callback-Token: ={{ $('Webhook').item.json.body.callback_token }}"
)


def _as_it_came(request: Request) -> str:
    """Say how a body that cannot be read was sent, which mostly explains it."""
    coding = request.headers.get("content-encoding", "")
    if coding not in ("", "identity"):
        return f" It came with Content-Encoding {coding[:_SHOWN_CHARACTERS]}; send it as it is."
    kind = request.headers.get("content-type", "application/json").lower()
    if kind.partition(";")[0].strip() != "application/json":
        return f" It came as {kind[:_SHOWN_CHARACTERS]}; send it as application/json."
    return ""


def _wants_a_line(request: Request) -> bool:
    """Whether a caller asks for plain text; who takes anything gets JSON."""
    accepted = request.headers.get("accept", "")
    wanted = "text" if "text/plain" in accepted and "application/json" not in accepted else "json"
    return request.query_params.get("format", wanted) == "text"


def _answer_reception(reception: Reception, job_id: str) -> Response:
    match reception:
        case Reception.RECEIVED:
            return JSONResponse({"status": "received"})
        case Reception.UNKNOWN:
            return _no_job(job_id)
        case Reception.CONTRARY:
            return _problem(409, "The job has succeeded; a success is not taken back. The callback is in its history.")
        case Reception.NEVER_SENT:
            return _problem(409, "The job is a copy of another one and was never sent.")


def _no_job(job_id: str) -> Response:
    return _problem(404, f"There is no job {job_id[:_SHOWN_CHARACTERS]}.")


def _problem(
    status: int, detail: str, correlation_id: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(problem(status, detail, correlation_id), status, headers, MEDIA_TYPE)


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


async def _answer_refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    body = problem(error.status, error.detail) | error.more
    return JSONResponse(body, error.status, error.headers, MEDIA_TYPE)


async def _answer_http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None  # 405 must say what is allowed
    return _problem(status, "There is nothing here." if status == 404 else str(error), headers=headers)  # noqa: PLR2004


async def _answer_trouble(request: Request, error: Exception) -> Response:
    """Answer what cannot be read or written now; after a change the caller must know that nothing was written."""
    again = (
        "Ask again in a minute"
        if request.method in ("GET", "HEAD")
        else "Nothing was written; send it again in a minute"
    )
    answer = _problem(503, f"{again}: {without_paths(str(error))}")
    answer.headers["Retry-After"] = "60"
    return answer


def _wants_page(request: Request) -> bool:
    """Whether a person asks, with a browser, and not a program."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(("/api/", "/health/"))
