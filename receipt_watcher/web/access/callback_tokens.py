"""The tokens that a callback may bear.

What it promises: a token is compared in constant time, with every token that could be right, so that the time of an
answer tells nothing about any of them. A job's own token is made from the secret token and the job's id (HMAC-SHA256,
RFC 2104), so nothing has to be stored, and who knows one of them can neither make another nor find the secret.

Any thread may ask; nothing changes after it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from receipt_watcher.web.access.signatures import are_equal, key_for, sign

#: Makes the key for jobs' tokens another secret than the one that callbacks may bear themselves.
_PURPOSE = b"receipt-watcher: token of one job"


class TokenWorth(Enum):
    """The worth of a callback's token."""

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
        self._secrets = [secret, *([previous] if previous else [])]
        self._keys = [key_for(each, _PURPOSE) for each in self._secrets]
        self._per_job = per_job

    def __repr__(self) -> str:
        return f"CallbackTokens(per_job={self._per_job})"

    def for_job(self, job_id: str) -> str | None:
        """Return the token that goes to N8N with a job; None where all callbacks share one."""
        return sign(self._keys[0], job_id) if self._per_job else None

    def judge(self, job_id: str, given: Sequence[str]) -> TokenWorth:
        """Say what the tokens that came with a callback are worth: exactly one is expected."""
        text = given[0] if len(given) == 1 else ""
        is_shared = [are_equal(text, secret) for secret in self._secrets]
        is_own = [are_equal(text, sign(key, job_id)) for key in self._keys]
        if self._per_job and any(is_shared):
            return TokenWorth.SHARED
        if is_shared[0] or is_own[0]:
            return TokenWorth.RIGHT
        return TokenWorth.PREVIOUS if any(is_shared) or any(is_own) else TokenWorth.WRONG
