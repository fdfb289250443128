"""Callers without a right token: counted per address, slowed, and logged once a minute.

What it promises: the first few wrong tokens from an address are answered at once, further ones ever later, and too
many not at all for a while (429). One log line per address and minute, with the count. Memory is bounded: when the
table is full of addresses that were just heard of, all further ones are counted as one. A right token is never
looked up here.

`Slowness` keeps a caller waiting without a thread. It and `refuse` are called in uvicorn's thread, `log_due` by a
periodic task. Nothing is kept on disk: after a restart everybody begins anew.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from receipt_watcher.web.problem import RefusedError

logger = structlog.get_logger()

TOO_MANY = "Too many wrong tokens came from this address. A right one is answered all the same."

#: All by taste: an admin who mistypes the token sees no delay; a program that guesses gets some 60 answers a minute.
FREE_TRIES = 5
DELAY_STEP_SECONDS = 0.1
DELAY_MAX_SECONDS = 2.0
LIMIT_TRIES = 60
#: One wrong token is forgotten every so many seconds.
FORGET_SECONDS = 1.0

#: Most callers that are answered late at a time.
MOST_DELAYED = 32

MOST_ADDRESSES = 1024
LOG_SECONDS = 60.0
_OTHERS = "others"
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """The answer to a wrong token: 401 after `delay_seconds`, or 429 if `retry_after_seconds` is set."""

    delay_seconds: float = 0.0
    retry_after_seconds: int | None = None


@dataclass(slots=True)
class _AddressCount:
    heard_at: float
    level: float = 0.0
    unlogged: int = 0
    logged_at: float = -math.inf
    job_id: str = ""


class WrongTokens:
    """The addresses that wrong tokens came from, the one heard of last at the end."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        log_tries: Callable[[str, int, str], None] | None = None,
        count: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin with nobody; `log_tries` is given an address, its number of tries, and what was tried last.

        `count` is called for each wrong token.
        """
        self._count = count
        self._monotonic = monotonic
        self._log_tries = log_tries or _log_callbacks
        self._known: OrderedDict[str, _AddressCount] = OrderedDict()
        self._lock = threading.Lock()

    def refuse(self, host: str | None, job_id: str) -> TokenRefusal:
        """Count one wrong token, and say how to answer it."""
        self._count()
        now = self._monotonic()
        with self._lock:
            address, count = self._count_of(host, now)
            forgotten = (now - count.heard_at) / FORGET_SECONDS
            # Bounded, so that who goes on is let in again a minute after the last try, not hours.
            count.level = min(max(0.0, count.level - forgotten) + 1, 2.0 * LIMIT_TRIES)
            count.heard_at, count.job_id = now, job_id[:_SHOWN_CHARACTERS]
            count.unlogged += 1
            self._log_one(address, count, now)
            if count.level > LIMIT_TRIES:
                return TokenRefusal(retry_after_seconds=math.ceil((count.level - LIMIT_TRIES) * FORGET_SECONDS))
            return TokenRefusal(min(max(0.0, count.level - FREE_TRIES) * DELAY_STEP_SECONDS, DELAY_MAX_SECONDS))

    def log_due(self) -> None:
        """Log what was counted since the last line about each address, where that is a minute ago."""
        now = self._monotonic()
        with self._lock:
            known = list(self._known.items())
        for address, count in known:  # a thousand lines take a while, for which uvicorn's thread need not wait
            with self._lock:
                self._log_one(address, count, now)

    def __len__(self) -> int:
        return len(self._known)

    def _count_of(self, host: str | None, now: float) -> tuple[str, _AddressCount]:
        address = address_of(host)
        if address not in self._known and len(self._known) >= MOST_ADDRESSES:
            oldest, forgettable = next(iter(self._known.items()))
            if forgettable.unlogged or now - forgettable.heard_at < LIMIT_TRIES * FORGET_SECONDS:
                address = _OTHERS  # else a flood of addresses would wash away the counts, and fill the log
            else:
                del self._known[oldest]
        count = self._known.setdefault(address, _AddressCount(heard_at=now))
        self._known.move_to_end(address)
        return address, count

    def _log_one(self, address: str, count: _AddressCount, now: float) -> None:
        if count.unlogged and now - count.logged_at >= LOG_SECONDS:
            self._log_tries(address, count.unlogged, count.job_id)
            count.unlogged, count.logged_at = 0, now


class Slowness:
    """Keeps those waiting who come without a right token; `pause` is how."""

    def __init__(self, wrong_tokens: WrongTokens, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._wrong_tokens = wrong_tokens
        self._pause = pause
        self._delayed = 0

    async def wait(self, host: str | None, what: str) -> int | None:
        """Count one, and return once it may be answered; with seconds where it is told when to come again (429)."""
        refusal = self._wrong_tokens.refuse(host, what)
        retry_after = refusal.retry_after_seconds
        if retry_after is None and refusal.delay_seconds and self._delayed >= MOST_DELAYED:
            retry_after = 1
        if retry_after is not None:
            return retry_after
        self._delayed += 1
        try:
            await self._pause(refusal.delay_seconds)
        finally:
            self._delayed -= 1
        return None

    async def refusal(self, host: str | None, what: str, refusal: RefusedError) -> RefusedError:
        """Count one, and return how to answer it once it may be answered: as given, or 429 when too many came."""
        retry_after = await self.wait(host, what)
        if retry_after is None:
            return refusal
        return RefusedError(429, TOO_MANY, headers={"Retry-After": str(retry_after)})


def _log_callbacks(address: str, tries: int, job_id: str) -> None:
    logger.warning("callback.unauthorised", client=address, tries=tries, job_id=job_id)


def log_callers(address: str, tries: int, path: str) -> None:
    """Log callers who came to the API without a right token."""
    logger.warning("access.refused", client=address, tries=tries, path=path)


def address_of(host: str | None) -> str:
    """Return what counts as one address: of IPv6 a whole network, for whoever has one address has 2**64."""
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or "unknown"
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
