"""Who may what: roles, and the tokens that bear them.

What it promises: a token is compared in constant time with every one that is configured, so that the time of an answer
tells nothing about any of them; only hashes are kept, so that who reads the configuration has no token. Since
`new_secret` makes them of 32 random bytes, one round of SHA-256 is hash enough: they cannot be guessed.

Any thread may ask; nothing changes after it is made.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto


class Right(Enum):
    """What a caller may do."""

    #: See one receipt whose id the caller knows.
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
