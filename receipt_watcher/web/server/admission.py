"""The open connections, and the choice of one to close when the next needs its place.

What it promises: a connection counts from the moment it is accepted, so one in its TLS handshake counts too. A new one
always comes in. For it the oldest of its own address is closed when that address has too many, and else the oldest of
the address that has most. Callers without a token go before those with one, and of these a connection without a request
before one whose request is under way, such as an upload over a slow line. A callback that is being handed over with
a right token is never closed, and takes none of these places. Nor is a connection closed for others of its address in
its first second: many callbacks may come at once. Trusted proxies have no bound of their own, since each brings many
callers. A quarter of the files that the process may open stays free for receipts and the job log.

All of it runs in uvicorn's thread. Nothing is kept.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import structlog

from receipt_watcher.web.access.wrong_tokens import address_of

logger = structlog.get_logger()

_MOST_CONNECTIONS = 256
#: By taste: more than a browser, a script and N8N together have open. They are never too many.
_FEW_CONNECTIONS = 16
_YOUNG_SECONDS = 1.0
_TELL_SECONDS = 60.0


class Admitted(Protocol):
    """A connection as it is judged here; `host` is None for one that came by a UNIX socket."""

    host: str | None
    since: float
    #: Whether the request that is being answered, or an earlier one, bore a right token.
    is_trusted: bool
    was_trusted: bool

    @property
    def is_answering(self) -> bool:
        """Return whether a request of it is under way, such as an upload."""

    def end(self) -> None:
        """Close it now."""


class Admission:
    """All connections of one server.

    At most `most` of them, by default 256 or a quarter of the files that the process may open (ulimit -n), and at most
    `most_per_address` of one address. `is_proxy` says which hosts have no such bound.
    """

    def __init__(self, most: int | None = None, most_per_address: int | None = None) -> None:
        files = _allowed_files()
        self._most = most or min(_MOST_CONNECTIONS, max(1, files // 4))
        share = max(_FEW_CONNECTIONS, self._most // 4) if most is None else self._most
        self._most_per_address = min(self._most, most_per_address or share)
        #: The kernel gives the lowest number that is free: from this one on only a quarter of them is left.
        self._reserved_from = files - files // 4
        self.is_proxy: Callable[[str | None], bool] = lambda host: host is None
        #: Connections that count together: those of one address, or one that a proxy brings. The oldest come first.
        self._groups: dict[str | Admitted, dict[Admitted, None]] = {}
        self._group_of: dict[Admitted, str | Admitted] = {}
        self._told_at: dict[str, float] = {}
        self._closed = 0

    def __len__(self) -> int:
        return len(self._group_of)

    def admit(self, connection: Admitted, file_number: int) -> None:
        """Count a connection that was just accepted, and close others that it needs the place of."""
        address = None if self.is_proxy(connection.host) else address_of(connection.host)
        if address is not None:
            self._bound_address(address)
        self._bound_all()
        if file_number >= self._reserved_from and len(self) >= _FEW_CONNECTIONS:  # else others took the files
            self.on_no_files(f"{file_number} files are open")
        group = connection if address is None else address
        self._group_of[connection] = group
        self._groups.setdefault(group, {})[connection] = None

    def forget(self, connection: Admitted) -> None:
        """Count a connection no more; harmless for one that is not counted."""
        group = self._group_of.pop(connection, None)
        if group is not None:
            del self._groups[group][connection]
            if not self._groups[group]:
                del self._groups[group]

    def on_no_files(self, why: str) -> None:
        """Close two connections for one that came, since too few files can be opened."""
        if self._is_news("no_files"):
            logger.warning("http.no_files", error=why, advice="raise LimitNOFILE of the service (ulimit -n)")
        self._close_one(self._by_size())
        self._close_one(self._by_size())

    def _bound_address(self, address: str) -> None:
        group = self._groups.get(address, {})
        while _places(group) >= self._most_per_address:
            old_at = asyncio.get_running_loop().time() - _YOUNG_SECONDS
            if not self._close_one([[each for each in group if each.since <= old_at]]):
                return
            if self._is_news("address"):
                logger.warning("http.address_crowded", client=address, most=self._most_per_address)

    def _bound_all(self) -> None:
        while _places(self._group_of) >= self._most and self._close_one(self._by_size()):
            if self._is_news("crowded"):
                logger.warning("http.crowded", most=self._most, closed=self._closed, advice="who opens so many?")

    def _by_size(self) -> Iterable[Iterable[Admitted]]:
        return sorted(self._groups.values(), key=_places, reverse=True)

    def _close_one(self, groups: Iterable[Iterable[Admitted]]) -> bool:
        """Close the first that is not known, else that asks for nothing, else that hands over no callback.

        Returns whether one was closed.
        """
        candidates = (each for group in groups for each in group if not each.is_trusted)
        chosen = min(
            candidates, key=lambda each: (each.was_trusted, each.was_trusted and each.is_answering), default=None
        )
        if chosen is None:
            return False
        self.forget(chosen)  # now: its end comes with the next turn of the loop, others may come before
        chosen.end()
        self._closed += 1
        return True

    def _is_news(self, what: str) -> bool:
        """Return whether this was not told within the last minute."""
        now = asyncio.get_running_loop().time()
        if now - self._told_at.get(what, -_TELL_SECONDS) < _TELL_SECONDS:
            return False
        self._told_at[what] = now
        return True


def _places(connections: Collection[Admitted]) -> int:
    """Return how many places these take: a callback that is being handed over takes none."""
    return sum(not each.is_trusted for each in connections)


def _allowed_files() -> int:
    """Return how many files the process may have open (getrlimit(2))."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 2**31
