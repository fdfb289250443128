"""Every error that this program raises on purpose.

::

    ReceiptWatcherError
    ├── ConfigError             the configuration; carries every mistake at once
    ├── LockedError             another daemon holds the state directory or the spool
    ├── ForeignSpoolError       processing/ belongs to another installation
    ├── SpoolError              a folder of a spool is not there or refuses us
    ├── FileVanishedError       the receipt was taken away before it was ours
    ├── ChangedOnDiskError      the bytes are no longer those that were recorded
    ├── JobLogError             the job log cannot be opened, read or written
    │   └── NewerLogError       a newer version wrote it: to start again is no use
    ├── NotToldError            a channel did not take a notice
    └── DeliveryError           a delivery that got no answer
        ├── NotSentError        certainly not read by the far side: send it again
        └── AnswerLostError     it may have been read: wait for the callback first
            └── CutAnswerError  the answer began, and its end did not arrive

Each text is written for the admin: what happened, to which file or key, what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class ReceiptWatcherError(Exception):
    """Base of all; its text is fit to be shown without a traceback."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration: where, which key, what is wrong, what would be right."""

    source: str
    key: str
    wrong: str
    right: str = ""

    def __str__(self) -> str:
        right = f"; {self.right}" if self.right else ""
        return f"{self.source}: {self.key}: {self.wrong}{right}"


class ConfigError(ReceiptWatcherError):
    """The configuration cannot be used; `problems` lists all mistakes, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class LockedError(ReceiptWatcherError):
    """Another daemon is running on the same state directory or spool; `is_ours` says that it is of this process."""

    is_ours = False


class ForeignSpoolError(ReceiptWatcherError):
    """processing/ names another installation as its owner."""


class SpoolError(ReceiptWatcherError):
    """A folder of a spool cannot be used now; what it holds stays where it is."""

    def __init__(self, message: str, path: Path) -> None:
        self.path = path
        super().__init__(message)


class FileVanishedError(ReceiptWatcherError):
    """The file was gone before it could be moved: somebody else took it back."""


class ChangedOnDiskError(ReceiptWatcherError):
    """The file's digest differs from the one in the job log."""


class JobLogError(ReceiptWatcherError):
    """The job log cannot be used, by its disk or its file, or is of a newer version."""


class NewerLogError(JobLogError):
    """The job log was written by a newer version of the program."""


class NotToldError(ReceiptWatcherError):
    """A channel did not take a notice; the text may hold what is secret about it."""


class DeliveryError(ReceiptWatcherError):
    """A delivery ended without an answer."""


class NotSentError(DeliveryError):
    """The far side cannot have read the whole request."""


class AnswerLostError(DeliveryError):
    """The request went out whole and no answer came back."""


class CutAnswerError(AnswerLostError):
    """An answer began and broke off; `text` is what came of it, the rest is as in `outbound.Answer`."""

    def __init__(self, message: str, status: int, headers: Mapping[str, str], text: str, proxy: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.text = text
        self.proxy = proxy
