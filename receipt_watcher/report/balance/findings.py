"""Findings of a balance: of one receipt, and of all; and which receipts a balance is of. Pure but for the words.

Any thread may use it; nothing is kept or written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from receipt_watcher.jobs.codes import Code
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.states import OPEN_STATES, State

#: So many disagreements are kept by name; the others are counted.
NAMED = 10_000

_DAYS_AGO = {"today": 0, "yesterday": 1}
_DATE_LENGTH = len("2026-11-01")


class Finding(Code):
    """The finding about a receipt's file. One code, one sentence, one piece of advice; the README lists them all."""

    OK = ("ok", "The file is where the log says, with the recorded size and digest.", "Nothing.")
    RETURNED = (
        "returned",
        "Somebody moved it from failed/ back into the inbox, to try it again.",
        "Nothing; its job goes on.",
    )
    KNOWN = ("known", "It is missing or changed, and the log says so: its job failed for that.", "See the job.")
    REMOVED = ("removed", "It was removed on purpose, by the retention that is configured.", "Nothing.")
    ARCHIVED = (
        "archived",
        "It succeeded, and is no longer in done/: moved or deleted by somebody.",
        "Nothing, if it was archived; or put it back.",
    )
    UNCONFIGURED = (
        "unconfigured",
        "Its inbox is no longer configured, so its folders are not known.",
        "Configure the inbox again, at least for this proof.",
    )
    MISSING = (
        "missing",
        "It is not where the log says, and nowhere else in the spools.",
        "Look for it in backups and trash; drop it into the inbox again.",
    )
    CHANGED = (
        "changed",
        "What lies there is not what was recorded: size or digest differ.",
        "Restore the recorded bytes from a backup.",
    )
    ELSEWHERE = (
        "elsewhere",
        "It is not where the log says; a file with its bytes was found in another place, or under another name.",
        "Move it back to where the log says.",
    )
    TWO_PLACES = (
        "two_places",
        "It is where the log says, and a copy of it is in a spool, too.",
        "Remove the copy, or move it out of the spool.",
    )
    WRONG_FOLDER = (
        "wrong_folder",
        "It is where the log says, but that is not where it belongs, and nothing will move it any more.",
        "It was missing when it was to be filed; keep it elsewhere, or drop it into the inbox again.",
    )
    UNREADABLE = (
        "unreadable",
        "It, or its folder, cannot be read.",
        "Let the service's user, and whoever asks for the balance, read it; or look at the disk.",
    )
    UNREACHABLE = (
        "unreachable",
        "The folder that it should be in is not there, or answers nothing.",
        "Mount the share, or create the folder; then ask again.",
    )
    UNKNOWN = (
        "unknown",
        "A file that no receipt in the log accounts for.",
        "Not ours: move it out of the spool; in processing/ the next start records it.",
    )


#: Log and folders agree, or both say that they differ.
AGREEING = frozenset({Finding.OK, Finding.RETURNED, Finding.KNOWN, Finding.REMOVED})

#: Findings of files that are not there, perhaps with good reason.
ABSENT = frozenset({Finding.ARCHIVED, Finding.UNCONFIGURED})

_SUMMANDS = {"succeeded": State.SUCCESS, "failed": State.FAILURE, "cancelled": State.CANCELLED}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One receipt, file or folder that log and disk disagree about; `detail` is where else it is, or what was said."""

    finding: Finding
    inbox: str
    path: str
    job_id: str | None = None
    filename: str = ""
    detail: str = ""

    def line(self) -> str:
        """Return the disagreement in one line."""
        who = f"{self.filename} (job {self.job_id}): " if self.job_id else ""
        return f"{who}{self.path}{f': {self.detail}' if self.detail else ''}"

    def as_json(self) -> dict[str, Any]:
        """Return the disagreement as JSON takes it."""
        return {
            "finding": self.finding.value,
            "inbox": self.inbox,
            "job_id": self.job_id,
            "filename": self.filename or None,
            "path": self.path,
            "detail": self.detail or None,
            "meaning": self.finding.meaning,
            "advice": self.finding.advice,
        }


@dataclass(slots=True)
class BalanceSums:
    """The result: how many receipts in each state, how many of each finding, and the disagreements by name."""

    states: Counter[State] = field(default_factory=Counter)
    findings: Counter[Finding] = field(default_factory=Counter)
    hashed: int = 0
    named: list[Disagreement] = field(default_factory=list)

    @property
    def received(self) -> int:
        """The number of receipts in all."""
        return self.states.total()

    @property
    def absent(self) -> int:
        """The number of those that are not there, perhaps with good reason."""
        return sum(self.findings[finding] for finding in ABSENT)

    @property
    def wrong(self) -> int:
        """The number of receipts and files that log and folders disagree about, the absent ones aside."""
        return sum(number for finding, number in self.findings.items() if finding not in AGREEING | ABSENT)

    def summands(self) -> dict[str, int]:
        """Return what the received ones are the sum of."""
        named = {name: self.states[state] for name, state in _SUMMANDS.items()}
        still_open = sum(self.states[state] for state in OPEN_STATES)
        return {**named, "duplicates": self.states[State.DUPLICATE], "open": still_open}

    def name(self, disagreement: Disagreement) -> None:
        """Keep one by name, as long as there is room."""
        if len(self.named) < NAMED:
            self.named.append(disagreement)

    def lines(self) -> Iterator[str]:
        """Yield the result in lines."""
        yield f"{self.received} received = " + " + ".join(f"{count} {name}" for name, count in self.summands().items())
        agreeing = ", ".join(f"{self.findings[kind]} {kind.value}" for kind in Finding if kind in AGREEING)
        yield f"Log and folders agree about: {agreeing}; {self.hashed} files were read and hashed."
        for finding in Finding:
            if finding in AGREEING or not self.findings[finding]:
                continue
            yield f"{self.findings[finding]} {finding.value}: {finding.meaning}"
            yield f"  → {finding.advice}"
            for receipt in self.named:
                if receipt.finding is finding:
                    yield f"  {receipt.line()}"
        if len(self.named) == NAMED:
            yield f"Only {NAMED} are named; --csv has the finding of each receipt."

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON takes it."""
        return {
            "received": self.received,
            **self.summands(),
            "agrees": not self.wrong and not self.absent,
            "hashed": self.hashed,
            "findings": {finding.value: self.findings[finding] for finding in Finding},
            "disagreements": [receipt.as_json() for receipt in self.named],
        }


def selection_of(since: str | None, until: str | None, inbox: str | None, now: datetime) -> Selection:
    """Return what an admin means; days and times are those of the local time zone, and a last day counts whole.

    Raises:
        ValueError: a date cannot be read, or the range is empty.
    """
    first = None if since is None else _moment_of(since, now, days_later=0)
    last = None if until is None else _moment_of(until, now, days_later=1)
    if first is not None and last is not None and first >= last:
        raise ValueError(f"From {since} until {until} there is nothing: the end comes before the beginning.")
    return Selection(first, last, inbox)


def _moment_of(text: str, now: datetime, *, days_later: int) -> float:
    """Return the time that is meant, in Unix seconds; of a day, its midnight plus `days_later`."""
    try:
        if text.lower() in _DAYS_AGO:
            day = now.date() - timedelta(days=_DAYS_AGO[text.lower()])
        elif len(text) > _DATE_LENGTH:
            return datetime.fromisoformat(text).timestamp()
        else:
            day = date.fromisoformat(text)
        return datetime.combine(day + timedelta(days=days_later), time.min).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{text!r} is no date; write 2026-11-01, 2026-11-01T12:00, yesterday or today.") from error
