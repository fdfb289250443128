"""Requests a minute of each right token.

What it promises: a program that runs wild with a right token leaves the server to others; up to a minute's worth may
come at once. Callbacks never come here, nor do people who are signed in. Memory is bounded by the tokens that were used
within the last minutes, for an identity provider may have many.

Called in uvicorn's thread only. Nothing is kept on disk: after a restart everybody begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from receipt_watcher.web.problem import RefusedError

_MINUTE = 60.0

#: From so many names on, those that are not slowed any more are forgotten.
_MOST_NAMES = 1000


class TokenRates:
    """The rates of all tokens, by their names; with 0 a minute nobody is limited."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        #: When the requests of a token until now will be worked off at the rate that is allowed.
        self._done_at: dict[str, float] = {}

    def check(self, name: str) -> None:
        """Count a request of a token.

        Raises:
            RefusedError: there were too many (429).
        """
        if not self._per_minute:
            return
        now = self._monotonic()
        done_at = max(now, self._done_at.get(name, now)) + _MINUTE / self._per_minute
        too_early = done_at - now - _MINUTE
        if too_early > 1e-6:  # noqa: PLR2004 - of adding up fractions
            text = f"The token {name} makes more than {self._per_minute} requests a minute (http.requests_per_minute)."
            raise RefusedError(429, text, headers={"Retry-After": str(math.ceil(too_early))})
        if name not in self._done_at and len(self._done_at) >= _MOST_NAMES:
            self._done_at = {known: until for known, until in self._done_at.items() if until > now}
        self._done_at[name] = done_at
