"""Findings of `check` and `check --live`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Time limit for one folder or server: a person waits for the check.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One thing that was looked at."""

    level: Literal["ok", "warning", "error"]
    what: str
    advice: str = ""
