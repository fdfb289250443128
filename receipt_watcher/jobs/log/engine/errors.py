"""The meaning of SQLite's errors: whose fault they are, what is wrong, and what to do about it.

What it promises: an error of the disk or of the file is told in the same words everywhere.

Any thread may call it. It asks the file system for rights, and keeps nothing.
"""

from __future__ import annotations

import os
import sqlite3

from peewee import DatabaseError, InternalError, OperationalError

from receipt_watcher.jobs.log.engine.locked import Locked
from receipt_watcher.jobs.log.engine.log_files import LogFiles
from receipt_watcher.system.permissions import owner_name

#: Another program has the file locked.
LOCKED = "another program keeps it locked"

#: Cause and advice, by the beginning of the name of SQLite's error (sqlite.org/rescode.html).
_TROUBLES = {
    "SQLITE_FULL": ("its disk is full", "make room in {folder}"),
    "SQLITE_IOERR": ("its disk fails", "look at the disk of {folder} (dmesg, df)"),
    "SQLITE_BUSY": (LOCKED, "{locked}"),
    "SQLITE_LOCKED": (LOCKED, "{locked}"),
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

#: The errors of SQLite itself: wrapped by Peewee when it runs a statement, bare when a row is fetched.
FAULTS = (DatabaseError, sqlite3.DatabaseError)

#: SQLite reads a text of any bytes; Python does not, and has no name for the error.
_UNDECODABLE = "Could not decode to UTF-8"


class ErrorTexts:
    """The words for the errors of one job log."""

    def __init__(self, files: LogFiles, locked: Locked, *, is_read_only: bool) -> None:
        self._files = files
        self._locked = locked
        self._is_read_only = is_read_only

    def why(self, error: BaseException) -> str:
        """Return why the log cannot be used now."""
        return f"the job log {self._files.path} cannot be used now: {self.in_words(error)}"

    def in_words(self, error: BaseException) -> str:
        """Return what is wrong, and what to do."""
        is_damaged = is_damage(error)
        error = _first(error)
        name = "SQLITE_CORRUPT" if is_damaged else _errorname(error)
        if self._is_read_only and (missing := self._missing_right(name)):
            return missing
        what, advice = next((texts for begin, texts in _TROUBLES.items() if name.startswith(begin)), _UNKNOWN_TROUBLE)
        advice = advice.format(
            path=self._files.path,
            folder=self._files.path.parent,
            rescue=_RESCUE,
            locked=self._locked.advice if what is LOCKED else "",
        )
        return f"{what} ({error}); {advice}"

    def _missing_right(self, name: str) -> str | None:
        """Return what keeps another user from reading; None where that is not what is wrong.

        SQLite reads a log that is in use by way of the -shm beside it, which the daemon keeps there while it runs; who
        reads when nobody else does has to make one, and so to write in the folder.
        """
        owner = owner_name(self._files.path)
        advice = f"run this as {owner} (sudo -u {owner} receipt-watcher …), or as root"
        if not os.access(self._files.path, os.R_OK, effective_ids=True):
            return f"you may not read it; {advice}"
        beside = self._files.beside
        if not all(os.access(path, os.R_OK, effective_ids=True) for path in beside if path.exists()):
            return f"you may not read the -wal and -shm beside it; {advice}"
        may_write = os.access(self._files.path.parent, os.W_OK, effective_ids=True)
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) and not may_write:
            return (
                "while the daemon does not run, SQLite has to write beside it to read it, and you may not write there; "
                + advice
            )
        return None

    def damaged(self, symptom: str) -> str:
        """Return that the log is damaged, and what to do."""
        return f"the job log {self._files.path} is damaged ({symptom}); {_RESCUE}"


def is_busy(error: BaseException) -> bool:
    """Whether another program has the file locked."""
    return _errorname(_first(error)).startswith("SQLITE_BUSY")


def is_damage(error: BaseException) -> bool:
    """Whether the file is not what SQLite or we have written."""
    first = _first(error)
    return _errorname(first).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or str(first).startswith(_UNDECODABLE)


def is_ours(error: DatabaseError | sqlite3.DatabaseError) -> bool:
    """Whether a wrong statement or a broken constraint is to blame, not the disk or the file."""
    own = (DatabaseError, OperationalError, InternalError)
    bare = (sqlite3.DatabaseError, sqlite3.OperationalError, sqlite3.InternalError)
    if type(error) not in (*own, *bare):
        return True
    return _errorname(_first(error)) in ("", "SQLITE_ERROR") and not is_damage(error)


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
