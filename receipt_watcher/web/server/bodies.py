"""The queries and bodies of requests, read in bounds.

What it promises: no body is kept in memory beyond the limit that is asked for. No answer is sent before the body has
come to its end, or has been waited for, and thrown away, long enough: who is cut off in the midst of sending never
reads the answer. A request whose end a proxy may see elsewhere than we do is refused, and so is
one with more parameters than any call has, before they are read.

Runs in uvicorn's thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receipt_watcher.web.problem import RefusedError, problem_response

#: Time limit for the body of a callback that bears a right token. By taste: its sender waits for us, too.
BODY_SECONDS = 30.0

#: Limits for reading and dropping a body that nobody wants, so that its sender can read our answer.
DRAIN_SECONDS = 10.0
DRAIN_MAX_BYTES = 32 * 1024 * 1024

#: Limits for forms: more than those of our pages need.
_FORM_BYTES, _FORM_FIELDS = 16 * 1024, 20

#: Most parameters of a query: a status may be named for each state, and pages have some ten.
MOST_PARAMETERS = 50

_CLOSE = (b"connection", b"close")

#: The form of a Host (RFC 9110, 7.2): a name or an address, and a port; no user before it.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]{0,5})?")


async def read_body(request: Request, max_bytes: int) -> bytes | None:
    """Read a body; None as soon as it is larger than the limit.

    Raises:
        ClientDisconnect: the sender left.
        TimeoutError: it took longer than BODY_SECONDS.
    """
    body = bytearray()
    async with asyncio.timeout(BODY_SECONDS):
        async for piece in request.stream():
            body += piece
            if len(body) > max_bytes:
                return None
    return bytes(body)


async def whole_body(request: Request, max_bytes: int) -> bytes:
    """Read a body whole.

    Raises:
        RefusedError: it is too large, it took too long, or its sender left.
    """
    try:
        body = await read_body(request, max_bytes)
    except ClientDisconnect:
        raise RefusedError(400, "The sender left.") from None
    except TimeoutError:
        raise RefusedError(408, "The body did not arrive in time.", headers={"Connection": "close"}) from None
    if body is None:
        raise RefusedError(413, f"The body is larger than {max_bytes} bytes.")
    return body


async def form_fields(request: Request) -> dict[str, str]:
    """Return the fields of a form without a file, each once.

    Raises:
        RefusedError: it is too large or has too many fields, it took too long, or its sender left.
    """
    body = await whole_body(request, _FORM_BYTES)
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FORM_FIELDS))
    except ValueError:
        raise RefusedError(422, "The form has too many fields.") from None


class BodyDrain:
    """ASGI middleware: before an answer begins, the rest of the request's body is read and thrown away."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        names = {name for name, _ in scope["headers"]}
        body = _UnreadBody(receive, expects=b"expect" in names)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and _CLOSE not in message["headers"] and not await body.drain():
                message["headers"] = [*message["headers"], _CLOSE]
            await send(message)

        if {b"content-length", b"transfer-encoding"} <= names:
            refusal = _refusal(400, "Content-Length and Transfer-Encoding must not come together (RFC 9112, 6.1).")
            await refusal(scope, receive, send)
        elif not all(_HOST.fullmatch(value) for name, value in scope["headers"] if name == b"host"):
            await _refusal(400, "The header Host is no host name or address with a port (RFC 9110, 7.2).")(
                scope, receive, send
            )
        elif scope["http_version"] not in ("1.0", "1.1"):
            await _refusal(505, "Only HTTP/1.1 is spoken here.")(scope, receive, send)
        elif scope["query_string"].count(b"&") >= MOST_PARAMETERS:
            many = f"The query has more than {MOST_PARAMETERS} parameters."
            await _refusal(422, many)(scope, receive, send)
        else:
            await self._app(scope, body.receive, answer)


def _refusal(status: int, detail: str) -> Response:
    return problem_response(status, detail, headers={"Connection": "close"})


class _UnreadBody:
    """The rest of a request's body that is still to come."""

    def __init__(self, receive: Receive, *, expects: bool) -> None:
        self._receive = receive
        self._is_over = False
        self._size = 0
        #: Whether the sender waits for our «100 Continue», which the first `receive` sends.
        self._is_held_back = expects

    async def receive(self) -> Message:
        self._is_held_back = False
        message = await self._receive()
        self._is_over = message["type"] != "http.request" or not message.get("more_body", False)
        self._size += len(message.get("body", b""))
        return message

    async def drain(self) -> bool:
        """Read to the end, within bounds; return whether it was reached."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._is_over and not self._is_held_back and self._size <= DRAIN_MAX_BYTES:
                    await self.receive()
        except TimeoutError:
            return False
        return self._is_over
