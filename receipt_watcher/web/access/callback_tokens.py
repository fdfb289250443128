"""The tokens that a callback may bear.

What it promises: a token is compared in constant time, with every token that could be right, so that the time of an
answer tells nothing about any of them. A job's own token is made from the secret token and the job's id (HMAC-SHA256,
RFC 2104), so nothing has to be stored, and who knows one of them can neither make another nor find the secret.

Any thread may ask; nothing changes after it is made.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from enum import Enum, auto

#: Makes the key for jobs' tokens another secret than the one that callbacks may bear themselves.
_PURPOSE = b"receipt-watcher: token of one job"


class TokenWorth(Enum):
    """What a callback's token is worth."""

    #: It may conclude the job.
    RIGHT = auto()
    #: Likewise, by the previous secret token.
    PREVIOUS = auto()
    #: It is the shared one, where each job has a token of its own.
    SHARED = auto()
    #: None, a wrong one, another job's, or more than one.
    WRONG = auto()


class CallbackTokens:
    """The secret token, the one before it, and what is made from them.

    With `per_job` the secret ones conclude nothing any more. A job's own token is good either way, so that switching
    that off again refuses nothing that is on its way.
    """

    def __init__(self, secret: str, previous: str | None = None, *, per_job: bool = False) -> None:
        self._secrets = [secret.encode(), *([previous.encode()] if previous else [])]
        self._per_job = per_job

    def __repr__(self) -> str:
        return f"CallbackTokens(per_job={self._per_job})"

    def for_job(self, job_id: str) -> str | None:
        """Return the token that goes to N8N with a job; None where all callbacks share one."""
        return _token_of(self._secrets[0], job_id).decode("ascii") if self._per_job else None

    def judge(self, job_id: str, given: Sequence[str]) -> TokenWorth:
        """Say what the tokens that came with a callback are worth: exactly one is expected."""
        text = given[0].encode("utf-8", "backslashreplace") if len(given) == 1 else b""
        is_shared = [_are_equal(text, secret) for secret in self._secrets]
        is_own = [_are_equal(text, _token_of(secret, job_id)) for secret in self._secrets]
        if self._per_job and any(is_shared):
            return TokenWorth.SHARED
        if is_shared[0] or is_own[0]:
            return TokenWorth.RIGHT
        return TokenWorth.PREVIOUS if any(is_shared) or any(is_own) else TokenWorth.WRONG


def _token_of(secret: bytes, job_id: str) -> bytes:
    key = hmac.digest(secret, _PURPOSE, hashlib.sha256)
    token = hmac.digest(key, job_id.encode("utf-8", "backslashreplace"), hashlib.sha256)
    return base64.urlsafe_b64encode(token).rstrip(b"=")


def _are_equal(one: bytes, other: bytes) -> bool:
    """Compare in constant time; of digests, since the comparison of two lengths would not be."""
    return hmac.compare_digest(hashlib.sha256(one).digest(), hashlib.sha256(other).digest())
