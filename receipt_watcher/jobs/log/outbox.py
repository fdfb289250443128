"""Notices that are to be sent, kept in the job log until they went out: one row for each channel.

What it promises: a notice is put here in the transaction that remembers what was told, so that a crash neither
forgets it nor writes it twice. It is removed when its channel took it; a crash in between sends that one again, under
its id. A channel gets its notices in order, and one that fails waits longer each time.

Called by the thread of the notices; `receipt-watcher notify` reads it. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from receipt_watcher.jobs.job import new_job_id
from receipt_watcher.jobs.log.engine.sqlite import Database, marks

#: The first wait after a channel failed; it doubles up to the second one. By taste: as patient as mail.
FIRST_PAUSE_SECONDS = 30.0
MAX_PAUSE_SECONDS = 3600.0

#: A notice that could not be sent for so long says nothing to anybody any more.
GIVE_UP_SECONDS = 3 * 86400.0

#: The kind, the title and the text of a notice.
NoticeTexts = tuple[str, str, str]

_COLUMNS = "notice_id, channel, kind, title, text, created_at, due_at, tries"


@dataclass(frozen=True, slots=True)
class QueuedNotice:
    """A notice on its way to one channel."""

    notice_id: str
    channel: str
    kind: str
    title: str
    text: str
    created_at: float
    due_at: float
    tries: int


class Outbox:
    """The rows of the notices in the job log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, notices: Sequence[NoticeTexts], channels: Collection[str], now: float) -> None:
        """Have notices sent to these channels, in this order."""
        with self._database.transaction():
            for number, (kind, title, text) in enumerate(notices):
                created_at = now + number / 1000  # which is their order
                notice_id = new_job_id(created_at)
                for channel in channels:
                    self._database.change(
                        f"INSERT INTO notice ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, 0)",  # noqa: S608 - our own names
                        *(notice_id, channel, kind, title, text, created_at, now),
                    )

    def queued(self) -> list[QueuedNotice]:
        """Return all that is to be sent, in order."""
        rows = self._database.select(f"SELECT {_COLUMNS} FROM notice ORDER BY created_at, notice_id, channel")  # noqa: S608
        return [QueuedNotice(*row) for row in rows]

    def remove(self, notice: QueuedNotice) -> None:
        """Forget a notice for a channel: it went out, or is given up."""
        self._database.change(
            "DELETE FROM notice WHERE notice_id = ? AND channel = ?", notice.notice_id, notice.channel
        )

    def remove_all_but(self, channels: Collection[str]) -> None:
        """Forget what was for channels that are no longer configured."""
        self._database.change(f"DELETE FROM notice WHERE channel NOT IN ({marks(channels)})", *channels)  # noqa: S608

    def put_off(self, notice: QueuedNotice, now: float) -> float:
        """Let a channel that failed wait, longer each time; return how long, in seconds."""
        pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(notice.tries, 16))
        self._database.change(
            "UPDATE notice SET tries = tries + 1, due_at = ? WHERE notice_id = ? AND channel = ?",
            *(now + pause, notice.notice_id, notice.channel),
        )
        return pause
