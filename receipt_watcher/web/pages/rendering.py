"""Sets a page: its template, in the reader's language, with what all pages have; and the files that come with them.

What it promises: what is in a receipt, a name or a message is shown as text, whatever it is. Nothing runs in a page,
and nothing is loaded, but what comes from here as a file.

Runs in uvicorn's thread and in worker threads; nothing is kept.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from receipt_watcher import __version__
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.system.display import display_name, printable, printable_lines
from receipt_watcher.web.access.authorization import Caller, cookie_of
from receipt_watcher.web.pages import viewmodels
from receipt_watcher.web.pages.texts.language import LANGUAGES, NAMES, Texts, language_of
from receipt_watcher.web.pages.viewmodels import named

#: Words that a page may say after a button.
_SAID = (
    "retried",
    "cancelled",
    "settled_delivered",
    "settled_not_delivered",
    "too_late",
    "retried_these",
    "held",
    "resumed",
    "not_held",
)

_COOKIE_SECONDS = 365 * 24 * 3600

_HERE = Path(__file__).parent
_MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


#: A page depends on the reader's language, and on who reads it.
LANGUAGE_HEADERS = {"Vary": "Accept-Language, Cookie"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """The options that the pages show."""

    inbox_names: Sequence[str]
    names: DestinationNames
    max_file_mb: float
    zone: tzinfo | None


@dataclass(frozen=True, slots=True)
class Visitor:
    """The reader of a page: their rights, their name in the history, and the token that their forms must bear."""

    may_follow: bool = False
    may_read: bool = False
    may_change: bool = False
    may_administer: bool = False
    may_upload: bool = False
    name: str = ""
    signed_in_as: str = ""
    csrf_token: str = ""
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request: whose, in which language, and when."""

    request: Request
    visitor: Visitor
    texts: Texts
    now: float
    query: Mapping[str, str] = field(default_factory=dict)
    beat: str = ""

    def url(self, path: str) -> str:
        """Return a path of ours as the browser asks for it."""
        return str(self.request.scope.get("root_path", "")) + path


class Rendering:
    """The templates and files of the package; `zone` is the office's, for who has no script."""

    def __init__(self, zone: tzinfo | None, clock: Callable[[], float]) -> None:
        self._zone = zone
        self._clock = clock
        self._files = {path.name: _Packaged.read(path) for path in sorted((_HERE / "static").iterdir())}
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals["named"] = named

    def page_request(self, request: Request, visitor: Visitor | None = None) -> PageRequest:
        """Return a request of a visitor, by default of nobody, in their language."""
        asked = request.query_params.get("lang")
        chosen = asked if asked in LANGUAGES else cookie_of(request, "lang")
        texts = Texts(language_of(chosen, request.headers.get("accept-language", "")), self._zone)
        query = {name: value for name, value in request.query_params.items() if name != "lang"}
        return PageRequest(request, visitor or Visitor(), texts, self._clock(), query)

    def remember_language(self, page_request: PageRequest, page: Response) -> None:
        """Have the browser remember the language that was just chosen."""
        if page_request.request.query_params.get("lang") in LANGUAGES:
            language = page_request.texts.language
            page.set_cookie("lang", language, _COOKIE_SECONDS, path=page_request.url("/"), samesite="lax")

    def error(self, page_request: PageRequest, status: int, detail: str = "") -> Response:
        """Return an error as a page."""
        t = page_request.texts
        known = status if status in (403, 404, 422, 500, 503) else 404
        values = {
            "status": status,
            "title": t(f"error.{known}"),
            "text": t(f"error.{known}.text"),
            "detail": printable_lines(detail),
            "is_live": False,
            "failed_count": 0,
            "here": "",
        }
        page = self.page(page_request, "error.html", values, status)
        if status == 503:  # noqa: PLR2004
            page.headers["Retry-After"] = "60"
        return page

    def page(self, page_request: PageRequest, name: str, values: Mapping[str, Any], status: int = 200) -> HTMLResponse:
        """Return a page: a template, with its values and those that all have."""
        visitor = page_request.visitor
        common = {
            "t": page_request.texts,
            "now": page_request.now,
            "url": page_request.url,
            "static": lambda name: page_request.url(f"/static/{name}?v={self._files[name].tag}"),
            "iso": iso_time,
            "shown": lambda path: printable(display_name(path)),
            "printable": lambda text: printable_lines(str(text)),
            "pieces": viewmodels.pieces,
            "languages": NAMES.items(),
            "with_language": lambda code: urlencode({**page_request.query, "lang": code}),
            "version": __version__,
            "host": socket.gethostname(),
            "said": self._said(page_request),
            "is_live": True,
            "beat": page_request.beat,
            "may_read": visitor.may_read,
            "may_change": visitor.may_change,
            "may_upload": visitor.may_upload,
            "signed_in_as": visitor.signed_in_as,
            "csrf_token": visitor.csrf_token,
        }
        return HTMLResponse(self._templates.get_template(name).render({**common, **values}), status, LANGUAGE_HEADERS)

    @staticmethod
    def _said(page_request: PageRequest) -> str:
        word = page_request.query.get("said", "")
        count = page_request.query.get("count", "")
        if word not in _SAID:
            return ""
        return page_request.texts(f"said.{word}", int(count) if count.isdecimal() and len(count) < 7 else 0)  # noqa: PLR2004

    async def packaged(self, request: Request) -> Response:
        """Answer with a file that comes with the package.

        Raises:
            HTTPException: there is none of that name.
        """
        packaged = self._files.get(request.path_params["name"])
        if packaged is None:
            raise HTTPException(404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(packaged.content, media_type=packaged.media_type, headers=headers)


@dataclass(frozen=True, slots=True)
class _Packaged:
    """A file that comes with the package; `tag` is another one when it changes."""

    content: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> _Packaged:
        content = path.read_bytes()
        return cls(content, _MEDIA_TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:12])
