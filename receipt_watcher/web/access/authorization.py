"""Authorization: who calls (by a token, a session, or from this machine), and whether the caller has the right.

What it promises: a request is judged by what it bears, in this order: a bearer token, a session, being of this machine.
Another scheme of Authorization is as none: it is the password of a proxy before us.
A right token is never slowed or refused for what else comes from its address; wrong ones are counted, slowed, and then
asked to come later (`wrong_tokens`). What a browser sends by itself (a session's cookie, or that it runs on this
machine) changes nothing unless it comes from our own pages: Origin or Sec-Fetch-Site must say so, and a session's form
token must be there. The token of callbacks opens nothing here.

Runs in uvicorn's thread; JWTs, whose keys may have to be fetched, are judged in a worker thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from receipt_watcher.config.roles import Right, Role, has_right, roles_with
from receipt_watcher.config.secrets import LOCAL_NAME
from receipt_watcher.config.sections.http import is_loopback
from receipt_watcher.web.access.api_tokens import ApiTokens
from receipt_watcher.web.access.jwt import Jwts
from receipt_watcher.web.access.rates import TokenRates
from receipt_watcher.web.access.sessions import Session, Sessions
from receipt_watcher.web.access.wrong_tokens import Slowness
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.connections import notify_connection

COOKIE = "receipt_watcher_session"
FORM_TOKEN_HEADER = "X-CSRF-Token"  # noqa: S105 - a name

#: Headers by which proxies, tunnels and content networks say for whom they ask. Any of them ends the trust in this
#: machine; a caller who sends one without need only has to show a token.
_FORWARDING_HEADER = re.compile(
    "forwarded|via|cdn-loop|remote-addr|client-ip|x-remote-(ip|addr)|x-originating-ip|x-original-forwarded-for"
    "|x-azure-(clientip|socketip)|x-(forwarded|envoy|appengine)(-.*)?|cf-.*|.*-(client|connecting|real|user)-ip"
)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_TOKEN_CHARACTERS = 8192
#: Most proxies of ours that a request may come through.
_MOST_HOPS = 20
_JUDGING_THREADS = 2
_ASK_FOR_TOKEN = {"WWW-Authenticate": 'Bearer realm="receipt-watcher"'}
_NO_TOKEN = "Show a token: Authorization: Bearer …, or sign in. receipt-watcher token create makes one."  # noqa: S105
_WRONG_TOKEN = "This token is none that is known here, or its time is over; compare it with http.tokens."  # noqa: S105
_OTHER_SITE = "This came from another site's page, so it changes nothing here."
_NO_FORM_TOKEN = f"Who is signed in sends {FORM_TOKEN_HEADER}, as GET /api/v1/session says it."


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request; `session` if the caller is signed in."""

    name: str
    role: Role
    session: Session | None = None

    def has_right(self, right: Right) -> bool:
        """Return whether the caller has a right."""
        return has_right(self.role, right)


@dataclass(frozen=True, slots=True)
class Trust:
    """The trust in a request's origin; `local_role` is None if callers on this machine have no role of their own."""

    local_role: Role | None = None
    proxies: Sequence[str] = ()
    public_url: str = ""


class Access:
    """Judges callers."""

    def __init__(
        self,
        tokens: ApiTokens,
        sessions: Sessions,
        slowness: Slowness,
        trust: Trust,
        jwts: Jwts | None = None,
        *,
        rates: TokenRates | None = None,
    ) -> None:
        self._tokens = tokens
        self.sessions = sessions
        self._slowness = slowness
        self._trust = trust
        self._jwts = jwts
        self._rates = rates
        self._judging = asyncio.Semaphore(_JUDGING_THREADS)
        self._proxies = [ipaddress.ip_network(each, strict=False) for each in trust.proxies]

    async def require(self, request: Request, right: Right, *, has_field: bool = False) -> Caller:
        """Return the caller, who has the right; `has_field` says that `check_field` is called later.

        Raises:
            RefusedError: the caller lacks the right, or is unknown.
        """
        caller = await self.caller(request, has_field=has_field)
        if caller is None:
            raise RefusedError(401, _NO_TOKEN, headers=_ASK_FOR_TOKEN)
        if not caller.has_right(right):
            needed = " or ".join(roles_with(right))
            raise RefusedError(403, f"{caller.name} is {caller.role}; this needs a token of {needed}.")
        return caller

    async def caller(self, request: Request, *, has_field: bool = False) -> Caller | None:
        """Return who asks; None where nothing says so.

        Raises:
            RefusedError: the token is wrong or comes too often, or another site's page sent this.
        """
        bearers = _bearers(request)
        if bearers:
            known = await self._bearer(request, bearers)
            if self._rates is not None:
                self._rates.check(known.name)
            notify_connection(request, "prefer")
            return known
        session = self.sessions.judge(cookie_of(request, COOKIE))
        if session is not None:
            self._check_site(request)
            if request.method not in _SAFE_METHODS:
                self._check_header(request, session, has_field=has_field)
            notify_connection(request, "prefer")
            return Caller(session.name, session.role, session)
        if self._trust.local_role is not None and self._is_local(request):
            self._check_site(request)
            return Caller(LOCAL_NAME, self._trust.local_role)
        return None

    async def sign_in(self, request: Request, secret: str) -> str:
        """Return the cookie of a new session, for a right token.

        Raises:
            RefusedError: it is wrong, or another site's page sent it.
        """
        self._check_site(request)
        token = self._tokens.judge(secret[:_MOST_TOKEN_CHARACTERS])
        if token is None:
            raise await self._wrong(request)
        return self.sessions.begin(token)

    def set_cookie(self, request: Request, answer: Response, cookie: str) -> None:
        """Give a browser its session: no script can read it, and no other site's page sends it."""
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=int(self.sessions.seconds),
            path=_cookie_path(request),
            secure=self.is_encrypted(request),
            httponly=True,
            samesite="lax",
        )

    def forget_cookie(self, request: Request, answer: Response) -> None:
        """Take a browser's session away."""
        answer.delete_cookie(
            COOKIE, path=_cookie_path(request), secure=self.is_encrypted(request), httponly=True, samesite="lax"
        )

    async def _bearer(self, request: Request, bearers: Sequence[str]) -> Caller:
        secret = bearers[0][:_MOST_TOKEN_CHARACTERS]
        if len(bearers) == 1:
            token = self._tokens.judge(secret)
            if token is not None:
                return Caller(token.name, token.role)
            if self._jwts is not None and secret.count(".") == 2:  # noqa: PLR2004 - RFC 7515, 7.1
                async with self._judging:
                    holder = await run_in_threadpool(self._jwts.judge, secret)
                if holder is not None:
                    return Caller(*holder)
        raise await self._wrong(request)

    async def _wrong(self, request: Request) -> RefusedError:
        """Return how to answer a wrong token, once it may be answered."""
        wrong = RefusedError(401, _WRONG_TOKEN, headers=_ASK_FOR_TOKEN)
        return await self._slowness.refusal(self.address(request), request.url.path, wrong)

    # --- other sites' pages ----------------------------------------------------------------------------------------

    def _check_site(self, request: Request) -> None:
        """Refuse what another site's page has a browser send: to change something, or to be read without a click.

        Raises:
            RefusedError: it is such a request.
        """
        site = request.headers.get("sec-fetch-site", "none")
        origin = request.headers.get("origin")
        is_ours = site in ("none", "same-origin") and (origin is None or self._is_own_origin(request, origin))
        is_click = request.method in _SAFE_METHODS and request.headers.get("sec-fetch-mode") == "navigate"
        if not is_ours and not is_click:
            raise RefusedError(403, _OTHER_SITE)

    def _is_own_origin(self, request: Request, origin: str) -> bool:
        try:
            parts = urlsplit(origin)
            public = urlsplit(self._trust.public_url)
        except ValueError:
            return False
        own = {request.headers.get("host", ""), public.netloc}
        return parts.scheme in ("http", "https") and parts.netloc in own - {""}

    def _check_header(self, request: Request, session: Session, *, has_field: bool) -> None:
        """Check the form token in the header; a form without script has a field instead."""
        given = request.headers.get(FORM_TOKEN_HEADER)
        if given is None and has_field:
            return
        if given is None or not self.sessions.is_form_token(session, given):
            raise RefusedError(403, _NO_FORM_TOKEN)

    def check_field(self, request: Request, caller: Caller, given: str | None) -> None:
        """Check the field `csrf` of a form, which is needed where no header was sent.

        Raises:
            RefusedError: it is missing or wrong.
        """
        if caller.session is None or FORM_TOKEN_HEADER in request.headers:
            return
        if given is None or not self.sessions.is_form_token(caller.session, given):
            raise RefusedError(403, _NO_FORM_TOKEN)

    # --- where a request comes from ----------------------------------------------------------------------------------

    def address(self, request: Request) -> str | None:
        """Return the address that a request is from, as far as it can be believed."""
        here = request.client.host if request.client else None
        if not self.is_proxy(here):
            return here
        hops = ",".join(request.headers.getlist("x-forwarded-for")).rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]
        for each in reversed(hops):
            if each.strip():
                here = each.strip()
            if not self.is_proxy(here):
                break
        return here

    def _is_local(self, request: Request) -> bool:
        """Return whether the caller is on this machine, and no proxy of ours, whose callers may be anywhere.

        nginx, unless it is told otherwise, says nothing of them, and asks for us by our own address.
        """
        return is_local(request) and not self.is_proxy(request.client.host if request.client else None)

    def is_encrypted(self, request: Request) -> bool:
        """Return whether the caller came by TLS, to us or to a proxy that we trust."""
        if request.url.scheme == "https":
            return True
        here = request.client.host if request.client else None
        return self.is_proxy(here) and request.headers.get("x-forwarded-proto") == "https"

    def is_proxy(self, host: str | None) -> bool:
        """Return whether a host is a trusted proxy; who comes by our UNIX socket is one where any is trusted."""
        if host is None:
            return bool(self._proxies)
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # as a socket for both of IPv4 and IPv6 has it
        return any(address in network for network in self._proxies)


def _bearers(request: Request) -> list[str]:
    """Return the tokens that it bears; other schemes are none of ours, such as the password for a proxy."""
    given = [each.partition(" ") for each in request.headers.getlist("authorization")]
    return [secret.strip() for scheme, _, secret in given if scheme.lower() == "bearer"]


def cookie_of(request: Request, name: str) -> str:
    """Return a cookie as it came, or "": ours need no unquoting, which takes quadratic time in some Pythons."""
    cookie = ""
    for header in request.headers.getlist("cookie"):
        for part in header.split(";"):
            key, _, text = part.partition("=")
            if key.strip() == name:
                cookie = text.strip()
    return cookie


def _cookie_path(request: Request) -> str:
    return request.scope.get("root_path", "") or "/"


def is_local(request: Request) -> bool:
    """Return whether the caller is on this machine and came straight.

    A proxy's request comes from loopback, too; and a page in a browser here may point a name of its own at loopback,
    so the Host that is asked for must be this machine as well.
    """
    if request.client is None or any(_FORWARDING_HEADER.fullmatch(name.lower()) for name in request.headers):
        return False
    return is_loopback(request.client.host) and is_loopback(_host_asked_for(request))


def _host_asked_for(request: Request) -> str:
    """Return the name in the Host header, or nothing; `request.url` would put our own address for what is none."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""
