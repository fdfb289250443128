"""Headers of each answer: the request's id, the time it took, and bans for browsers.

What it promises: `X-Request-ID` comes back on each answer as it was sent, where it is short and printable, or is made
here; problems and log lines have it as their correlation id. Each answer has its date (RFC 9110, 6.6.1). None can be
framed, be taken for another type, or have a script or picture of another site run in it. Runs in uvicorn's thread;
nothing is kept.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from email.utils import formatdate

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receipt_watcher.web.problem import request_id

_USABLE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

#: Nothing runs, and nothing is loaded, but what comes from here as a file.
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: The policy of what was drawn from a caller's file.
SANDBOX_POLICY = "default-src 'none'; sandbox"

#: Headers that each answer has unless it sets them itself.
_ALWAYS = {
    "Content-Security-Policy": _CONTENT_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class AnswerHeaders:
    """ASGI middleware, the outermost; `root_path` is what a proxy puts before our paths, and may have taken away.

    `hsts_seconds` is for how long browsers shall use only TLS for this host (RFC 6797); 0 leaves that to the admin,
    since it binds all that the host serves, on every port.
    """

    def __init__(self, app: ASGIApp, root_path: str = "", hsts_seconds: int = 0) -> None:
        self._hsts_seconds = hsts_seconds
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).getlist("x-request-id")
        is_usable = len(given) == 1 and _USABLE_ID.fullmatch(given[0]) is not None
        own = given[0] if is_usable else uuid.uuid4().hex
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, text in _ALWAYS.items():
                    headers.setdefault(name, text)
                headers["Date"] = formatdate(usegmt=True)
                headers["X-Request-ID"] = own
                headers["Server-Timing"] = f"app;dur={(loop.time() - began) * 1000:.1f}"
                if self._hsts_seconds and scope.get("scheme") == "https":
                    headers.setdefault("Strict-Transport-Security", f"max-age={self._hsts_seconds}")
            await send(message)

        token = request_id.set(own)
        try:
            await self._app({**scope, "root_path": self._root_path}, receive, answer)
        finally:
            request_id.reset(token)
