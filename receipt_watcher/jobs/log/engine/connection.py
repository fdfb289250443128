"""The connection to the job log's file: opened, migrated, waiting for other programs; and what is wrong with it.

What it promises: whatever is wrong with the disk or the file is a JobLogError in words; `trouble` says so for as long
as it lasts, and the journal has one line when it begins and one when it ends.

Only whoever has its turn (`turns`) may call it, save for `trouble`. A crash leaves whole transactions or none.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import peewee
from peewee import InterfaceError, SqliteDatabase
from playhouse.migrations import Runner

from receipt_watcher.errors import JobLogError, NewerLogError
from receipt_watcher.jobs.log.engine.errors import FAULTS, ErrorTexts, is_busy, is_damage, is_ours
from receipt_watcher.jobs.log.engine.locked import Locked, patience_seconds
from receipt_watcher.jobs.log.engine.log_files import LogFiles
from receipt_watcher.jobs.log.migrations import WITHDRAWN
from receipt_watcher.jobs.log.tables import stored


class _Logger:
    """structlog's logger, loaded when there is something to say: a command that reads the log has nothing."""

    def __getattr__(self, level: str) -> Any:
        import structlog  # noqa: PLC0415 - a tenth of the time that `status` takes

        return getattr(structlog.get_logger(), level)


logger = _Logger()

#: A caller waits at most so long while another program keeps the log locked; a request is less patient (`locked`).
BUSY_TIMEOUT_SECONDS = 10

#: SQLite itself waits so long for a lock before we look whether there is time left.
_BUSY_STEP_SECONDS = 0.25


class LogConnection:
    """One connection to a SQLite file with the job log's tables; `read_only` never migrates it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.files = LogFiles(path)
        self.locked = Locked([path, *self.files.beside])
        self.texts = ErrorTexts(self.files, self.locked, is_read_only=read_only)
        self.trouble: str | None = None  # why it cannot be used now
        self.is_gone = False  # deleted: what is written now is lost unless it is restored
        self.is_given_up = False  # replaced or damaged: it is not written any more until it is opened anew
        self.was_closed = False  # whoever comes now hung through the end of its daemon
        self.openings = 0
        self._is_read_only = read_only
        writing = {"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1}
        self._database = SqliteDatabase(
            f"file:{quote(os.fsencode(path))}?mode=ro" if read_only else str(path),
            pragmas={} if read_only else writing,
            uri=read_only,
            timeout=BUSY_TIMEOUT_SECONDS,
            check_same_thread=False,
            thread_safe=False,
            autoconnect=False,  # a late worker must not open the file again after `close`
        )

    def open(self) -> None:
        """Open the file and bring its schema up to date."""
        if not self._is_read_only:
            self.files.make_private()
        self._database.connect()
        self._migrate()

    def begin(self) -> None:
        """Take note that it is open: whatever was wrong with the file before is over."""
        self._let_sqlite_wait(min(_BUSY_STEP_SECONDS, BUSY_TIMEOUT_SECONDS))
        self.openings += 1
        self.files.forget()
        self.is_gone = self.is_given_up = self.was_closed = False

    def _let_sqlite_wait(self, seconds: float) -> None:
        self.raw().execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def _migrate(self) -> None:
        runner = Runner(self._database, directory=str(Path(__file__).parents[1] / "migrations"))
        migrations = [migration for migration in runner.status() if migration.name not in WITHDRAWN]
        unknown = [migration.name for migration in migrations if migration.path is None]
        if unknown:
            raise NewerLogError(
                f"the job log {self.files.path} was written by a newer version (it has {', '.join(unknown)});"
                " install that"
            )
        if all(migration.applied for migration in migrations):
            return
        if self._is_read_only:
            raise JobLogError(
                f"the job log {self.files.path} is of an older version; restart the daemon, which brings it up to date"
            )
        # Another process may be doing the same: whoever gets the write lock second finds all done. Foreign keys can
        # only be let be outside of a transaction, and a migration that rebuilds a table needs that.
        self._database.pragma("foreign_keys", 0)
        with self._database.atomic("IMMEDIATE"):
            runner.up()
        self._database.pragma("foreign_keys", 1)

    def close(self) -> None:
        """Close it, to be opened anew or never; harmless when called twice."""
        self._database.close()

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return not self._database.is_closed()

    def execute(self, statement: str, values: Sequence[object]) -> Any:
        """Give a statement to SQLite, and wait while another program keeps the log locked. Only in a turn."""
        given = [stored(value) for value in values]
        # Past Peewee, whose own way is eight calls for each statement (measured: a question 10.3 µs, else 5.6).
        execute = self.raw().execute
        while True:
            try:
                return execute(statement, given)
            except sqlite3.Error as error:  # a fetch waits for nobody
                if not is_busy(error) or not self._may_wait():
                    raise getattr(peewee, type(error).__name__)(*error.args) from error

    def _may_wait(self) -> bool:
        """Note that another program keeps the log locked; return whether the caller is patient still."""
        self.locked.found()
        patience = patience_seconds.get()
        most = BUSY_TIMEOUT_SECONDS if patience is None else min(patience, BUSY_TIMEOUT_SECONDS)
        return self.locked.seconds < most

    def is_still_locked(self) -> bool:
        """Ask SQLite for the lock without waiting for it."""
        self._let_sqlite_wait(0)
        try:
            self.raw().execute("BEGIN IMMEDIATE").connection.rollback()
        except sqlite3.DatabaseError as error:  # of another fault the caller is told when it asks
            return is_busy(error)
        finally:
            self._let_sqlite_wait(min(_BUSY_STEP_SECONDS, BUSY_TIMEOUT_SECONDS))
        self.locked.is_over()
        return False

    def raw(self) -> sqlite3.Connection:
        """Return SQLite's own connection."""
        ask: Callable[[], sqlite3.Connection | None] = self._database.connection
        connection = ask()
        if connection is None:
            raise InterfaceError(f"the job log {self.files.path} is not open")
        return connection

    def changes(self) -> int:
        """Return how many rows were ever changed by it."""
        return self.raw().total_changes if self.is_open else 0

    # --- trouble -----------------------------------------------------------------------------------------------

    def check_usable(self) -> None:
        """Check that it can be asked.

        Raises:
            JobLogError: it is closed, or what is wrong with it keeps it from being opened.
        """
        if self.trouble is not None and not self.is_open:
            raise JobLogError(self.trouble)
        if self.was_closed:
            raise JobLogError(f"the job log {self.files.path} was closed: its daemon has ended")

    def in_own_words(self) -> InOwnWords:
        """Return a context for questions: what the disk or the file is to blame for is a JobLogError there."""
        return InOwnWords(self)

    def blame(self, error: BaseException) -> None:
        """Turn what the disk or the file is to blame for into a JobLogError; a defect of ours stays what it is.

        Raises:
            JobLogError: the disk or the file is to blame.
        """
        if not isinstance(error, FAULTS) or is_ours(error):
            return
        why = self.texts.why(error)
        self.is_given_up = self.is_given_up or is_damage(error)
        if patience_seconds.get() is None or not is_busy(error):  # else those who wait longer may still succeed
            self.note_trouble(why)
        raise JobLogError(why) from error

    def note_trouble(self, why: str) -> None:
        """Keep why the log cannot be used; the journal has one line when that begins."""
        if self.trouble is None:
            logger.error("job_log.failing", path=str(self.files.path), why=why)
        self.trouble = why

    def note_mended(self) -> None:
        """Take note that it was written: what was wrong is over."""
        if self.trouble is not None and not self.is_gone:
            self.trouble = None
            logger.info("job_log.mended", path=str(self.files.path))


class InOwnWords:
    """A context in which errors of the disk or the file are JobLogErrors; a class, since each question enters one."""

    __slots__ = ("_connection",)

    def __init__(self, connection: LogConnection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.check_usable()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            self._connection.blame(error)
