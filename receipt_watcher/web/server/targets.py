"""Targets of requests in absolute form, such as proxies send: `GET http://host:8000/healthz HTTP/1.1`.

What it promises: a server must accept them (RFC 9112, 3.2.2). uvicorn takes all of it for the path. Runs in uvicorn's
thread; nothing is kept.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_ABSOLUTE = re.compile(r"https?://[^/?#]*(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)


class AbsoluteTargets:
    """ASGI middleware: take the path out of a target in absolute form."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            absolute = _ABSOLUTE.fullmatch(scope["path"])
            if absolute is not None:
                path = absolute["path"] or "/"
                scope = {**scope, "path": path, "raw_path": path.encode("utf-8", "surrogateescape")}
        await self._app(scope, receive, send)
