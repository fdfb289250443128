"""The tokens of the API, and their roles.

What it promises: a token is compared in constant time with every configured one, so that the time of an answer tells
nothing about any of them. Only hashes are kept, so that a reader of the configuration has no token.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.web.access.signatures import are_equal


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token as the configuration has it."""

    name: str
    role: Role
    hash: str


class ApiTokens:
    """All configured tokens."""

    def __init__(self, tokens: Iterable[ApiToken] = ()) -> None:
        self._tokens = tuple(tokens)

    def judge(self, secret: str) -> ApiToken | None:
        """Return the configured token that `secret` is; None if it is wrong."""
        given = hash_of(secret)
        right = [token for token in self._tokens if are_equal(given, token.hash)]
        return right[0] if right else None

    def named(self, name: str) -> ApiToken | None:
        """Return a token by its name."""
        return next((token for token in self._tokens if token.name == name), None)
