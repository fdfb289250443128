"""The job log's file: opened, migrated, backed up while it is in use, written anew where it was deleted under us.

What it promises: a method that writes has written durably when it returns (SQLite: WAL with synchronous=FULL, see
sqlite.org/pragma.html). Whatever is wrong with the disk or the file is a JobLogError in words; `trouble` says so for
as long as it lasts, and the log has one line when it begins and one when it ends. Nothing is done twice because of it:
a transaction is there whole, or not at all.

Any thread may call it: one connection, one lock. Write transactions begin IMMEDIATE, since SQLite refuses at once to
upgrade a transaction that has read, whatever the busy timeout; so other processes (`retry`, `cancel`) may write too.
A crash leaves whole transactions or none.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from peewee import DatabaseError, InternalError, OperationalError, SqliteDatabase
from playhouse.migrations import Runner

from receipt_watcher.disk import PARTIAL_SUFFIX, flush_file, flush_folder, move_file
from receipt_watcher.errors import JobLogError, NewerLogError, ReceiptWatcherError
from receipt_watcher.permissions import owner_name
from receipt_watcher.tables import TABLES, stored


class _Logger:
    """structlog's logger, loaded when there is something to say: a command that reads the log has nothing."""

    def __getattr__(self, level: str) -> Any:
        import structlog  # noqa: PLC0415 - a tenth of the time that `status` takes

        return getattr(structlog.get_logger(), level)


logger = _Logger()

BUSY_TIMEOUT_SECONDS = 10

#: What is wrong and what to do, by how the name of SQLite's error begins (sqlite.org/rescode.html).
_TROUBLES = {
    "SQLITE_FULL": ("its disk is full", "make room in {folder}"),
    "SQLITE_IOERR": ("its disk fails", "look at the disk of {folder} (dmesg, df)"),
    "SQLITE_BUSY": ("another program keeps it locked", "end that program; fuser {path} names it"),
    "SQLITE_LOCKED": ("another program keeps it locked", "end that program; fuser {path} names it"),
    "SQLITE_READONLY": ("it cannot be written", "let the service's user write {path} and in {folder}"),
    "SQLITE_CANTOPEN": ("it cannot be opened", "let the service's user write in {folder}; is it there, and not full?"),
    "SQLITE_CORRUPT": ("it is damaged", "{rescue}"),
    "SQLITE_NOTADB": ("it is damaged", "{rescue}"),
}
_UNKNOWN_TROUBLE = ("it cannot be used", "is its folder there, writable, and not full?")
_RESCUE = (
    "stop the daemon, move the file away together with the -wal and -shm beside it, and put the last backup in its "
    "place, or nothing: then what is in processing/ and done/ is recorded anew"
)


class LogFile:
    """A SQLite file with the job log's tables; `read_only` needs no right to write it, and never migrates it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._is_read_only = read_only
        self.trouble: str | None = None  # why it cannot be used now
        self._identity: dict[Path, tuple[int, int]] = {}
        self._is_gone = False  # deleted: what is written now is lost unless it is restored
        self._is_given_up = False  # replaced or damaged: it is not written any more until it is opened anew
        self._lock = threading.RLock()
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
        """Open the file and bring its schema up to date.

        Raises:
            JobLogError: it cannot be opened, is damaged, or was written by a newer version.
        """
        try:
            self._database.bind(TABLES)
            self._database.connect()
            self._migrate()
        except (DatabaseError, OSError) as error:
            self.close()
            raise JobLogError(f"the job log {self.path} cannot be used: {self._in_words(error)}") from error
        self._identity = {}
        self._is_gone = self._is_given_up = False
        self.is_displaced()  # takes note of what is there now

    def _migrate(self) -> None:
        runner = Runner(self._database, directory=str(Path(__file__).parent / "migrations"))
        found = runner.status()
        unknown = [migration.name for migration in found if migration.path is None]
        if unknown:
            self.close()
            raise NewerLogError(
                f"the job log {self.path} was written by a newer version (it has {', '.join(unknown)}); install that"
            )
        if all(migration.applied for migration in found):
            return
        if self._is_read_only:
            self.close()
            raise JobLogError(
                f"the job log {self.path} is of an older version; restart the daemon, which brings it up to date"
            )
        # Another process may be doing the same: whoever gets the write lock second finds all done. Foreign keys can
        # only be let be outside of a transaction, and a migration that rebuilds a table needs that.
        self._database.pragma("foreign_keys", 0)
        with self._database.atomic("IMMEDIATE"):
            runner.up()
        self._database.pragma("foreign_keys", 1)

    def schema(self) -> str:
        """Return the name of its schema's version."""
        return str(self.select("SELECT MAX(name) FROM schema_migration")[0][0])

    def close(self) -> None:
        """Close the file; harmless when called twice."""
        with self._lock:
            self.is_displaced()  # what lies beside a file that replaced ours must not be ours
            self._database.close()

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return not self._database.is_closed()

    # --- reading and writing -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Group writes into one commit; an inner use joins the outer one.

        Raises:
            JobLogError: it cannot be written now; nothing of the group was.
        """
        with self._lock:
            if self._database.in_transaction():
                yield
                return
            before = self._changes()
            with self._in_own_words():
                if self._is_given_up:
                    raise JobLogError(self.trouble or str(self.path))
                with self._database.atomic("IMMEDIATE"):
                    yield
            if self.trouble is not None and not self._is_gone and self._changes() != before:
                self.trouble = None
                logger.info("job_log.mended", path=str(self.path))

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Have the connection to oneself for a query."""
        with self._lock, self._in_own_words():
            yield

    def select(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.reading():
            return list(self._execute(statement, values))

    def change(self, statement: str, *values: object) -> int:
        """Run a statement that writes, and return how many rows it changed."""
        with self.transaction():
            return int(self._execute(statement, values).rowcount)

    def _execute(self, statement: str, values: Sequence[object]) -> Any:
        execute: Callable[..., Any] = self._database.execute_sql
        return execute(statement, [stored(value) for value in values])

    def _connection(self) -> sqlite3.Connection:
        connection: Callable[[], sqlite3.Connection] = self._database.connection
        return connection()

    def _changes(self) -> int:
        return self._connection().total_changes if self.is_open else 0

    # --- trouble -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _in_own_words(self) -> Iterator[None]:
        """Turn what the disk or the file is to blame for into a JobLogError; a defect of ours stays what it is."""
        if self.trouble is not None and not self.is_open:
            raise JobLogError(self.trouble)
        try:
            yield
        except DatabaseError as error:
            if _is_ours(error):
                raise
            why = f"the job log {self.path} cannot be used now: {self._in_words(error)}"
            self._is_given_up = self._is_given_up or _is_damage(error)
            self._note_trouble(why)
            raise JobLogError(why) from error

    def _note_trouble(self, why: str) -> None:
        if self.trouble is None:
            logger.error("job_log.failing", path=str(self.path), why=why)
        self.trouble = why

    def _in_words(self, error: BaseException) -> str:
        error = _first(error)
        name = _errorname(error)
        if self._is_read_only and (missing := self._missing_right(name)):
            return missing
        what, advice = next((texts for begin, texts in _TROUBLES.items() if name.startswith(begin)), _UNKNOWN_TROUBLE)
        advice = advice.format(path=self.path, folder=self.path.parent, rescue=_RESCUE)
        return f"{what} ({error}); {advice}"

    def _missing_right(self, name: str) -> str | None:
        """Return what keeps another user from reading; None where that is not what is wrong.

        SQLite reads a log that is in use by way of the -shm beside it, which the daemon keeps there while it runs; who
        reads when nobody else does has to make one, and so to write in the folder.
        """
        owner = owner_name(self.path)
        advice = f"run this as {owner} (sudo -u {owner} receipt-watcher …), or as root"
        if not os.access(self.path, os.R_OK, effective_ids=True):
            return f"you may not read it; {advice}"
        beside = self._beside()
        if not all(os.access(path, os.R_OK, effective_ids=True) for path in beside if path.exists()):
            return f"you may not read the -wal and -shm beside it; {advice}"
        may_write = os.access(self.path.parent, os.W_OK, effective_ids=True)
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) and not may_write:
            return (
                "while the daemon does not run, SQLite has to write beside it to read it, and you may not write there; "
                + advice
            )
        return None

    # --- the file itself ---------------------------------------------------------------------------------------

    def is_displaced(self) -> bool:
        """Whether the file that is open was deleted, or one of those that SQLite keeps beside it.

        One that was replaced by another is not written any more: what it got would be gone with the next start.
        """
        with self._lock:
            if not self.is_open:
                return False
            try:
                now = {path: _identity_of(path) for path in (self.path, *self._beside())}
            except OSError:
                return False  # the disk does not tell; what is wrong with it is said when it is written
            for path, identity in now.items():
                if identity is not None:
                    self._identity.setdefault(path, identity)
            gone = [path for path, identity in self._identity.items() if now[path] != identity]
            if self.path in gone and now[self.path] is not None:
                self._give_way(now)
                return False
            self._is_gone = bool(gone)
            return self._is_gone

    def _beside(self) -> list[Path]:
        return [self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-shm")]

    def _give_way(self, now: Mapping[Path, tuple[int, int] | None]) -> None:
        """Leave the place to another file: SQLite would play our -wal back into it (sqlite.org/howtocorrupt.html)."""
        self._is_given_up = True
        for path in self._beside():
            if now[path] is not None and now[path] == self._identity.get(path):
                with contextlib.suppress(OSError):
                    path.unlink()
        self._note_trouble(
            f"the job log {self.path} was replaced by another file while it was in use; restart the daemon"
        )

    def restore(self, make_folder: Callable[[], None] = lambda: None) -> None:
        """Write the file anew, whole, where it was deleted while it was in use; its folder is made before.

        Raises:
            JobLogError: it cannot be written; the open file is kept, so that it can be tried again.
        """
        temporary = self.path.with_name(f".{self.path.name}.restored")
        try:
            with self._lock:
                make_folder()
                self._copy_to(temporary)
                for path in self._beside():  # of the file that was deleted
                    path.unlink(missing_ok=True)
                temporary.replace(self.path)
                flush_folder(self.path.parent)
                self._database.close()  # not before: until here there was no other
                self.open()
        except (ReceiptWatcherError, OSError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            why = f"the job log {self.path} was deleted while it was in use, and cannot be written anew: {error}"
            self._note_trouble(why)
            raise JobLogError(why) from error
        logger.warning("job_log.restored", path=str(self.path), why="its file was deleted while it was in use")

    def backup(self, target: Path) -> int:
        """Write a consistent copy, as of one moment, to a new file, and return how many jobs it has.

        It is whole and durable, or not there.

        Raises:
            JobLogError: it cannot be read or written, or the name is taken.
        """
        partial = target.with_name(f".{target.name}{PARTIAL_SUFFIX}")
        try:
            jobs = self._copy_to(partial)
            move_file(partial, target)
            flush_folder(target.parent)
        except FileExistsError as error:
            raise JobLogError(f"{target} is there already; nothing was overwritten") from error
        except OSError as error:
            raise JobLogError(f"{target} cannot be written ({error.strerror})") from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        return jobs

    def _copy_to(self, target: Path) -> int:
        """Copy the log to a file of its own, and return how many jobs it has."""
        try:
            target.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(target)) as copy:
                with self._lock:
                    self._connection().backup(copy)
                copy.execute("PRAGMA journal_mode = delete")  # one file, which can be read where nothing can be written
                found = copy.execute("PRAGMA quick_check").fetchone()[0]
                jobs = int(copy.execute("SELECT COUNT(*) FROM job").fetchone()[0])
            flush_file(target)
        except (sqlite3.Error, OSError) as error:
            if _is_damage(error):
                raise JobLogError(self._damaged(str(error))) from error
            raise JobLogError(f"{target} cannot be written ({error}); is there room for it?") from error
        if found != "ok":
            raise JobLogError(self._damaged(found.splitlines()[-1]))
        return jobs

    def _damaged(self, found: str) -> str:
        return f"the job log {self.path} is damaged ({found}); {_RESCUE}"


def _is_damage(error: BaseException) -> bool:
    return _errorname(_first(error)).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _is_ours(error: DatabaseError) -> bool:
    """Whether a wrong statement or a broken constraint is to blame, not the disk or the file."""
    if type(error) not in (DatabaseError, OperationalError, InternalError):
        return True
    return _errorname(_first(error)) in ("", "SQLITE_ERROR")


def _first(error: BaseException) -> BaseException:
    """Return SQLite's own error behind one of Peewee's, and behind that of a rollback after it.

    SQLite rolls back by itself when a disk is full or fails (sqlite.org/lang_transaction.html): that Peewee's own
    rollback then fails as well hides what it was.
    """
    while (before := error.__cause__ or error.__context__) is not None and _errorname(before):
        error = before
    return error


def _errorname(error: BaseException) -> str:
    """Return SQLite's name of its error, or of the one that Peewee has wrapped, such as SQLITE_FULL."""
    own = getattr(error, "sqlite_errorname", "")
    return str(own or getattr(error.__cause__ or error.__context__, "sqlite_errorname", ""))


def _identity_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name; None where there is none.

    Raises:
        OSError: the disk does not tell.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
