"""Codes that people read: one code, one sentence, one piece of advice each, and all of them listed in the README.

What it promises: a program, the log and the job log go by the code; whoever shows it to a person says the same words
for the same thing. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """Base of each kind of code; the value is the code itself."""

    def __new__(cls, code: str, meaning: str, advice: str) -> Self:
        """Make the code the value, and keep its texts beside it."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.advice = advice
        return member

    meaning: str
    advice: str
