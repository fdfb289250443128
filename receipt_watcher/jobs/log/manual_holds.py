"""Holds by hand: an admin keeps an inbox or a destination waiting, and lets it go on.

What it promises: a held inbox gives nothing: files stay where they are, what was taken goes on. A held destination is
sent nothing, no probe either, no receipt loses an attempt, and none expires for want of a callback. Callbacks are
heard. A hold lasts until somebody ends it, over each restart. One that the daemon itself begins (`holds`) is another
matter: both may be there at once.

The command line writes, the daemon reads before each receipt; any thread may. A crash leaves whole rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.engine.sqlite import Database


class HoldTarget(StrEnum):
    """The kind of thing that is held."""

    INBOX = "inbox"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class ManualHold:
    """One hold; `name` is the inbox's, or the destination's URL; `since` in Unix seconds, `why` what the admin said."""

    kind: HoldTarget
    name: str
    since: float
    why: str

    @property
    def words(self) -> str:
        """Why, for a sentence that goes on after «held by hand»."""
        return f": {self.why}" if self.why else ""


def hand_hold_view(hold: ManualHold | None) -> dict[str, Any] | None:
    """Return a hold as JSON takes it."""
    return None if hold is None else {"since": iso_time(hold.since), "why": hold.why}


class ManualHolds:
    """The rows in the job log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_inbox(self, name: str) -> ManualHold | None:
        """Return the hold of an inbox, or None."""
        return self._find(HoldTarget.INBOX, name)

    def of_destination(self, url: str) -> ManualHold | None:
        """Return the hold of a destination, or None."""
        return self._find(HoldTarget.DESTINATION, url)

    def _find(self, kind: HoldTarget, name: str) -> ManualHold | None:
        rows = self._database.select("SELECT since, why FROM hand_hold WHERE kind = ? AND name = ?", kind, name)
        return ManualHold(kind, name, *rows[0]) if rows else None

    def all(self) -> list[ManualHold]:
        """Return every hold by hand."""
        statement = "SELECT kind, name, since, why FROM hand_hold ORDER BY kind, name"
        return self._database.select_as(lambda row: ManualHold(HoldTarget(row[0]), *row[1:]), statement)

    def hold(self, kind: HoldTarget, name: str, why: str, now: float) -> bool:
        """Hold it, or say anew why; return whether it was not held before."""
        with self._database.transaction():
            before = self._find(kind, name)
            self._database.change(
                "INSERT INTO hand_hold (kind, name, since, why) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (kind, name) DO UPDATE SET why = excluded.why",
                kind,
                name,
                now,
                why,
            )
            return before is None

    def resume(self, kind: HoldTarget, name: str) -> bool:
        """Let it go on; return whether it was held."""
        return self._database.change("DELETE FROM hand_hold WHERE kind = ? AND name = ?", kind, name) > 0
