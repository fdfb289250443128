"""The status file in an inbox: what waits and why, for people who see only the share.

What it promises: `_receipt-watcher status.txt` is never taken as a receipt, and no file that is not ours is ever
replaced by it: ours is told by its first line. It is written whole, under a temporary name that is ignored too, and
only when what it says changes; there is no clock in it but the one of the change. A file that has waited for less than
a minute is not named unless it needs a person, so while receipts just flow it is not written at all.

Called by the inbox's own thread alone, which is the one that may hang in its file system. A crash leaves the last one,
and perhaps a temporary file, which the next one overwrites.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

import structlog

from receipt_watcher.config.schedule import clock_text, midnight
from receipt_watcher.config.secrets import without_secrets
from receipt_watcher.errors import JobLogError
from receipt_watcher.inbox.state import InboxState, Waiting
from receipt_watcher.inbox.wait_reasons import NEEDS_A_PERSON
from receipt_watcher.inbox.watching.ignored import OWN_PREFIX, STATUS_FILE_NAME
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import REFUSED_WORDS, DestinationState, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import ManualHold
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.spool.route import InboxRoute
from receipt_watcher.system.display import printable, quoted, receipts

logger = structlog.get_logger()

#: The file is compared with the facts so often.
PAUSE_SECONDS = 3.0

#: A receipt that has waited for less is on its way.
_PATIENT_SECONDS = 60.0

#: So many files are named.
_NAMED = 20

_FIRST_LINE = "receipt-watcher wrote this file. It is no receipt, and is never taken as one."
_TEMPORARY_NAME = f"{OWN_PREFIX}status.tmp"


@dataclass(frozen=True, slots=True)
class StatusFacts:
    """The facts about an inbox that people at the share should know."""

    unavailable: str | None
    troubles: Sequence[str]
    inbox_hold: ManualHold | None
    hand_held: Sequence[ManualHold]
    held: Sequence[DestinationState]
    waiting: Sequence[Waiting]
    opens_at: float | None
    open_count: int
    open_since: float | None
    failed: Sequence[Job]


class StatusFile:
    """The file of one inbox."""

    def __init__(
        self, route: InboxRoute, log: JobLog, holds: Holds, *, zone: tzinfo | None, secrets: frozenset[str]
    ) -> None:
        self._route = route
        self._log = log
        self._holds = holds
        self._hand_holds = log.manual_holds
        self._zone = zone
        self._secrets = secrets
        self._written = ""
        self._looked_at: float | None = None
        self._logged_why: str | None = None

    @property
    def _path(self) -> Path:
        return self._route.spool.folders.inbox / STATUS_FILE_NAME

    def update(self, state: InboxState, now: float) -> None:
        """Write it if it says something else by now.

        Raises:
            JobLogError: the log cannot be asked; the file says so.
        """
        if self._looked_at is not None and self._looked_at <= now < self._looked_at + PAUSE_SECONDS:
            return
        self._looked_at = now
        try:
            facts = self._facts(state, now)
        except JobLogError as error:
            self._write(f"Nothing is taken or sent now: {quoted(str(error))}", now)
            raise
        self._write("\n".join(_lines(facts, now, self._zone)), now)

    def stopped(self, now: float) -> None:
        """Say that the daemon has stopped; what waits waits for its start."""
        self._write(
            "receipt-watcher has been stopped, so nothing is taken.\n"
            "Files may be put here all the same: they are taken when it is started again. If you did not know of it, "
            "tell your admin.",
            now,
        )

    def _facts(self, state: InboxState, now: float) -> StatusFacts:
        name = self._route.name
        urls = dict.fromkeys(branch.webhook_url for branch in self._route.branches)
        opens_at = min(branch.opens_at(now) for branch in self._route.branches)
        count, since = self._log.statistics.open_in(name, now - _PATIENT_SECONDS)
        return StatusFacts(
            state.unavailable,
            [
                *(trouble for trouble in (state.job_log, state.filing, state.disk) if trouble is not None),
                *(f"N8N's {REFUSED_WORDS}" for url in urls if self._holds.was_refused(url)),
            ],
            self._hand_holds.of_inbox(name),
            [hold for hold in map(self._hand_holds.of_destination, urls) if hold is not None],
            [destination for destination in map(self._holds.of, urls) if destination.is_held],
            [
                file
                for file in state.waiting
                if file.first_seen_at <= now - _PATIENT_SECONDS or file.why in NEEDS_A_PERSON
            ],
            opens_at if opens_at > now else None,
            count,
            since,
            self._log.lookups.failed_between(midnight(now, self._zone), float("inf"), name),
        )

    def _write(self, text: str, now: float) -> None:
        """Write it; a disk that is full, or a folder that is shut, costs the file, nothing else."""
        text = without_secrets(text, self._secrets)
        if not self._route.spool.presence.is_inbox_there():
            return  # what is there instead is no inbox
        try:
            if self._is_foreign():
                self._log_trouble("another file has its name; move that away")
            elif text != self._written or not self._path.exists():
                stamp = clock_text(now, 0, self._zone)
                temporary = self._path.with_name(_TEMPORARY_NAME)
                content = f"{_FIRST_LINE}\n\nInbox {self._route.name}, since {stamp}:\n\n{text}\n"
                self._replace(temporary, content)
                self._written, self._logged_why = text, None
        except OSError as error:
            self._log_trouble(error.strerror or str(error))

    def _replace(self, temporary: Path, content: str) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()  # a link that somebody put there is not followed
            with temporary.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(content)
            temporary.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def _is_foreign(self) -> bool:
        """Whether a file of somebody else has the name. An empty one is nobody's: a power cut may leave that."""
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(status.st_mode):
            return True
        if status.st_size == 0:
            return False
        with self._path.open("rb") as file:
            return file.read(len(_FIRST_LINE)) != _FIRST_LINE.encode()

    def _log_trouble(self, why: str) -> None:
        if why != self._logged_why:
            logger.warning("statusfile.not_written", inbox=self._route.name, path=str(self._path), why=why)
        self._logged_why = why


def _lines(facts: StatusFacts, now: float, zone: tzinfo | None) -> Iterator[str]:
    """Yield what it says, for the office worker first."""

    def at(moment: float) -> str:
        return clock_text(moment, now, zone)

    wrong = [*_wrong(facts), *_held_by_hand(facts, at), *_held(facts, now, at)]
    yield from wrong
    if facts.waiting:
        yield f"Not taken yet ({len(facts.waiting)}):"
        for file in facts.waiting[:_NAMED]:
            yield f"  {printable(file.path)}, since {at(file.first_seen_at)}: {file.why.meaning}"
            yield f"    → {file.why.advice}"
        yield from _more(len(facts.waiting))
    yield from _under_way(facts, at)
    if facts.failed:
        yield f"Failed today ({len(facts.failed)}); each lies in the failed folder, with a note beside it:"
        for job in facts.failed[:_NAMED]:
            reason = job.reason or Reason.N8N_FAILURE
            yield f"  {printable(job.filename)}, {at(job.completed_at or now)}: {reason.meaning}\n    → {reason.advice}"
        yield from _more(len(facts.failed))
    if not (wrong or facts.waiting or facts.open_count or facts.failed):
        yield "All is well: nothing waits, and nothing failed today."


def _wrong(facts: StatusFacts) -> Iterator[str]:
    if facts.unavailable is not None:
        yield f"Nothing is taken from here: {quoted(facts.unavailable)}"
    for trouble in facts.troubles:
        yield f"Tell your admin: {quoted(trouble)}"


def _held(facts: StatusFacts, now: float, at: Callable[[float], str]) -> Iterator[str]:
    for destination in facts.held:
        yield (
            f"N8N is on hold since {at(destination.held_since or now)}: {quoted(destination.hold_message or '')}\n"
            "Nothing is lost: receipts are taken as ever, wait, and go out by themselves when N8N is back."
        )


def _held_by_hand(facts: StatusFacts, at: Callable[[float], str]) -> Iterator[str]:
    if facts.inbox_hold is not None:
        why = f": {quoted(facts.inbox_hold.why)}" if facts.inbox_hold.why else "."
        yield f"Your admin holds this inbox since {at(facts.inbox_hold.since)}, so nothing is taken{why}"
    for hold in facts.hand_held:
        why = f": {quoted(hold.why)}" if hold.why else "."
        yield (
            f"Your admin holds what goes to N8N since {at(hold.since)}{why}\n"
            "Nothing is lost: receipts are taken as ever, wait, and go out when the hold ends."
        )


def _under_way(facts: StatusFacts, at: Callable[[float], str]) -> Iterator[str]:
    if facts.open_count:
        since = "" if facts.open_since is None else f", the oldest since {at(facts.open_since)}"
        yield f"{receipts(facts.open_count, 'was', 'were')} taken and not answered by N8N yet{since}."
        if facts.opens_at is not None:
            yield f"Receipts are sent to N8N from {at(facts.opens_at)} on; until then they wait."


def _more(count: int) -> Iterator[str]:
    if count > _NAMED:
        yield f"  … and {count - _NAMED} more"
