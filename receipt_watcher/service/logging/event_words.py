"""The words of one event: its sentence, what it means, and what to do.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The advice for a defect of ours.
REPORT = "Please report it, with the traceback."


@dataclass(frozen=True, slots=True)
class Sentence:
    """The words for an event; `{field}` stands for a field, and `[…]` is left out if a field in it is missing."""

    text: str
    meaning: str
    advice: str = "Nothing."
