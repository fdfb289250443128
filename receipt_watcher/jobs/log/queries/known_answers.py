"""Answers that are kept until the log changes: loops ask the same every few seconds.

Any thread may call it; nothing is kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from receipt_watcher.jobs.log.engine.sqlite import Database

Answer = TypeVar("Answer")


class KnownAnswers:
    """What was answered, by question and by version of the log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._answers: dict[Hashable, tuple[tuple[int, ...], Any]] = {}

    def answer(self, question: Hashable, ask: Callable[[], Answer]) -> Answer:
        """Return what was answered the last time, unless the log has changed since.

        Loops ask every few seconds what waits, and to count a hundred thousand takes milliseconds.
        """
        with self._database.reading():
            version = self._database.version()
            known = self._answers.get(question)
            if known is not None and known[0] == version:
                found: Answer = known[1]
                return found
            found = ask()
            if version is not None:
                self._answers[question] = version, found
            return found
