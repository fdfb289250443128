"""Links to one receipt's file, for N8N to fetch it by: signed, and good for a while.

What it promises: a link opens the file of one job, with one digest, until one moment, and nothing else; who has it can
make no other. It is judged by the secret alone (HMAC-SHA256, RFC 2104), compared in constant time, so that the job log
is never asked for a wrong one, and the time of an answer tells nothing. The key is made from the secret token of
callbacks, for this purpose only; links that were made with the previous token stay good as long as it does.

Any thread may ask; nothing is kept: after a restart the same links are good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlencode

from receipt_watcher.web.access.signatures import are_equal, key_for, sign

#: Makes the key for links another secret than the token, and than the key for the jobs' own tokens.
_PURPOSE = b"receipt-watcher: link to one file"


class LinkWorth(Enum):
    """The worth of a link."""

    #: It opens the file.
    RIGHT = auto()
    #: It is ours, and its time is over.
    EXPIRED = auto()
    #: It is not ours.
    WRONG = auto()


@dataclass(frozen=True, slots=True)
class JudgedLink:
    """A link that was judged; `sha256` can be believed unless it is wrong."""

    worth: LinkWorth
    sha256: str


class FileLinks:
    """Makes links that are good for so many seconds, and judges them."""

    def __init__(self, secrets: Sequence[str], seconds: float, clock: Callable[[], float]) -> None:
        self._keys = [key_for(secret, _PURPOSE) for secret in secrets]
        self._seconds = seconds
        self._clock = clock

    def __repr__(self) -> str:
        return f"FileLinks(seconds={self._seconds:g})"

    def path_of(self, job_id: str, sha256: str) -> str:
        """Return the path and query of a link to a job's file."""
        expires = str(math.ceil(self._clock() + self._seconds))
        signature = _signature(self._keys[0], job_id, expires, sha256)
        query = urlencode({"expires": expires, "sha256": sha256, "signature": signature})
        return f"/api/v1/jobs/{job_id}/file?{query}"

    def judge(self, job_id: str, query: Iterable[tuple[str, str]]) -> JudgedLink:
        """Say what a link is worth, by the job's id and the query that came; each part is expected once."""
        pairs = list(query)
        expires, sha256, given = (_only(pairs, name) for name in ("expires", "sha256", "signature"))
        is_ours = [are_equal(given, _signature(key, job_id, expires, sha256)) for key in self._keys]
        if not any(is_ours):
            return JudgedLink(LinkWorth.WRONG, "")
        is_over = self._clock() >= int(expires)  # it is ours, so it is a number
        return JudgedLink(LinkWorth.EXPIRED if is_over else LinkWorth.RIGHT, sha256)


def _only(pairs: Iterable[tuple[str, str]], name: str) -> str:
    texts = [text for key, text in pairs if key == name]
    return texts[0] if len(texts) == 1 else ""


def _signature(key: bytes, job_id: str, expires: str, sha256: str) -> str:
    """Sign the three parts; none of those that we sign has a line break, so no other three parts give the same text."""
    return sign(key, f"{job_id}\n{expires}\n{sha256}")
