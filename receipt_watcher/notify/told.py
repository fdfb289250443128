"""The record of past notices in the job log: after a restart nothing is told twice or forgotten.

Values; the thread of notices reads and writes them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class HoldTold:
    """A hold that was seen: since when, why, how many receipts wait, whether it was told, and when it ended."""

    since: float
    message: str
    waiting: int = 0
    is_told: bool = False
    until: float | None = None


@dataclass(slots=True)
class AwayTold:
    """An inbox that was told to be away."""

    since: float
    why: str
    until: float | None = None


@dataclass(slots=True)
class DefectTold:
    """A trouble of ours that was seen: since when, what, whether it was told, and when it ended."""

    since: float
    text: str
    is_told: bool = False
    until: float | None = None


@dataclass(slots=True)
class Told:
    """The record of past notices, from which new events are told apart; `event` is the last history line seen."""

    event: int
    holds: dict[str, HoldTold] = field(default_factory=dict)
    inboxes: dict[str, AwayTold] = field(default_factory=dict)
    defects: dict[str, DefectTold] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)
    told_at: dict[str, float] = field(default_factory=dict)
    wrong: int = 0
    names: list[str] = field(default_factory=list)
    summary_day: str = ""
    summary_at: float = 0.0

    @staticmethod
    def read(text: str) -> Told:
        """Return what was kept."""
        fields: dict[str, Any] = json.loads(text)
        holds = {url: HoldTold(**each) for url, each in fields.pop("holds").items()}
        inboxes = {name: AwayTold(**each) for name, each in fields.pop("inboxes").items()}
        defects = {key: DefectTold(**each) for key, each in fields.pop("defects", {}).items()}
        return Told(**fields, holds=holds, inboxes=inboxes, defects=defects)

    def written(self) -> str:
        """Return it as it is kept."""
        return json.dumps(dataclasses.asdict(self))
