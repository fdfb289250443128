"""Destinations that are held, kept in the job log so that a hold outlives a restart.

Failures that are the destination's, several in a row, hold it: its jobs wait and lose no attempt, and one receipt after
another goes out as a probe at growing intervals until one passes. Two kinds: it answers wrongly or not at all
(`ANSWERS`, ended by an acceptance), or it accepts and no callback ever arrives (`SILENCE`, ended by a callback).

Called by the delivery workers, the callback and the expiry. A crash leaves the hold as it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from receipt_watcher.jobs.log.engine.sqlite import Database, marks

#: So many different jobs that expire with no callback in between mean that callbacks do not arrive at all.
SILENT_JOBS_BEFORE_HOLD = 3


#: The line in a job's history about a callback that bore a wrong token.
REFUSED_EVENT = "callback.refused"

#: The words for an admin if callbacks come, and none with a right token.
REFUSED_WORDS = (
    "callbacks bear a wrong token; compare the header X-Callback-Token in the workflow with callback.secret_token"
)


class HoldKind(StrEnum):
    """The cause of a destination's hold."""

    ANSWERS = "answers"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationState:
    """The state of a destination: held or not, and when it last did what. Unix seconds; None if it never did.

    `accepted_at` is the last time, `called_back_at` the first; `too_large_job` names up to two that got a 413.
    `misses` counts its failures since it last accepted, `hold_message` being the last one's. Nothing goes out before
    `probe_at`, held or not. `resumed_at` is when the last hold ended.
    """

    url: str
    hold_kind: HoldKind | None = None
    held_since: float | None = None
    hold_message: str | None = None
    probe_at: float | None = None
    probes: int = 0
    accepted_at: float | None = None
    called_back_at: float | None = None
    silent_jobs: tuple[str, ...] = ()
    too_large_job: str | None = None
    misses: int = 0
    resumed_at: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether its jobs wait."""
        return self.hold_kind is not None

    def next_probe_at(self, now: float) -> float | None:
        """Return when it is probed next, in Unix seconds; None if that is as soon as there is a receipt to send."""
        return self.probe_at if self.is_held and self.probe_at is not None and self.probe_at > now else None

    @property
    def trouble(self) -> str | None:
        """The trouble with it, in words that go on after its name; None if there is none."""
        if self.is_held:
            return f"is held: {self.hold_message}"
        times = "once" if self.misses == 1 else f"{self.misses} times in a row"
        return f"has failed {times}: {self.hold_message}" if self.misses else None


class Holds:
    """The destinations' rows in the job log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, url: str) -> DestinationState:
        """Return what is known of a destination; of a new one nothing is."""
        states = self._database.select_as(_standing, f"{_SELECT} WHERE url = ?", url)
        return states[0] if states else DestinationState(url=url)

    def all(self) -> list[DestinationState]:
        """Return every destination that is known."""
        return self._database.select_as(_standing, f"{_SELECT} ORDER BY url")

    def hold(self, url: str, kind: HoldKind, message: str, now: float, probe_at: float) -> bool:
        """Hold a destination, or go on holding it, until a probe at `probe_at`; return whether the hold began now.

        What was under way when the hold began fails too, before the first probe: that makes no interval grow.
        """
        with self._database.transaction():
            before = self.of(url)
            if before.is_held and now < (before.probe_at or 0.0):
                return False
            self._write(
                url,
                hold_kind=before.hold_kind or kind,
                held_since=before.held_since or now,
                hold_message=message,
                probe_at=probe_at,
                probes=before.probes + 1,
            )
            return not before.is_held

    def missed(self, url: str, message: str) -> int:
        """Note a failure that is the destination's; return how many came in a row, with nothing accepted between."""
        with self._database.transaction():
            misses = self.of(url).misses + 1
            self._write(url, misses=misses, hold_message=message)
            return misses

    def pause(self, url: str, until: float) -> None:
        """Let nothing go out before that time: the destination asks for it, and is not held yet."""
        with self._database.transaction():
            self._write(url, probe_at=max(until, self.of(url).probe_at or 0.0))

    def accepted(self, url: str, now: float) -> bool:
        """Note that the destination took a receipt; return whether that ended a hold."""
        with self._database.transaction():
            before = self.of(url)
            ends = before.hold_kind is HoldKind.ANSWERS
            ended = _NOT_HELD | {"resumed_at": now} if ends else {}
            self._write(url, accepted_at=now, too_large_job=None, misses=0, **ended)
            return ends

    def called_back(self, url: str, now: float) -> bool:
        """Note that the destination called back; return whether that ended a hold."""
        with self._database.transaction():
            before = self.of(url)
            if before.called_back_at is not None and not before.silent_jobs and not before.is_held:
                return False  # the usual case writes nothing
            ends = before.hold_kind is HoldKind.SILENCE
            first = before.called_back_at or now
            ended = _NOT_HELD | {"resumed_at": now} if ends else {}
            self._write(url, called_back_at=first, silent_jobs="[]", **ended)
            return ends

    def was_refused(self, url: str) -> bool:
        """Return whether a callback with a wrong token has come, and none with a right one since."""
        jobs = self.of(url).silent_jobs
        statement = f"SELECT 1 FROM history WHERE job_id IN ({marks(jobs)}) AND event = ? LIMIT 1"  # noqa: S608
        return bool(jobs and self._database.select(statement, *jobs, REFUSED_EVENT))

    def silent(self, url: str, job_id: str) -> int:
        """Note that a job expired without a callback; return how many different ones did, with none heard between."""
        with self._database.transaction():
            jobs = dict.fromkeys((*self.of(url).silent_jobs, job_id))
            self._write(url, silent_jobs=json.dumps(list(jobs)))
            return len(jobs)

    def unreadable(self, url: str, job_id: str, message: str, now: float, probe_at: float) -> bool:
        """Note a verdict that cannot be read; return whether that began a hold: the next one would end the same way.

        One does not hold, as several jobs without a callback do, if no readable one came between.
        """
        with self._database.transaction():
            if self.silent(url, job_id) < SILENT_JOBS_BEFORE_HOLD:
                return False
            return self.hold(url, HoldKind.SILENCE, message, now, probe_at)

    def too_large(self, url: str, job_id: str) -> bool:
        """Note a 413; return whether different receipts got one since the destination last took one."""
        with self._database.transaction():
            jobs = dict.fromkeys([*(self.of(url).too_large_job or "").split(), job_id])
            self._write(url, too_large_job=" ".join(list(jobs)[:2]))  # two are evidence; the first stays one of them
            return len(jobs) > 1

    def resumed_by_hand(self, url: str, now: float) -> bool:
        """Note that an admin lets it go on: what has waited is told from what comes; return whether a hold ended.

        One for its answers is probed now: it ends by itself when N8N takes a receipt. One for missing callbacks ends,
        for nothing but a callback would prove that they arrive again, and there may be nobody to send one.
        """
        with self._database.transaction():
            kind = self.of(url).hold_kind
            if kind is HoldKind.ANSWERS:
                self._write(url, probe_at=now)
                return False
            self._write(url, **_NOT_HELD, resumed_at=now, silent_jobs="[]")
            return kind is HoldKind.SILENCE

    def shift_times(self, seconds: float) -> None:
        """Move the times of probes by a jump of the clock, and those that are compared with one another."""
        self._database.change(
            "UPDATE destination SET probe_at = probe_at + ?, accepted_at = accepted_at + ?", seconds, seconds
        )

    def _write(self, url: str, **values: object) -> None:
        named = {"url": url, **values}
        changes = ", ".join(f"{name} = excluded.{name}" for name in values)
        self._database.change(
            f"INSERT INTO destination ({', '.join(named)}) VALUES ({marks(named)})"  # noqa: S608 - our names
            f" ON CONFLICT (url) DO UPDATE SET {changes}",
            *named.values(),
        )


_COLUMNS = (
    "url",
    "hold_kind",
    "held_since",
    "hold_message",
    "probe_at",
    "probes",
    "accepted_at",
    "called_back_at",
    "silent_jobs",
    "too_large_job",
    "misses",
    "resumed_at",
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM destination"  # noqa: S608 - our own column names
_NOT_HELD: dict[str, object] = {
    "hold_kind": None,
    "held_since": None,
    "hold_message": None,
    "probe_at": None,
    "probes": 0,
}


def _standing(row: tuple[Any, ...]) -> DestinationState:
    fields = dict(zip(_COLUMNS, row, strict=True))
    kind = HoldKind(fields.pop("hold_kind")) if fields["hold_kind"] else fields.pop("hold_kind")
    return DestinationState(**(fields | {"hold_kind": kind, "silent_jobs": tuple(json.loads(fields["silent_jobs"]))}))
