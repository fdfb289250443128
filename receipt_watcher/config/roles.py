"""Roles and their rights.

Any thread may ask; nothing changes after it is made.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto


class Right(Enum):
    """A right of a caller."""

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
    """The role of a token or a person; it decides their rights."""

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


def has_right(role: Role, right: Right) -> bool:
    """Return whether a role has a right."""
    return right in _RIGHTS[role]


def roles_with(right: Right) -> list[Role]:
    """Return the roles that have a right."""
    return [role for role in Role if has_right(role, right)]
