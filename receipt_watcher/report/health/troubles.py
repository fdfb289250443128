"""The list of what is wrong: one for status, page, the file in the share, systemd's line, notices and health.

What it promises: a trouble is found here, and worded here, once. What needs a person by its nature is on the list at
once; what only waits, when it has waited for too long. What an admin holds, and what waits for its delivery window, is
no trouble. The running daemon and the command `status` make the list from the same facts: the states of the inboxes,
which the daemon also writes into files, and the job log.

Any thread may call it; it writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from receipt_watcher.config.options import Config
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.errors import JobLogError
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.inbox.wait_reasons import LONG_SECONDS, NEEDS_A_PERSON, WaitReason
from receipt_watcher.jobs.log.holds import REFUSED_WORDS, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.report.balance.last_result import last_balance
from receipt_watcher.report.health.held import held_destination
from receipt_watcher.report.health.stuck import StuckReceipts
from receipt_watcher.system.disk import trouble_of_disk
from receipt_watcher.system.display import display_name

#: A receipt that failed is on the list for this time.
FAILED_SECONDS = 86400.0


class TroubleKind(StrEnum):
    """The kinds of trouble, the worst first."""

    NOT_RUNNING = "not_running"
    JOB_LOG = "job_log"
    INBOX = "inbox"
    FILING = "filing"
    DISK = "disk"
    WATCH = "watch"
    LOG_OUTPUT = "log_output"
    VERSION = "version"
    HOLD = "hold"
    REFUSED = "wrong_token"
    BLOCKED = "blocked"
    LONG_WAIT = "long_wait"
    STUCK = "stuck"
    FAILED = "failed"
    BALANCE = "balance"
    UNROUTED = "unrouted"


#: The kinds that make the daemon not ready: receipts are not taken, not recorded or not filed, or soon will not be.
FAILING = frozenset(
    {TroubleKind.NOT_RUNNING, TroubleKind.JOB_LOG, TroubleKind.INBOX, TroubleKind.FILING, TroubleKind.DISK}
)

#: The kinds that `/health/ready` tells of by checks of its own, or as degraded.
CHECKED = FAILING | {TroubleKind.WATCH, TroubleKind.LOG_OUTPUT, TroubleKind.VERSION, TroubleKind.HOLD}

#: In a few words, for one line of many; {things} are files or receipts, with their number.
_SHORT = {
    TroubleKind.NOT_RUNNING: "not running",
    TroubleKind.JOB_LOG: "the job log cannot be used",
    TroubleKind.INBOX: "inbox {name} unavailable",
    TroubleKind.FILING: "filing of {name} fails",
    TroubleKind.DISK: "disk of {name} full or read-only",
    TroubleKind.WATCH: "inbox {name} without events",
    TroubleKind.LOG_OUTPUT: "log lines are lost",
    TroubleKind.VERSION: "to be restarted",
    TroubleKind.HOLD: "{name} on hold",
    TroubleKind.REFUSED: "callbacks of {name} bear a wrong token",
    TroubleKind.BLOCKED: "a person is needed for {things} in {name}",
    TroubleKind.LONG_WAIT: "waiting for long in {name}: {things}",
    TroubleKind.STUCK: "under way for long: {things}",
    TroubleKind.FAILED: "failed in 24 hours: {things}",
    TroubleKind.BALANCE: "the balance disagrees about {things}",
    TroubleKind.UNROUTED: "of inboxes that are gone: {things}",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong, with an inbox or a destination (`name`), or with `count` files or receipts.

    `text` says what is wrong and what to do, for an admin; `since` is in Unix seconds, if it is known.
    """

    kind: TroubleKind
    text: str
    name: str = ""
    count: int = 1
    since: float | None = None

    @property
    def key(self) -> str:
        """Its name among all troubles, such as `filing:office`."""
        return f"{self.kind}:{self.name}" if self.name else self.kind.value

    @property
    def is_failing(self) -> bool:
        """Whether receipts are not taken, not recorded or not filed because of it, or soon will not be."""
        return self.kind in FAILING

    @property
    def is_news(self) -> bool:
        """Whether it says what became of receipts, and nothing of ours is to be fixed."""
        return self.kind is TroubleKind.FAILED

    @property
    def short(self) -> str:
        """The trouble in a few words."""
        is_of_files = self.kind in (TroubleKind.BLOCKED, TroubleKind.LONG_WAIT, TroubleKind.BALANCE)
        things = _number(self.count, "file" if is_of_files else "receipt")
        return _SHORT[self.kind].format(name=self.name, things=things)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


# --- an inbox ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A file that waits in an inbox, since when (Unix seconds), and why."""

    path: str
    since: float
    why: WaitReason
    words: str


def troubles_of_inbox(state: InboxState, now: float) -> Iterator[Trouble]:
    """Yield what is wrong with an inbox, as its daemon knows it."""
    name = state.name
    if state.job_log is not None:
        yield Trouble(TroubleKind.JOB_LOG, state.job_log)
    if state.unavailable is not None:
        text = f"inbox {name}: unavailable: {state.unavailable}"
        yield Trouble(TroubleKind.INBOX, text, name, since=state.unavailable_since)
    if state.filing is not None:
        yield Trouble(TroubleKind.FILING, f"inbox {name}: files cannot be filed: {state.filing}", name)
    if state.disk is not None:
        yield Trouble(TroubleKind.DISK, state.disk, name)
    if state.events is not None:
        yield Trouble(TroubleKind.WATCH, f"inbox {name}: {state.events}", name)
    files = [
        WaitingFile(file.path, file.first_seen_at, file.why, file.detail or file.why.meaning) for file in state.waiting
    ]
    yield from troubles_of_files(name, files, now)


def troubles_of_files(name: str, files: Iterable[WaitingFile], now: float) -> Iterator[Trouble]:
    """Yield what is wrong with files that wait in an inbox; what an admin holds there is not."""
    blocked, late = [], []
    for file in files:
        if file.why in NEEDS_A_PERSON:
            blocked.append(file)
        elif file.why is not WaitReason.HELD and now - file.since >= LONG_SECONDS:
            late.append(file)
    if blocked:
        first = min(blocked, key=lambda file: file.since)
        more = f", and {len(blocked) - 1} more" if len(blocked) > 1 else ""
        words = f"{first.words.removesuffix('.')}. {first.why.advice}"
        text = f"inbox {name}: {display_name(first.path)} needs a person{more}: {words}"
        yield Trouble(TroubleKind.BLOCKED, text, name, len(blocked), first.since)
    if late:
        wait = "file waits" if len(late) == 1 else "files wait"
        text = f"inbox {name}: {len(late)} {wait} for more than ten minutes; receipt-watcher status names them"
        yield Trouble(TroubleKind.LONG_WAIT, text, name, len(late), min(file.since for file in late))


# --- the job log ---------------------------------------------------------------------------------------------------


class LogTroubles:
    """Finds what is wrong by the job log: holds, failures, what is stuck, the balance."""

    def __init__(
        self, config: Config, log: JobLog, holds: Holds, names: DestinationNames, *, started_at: float
    ) -> None:
        self._config = config
        self._log = log
        self._holds = holds
        self._names = names
        self._inboxes = [inbox.name for inbox in config.inboxes]
        branches = {inbox.name: config.branches(inbox) for inbox in config.inboxes}
        after_seconds = config.notify.stuck_after_minutes * 60
        self._stuck = StuckReceipts(log, holds, branches, after_seconds=after_seconds, started_at=started_at)

    def all(self, now: float) -> Iterator[Trouble]:
        """Yield what is wrong.

        Raises:
            JobLogError: the log cannot be asked.
        """
        held = [state for state in self._holds.all() if state.is_held and state.url in self._names.by_url]
        for state in held:
            destination = held_destination(self._config, self._log, self._names, state, now)
            text = f"{destination.words}: {state.hold_message}"
            yield Trouble(TroubleKind.HOLD, text, destination.name, destination.waiting, state.held_since)
        for url, name in self._names.by_url.items():
            if self._holds.was_refused(url):
                yield Trouble(TroubleKind.REFUSED, f"N8N at {name}: {REFUSED_WORDS}", name)
        yield from self._stuck_ones({state.url for state in held}, now)
        failed = self._log.statistics.failed_since(now - FAILED_SECONDS)
        if failed:
            number = _number(failed, "receipt")
            text = f"{number} failed in the last 24 hours; the note beside each in failed/ says what to do"
            yield Trouble(TroubleKind.FAILED, text, count=failed)
        balance = last_balance(self._log)
        if balance is not None and balance.wrong:
            text = (
                f"log and folders disagree about {_number(balance.wrong, 'file')}; receipt-watcher balance names them"
            )
            yield Trouble(TroubleKind.BALANCE, text, count=balance.wrong, since=balance.at)
        unrouted = self._log.statistics.open_jobs_except(self._inboxes)
        if unrouted:
            text = f"{unrouted} open jobs belong to inboxes that are no longer configured; configure them again"
            yield Trouble(TroubleKind.UNROUTED, text, count=unrouted)

    def _stuck_ones(self, held: set[str], now: float) -> Iterator[Trouble]:
        stuck = [receipt for _, receipt in self._stuck.jobs(held, frozenset(), now) if receipt.inbox in self._inboxes]
        if stuck:
            first = min(stuck, key=lambda receipt: receipt.since)
            more = f", and {len(stuck) - 1} more," if len(stuck) > 1 else ""
            what = f"inbox {first.inbox}: {display_name(first.name)}{more}"
            text = f"{what} is under way for too long: {first.why} {first.advice}"
            yield Trouble(TroubleKind.STUCK, text, count=len(stuck), since=first.since)


# --- all of it -----------------------------------------------------------------------------------------------------


class TroubleList:
    """The troubles of a running daemon."""

    def __init__(
        self,
        log_troubles: LogTroubles,
        inboxes: Callable[[], Sequence[InboxState]],
        *,
        state_folders: Iterable[Path],
        min_free_mb: float,
        trouble_of_log: Callable[[], str | None],
        output_trouble: Callable[[], str | None],
        clock: Callable[[], float],
    ) -> None:
        self._log_troubles = log_troubles
        self._inboxes = inboxes
        self._state_folders = tuple(dict.fromkeys(state_folders))
        self._min_free_mb = min_free_mb
        self._trouble_of_log = trouble_of_log
        self._output_trouble = output_trouble
        self._clock = clock

    def all(self) -> list[Trouble]:
        """Return what is wrong now, the worst first."""
        now = self._clock()
        troubles = [trouble for state in self._inboxes() for trouble in troubles_of_inbox(state, now)]
        troubles += troubles_of_state(self._state_folders, self._min_free_mb)
        if (why := self._trouble_of_log()) is not None:
            troubles.append(Trouble(TroubleKind.JOB_LOG, why))
        if (why := self._output_trouble()) is not None:
            troubles.append(Trouble(TroubleKind.LOG_OUTPUT, why))
        try:
            troubles += self._log_troubles.all(now)
        except JobLogError as error:
            troubles.append(Trouble(TroubleKind.JOB_LOG, str(error)))
        return in_order(troubles)


def troubles_of_state(folders: Iterable[Path], min_free_mb: float) -> Iterator[Trouble]:
    """Yield what is wrong with the disks of the job log and of what is beside it."""
    for folder in folders:
        trouble = trouble_of_disk(folder, min_free_mb)
        if trouble is not None:
            yield Trouble(TroubleKind.DISK, trouble, "state_dir")
            return


def in_order(troubles: Iterable[Trouble]) -> list[Trouble]:
    """Return troubles, the worst first, and one of each key: all inboxes may tell of the same job log."""
    kinds = list(TroubleKind)
    by_key: dict[str, Trouble] = {}
    for trouble in troubles:
        by_key.setdefault(trouble.key, trouble)
    return sorted(by_key.values(), key=lambda trouble: kinds.index(trouble.kind))
