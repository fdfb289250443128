"""Signing in and out by a form, for who comes with a browser and no script.

What it promises: a token goes only into a POST's body, so into no history and no log; who is signed in goes on to a
page of ours, whatever the address said. The form is a page as all are (`rendering`), in the reader's language.

Runs in uvicorn's thread. Nothing is kept but what `sessions` keeps.
"""

from __future__ import annotations

import re
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from receipt_watcher.web.access.authorization import Access
from receipt_watcher.web.pages.rendering import Rendering
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.bodies import form_fields

#: The text for a refusal by its status, in the reader's language.
_REFUSALS = {401: "sign_in.wrong", 429: "sign_in.later"}


class SignInPage:
    """The form, and what it is sent to."""

    def __init__(self, access: Access, rendering: Rendering) -> None:
        self._access = access
        self._rendering = rendering

    def routes(self) -> list[Route]:
        """Return its routes."""
        return [
            Route("/sign-in", self._show, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        return self._page(request, request.query_params.get("next", ""))

    async def _sign_in(self, request: Request) -> Response:
        fields = await form_fields(request)
        onward = fields.get("next", "")
        try:
            cookie = await self._access.sign_in(request, fields.get("token", ""))
        except RefusedError as error:
            return self._page(request, onward, error)
        answer = RedirectResponse(_root(request) + own_path(onward), 303)
        self._access.set_cookie(request, answer, cookie)
        return answer

    async def _sign_out(self, request: Request) -> Response:
        caller = await self._access.caller(request, has_field=True)
        answer = RedirectResponse(f"{_root(request)}/sign-in", 303)
        if caller is not None and caller.session is not None:
            fields = await form_fields(request)
            self._access.check_field(request, caller, fields.get("csrf"))
            await run_in_threadpool(self._access.sessions.end, caller.session)
            self._access.forget_cookie(request, answer)
        return answer

    def _page(self, request: Request, onward: str, error: RefusedError | None = None) -> Response:
        """Return the form; after an error the address is as before, so that the language can be switched."""
        here = own_path(onward)
        page_request = replace(self._rendering.page_request(request), query={"next": here})
        wrong = ""
        if error is not None:
            key = None if page_request.texts.language == "en" else _REFUSALS.get(error.status)
            wrong = error.detail if key is None else page_request.texts(key)
        values = {"here": "", "failed_count": 0, "is_live": False, "next": here, "wrong": wrong}
        page = self._rendering.page(page_request, "sign_in.html", values, error.status if error else 200)
        page.headers.update(error.headers if error else {})
        self._rendering.remember_language(page_request, page)
        return page


def own_path(text: str) -> str:
    """Return where to go on to: a path of ours, or the first page; browsers read a backslash as a slash."""
    return text if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) else "/"


def _root(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root
