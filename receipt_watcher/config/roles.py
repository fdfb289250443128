"""Who may what: roles, and the tokens that bear them.

What it promises: a token is compared in constant time with every one that is configured, so that the time of an answer
tells nothing about any of them; only hashes are kept, so that who reads the configuration has no token. Since
`new_secret` makes them of 32 random bytes, one round of SHA-256 is hash enough: they cannot be guessed.

Any thread may ask; nothing changes after it is made.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

_SCHEME = "sha256:"

#: By which name a job's history knows who came from this machine without a token.
LOCAL_NAME = "this machine"


class Right(Enum):
    """What a caller may do."""

    #: See one receipt whose id he knows.
    FOLLOW = auto()
    #: See all receipts, their files, the inboxes and the holds.
    READ = auto()
    #: Hand in a receipt.
    UPLOAD = auto()
    #: Retry, cancel, hold, resume.
    CHANGE = auto()
    #: Have N8N asked whether it is there.
    ADMINISTER = auto()


class Role(StrEnum):
    """What a token, or a person, is for."""

    VIEWER = "viewer"
    UPLOADER = "uploader"
    OPERATOR = "operator"
    ADMIN = "admin"


_RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.FOLLOW, Right.READ}),
    Role.UPLOADER: frozenset({Right.FOLLOW, Right.UPLOAD}),
    Role.OPERATOR: frozenset(Right) - {Right.ADMINISTER},
    Role.ADMIN: frozenset(Right),
}


def may(role: Role, right: Right) -> bool:
    """Whether a role has a right."""
    return right in _RIGHTS[role]


def roles_with(right: Right) -> list[Role]:
    """Return the roles that have a right."""
    return [role for role in Role if may(role, right)]


def new_secret() -> str:
    """Return a fresh token."""
    return f"rw_{secrets.token_urlsafe(32)}"


def hash_of(secret: str) -> str:
    """Return what the configuration keeps of a token."""
    return _SCHEME + hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def is_hash(text: str) -> bool:
    """Whether a text may be a token's hash."""
    return re.fullmatch(f"{_SCHEME}[0-9a-f]{{64}}", text) is not None


def is_token_name(text: str) -> bool:
    """Whether a text may be a token's name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,39}", text) is not None and text.lower() != LOCAL_NAME


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token as the configuration has it."""

    name: str
    role: Role
    hash: str


class ApiTokens:
    """All tokens that are configured."""

    def __init__(self, tokens: Iterable[ApiToken] = ()) -> None:
        self._tokens = tuple(tokens)

    def judge(self, secret: str) -> ApiToken | None:
        """Return the token that was given; None for a wrong one."""
        given = hash_of(secret)
        right = [token for token in self._tokens if hmac.compare_digest(given, token.hash)]
        return right[0] if right else None

    def named(self, name: str) -> ApiToken | None:
        """Return a token by its name."""
        return next((token for token in self._tokens if token.name == name), None)
