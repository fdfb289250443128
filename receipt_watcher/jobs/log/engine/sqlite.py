"""The job log's file: opened, migrated, backed up while it is in use, written anew where it was deleted under us.

What it promises: a method that writes has written durably when it returns (SQLite: WAL with synchronous=FULL, see
sqlite.org/pragma.html). Whatever is wrong with the disk or the file is a JobLogError in words; `trouble` says so for
as long as it lasts, and the log has one line when it begins and one when it ends. Nothing is done twice because of it:
a transaction is there whole, or not at all.

Any thread may call it: one connection, one lock. Transactions of threads that wait for each other share one commit, so
that a slow disk is waited for once: each is a part of its own, which can fail alone, and no method returns, be it one
that only read, before what it wrote or saw is durable. Write transactions begin IMMEDIATE, since SQLite refuses at once
to upgrade a transaction that has read, whatever the busy timeout; so other processes (`retry`, `cancel`) may write too.
A crash leaves whole transactions or none.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from peewee import DatabaseError, InternalError, OperationalError, SqliteDatabase
from playhouse.migrations import Runner

from receipt_watcher.errors import JobLogError, NewerLogError, ReceiptWatcherError
from receipt_watcher.jobs.log.engine.locked import Locked, patience_seconds
from receipt_watcher.jobs.log.migrations import WITHDRAWN
from receipt_watcher.jobs.log.tables import TABLES, stored
from receipt_watcher.system.disk import PARTIAL_SUFFIX, flush_file, flush_folder, make_private_file, move_file
from receipt_watcher.system.permissions import owner_name


class _Logger:
    """structlog's logger, loaded when there is something to say: a command that reads the log has nothing."""

    def __getattr__(self, level: str) -> Any:
        import structlog  # noqa: PLC0415 - a tenth of the time that `status` takes

        return getattr(structlog.get_logger(), level)


logger = _Logger()

#: The facts that tell a log from a backup of it: how many starts there were, in all and on each spool.
COUNTER_FACT = "log_counter"
SPOOL_COUNTER_FACT = "spool_counter:"

#: A backup is behind the log that it was made of from the beginning: nothing has to be written to that log, which a
#: crash could prevent, or the rights of whoever makes the backup.
_COUNT_DOWN = (
    "UPDATE fact SET value = CAST(CAST(value AS INTEGER) - 1 AS TEXT)"  # noqa: S608 - our own names
    f" WHERE name = '{COUNTER_FACT}' OR (name >= '{SPOOL_COUNTER_FACT}' AND name < '{SPOOL_COUNTER_FACT}~')"
)

#: How long a caller waits at most while another program keeps the log locked; a request is less patient (`locked`).
BUSY_TIMEOUT_SECONDS = 10

#: How long SQLite itself waits for a lock before we look whether there is time left; and for how long a request sleeps
#: while it waits for its turn.
SQLITE_VERSION = sqlite3.sqlite_version

_PRIVATE_MODE = 0o600
_BUSY_STEP_SECONDS = 0.25
_LOOK_SECONDS = 0.05

_LOCKED = "another program keeps it locked"

#: What is wrong and what to do, by how the name of SQLite's error begins (sqlite.org/rescode.html).
_TROUBLES = {
    "SQLITE_FULL": ("its disk is full", "make room in {folder}"),
    "SQLITE_IOERR": ("its disk fails", "look at the disk of {folder} (dmesg, df)"),
    "SQLITE_BUSY": (_LOCKED, "{locked}"),
    "SQLITE_LOCKED": (_LOCKED, "{locked}"),
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


Read = TypeVar("Read")

#: What SQLite itself fails with: wrapped by Peewee where it runs a statement, bare where a row is fetched.
_FAULTS = (DatabaseError, sqlite3.DatabaseError)

#: SQLite reads a text of any bytes; Python does not, and has no name for the error.
_UNDECODABLE = "Could not decode to UTF-8"


class _Group:
    """Transactions that share a commit; `before` is how many rows had ever been changed when it began."""

    def __init__(self, before: int) -> None:
        self.before = before
        self.why_lost: str | None = "its commit was broken off"
        self._is_over = threading.Event()

    def end(self, why_lost: str | None) -> None:
        """Let all parts go on: what they wrote is durable, or lost."""
        self.why_lost = why_lost
        self._is_over.set()

    def wait(self) -> None:
        """Return when the group is durable.

        Raises:
            JobLogError: nothing of it was written.
        """
        self._is_over.wait()
        if self.why_lost is not None:
            raise JobLogError(self.why_lost)


class Database:
    """A SQLite file with the job log's tables; `read_only` needs no right to write it, and never migrates it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._is_read_only = read_only
        self.trouble: str | None = None  # why it cannot be used now
        self._identity: dict[Path, tuple[int, int]] = {}
        self._is_gone = False  # deleted: what is written now is lost unless it is restored
        self._is_given_up = False  # replaced or damaged: it is not written any more until it is opened anew
        self._was_closed = False  # whoever comes now hung through the end of its daemon
        self._lock = threading.RLock()
        writing = {"journal_mode": "wal", "synchronous": "full", "foreign_keys": 1}
        self._waiting: deque[None] = deque()  # as many as there are threads that wait for their turn
        self._owner: int | None = None  # the thread whose turn it is
        self._is_writing = False  # it is inside of a transaction
        self._group: _Group | None = None  # what was written in this turn and those before, and is not committed
        self._openings = 0
        self.locked = Locked([path, *self._beside()])
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
            if not self._is_read_only:
                self._be_private()
            self._database.connect()
            self._migrate()
        except (*_FAULTS, OSError) as error:
            self.close()
            raise JobLogError(f"the job log {self.path} cannot be used: {self._in_words(error)}") from error
        self._let_sqlite_wait(min(_BUSY_STEP_SECONDS, BUSY_TIMEOUT_SECONDS))
        self._openings += 1
        self._identity = {}
        self._is_gone = self._is_given_up = self._was_closed = False
        self.is_displaced()  # takes note of what is there now

    def _let_sqlite_wait(self, seconds: float) -> None:
        self._connection().execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")

    def _migrate(self) -> None:
        runner = Runner(self._database, directory=str(Path(__file__).parents[1] / "migrations"))
        found = [migration for migration in runner.status() if migration.name not in WITHDRAWN]
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
        with self._alone():
            self.is_displaced()  # what lies beside a file that replaced ours must not be ours
            self._was_closed = self.is_open or self._was_closed
            self._database.close()

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return not self._database.is_closed()

    # --- reading and writing -----------------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """Whether the calling thread is inside of a transaction."""
        return self._is_writing and self._is_my_turn

    @property
    def _is_my_turn(self) -> bool:
        return self._owner == threading.get_ident()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Group writes into one commit; an inner use joins the outer one.

        Raises:
            JobLogError: it cannot be written now; nothing of it was.
        """
        if self.in_transaction:
            yield
            return
        was_my_turn = self._is_my_turn
        with self._turn():
            with self._in_own_words():
                if self._is_given_up:
                    raise JobLogError(self.trouble or str(self.path))
                with self._part() as group:
                    yield
            if was_my_turn:  # nobody else is let in before the outer one ends
                self._commit(group)
                group.wait()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Have the connection to oneself for a query."""
        with self._turn(), self._in_own_words():
            yield

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Have the connection to oneself, and return when all that was written so far is durable.

        Whoever ends a turn while somebody waits for the next one leaves the commit to them: the last one commits for
        all. No group grows for ever, for each thread that took part waits for its end.
        """
        if self._is_my_turn:
            yield
            return
        self._waiting.append(None)
        try:
            is_ours = self._has_taken_turn()
        finally:
            self._waiting.pop()
        if not is_ours:
            self._give_up_turn()
        try:
            self._owner = threading.get_ident()
            yield
        finally:
            self._owner = None
            group = self._group
            try:
                if group is not None and not self._waiting:
                    self._commit(group)
            finally:
                self._lock.release()
        if group is not None:
            group.wait()

    def _has_taken_turn(self) -> bool:
        """Wait for the connection; return False when another program has locked the log for longer than we wait.

        A caller that is less patient than others finds out at once whether it still is locked: reading may go on
        meanwhile, but what is shown then may be about to change, and the next write would keep the caller waiting.
        """
        patience = patience_seconds.get()
        if patience is None:
            return self._lock.acquire()
        while not self._lock.acquire(timeout=_LOOK_SECONDS):
            if self.locked.seconds >= patience:
                return False
        is_ours = False
        try:
            is_ours = self.locked.seconds < patience or not self._is_still_locked()
        finally:  # also if the file turns out to be damaged: nobody else would ever have a turn
            if not is_ours:
                self._lock.release()
        return is_ours

    def _give_up_turn(self) -> None:
        """Leave without a turn.

        Raises:
            JobLogError: always: another program keeps the log locked.
        """
        if self._group is not None:  # whose last part may have left the commit to us
            with self._alone():
                pass
        raise JobLogError(f"the job log {self.path} cannot be used now: {_LOCKED}; {self.locked.advice}")

    def _is_still_locked(self) -> bool:
        """Ask SQLite for the lock without waiting for it."""
        if self._group is not None or not self.is_open:
            return False
        self._let_sqlite_wait(0)
        try:
            self._connection().execute("BEGIN IMMEDIATE").connection.rollback()
        except sqlite3.DatabaseError as error:  # of another fault the caller is told when it asks
            return _is_busy(error)
        finally:
            self._let_sqlite_wait(min(_BUSY_STEP_SECONDS, BUSY_TIMEOUT_SECONDS))
        self.locked.is_over()
        return False

    @contextlib.contextmanager
    def _part(self) -> Iterator[_Group]:
        """Write as a part of a group, which begins with its first part; a later one that fails is taken back alone."""
        group = self._group
        is_first = group is None
        if group is None:
            group = _Group(self._changes())
            self.execute("BEGIN IMMEDIATE", ())
            self.locked.is_over()
            self._group = group
        else:
            self.execute("SAVEPOINT part", ())
        self._is_writing = True
        try:
            yield group
            if not is_first:
                self.execute("RELEASE part", ())
        except BaseException as error:
            if is_first or not self._take_back():
                self._group = None
                self._roll_back()
                group.end(str(error) if isinstance(error, JobLogError) else self._why(error))
            raise
        finally:
            self._is_writing = False

    def _take_back(self) -> bool:
        """Take back a part; False where SQLite has taken back the whole group, as it does when a disk is full."""
        try:
            self.execute("ROLLBACK TO part", ())
            self.execute("RELEASE part", ())
        except DatabaseError:
            return False
        return True

    def _roll_back(self) -> None:
        with contextlib.suppress(DatabaseError):  # SQLite may have done it by itself
            self.execute("ROLLBACK", ())

    def _commit(self, group: _Group) -> None:
        """Make a group durable, or let all of its parts fail."""
        self._group = None
        why_lost: str | None = group.why_lost
        try:
            with self._in_own_words():
                self.execute("COMMIT", ())
            why_lost = None
        except JobLogError as error:
            why_lost = str(error)
        finally:
            if why_lost is not None:
                self._roll_back()
            group.end(why_lost)
        if why_lost is None and self.trouble is not None and not self._is_gone and self._changes() != group.before:
            self.trouble = None
            logger.info("job_log.mended", path=str(self.path))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Have the connection to oneself, with nothing that is not committed."""
        with self._lock:
            if self._group is not None and not self._is_my_turn:
                self._commit(self._group)
            yield

    def select(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.reading():
            return list(self.execute(statement, values))

    def select_as(self, read: Callable[[tuple[Any, ...]], Read], statement: str, *values: object) -> list[Read]:
        """Return the rows of a query, each as `read` understands it.

        Raises:
            JobLogError: also for a row that `read` does not understand: nobody but a damaged disk has written that.
        """
        rows = self.select(statement, *values)
        try:
            return [read(row) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JobLogError(self._damaged(f"a row cannot be read: {error}")) from error

    def change(self, statement: str, *values: object) -> int:
        """Run a statement that writes, and return how many rows it changed."""
        with self.transaction():
            return int(self.execute(statement, values).rowcount)

    def read_through(self) -> None:
        """Read it whole; what is found to be damaged is not written any more, and `trouble` says so.

        Some seconds for a million receipts. Tables and indexes must agree: an index that lacks rows would have a copy
        taken for a new receipt.
        """
        try:
            found = str(self.select("PRAGMA quick_check(1)")[0][0])
        except JobLogError:
            return  # the trouble says so
        if found != "ok":
            self._is_given_up = True
            self._note_trouble(self._damaged(found.splitlines()[-1]))

    def prove_writable(self) -> None:
        """See that it could be written now; nothing is.

        Raises:
            JobLogError: it could not.
        """
        with self.transaction():
            pass

    def execute(self, statement: str, values: Sequence[object]) -> Any:
        """Give a statement to SQLite, and wait while another program keeps the log locked. Only in a turn."""
        execute: Callable[..., Any] = self._database.execute_sql
        given = [stored(value) for value in values]
        while True:
            try:
                return execute(statement, given)
            except OperationalError as error:  # of Peewee; a fetch waits for nobody
                if not _is_busy(error) or not self._may_wait():
                    raise

    def _may_wait(self) -> bool:
        """Note that another program keeps the log locked; return whether the caller is patient still."""
        self.locked.found()
        patience = patience_seconds.get()
        most = BUSY_TIMEOUT_SECONDS if patience is None else min(patience, BUSY_TIMEOUT_SECONDS)
        return self.locked.seconds < most

    def _connection(self) -> sqlite3.Connection:
        connection: Callable[[], sqlite3.Connection] = self._database.connection
        return connection()

    def version(self) -> tuple[int, ...] | None:
        """Return what is another one after each change of the log, by whomever; None while something may be lost.

        Only in a turn. SQLite counts what other connections have committed (PRAGMA data_version), and our own rows.
        """
        if self._group is not None:
            return None
        [(others,)] = self.execute("PRAGMA data_version", ())
        return self._openings, others, self._changes()

    def _changes(self) -> int:
        return self._connection().total_changes if self.is_open else 0

    # --- trouble -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _in_own_words(self) -> Iterator[None]:
        """Turn what the disk or the file is to blame for into a JobLogError; a defect of ours stays what it is."""
        if self.trouble is not None and not self.is_open:
            raise JobLogError(self.trouble)
        if self._was_closed:
            raise JobLogError(f"the job log {self.path} was closed: its daemon has ended")
        try:
            yield
        except _FAULTS as error:
            if _is_ours(error):
                raise
            why = self._why(error)
            self._is_given_up = self._is_given_up or _is_damage(error)
            if patience_seconds.get() is None or not _is_busy(error):  # else those who wait longer may still succeed
                self._note_trouble(why)
            raise JobLogError(why) from error

    def _note_trouble(self, why: str) -> None:
        if self.trouble is None:
            logger.error("job_log.failing", path=str(self.path), why=why)
        self.trouble = why

    def _why(self, error: BaseException) -> str:
        return f"the job log {self.path} cannot be used now: {self._in_words(error)}"

    def _in_words(self, error: BaseException) -> str:
        is_damaged = _is_damage(error)
        error = _first(error)
        name = "SQLITE_CORRUPT" if is_damaged else _errorname(error)
        if self._is_read_only and (missing := self._missing_right(name)):
            return missing
        what, advice = next((texts for begin, texts in _TROUBLES.items() if name.startswith(begin)), _UNKNOWN_TROUBLE)
        advice = advice.format(
            path=self.path,
            folder=self.path.parent,
            rescue=_RESCUE,
            locked=self.locked.advice if what is _LOCKED else "",
        )
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
        with self._alone():
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
            with self._alone():
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

    def _be_private(self) -> None:
        """Let nobody else read it: SQLite gives -wal and -shm the mode of the file.

        A file that all may read was made so by an older version. Another mode, such as one for a group, is an admin's.
        """
        with contextlib.suppress(OSError):  # what opens it next says why it cannot be used
            if not self.path.exists():
                make_private_file(self.path)
            for path in (self.path, *self._beside()):
                if path.exists() and path.stat().st_mode & stat.S_IRWXO:
                    path.chmod(_PRIVATE_MODE)

    def backup(self, target: Path) -> int:
        """Write a consistent copy, as of one moment, to a new file, and return how many jobs it has.

        It is whole and durable, or not there.

        Raises:
            JobLogError: it cannot be read or written, or the name is taken.
        """
        partial = target.with_name(f".{target.name}{PARTIAL_SUFFIX}")
        try:
            jobs = self._copy_to(partial, _COUNT_DOWN)
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

    def _copy_to(self, target: Path, then: str = "") -> int:
        """Copy the log to a file of its own, run a statement on the copy, and return how many jobs it has."""
        try:
            target.unlink(missing_ok=True)
            make_private_file(target)
            with contextlib.closing(sqlite3.connect(target)) as copy:
                with self._alone():
                    self._connection().backup(copy)
                if then:
                    with copy:
                        copy.execute(then)
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


def marks(values: Sized) -> str:
    """Return as many question marks as there are values."""
    return ", ".join("?" * len(values))


def _is_busy(error: BaseException) -> bool:
    return _errorname(_first(error)).startswith("SQLITE_BUSY")


def _is_damage(error: BaseException) -> bool:
    first = _first(error)
    return _errorname(first).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or str(first).startswith(_UNDECODABLE)


def _is_ours(error: DatabaseError | sqlite3.DatabaseError) -> bool:
    """Whether a wrong statement or a broken constraint is to blame, not the disk or the file."""
    own = (DatabaseError, OperationalError, InternalError)
    bare = (sqlite3.DatabaseError, sqlite3.OperationalError, sqlite3.InternalError)
    if type(error) not in (*own, *bare):
        return True
    return _errorname(_first(error)) in ("", "SQLITE_ERROR") and not _is_damage(error)


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
