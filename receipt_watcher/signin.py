"""Signing in and out by a form, for who comes with a browser and no script.

What it promises: a token goes only into a POST's body, so into no history and no log; who is signed in goes on to a
page of ours, whatever the address said. The page needs nothing from elsewhere, and is refused by every frame
(`envelope`).

Runs in uvicorn's thread. Nothing is kept but what `sessions` keeps.
"""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from receipt_watcher.bodies import read_body
from receipt_watcher.callers import Access
from receipt_watcher.problem import RefusedError

_FORM_BYTES = 16 * 1024

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Sign in · receipt-watcher</title>
<link rel="stylesheet" href="{root}/static/style.css"></head>
<body><main><form class="card sign-in" method="post" action="{action}"><h1>Sign in</h1>
<input type="hidden" name="next" value="{next}">
<p role="alert">{said}</p>
<p><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus></p>
<p><button class="button main" type="submit">Sign in</button></p>
</form></main></body></html>
"""


class SignInPage:
    """The form, and what it is sent to."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def routes(self) -> list[Route]:
        """Return its routes."""
        return [
            Route("/sign-in", self._show, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        return _page(request, request.query_params.get("next", ""))

    async def _sign_in(self, request: Request) -> Response:
        fields = await _fields(request)
        onward = fields.get("next", "")
        try:
            cookie = await self._access.sign_in(request, fields.get("token", ""))
        except RefusedError as error:
            return _page(request, onward, error)
        answer = RedirectResponse(_root(request) + own_path(onward), 303)
        self._access.set_cookie(request, answer, cookie)
        return answer

    async def _sign_out(self, request: Request) -> Response:
        caller = await self._access.caller(request, has_field=True)
        answer = RedirectResponse(f"{_root(request)}/sign-in", 303)
        if caller is not None and caller.session is not None:
            fields = await _fields(request)
            self._access.check_field(request, caller, fields.get("csrf"))
            await run_in_threadpool(self._access.sessions.end, caller.session)
            self._access.forget_cookie(request, answer)
        return answer


def own_path(text: str) -> str:
    """Return where to go on to: a path of ours, or the first page; browsers read a backslash as a slash."""
    return text if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) else "/"


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a form."""
    try:
        body = await read_body(request, _FORM_BYTES)
    except ClientDisconnect:
        raise RefusedError(400, "The sender left.") from None
    except TimeoutError:
        raise RefusedError(408, "The form did not arrive in time.", headers={"Connection": "close"}) from None
    if body is None:
        raise RefusedError(413, f"The form is larger than {_FORM_BYTES} bytes.")
    try:
        found = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    except ValueError:
        raise RefusedError(422, "The form has too many fields.") from None
    return {name: texts[0] for name, texts in found.items()}


def _page(request: Request, onward: str, error: RefusedError | None = None) -> Response:
    text = _PAGE.format(
        root=html.escape(_root(request)),
        action=html.escape(f"{_root(request)}/sign-in"),
        next=html.escape(own_path(onward)),
        said=html.escape(error.detail if error else ""),
    )
    return HTMLResponse(text, error.status if error else 200, error.headers if error else None)


def _root(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root
