"""The texts of notices: one for each kind, in the words of the office and of the admin.

What it promises: pure functions. Each text says what happened, since when, to which files, and what to do, or that
nothing is to be done; long lists are cut, with the rest counted. Names are shown so that they can steer nothing, and
`without_secrets` takes out what is configured as a secret, wherever it came from: N8N may answer with it.

Any thread may call it. Times are Unix seconds and shown on the office's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum

from receipt_watcher.config.schedule import clock_text, duration_text
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.report.health.stuck import Stuck
from receipt_watcher.system.display import printable, quoted, receipts

#: So many files are named in one notice; an office does not read more.
NAMED = 10


class Kind(StrEnum):
    """The subject of a notice."""

    HELD = "held"
    RESUMED = "resumed"
    FAILED = "failed"
    INBOX_AWAY = "inbox_away"
    INBOX_BACK = "inbox_back"
    TROUBLE = "trouble"
    TROUBLE_OVER = "trouble_over"
    BLOCKED = "blocked"
    STUCK = "stuck"
    DISAGREES = "disagrees"
    SUMMARY = "summary"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to a person: its kind, title and text."""

    kind: Kind
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A destination that is held, or was until `until`; `waiting` receipts go to it."""

    name: str
    inboxes: tuple[str, ...]
    since: float
    message: str
    waiting: int
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Away:
    """An inbox that cannot be used, or could not until `until`."""

    name: str
    path: str
    since: float
    why: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Defect:
    """Something of ours that is wrong, or was until `until`."""

    text: str
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """The facts of a daily summary: receipts recorded in a period by their present state, and troubles."""

    since: float
    until: float
    counts: Mapping[State, int]
    failed: Sequence[Job]
    open_now: int
    holds: Sequence[Hold]
    away: Sequence[Away]


class Wording:
    """Writes notices at a moment, for readers in a time zone (None: the machine's)."""

    def __init__(self, now: float, zone: tzinfo | None) -> None:
        self._now = now
        self._zone = zone

    def _at(self, moment: float) -> str:
        return clock_text(moment, self._now, self._zone)

    def held(self, holds: Sequence[Hold]) -> Notice:
        """N8N does not take receipts."""
        parts = [
            f"N8N at {hold.name} is on hold since {self._at(hold.since)}: {quoted(hold.message)}\n"
            f"{_inboxes(hold.inboxes)}. {receipts(hold.waiting, 'is', 'are')} waiting."
            for hold in holds
        ]
        parts.append(
            "Nothing is lost, and nothing needs to be scanned again: receipts are taken in as ever, wait, and go out "
            "by themselves when N8N is back. You are told then."
        )
        parts.append("What to do (admin): see to what N8N says above; receipt-watcher status shows the rest.")
        return Notice(Kind.HELD, "N8N is on hold, receipts wait", "\n\n".join(parts))

    def resumed(self, holds: Sequence[Hold]) -> Notice:
        """N8N takes receipts again."""
        parts = []
        for hold in holds:
            until = self._now if hold.until is None else hold.until
            parts.append(
                f"N8N at {hold.name} takes receipts again since {self._at(until)}. It was on hold since "
                f"{self._at(hold.since)} ({duration_text(until - hold.since)}).\n"
                f"{_inboxes(hold.inboxes)}. "
                f"{receipts(hold.waiting, 'waited and goes', 'waited and go')} out now, in order of arrival."
            )
        return Notice(Kind.RESUMED, "N8N is back", "\n\n".join([*parts, "What to do: nothing."]))

    def failed(self, jobs: Sequence[Job], folders: Mapping[str, str]) -> Notice:
        """Receipts that did not get through; `folders` are the failed folders by inbox."""
        is_one = len(jobs) == 1
        them = "It did not get through to N8N, or N8N could not book it:"
        parts = [them if is_one else "They did not get through to N8N, or N8N could not book them:"]
        parts += [_failure(job) for job in jobs[:NAMED]]
        if len(jobs) > NAMED:
            parts.append(f"… and {len(jobs) - NAMED} more; receipt-watcher jobs --status failure names them.")
        places = [f"  {folders[name]}" for name in dict.fromkeys(job.inbox for job in jobs) if name in folders]
        kept = f"{'The file is kept, with' if is_one else 'The files are kept, each with'} a note beside it, in:"
        parts.append("\n".join([kept, *dict.fromkeys(places)]))
        whose = "it from there back into its" if is_one else "them from there back into their"
        parts.append(f"To try again, when it is mended: move {whose} inbox.")
        title = f"{receipts(len(jobs), 'needs', 'need')} a person"
        return Notice(Kind.FAILED, title, "\n\n".join(parts))

    def inboxes_away(self, inboxes: Sequence[Away]) -> Notice:
        """Nothing can be taken from an inbox."""
        parts = [
            f"Nothing is taken from the inbox {away.name} since {self._at(away.since)}: {quoted(away.why)}\n"
            f"Folder: {away.path}"
            for away in inboxes
        ]
        parts.append(
            "Nothing is lost: files that lie there stay there, untouched, and all other inboxes go on. You are told "
            "when it is back."
        )
        parts.append("What to do (admin): mend what is said above; the inbox opens again by itself.")
        return Notice(Kind.INBOX_AWAY, f"{_named(inboxes)} unavailable", "\n\n".join(parts))

    def inboxes_back(self, inboxes: Sequence[Away]) -> Notice:
        """An inbox can be used again."""
        parts = []
        for away in inboxes:
            until = self._now if away.until is None else away.until
            parts.append(
                f"Receipts are taken from the inbox {away.name} again since {self._at(until)}. It was unavailable "
                f"since {self._at(away.since)} ({duration_text(until - away.since)})."
            )
        return Notice(Kind.INBOX_BACK, f"{_named(inboxes)} back", "\n\n".join([*parts, "What to do: nothing."]))

    def defects(self, defects: Sequence[Defect]) -> Notice:
        """Files that cannot be filed, disks that are full or read-only."""
        parts = [f"Since {self._at(defect.since)}: {defect.text}" for defect in defects]
        parts.append("Nothing is lost, and nothing needs to be scanned again. You are told when it is over.")
        parts.append("What to do (admin): fix what is said above; receipt-watcher status shows the rest.")
        return Notice(Kind.TROUBLE, "receipt-watcher needs its admin", "\n\n".join(parts))

    def defects_over(self, defects: Sequence[Defect]) -> Notice:
        """The end of the same."""
        parts = [
            f"Over since {self._at(self._now if defect.until is None else defect.until)}, "
            f"begun at {self._at(defect.since)}: {defect.text}"
            for defect in defects
        ]
        return Notice(Kind.TROUBLE_OVER, "receipt-watcher works again", "\n\n".join([*parts, "What to do: nothing."]))

    def blocked(self, files: Sequence[Stuck]) -> Notice:
        """Files that cannot be taken before somebody does something about them."""
        parts = [_stuck(file, self._at(file.since)) for file in files[:NAMED]]
        if len(files) > NAMED:
            parts.append(f"… and {len(files) - NAMED} more; receipt-watcher status names them.")
        parts.append("Nothing of it is lost. What to do (admin): receipt-watcher explain NAME says more.")
        number = "1 file needs" if len(files) == 1 else f"{len(files)} files need"
        return Notice(Kind.BLOCKED, f"{number} a person to be taken", "\n\n".join(parts))

    def stuck(self, waiting: Sequence[Stuck], after_minutes: float) -> Notice:
        """Receipts that wait for longer than they should, each with its reason."""
        limit = duration_text(after_minutes * 60)
        parts = [_stuck(receipt, self._at(receipt.since)) for receipt in waiting[:NAMED]]
        if len(waiting) > NAMED:
            parts.append(f"… and {len(waiting) - NAMED} more; receipt-watcher status names them.")
        parts.append("Nothing of it is lost. What to do (admin): receipt-watcher explain NAME says more.")
        return Notice(
            Kind.STUCK, f"{receipts(len(waiting), 'is', 'are')} waiting for longer than {limit}", "\n\n".join(parts)
        )

    def disagrees(self, wrong: int, names: Sequence[str]) -> Notice:
        """The balance found files that are not where the log says, or not as it says."""
        what = "1 file" if wrong == 1 else f"{wrong} files"
        parts = [f"The daily balance found that the job log and the folders disagree about {what}:"]
        parts.append("\n".join(f"  {printable(name)}" for name in names))
        if wrong > len(names):
            parts.append(f"… and {wrong - len(names)} more; receipt-watcher balance names them.")
        parts.append(
            "Somebody, or something, moved, changed or deleted them. What to do (admin): receipt-watcher balance says "
            "what each finding means, and what to do. You are told again only when there are more, or others."
        )
        return Notice(Kind.DISAGREES, f"The balance disagrees about {what}", "\n\n".join(parts))

    def summary(self, day: Day) -> Notice:
        """Return the summary of a day's receipts."""
        failed, received = len(day.failed), sum(day.counts.values())
        waiting = sum(day.counts[state] for state in (State.QUEUED, State.DELIVERING, State.PROCESSING))
        rows = {
            "received": received,
            "went through": day.counts[State.SUCCESS],
            "copies of others": day.counts[State.DUPLICATE],
            "failed": day.counts[State.FAILURE],
            "cancelled": day.counts[State.CANCELLED],
            "on their way": waiting,
        }
        width = max(map(len, rows)) + 1
        parts = [
            f"From {self._at(day.since)} to {self._at(day.until)}:",
            "\n".join(f"  {name + ':':{width}} {number}" for name, number in rows.items()),
        ]
        if day.open_now != waiting:
            parts.append(f"With those of before, {day.open_now} are on their way.")
        parts += [
            f"N8N at {hold.name} is on hold since {self._at(hold.since)}: {quoted(hold.message)}" for hold in day.holds
        ]
        parts += [
            f"The inbox {away.name} is unavailable since {self._at(away.since)}: {quoted(away.why)}"
            for away in day.away
        ]
        if day.failed:
            more = [f"… and {failed - NAMED} more"] if failed > NAMED else []
            parts += ["Failed in this time:", *map(_failure, day.failed[:NAMED]), *more]
        if not (day.failed or day.holds or day.away):
            parts.append("What to do: nothing.")
        title = f"Receipts of the day: {received} received, {failed or 'none'} failed"
        return Notice(Kind.SUMMARY, title, "\n\n".join(parts))

    def late(self, text: str, created_at: float) -> str:
        """Return the text of a notice that could not be sent when it was written, and say so."""
        return f"(Written at {self._at(created_at)}; it could not be sent before.)\n\n{text}"


def example_notice() -> Notice:
    """Return the notice that `receipt-watcher notify --test` sends."""
    return Notice(
        Kind.TEST,
        "This is a test",
        "Notices of receipt-watcher arrive here.\n\nNothing is wrong. What to do: nothing.",
    )


def _named(inboxes: Sequence[Away]) -> str:
    return f"The inbox {inboxes[0].name} is" if len(inboxes) == 1 else f"{len(inboxes)} inboxes are"


def _inboxes(names: Iterable[str]) -> str:
    names = tuple(names)
    return f"{'Inbox' if len(names) == 1 else 'Inboxes'}: {', '.join(names)}"


def _stuck(receipt: Stuck, since: str) -> str:
    name = f"{printable(receipt.name)} (inbox {receipt.inbox}), since {since}"
    return f"{name}\n  {receipt.why}\n  → {receipt.advice}"


def _failure(job: Job) -> str:
    reason = job.reason or Reason.N8N_FAILURE
    quotation = f" «{quoted(job.message)}»" if job.message else ""
    return f"{printable(job.filename)} (inbox {job.inbox})\n  {reason.meaning}{quotation}\n  → {reason.advice}"


# --- secrets -------------------------------------------------------------------------------------------------------
