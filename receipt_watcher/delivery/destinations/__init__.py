"""The destinations of receipts. One file per destination; the daemon builds them.

A destination turns whatever its far side answers into one `Outcome`; what follows from it is the pipeline's. It is
called by the delivery workers, several at once, and keeps nothing on disk.

- `n8n`: N8N's webhook
- `http_client`: the HTTP client
- `signature`, `verified_file`: signatures of requests; the bytes of a file on their way out, proven
- `reachability`: whether a server is there, asked without posting anything
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Accepted:
    """The far side took the receipt and will call back; `execution_id` is what it calls the run, where it says so."""

    message: str
    status_code: int | None = None
    execution_id: str | None = None


@dataclass(frozen=True, slots=True)
class Concluded:
    """The far side answered with its verdict at once; no callback is awaited."""

    verdict: Verdict
    message: str
    status_code: int | None = None
    execution_id: str | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now. `retry_after_seconds` is what the far side asked for.

    `is_ambiguous`: the answer may be this receipt's fault after all, as an error 500 may be; evidence decides.
    """

    message: str
    status_code: int | None = None
    retry_after_seconds: float | None = None
    is_ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Never, and it is this receipt."""

    reason: Reason
    message: str
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """The request may have been read, but no answer came, or none that says so."""

    message: str
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The far side answered with its verdict, and that cannot be read: it has dealt with the receipt, somehow.

    `text` is the answer as it came.
    """

    message: str
    text: str
    status_code: int | None = None
    execution_id: str | None = None


Outcome = Accepted | Concluded | Deferred | Refused | Lost | Unreadable


class Destination(Protocol):
    """A way to hand a receipt over."""

    @property
    def url(self) -> str:
        """The URL that receipts are posted to."""

    def deliver(self, job: Job, file: Path, attempt: int, callback_url: str, now: float) -> Outcome:
        """Hand one receipt over, once.

        Raises:
            ChangedOnDiskError: the file is not the one that was recorded; nothing whole was sent.
            OSError: the file cannot be read; nothing whole was sent.
        """
        ...
