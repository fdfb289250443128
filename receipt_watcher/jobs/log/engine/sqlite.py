"""The database of the job log on a SQLite file: transactions, queries, and whether the file still is there.

What it promises: a method that writes has written durably when it returns (SQLite: WAL with synchronous=FULL, see
sqlite.org/pragma.html). Whatever is wrong with the disk or the file is a JobLogError in words; `trouble` says so for
as long as it lasts, and the log has one line when it begins and one when it ends. Nothing is done twice because of it:
a transaction is there whole, or not at all.

Any thread may call it (`turns`). A crash leaves whole transactions or none.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, Protocol, TypeVar

from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.log.engine.connection import LogConnection
from receipt_watcher.jobs.log.engine.errors import FAULTS
from receipt_watcher.jobs.log.engine.log_files import Presence
from receipt_watcher.jobs.log.engine.turns import ConnectionTurns

SQLITE_VERSION = sqlite3.sqlite_version

Read = TypeVar("Read")
Made_co = TypeVar("Made_co", covariant=True)


class RowReader(Protocol[Made_co]):
    """Makes a value of a row, or raises one of the errors that a damaged row causes."""

    def __call__(self, row: tuple[Any, ...], /) -> Made_co:
        """Return the value."""


class Database:
    """The SQLite file of a job log; `read_only` needs no right to write it, and never migrates it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.connection = LogConnection(path, read_only=read_only)
        self._turns = ConnectionTurns(self.connection)
        self.locked = self.connection.locked

    def open(self) -> None:
        """Open the file and bring its schema up to date.

        Raises:
            JobLogError: it cannot be opened, is damaged, or was written by a newer version.
        """
        try:
            self.connection.open()
        except JobLogError:
            self.close()
            raise
        except (*FAULTS, OSError) as error:
            self.close()
            words = self.connection.texts.in_words(error)
            raise JobLogError(f"the job log {self.path} cannot be used: {words}") from error
        self.connection.begin()
        self.is_displaced()  # takes note of what is there now

    def schema(self) -> str:
        """Return the name of its schema's version."""
        return str(self.select("SELECT MAX(name) FROM schema_migration")[0][0])

    def close(self) -> None:
        """Close the file; harmless when called twice."""
        with self._turns.alone():
            self.is_displaced()  # what lies beside a file that replaced ours must not be ours
            self.connection.was_closed = self.is_open or self.connection.was_closed
            self.connection.close()

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self.connection.is_open

    @property
    def trouble(self) -> str | None:
        """Why it cannot be used now; None if nothing is wrong."""
        return self.connection.trouble

    # --- reading and writing -----------------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """Whether the calling thread is inside of a transaction."""
        return self._turns.in_transaction

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Group writes into one commit; an inner use joins the outer one.

        Raises:
            JobLogError: it cannot be written now; nothing of it was.
        """
        if self.in_transaction:
            yield
            return
        was_my_turn = self._turns.is_my_turn
        with self._turns.turn():
            with self.connection.in_own_words():
                if self.connection.is_given_up:
                    raise JobLogError(self.trouble or str(self.path))
                with self._turns.part() as group:
                    yield
            if was_my_turn:  # nobody else is let in before the outer one ends
                self._turns.commit(group)
                group.wait()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Have the connection to oneself for a query."""
        with self._turns.turn(), self.connection.in_own_words():
            yield

    def select(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._turns.turn(), self.connection.in_own_words():
            return list(self.connection.execute(statement, values))

    def select_as(self, read: RowReader[Read], statement: str, *values: object) -> list[Read]:
        """Return the rows of a query, each as `read` understands it.

        Raises:
            JobLogError: also for a row that `read` does not understand: nobody but a damaged disk has written that.
        """
        rows = self.select(statement, *values)
        try:
            return [read(row) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobLogError(self.connection.texts.damaged(f"a row cannot be read: {error}")) from error

    def change(self, statement: str, *values: object) -> int:
        """Run a statement that writes, and return how many rows it changed."""
        with self.transaction():
            return int(self.connection.execute(statement, values).rowcount)

    def execute(self, statement: str, values: Sequence[object]) -> Any:
        """Run a statement and return its rows as they are read. Only inside of `reading` or a transaction."""
        return self.connection.execute(statement, values)

    def version(self) -> tuple[int, ...] | None:
        """Return what is another one after each change of the log, by whomever; None while something may be lost.

        Only in a turn. SQLite counts what other connections have committed (PRAGMA data_version), and our own rows.
        """
        if self._turns.has_uncommitted:
            return None
        [(others,)] = self.connection.execute("PRAGMA data_version", ())
        return self.connection.openings, others, self.connection.changes()

    def read_through(self) -> None:
        """Read it whole; what is found to be damaged is not written any more, and `trouble` says so.

        Some seconds for a million receipts. Tables and indexes must agree: an index that lacks rows would have a copy
        taken for a new receipt.
        """
        try:
            verdict = str(self.select("PRAGMA quick_check(1)")[0][0])
        except JobLogError:
            return  # the trouble says so
        if verdict != "ok":
            self.connection.is_given_up = True
            self.connection.note_trouble(self.connection.texts.damaged(verdict.splitlines()[-1]))

    def prove_writable(self) -> None:
        """See that it could be written now; nothing is.

        Raises:
            JobLogError: it could not.
        """
        with self.transaction():
            pass

    # --- the file itself ---------------------------------------------------------------------------------------

    def is_displaced(self) -> bool:
        """Whether the file that is open was deleted, or one of those that SQLite keeps beside it.

        One that was replaced by another is not written any more: what it got would be gone with the next start.
        """
        with self._turns.alone():
            if not self.is_open:
                return False
            presence = self.connection.files.presence()
            if presence is Presence.UNKNOWN:
                return False  # what is wrong with the disk is said when it is written
            if presence is Presence.REPLACED:
                self._give_way()
                return False
            self.connection.is_gone = presence is Presence.GONE
            return self.connection.is_gone

    def _give_way(self) -> None:
        """Leave the place to another file."""
        self.connection.is_given_up = True
        self.connection.files.give_way()
        self.connection.note_trouble(
            f"the job log {self.path} was replaced by another file while it was in use; restart the daemon"
        )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Have the connection to oneself, with nothing that is not committed: for a copy of the whole file."""
        with self._turns.alone():
            yield


def marks(values: Sized) -> str:
    """Return as many question marks as there are values."""
    return ", ".join("?" * len(values))
