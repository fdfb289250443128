"""The callback: N8N's verdict on one receipt.

What it promises: a verdict is durable before its callback is answered 200. The token is looked at before the body;
a right one is never slowed or refused, whatever else comes from its address.

Runs in uvicorn's thread; whatever touches the job log runs in a worker thread. Nothing is kept here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receipt_watcher.delivery.callbacks import Callbacks, Reception
from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.job import REHEARSAL_PREFIX
from receipt_watcher.jobs.log.engine.locked import patience_seconds
from receipt_watcher.jobs.verdict import parse_verdict
from receipt_watcher.web.access.callback_tokens import CallbackTokens, TokenWorth
from receipt_watcher.web.access.wrong_tokens import Slowness
from receipt_watcher.web.problem import RefusedError, problem_response
from receipt_watcher.web.server.bodies import BODY_SECONDS, read_body
from receipt_watcher.web.server.connections import notify_connection
from receipt_watcher.web.server.counting import CALLBACK_PATH

logger = structlog.get_logger()

#: A callback carries a few words and perhaps extracted fields; more than this is a mistake or an attack.
CALLBACK_MAX_BYTES = 1024 * 1024

#: From this size on reading a callback's JSON takes milliseconds, and the event loop does not wait for it.
_LONG_BYTES = 16 * 1024

#: Most threads that callbacks may occupy.
_CONCLUDING_THREADS = 8

#: For how long a callback waits while another program keeps the job log locked. It comes only once, and is kept when it
#: has waited for longer.
_PATIENCE_SECONDS = 5.0

#: The same for one with a wrong token, which is only noted, and the most of its body that is read.
_REFUSED_PATIENCE_SECONDS = 1.0
_REFUSED_MAX_BYTES = 64 * 1024

_SHOWN_CHARACTERS = 80

_WRONG_TOKEN = "The header X-Callback-Token is missing or wrong; compare it with callback.secret_token."  # noqa: S105 - no token

#: Only a caller who knows the shared token gets this.
_WHY_NOT_SHARED = (
    "This is the shared token, and callback.per_job_tokens is on: send the callback_token that came with this job. "
    "In n8n, as the value of the header X-Callback-Token: ={{ $('Webhook').item.json.body.callback_token }}"
)

Written = TypeVar("Written")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackKeeping:
    """The ways to keep a callback that the job log does not take.

    `keep` keeps one durably: its job's id, its body, and why it is no verdict, if it is none; it returns False if it
    cannot. So is one of a job that the log does not know while `may_know_more` says that a folder may still hold it.
    `keep_rehearsal` keeps what was called back for a made-up receipt of `check --live`, which is no job.
    """

    keep: Callable[[str, bytes, str | None], bool] = lambda _job_id, _body, _why: False
    may_know_more: Callable[[], bool] = lambda: False
    keep_rehearsal: Callable[[dict[str, Any]], None] = lambda _verdict: None


class CallbackEndpoint:
    """Takes callbacks."""

    def __init__(
        self, callbacks: Callbacks, tokens: CallbackTokens, slowness: Slowness, keeping: CallbackKeeping
    ) -> None:
        self._callbacks = callbacks
        self._tokens = tokens
        self._slowness = slowness
        self._keeping = keeping
        self._concluding = asyncio.Semaphore(_CONCLUDING_THREADS)

    def routes(self) -> list[Route]:
        """Return its route."""
        return [Route(CALLBACK_PATH, self._answer, methods=["POST"])]

    async def _answer(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        match self._tokens.judge(job_id, request.headers.getlist("x-callback-token")):
            case TokenWorth.WRONG:
                host = request.client.host if request.client else None
                refusal = await self._slowness.refusal(host, job_id, RefusedError(401, _WRONG_TOKEN))
                if refusal.status == 401:  # noqa: PLR2004 - RFC 9110; whoever guesses on and on is not listened to
                    await self._note_wrong_token(request, job_id, "its X-Callback-Token is missing or wrong")
                raise refusal
            case TokenWorth.SHARED:
                logger.warning("callback.shared_token", job_id=job_id[:_SHOWN_CHARACTERS])
                await self._note_wrong_token(request, job_id, "its X-Callback-Token is the shared one")
                return problem_response(401, _WHY_NOT_SHARED)
            case TokenWorth.PREVIOUS:
                logger.info("callback.previous_token", job_id=job_id[:_SHOWN_CHARACTERS])
        return await self._record(request, job_id)

    async def _note_wrong_token(self, request: Request, job_id: str, why: str) -> None:
        """Keep what N8N said with a wrong token about a job that waits for it; of others not even the body is read."""
        patience_seconds.set(_REFUSED_PATIENCE_SECONDS)
        with contextlib.suppress(JobLogError, ClientDisconnect, TimeoutError):
            async with self._concluding:
                is_awaited = await run_in_threadpool(self._callbacks.awaits, job_id)
            if is_awaited:
                body = await read_body(request, _REFUSED_MAX_BYTES)
                async with self._concluding:
                    await run_in_threadpool(self._callbacks.note_wrong_token, job_id, body or b"", why)

    async def _record(self, request: Request, job_id: str) -> Response:
        """Read and write down what came with a right token."""
        notify_connection(request, "trust")
        patience_seconds.set(_PATIENCE_SECONDS)
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
            verdict_of_test = {"job_id": job_id, "success": verdict.success, "message": verdict.message}
            await run_in_threadpool(self._keeping.keep_rehearsal, verdict_of_test)
            return _answer_reception(Reception.RECEIVED, job_id)
        reception = await self._recorded(
            lambda: self._callbacks.conclude(job_id, verdict), job_id, body, None, Reception.RECEIVED
        )
        return _answer_reception(reception, job_id)

    async def _recorded(
        self, write: Callable[[], Written], job_id: str, body: bytes, why: str | None, if_kept: Written
    ) -> Written:
        """Return what `write` returns; or `if_kept`, if the job log does not take the callback and it is kept instead.

        Raises:
            JobLogError: the log does not take it, and it cannot be kept either.
        """
        async with self._concluding:
            try:
                outcome = await run_in_threadpool(write)
            except JobLogError:
                if not await run_in_threadpool(self._keeping.keep, job_id, body, why):
                    raise
                return if_kept
            if outcome in (Reception.UNKNOWN, False) and self._keeping.may_know_more():
                is_kept = await run_in_threadpool(self._keeping.keep, job_id, body, why)
                return if_kept if is_kept else outcome
            return outcome

    async def _keep_unreadable(self, job_id: str, body: bytes, status: int, why: str) -> Response:
        """Keep what N8N said, for it says it only once, and answer why it is no verdict."""
        if not await self._recorded(
            lambda: self._callbacks.keep_unreadable(job_id, body, why), job_id, body, why, if_kept=True
        ):
            return _no_job(job_id)
        kept = "It" if body else "That it came"
        # Whoever was too slow is not waited for once more.
        headers = {"Connection": "close"} if status == 408 else None  # noqa: PLR2004
        return problem_response(status, f"{why} {kept} is kept in the job's history.", headers=headers)


def _as_it_came(request: Request) -> str:
    """Say how a body that cannot be read was sent, which mostly explains it."""
    coding = request.headers.get("content-encoding", "")
    if coding not in ("", "identity"):
        return f" It came with Content-Encoding {coding[:_SHOWN_CHARACTERS]}; send it as it is."
    kind = request.headers.get("content-type", "application/json").lower()
    if kind.partition(";")[0].strip() != "application/json":
        return f" It came as {kind[:_SHOWN_CHARACTERS]}; send it as application/json."
    return ""


def _answer_reception(reception: Reception, job_id: str) -> Response:
    match reception:
        case Reception.RECEIVED:
            return JSONResponse({"status": "received"})
        case Reception.UNKNOWN:
            return _no_job(job_id)
        case Reception.CONTRARY:
            why = "The job has succeeded; a success is not taken back. The callback is in its history."
            return problem_response(409, why)
        case Reception.NEVER_SENT:
            return problem_response(409, "The job is a copy of another one and was never sent.")


def _no_job(job_id: str) -> Response:
    return problem_response(404, f"There is no job {job_id[:_SHOWN_CHARACTERS]}.")
