"""Answers that are kept until the log changes: loops ask the same every few seconds.

Any thread may call it; nothing is kept on disk.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol, TypeVar

from receipt_watcher.jobs.log.engine.sqlite import Database

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)


class Query(Protocol[Answer_co]):
    """A question to the log, which is asked if the log has changed since it was answered."""

    def __call__(self) -> Answer_co:
        """Return the answer."""


class KnownAnswers:
    """The last answers, by question and by version of the log."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._answers: dict[Hashable, tuple[tuple[int, ...], Any]] = {}

    def answer(self, question: Hashable, ask: Query[Answer]) -> Answer:
        """Return what was answered the last time, unless the log has changed since.

        Loops ask every few seconds what waits, and to count a hundred thousand takes milliseconds.
        """
        with self._database.reading():
            version = self._database.version()
            known = self._answers.get(question)
            if known is not None and known[0] == version:
                answer: Answer = known[1]
                return answer
            answer = ask()
            if version is not None:
                self._answers[question] = version, answer
            return answer
