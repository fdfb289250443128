"""Findings of `check` and `check --live`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How long one folder or server may take: a check is waited for by a person.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One thing that was looked at."""

    level: Literal["ok", "warning", "error"]
    what: str
    advice: str = ""
