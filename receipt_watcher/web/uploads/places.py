"""Places that callers take for as long as they do something, so that no caller can take all of them.

What it promises: at most `most` places are taken, and at most `most_each` by one caller. A caller who has none gets one
even when all are taken, up to twice as many, so others cannot keep anybody out.

Used in the event loop's thread alone. Nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections import Counter


class CallerPlaces:
    """Some places; callers are known by their names."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._taken: Counter[str] = Counter()
        self._given_back = asyncio.Event()

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, caller: str) -> bool:
        """Take a place for a caller; return whether there was one."""
        own, bound = self._taken[caller], self._most if self._taken[caller] else 2 * self._most
        if own >= self._most_each or len(self) >= bound:
            return False
        self._taken[caller] += 1
        return True

    async def wait(self, caller: str, seconds: float) -> bool:
        """Take a place for a caller as soon as there is one; return whether that was within this time."""
        try:
            async with asyncio.timeout(seconds):
                while not self.take(caller):
                    await self._given_back.wait()
        except TimeoutError:
            return False
        return True

    def give_back(self, caller: str) -> None:
        """Give a place of a caller back."""
        self._taken[caller] -= 1
        self._taken += Counter()  # forgets those who have none
        self._given_back.set()
        self._given_back = asyncio.Event()
