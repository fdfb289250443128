"""The options that apply to an inbox, and to each of its subfolders that has options of its own.

What it promises: this is the one place that says whose option counts: the subfolder's, else the inbox's, else the one
for all. Pure; any thread may call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from receipt_watcher.config.schedule import Window
from receipt_watcher.config.sections.inbox import Duplicates, Inbox, Subfolder
from receipt_watcher.config.sections.n8n import N8n
from receipt_watcher.config.sections.sending import ANSWERING_MODES, Accept
from receipt_watcher.system.display import lies_below

_Value = TypeVar("_Value")
_DEFAULTS = N8n()
_NOTHING_OWN = Subfolder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """All that applies to the receipts of an inbox, or of one subfolder of it.

    `subfolder` is "" for the inbox itself, and `webhook_url` is "" if none is set. `window` says when receipts are
    sent; None for always.
    """

    inbox: str
    subfolder: str
    webhook_url: str
    notion_database_id: str
    accept: Accept
    remembers_jobs: bool
    window: Window | None
    duplicates: Duplicates
    done_subfolder: str
    settle_seconds: float
    patience_seconds: float

    @property
    def key(self) -> str:
        """Its name in the job log; no inbox's name has a slash."""
        return f"{self.inbox}/{self.subfolder}" if self.subfolder else self.inbox

    @property
    def sends_once(self) -> bool:
        """Whether a receipt must not be sent again when its answer is lost.

        No callback can tell what became of it, and the workflow does not remember jobs.
        """
        return self.accept.mode in ANSWERING_MODES and not self.remembers_jobs

    @property
    def target(self) -> str:
        """The workflow and database of its receipts; equal bytes with equal targets are duplicates."""
        return self.target_in(self.notion_database_id)

    def target_in(self, database_id: str) -> str:
        """Return the target of a receipt that is booked in another database, as the job log has it."""
        return f"{self.webhook_url} {database_id}"

    def opens_at(self, now: float) -> float:
        """Return when its receipts may be sent, in Unix seconds: `now` if its window is open."""
        return now if self.window is None else self.window.opens_at(now)


def branches_of(inbox: Inbox, n8n: N8n = _DEFAULTS, duplicates: Duplicates = "skip") -> tuple[Branch, ...]:
    """Resolve the options of an inbox: of its subfolders, the innermost first, and at last of the inbox itself.

    `n8n` and `duplicates` are what applies if an inbox says nothing.
    """
    return tuple(_resolved(inbox, subfolder, n8n, duplicates) for subfolder in (*inbox.subfolders, ""))


def _resolved(inbox: Inbox, subfolder: str, n8n: N8n, duplicates: Duplicates) -> Branch:
    own = inbox.routes.get(subfolder, _NOTHING_OWN)
    deliver_when = _first_set(own.deliver_when, inbox.deliver_when, default=n8n.deliver_when)
    return Branch(
        inbox=inbox.name,
        subfolder=subfolder,
        webhook_url=_first_set(own.webhook_url, inbox.webhook_url, n8n.webhook_url, default=""),
        notion_database_id=_first_set(own.notion_database_id, default=inbox.notion_database_id),
        accept=_first_set(own.accept, inbox.accept, n8n.accept, default=Accept(mode="auto")),
        remembers_jobs=_first_set(own.remembers_jobs, inbox.remembers_jobs, default=n8n.remembers_jobs),
        window=deliver_when.window if deliver_when else None,
        duplicates=_first_set(own.duplicates, inbox.duplicates, default=duplicates),
        done_subfolder=_first_set(own.done_subfolder, default=inbox.done_subfolder),
        settle_seconds=_first_set(own.settle_seconds, default=inbox.settle_seconds),
        patience_seconds=_first_set(own.patience_seconds, default=inbox.patience_seconds),
    )


def _first_set(*values: _Value | None, default: _Value) -> _Value:
    return next((value for value in values if value is not None), default)


def branch_at(branches: Sequence[Branch], relative: Path) -> Branch:
    """Return the innermost branch that a file lies in, by its path below the inbox; `branches` has the inbox last."""
    return next(branch for branch in branches if lies_below(relative.parent, branch.subfolder))


def near_miss(branches: Sequence[Branch], relative: Path) -> str | None:
    """Return the configured subfolder that a file's folder differs from by capitals only; None if there is none."""
    folder = Path(str(relative.parent).casefold())
    return next(
        (
            branch.subfolder
            for branch in branches
            if branch.subfolder
            and lies_below(folder, branch.subfolder.casefold())
            and not lies_below(relative.parent, branch.subfolder)
        ),
        None,
    )


def branch_named(branches: Sequence[Branch], key: str | None) -> Branch:
    """Return the branch of a key in the job log; if it is configured no more, that of the inbox itself, the last."""
    return next((branch for branch in branches if branch.key == key), branches[-1])
